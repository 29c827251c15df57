"""Callbacks, wait() and as_completed() on tasks: what concurrent.futures promises."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import sys
import threading
import warnings
import weakref
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    ThreadPoolExecutor,
    as_completed,
    wait,
)

import pytest
from callbacks_and_waits_tasks import Counting, ended, give_thing
from gates import pass_gate, report_and_pass_gate
from support.tasks import fail
from support.waiting import until

from fuload_exec import FuloadExecutor, FuloadFuture


def cancelled():
    future = concurrent.futures.Future()
    future.cancel()
    future.set_running_or_notify_cancel()
    return future


# -- callbacks -----------------------------------------------------------------


def test_callbacks_run_in_this_process_and_see_the_end(make_executor, gate):
    seen = []
    with make_executor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path, 5)
        future.add_done_callback(lambda f: seen.append((f.done(), f.running(), f.cancelled(), f.result(0), os.getpid())))
        gate.open()
        until(lambda: seen)
    assert seen == [(True, False, False, 5, os.getpid())]


def test_a_callback_may_add_callbacks(make_executor, gate):
    seen = []
    with make_executor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path, 5)
        future.add_done_callback(lambda f: (f.add_done_callback(lambda f: seen.append("added")), seen.append("first")))
        future.add_done_callback(lambda f: seen.append("second"))
        gate.open()
        until(lambda: len(seen) == 3)
    assert seen == ["added", "first", "second"]


def test_the_same_callback_twice(make_executor, gate):
    seen = []
    with make_executor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path)
        future.add_done_callback(seen.append)
        future.add_done_callback(seen.append)
        gate.open()
        until(lambda: len(seen) == 2)
    assert seen == [future, future]


def test_callbacks_that_submit_form_a_chain(make_executor):
    last = concurrent.futures.Future()

    def follow(future):
        value = future.result()
        if value == 30:
            last.set_result(value)
        else:
            executor.submit(abs, -(value + 1)).add_done_callback(follow)

    with make_executor(1) as executor:
        executor.submit(abs, 0).add_done_callback(follow)
        assert last.result(60) == 30


def test_a_callback_is_not_called_inside_another(libm):
    """Though the task that it submits has ended by the time that it asks: a long
    chain would use up the stack."""
    ended, inside, depths = threading.Event(), [], []

    def follow(future):
        inside.append(future)
        depths.append(len(inside))
        if len(depths) == 50:
            ended.set()
        else:
            following = executor.submit(libm.fabs, -1.0)
            until(lambda: executor.stats().workers[0].tasks_done > len(depths))
            following.add_done_callback(follow)
        inside.pop()

    with FuloadExecutor(1) as executor:
        executor.submit(libm.fabs, -1.0).add_done_callback(follow)
        assert ended.wait(60)
    assert depths == [1] * 50


def test_who_waits_for_results_does_not_overtake_their_callbacks(make_executor):
    """Bars that count them (tqdm's process_map) are whole when the last result is there."""
    seen = []
    with make_executor(2) as executor:
        executor.submit(abs, 0).result(60)
        futures = [executor.submit(abs, -n) for n in range(200)]
        for future in futures:
            future.add_done_callback(seen.append)
        assert [future.result(60) for future in futures] == list(range(200))
        # Those that ended last may be under way.
        assert len(seen) > 100


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_does_not_end_the_pool(gate, caplog, error):
    """A callback that calls sys.exit() hangs the standard library's pool."""
    seen = []
    with FuloadExecutor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path)
        future.add_done_callback(lambda f: fail(error("of a callback")))
        future.add_done_callback(seen.append)
        with caplog.at_level(logging.ERROR):
            gate.open()
            until(lambda: caplog.records)
        assert seen == [future] and caplog.records[0].name == "concurrent.futures"
        assert executor.submit(abs, -1).result(60) == 1
    caplog.clear()


def test_shutdown_calls_every_callback_though_one_is_interrupted(gate, tmp_path):
    seen = []
    executor = FuloadExecutor(1)
    with gate:
        executor.submit(report_and_pass_gate, str(tmp_path / "runs"), gate.path)
        until((tmp_path / "runs").exists)
        futures = [executor.submit(abs, -1) for _ in range(3)]
        for future in futures:
            future.add_done_callback(seen.append)
            future.add_done_callback(lambda f: fail(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            executor.shutdown(wait=False, cancel_futures=True)
        assert all(f.cancelled() for f in futures) and set(seen) == set(futures)
        gate.open()
    executor.shutdown()


def test_callbacks_of_cancelled_tasks_at_shutdown(make_executor, gate, tmp_path):
    seen = []
    executor = make_executor(1)
    with gate:
        executor.submit(report_and_pass_gate, str(tmp_path / "runs"), gate.path)
        until((tmp_path / "runs").exists)
        futures = [executor.submit(abs, -1) for _ in range(20)]
        for future in futures:
            future.add_done_callback(seen.append)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.open()
        executor.shutdown(wait=True, cancel_futures=True)
    until(lambda: len(seen) == 20)
    assert set(seen) == set(futures) and all(f.done() for f in futures) and futures[-1].cancelled()


# -- wait ------------------------------------------------------------------------


def test_wait_with_those_that_have_ended(make_executor, gate):
    good, bad, gone = ended(abs, -1), ended(divmod, 1, 0), cancelled()
    with make_executor(2) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        failing = executor.submit(divmod, 1, 0)
        assert wait([gone, good, held], return_when=FIRST_COMPLETED) == ({gone, good}, {held})
        assert wait([bad, held], return_when=FIRST_EXCEPTION) == ({bad}, {held})
        assert wait([good, gone, held], timeout=0.01, return_when=ALL_COMPLETED) == ({good, gone}, {held})
        done, not_done = wait([good, gone, failing, held], return_when=FIRST_EXCEPTION)
        assert done == {good, gone, failing} and not_done == {held}
        gate.open()
        assert wait([good, bad, gone, failing, held]) == ({good, bad, gone, failing, held}, set())


def test_what_wait_returns(make_executor):
    with make_executor(1) as executor:
        future = executor.submit(abs, -1)
        result = wait(f for f in (future, future))
        assert result.done == {future} and result.not_done == set() and tuple(result) == ({future}, set())


def test_a_wrong_condition(make_executor, gate):
    with make_executor(1) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        with pytest.raises(ValueError, match="Invalid return condition"):
            wait([held], return_when="SOME_COMPLETED")


def test_many_threads_wait_for_many(make_executor):
    """Conditions of futures that end just then."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with make_executor(2) as executor:
            futures = [executor.submit(abs, -i) for i in range(200)]
            left = []
            threads = [threading.Thread(target=lambda: left.append(wait(futures).not_done)) for _ in range(6)]
            threads += [threading.Thread(target=lambda: left.append(set(futures) - set(as_completed(futures)))) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert left == [set()] * 8
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("when", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_wait_for_futures_of_several_executors(make_executor, make_gate, libm, when):
    one_gate, other_gate = make_gate(), make_gate()
    with (
        make_executor(1) as one,
        FuloadExecutor(1) as two,
        ThreadPoolExecutor(1) as three,
        FuloadExecutor(1) as four,
        one_gate,
        other_gate,
    ):
        futures = [pool.submit(pass_gate, gate.path) for pool, gate in [(one, one_gate), (two, one_gate), (three, other_gate)]]
        futures.append(four.submit(libm.cos, 0.0))
        futures[3].result()
        assert wait(futures, timeout=0, return_when=when) == ({futures[3]}, set(futures[:3]))
        other_gate.open()
        if when == FIRST_COMPLETED:
            assert wait(futures[:3], return_when=when) == ({futures[2]}, set(futures[:2]))
        one_gate.open()
        assert wait(futures, return_when=ALL_COMPLETED).not_done == set()


# -- as_completed ------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_as_completed_gives_what_has_ended_before_the_timeout(make_executor, gate, timeout):
    before = {ended(abs, -1), ended(divmod, 1, 0), cancelled()}
    with make_executor(1) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        seen = set()
        with pytest.raises(concurrent.futures.TimeoutError, match=r"1 \(of 4\) futures unfinished"):
            for future in as_completed(before | {held}, timeout):
                seen.add(future)
        assert seen == before


def test_as_completed_takes_any_iterable_once(make_executor):
    with make_executor(1) as executor:
        future = executor.submit(abs, -1)
        assert list(as_completed(f for f in [future] * 3)) == [future]
        assert list(as_completed([])) == []


def test_as_completed_keeps_no_reference(make_executor):
    """Neither to a future that was given, nor to its result."""
    with make_executor(2) as executor:
        futures = {executor.submit(give_thing, i) for i in range(20)}
        wait(futures)
        for future in as_completed(list(futures)):
            futures.remove(future)
            one, other = weakref.ref(future), weakref.ref(future.result())
            del future
            # The list above lives on in the frame of as_completed only as a set that shrinks.
            if isinstance(executor, FuloadExecutor):
                assert one() is None and other() is None
        assert not futures


def test_as_completed_sees_a_cancellation(gate, tmp_path):
    with FuloadExecutor(1) as executor, gate:
        held = executor.submit(report_and_pass_gate, str(tmp_path / "runs"), gate.path)
        until((tmp_path / "runs").exists)
        waiting = executor.submit(abs, -1)
        completed = as_completed([held, waiting])
        timer = threading.Timer(0.01, waiting.cancel)
        timer.start()
        assert next(completed) is waiting
        timer.join()
        gate.open()
        assert list(completed) == [held]


def test_as_completed_closed_early_leaves_the_tasks_alone(make_executor, gate):
    with make_executor(2) as executor, gate:
        quick, held = executor.submit(abs, -1), executor.submit(pass_gate, gate.path, 5)
        completed = as_completed([quick, held])
        assert next(completed) is quick
        completed.close()
        gate.open()
        assert held.result() == 5


# -- asyncio ------------------------------------------------------------------------


def test_a_cancelled_await_leaves_alone_what_runs(make_executor, gate, tmp_path):
    async def work(executor):
        loop = asyncio.get_running_loop()
        awaited = loop.run_in_executor(executor, report_and_pass_gate, str(tmp_path / "runs"), gate.path)
        while not (tmp_path / "runs").exists():
            await asyncio.sleep(0.001)
        awaited.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaited
        gate.open()
        return await loop.run_in_executor(executor, abs, -1)

    with make_executor(1) as executor, gate:
        assert asyncio.run(work(executor)) == 1


def test_wait_for_with_a_timeout(make_executor, gate):
    async def work(executor):
        loop = asyncio.get_running_loop()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, pass_gate, gate.path), 0.01)
        gate.open()
        return await loop.run_in_executor(executor, abs, -1)

    with make_executor(1) as executor, gate:
        assert asyncio.run(work(executor)) == 1


def test_the_default_executor_of_a_loop(make_executor):
    """Only a ThreadPoolExecutor since 3.11; before that a warning says so."""
    loop = asyncio.new_event_loop()
    try:
        with make_executor(1) as executor:
            if sys.version_info >= (3, 11):
                with pytest.raises(TypeError, match="ThreadPoolExecutor"):
                    loop.set_default_executor(executor)
            else:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    loop.set_default_executor(executor)
                assert [w.category for w in caught] == [DeprecationWarning]
                assert loop.run_until_complete(loop.run_in_executor(None, abs, -1)) == 1
    finally:
        loop.close()


# -- the executor as a class --------------------------------------------------------


def test_a_class_of_ones_own(libm):
    with Counting(1) as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        assert executor.submit(abs, -1).result() == 1
        assert list(executor.map(abs, [-1, -2], chunksize=1)) == [1, 2]
        assert list(executor.map(libm.fabs, [-1.0, -2.0])) == [1.0, 2.0]
        assert executor.calls == [abs] * 3 + [libm.fabs] * 2
        assert type(executor.submit(abs, -1)) is FuloadFuture


def test_the_exceptions_are_those_of_the_standard_library(make_executor):
    from concurrent.futures.process import BrokenProcessPool

    assert issubclass(BrokenProcessPool, concurrent.futures.BrokenExecutor)
    assert issubclass(concurrent.futures.BrokenExecutor, RuntimeError)
    with make_executor(1) as executor:
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit(os._exit, 3).result()


@pytest.mark.parametrize("number", [0, -1])
def test_too_few_workers(make_executor, number):
    with pytest.raises(ValueError, match="max_workers must be"):
        make_executor(number)


@pytest.mark.parametrize("number", ["2", [2], 1j])
def test_a_number_of_workers_that_is_none(make_executor, number):
    with pytest.raises(TypeError):
        make_executor(number)


def test_an_initializer_that_is_not_callable(make_executor):
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make_executor(1, initializer=5)


@pytest.mark.parametrize("kind", ["trace", "profile"])
def test_callbacks_are_seen_by_debuggers_and_coverage(make_executor, gate, kind):
    """What threading.settrace() and setprofile() install for new threads."""
    seen = []

    def note(future):
        pass

    def hook(frame, event, argument):
        if event == "call" and frame.f_code is note.__code__:
            seen.append(threading.current_thread())

    before = getattr(threading, f"get{kind}")()
    install = getattr(threading, f"set{kind}")
    install(hook)
    try:
        with make_executor(1) as executor, gate:
            executor.submit(pass_gate, gate.path).add_done_callback(note)
    finally:
        install(before)
    assert len(seen) == 1
