"""Dask on these workers: dask.config.set(scheduler=executor), nothing else.

    python examples/dask_scheduler.py        (needs dask[array])

The same array expression and the same graph of small tasks, on this package's
pool and on Dask's own pool of processes.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context

import dask
import dask.array

from fuload_exec import FuloadExecutor


def step(n: int) -> int:
    """A Collatz step."""
    return 3 * n + 1 if n % 2 else n // 2


def array() -> dask.array.Array:
    """Which share of random points lies in the quarter circle, in blocks of 100,000."""
    points = dask.array.random.default_rng(seed=1).random((2_000_000, 2), chunks=(100_000, 2))
    return 4 * ((points**2).sum(axis=1) <= 1).mean()


def chains() -> dask.delayed:
    """30 chains of 20 tiny tasks each, and a task that takes all their ends."""
    numbers = [dask.delayed(n) for n in range(1, 31)]
    for _ in range(20):
        numbers = [dask.delayed(step)(n) for n in numbers]
    return dask.delayed(sum)(numbers)


def run_on(name: str, executor: Executor) -> tuple[float, int]:
    with executor, dask.config.set(scheduler=executor):
        times, results = [], []
        for lazy in (array(), chains()):
            lazy.compute()  # the interpreters start and import NumPy
            start = time.perf_counter()
            results.append(lazy.compute())
            times.append(time.perf_counter() - start)
    print(f"  {name:<20} {times[0]:8.2f} s {times[1]:12.2f} s")
    return float(results[0]), results[1]


def main() -> int:
    print(f"  {'':<20} {'array':>10} {'600 tiny tasks':>14}")
    here = run_on("FuloadExecutor", FuloadExecutor(2))
    there = run_on("ProcessPoolExecutor", ProcessPoolExecutor(2, get_context("spawn")))
    print(f"pi is about {here[0]:.3f}; the chains end in numbers whose sum is {here[1]}")

    # What the standard's pool cannot take: lambdas and closures go through cloudpickle.
    with FuloadExecutor(2) as executor, dask.config.set(scheduler=executor):
        factor = 6
        print("a lambda too:", dask.delayed(lambda n: factor * n)(7).compute())
    print("Both agree." if here == there else "THEY DISAGREE")
    return 0 if here == there else 1


if __name__ == "__main__":
    sys.exit(main())
