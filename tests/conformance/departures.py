"""Tests of the standard's suite that are not run with FuloadExecutor, and why.
All but one look at what is private to ProcessPoolExecutor."""

from __future__ import annotations

import sys
from typing import NamedTuple


class Departure(NamedTuple):
    test: str  # class without its flavour, and method
    since: tuple[int, int]  # the first version whose suite has it
    names: str  # what its text names: it is listed for no other reason
    reason: str
    flavour: str = ""  # "" is all


_PROCESSES = "a dict of multiprocessing.Process; the public property here is worker_pids"
_THREAD = "the standard's own thread"

DEPARTURES = [
    Departure("ExecutorDeadlockTest.test_shutdown_deadlock_pickle", (3, 10), "_executor_manager_thread", _THREAD),
    Departure("ProcessPoolExecutorTest.test_killed_child", (3, 10), "_processes", _PROCESSES),
    Departure("ProcessPoolExecutorTest.test_saturation", (3, 10), "_processes", _PROCESSES),
    Departure("ProcessPoolExecutorTest.test_idle_process_reuse_one", (3, 10), "_processes", _PROCESSES),
    Departure("ProcessPoolExecutorTest.test_idle_process_reuse_multiple", (3, 10), "_processes", _PROCESSES),
    Departure("ProcessPoolExecutorTest.test_max_tasks_per_child", (3, 11), "_processes", _PROCESSES),
    Departure(
        "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context",
        (3, 11),
        "_mp_context",
        "a context that nobody gave; workers here are fresh programs in any",
    ),
    Departure(
        "ProcessPoolExecutorTest.test_python_finalization_error",
        (3, 13),
        "_start_joinable_thread",
        "counts the threads that the standard's class starts, and lets the second fail",
    ),
    Departure("ProcessPoolShutdownTest.test_processes_terminate", (3, 10), "_processes", _PROCESSES),
    Departure("ProcessPoolShutdownTest.test_context_manager_shutdown", (3, 10), "_processes", _PROCESSES),
    Departure("ProcessPoolShutdownTest.test_del_shutdown", (3, 10), "_executor_manager_thread", _THREAD),
    Departure("ProcessPoolShutdownTest.test_shutdown_no_wait", (3, 10), "_executor_manager_thread", _THREAD),
    Departure(
        "FailingInitializerTest.test_initializer",
        (3, 10),
        "log_queue",
        "a queue of the context 'fork' is for forked children; multiprocessing pickles it for no other",
        "Fork",
    ),
]


def of_this_version(flavours: tuple[str, ...]) -> dict[str, Departure]:
    """By class and method."""
    return {
        f"ProcessPool{flavour}{departure.test}": departure
        for departure in DEPARTURES
        for flavour in flavours
        if sys.version_info >= departure.since and departure.flavour in ("", flavour)
    }
