"""Initializers that fail, exit, die or wait."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from concurrent.futures import BrokenExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import pytest
from initializer_tasks import (
    Deaf,
    die,
    fail_lost,
    leave,
    log_to_and_fail,
    pass_gate_and_fail,
    pass_once_then_fail,
    pass_or_wait,
    set_recursion_limit,
    spoil_logging_and_fail,
    touch_and_pass_gate,
)
from support.ids import shown
from support.tasks import Homesick, fail, wait_for
from support.waiting import until

from fuload_exec import FuloadExecutor


def all_broken(executor, futures):
    for future in futures:
        assert isinstance(future.exception(60), BrokenProcessPool)
        with pytest.raises(BrokenExecutor):
            future.result()
    with pytest.raises(BrokenProcessPool):
        executor.submit(abs, -1)
    with pytest.raises(BrokenProcessPool):
        executor.map(abs, [1])


def test_all_that_waits_fails(make_executor, gate):
    with make_executor(1, initializer=pass_gate_and_fail, initargs=(gate.path,)) as executor, gate:
        futures = [executor.submit(abs, -i) for i in range(10)]
        called = []
        futures[-1].add_done_callback(lambda f: called.append(type(f.exception())))
        assert wait(futures, timeout=0).done == set()
        gate.open()
        all_broken(executor, futures)
        until(lambda: called)
        assert issubclass(called[0], BrokenProcessPool)


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit(3), KeyboardInterrupt(), StopIteration()], ids=shown)
def test_whatever_it_raises(make_executor, error):
    with make_executor(1, initializer=fail, initargs=(error,)) as executor:
        all_broken(executor, [executor.submit(abs, -1)])


def test_what_is_logged(caplog):
    with FuloadExecutor(1, initializer=fail, initargs=(ValueError("of an initializer"),)) as executor:
        with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
            error = executor.submit(abs, -1).exception()
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("concurrent.futures", logging.CRITICAL)
        message = record.getMessage()
        assert message.startswith("Exception in initializer:") and "ValueError: of an initializer" in message
        assert "in fail" in message
        assert "ValueError: of an initializer" in str(error.__cause__)


def test_an_exception_that_cannot_be_pickled():
    with FuloadExecutor(1, initializer=fail_lost) as executor:
        future = executor.submit(abs, -1)
        assert "Lost: where is it" in str(future.exception().__cause__)
        all_broken(executor, [future])


def test_one_that_cannot_be_rebuilt():
    with FuloadExecutor(1, initializer=abs, initargs=(Homesick(),)) as executor:
        future = executor.submit(abs, -1)
        assert f"not in {os.getpid()}" in str(future.exception().__cause__)
        all_broken(executor, [future])


@pytest.mark.parametrize("initializer", [leave, die])
def test_one_that_takes_its_worker_along(make_executor, initializer):
    """Every future fails, and after some of them the pool is broken."""
    with make_executor(1, initializer=initializer) as executor:
        futures = []
        with pytest.raises(BrokenProcessPool):
            while True:
                futures.append(executor.submit(abs, -1))
                assert isinstance(futures[-1].exception(60), BrokenProcessPool)
                assert len(futures) < 10
        all_broken(executor, futures)


def test_many_tasks_behind_one_that_takes_its_worker_along():
    """Not tried with ProcessPoolExecutor: what submit() adds while its thread fails
    the others may be left pending for ever (CPython 3.11.7)."""
    with FuloadExecutor(2, initializer=leave) as executor:
        futures = []
        try:
            for i in range(100):
                futures.append(executor.submit(abs, -i))
        except BrokenProcessPool:
            pass
        all_broken(executor, futures)


def test_one_that_waits(make_executor, gate, tmp_path):
    """Tasks wait for it, and can be cancelled and waited for meanwhile."""
    mark = tmp_path / "begun"
    with make_executor(1, initializer=touch_and_pass_gate, initargs=(str(mark), gate.path)) as executor, gate:
        futures = [executor.submit(abs, -i) for i in range(10)]
        until(mark.exists)
        assert wait(futures, timeout=0.01).done == set()
        assert futures[-1].cancel()
        executor.shutdown(wait=False)
        gate.open()
        assert [f.result(60) for f in futures[:-1]] == list(range(9))


def test_shutdown_that_cancels_while_one_waits(make_executor, gate, tmp_path):
    mark = tmp_path / "begun"
    executor = make_executor(1, initializer=touch_and_pass_gate, initargs=(str(mark), gate.path))
    with gate:
        futures = [executor.submit(abs, -i) for i in range(10)]
        until(mark.exists)
        thread = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
        thread.start()
        until(futures[-1].cancelled)
        gate.open()
        thread.join()
        assert all(f.done() for f in futures)


def test_a_broken_pool_can_be_shut_down(make_executor):
    for options in ({"wait": False}, {"wait": True}, {"cancel_futures": True}):
        executor = make_executor(1, initializer=fail, initargs=(ValueError(),))
        assert isinstance(executor.submit(abs, -1).exception(), BrokenProcessPool)
        executor.shutdown(**options)
        executor.shutdown()
        with pytest.raises(RuntimeError):
            executor.submit(abs, -1)


def test_what_it_sets_stays(make_executor):
    with make_executor(1, initializer=set_recursion_limit, initargs=(5432,)) as executor:
        assert [executor.submit(sys.getrecursionlimit).result() for _ in range(3)] == [5432] * 3


def test_it_is_logged_in_the_worker_too():
    """Through what the initializer has set up; it is there when the task has failed."""
    queue = multiprocessing.get_context("spawn").Queue()
    try:
        with FuloadExecutor(1, initializer=log_to_and_fail, initargs=(queue,)) as executor:
            error = executor.submit(abs, -1).exception()
            record = queue.get_nowait()
        assert (record.name, record.levelno) == ("concurrent.futures", logging.CRITICAL)
        text = record.getMessage()
        assert text.startswith("Exception in initializer:") and "in log_to_and_fail" in text
        assert "the initializer failed: LookupError: no database" in str(error)
    finally:
        queue.close()
        queue.join_thread()


def test_a_handler_that_fails_too():
    with FuloadExecutor(1, initializer=spoil_logging_and_fail) as executor:
        assert "LookupError: no database" in str(executor.submit(abs, -1).exception())


def test_a_handler_of_this_process_that_fails(request):
    """The pool is broken all the same, and no future is left."""
    logger, handler = logging.getLogger("concurrent.futures"), Deaf()
    logger.addHandler(handler)
    request.addfinalizer(lambda: logger.removeHandler(handler))
    with FuloadExecutor(1, initializer=fail, initargs=(ValueError(),)) as executor:
        futures = [executor.submit(abs, -i) for i in range(3)]
        wait(futures, 30)
        all_broken(executor, futures)
        assert "initializer failed" in executor._broken


def test_no_task_waits_for_an_initializer_while_a_worker_is_ready(tmp_path):
    """The second worker is in its initializer until the first has done all tasks."""
    with FuloadExecutor(2, initializer=pass_or_wait, initargs=(tmp_path,)) as executor:
        first = executor.submit(os.getpid).result()
        slow = executor.submit(wait_for, tmp_path / "second")
        others = [executor.submit(os.getpid) for _ in range(20)]
        assert {other.result(timeout=30) for other in (slow, *others)} == {None, first}
        assert {executor.submit(os.getpid).result(timeout=30) for _ in range(200)} == {first}
        (tmp_path / "open").touch()
        futures = [executor.submit(wait_for, tmp_path / "both") for _ in range(2)]
        until(lambda: all(future.running() for future in futures))
        (tmp_path / "both").touch()
        assert {future.result(timeout=30) for future in futures} == {None}
        assert len(executor.worker_pids) == 2 and executor.stats().failed == 0


def test_the_initializer_of_a_later_worker_fails(tmp_path):
    """One that was started as an interpreter: its first task hears of it."""
    with FuloadExecutor(2, initializer=pass_once_then_fail, initargs=(tmp_path,)) as executor:
        executor.submit(abs, -1).result()
        slow = executor.submit(wait_for, tmp_path / "second")
        futures = [executor.submit(wait_for, tmp_path / "never") for _ in range(3)]
        all_broken(executor, futures)
        assert slow.exception(timeout=30) is None or isinstance(slow.exception(), BrokenProcessPool)
