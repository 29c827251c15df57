"""executor.map: lazy, in order, with timeouts, chunks and buffers."""

from __future__ import annotations

import concurrent.futures
import gc
import itertools
import os
import pickle
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from gates import pass_gate, report_and_pass_gate
from map_tasks import (
    Thing,
    Whole,
    divmod_behind_a_gate,
    exit_at_once,
    fail_at,
    fail_with_a_lock_at,
    give_a_lock_at,
    give_thing,
    is_loaded,
    raise_instance_at,
)
from support.ids import shown
from support.tasks import same
from support.waiting import until

from fuload_exec import FuloadExecutor, WorkerCrashed


def test_results_in_order(make_executor):
    with make_executor(2) as executor:
        assert list(executor.map(abs, range(-500, 0))) == list(range(500, 0, -1))
        assert list(executor.map(pow, [2, 3], [10, 2])) == [1024, 9]
        assert list(executor.map(abs, [])) == []
        assert list(executor.map(abs, iter([-1]))) == [1]


def test_unequal_iterables(make_executor):
    with make_executor(2) as executor:
        assert list(executor.map(pow, range(3), itertools.count())) == [1, 1, 4]
        assert list(executor.map(max, "abc", "z")) == ["z"]


@pytest.mark.parametrize("chunksize", [1, 3, 50, 1000])
def test_chunks(make_executor, chunksize):
    with make_executor(2) as executor:
        assert list(executor.map(abs, range(-100, 0), chunksize=chunksize)) == list(range(100, 0, -1))


def test_calls_of_a_chunk_share_a_task():
    with FuloadExecutor(1) as executor:
        assert list(executor.map(abs, range(-100, 0), chunksize=10)) == list(range(100, 0, -1))
        assert executor.stats().submitted == 10


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_bad_chunksize(make_executor, chunksize):
    with make_executor(1) as executor:
        with pytest.raises(ValueError, match="chunksize must be >= 1."):
            executor.map(abs, [1], chunksize=chunksize)


@pytest.mark.parametrize(
    ("buffersize", "error", "text"),
    [
        (0, ValueError, "buffersize must be None or > 0"),
        (-1, ValueError, "buffersize must be None or > 0"),
        ("1", TypeError, "buffersize must be an integer or None"),
        (1.0, TypeError, "buffersize must be an integer or None"),
    ],
)
def test_a_bad_buffersize(buffersize, error, text):
    """The texts are those of CPython 3.14."""
    read = []
    with FuloadExecutor(1) as executor:
        with pytest.raises(error, match=f"{text}.*{buffersize!r}"):
            executor.map(abs, (read.append(i) for i in range(3)), buffersize=buffersize)
        assert read == [] and executor.stats().submitted == 0


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize("at", [0, 5, 19])
def test_an_exception_in_the_middle(make_executor, chunksize, at):
    with make_executor(2) as executor:
        results = executor.map(fail_at, itertools.repeat(at), range(20), chunksize=chunksize)
        got = []
        with pytest.raises(KeyError) as caught:
            for result in results:
                got.append(result)
        assert caught.value.args == (at,) and "fail_at" in str(caught.value.__cause__)
        # The standard gives a chunk as a whole; here the results before the exception come.
        whole = at if isinstance(executor, FuloadExecutor) else at - at % chunksize
        assert got == list(range(whole))
        assert executor.submit(abs, -1).result() == 1


def test_the_exception_comes_after_the_results_before_it():
    with FuloadExecutor(2) as executor:
        results = executor.map(fail_at, itertools.repeat(7), range(20))
        assert [next(results) for _ in range(7)] == list(range(7))
        with pytest.raises(KeyError):
            next(results)
        with pytest.raises(StopIteration):
            next(results)


def test_a_timeout(make_executor, gate):
    with make_executor(2) as executor, gate:
        results = executor.map(pass_gate, [gate.path] * 2, [1, 2], timeout=0.05)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        gate.open()


def test_a_timeout_that_is_kept(make_executor):
    with make_executor(2) as executor:
        assert list(executor.map(abs, range(10), timeout=60)) == list(range(10))


def test_tasks_are_submitted_before_a_result_is_asked_for(make_executor, tmp_path):
    with make_executor(1) as executor:
        results = executor.map(os.mkdir, [str(tmp_path / str(i)) for i in range(10)], chunksize=1)
    assert len(list(tmp_path.iterdir())) == 10
    assert list(results) == [None] * 10


def test_the_iterables_are_read_at_once(make_executor):
    read = []
    with make_executor(1) as executor:
        results = executor.map(abs, (read.append(i) or -i for i in range(20)))
        assert read == list(range(20))
        assert list(results) == list(range(20))


def test_an_iterable_that_fails(make_executor):
    def values():
        yield 1
        raise LookupError("no more")

    with make_executor(1) as executor:
        with pytest.raises(LookupError, match="no more"):
            executor.map(abs, values(), chunksize=1)
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("buffersize", [1, 3, 10])
def test_a_buffer_before_an_endless_iterable(buffersize, libm):
    with FuloadExecutor(2) as executor:
        for function in (abs, libm.fabs):
            read = []
            endless = (read.append(i) or -float(i) for i in itertools.count())
            results = executor.map(function, endless, chunksize=1, buffersize=buffersize)
            assert len(read) == buffersize
            assert [next(results) for _ in range(50)] == list(range(50))
            assert 50 <= len(read) <= 50 + buffersize
            results.close()


if sys.version_info >= (3, 14):

    def test_a_buffer_as_in_the_standard_library(make_executor):
        with make_executor(2) as executor:
            results = executor.map(abs, itertools.count(), buffersize=3)
            assert list(itertools.islice(results, 20)) == list(range(20))
            results.close()


def test_an_iterator_that_is_closed_cancels_the_rest(gate, tmp_path):
    with FuloadExecutor(1) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        until(held.running)
        results = executor.map(os.mkdir, [str(tmp_path / str(i)) for i in range(10)], timeout=0, chunksize=1)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        assert executor.stats().cancelled == 10
        gate.open()
        held.result()
    assert not (tmp_path / "0").exists()


def test_closing_in_the_middle(gate):
    with FuloadExecutor(1) as executor, gate:
        results = executor.map(pass_gate, itertools.chain(["/dev/null"], [gate.path] * 20), range(21), chunksize=1)
        assert next(results) == 0
        results.close()
        assert executor.stats().cancelled >= 19
        gate.open()
        assert executor.submit(abs, -1).result() == 1


def test_c_functions(libm):
    with FuloadExecutor(2) as executor:
        xs = [float(i) for i in range(2000)]
        assert list(executor.map(libm.pow, xs, itertools.repeat(2.0))) == [x * x for x in xs]
        with pytest.raises(TypeError, match="cos.*argument 1"):
            executor.map(libm.cos, [1.0, "x"])
        assert executor.submit(libm.cos, 0.0).result() == 1.0


def test_lambdas():
    with FuloadExecutor(2) as executor:
        assert list(executor.map(lambda x: x + 1, range(100))) == list(range(1, 101))


def test_submit_replaced_on_the_instance():
    with FuloadExecutor(1) as executor:
        submit, seen = executor.submit, []
        executor.submit = lambda *args, **kwargs: seen.append(args) or submit(*args, **kwargs)
        assert list(executor.map(abs, [-1, -2], chunksize=1)) == [1, 2]
        assert len(seen) == 2


def test_map_after_shutdown(make_executor):
    executor = make_executor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.map(abs, [1])


def test_no_iterable_at_all(make_executor):
    with make_executor(1) as executor:
        assert list(executor.map(abs)) == []
        assert list(executor.map(abs, [])) == []
        assert list(executor.map(pow, [], [1, 2])) == []


def test_the_iterator_is_lazy_and_is_one(make_executor, make_gate):
    one, other = make_gate(), make_gate()
    with make_executor(2) as executor, one, other:
        results = executor.map(pass_gate, [one.path, other.path], [1, 2], chunksize=1)
        assert iter(results) is results
        one.open()
        assert next(results) == 1
        other.open()
        assert next(results) == 2
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(results)


@pytest.mark.parametrize("timeout", [0, -1, 0.0])
def test_a_timeout_that_is_over_at_once(make_executor, gate, timeout):
    with make_executor(1) as executor, gate:
        results = executor.map(pass_gate, [gate.path], timeout=timeout)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        gate.open()


def test_what_is_there_does_not_time_out():
    with FuloadExecutor(1) as executor:
        results = executor.map(abs, range(-3, 0), timeout=0, chunksize=1)
        until(lambda: executor.stats().completed == 3)
        assert list(results) == [3, 2, 1]


def test_the_timeout_counts_from_the_call(make_executor, gate):
    """One timeout for all results, not one for each."""
    with make_executor(2) as executor, gate:
        timeout = 0.1
        results = executor.map(pass_gate, [os.devnull, gate.path], [1, 2], timeout=timeout, chunksize=1)
        due = time.monotonic() + timeout
        executor.submit(abs, -1).result()  # begun after the first of the two had ended
        until(lambda: time.monotonic() > due)
        assert next(results) == 1  # it is there, though the time is over
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        gate.open()


@pytest.mark.parametrize("timeout", ["1", [1]])
def test_a_timeout_that_is_no_number(make_executor, timeout):
    with make_executor(1) as executor:
        with pytest.raises(TypeError):
            executor.map(abs, [1], timeout=timeout)


@pytest.mark.parametrize("chunksize", [1, 4])
def test_the_iterator_keeps_no_result(make_executor, chunksize):
    gc.disable()
    try:
        with make_executor(2) as executor:
            for thing in executor.map(give_thing, range(10), chunksize=chunksize):
                seen = weakref.ref(thing)
                del thing
                assert seen() is None
    finally:
        gc.enable()


def test_the_iterator_keeps_no_executor():
    executor = FuloadExecutor(1)
    results = executor.map(abs, range(-3, 0))
    seen = weakref.ref(executor)
    del executor
    assert seen() is None
    assert list(results) == [3, 2, 1]


def test_an_iterator_with_a_buffer_keeps_its_executor_until_all_is_submitted():
    executor = FuloadExecutor(1)
    results = executor.map(abs, range(-5, 0), buffersize=2)
    seen = weakref.ref(executor)
    del executor
    assert [next(results) for _ in range(2)] == [5, 4] and seen() is not None
    assert list(results) == [3, 2, 1] and seen() is None


def test_an_iterator_that_is_collected_cancels_the_rest(make_executor, gate, tmp_path):
    with make_executor(1) as executor, gate:
        held = executor.submit(report_and_pass_gate, str(tmp_path / "runs"), gate.path)
        until((tmp_path / "runs").exists)
        results = executor.map(os.mkdir, [str(tmp_path / str(i)) for i in range(20)], timeout=0, chunksize=1)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        del results
        gate.open()
        held.result()
    assert not (tmp_path / "19").exists()


def test_an_iterator_that_is_collected_in_the_middle(gate):
    with FuloadExecutor(1) as executor, gate:
        results = executor.map(pass_gate, [os.devnull] + [gate.path] * 20, range(21), chunksize=1)
        assert next(results) == 0
        del results
        assert executor.stats().cancelled >= 19
        gate.open()


def test_an_iterator_that_nobody_looks_at(make_executor, tmp_path):
    """Its tasks run all the same, as always with the standard library."""
    with make_executor(2) as executor:
        executor.map(os.mkdir, [str(tmp_path / str(i)) for i in range(20)])
    assert len(list(tmp_path.iterdir())) == 20


def test_after_an_exception_the_rest_is_cancelled(gate, tmp_path):
    with FuloadExecutor(1) as executor, gate:
        results = executor.map(divmod_behind_a_gate, [1, *[gate.path] * 10], [0] * 11, chunksize=1)
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert executor.stats().cancelled >= 9
        gate.open()


@pytest.mark.parametrize("chunksize", [1, 4, None])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("k"), GeneratorExit()], ids=shown)
def test_an_exception_that_is_none(error, chunksize):
    with FuloadExecutor(1) as executor:
        results = executor.map(raise_instance_at, itertools.repeat(error), itertools.repeat(5), range(20), chunksize=chunksize)
        assert [next(results) for _ in range(5)] == list(range(5))
        with pytest.raises(type(error)) as caught:
            next(results)
        assert caught.value.args == error.args
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("chunksize", [1, 4])
def test_stop_iteration_does_not_end_the_results(make_executor, chunksize):
    """It would end a `for` without a word: it is a RuntimeError."""
    with make_executor(1) as executor:
        results = executor.map(
            raise_instance_at, itertools.repeat(StopIteration(7)), itertools.repeat(0), range(4), chunksize=chunksize
        )
        with pytest.raises(RuntimeError, match="StopIteration"):
            next(results)


def test_an_argument_that_cannot_be_pickled_in_the_middle(make_executor):
    with make_executor(1) as executor:
        results = executor.map(id, [1, 2, threading.Lock(), 3], chunksize=1)
        next(results), next(results)
        with pytest.raises((TypeError, pickle.PicklingError)):
            next(results)
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("chunksize", [None, 1])
@pytest.mark.parametrize("function", [fail_with_a_lock_at, give_a_lock_at])
def test_a_result_that_cannot_be_pickled_in_the_middle(make_executor, function, chunksize):
    """What came before it comes, though chunks were chosen."""
    options = {} if chunksize is None else {"chunksize": chunksize}
    with make_executor(1) as executor:
        results = executor.map(function, itertools.repeat(21), range(100), **options)
        assert [next(results) for _ in range(21)] == list(range(21))
        with pytest.raises((TypeError, pickle.PicklingError)):
            next(results)
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("chunksize", [None, 1])
def test_an_argument_that_cannot_be_pickled_costs_the_calls_before_it_nothing(make_executor, tmp_path, chunksize):
    options = {} if chunksize is None else {"chunksize": chunksize}
    inputs = [str(tmp_path / str(i)) for i in range(100)]
    inputs[21] = threading.Lock()
    with make_executor(1) as executor:
        results = executor.map(os.mkdir, inputs, **options)
        assert [next(results) for _ in range(21)] == [None] * 21
        with pytest.raises((TypeError, pickle.PicklingError)):
            next(results)


def test_calls_that_are_too_large_together():
    with FuloadExecutor(1, max_payload=100_000) as executor:
        assert list(executor.map(len, [bytes(60_000)] * 100)) == [60_000] * 100


# -- buffersize, as CPython 3.14 documents it ------------------------------------------


def test_only_the_buffer_is_read():
    for values in (iter(range(40)), itertools.count()):
        executor = FuloadExecutor(2)
        executor.map(str, values, buffersize=2)
        executor.shutdown()
        assert next(values) == 2


def test_a_buffer_is_as_many_calls_ahead():
    read = []
    with FuloadExecutor(2) as executor:
        inputs = [0] * 5000
        results = executor.map(abs, map(read.append, inputs), inputs, buffersize=3)
        results.close()
        del results
        assert len(read) == 3 and executor.stats().submitted == 3


def test_a_buffer_of_chunks():
    read = []
    with FuloadExecutor(2) as executor:
        results = executor.map(abs, (read.append(i) or -i for i in itertools.count()), chunksize=5, buffersize=2)
        assert len(read) == 10
        assert [next(results) for _ in range(12)] == list(range(12))
        results.close()


def test_a_buffer_larger_than_the_input():
    with FuloadExecutor(2) as executor:
        assert list(executor.map(abs, range(-5, 0), buffersize=100)) == [5, 4, 3, 2, 1]
        assert list(executor.map(abs, [], buffersize=2)) == []
        assert list(executor.map(abs, buffersize=2)) == []


def test_a_buffer_and_several_iterables():
    with FuloadExecutor(2) as executor:
        sums = executor.map(pow, itertools.count(), itertools.repeat(2), buffersize=2)
        assert [next(sums) for _ in range(5)] == [0, 1, 4, 9, 16]
        sums.close()
        assert list(executor.map(pow, itertools.count(), [2] * 4, buffersize=3)) == [0, 1, 4, 9]


def test_a_buffer_and_a_shutdown_in_the_middle(tmp_path):
    """What was submitted ends; that the rest cannot be submitted is an error,
    never a short list."""
    executor = FuloadExecutor(1)
    results = executor.map(Path, itertools.count(), buffersize=2)
    executor.shutdown()
    with pytest.raises((RuntimeError, TypeError)):
        next(results)


def test_an_iterable_that_fails_behind_the_buffer():
    def values():
        yield from (-1, -2)
        raise LookupError("no more")

    with FuloadExecutor(1) as executor:
        results = executor.map(abs, values(), buffersize=1)
        assert next(results) == 1
        with pytest.raises(LookupError, match="no more"):
            list(results)
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("chunksize", [None, 7, 1000])
@pytest.mark.parametrize(
    "values",
    [
        [0.5, -0.0, float("inf"), -float("inf"), float("nan"), 5e-324],
        [0, 1, -1, 2**63 - 1, -(2**63)],
        [0, 2**63],
        [1, -(2**63) - 1, 10**40],
        [True, False],
        [1, True, 2],
        [1.0, 1, 2.5],
        [1, 1.0],
        [Whole(3), 4],
        [4, Whole(3)],
        [None, 1.5, "text", b"bytes", (1, 2)],
    ],
    ids=shown,
)
def test_values_of_every_kind_come_back_as_they_were(values, chunksize):
    values = values * 30
    with FuloadExecutor(1) as executor:
        results = list(executor.map(same, values, chunksize=chunksize))
        pairs = list(executor.map(divmod, [7.5, 8] * 20, [2, 2.5] * 20, chunksize=chunksize))
    assert [(type(v), repr(v)) for v in results] == [(type(v), repr(v)) for v in values]
    assert pairs == list(map(divmod, [7.5, 8] * 20, [2, 2.5] * 20))


def test_one_iterator_given_twice(make_executor):
    """Both arguments are read call by call."""
    with make_executor(2) as executor:
        items = iter(range(200))
        assert list(executor.map(pow, items, itertools.repeat(1), chunksize=7)) == list(range(200))
        items = iter(range(200))
        assert list(executor.map(max, items, items)) == list(range(1, 200, 2))


def test_chunks_grow_where_calls_are_short():
    with FuloadExecutor(1) as executor:
        list(executor.map(abs, range(100)))
        before = executor.stats().submitted
        assert list(executor.map(abs, iter(range(300_000)))) == list(range(300_000))
        assert executor.stats().submitted - before < 300_000 / 64 / 2


def test_chunks_stay_small_where_calls_are_long():
    with FuloadExecutor(2) as executor:
        list(executor.map(time.sleep, [0.002] * 32))
        assert executor.stats().submitted == 16


def test_a_chunk_imports_nothing_of_ours():
    with FuloadExecutor(1) as executor:
        names = ["concurrent.futures", "typing", "logging"] * 2
        assert list(executor.map(is_loaded, names, chunksize=3)) == [False] * 6


def test_a_closed_iterator_is_at_its_end():
    with FuloadExecutor(1) as executor:
        for results in (executor.map(abs, range(10)), executor.map(abs, range(10), chunksize=1)):
            assert next(results) == 0
            results.close()
            assert list(results) == [] and iter(results) is results


@pytest.mark.parametrize(
    ("iterables", "first"),
    [(([3, 4],), "(3"), ((["three", 4],), "('three'"), (([3, 4], [1.5, 2]), "(3, 1.5")],
    ids=shown,
)
def test_a_crash_names_the_first_call_of_the_chunk(iterables, first):
    with FuloadExecutor(1) as executor:
        with pytest.raises(WorkerCrashed) as caught:
            list(executor.map(exit_at_once, *iterables, chunksize=2))
    assert f"exit_at_once{first}" in str(caught.value) and "2 calls" in str(caught.value)


def test_an_overridden_submit_that_refuses():
    """What it raises is not taken for a chunk that is too large."""

    class Refuses(FuloadExecutor):
        def submit(self, fn, /, *args, **kwargs):
            raise ValueError("not today")

    with Refuses(1) as executor:
        with pytest.raises(ValueError, match="not today"):
            executor.map(abs, range(100))


@pytest.mark.parametrize("chunksize", [None, 1])
def test_the_iterator_can_be_referred_to_weakly(make_executor, chunksize):
    with make_executor(1) as executor:
        results = executor.map(abs, range(3), **({"chunksize": chunksize} if chunksize else {}))
        reference = weakref.ref(results)
        assert reference() is results
        del results
        gc.collect()
        assert reference() is None


def test_an_overridden_submit_that_calls_here():
    class Here(FuloadExecutor):
        def submit(self, fn, /, *args, **kwargs):
            future = concurrent.futures.Future()
            future.set_result(fn(*args, **kwargs))
            return future

    with Here(1) as executor:
        assert list(executor.map(abs, range(-200, 0))) == list(range(200, 0, -1))
        assert list(executor.map(divmod, [7.5] * 70, [2.5] * 70)) == [(3.0, 0.0)] * 70


def test_a_result_whose_finalizer_reads_the_closed_iterator(monkeypatch):
    seen = []
    with FuloadExecutor(1) as executor:
        results = executor.map(give_thing, range(200))
        next(results)
        monkeypatch.setattr(Thing, "__del__", lambda self: seen.append(next(results, "end")), raising=False)
        results.close()
        monkeypatch.undo()
    assert len(seen) > 1 and set(seen) == {"end"}
