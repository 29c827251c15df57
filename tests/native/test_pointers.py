"""What can stand for a pointer: instances, byref, POINTER, arrays, strings, NumPy."""

from __future__ import annotations

import ctypes as c
import os

import numpy
import pytest
from numpy.ctypeslib import ndpointer
from support.ids import shown

INT_POINTER = c.POINTER(c.c_int)


def test_byref(declare, executor):
    a, b = c.c_int(1), c.c_int(2)
    swap = declare("swap", c.c_int, INT_POINTER, INT_POINTER)
    assert executor.submit(swap, c.byref(a), c.byref(b)).result() == 1
    assert (a.value, b.value) == (2, 1)


@pytest.mark.parametrize("index", [0, 1, 3])
def test_byref_with_an_offset(declare, executor, index):
    values = (c.c_int * 4)(10, 20, 30, 40)
    put = declare("put", c.c_int, INT_POINTER, c.c_int)
    assert executor.submit(put, c.byref(values, 4 * index), 7).result() == 10 * (index + 1)
    assert list(values) == [7 if i == index else 10 * (i + 1) for i in range(4)]


class Fields(c.Structure):
    _fields_ = [("a", c.c_double), ("b", c.c_int), ("c", c.c_int)]


def test_byref_of_a_member(declare, executor):
    fields = Fields(0.5, 1, 2)
    put = declare("put", c.c_int, c.c_void_p, c.c_int)
    assert executor.submit(put, c.byref(fields, Fields.c.offset), 9).result() == 2
    assert (fields.a, fields.b, fields.c) == (0.5, 1, 9)


def test_byref_of_one_scalar_with_an_offset(declare, executor):
    word = c.c_uint64(0x1122_3344_5566_7788)
    put = declare("put", c.c_int, c.c_void_p, c.c_int)
    assert executor.submit(put, c.byref(word, 4), 5).result() == 0x1122_3344
    assert word.value == 0x5_5566_7788


def test_an_instance_where_a_pointer_to_it_is_declared(declare, executor):
    a = c.c_int(5)
    assert executor.submit(declare("put", c.c_int, INT_POINTER, c.c_int), a, 6).result() == 5
    assert a.value == 6


def test_pointer_instances(declare, executor):
    a = c.c_int(5)
    put = declare("put", c.c_int, INT_POINTER, c.c_int)
    assert executor.submit(put, c.pointer(a), 6).result() == 5 and a.value == 6
    assert executor.submit(put, INT_POINTER(a), 7).result() == 6 and a.value == 7
    assert executor.submit(put, INT_POINTER(), 7).result() == -1


def test_a_pointer_to_an_array(declare, executor):
    values = (c.c_double * 3)(1, 2, 3)
    double_all = declare("double_all", None, c.POINTER(c.c_double * 3), c.c_size_t)
    executor.submit(double_all, c.pointer(values), 3).result()
    assert list(values) == [2, 4, 6]


@pytest.mark.parametrize("argtype", [c.POINTER(c.c_double), c.c_void_p], ids=["POINTER", "c_void_p"])
def test_a_pointer_made_by_cast(declare, executor, argtype):
    """All of what it was made from is there, as in this process."""
    values = (c.c_double * 4)(1, 2, 3, 4)
    executor.submit(declare("double_all", None, argtype, c.c_size_t), c.cast(values, argtype), 4).result()
    assert list(values) == [2, 4, 6, 8]


def test_numpy_data_as(declare, executor):
    values = numpy.arange(100.0)
    double_all = declare("double_all", None, c.POINTER(c.c_double), c.c_size_t)
    executor.submit(double_all, values.ctypes.data_as(c.POINTER(c.c_double)), 100).result()
    assert (values == 2 * numpy.arange(100.0)).all()


def test_numpy_ctypes_objects(declare, executor):
    values = numpy.arange(100.0)
    executor.submit(declare("double_all", None, c.c_void_p, c.c_size_t), values.ctypes, 100).result()
    assert (values == 2 * numpy.arange(100.0)).all()


def test_arrays_as_arrays(declare, executor):
    """An array type as argtype passes a pointer, and takes its own instances only."""
    double_all = declare("double_all", None, c.c_double * 3, c.c_size_t)
    values = (c.c_double * 3)(1, 2, 3)
    executor.submit(double_all, values, 3).result()
    assert list(values) == [2, 4, 6]
    for wrong in ((c.c_double * 4)(), numpy.zeros(3), bytearray(24)):
        with pytest.raises(TypeError, match=r"double_all\(\): argument 1 \(c_double_Array_3\)"):
            executor.submit(double_all, wrong, 3)


def test_text_buffers_for_output(declare, executor):
    describe = declare("describe", c.c_size_t, c.c_char_p, c.c_size_t)
    text = c.create_string_buffer(20)
    assert executor.submit(describe, text, 20).result() == 9
    assert text.value == b"forty-two" and text.raw == b"forty-two" + bytes(11)


def test_wide_text_buffers_for_output(declare, executor):
    text = c.create_unicode_buffer(20)
    executor.submit(declare("widen", None, c.c_wchar_p, c.c_size_t), text, 20).result()
    assert text.value == "h\xe9 \U0001f600"


def test_strings_where_other_pointers_are_declared(declare, executor):
    assert executor.submit(declare("length", c.c_size_t, c.c_wchar_p), "h\xe9\U0001f600").result() == 3
    assert executor.submit(declare("length", c.c_size_t, c.c_void_p), "h\xe9\U0001f600").result() == 3
    assert executor.submit(declare("length", c.c_size_t, c.c_wchar_p), c.c_wchar_p("four")).result() == 4
    assert executor.submit(declare("length", c.c_size_t, c.c_wchar_p), None).result() == c.c_size_t(-1).value
    digest = declare("digest", c.c_uint64, c.c_char_p, c.c_size_t)
    assert executor.submit(digest, c.c_char_p(b"abc"), 3).result() == digest(b"abc", 3)
    digest.argtypes = [c.c_void_p, c.c_size_t]
    assert executor.submit(digest, c.c_char_p(b"abc"), 3).result() == digest(b"abc", 3)
    assert executor.submit(digest, c.c_void_p(None), 0).result() == digest(None, 0)


@pytest.mark.parametrize(
    ("argtype", "wrong"),
    [
        (c.c_char_p, "text"),
        (c.c_char_p, 5),
        (c.c_char_p, bytearray(b"x")),
        (c.c_char_p, 1.5),
        (c.c_wchar_p, b"bytes"),
        (c.c_wchar_p, 5),
        (c.c_wchar_p, c.create_string_buffer(4)),
        (INT_POINTER, 5),
        (INT_POINTER, "text"),
        (INT_POINTER, 1.5),
        (INT_POINTER, [1]),
        (INT_POINTER, c.c_double(1)),
        (c.c_void_p, 1.5),
        (c.c_void_p, [1]),
        (c.c_void_p, object()),
    ],
    ids=shown,
)
def test_what_is_no_pointer(declare, executor, argtype, wrong):
    with pytest.raises(TypeError, match=rf"is_null\(\): argument 1 \({argtype.__name__}\).*got {type(wrong).__name__}"):
        executor.submit(declare("is_null", c.c_int, argtype), wrong)


def test_objects_that_say_what_they_are_as_a_parameter(declare, executor):
    class Holder:
        def __init__(self, value):
            self._as_parameter_ = value

    values = (c.c_double * 2)(1, 2)
    double_all = declare("double_all", None, c.POINTER(c.c_double), c.c_size_t)
    executor.submit(double_all, Holder(values), Holder(2)).result()
    executor.submit(double_all, Holder(c.byref(values)), 2).result()
    assert list(values) == [4, 8]
    digest = declare("digest", c.c_uint64, c.c_char_p, c.c_size_t)
    assert executor.submit(digest, Holder(b"abc"), 3).result() == digest(b"abc", 3)


# -- numpy.ctypeslib.ndpointer -----------------------------------------------------


def test_ndpointer_as_an_argument(declare, executor):
    double_all = declare("double_all", None, ndpointer("f8", ndim=1, flags="C_CONTIGUOUS"), c.c_size_t)
    values = numpy.arange(1000.0)
    executor.submit(double_all, values, 1000).result()
    assert (values == 2 * numpy.arange(1000.0)).all()


@pytest.mark.parametrize(
    "wrong",
    [numpy.zeros(3, "f4"), numpy.zeros((3, 3)), numpy.zeros(6)[::2], [1.0], bytes(8), None],
    ids=["dtype", "ndim", "strided", "list", "bytes", "None"],
)
def test_ndpointer_checks_arrays(declare, executor, wrong):
    double_all = declare("double_all", None, ndpointer("f8", ndim=1, flags="C_CONTIGUOUS"), c.c_size_t)
    with pytest.raises(TypeError, match=r"double_all\(\): argument 1 \(ndpointer"):
        executor.submit(double_all, wrong, 1)


def test_ndpointer_as_the_result(declare, executor):
    grid = declare("grid", ndpointer("f8", shape=(2, 3)), c.c_int)
    found = executor.submit(grid, 0).result()
    assert type(found) is numpy.ndarray and found.dtype == "f8" and found.tolist() == [[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]
    found[0, 0] = 9  # a copy that is one's own
    assert executor.submit(grid, 0).result()[0, 0] == 0.5


def test_ndpointer_without_a_shape_as_the_result(declare, executor):
    with pytest.raises(TypeError, match=r"grid\(\): the result type ndpointer.*shape"):
        executor.submit(declare("grid", ndpointer("f8"), c.c_int), 0)


# -- addresses ---------------------------------------------------------------------


def test_a_number_is_passed_as_it_is(declare, executor):
    same = declare("same_address", c.c_void_p, c.c_void_p)
    for number in (1, 2**63, 2**64 - 1):
        assert executor.submit(same, number).result() == number
        assert executor.submit(same, c.c_void_p(number)).result() == number


def test_an_address_that_a_worker_gave_is_good_there(executor):
    """malloc and free in one worker, as with any handle."""
    libc = c.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = c.c_void_p, [c.c_size_t]
    libc.strcpy.restype, libc.strcpy.argtypes = c.c_void_p, [c.c_void_p, c.c_char_p]
    libc.strlen.restype, libc.strlen.argtypes = c.c_size_t, [c.c_void_p]
    libc.free.restype, libc.free.argtypes = None, [c.c_void_p]
    address = executor.submit(libc.malloc, 100).result()
    assert executor.submit(libc.strcpy, address, b"there").result() == address
    assert executor.submit(libc.strlen, address).result() == 5
    assert executor.submit(libc.free, address).result() is None


def test_every_buffer_is_aligned(declare, executor):
    misaligned = declare("misaligned", c.c_size_t, c.c_void_p)
    for size in (0, 1, 7, 4090, 4097):
        assert executor.submit(misaligned, bytearray(os.urandom(size))).result() == 0
        assert executor.submit(misaligned, bytes(size)).result() == 0


# -- what pointers say of themselves ------------------------------------------------


def test_pointers_into_bytes(executor):
    """All of the bytes cross, not what ends at a zero, nor one item."""
    libc = c.CDLL("libc.so.6")
    data = b"ab\0cd"
    for argtype, value in [
        (c.c_char_p, c.c_char_p(data)),
        (c.c_void_p, c.c_char_p(data)),
        (c.c_void_p, c.cast(c.c_char_p(data), c.c_void_p)),
    ]:
        libc.memcmp.argtypes, libc.memcmp.restype = [argtype, c.c_char_p, c.c_size_t], c.c_int
        assert executor.submit(libc.memcmp, value, data, 6).result() == libc.memcmp(value, data, 6) == 0
    libc.strlen.argtypes, libc.strlen.restype = [c.POINTER(c.c_char)], c.c_size_t
    assert executor.submit(libc.strlen, c.cast(c.c_char_p(b"hello"), c.POINTER(c.c_char))).result() == 5


@pytest.mark.parametrize("offset", [-4, -1, 17, 1000])
def test_byref_out_of_its_object(declare, executor, offset):
    whole = (c.c_int * 8)(*range(8))
    part = (c.c_int * 4).from_buffer(whole, 8)
    with pytest.raises(TypeError, match=rf"put\(\): argument 1 .*byref\(\) with the offset {offset} .*16 bytes"):
        executor.submit(declare("put", c.c_int, c.c_void_p, c.c_int), c.byref(part, offset), 1)


@pytest.mark.parametrize("argtype", [INT_POINTER, c.c_char_p, c.POINTER(c.c_uint)], ids=lambda t: t.__name__)
@pytest.mark.parametrize("make", [c.byref, c.pointer])
def test_pointers_to_numbers_of_another_type(declare, executor, argtype, make):
    put = declare("put", c.c_int, argtype, c.c_int)
    with pytest.raises(c.ArgumentError):
        put(make(c.c_double(1)), 1)
    with pytest.raises(TypeError, match=r"put\(\): argument 1"):
        executor.submit(put, make(c.c_double(1)), 1)


def test_a_parameter_of_a_parameter(declare, executor):
    class Outer:
        _as_parameter_ = type("Inner", (), {"_as_parameter_": 5})()

    same = declare("same_int32", c.c_int32, c.c_int32)
    assert executor.submit(same, Outer()).result() == same(Outer()) == 5


@pytest.mark.parametrize(
    "value",
    [numpy.array([object()]), numpy.zeros(2, "O,i4"), memoryview(numpy.array([None], object))],
    ids=["objects", "records", "memoryview"],
)
def test_arrays_of_python_objects(declare, executor, value):
    for argtype in (c.c_void_p, c.POINTER(c.c_uint8), ndpointer()):
        if argtype is c.c_void_p or isinstance(value, numpy.ndarray):
            with pytest.raises(TypeError, match=r"invert\(\): argument 1.*mean nothing in another process"):
                executor.submit(declare("invert", None, argtype, c.c_size_t), value, 1)


def test_a_numpy_number_is_no_address(declare, executor):
    is_null = declare("is_null", c.c_int, c.c_void_p)
    with pytest.raises(TypeError, match=r"is_null\(\): argument 1.*int\(\.\.\.\) for an address"):
        executor.submit(is_null, numpy.uint64(0))
    assert executor.submit(is_null, int(numpy.uint64(0))).result() == 1


def test_buffers_that_are_gone(declare, executor):
    view = memoryview(bytearray(8))
    view.release()
    with pytest.raises(TypeError, match=r"invert\(\): argument 1.*released"):
        executor.submit(declare("invert", None, c.c_void_p, c.c_size_t), view, 8)
