"""New pools, timed: until the first Python result, and until all workers run a
Python task. What follows, shutdown included, is not timed.

    .venv/bin/python benchmarks/start_ratios.py

makes them in turns (A B C ... A B C ...) and says how many times sooner than
the others FuloadExecutor is there: the median of the ratios of each turn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from typing import Any

import start_tasks
from time_limit import time_limit

from fuload_exec import FuloadExecutor

WORKERS = 10
_LIMIT_SECONDS = 600


class Start:
    """A pool that is about to be made; `close` ends it."""

    name = "FuloadExecutor"

    def __init__(self) -> None:
        self.executor: Executor | None = None
        self.futures: list[Future[Any]] = []
        self.gate = -1

    def make(self) -> Executor:
        return FuloadExecutor(WORKERS)

    def prepare(self) -> None:
        """What a program has done before."""
        self.directory = tempfile.TemporaryDirectory()
        self.paths = [os.path.join(self.directory.name, name) for name in ("arrived", "gate")]
        for path in self.paths:
            os.mkfifo(path)
        self.arrived = os.open(self.paths[0], os.O_RDWR | os.O_CLOEXEC)

    def first_result(self) -> None:
        self.executor = self.make()
        if self.executor.submit(start_tasks.increment, 1).result() != 2:
            raise AssertionError(f"{self.name}: wrong result")

    def all_ready(self) -> None:
        self.executor = self.make()
        self.futures = [self.executor.submit(start_tasks.meet, *self.paths) for _ in range(WORKERS)]
        there = 0
        while there < WORKERS:
            there += len(os.read(self.arrived, WORKERS))

    def close(self) -> None:
        gate = os.open(self.paths[1], os.O_RDWR | os.O_CLOEXEC)
        pids = {future.result() for future in self.futures}
        self.executor.shutdown()
        for descriptor in (gate, self.arrived):
            os.close(descriptor)
        self.directory.cleanup()
        if len(pids) != len(self.futures):
            raise AssertionError(f"{self.name}: {len(pids)} processes ran {len(self.futures)} tasks that meet")


class Fork(Start):
    name = "fork"

    def make(self) -> Executor:
        return ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork"))


class Spawn(Start):
    """The resource tracker runs already, as after an earlier pool."""

    name = "spawn"

    def prepare(self) -> None:
        super().prepare()
        resource_tracker.ensure_running()

    def make(self) -> Executor:
        return ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn"))


class WarmForkserver(Start):
    """The server runs already, as after an earlier pool."""

    name = "forkserver, warm"

    def prepare(self) -> None:
        super().prepare()
        forkserver.ensure_running()
        # Its answer to a first request shows that it has imported what it needs.
        process = multiprocessing.get_context("forkserver").Process(target=start_tasks.increment, args=(1,))
        process.start()
        process.join()

    def make(self) -> Executor:
        return ProcessPoolExecutor(WORKERS, multiprocessing.get_context("forkserver"))


class ColdForkserver(WarmForkserver):
    """The first pool of a program."""

    name = "forkserver, cold"

    def prepare(self) -> None:
        Start.prepare(self)
        stop_servers()


def stop_servers() -> None:
    """multiprocessing offers no public way."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


ALL = (Start, Fork, Spawn, ColdForkserver, WarmForkserver)
QUESTIONS: dict[str, Callable[[Start], None]] = {
    "first Python result": Start.first_result,
    f"{WORKERS} workers ready": Start.all_ready,
}
# Times sooner than the others.
REQUIRED = {
    ("first Python result", Spawn): 1,
    ("first Python result", ColdForkserver): 1,
    ("first Python result", WarmForkserver): 1,
    (f"{WORKERS} workers ready", ColdForkserver): 1,
    (f"{WORKERS} workers ready", WarmForkserver): 1,
}


def seconds(kind: type[Start], question: Callable[[Start], None]) -> float:
    start = kind()
    start.prepare()
    began = time.perf_counter()
    question(start)
    took = time.perf_counter() - began
    start.close()
    return took


@dataclass
class Row:
    question: str
    kind: type[Start]
    took: list[float]
    ours: list[float]

    @property
    def ratios(self) -> list[float]:
        return [took / ours for took, ours in zip(self.took, self.ours)]

    @property
    def required(self) -> float | None:
        return REQUIRED.get((self.question, self.kind))

    @property
    def missed(self) -> bool:
        return self.required is not None and statistics.median(self.ratios) < self.required

    def __str__(self) -> str:
        ratios = sorted(self.ratios)
        spread = f"({ratios[0]:.2f}-{ratios[-1]:.2f})"
        verdict = "" if self.required is None else f"{self.required:8} {'MISSED' if self.missed else 'ok'}"
        return (
            f"{self.question:20} {self.kind.name:17} {statistics.median(self.took) * 1e3:9.1f} ms"
            f" {statistics.median(ratios):8.2f} {spread:13} {verdict}"
        ).rstrip()


def compare(turns: int) -> list[Row]:
    took: dict[tuple[str, type[Start]], list[float]] = {}
    for turn in range(-1, turns):  # the first is not counted
        for question, ask in QUESTIONS.items():
            for kind in ALL:
                found = seconds(kind, ask)
                if turn >= 0:
                    took.setdefault((question, kind), []).append(found)
    stop_servers()
    return [Row(question, kind, t, took[question, Start]) for (question, kind), t in took.items()]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="start_ratios.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=11, help="how often each pool is made")
    turns = parser.parse_args().turns
    with time_limit(_LIMIT_SECONDS):
        rows = compare(turns)
    print(f"{'':20} {'start method':17} {'median':>12} {'times sooner with FuloadExecutor':38} required")
    print(*rows, sep="\n")
    return int(any(row.missed for row in rows))
