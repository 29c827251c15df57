"""How much sooner do 8 MiB of bytes, of a bytearray and of text come back than from
ProcessPoolExecutor? In turns, medians of the time there and back; results are checked.

    .venv/bin/python benchmarks/payload_ratios.py [rounds]
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

from python_tasks import same

from fuload_exec import FuloadExecutor

SIZE = 8 << 20


def there_and_back(executor: Executor, value: Any) -> float:
    began = time.perf_counter()
    result = executor.submit(same, value).result()
    taken = time.perf_counter() - began
    assert type(result) is type(value) and result == value
    return taken


def main(rounds: int) -> None:
    values = {"bytes": bytes(SIZE), "bytearray": bytearray(SIZE), "str": "x" * SIZE}
    with FuloadExecutor(2) as ours, ProcessPoolExecutor(2) as theirs:
        for kind, value in values.items():
            taken: dict[Executor, list[float]] = {ours: [], theirs: []}
            for _ in range(3 + rounds):  # the first warm up
                for executor, seconds in taken.items():
                    seconds.append(there_and_back(executor, value))
            mine, other = (statistics.median(seconds[3:]) * 1e3 for seconds in taken.values())
            print(f"{kind:9}  FuloadExecutor {mine:6.2f} ms  ProcessPoolExecutor {other:6.2f} ms  {other / mine:5.1f} times sooner")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
