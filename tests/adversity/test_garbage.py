"""Executors that nobody shuts down; `nothing_is_left` looks after each test."""

from __future__ import annotations

import gc
import os
import weakref

import pytest
import zoo
from zoo import until

from fuload_exec import FuloadExecutor


def ended(pids):
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize("python", [False, True])
def test_dropped(libc, python):
    executor = FuloadExecutor(2)
    task = zoo.square if python else libc.abs
    futures = [executor.submit(task, 1) for _ in range(100)]
    assert [f.result() for f in futures] == [1] * 100
    pids = until(lambda: executor.worker_pids)
    del executor
    until(lambda: gc.collect() + 1 and ended(pids))
    assert [f.result() for f in futures] == [1] * 100


def test_dropped_with_pending_work(libc):
    """The tasks are finished, as with the standard library."""
    executor = FuloadExecutor(2)
    futures = [executor.submit(libc.usleep, 2000) for _ in range(100)] + [executor.submit(zoo.square, 2)]
    del executor
    gc.collect()
    assert [f.result(timeout=30) for f in futures] == [0] * 100 + [4]


def test_dropped_with_its_futures(libc):
    FuloadExecutor(2).submit(libc.usleep, 50_000)


def test_dropped_in_a_cycle(libc):
    executor = FuloadExecutor(2)
    executor.submit(libc.abs, -1).result()
    executor.me = executor
    reference = weakref.ref(executor)
    del executor
    until(lambda: gc.collect() + 1 and reference() is None)


def test_dropped_in_its_own_callback(libc):
    held = [FuloadExecutor(1)]
    called = []
    future = held[0].submit(libc.usleep, 20_000)
    future.add_done_callback(lambda f: (held.clear(), gc.collect(), called.append(f.result())))
    del future
    until(lambda: called == [0])


def test_shut_down_in_its_own_callback(libc):
    executor = FuloadExecutor(1)
    called = []
    future = executor.submit(libc.usleep, 20_000)
    future.add_done_callback(lambda f: (executor.shutdown(), called.append(f.result())))
    until(lambda: called == [0])


def test_never_used():
    for _ in range(50):
        FuloadExecutor(2)
    executor = FuloadExecutor(3)
    executor.shutdown()
    executor.shutdown()
    with FuloadExecutor(1):
        pass


def test_hundreds_made_and_dropped(libc, stress):
    for i in range(150 * stress):
        executor = FuloadExecutor(1 + i % 3)
        future = executor.submit(libc.abs, -i)
        if i % 2:
            assert future.result(timeout=30) == i
        if i % 5 == 0:
            executor.shutdown(wait=bool(i % 10))


def test_hundreds_alive_at_once(libc):
    executors = [FuloadExecutor(1) for _ in range(60)]
    futures = [executor.submit(libc.abs, -i) for i, executor in enumerate(executors)]
    assert [f.result(timeout=60) for f in futures] == list(range(60))
    for executor in executors[::2]:
        executor.shutdown()
    assert [e.submit(libc.abs, -3).result(timeout=30) for e in executors[1::2]] == [3] * 30


def test_shutdown_at_once(libc):
    for _ in range(30):
        executor = FuloadExecutor(4)
        futures = [executor.submit(libc.abs, -i) for i in range(20)]
        executor.shutdown(wait=True)
        assert [f.result(timeout=0) for f in futures] == list(range(20))


def test_from_many_threads_at_once(libc):
    """Several threads shut the same executor down; all return."""
    import threading

    for _ in range(10):
        executor = FuloadExecutor(2)
        futures = [executor.submit(libc.usleep, 500) for _ in range(20)]
        threads = [threading.Thread(target=executor.shutdown) for _ in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)
            assert not t.is_alive()
        assert all(f.done() for f in futures)


# -- the interpreter ends ---------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "executor = FuloadExecutor(2); executor.submit(libc.abs, -1).result()",
        "executor = FuloadExecutor(2); executor.submit(zoo.square, 1).result()",
        "executor = FuloadExecutor(2)",
        "executor = FuloadExecutor(2, spin=0); futures = [executor.submit(zoo.square, i) for i in range(100)]",
        "executor = FuloadExecutor(2); future = executor.submit(libc.usleep, 100_000); sys.exit()",
        "executors = [FuloadExecutor(2) for _ in range(5)]; futures = [e.submit(libc.usleep, 1000) for e in executors]",
        "executor = FuloadExecutor(2); executor.submit(os._exit, 1).exception(); executor.submit(libc.abs, -1).result()",
        "sys.executor = FuloadExecutor(2); sys.executor.submit(libc.abs, -1)",
        "executor = FuloadExecutor(2); executor.submit(libc.abs, -1).add_done_callback(lambda f: executor.submit(libc.abs, -2))",
        "executor = FuloadExecutor(2); futures = [executor.submit(libc.usleep, 1000) for _ in range(3000)]; executor.shutdown(wait=False, cancel_futures=True)",
        "class Late:\n    def __del__(self): self.future = self.executor.submit(libc.abs, -1)\nlate = Late(); late.executor = FuloadExecutor(1); late.executor.submit(libc.abs, -1)",
        "import atexit; executor = FuloadExecutor(1); executor.submit(libc.abs, -1); atexit.register(executor.shutdown)",
    ],
)
def test_exit_with_a_live_pool_says_nothing(program, script):
    p = program(script)
    assert p.exit(30) == 0, p.errors()
    text = p.errors()
    if "Late" in script or "add_done_callback" in script:
        # Refused, and said so by Python itself, in its own words; nothing else.
        lines = [line for line in text.splitlines() if "RuntimeError" in line]
        assert not text or lines, text
    else:
        assert text == ""
