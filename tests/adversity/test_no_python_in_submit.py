"""From the moment that a task counts submit() runs C alone: no signal handler, no
other thread and no want of stack can cut it short between the count and the doorbell.
The same holds where a task ends."""

import sys
import time

import pytest
from support.waiting import until

from fuload_exec import FuloadExecutor, _core


def late_calls(pool, submit):
    """Python functions that submit() enters once its task counts."""
    found = []
    before = pool.submitted

    def see(frame, event, argument):
        if event == "call" and pool.submitted != before:
            found.append(frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name)

    sys.setprofile(see)
    try:
        submit()
    finally:
        sys.setprofile(None)
    assert pool.submitted == before + 1
    return found


@pytest.mark.parametrize("options", [{}, {"timeout": 60}, {"max_pending": 100}, {"max_retries": 1}])
def test_that_starts_workers(options):
    with FuloadExecutor(4, **options) as executor:
        for _ in range(12):  # the first ones start a worker each, the others find slots
            assert late_calls(executor._pool, lambda: executor.submit(time.sleep, 0.01)) == []


def test_that_goes_to_the_queue():
    with FuloadExecutor(1, slots=2) as executor:
        for _ in range(40):
            assert late_calls(executor._pool, lambda: executor.submit(abs, -1)) == []


def test_after_a_pause():
    """The supervisor looks at the pool again, and so does it at SIGINT."""
    with FuloadExecutor(1) as executor:
        executor.submit(abs, -1).result()
        while _core.nudge(executor._pool):  # as the supervisor does: nothing is unfinished
            pass
        assert late_calls(executor._pool, lambda: executor.submit(abs, -1)) == []


def calls_in(act):
    """Python functions that this call enters."""
    found = []
    sys.setprofile(lambda frame, event, argument: found.append(frame.f_code.co_name) if event == "call" else None)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("method", ["terminate", "cancel"])
def test_where_a_task_is_ended(method):
    """Its worker is condemned and the supervisor told, in one go."""
    with FuloadExecutor(1, slots=1, cancel_running=True) as executor:
        future = executor.submit(time.sleep, 600)
        until(future.running)
        assert calls_in(getattr(future, method)) == []
        assert executor.submit(abs, -3).result(30) == 3
        assert future.cancelled()


def test_where_the_last_result_of_a_pool_is_taken():
    executor = FuloadExecutor(1, spin=0)
    future = executor.submit(time.sleep, 0.2)
    until(future.running)
    executor.shutdown(wait=False)
    found = []
    while not future.done():
        found += calls_in(future.done)
    assert found == []
    executor.shutdown()
    assert future.result(0) is None
