"""Nothing of a task is kept alive when it is over, neither here nor in its worker."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import weakref
from concurrent.futures import as_completed, wait

import numpy
import pytest
from gates import pass_gate
from references_tasks import (
    Canary,
    CanaryError,
    Farewell,
    alive,
    fail_with_farewell,
    farewells,
    stop_collecting,
    watch,
    watch_and_fail,
    watch_and_give_what_cannot_be_pickled,
    watch_and_return_it,
)
from support.waiting import until

from fuload_exec import FuloadExecutor

# -- here --------------------------------------------------------------------------


def test_arguments_and_callables_here(make_executor, no_collection):
    with make_executor(1) as executor:
        canaries = [Canary() for _ in range(6)]
        one, two, three, four, five, six = canaries
        futures = [
            executor.submit(id, one),
            executor.submit(Canary.method, self=two),
            executor.submit(three.method),
            executor.submit(four),
            executor.submit(functools.partial(id, five)),
            executor.submit(id, [six]),
        ]
        seen = [weakref.ref(c) for c in canaries]
        wait(futures)
        executor.submit(abs, -1).result()  # the standard's threads let go of the last one
        del canaries, one, two, three, four, five, six
        until(lambda: not any(s() for s in seen))


def test_arguments_are_let_go_of_before_the_task_is_over(no_collection, gate):
    with FuloadExecutor(1) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        canary = Canary()
        seen = weakref.ref(canary)
        waiting = executor.submit(canary.method)
        del canary
        assert seen() is None and not held.done()
        gate.open()
        assert type(waiting.result()) is Canary


def test_arguments_of_a_future_that_nobody_keeps(make_executor):
    with make_executor(1) as executor:
        canary = Canary()
        seen = weakref.ref(canary)
        executor.submit(canary.method)
        del canary
        until(lambda: seen() is None)


@pytest.mark.parametrize("ask", ["result", "as_completed", "wait", "callback", "await"])
def test_results_here(make_executor, no_collection, ask):
    seen = []
    with make_executor(1) as executor:
        futures = [executor.submit(Canary, i) for i in range(3)]
        if ask == "callback":
            for future in futures:
                future.add_done_callback(lambda f: seen.append(weakref.ref(f.result())))
            until(lambda: len(seen) == 3)
        elif ask == "await":
            asyncio.run(look_at_all(futures, seen))
            gc.collect()  # of the loop's own cycles
        elif ask == "wait":
            seen += [weakref.ref(f.result()) for f in wait(futures).done]
        elif ask == "as_completed":
            seen += [weakref.ref(f.result()) for f in as_completed(futures)]
        else:
            seen += [weakref.ref(f.result()) for f in futures]
        future = None
        assert len(seen) == 3 and (ask == "await" or all(s() is not None for s in seen))
        del futures, future
        until(lambda: not any(s() for s in seen))


async def look_at_all(futures, seen):
    for future in futures:
        seen.append(weakref.ref(await asyncio.wrap_future(future)))


def test_futures_here(make_executor, no_collection):
    """A future that is over is kept by nobody."""
    with make_executor(1) as executor:
        futures = [executor.submit(Canary, i) for i in range(5)]
        seen = [weakref.ref(f) for f in futures]
        wait(futures)
        del futures
        executor.submit(abs, -1).result()
        until(lambda: not any(s() for s in seen))


def test_a_cancelled_future_here(no_collection, gate):
    with FuloadExecutor(1) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        futures = [executor.submit(abs, -1) for _ in range(5)]
        until(held.running)
        seen = [weakref.ref(f) for f in futures]
        assert all(f.cancel() for f in futures)
        del futures
        assert not any(s() for s in seen)
        gate.open()


def test_callbacks_are_let_go_of(make_executor, no_collection):
    with make_executor(1) as executor:
        canary = Canary()
        seen = weakref.ref(canary)
        future = executor.submit(abs, -1)
        future.add_done_callback(canary.method)
        until(future.done)
        del canary
        # The standard keeps a future's callbacks as long as the future.
        if not isinstance(executor, FuloadExecutor):
            del future
        until(lambda: seen() is None)


# -- in the worker -------------------------------------------------------------------


@pytest.mark.stress
@pytest.mark.parametrize("fn", [watch, watch_and_return_it, watch_and_give_what_cannot_be_pickled])
@pytest.mark.parametrize("how", ["plain", "keyword", "partial", "array"])
def test_nothing_is_left_in_the_worker(make_executor, fn, how):
    with make_executor(1) as executor:
        executor.submit(stop_collecting).result()
        for _ in range(3):
            if how == "keyword":
                future = executor.submit(fn, canary=Canary())
            elif how == "partial":
                future = executor.submit(functools.partial(fn, Canary()))
            else:
                future = executor.submit(fn, Canary(numpy.zeros(100_000) if how == "array" else None))
            future.exception()
        left, watched = executor.submit(alive).result()
        assert watched in (3, 6) and left == 0


def test_nothing_of_an_exception_is_left_in_the_worker():
    """The standard's worker keeps the last one until the next comes."""
    with FuloadExecutor(1) as executor:
        executor.submit(stop_collecting).result()
        for _ in range(3):
            assert type(executor.submit(watch_and_fail, Canary()).exception()) is CanaryError
        # Frame, local variable, exception, traceback, frame: this cycle is the task's own.
        executor.submit(gc.collect).result()
        assert executor.submit(alive).result() == (0, 6)


def test_an_argument_goes_at_once(make_executor, tmp_path):
    """Not only when the next task comes."""
    with make_executor(1) as executor:
        executor.submit(stop_collecting).result()
        pid = executor.submit(os.getpid).result()
        executor.submit(id, Farewell(tmp_path / "argument")).result()
        until((tmp_path / f"argument.{pid}").exists)


def test_a_result_and_an_exception_go_at_once(tmp_path):
    with FuloadExecutor(1) as executor:
        executor.submit(stop_collecting).result()
        pid = executor.submit(os.getpid).result()
        for name, fn, argument in [
            ("result", Farewell, tmp_path / "result"),
            ("inner", farewells, [tmp_path / "inner"]),
            ("exception", fail_with_farewell, tmp_path / "exception"),
        ]:
            wait([executor.submit(fn, argument)])
            until((tmp_path / f"{name}.{pid}").exists)
        assert len(list(executor.map(Farewell, [tmp_path / f"chunk{i}" for i in range(4)], chunksize=2))) == 4
        until(lambda: all((tmp_path / f"chunk{i}.{pid}").exists() for i in range(4)))


# -- the executor ----------------------------------------------------------------------


def test_an_executor_goes_with_its_last_reference(no_collection):
    executor = FuloadExecutor(1)
    futures = [executor.submit(abs, -i) for i in range(5)]
    assert [f.result() for f in futures] == list(range(5))
    seen = weakref.ref(executor)
    del executor
    assert seen() is None


def test_an_executor_that_goes_finishes_what_is_pending(make_executor, gate):
    executor = make_executor(1)
    with gate:
        futures = [executor.submit(pass_gate, gate.path, i) for i in range(10)]
        results = executor.map(abs, range(-5, 0))
        seen = []
        futures[-1].add_done_callback(seen.append)
        del executor
        gc.collect()
        gate.open()
        assert [f.result(60) for f in futures] == list(range(10))
        assert list(results) == [5, 4, 3, 2, 1]
        until(lambda: seen)


def test_a_future_keeps_no_executor(no_collection, gate):
    executor = FuloadExecutor(1)
    with gate:
        future = executor.submit(pass_gate, gate.path, 5)
        seen = weakref.ref(executor)
        del executor
        assert seen() is None
        gate.open()
        assert future.result(60) == 5
