"""How many small tasks a second come back through as_completed(), through wait(), and
through result() one by one? C's abs() here, Python's on the standard pools; in turns, medians.

    .venv/bin/python benchmarks/waiting_ratios.py [rounds]
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait
from typing import Any

from fuload_exec import FuloadExecutor

TASKS = 10_000
FEWER_TASKS = 1_000  # for pools that take a second for so many


def by_as_completed(futures: list[Future[int]]) -> list[int]:
    return [future.result() for future in as_completed(futures)]


def by_wait(futures: list[Future[int]]) -> list[int]:
    return [future.result() for future in wait(futures).done]


def one_by_one(futures: list[Future[int]]) -> list[int]:
    return [future.result() for future in futures]


def a_second(executor: Executor, fn: Callable[..., Any], count: int, back: Callable[[list[Future[int]]], list[int]]) -> float:
    began = time.perf_counter()
    results = back([executor.submit(fn, -i) for i in range(count)])
    taken = time.perf_counter() - began
    assert sorted(results) == list(range(count))
    return count / taken


def main(rounds: int) -> None:
    c_abs = ctypes.CDLL(None).abs
    c_abs.argtypes, c_abs.restype = [ctypes.c_int], ctypes.c_int
    with FuloadExecutor(2) as ours, ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2) as processes:
        pools: list[tuple[Executor, Callable[..., Any], int]] = [
            (ours, c_abs, TASKS),
            (threads, abs, TASKS),
            (processes, abs, FEWER_TASKS),
        ]
        for back in (by_as_completed, by_wait, one_by_one):
            rates: list[list[float]] = [[] for _ in pools]
            for _ in range(1 + rounds):  # the first warms up
                for measured, pool in zip(rates, pools, strict=True):
                    measured.append(a_second(*pool, back))
            mine, *others = (statistics.median(measured[1:]) for measured in rates)
            beside = "  ".join(
                f"{type(pool[0]).__name__} {rate / 1e3:6.1f} k/s ({mine / rate:5.1f})"
                for pool, rate in zip(pools[1:], others, strict=True)
            )
            print(f"{back.__name__:15}  FuloadExecutor {mine / 1e3:6.1f} k/s  {beside}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
