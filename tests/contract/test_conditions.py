"""wait() and as_completed() that an exception of a signal handler cuts short, at each
of the points where Python would raise it."""

from __future__ import annotations

import concurrent.futures
import dis
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait

import pytest
from gates import pass_gate
from support.waiting import until

from fuload_exec import FuloadExecutor, FuloadFuture

# Python looks for signals after these.
LOOKS = {"CALL", "CALL_KW", "CALL_FUNCTION", "CALL_METHOD", "CALL_FUNCTION_KW", "CALL_FUNCTION_EX"}
LOOKS |= {"RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "GEN_START"}


class Alarm(Exception):
    pass


class RaisesAt:
    """Raises Alarm at the n-th point at which Python looks for signals in the files
    of the standard library."""

    def __init__(self, n):
        self.n = n
        self.seen = 0
        self.last = {}

    def __call__(self, frame, event, arg):
        if "concurrent" not in frame.f_code.co_filename and "threading" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            looks = self.last.get(frame) in LOOKS
            self.last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if looks:
                self.seen += 1
                if self.seen == self.n:
                    raise Alarm
        elif event == "return":
            self.last.pop(frame, None)
        return self

    def __enter__(self):
        self.before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # 3.12 asks for one before settrace()
        sys.settrace(self)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(self.before)
        self.last.clear()
        return exc_info[0] is Alarm


def take_all(futures):
    for _ in as_completed(futures):
        pass


WAYS = {
    "wait": wait,
    "first": lambda futures: wait(futures, return_when=FIRST_COMPLETED),
    "exception": lambda futures: wait(futures, return_when=FIRST_EXCEPTION),
    "as_completed": take_all,
}


@pytest.mark.parametrize("way", WAYS)
def test_cut_short_at_every_point(pool, libc, way):
    """Every future ends all the same, and who waits again hears of it."""
    executor = pool(2)
    executor.submit(libc.abs, -1).result()
    n = 1
    while True:
        futures = [executor.submit(libc.usleep, 300) for _ in range(3)]
        with RaisesAt(n) as raises:
            WAYS[way](futures)
        assert not wait(futures, timeout=20).not_done, n
        assert set(as_completed(futures, timeout=20)) == set(futures), n
        assert [future.result() for future in futures] == [0] * 3
        if raises.seen < n:
            break
        n += 1
    assert n > 30


class Waiter:
    def __init__(self):
        self.told = []

    def add_result(self, future):
        self.told.append(future)


def in_a_thread(call):
    """Its result, once the thread has ended."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(20)
    return results[0]


def test_a_future_that_ends_while_its_condition_is_held():
    """result() knows at once, who holds the condition when it gives it back."""
    future, early, late = FuloadFuture(), Waiter(), Waiter()
    future._waiters.append(early)
    with future._condition:
        in_a_thread(lambda: future.set_result(3))
        assert future.done() and future.result() == 3
        assert future._state == "RUNNING" and not early.told
        future._waiters.append(late)
    assert future._state == "FINISHED"
    assert early.told == late.told == [future]
    assert not wait([future], timeout=0).not_done


def test_who_comes_after_the_end_is_not_told():
    """It reads the state: were it told as well, it would count the future twice."""
    future, late = FuloadFuture(), Waiter()

    class Early(Waiter):
        def add_result(self, future):
            super().add_result(future)
            assert future._state == "FINISHED"
            future._waiters.append(late)

    early = Early()
    future._waiters.append(early)
    future.set_result(3)
    assert early.told == [future] and not late.told


def test_a_condition_that_was_left_taken():
    future = FuloadFuture()
    future._condition.acquire()
    future._condition.acquire()  # wait() that comes after one that was cut short
    future._condition.release()
    assert in_a_thread(lambda: future._condition.acquire(timeout=20))
    future._condition.release()  # not this thread's any more
    assert not future._condition.acquire(blocking=False)
    future.set_result(3)
    assert future.result() == 3


def test_a_condition_can_be_waited_on():
    future = FuloadFuture()
    with pytest.raises(RuntimeError):
        future._condition.notify_all()

    def sleep():
        with future._condition:
            return future._condition.wait_for(future.done, 20)

    results = []
    threads = [threading.Thread(target=lambda: results.append(sleep())) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(future._condition.notify.__self__._waiters) == 2)
    future.set_result(3)
    for thread in threads:
        thread.join(20)
    assert results == [True, True]


def test_one_who_sleeps_on_a_condition_that_is_held_at_the_end():
    future, results = FuloadFuture(), []

    def sleep():
        with future._condition:
            results.append(future._condition.wait_for(future.done, 20))

    thread = threading.Thread(target=sleep)
    thread.start()
    until(lambda: len(future._condition.notify.__self__._waiters) == 1)
    with future._condition:
        in_a_thread(lambda: future.set_result(3))
    thread.join(20)
    assert results == [True]


def test_wait_gives_up_in_time(gate):
    with FuloadExecutor(1) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        assert wait([held], timeout=0).not_done == wait([held], timeout=-1).not_done == {held}
        assert wait([held], timeout=0.01).not_done == {held}
        with pytest.raises(concurrent.futures.TimeoutError):
            list(as_completed([held], timeout=0.01))
        with pytest.raises(OverflowError):
            wait([held], timeout=1e300)


@pytest.mark.parametrize("end", [lambda future: future.set_result(3), lambda future: future.cancel()])
def test_sleepers_hear_of_an_end_by_hand(end):
    future, results = FuloadFuture(), []

    def sleep():
        with future._condition:
            results.append(future._condition.wait_for(future.done, 20))

    thread = threading.Thread(target=sleep)
    thread.start()
    until(lambda: len(future._condition.notify.__self__._waiters) == 1)
    end(future)
    thread.join(20)
    assert results == [True]


@pytest.mark.parametrize("held", [False, True])
def test_a_waiter_that_raises_keeps_nothing_from_others(held):
    future, first, last, called = FuloadFuture(), Waiter(), Waiter(), []

    class Raises(Waiter):
        def add_result(self, future):
            raise Alarm

    for waiter in (first, Raises(), last):
        future._waiters.append(waiter)
    future.add_done_callback(called.append)
    with pytest.raises(Alarm):
        if held:
            with future._condition:
                in_a_thread(lambda: future.set_result(3))
        else:
            future.set_result(3)
    assert first.told == last.told == called == [future]
    assert future.result() == 3 and future._state == "FINISHED"


def test_the_event_of_a_waiter():
    """As threading.Event."""
    future = FuloadFuture()
    waiter = concurrent.futures._base._Waiter()
    future._waiters.append(waiter)
    event = waiter.event
    assert not event.is_set() and event.wait(0) is False and event.wait(0.001) is False
    event.set()
    assert event.is_set() and event.wait() is True and event.wait(0) is True
    event.clear()
    assert not event.is_set() and event.wait(0) is False
