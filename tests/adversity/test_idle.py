"""A pool without work costs nothing: no CPU time, no wake-ups."""

from __future__ import annotations

import os
import time

import pytest
import zoo
from procfs import switches, ticks
from support.waiting import until


def cost(pids):
    return {pid: (ticks(pid), switches(pid)) for pid in pids}


def quiet_for(pids, seconds):
    """CPU ticks of all and the number of wake-ups of each thread in that time."""
    before = cost(pids)
    due = time.monotonic() + seconds
    time.sleep(seconds)
    while time.monotonic() < due:
        pass
    after = cost(pids)
    assert before.keys() == after.keys()
    spent = sum(after[p][0] - before[p][0] for p in pids)
    woken = {}
    for pid in pids:
        assert before[pid][1].keys() == after[pid][1].keys(), "threads came or went"
        for thread, count in after[pid][1].items():
            # The thread that measures is itself woken.
            if thread != os.getpid() and count != before[pid][1][thread]:
                woken[thread] = count - before[pid][1][thread]
    return spent, woken


def settled(executor):
    """The workers' pids once all that were started sleep; a worker that is
    being started or buried shows as another state, or in one list only."""
    workers = executor.stats().workers
    pids = sorted(w.pid for w in workers)
    return pids if workers and all(w.state == "asleep" for w in workers) and pids == executor.worker_pids else None


def check_quiet(executor):
    pids = [os.getpid(), *until(lambda: settled(executor))]
    # Some moments after the last task: until then a look now and then is allowed.
    due = time.monotonic() + 10
    while True:
        spent, woken = quiet_for(pids, 1.2)
        if (spent <= 1 and not woken) or time.monotonic() > due:
            break
    assert spent <= 1, f"{spent} ticks of CPU time"
    assert not woken, f"woken: {woken}"


@pytest.mark.parametrize(
    ("workers", "spin", "python"), [(1, None, False), (10, None, False), (10, None, True), (10, 0, False), (2, 0, True)]
)
def test_idle(pool, libc, workers, spin, python):
    executor = pool(workers, spin=spin)
    # Long enough tasks, so that all workers are started.
    task = zoo.spin_for if python else None
    if python:
        futures = [executor.submit(task, 0.02) for _ in range(workers * 4)]
    else:
        futures = [executor.submit(libc.usleep, 20_000) for _ in range(workers * 4)]
    for future in futures:
        future.result(timeout=30)
    check_quiet(executor)


def test_idle_after_death_and_cancelling(pool, libc):
    executor = pool(3)
    futures = [executor.submit(libc.usleep, 5000) for _ in range(200)]
    for future in futures[50:]:
        future.cancel()
    executor.submit(os._exit, 1).exception(timeout=30)
    for future in futures:
        until(future.done)
    check_quiet(executor)


def test_idle_after_a_long_queue(pool, libc):
    executor = pool(2, slots=16)
    futures = [executor.submit(libc.abs, -i) for i in range(20_000)]
    assert [f.result(timeout=30) for f in futures] == list(range(20_000))
    check_quiet(executor)


def test_nobody_looks_for_sleepers_while_there_are_none(pool, libc):
    """All workers are busy and work is behind: the supervisor looks at the
    signal handler, twenty times a second, and nothing else happens."""
    executor = pool(2)
    futures = [executor.submit(libc.usleep, 60_000_000) for _ in range(5)]
    until(lambda: [w.state for w in executor.stats().workers] == ["busy"] * 2)
    spent, woken = quiet_for([os.getpid()], 1.2)
    assert sum(woken.values()) < 100, woken
    # One that sleeps again finds work, and one that is new is looked after.
    for future in futures[:2]:
        assert future.terminate()
    until(lambda: all(f.running() for f in futures[2:4]))
    executor.terminate_workers()


def test_a_pool_that_was_never_used_has_no_worker(pool):
    executor = pool(10)
    assert executor.worker_pids == []
    assert executor.stats().workers == ()
