"""What does a program pay until its first result? CPU milliseconds of whole
programs and their children, in turns, medians.

    .venv/bin/python benchmarks/import_ratios.py [rounds]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = {
    "nothing": "",
    "import concurrent.futures": "from concurrent.futures import Executor, Future",
    "import FuloadExecutor": "from fuload_exec import FuloadExecutor",
    "first C result": """
import ctypes
from fuload_exec import FuloadExecutor
libc = ctypes.CDLL(None)
libc.abs.argtypes = [ctypes.c_int]
with FuloadExecutor(2) as executor:
    executor.submit(libc.abs, -1).result()
""",
    "first Python result": """
from fuload_exec import FuloadExecutor
if __name__ == "__main__":
    with FuloadExecutor(2) as executor:
        executor.submit(abs, -1).result()
""",
    "ProcessPoolExecutor, fork": """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
        executor.submit(abs, -1).result()
""",
    "ProcessPoolExecutor, spawn": """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        executor.submit(abs, -1).result()
""",
}


def used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def main(rounds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(PROGRAMS.values()):
            Path(folder, f"program{number}.py").write_text(text)
        for turn in range(1 + rounds):  # the first compiles
            for number, times in enumerate(taken.values()):
                before = used()
                subprocess.run([sys.executable, f"{folder}/program{number}.py"], env=environment, check=True)
                if turn:
                    times.append(used() - before)
    for name, times in taken.items():
        print(f"{name:27} {statistics.median(times):6.1f} ms of CPU, {min(times):.1f} at least")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
