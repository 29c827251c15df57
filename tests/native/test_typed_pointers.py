"""POINTER(T) takes what points at T, and says what else it was given."""

from __future__ import annotations

import array
import ctypes as c
import mmap
import re

import numpy
import pytest

DOUBLES = c.POINTER(c.c_double)


class Point(c.Structure):
    _fields_ = [("x", c.c_int), ("y", c.c_int)]


class Twin(c.Structure):
    """Laid out as Point is; another structure all the same."""

    _fields_ = [("x", c.c_int), ("y", c.c_int)]


class Named(Point):
    _fields_ = [("name", c.c_char * 4)]


class Vector(c.Structure):
    _fields_ = [("x", c.c_double), ("y", c.c_double), ("z", c.c_double)]


class Mixed(c.Structure):
    _fields_ = [("n", c.c_short), ("v", c.c_float * 2), ("tag", c.c_char * 3), ("at", Point)]


class Either(c.Union):
    _fields_ = [("n", c.c_int), ("x", c.c_float)]


@pytest.fixture
def digest(declare):
    """digest(pointer, size) of the bytes that a worker sees there."""

    def digest_(argtype):
        return declare("digest", c.c_uint64, argtype, c.c_size_t)

    return digest_


def cast(kind):
    return lambda: memoryview(bytearray(24)).cast(kind)


WRONG = [
    *(
        (DOUBLES, lambda kind=kind: numpy.zeros(3, kind))
        for kind in ("f4", "f2", "g", "i8", "u8", "i4", "u1", "?", ">f8", "c16", "S8", "U2", "V8", "f8,f8", "m8[s]", "M8[s]")
    ),
    *((DOUBLES, lambda kind=kind: array.array(kind, [1, 2, 3])) for kind in "fqlibB"),
    *((DOUBLES, cast(kind)) for kind in "fqlib?"),
    (DOUBLES, lambda: (c.c_float * 3)()),
    (DOUBLES, lambda: (c.c_ubyte * 24)()),
    (DOUBLES, lambda: (c.c_long * 3)()),
    (DOUBLES, lambda: (c.c_double.__ctype_be__ * 3)()),
    (DOUBLES, lambda: (Point * 3)()),
    (DOUBLES, lambda: c.c_float(1)),
    (DOUBLES, lambda: c.byref(c.c_float(1))),
    (DOUBLES, lambda: c.pointer(c.c_float(1))),
    (DOUBLES, lambda: c.byref((c.c_float * 3)())),
    (DOUBLES, lambda: c.pointer((c.c_double * 3)())),
    (DOUBLES, lambda: c.POINTER(c.c_int)()),
    (DOUBLES, lambda: c.c_void_p(8)),
    (DOUBLES, lambda: c.c_char_p(b"x")),
    (DOUBLES, lambda: Point()),
    (DOUBLES, lambda: c.byref(Point())),
    (DOUBLES, lambda: c.pointer(Point())),
    (DOUBLES, lambda: numpy.zeros(3, "f4").ctypes),
    (DOUBLES, lambda: numpy.zeros(3, "f4").ctypes.data_as(c.POINTER(c.c_float))),
    *((c.POINTER(c.c_int32), lambda kind=kind: numpy.zeros(3, kind)) for kind in ("u4", "i8", "i2", "f4", ">i4", "?")),
    *((c.POINTER(c.c_uint64), lambda kind=kind: numpy.zeros(3, kind)) for kind in ("i8", "u4", "f8", ">u8", "M8[s]")),
    *((c.POINTER(c.c_ubyte), lambda kind=kind: numpy.zeros(3, kind)) for kind in ("i8", "f8", "u2", "U1")),
    (c.POINTER(c.c_char), lambda: numpy.zeros(3)),
    (c.POINTER(c.c_wchar), lambda: numpy.zeros(3, "i4")),
    (c.POINTER(c.c_int.__ctype_be__), lambda: numpy.zeros(3, "i4")),
    *(
        (c.POINTER(Point), make)
        for make in (
            lambda: Twin(),
            lambda: c.byref(Twin()),
            lambda: c.pointer(Twin()),
            lambda: (Twin * 2)(),
            lambda: c.byref((Twin * 2)()),
            lambda: c.POINTER(Twin)(),
            lambda: (c.c_int * 2)(),
            lambda: numpy.zeros(3, "i4,f4"),
            lambda: numpy.zeros(3, "i4,i4,i4"),
            lambda: numpy.zeros(3, "f8"),
            lambda: numpy.zeros(3, ">i4,>i4"),
            lambda: numpy.zeros(3, "u4,u4"),
            lambda: c.c_void_p(8),
        )
    ),
    (c.POINTER(Vector), lambda: numpy.zeros((2, 3), "f4")),
    (c.POINTER(Vector), lambda: numpy.zeros(3, "f8,f8")),
    (c.POINTER(c.c_double * 3), lambda: numpy.zeros((2, 3), "f4")),
    (c.POINTER(Either), lambda: Point()),
    (c.POINTER(Either), lambda: numpy.zeros(3, "i4,i4")),
    (c.c_char_p, lambda: c.pointer(Point())),
    (c.c_char_p, lambda: c.byref(Point())),
    (c.c_double * 3, lambda: c.pointer(c.c_double())),
]


@pytest.mark.parametrize(("argtype", "make"), WRONG)
def test_what_points_at_something_else(digest, executor, argtype, make):
    value = make()
    with pytest.raises(TypeError, match=rf"digest\(\): argument 1 \({argtype.__name__}\)") as caught:
        executor.submit(digest(argtype), value, 0)
    told = str(caught.value)
    assert re.search(rf"got .*{type(getattr(value, '_as_parameter_', value)).__name__}|got ndarray of", told), told


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (numpy.zeros(1, "f4"), r"items of c_double are allowed, got ndarray of float32$"),
        (numpy.zeros(1, ">f8"), r"items of c_double are allowed, got ndarray of >f8$"),
        (array.array("f", [1]), r"items of c_double are allowed, got array of 'f'$"),
        (memoryview(array.array("i", [1])), r"items of c_double are allowed, got memoryview of 'i'$"),
        ((c.c_float * 2)(), r"items of c_double are allowed, got c_float_Array_2$"),
        (c.pointer(c.c_float()), r"expected LP_c_double.*, got LP_c_float$"),
    ],
)
def test_how_it_is_said(declare, executor, value, said):
    """With the place among the arguments."""
    modf = c.CDLL("libm.so.6").modf
    modf.argtypes, modf.restype = [c.c_double, DOUBLES], c.c_double
    with pytest.raises(TypeError, match=r"^modf\(\): argument 2 \(LP_c_double\): " + said):
        executor.submit(modf, 2.5, value)
    with pytest.raises(TypeError, match=r"^modf\(\): argument 2 \(LP_c_double\): " + said):
        list(executor.map(modf, [2.5], [value]))


def test_what_is_refused_is_let_go(declare, executor):
    buffer = array.array("f", [1])
    with pytest.raises(TypeError, match="items of c_double"):
        executor.submit(declare("double_all", None, DOUBLES, c.c_size_t), buffer, 1)
    buffer.append(2)


@pytest.mark.parametrize("kind", ["f4", "i8", ">f8", "S3", "f8,i4"])
def test_a_pointer_without_a_type_takes_any_items(digest, executor, kind):
    value = numpy.zeros(3, kind)
    assert executor.submit(digest(c.c_void_p), value, value.nbytes).result() == digest(c.c_void_p)(
        bytes(value.nbytes), value.nbytes
    )


def text(value):
    """The bytes that a C function finds."""
    value = getattr(value, "_obj", value)
    return bytes(getattr(value, "contents", value))


def anonymous(size):
    return mmap.mmap(-1, size)


RIGHT = [
    *(
        (DOUBLES, make)
        for make in (
            lambda: numpy.ones(3),
            lambda: numpy.ones((2, 3)),
            lambda: numpy.ones(3, "=f8"),
            lambda: array.array("d", [1, 2]),
            cast("d"),
            lambda: memoryview(numpy.ones(3)),
            lambda: (c.c_double * 3)(1, 2),
            lambda: ((c.c_double * 3) * 2)(),
            lambda: c.c_double(1),
            lambda: c.byref(c.c_double(1)),
            lambda: c.pointer(c.c_double(1)),
            lambda: c.byref((c.c_double * 3)(1)),
            lambda: numpy.ones(3).view(numpy.recarray),
            lambda: numpy.array(1.5),
            # Memory without a type.
            lambda: c.create_string_buffer(24),
            lambda: bytes(24),
            lambda: bytearray(24),
            lambda: memoryview(bytes(24)),
            lambda: anonymous(24),
            lambda: memoryview(numpy.ones(3, "f4")).cast("B"),
        )
    ),
    *((c.POINTER(kind), lambda: numpy.arange(3, dtype="i8")) for kind in (c.c_long, c.c_longlong, c.c_int64, c.c_ssize_t)),
    *(
        (c.POINTER(kind), lambda code=code: array.array(code, [1, 2]))
        for kind, code in ((c.c_long, "q"), (c.c_longlong, "l"), (c.c_ulong, "Q"), (c.c_int, "i"), (c.c_ushort, "H"))
    ),
    *(
        (c.POINTER(kind), make)
        for kind in (c.c_char, c.c_byte, c.c_ubyte, c.c_bool)
        for make in (
            lambda: b"abc",
            lambda: bytearray(b"abc"),
            lambda: array.array("b", [1]),
            lambda: array.array("B", [1]),
            lambda: numpy.ones(3, "u1"),
            lambda: numpy.ones(3, "i1"),
            lambda: numpy.ones(3, "?"),
            lambda: numpy.array([b"abc", b"de"]),
            lambda: c.create_string_buffer(b"abc"),
            lambda: (c.c_ubyte * 3)(1, 2),
        )
    ),
    (c.POINTER(c.c_wchar), lambda: numpy.array(["abc", "de"])),
    (c.POINTER(c.c_wchar), lambda: c.create_unicode_buffer("abc")),
    (c.POINTER(c.c_longdouble), lambda: numpy.zeros(3, "g")),
    (c.POINTER(c.c_float), lambda: numpy.ones(3, "f4")),
    (c.POINTER(c.c_int.__ctype_be__), lambda: numpy.ones(3, ">i4")),
    *(
        (c.POINTER(Point), make)
        for make in (
            lambda: Point(1, 2),
            lambda: Named(1, 2, b"a"),
            lambda: c.byref(Point(1, 2)),
            lambda: c.byref(Named(1, 2)),
            lambda: c.pointer(Point(1, 2)),
            lambda: (Point * 2)(),
            lambda: (Named * 2)(),
            lambda: c.byref((Point * 2)()),
            lambda: numpy.ones(3, "i4,i4"),
            lambda: numpy.ones(3, Point),
            lambda: numpy.ones((3, 2), "i4"),
            lambda: numpy.ones(3, "V8"),
            lambda: memoryview((Point * 3)()),
            lambda: bytes(8),
            lambda: bytearray(8),
            lambda: anonymous(8),
        )
    ),
    (c.POINTER(Vector), lambda: numpy.ones((4, 3))),
    (c.POINTER(Vector), lambda: numpy.ones(4, "f8,f8,f8")),
    (c.POINTER(c.c_double * 3), lambda: numpy.ones((4, 3))),
    (c.POINTER(c.c_double * 3), lambda: (c.c_double * 3)(1)),
    (c.POINTER(Mixed), lambda: numpy.ones(2, Mixed)),
    (c.POINTER(Either), lambda: Either(1)),
    (c.POINTER(Either), lambda: numpy.ones(2, "V4")),
]


@pytest.mark.parametrize(("argtype", "make"), RIGHT)
def test_what_points_at_the_type(digest, executor, argtype, make):
    value = make()
    seen = text(value)
    assert executor.submit(digest(argtype), value, len(seen)).result() == digest(c.c_void_p)(seen, len(seen))


def test_a_cast_is_the_users_word(digest, executor):
    values = (c.c_float * 4)(1, 2, 3, 4)
    floats = numpy.arange(4, dtype="f4")
    for made, seen in ((c.cast(values, DOUBLES), bytes(values)), (floats.ctypes.data_as(DOUBLES), floats.tobytes())):
        assert executor.submit(digest(DOUBLES), made, 16).result() == digest(c.c_void_p)(seen, 16)


def test_null_pointers(declare, executor):
    is_null = declare("is_null", c.c_int, DOUBLES)
    assert executor.submit(is_null, None).result() == executor.submit(is_null, DOUBLES()).result() == 1


def test_a_structure_of_which_numpy_knows_no_layout(digest, executor):
    """It is compared by its size."""

    class Bits(c.Structure):
        _fields_ = [("a", c.c_int, 3), ("b", c.c_int, 5), ("c", c.c_int)]

    value = numpy.ones(2, "V8")
    assert executor.submit(digest(c.POINTER(Bits)), value, 16).result() == digest(c.c_void_p)(bytes(value), 16)
    with pytest.raises(TypeError, match=r"items of Bits are allowed, got ndarray of"):
        executor.submit(digest(c.POINTER(Bits)), numpy.ones(2, "i4,i4,i4"), 16)
