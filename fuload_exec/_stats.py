"""What FuloadExecutor.stats() returns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolStats", "WorkerStats"]


@dataclass(frozen=True)
class WorkerStats:
    """One worker: its pid, what it does ('starting', 'busy', 'polling',
    'asleep', 'called'), tasks done, seconds spent in them, and whether it has
    become a Python interpreter."""

    pid: int
    state: str
    tasks_done: int
    run_seconds: float
    python: bool


@dataclass(frozen=True)
class PoolStats:
    """A pool at one moment. `queued` are tasks that wait in this process for
    a slot, `unfinished` all that have not ended; `run_seconds` and
    `wait_seconds` are sums over all tasks that ended."""

    workers: tuple[WorkerStats, ...]
    submitted: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    doorbells: int
    queued: int
    unfinished: int
    run_seconds: float
    wait_seconds: float
