"""A plug-in in Cython: C speed, and no interpreter in the workers.

python examples/cython_plugin/primes.py
"""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from fuload_exec import FuloadExecutor, NativeTask

SOURCE = Path(__file__).with_suffix(".pyx")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        count_primes = NativeTask(compile_plugin(Path(folder)), "count_primes")
        limits = [10**n for n in range(1, 7)]
        with FuloadExecutor() as executor:
            replies = list(executor.map(count_primes, [struct.pack("=Q", limit) for limit in limits]))
            interpreters = sum(worker.python for worker in executor.stats().workers)
    for limit, reply in zip(limits, replies):
        print(f"{struct.unpack('=Q', reply)[0]:>9,} primes below {limit:,}")
    print(f"{interpreters} of the workers ran an interpreter")
    return 0


def compile_plugin(folder: Path) -> Path:
    if importlib.util.find_spec("Cython") is None:
        raise SystemExit("Cython is missing: 'pip install cython' brings it.")
    source, plugin = folder / "primes.c", folder / "primes.so"
    subprocess.check_call([sys.executable, "-m", "cython", "-3", SOURCE, "-o", source])
    # Cython writes a Python module around the task. A C worker has no interpreter
    # to link it with, so the linker keeps the task and drops all the rest.
    flags = [f"-I{sysconfig.get_path('include')}", "-ffunction-sections", "-fdata-sections"]
    flags += ["-Wl,--gc-sections", f"-Wl,--version-script={SOURCE.with_suffix('.map')}"]
    subprocess.check_call([sys.executable, "-m", "fuload_exec", "cc", source, "-o", plugin, *flags])
    return plugin


if __name__ == "__main__":
    sys.exit(main())
