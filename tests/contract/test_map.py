"""executor.map: lazy, in order, with timeouts, chunks and buffers."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import sys

import pytest
from gates import pass_gate, until

from fuload_exec import FuloadExecutor


def fail_at(at, i):
    if i == at:
        raise KeyError(i)
    return i


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
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(abs, [1], chunksize=chunksize)


@pytest.mark.parametrize(("buffersize", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (1.0, TypeError)])
def test_a_bad_buffersize(buffersize, error):
    with FuloadExecutor(1) as executor:
        with pytest.raises(error, match="buffersize"):
            executor.map(abs, [1], buffersize=buffersize)


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


def test_after_shutdown(make_executor):
    executor = make_executor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.map(abs, [1])
