"""How many calls a second does map() make, beside multiprocessing.Pool.map and
ProcessPoolExecutor.map, and a C function's beside a loop in Python? In turns, medians.

    .venv/bin/python benchmarks/map_ratios.py [rounds]
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from c_tasks import cos
from python_tasks import same

from fuload_exec import FuloadExecutor

ITEMS = 200_000
BEST_CHUNK = 10_000
STANDARD_CHUNK = 2_500  # without one ProcessPoolExecutor sends item by item

VALUES = [i / 2 for i in range(ITEMS)]
Way = Callable[[], list[Any]]


def a_second(way: Way, expected: list[float]) -> float:
    began = time.perf_counter()
    results = way()
    taken = time.perf_counter() - began
    assert results == expected
    return ITEMS / taken


def row(title: str, ways: dict[str, Way], expected: list[float], rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(2 + rounds):  # the first warm up
        for name, way in ways.items():
            rates[name].append(a_second(way, expected))
    medians = {name: statistics.median(measured[2:]) for name, measured in rates.items()}
    mine = medians["FuloadExecutor"]
    print(f"{title:26}", *(f"{name} {rate / 1e6:6.2f} M/s ({mine / rate:.2f})" for name, rate in medians.items()), sep="  ")


def main(rounds: int) -> None:
    with (
        multiprocessing.get_context("fork").Pool(2) as pool,
        ProcessPoolExecutor(2) as standard,
        FuloadExecutor(2) as ours,
        FuloadExecutor(2) as native,
    ):
        row(
            "Python, chunks chosen",
            {
                "FuloadExecutor": lambda: list(ours.map(same, VALUES)),
                "mp.Pool": lambda: pool.map(same, VALUES),
                "ProcessPoolExecutor": lambda: list(standard.map(same, VALUES, chunksize=STANDARD_CHUNK)),
            },
            VALUES,
            rounds,
        )
        row(
            f"Python, chunks of {BEST_CHUNK:,}",
            {
                "FuloadExecutor": lambda: list(ours.map(same, VALUES, chunksize=BEST_CHUNK)),
                "mp.Pool": lambda: pool.map(same, VALUES, BEST_CHUNK),
            },
            VALUES,
            rounds,
        )
        row(
            "C's cos()",
            {"FuloadExecutor": lambda: list(native.map(cos, VALUES)), "a loop of math.cos": lambda: [math.cos(v) for v in VALUES]},
            [math.cos(v) for v in VALUES],
            rounds,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
