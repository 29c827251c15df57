"""What cannot cross: TypeErrors that name function, argument and reason."""

from __future__ import annotations

import ctypes as c

import numpy
import pytest
from support.ids import shown

from fuload_exec import FuloadExecutor

CALLBACK = c.CFUNCTYPE(c.c_int, c.c_int)


class Packed(c.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("a", c.c_char), ("b", c.c_double)]


class Both(c.Union):
    _fields_ = [("i", c.c_int), ("f", c.c_float)]


POINTERS = "pointer to pointers"
ARGUMENTS = [
    (CALLBACK, "callback"),
    (c.py_object, "cannot be passed"),
    (c.POINTER(c.c_char_p), POINTERS),
    (c.POINTER(c.c_wchar_p), POINTERS),
    (c.POINTER(c.c_void_p), POINTERS),
    (c.POINTER(c.POINTER(c.c_int)), POINTERS),
    (c.POINTER(CALLBACK), POINTERS),
    (c.POINTER(c.py_object), POINTERS),
    (c.c_char_p * 3, POINTERS),
    (c.POINTER(c.c_int) * 3, POINTERS),
    (c.POINTER(c.c_void_p * 2), POINTERS),
    (c.c_char_p * 3 * 2, POINTERS),
    (CALLBACK * 2, POINTERS),
    (Packed, "packed"),
    (Both, "union"),
]


@pytest.mark.parametrize(("argtype", "reason"), ARGUMENTS, ids=lambda v: getattr(v, "__name__", "")[:30])
def test_argument_types(declare, executor, argtype, reason):
    with pytest.raises(TypeError, match=rf"put\(\): argument 2 \({argtype.__name__}\).*{reason}"):
        executor.submit(declare("put", c.c_int, c.c_void_p, argtype), None, None)
    with pytest.raises(TypeError, match=rf"put\(\): argument 2 \({argtype.__name__}\).*{reason}"):
        executor.map(declare("put", c.c_int, c.c_void_p, argtype), [None], [None])


@pytest.mark.parametrize(
    "restype",
    [
        CALLBACK,
        c.py_object,
        c.POINTER(c.c_char_p),
        c.POINTER(c.c_void_p),
        c.POINTER(c.POINTER(c.c_int)),
        c.POINTER(CALLBACK),
        c.POINTER(c.c_wchar_p * 2),
        Packed,
        Both,
        c.c_int * 3,
    ],
    ids=lambda t: t.__name__,
)
def test_result_types(declare, executor, restype):
    with pytest.raises(TypeError, match=rf"put\(\): the result type {restype.__name__} "):
        executor.submit(declare("put", restype, c.c_void_p, c.c_int), None, 1)


class Broken:
    """As a value that warns, where warnings are errors."""

    def __float__(self):
        raise DeprecationWarning("no more")

    __index__ = __float__


@pytest.mark.parametrize("ctype", [c.c_double, c.c_float, c.c_int, c.c_uint8], ids=lambda t: t.__name__)
def test_a_value_whose_conversion_fails(declare, executor, ctype):
    function = declare("same_double", ctype, ctype)
    with pytest.raises(c.ArgumentError):
        function(Broken())
    with pytest.raises(
        TypeError, match=rf"same_double\(\): argument 1 \({ctype.__name__}\): DeprecationWarning: no more"
    ) as caught:
        executor.submit(function, Broken())
    assert isinstance(caught.value.__cause__, DeprecationWarning)


def test_a_type_that_converts_itself(declare, executor):
    class Own:
        @classmethod
        def from_param(cls, value):
            return value

    with pytest.raises(TypeError, match=r"put\(\): argument 2 \(Own\) cannot be passed"):
        executor.submit(declare("put", c.c_int, c.c_void_p, Own), None, 1)


@pytest.mark.parametrize("value", [CALLBACK(lambda x: x), c.CDLL("libm.so.6").cos, len, lambda: 1], ids=shown)
def test_functions_as_values(declare, executor, value):
    for argtype in (c.c_void_p, c.POINTER(c.c_int), c.c_int, c.c_double):
        with pytest.raises(TypeError, match=rf"is_null\(\): argument 1 \({argtype.__name__}\)"):
            executor.submit(declare("is_null", c.c_int, argtype), value)


@pytest.mark.parametrize(
    "value",
    [
        (c.c_char_p * 2)(b"a", b"b"),
        c.pointer(c.pointer(c.c_int(1))),
        c.byref(c.pointer(c.c_int(1))),
        c.byref(c.c_char_p(b"x")),
        (CALLBACK * 1)(),
        (c.POINTER(c.c_int) * 2)(),
    ],
    ids=lambda v: type(v).__name__,
)
def test_pointers_to_pointers_as_values(declare, executor, value):
    with pytest.raises(TypeError, match=r"is_null\(\): argument 1 \(c_void_p\).*pointers"):
        executor.submit(declare("is_null", c.c_int, c.c_void_p), value)


def test_keyword_arguments(declare, executor):
    add = declare("add_int", c.c_int, c.c_int, c.c_int)
    with pytest.raises(TypeError, match=r"add_int\(\).*keyword.*b"):
        executor.submit(add, 1, b=2)


@pytest.mark.parametrize("args", [(), (1,), (1, 2, 3)])
def test_a_wrong_number_of_arguments(declare, executor, args):
    with pytest.raises(TypeError, match=rf"add_int\(\) takes 2 arguments \({len(args)} given\).*variadic"):
        executor.submit(declare("add_int", c.c_int, c.c_int, c.c_int), *args)


def test_variadic_functions(executor):
    printf = c.CDLL("libc.so.6").printf
    printf.argtypes, printf.restype = [c.c_char_p], c.c_int
    with pytest.raises(TypeError, match=r"printf\(\) takes 1 argument \(2 given\).*variadic"):
        executor.submit(printf, b"%d", 5)


def test_undeclared_functions(library, executor):
    for call in (lambda f: executor.submit(f, 1, 2), lambda f: executor.map(f, [1], [2])):
        with pytest.raises(TypeError, match=r"add_int\(\).*argtypes"):
            call(library["add_int"])


def test_a_refused_task_is_no_task(declare, executor):
    for _ in range(10):
        with pytest.raises(TypeError):
            executor.submit(declare("put", c.c_int, c.c_void_p, CALLBACK), None, None)
    assert executor.stats().submitted == 0
    assert executor.submit(declare("add_int", c.c_int, c.c_int, c.c_int), 1, 2).result() == 3


def test_a_function_of_a_prototype(executor):
    """It has no name by which a worker could find it."""
    function = c.CFUNCTYPE(c.c_int, c.c_int)(("abs", c.CDLL("libc.so.6")))
    function.argtypes = [c.c_int]
    with pytest.raises(TypeError, match="prototype.*take it from the library as an attribute"):
        executor.submit(function, -1)


@pytest.mark.parametrize("member", [c.c_char, c.c_double])
def test_structures_that_are_too_many_by_value(member):
    kind = type("Kind", (c.Structure,), {"_fields_": [(f"m{i}", member) for i in range(200)]})
    absolute = c.CDLL(None).abs
    absolute.argtypes, absolute.restype = [kind] * 60, c.c_int
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=r"abs\(\): its (arguments take|types are too complex)"):
            executor.submit(absolute, *[kind()] * 60)


def test_an_array_of_objects_as_the_result():
    absolute = c.CDLL(None).abs
    absolute.argtypes = [c.c_int]
    absolute.restype = numpy.ctypeslib.ndpointer(dtype=object, shape=(2,))
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match="an array of Python objects"):
            executor.submit(absolute, 1)
