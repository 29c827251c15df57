"""Buffers go in; writable ones come back before the future resolves, or not at all."""

from __future__ import annotations

import array
import ctypes as c
import mmap
import os

import numpy
import pytest
from support.waiting import until

from fuload_exec import FuloadExecutor, PayloadTooLarge, WorkerCrashed


def inverted(data):
    return bytes(b ^ 0xFF for b in data)


@pytest.fixture
def invert(declare):
    return declare("invert", None, c.c_void_p, c.c_size_t)


@pytest.fixture
def digest(declare):
    return declare("digest", c.c_uint64, c.c_void_p, c.c_size_t)


def anonymous_mmap(data):
    made = mmap.mmap(-1, max(1, len(data)))
    made[: len(data)] = data
    return made


WRITABLE = {
    "bytearray": bytearray,
    "memoryview": lambda data: memoryview(bytearray(data)),
    "memoryview of a part": lambda data: memoryview(bytearray(b"##" + data + b"##"))[2:-2],
    "array": lambda data: array.array("B", data),
    "array of doubles": lambda data: array.array("d", data),
    "numpy": lambda data: numpy.frombuffer(bytearray(data), "u1"),
    "numpy, two dimensions": lambda data: numpy.frombuffer(bytearray(data), "u4").reshape(2, -1),
    "create_string_buffer": lambda data: c.create_string_buffer(data, len(data)),
    "ctypes array": lambda data: (c.c_uint16 * (len(data) // 2)).from_buffer_copy(data),
    "mmap": anonymous_mmap,
}


@pytest.mark.parametrize("kind", WRITABLE)
def test_writable_buffers_hold_what_the_call_wrote(invert, executor, kind):
    data = os.urandom(1024)
    buffer = WRITABLE[kind](data)
    assert executor.submit(invert, buffer, len(data)).result() is None
    assert bytes(memoryview(buffer).cast("B") if kind != "ctypes array" else buffer)[:1024] == inverted(data)


READ_ONLY = {
    "bytes": bytes,
    "memoryview": lambda data: memoryview(bytearray(data)).toreadonly(),
    "numpy": lambda data: numpy.frombuffer(data, "u1"),
    "mmap": lambda data: anonymous_mmap(data),
}


@pytest.mark.parametrize("kind", READ_ONLY)
def test_read_only_buffers_go_in_and_stay(invert, digest, executor, kind, tmp_path):
    data = os.urandom(1000)
    buffer = READ_ONLY[kind](data)
    if kind == "mmap":
        (tmp_path / "file").write_bytes(data)
        with open(tmp_path / "file", "rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert executor.submit(digest, buffer, 1000).result() == digest(data, 1000)
    executor.submit(invert, buffer, 1000).result()
    assert bytes(buffer) == data


@pytest.mark.parametrize("slot_size", [64, 4096])
def test_sizes_around_that_of_a_slot(invert, slot_size):
    sizes = {0, 1, 2, 15, 16, 17, *(slot_size + d for d in range(-64, 66))}
    with FuloadExecutor(1, slots=8, slot_size=slot_size) as executor:
        for size in sorted(sizes):
            data = os.urandom(size)
            buffer = bytearray(data)
            executor.submit(invert, buffer, size).result()
            assert buffer == inverted(data), size


def test_ten_megabytes(invert, executor):
    data = numpy.random.default_rng(0).integers(0, 256, 10_000_000, "u1")
    buffer = data.copy()
    executor.submit(invert, buffer, buffer.size).result()
    assert (buffer == ~data).all()


def test_buffers_of_more_tasks_than_slots(invert):
    with FuloadExecutor(2, slots=2) as executor:
        buffers = [bytearray(os.urandom(i * 100)) for i in range(60)]
        expected = [inverted(b) for b in buffers]
        futures = [executor.submit(invert, b, len(b)) for b in buffers]
        assert [f.result() for f in futures] == [None] * 60
        assert buffers == expected


def test_two_buffers_in_one_call(declare, executor):
    swap_all = declare("swap_all", None, c.c_void_p, c.c_void_p, c.c_size_t)
    for size in (1, 15, 2040, 5000, 100_000):
        one, other = os.urandom(size), os.urandom(size)
        a, b = bytearray(one), numpy.frombuffer(bytearray(other), "u1")
        executor.submit(swap_all, a, b, size).result()
        assert bytes(a) == other and b.tobytes() == one


def test_a_buffer_that_comes_back_and_one_that_does_not(declare, executor):
    memcpy = c.CDLL("libc.so.6").memcpy
    memcpy.argtypes, memcpy.restype = [c.c_void_p, c.c_void_p, c.c_size_t], None
    target, source = bytearray(3000), os.urandom(3000)
    executor.submit(memcpy, target, source, 3000).result()
    assert target == source


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_a_result_that_points_into_the_buffer(declare, executor, size):
    text = b"y" * size
    to = c.create_string_buffer(size + 5)
    assert executor.submit(declare("put_text", c.c_char_p, c.c_char_p, c.c_char_p), to, text).result() == text
    assert to.value == text
    wide = c.create_unicode_buffer(size + 5)
    put_wide = declare("put_wide", c.c_wchar_p, c.c_wchar_p, c.c_wchar_p)
    assert executor.submit(put_wide, wide, "\xe9" * size).result() == "\xe9" * size == wide.value


def test_a_pointer_into_the_buffer_as_the_result(declare, executor):
    values = (c.c_int * 5)(1, 2, 3, 4, 5)
    found = executor.submit(declare("last_of", c.POINTER(c.c_int), c.POINTER(c.c_int), c.c_size_t), values, 5).result()
    assert found.contents.value == 5


def test_the_buffer_is_there_when_callbacks_and_waiters_are_told(invert, executor):
    seen = []
    for _ in range(50):
        buffer = bytearray(b"\0" * 100)
        future = executor.submit(invert, buffer, 100)
        future.add_done_callback(lambda f, b=buffer: seen.append(bytes(b)))
        until(future.done)
        assert buffer == b"\xff" * 100
    until(lambda: len(seen) == 50)
    assert set(seen) == {b"\xff" * 100}


# -- tasks that do not end well -----------------------------------------------------


@pytest.mark.parametrize("size", [10, 4096, 100_000])
def test_a_crash_leaves_the_buffer_untouched(declare, executor, size):
    data = os.urandom(size)
    buffer = bytearray(data)
    assert type(executor.submit(declare("spoil_and_die", None, c.c_void_p, c.c_size_t), buffer, size).exception()) is WorkerCrashed
    assert buffer == data
    buffer.append(0)  # BufferError while anybody holds it


@pytest.mark.parametrize("size", [10, 4096, 100_000])
def test_termination_leaves_the_buffer_untouched(declare, executor, fifo, size):
    wait = declare("spoil_and_wait", c.c_int, c.c_void_p, c.c_size_t, c.c_char_p)
    data = os.urandom(size)
    running, queued = bytearray(data), bytearray(data)
    first = executor.submit(wait, running, size, os.fsencode(fifo))
    second = executor.submit(wait, queued, size, os.fsencode(fifo))
    until(first.running)
    assert second.cancel() and first.terminate()
    assert first.cancelled() and running == data and queued == data
    running.append(0), queued.append(0)
    assert executor.submit(declare("same_int32", c.c_int, c.c_int), 3).result() == 3
    assert running[:-1] == data


def test_a_buffer_is_held_while_its_task_runs(declare, executor, fifo):
    wait = declare("spoil_and_wait", c.c_int, c.c_void_p, c.c_size_t, c.c_char_p)
    buffer = bytearray(10)
    future = executor.submit(wait, buffer, 10, os.fsencode(fifo))
    with pytest.raises(BufferError):
        buffer.append(0)
    descriptor = os.open(fifo, os.O_RDWR)
    assert future.result() >= 0
    os.close(descriptor)
    assert buffer == b"\xee" * 10
    buffer.append(0)


def test_a_read_only_buffer_is_let_go_at_once(digest, executor):
    buffer = bytearray(b"abc")
    future = executor.submit(digest, memoryview(buffer).toreadonly(), 3)
    buffer.append(0)
    assert future.result() == digest(b"abc", 3)


@pytest.mark.parametrize("size", [2000, 1100])
def test_too_much_for_the_pool(invert, size):
    """1,100 bytes fit as a request; together with what a reply adds they do not always."""
    data = os.urandom(size)
    buffer = bytearray(data)
    with FuloadExecutor(1, max_payload=1120, slot_size=64) as executor:
        try:
            error = executor.submit(invert, buffer, size).exception()
        except PayloadTooLarge as refused:
            error = refused
        assert type(error) is PayloadTooLarge and "1120" in str(error)
        assert executor.submit(invert, bytearray(10), 10).result() is None
    assert buffer == data
    buffer.append(0)


# -- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        memoryview(bytearray(b"abcdef"))[::2],
        memoryview(b"abcdef")[::-1],
        numpy.zeros((3, 4)).T,
        numpy.zeros((4, 4))[:, 1],
        numpy.zeros(9)[::-1],
    ],
    ids=["strided", "reversed", "transposed", "column", "reversed array"],
)
def test_what_is_not_contiguous(invert, digest, executor, data):
    for function in (invert, digest):
        with pytest.raises(
            TypeError, match=rf"{function.__name__}\(\): argument 1 \(c_void_p\).*C-contiguous.*got {type(data).__name__}"
        ):
            executor.submit(function, data, 0)


def test_a_refused_call_lets_its_buffers_go(declare, invert, executor):
    buffer = bytearray(b"abc")
    with pytest.raises(TypeError, match=r"invert\(\): argument 2"):
        executor.submit(invert, buffer, "three")
    swap_all = declare("swap_all", None, c.c_void_p, c.c_void_p, c.c_size_t)
    with pytest.raises(TypeError, match=r"swap_all\(\): argument 2"):
        executor.submit(swap_all, buffer, [1], 3)
    buffer.append(0)


def test_arrays_of_one_kind_again_and_again():
    memset = c.CDLL(None).memset
    memset.argtypes, memset.restype = [c.POINTER(c.c_double), c.c_int, c.c_size_t], None
    with FuloadExecutor(1) as executor:
        for items in (numpy.ones(3), numpy.ones(5), array.array("d", [1.0]), numpy.ones(2)):
            executor.submit(memset, items, 0, 8 * len(items)).result()
            assert not any(items)
        with pytest.raises(TypeError):
            executor.submit(memset, numpy.ones(3, "f4"), 0, 4)
