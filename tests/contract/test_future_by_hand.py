"""A FuloadFuture that no pool runs: what concurrent.futures.Future promises to
those who write executors, and to wait() and as_completed()."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import pickle
import threading
import weakref
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError, InvalidStateError, wait

import pytest

from fuload_exec import FuloadExecutor, FuloadFuture


@pytest.fixture(params=[FuloadFuture, concurrent.futures.Future], ids=lambda cls: cls.__name__)
def make_future(request):
    return request.param


STATES = ["pending", "running", "cancelled", "notified", "failed", "finished"]


def future_in(state, make_future):
    future = make_future()
    if state in ("cancelled", "notified"):
        assert future.cancel()
        if state == "notified":
            assert not future.set_running_or_notify_cancel()
    elif state != "pending":
        assert future.set_running_or_notify_cancel()
        if state == "failed":
            future.set_exception(OSError("o"))
        elif state == "finished":
            future.set_result(42)
    return future


@pytest.mark.parametrize("state", STATES)
def test_what_each_state_answers(make_future, state):
    future = future_in(state, make_future)
    assert future.running() == (state == "running")
    assert future.cancelled() == (state in ("cancelled", "notified"))
    assert future.done() == (state not in ("pending", "running"))
    for ask in (future.result, future.exception):
        if state in ("pending", "running"):
            with pytest.raises(concurrent.futures.TimeoutError):
                ask(timeout=0)
        elif state in ("cancelled", "notified"):
            with pytest.raises(CancelledError):
                ask(timeout=0)
    if state == "failed":
        assert type(future.exception(0)) is OSError
        with pytest.raises(OSError, match="o") as caught:
            future.result()
        assert caught.value is future.exception()
    elif state == "finished":
        assert future.result(0) == 42 and future.exception(0) is None


@pytest.mark.parametrize("state", STATES)
def test_cancelling_in_each_state(make_future, state):
    future = future_in(state, make_future)
    cancels = state in ("pending", "cancelled", "notified")
    assert future.cancel() is cancels and future.cancel() is cancels
    assert future.cancelled() is cancels


@pytest.mark.parametrize("state", STATES)
def test_setting_an_outcome_in_each_state(make_future, state):
    for name, outcome in [("set_result", 1), ("set_exception", ValueError("v"))]:
        future = future_in(state, make_future)
        if state in ("pending", "running"):
            getattr(future, name)(outcome)
            assert outcome in (future._result, future._exception) and future.done()
            state_word = "FINISHED"
        else:
            state_word = {"cancelled": "CANCELLED", "notified": "CANCELLED_AND_NOTIFIED"}.get(state, "FINISHED")
        with pytest.raises(InvalidStateError, match=rf"^{state_word}: <{make_future.__name__} at 0x"):
            getattr(future, name)(outcome)


@pytest.mark.parametrize("state", STATES)
def test_set_running_or_notify_cancel(make_future, state, caplog):
    future = future_in(state, make_future)
    if state == "pending":
        assert future.set_running_or_notify_cancel() is True and future.running()
    elif state == "cancelled":
        assert future.set_running_or_notify_cancel() is False and future.cancelled()
    else:
        with caplog.at_level(logging.CRITICAL), pytest.raises(RuntimeError, match="unexpected state"):
            future.set_running_or_notify_cancel()
        assert caplog.records[0].name == "concurrent.futures" and "unexpected state" in caplog.text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("pending", "state=pending>"),
        ("running", "state=running>"),
        ("cancelled", "state=cancelled>"),
        ("notified", "state=cancelled>"),
        ("failed", "state=finished raised OSError>"),
        ("finished", "state=finished returned int>"),
    ],
)
def test_repr_of_a_future_by_hand(make_future, state, text):
    future = future_in(state, make_future)
    assert repr(future) == f"<{make_future.__name__} at {id(future):#x} {text}"


def test_a_future_cannot_be_pickled(make_future):
    with pytest.raises(TypeError):
        pickle.dumps(make_future())
    with FuloadExecutor(1) as executor:
        for value in (make_future(), executor, executor.submit(abs, -1)):
            assert type(executor.submit(id, value).exception()) is TypeError


def test_generic_alias(make_future):
    assert make_future[int].__origin__ is make_future


# -- callbacks ---------------------------------------------------------------------


@pytest.mark.parametrize("end", ["set_result", "set_exception", "cancel"])
def test_callbacks_by_hand_in_their_order(make_future, end, caplog):
    future, seen = make_future(), []

    def fail(f):
        seen.append(("fails", f))
        raise ValueError("of a callback")

    future.add_done_callback(lambda f: seen.append((1, f)))
    future.add_done_callback(fail)
    future.add_done_callback(lambda f: seen.append((2, f)))
    with caplog.at_level(logging.ERROR):
        getattr(future, end)(*{"set_result": (5,), "set_exception": (OSError(),)}.get(end, ()))
    assert seen == [(1, future), ("fails", future), (2, future)]
    assert [r.name for r in caplog.records] == ["concurrent.futures"]
    assert "exception calling callback for" in caplog.text and "of a callback" in caplog.text
    future.add_done_callback(lambda f: seen.append((3, f)))
    assert seen[-1] == (3, future)
    caplog.clear()


def test_a_callback_that_adds_a_callback(make_future):
    future, seen = make_future(), []

    def add(f):
        f.add_done_callback(lambda f: seen.append("added"))
        seen.append("added it")

    future.add_done_callback(add)
    future.set_result(1)
    assert seen == ["added", "added it"]


def test_a_callback_that_cancels_and_sets(make_future):
    future, seen = make_future(), []

    def meddle(f):
        seen.append(f.cancel())
        with pytest.raises(InvalidStateError):
            f.set_result(2)

    future.add_done_callback(meddle)
    future.set_result(1)
    assert seen == [False] and future.result() == 1


def test_what_is_no_exception_of_a_callback_reaches_the_one_who_ended_it(make_future):
    future = make_future()

    def stop(f):
        raise SystemExit(3)

    future.add_done_callback(stop)
    with pytest.raises(SystemExit):
        future.set_result(1)
    assert future.result() == 1


# -- wait and as_completed with those that have ended --------------------------------


def test_wait_with_futures_in_every_state(make_future):
    states = {state: future_in(state, make_future) for state in STATES}
    ended = {states[s] for s in ("notified", "failed", "finished")}
    others = {states[s] for s in ("pending", "running", "cancelled")}
    for when in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        assert wait(states.values(), timeout=0, return_when=when) == (ended, others)
    assert wait([states["failed"], states["pending"]], return_when=FIRST_EXCEPTION).done == {states["failed"]}
    assert wait([states["finished"], states["pending"]], return_when=FIRST_COMPLETED).done == {states["finished"]}


def test_wait_hears_of_a_cancellation_when_it_is_notified(make_future):
    future, done = make_future(), []
    thread = threading.Thread(target=lambda: done.append(wait([future])))
    thread.start()
    assert future.cancel() and not future.set_running_or_notify_cancel()
    thread.join()
    assert done == [({future}, set())]


def test_as_completed_tells_how_many_are_left(make_future):
    futures = [future_in(s, make_future) for s in ("notified", "pending", "running", "finished")]
    seen = []
    with pytest.raises(concurrent.futures.TimeoutError, match=r"^2 \(of 4\) futures unfinished$"):
        for future in concurrent.futures.as_completed(futures, timeout=0):
            seen.append(future)
    assert set(seen) == {futures[0], futures[3]}


def test_as_completed_keeps_no_reference_to_what_it_has_given(make_future):
    futures = [make_future() for _ in range(8)]
    futures += [future_in("notified", make_future), future_in("finished", make_future)]
    with pytest.raises(concurrent.futures.TimeoutError):
        for future in concurrent.futures.as_completed(futures, timeout=0):
            futures.remove(future)
            seen = weakref.ref(future)
            del future
            assert seen() is None
    futures[0].set_result("x")
    for future in concurrent.futures.as_completed(futures):
        futures.remove(future)
        seen = weakref.ref(future)
        del future
        assert seen() is None
        if futures:
            futures[0].set_result("x")


def test_a_thread_that_waits(make_future):
    for end, outcome in [("set_result", 5), ("set_exception", KeyError("k")), ("cancel", None)]:
        future, seen = make_future(), []

        def ask(future=future, seen=seen):
            try:
                seen.append(future.result(60))
            except BaseException as error:
                seen.append(type(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        getattr(future, end)(*([] if end == "cancel" else [outcome]))
        for thread in threads:
            thread.join()
        assert seen == [{"set_result": 5, "set_exception": KeyError, "cancel": CancelledError}[end]] * 4


def test_asyncio_wraps_it(make_future):
    async def work():
        good, bad, cancelled = make_future(), make_future(), make_future()
        wrapped = [asyncio.wrap_future(f) for f in (good, bad, cancelled)]
        good.set_result(5)
        bad.set_exception(KeyError("k"))
        wrapped[2].cancel()
        assert await wrapped[0] == 5
        with pytest.raises(KeyError):
            await wrapped[1]
        with pytest.raises(asyncio.CancelledError):
            await wrapped[2]
        assert cancelled.cancelled()

    asyncio.run(work())


def test_an_exception_that_was_raised_keeps_its_future_alive_for_nobody(make_future):
    class Canary:
        pass

    gc.disable()
    try:
        future, canary = make_future(), Canary()
        error = ValueError("v")
        future.set_exception(error)
        del error
        try:
            future.result()
        except ValueError:
            pass
        future.canary, seen = canary, weakref.ref(canary)
        del future, canary
        assert seen() is None
    finally:
        gc.enable()


def test_terminate_of_what_no_pool_runs():
    future = FuloadFuture()
    assert not future.terminate()
    future.set_result(3)
    assert not future.terminate() and future.result() == 3
    cancelled = FuloadFuture()
    cancelled.cancel()
    assert cancelled.terminate()


def test_set_exception_takes_a_class():
    future = FuloadFuture()
    future.set_exception(KeyError)
    assert type(future.exception()) is KeyError
