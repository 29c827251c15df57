"""How much sooner do 8 MiB of bytes, of a bytearray and of text come back than from
ProcessPoolExecutor? And NumPy arrays of 8 MiB, four in flight, also beside joblib?
In turns, medians of the time there and back; results are checked.

    .venv/bin/python benchmarks/payload_ratios.py [rounds]
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import joblib
import numpy
from python_tasks import same

from fuload_exec import FuloadExecutor

SIZE = 8 << 20
ARRAYS = 24
IN_FLIGHT = 4


def there_and_back(executor: Executor, value: Any) -> float:
    began = time.perf_counter()
    result = executor.submit(same, value).result()
    taken = time.perf_counter() - began
    assert type(result) is type(value) and result == value
    return taken


def four_in_flight(executor: Executor, array: Any) -> float:
    """Seconds per array. One result is read while the next are under way."""
    began = time.perf_counter()
    futures = [executor.submit(same, array) for _ in range(IN_FLIGHT)]
    for i in range(ARRAYS):
        result = futures.pop(0).result()
        if i + IN_FLIGHT < ARRAYS:
            futures.append(executor.submit(same, array))
    taken = time.perf_counter() - began
    assert numpy.array_equal(result, array)
    return taken / ARRAYS


def with_joblib(parallel: joblib.Parallel, array: Any) -> float:
    began = time.perf_counter()
    results = parallel(joblib.delayed(same)(array) for _ in range(ARRAYS))
    taken = time.perf_counter() - began
    assert len(results) == ARRAYS and numpy.array_equal(results[-1], array)
    return taken / ARRAYS


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
        array = numpy.arange(SIZE // 8)
        with joblib.Parallel(n_jobs=2, pre_dispatch=IN_FLIGHT) as parallel:
            rows: list[list[float]] = [[], [], []]
            for _ in range(2 + rounds // 3):
                rows[0].append(four_in_flight(ours, array))
                rows[1].append(four_in_flight(theirs, array))
                rows[2].append(with_joblib(parallel, array))
            mine, other, loky = (statistics.median(seconds[2:]) * 1e3 for seconds in rows)
            print(
                f"NumPy, {IN_FLIGHT} in flight  FuloadExecutor {mine:6.2f} ms ({2 * SIZE / mine / 1e6:.1f} GB/s both ways)  "
                f"ProcessPoolExecutor {other:6.2f} ms  {other / mine:5.1f} times sooner  joblib {loky:6.2f} ms  {loky / mine:5.1f} times"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
