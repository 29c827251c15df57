"""How many times longer than a C loop over the same function does map_array
take, with one worker and with two? And how many times faster are two workers
than one, beside two threads that run the C loop?

All take turns, so that whatever else the machine does meets all of them; a
ratio is that of two calls side by side, the table shows medians.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from c_loops import Case, c_loop, cases, compile_loops
from time_limit import time_limit

from fuload_exec import FuloadExecutor

ITEMS = 1_000_000
# Of a C loop's time, one worker. Functions that take no longer than the copying
# of their arguments are shown, not judged.
REQUIRED_OF_ONE = 1.5
# Of what two threads gain over one, two workers gain over one.
REQUIRED_OF_TWO = 0.8
JUDGED = ("cos", "pow", "erf")
_LIMIT_SECONDS = 300


def _halves(case: Case, threads: ThreadPoolExecutor, library: ctypes.CDLL) -> Callable[[], object]:
    """The C loop on two threads, each one half: ctypes lets go of the
    interpreter's lock."""
    middle = ITEMS // 2
    parts = [c_loop(case.part(0, middle), library), c_loop(case.part(middle, ITEMS), library)]
    return lambda: [done.result() for done in [threads.submit(part) for part in parts]]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(
    case: Case, library: ctypes.CDLL, one: FuloadExecutor, two: FuloadExecutor, threads: ThreadPoolExecutor, turns: int
) -> bool:
    """Prints a row; whether it holds what is required."""
    calls: dict[str, Callable[[], object]] = {
        "loop": c_loop(case, library),
        "threads": _halves(case, threads, library),
        "one": lambda: one.map_array(case.function, *case.arrays, out=case.out),
        "two": lambda: two.map_array(case.function, *case.arrays, out=case.out),
    }
    for name, call in calls.items():
        case.out[:] = 0
        call()
        if not numpy.allclose(case.out, case.expected):
            raise AssertionError(f"{case.name}, {name}: wrong results")
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            call()  # once to wake who sleeps, as in a program that does this often
            took[name].append(_seconds(call))

    def ratio(upper: str, lower: str) -> float:
        return statistics.median(up / low for up, low in zip(took[upper], took[lower]))

    of_one, of_two = ratio("one", "loop"), ratio("two", "loop")
    gain, possible = ratio("one", "two"), ratio("loop", "threads")
    judged = case.name in JUDGED
    held = not judged or (of_one <= REQUIRED_OF_ONE and gain >= REQUIRED_OF_TWO * possible)
    print(
        f"{case.name:5} {statistics.median(took['loop']) * 1e3:9.2f} ms {of_one:9.2f} {of_two:9.2f} {gain:15.2f} {possible:12.2f}"
        f"  {'' if not judged else 'ok' if held else 'MISSED'}".rstrip(),
        flush=True,
    )
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=31, help="how often each is called")
    turns = parser.parse_args().turns
    print(
        f"{ITEMS:,} doubles      of the C loop's time:  times faster with two than with one:\n"
        f"{'':5} {'C loop':>12} {'1 worker':>9} {'2 workers':>9} {'workers':>15} {'threads in C':>12}"
    )
    with time_limit(_LIMIT_SECONDS), tempfile.TemporaryDirectory() as directory:
        library = compile_loops(Path(directory))
        with FuloadExecutor(1) as one, FuloadExecutor(2) as two, ThreadPoolExecutor(2) as threads:
            held = [measure(case, library, one, two, threads, turns) for case in cases(ITEMS)]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
