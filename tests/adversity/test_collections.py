"""A garbage collection in the middle of a call, and what code may run in it.

Up to Python 3.11 any allocation of a container may run one, and with it
finalizers, which let other threads run too. In each test the very thing that
a call is about to wait for happens in there. From 3.12 on collections wait for
the next bytecode, and these tests for nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import threading
from concurrent.futures import as_completed, wait
from types import SimpleNamespace

import pytest
from support.waiting import until

from fuload_exec import FuloadFuture

ALLOCATIONS = range(1, 5)


class Garbage:
    """A cycle that nobody holds; `act` is called by its finalizer."""

    def __init__(self, act):
        self.act = act
        self.me = self

    def __del__(self):
        self.act()


@contextlib.contextmanager
def collection(allocation, act):
    """The given allocation from here on collects, and that calls `act`."""
    threshold = gc.get_threshold()
    gc.collect()
    gc.disable()
    Garbage(act)
    held = [[] for _ in range(100)]  # no list is left that could be used again without allocating
    try:
        gc.set_threshold(gc.get_count()[0] + allocation)
        gc.enable()
        yield held
    finally:
        gc.disable()
        gc.set_threshold(*threshold)
        gc.enable()


def in_time(call):
    """Its result; a thread that hangs in it fails the test and is left behind.
    What it waits for happens here if not in a collection of its own."""
    result = []
    thread = threading.Thread(target=lambda: result.append(call()), daemon=True)
    thread.start()
    until(lambda: not thread.is_alive() or sleeps(thread))
    gc.collect()
    thread.join(20)
    assert not thread.is_alive(), "hangs"
    return result[0]


class Pause:
    """A task that runs until it is ended. Its worker has it: the collection may
    also come in the thread that starts workers, which would wait for itself."""

    def __init__(self, executor, libc, path):
        os.mkfifo(path)
        self.path = path
        self.future = executor.submit(libc.open, os.fsencode(path), os.O_RDONLY)
        until(self.future.running)

    def end(self):
        """Let it end, and see that it has."""
        fd = os.open(self.path, os.O_RDWR)
        try:
            until(self.future.done)
        finally:
            os.close(fd)


@pytest.fixture
def pause(libc, tmp_path):
    libc.open.argtypes, libc.open.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_int
    numbers = iter(range(1000))
    return lambda executor: Pause(executor, libc, tmp_path / f"gate{next(numbers)}")


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_the_last_task_ends_before_submit_waits_for_room(pool, pause, libc, allocation):
    executor = pool(1, spin=0, max_pending=1)
    executor.submit(libc.abs, -1).result()  # described, and its worker is there
    first = pause(executor)

    def submit():
        with collection(allocation, first.end):
            return executor.submit(libc.abs, -2)

    assert in_time(submit).result(20) == 2


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_task_ends_before_result_sleeps(pool, pause, allocation):
    executor = pool(1, spin=0)
    first = pause(executor)

    def result():
        with collection(allocation, first.end):
            return first.future.result()

    assert in_time(result) > 0


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("look", ["result", "exception"])
def test_a_future_is_resolved_by_hand_before_somebody_sleeps(allocation, look):
    future = FuloadFuture()

    def wait_for_it():
        with collection(allocation, lambda: future.set_result(None)):
            return getattr(future, look)()

    assert in_time(wait_for_it) is None


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("by_hand", [True, False])
def test_it_ends_while_a_callback_is_added(pool, pause, allocation, by_hand):
    called = []
    if by_hand:
        future = FuloadFuture()
        end = lambda: future.set_result(None)
    else:
        first = pause(pool(1, spin=0))
        future, end = first.future, first.end
    add, callback = future.add_done_callback, called.append
    with collection(allocation, end):
        add(callback)
    gc.collect()
    until(lambda: called)
    assert called == [future]


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("name", ["_condition", "_waiters", "_done_callbacks"])
def test_what_is_attached_to_a_future_is_made_once(allocation, name):
    future = FuloadFuture()
    seen = []
    with collection(allocation, lambda: seen.append(getattr(future, name))):
        mine = getattr(future, name)
    gc.collect()
    assert seen == [mine] and seen[0] is mine is getattr(future, name)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_future_has_one_condition(allocation):
    """Another thread comes first while this one makes it."""
    future, others = FuloadFuture(), []

    def come_first():
        thread = threading.Thread(target=lambda: others.append(future._condition))
        thread.start()
        thread.join()

    with collection(allocation, come_first):
        mine = future._condition
    gc.collect()
    assert others == [mine] and others[0] is mine is future._condition


@pytest.mark.parametrize("early", [0, 30])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_waiter_comes_while_others_are_told(allocation, early):
    """Another thread takes the condition that was just given back, and reads the state before
    the end shows: it attaches a waiter, which is told once."""
    future, told, states = FuloadFuture(), [], []
    waiter = SimpleNamespace(add_result=told.append)
    future._waiters.extend(SimpleNamespace(add_result=lambda future: None) for _ in range(early))
    read, on = threading.Event(), threading.Event()

    def attach():
        if future._condition.acquire(blocking=False):
            states.append(future._state)
            read.set()
            on.wait(20)
            if states[0] != "FINISHED":
                future._waiters.append(waiter)
            future._condition.release()
        read.set()

    thread = threading.Thread(target=attach)

    def come_first():
        thread.start()
        read.wait(20)

    release = future._condition.release
    future._condition.acquire()
    ending = threading.Thread(target=future.set_result, args=[3])
    ending.start()
    ending.join()
    with collection(allocation, come_first):
        release()
    gc.collect()
    on.set()
    thread.join()
    assert told == [future] * (states == ["RUNNING"])
    assert future._state == "FINISHED"


@pytest.mark.parametrize("how", ["wait", "as_completed"])
def test_two_threads_wait_for_the_same_futures(pool, pause, libc, monkeypatch, how):
    """Each condition is made while the other thread asks for it too."""
    executor = pool(1)
    executor.submit(libc.abs, -1).result()
    make = threading.Condition
    both = threading.Barrier(2)

    def together(*lock):
        try:
            if not lock:
                both.wait(0.02)
        except threading.BrokenBarrierError:
            both.reset()
        return make(*lock)

    monkeypatch.setattr(threading, "Condition", together)
    first = pause(executor)
    futures = [first.future] + [executor.submit(libc.abs, -i) for i in range(20)]
    ended = []
    errors = []

    def watch():
        try:
            ended.append(len(wait(futures).done if how == "wait" else list(as_completed(futures))))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=watch, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    first.end()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "hangs"
    assert not errors and ended == [21, 21]


def test_room_that_one_thread_cannot_use_the_next_can(pool, pause, libc):
    """Threads wait in submit(); what most of them submit is refused."""
    executor = pool(1, spin=0, max_pending=1)
    executor.submit(libc.abs, -1).result()
    first = pause(executor)
    ended = []

    def refused():
        try:
            executor.submit(libc.abs, "no number")
        except TypeError:
            ended.append(None)

    threads = [threading.Thread(target=refused, daemon=True) for _ in range(4)]
    threads.append(threading.Thread(target=lambda: ended.append(executor.submit(libc.abs, -5)), daemon=True))
    for thread in threads:
        thread.start()
    until(lambda: all(sleeps(thread) for thread in threads))
    first.end()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "waits for ever"
    assert [future.result(20) for future in ended if future is not None] == [5]


def sleeps(thread):
    """Whether it waits in the kernel."""
    try:
        with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return False
