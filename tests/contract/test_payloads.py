"""Requests and replies of any size up to max_payload, for both kinds of task."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re

import numpy
import pytest
from payloads_tasks import change, digests, keep, keep_and_look, look_again, mapping_of, raise_long
from support.tasks import same

from fuload_exec import FuloadExecutor, PayloadTooLarge


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, lambda b: numpy.frombuffer(b, numpy.uint8)], ids=["bytes", "bytearray", "numpy"]
)
def test_sizes_around_a_slot(kind):
    data = os.urandom(4096 + 300)
    with FuloadExecutor(2, slots=8) as executor:
        sizes = [0, 1, 2, 7, 8, 9, 63, 64, 65, 1000, *range(4096 - 300, 4096 + 300)]
        for size, future in [(size, executor.submit(same, kind(data[:size]))) for size in sizes]:
            assert bytes(future.result()) == data[:size], size


@pytest.mark.parametrize("slot_size", [64, 4096, 1 << 20])
def test_sizes_by_powers_of_two(slot_size):
    data = os.urandom((1 << 21) + 1)
    with FuloadExecutor(2, slots=4, slot_size=slot_size) as executor:
        sizes = [(1 << n) + d for n in range(6, 22) for d in (-1, 0, 1)]
        for size, future in [(size, executor.submit(same, data[:size])) for size in sizes]:
            assert future.result() == data[:size], size


@pytest.mark.stress
def test_tens_of_megabytes_both_ways(make_executor):
    data = os.urandom(30_000_000)
    with make_executor(2) as executor:
        futures = [executor.submit(same, data) for _ in range(3)]
        assert all(f.result() == data for f in futures)
        assert executor.submit(len, data).result() == len(data)
        assert len(executor.submit(bytes, 50_000_000).result()) == 50_000_000


def test_large_arrays_out_of_band():
    array = numpy.random.default_rng(1).random(4_000_000)
    other = numpy.asfortranarray(array.reshape(2000, 2000)[:500])
    with FuloadExecutor(2) as executor:
        first, second, third = executor.submit(same, {"a": array, "b": [other, array[:3]], "c": b"x" * 5000}).result().values()
        assert numpy.array_equal(first, array) and numpy.array_equal(second[0], other)
        assert numpy.array_equal(second[1], array[:3]) and third == b"x" * 5000
        assert first.flags.writeable
        first[0] = -1
        assert numpy.array_equal(executor.submit(same, array).result(), array)


def test_arguments_can_be_changed_in_the_worker_and_stay_here(make_executor):
    for size in (10, 1_000_000):
        array = numpy.zeros(size)
        with make_executor(1) as executor:
            result = executor.submit(change, array).result()
        assert array.max() == 0 and result.min() == result.max() == 1


def test_read_only_arrays_stay_read_only():
    for size in (10, 1_000_000):
        array = numpy.zeros(size)
        array.flags.writeable = False
        with FuloadExecutor(1) as executor:
            assert type(executor.submit(change, array).exception()) is ValueError
            assert not executor.submit(same, array).result().flags.writeable


@pytest.mark.stress
def test_many_buffers_in_one_request():
    arrays = [numpy.full(i, i) for i in range(2000)]
    many = [numpy.full(3, i) for i in range(10_000)]
    with FuloadExecutor(1) as executor:
        assert all(map(numpy.array_equal, executor.submit(same, arrays).result(), arrays))
        assert all(map(numpy.array_equal, executor.submit(same, many).result(), many))


@pytest.mark.stress
@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("size", [100, 5000, 100_000, 5_000_000])
def test_arguments_that_a_task_keeps_keep_their_content(make_executor, size, view):
    values = [numpy.frombuffer(os.urandom(size), numpy.uint8).copy() for _ in range(6)]
    with make_executor(1) as executor:
        for value in values:
            executor.submit(keep, value, view).result()
            executor.submit(same, numpy.full(size, 255, numpy.uint8)).result()
        expected = [hashlib.sha256(v[1:-1] if view else v).hexdigest() for v in values]
        assert executor.submit(digests).result() == expected


@pytest.mark.parametrize("by_value", [False, True], ids=["function", "lambda"])
def test_large_arrays_stand_in_shared_memory_in_the_worker(by_value):
    """No copy there; one that is kept has private pages at the same address."""
    array = numpy.arange(500_000.0)
    with FuloadExecutor(1) as executor:
        look = (lambda array: mapping_of(array)) if by_value else mapping_of
        assert "memfd:fuload" in executor.submit(look, array).result()[1]
        at, line = executor.submit(keep_and_look, array).result()
        assert "memfd:fuload" in line
        for _ in range(3):
            assert "memfd:fuload" in executor.submit(mapping_of, numpy.zeros(500_000)).result()[1]
        (later, line), total = executor.submit(look_again).result()
        assert later == at and "memfd:fuload" not in line and total == array.sum()


def test_results_keep_their_content_after_later_tasks():
    with FuloadExecutor(1, slots=1) as executor:
        values = [os.urandom(200_000) for _ in range(10)]
        futures = [executor.submit(same, numpy.frombuffer(value, numpy.uint8)) for value in values]
        results = [f.result() for f in futures]
        executor.submit(same, bytes(200_000)).result()
        assert [r.tobytes() for r in results] == values


# -- too large --------------------------------------------------------------------


def numbers(error) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", str(error))]


def failure(executor, function, *args):
    """What submit raises or the future holds."""
    try:
        return executor.submit(function, *args).exception()
    except PayloadTooLarge as error:
        return error


def is_told(error, size, limit) -> bool:
    """Both numbers are in the message; a request has a little more than its data."""
    found = numbers(error)
    return type(error) is PayloadTooLarge and limit in found and any(size <= n <= size + 1000 for n in found)


LIMIT = 100_000


def test_requests_that_are_too_large(c_library):
    data = bytes(2 * LIMIT)
    with FuloadExecutor(1, max_payload=LIMIT) as executor:
        for function, args in [
            (len, (data,)),
            (same, (numpy.zeros(2 * LIMIT, numpy.uint8),)),
            (len, ("x" * 2 * LIMIT,)),
            (c_library.digest, (data, len(data))),
            (lambda x: x, (data,)),
        ]:
            error = failure(executor, function, *args)
            assert is_told(error, 2 * LIMIT, LIMIT), repr(error)
            assert executor.submit(len, data[:1000]).result() == 1000


def test_replies_that_are_too_large(c_library):
    with FuloadExecutor(1, max_payload=LIMIT) as executor:
        pid = executor.submit(os.getpid).result()
        for function, args in [(bytes, (2 * LIMIT,)), (numpy.zeros, (2 * LIMIT, numpy.uint8)), (c_library.text, (2 * LIMIT,))]:
            future = executor.submit(function, *args)
            assert is_told(future.exception(), 2 * LIMIT, LIMIT), repr(future.exception())
            with pytest.raises(ValueError):
                future.result()
            assert executor.submit(os.getpid).result() == pid


def test_an_exception_that_is_too_large():
    with FuloadExecutor(1, max_payload=LIMIT) as executor:
        pid = executor.submit(os.getpid).result()
        assert isinstance(executor.submit(raise_long, 2 * LIMIT).exception(), (PayloadTooLarge, ValueError))
        assert executor.submit(os.getpid).result() == pid


@pytest.mark.parametrize("limit", [5000, 4096, 100, 1_000_000])
def test_the_exact_limit_of_a_reply(c_library, limit):
    with FuloadExecutor(1, max_payload=limit) as executor:
        assert len(executor.submit(c_library.text, limit).result()) == limit
        error = executor.submit(c_library.text, limit + 1).exception()
        assert type(error) is PayloadTooLarge and {limit, limit + 1} <= set(numbers(error))


def test_limits_beyond_32_bits():
    """Pages that nobody touches cost nothing."""
    limit = 3 << 30
    with FuloadExecutor(1, slots=4, max_payload=limit) as executor:
        error = failure(executor, len, numpy.zeros(4 << 30, numpy.uint8))
        assert is_told(error, 4 << 30, limit), str(error)
        error = failure(executor, numpy.zeros, 4 << 30, numpy.uint8)
        assert is_told(error, 4 << 30, limit), str(error)
        assert executor.submit(abs, -1).result() == 1


def test_too_large_tasks_among_others(c_library):
    with FuloadExecutor(2, slots=4, max_payload=LIMIT) as executor:
        futures = [executor.submit(bytes, 2 * LIMIT if i % 7 == 3 else i) for i in range(200)]
        for i, future in enumerate(futures):
            assert type(future.exception()) is PayloadTooLarge if i % 7 == 3 else future.result() == bytes(i)


def test_a_slot_larger_than_the_largest_payload(c_library):
    with FuloadExecutor(1, slot_size=4096, max_payload=1000) as executor:
        assert executor.submit(c_library.text, 1000).result() == b"x" * 1000
        assert type(executor.submit(c_library.text, 1001).exception()) is PayloadTooLarge
        assert type(failure(executor, c_library.echo, ctypes.create_string_buffer(2000).raw)) is PayloadTooLarge
