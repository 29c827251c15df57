"""joblib.Parallel on these workers: code that uses joblib stays as it is.

python examples/joblib_backend.py        (needs joblib)
"""

from __future__ import annotations

import sys
import time

import joblib

import fuload_exec.joblib


def collatz(n: int) -> int:
    """How many steps from n to 1."""
    steps = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return steps


def longest(count: int) -> tuple[int, int]:
    """Knows nothing of this package, as a library that uses joblib."""
    steps = joblib.Parallel(n_jobs=2)(joblib.delayed(collatz)(n) for n in range(1, count + 1))
    return max(enumerate(steps, 1), key=lambda found: found[1])


def main() -> int:
    fuload_exec.joblib.register()
    found = []
    for backend in ("fuload", "loky"):
        with joblib.parallel_config(backend=backend):
            start = time.perf_counter()
            found.append(longest(20_000))
            print(f"{backend:<8} {time.perf_counter() - start:6.2f} s, the workers' start included")
    n, steps = found[0]
    print(f"Below 20,000 the longest way to 1 starts at {n:,}: {steps} steps.")
    return 0 if found[0] == found[1] == (17647, 278) else 1


if __name__ == "__main__":
    sys.exit(main())
