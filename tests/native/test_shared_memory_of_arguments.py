"""Arguments that are the same memory, or overlap, are that for the function too."""

from __future__ import annotations

import ctypes as c

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

relaxed = settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))


def test_in_place(declare, executor):
    add = declare("add_all", None, c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t)
    a, ones = numpy.arange(1000.0), numpy.ones(1000)
    executor.submit(add, a, a, ones, 1000).result()
    assert (a == numpy.arange(1000.0) + 1).all() and (ones == 1).all()
    executor.submit(add, a, a, a, 1000).result()
    assert (a == 2 * (numpy.arange(1000.0) + 1)).all()
    executor.submit(add, a, memoryview(a).toreadonly(), ones, 1000).result()
    assert (a == 2 * (numpy.arange(1000.0) + 1) + 1).all()


def test_a_part_and_the_whole(executor):
    memmove = c.CDLL("libc.so.6").memmove
    memmove.argtypes, memmove.restype = [c.c_void_p, c.c_void_p, c.c_size_t], None
    buffer = c.create_string_buffer(b"abcdef")
    executor.submit(memmove, c.byref(buffer, 1), buffer, 4).result()
    assert buffer.value == b"aabcdf"
    values = numpy.arange(10)
    executor.submit(memmove, values[2:], values[:5], 40).result()
    assert values.tolist() == [0, 1, 0, 1, 2, 3, 4, 7, 8, 9]


@given(
    size=st.integers(0, 40),
    starts=st.tuples(*[st.integers(0, 60)] * 3),
    extra=st.tuples(*[st.integers(0, 20)] * 3),
    apart=st.booleans(),
    align=st.integers(0, 15),
)
@relaxed
@pytest.mark.stress
def test_any_overlap(declare, executor, size, starts, extra, apart, align):
    """As in this process, byte by byte; what lies between stays."""
    mix = declare("mix", None, c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t)

    def run(call):
        memory = numpy.arange(align, align + 200, dtype="u1")[align:]
        other = numpy.arange(180, dtype="u1")
        views = [memory[s : s + size + e] for s, e in zip(starts, extra)]
        if apart:
            views[2] = other[starts[2] : starts[2] + size + extra[2]]
        call(mix, views, size)
        return memory.tobytes(), other.tobytes()

    def here(function, views, size):
        function(*(c.c_void_p(v.ctypes.data) for v in views), size)

    def there(function, views, size):
        executor.submit(function, *views, size).result()

    assert run(here) == run(there)


def test_read_only_memory_is_not_written(executor, declare):
    """Not even where it overlaps with a writable view of it."""
    data = bytes(range(100))
    mix = declare("mix", None, c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t)
    view = memoryview(bytearray(data))
    executor.submit(mix, view[10:20], view[15:30], view.toreadonly(), 5).result()
    expected = bytearray(data)
    place = (c.c_uint8 * 100).from_buffer(expected)
    mix(c.byref(place, 10), c.byref(place, 15), place, 5)
    assert bytes(view) == bytes(expected)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_empty_buffers(declare, executor, count):
    mix = declare("mix", None, c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t)
    views = [bytearray() if i < count else bytearray(b"abc") for i in range(3)]
    executor.submit(mix, *views, 0).result()
    assert [len(v) for v in views] == [0 if i < count else 3 for i in range(3)]
