"""The same task on FuloadExecutor and on each other executor.

A peer gives functions without arguments that do one thing, for whoever times
them: `one(task)`, `burst(task, count)`, `mapped(task, count, chunksize)`.
"""

from __future__ import annotations

import multiprocessing
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import c_tasks
import python_tasks
from tasks import Task

from fuload_exec import FuloadExecutor

# The fastest start method of the standard pools, and the one whose workers
# have everything imported.
_FORK = multiprocessing.get_context("fork")
_NAP_SECONDS = 0.02
_WARM_UP_SECONDS = 60
_WARM_UP_TASKS = 500
_WARM_UP_LARGE_TASKS = 5


class Peer(ABC):
    """A pool to measure; a context manager that leaves no process behind."""

    name: str
    takes_c_functions = False
    chunks_calls = True

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __enter__(self) -> Peer:
        return self

    @abstractmethod
    def __exit__(self, *error: object) -> None:
        """Its processes are gone."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Starts one call; what it returns waits for the result. Not timed."""

    @abstractmethod
    def one(self, task: Task) -> Callable[[], Any]:
        """Submit to result of one task."""

    @abstractmethod
    def burst(self, task: Task, count: int) -> Callable[[], Any]:
        """Submit all, then all results."""

    @abstractmethod
    def mapped(self, task: Task, count: int, chunksize: int | None) -> Callable[[], Any]:
        """The list that map makes of `count` items."""

    def accepted(self, task: Task) -> Callable[..., Any]:
        return task.function if self.takes_c_functions else task.picklable

    def warm_up(self, task: Task) -> None:
        """All workers run and have done this task, with the right result."""
        self.start_all(task.kind)
        size = sum(len(arg) for arg in task.args if hasattr(arg, "__len__"))
        one = self.one(task)
        for _ in range(_WARM_UP_LARGE_TASKS if size else _WARM_UP_TASKS):
            result = one()
        task.check(result)

    def start_all(self, kind: str) -> None:
        """Naps keep the workers that run busy, so the others must start."""
        seen: set[Any] = set()
        due = time.monotonic() + _WARM_UP_SECONDS
        while len(seen) < self.workers:
            naps = [self.submit(python_tasks.nap_and_tell_who, _NAP_SECONDS) for _ in range(2 * self.workers)]
            seen.update(nap() for nap in naps)
            if time.monotonic() > due:
                raise TimeoutError(f"{self.name}: {len(seen)} of {self.workers} workers ran a task")


class _Futures(Peer):
    """What is alike in the executors of concurrent.futures, ours included."""

    executor: Executor

    def __exit__(self, *error: object) -> None:
        self.executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        return self.executor.submit(function, *args).result

    def one(self, task: Task) -> Callable[[], Any]:
        submit, function, args = self.executor.submit, self.accepted(task), task.args
        return lambda: submit(function, *args).result()

    def burst(self, task: Task, count: int) -> Callable[[], Any]:
        submit, function, args = self.executor.submit, self.accepted(task), task.args

        def submit_all_then_wait() -> list[Any]:
            futures = [submit(function, *args) for _ in range(count)]
            return [future.result() for future in futures]

        return submit_all_then_wait

    def mapped(self, task: Task, count: int, chunksize: int | None) -> Callable[[], Any]:
        run, function, items = self.executor.map, self.accepted(task), task.args * count
        return lambda: list(run(function, items, chunksize=chunksize))


class Fuload(_Futures):
    name = "FuloadExecutor"
    takes_c_functions = True

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.executor: FuloadExecutor = FuloadExecutor(workers)

    def start_all(self, kind: str) -> None:
        if kind == "Python":
            return super().start_all(kind)
        # A nap in C, because one in Python would turn the workers into interpreters.
        due = time.monotonic() + _WARM_UP_SECONDS
        while not self._all_have_worked():
            naps = [self.submit(c_tasks.usleep, int(_NAP_SECONDS * 1e6)) for _ in range(2 * self.workers)]
            for nap in naps:
                nap()
            if time.monotonic() > due:
                raise TimeoutError(f"{self.name}: not all of {self.workers} workers ran a task")

    def _all_have_worked(self) -> bool:
        workers = self.executor.stats().workers
        return sum(worker.tasks_done > 0 for worker in workers) == self.workers


class ProcessPool(_Futures):
    name = "ProcessPoolExecutor"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.executor = ProcessPoolExecutor(workers, mp_context=_FORK)


class Threads(_Futures):
    """ctypes releases the GIL during a call; nothing is copied or pickled."""

    name = "ThreadPoolExecutor"
    takes_c_functions = True
    chunks_calls = False

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.executor = ThreadPoolExecutor(workers)


class MultiprocessingPool(Peer):
    name = "multiprocessing.Pool"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.pool = _FORK.Pool(workers)

    def __exit__(self, *error: object) -> None:
        # close() waits for tasks; after an error they may never come.
        self.pool.terminate() if any(error) else self.pool.close()
        self.pool.join()

    def submit(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        return self.pool.apply_async(function, args).get

    def one(self, task: Task) -> Callable[[], Any]:
        submit, function, args = self.pool.apply_async, self.accepted(task), task.args
        return lambda: submit(function, args).get()

    def burst(self, task: Task, count: int) -> Callable[[], Any]:
        submit, function, args = self.pool.apply_async, self.accepted(task), task.args

        def submit_all_then_wait() -> list[Any]:
            results = [submit(function, args) for _ in range(count)]
            return [result.get() for result in results]

        return submit_all_then_wait

    def mapped(self, task: Task, count: int, chunksize: int | None) -> Callable[[], Any]:
        run, function, items = self.pool.map, self.accepted(task), task.args * count
        return lambda: run(function, items, chunksize)


OTHERS = (ProcessPool, MultiprocessingPool, Threads)
ALL = (Fuload, *OTHERS)
