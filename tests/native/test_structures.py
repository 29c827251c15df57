"""Structures by value, as arguments and as results, and by pointer."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ids import shown

c = ctypes
relaxed = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


class Point(c.Structure):
    _fields_ = [("x", c.c_int), ("y", c.c_int)]


class Mixed(c.Structure):
    _fields_ = [("a", c.c_char), ("b", c.c_double), ("c", c.c_float), ("d", c.c_short)]


class Small(c.Structure):
    _fields_ = [("a", c.c_float), ("b", c.c_float), ("c", c.c_float)]


class Pair(c.Structure):
    _fields_ = [("x", c.c_double), ("n", c.c_int64)]


class Large(c.Structure):
    _fields_ = [("values", c.c_double * 6), ("counts", c.c_int32 * 3), ("at", Point * 2)]


class Inner(c.Structure):
    _fields_ = [("u", c.c_float), ("s", Small)]


class Nested(c.Structure):
    _fields_ = [("p", Point), ("inner", Inner), ("tail", c.c_uint8 * 3)]


class Bytes3(c.Structure):
    _fields_ = [("b", c.c_uint8 * 3)]


class One(c.Structure):
    _fields_ = [("x", c.c_longdouble)]


class WithPointer(c.Structure):
    _fields_ = [("p", c.c_void_p), ("n", c.c_int)]


class Base(c.Structure):
    _fields_ = [("x", c.c_int)]


class Derived(Base):
    """Laid out as Point is."""

    _fields_ = [("y", c.c_int)]


TURNED = {
    "point": Point,
    "mixed": Mixed,
    "small": Small,
    "pair": Pair,
    "large": Large,
    "nested": Nested,
    "bytes": Bytes3,
    "pointer": WithPointer,
}


def members(value):
    """All numbers in it; floats by their bits, padding left out."""
    if isinstance(value, c.Structure):
        fields = [f for klass in reversed(type(value).__mro__) for f in klass.__dict__.get("_fields_", ())]
        return [members(getattr(value, name)) for name, _ in fields]
    if isinstance(value, c.Array):
        return [members(v) for v in value]
    return bytes(c.c_double(value)) if isinstance(value, float) else value


@pytest.mark.parametrize("name", TURNED)
@given(data=st.binary(min_size=96, max_size=96))
@relaxed
def test_a_structure_there_and_back(declare, executor, name, data):
    structure = TURNED[name]
    function = declare(f"turn_{name}", structure, structure)
    value = structure.from_buffer_copy(data)
    found = executor.submit(function, value).result()
    assert type(found) is structure and members(found) == members(function(value))
    assert bytes(value) == data[: c.sizeof(structure)]


def test_a_structure_of_one_long_double(declare, executor):
    """libffi passes it and cannot bring it back; ctypes gives numbers without meaning."""
    assert executor.submit(declare("value_of_one", c.c_double, One), One(0.5)).result() == 0.5
    with pytest.raises(TypeError, match=r"turn_one\(\): the result type One is a structure of one long double"):
        executor.submit(declare("turn_one", One, One), One(0.5))


def test_a_structure_that_inherits(declare, executor):
    found = executor.submit(declare("turn_point", Derived, Derived), Derived(3, 4)).result()
    assert type(found) is Derived and (found.x, found.y) == (-4, 3)


def test_a_structure_made_to_convert_itself(declare, executor):
    class Holder:
        _as_parameter_ = Point(5, 6)

    found = executor.submit(declare("turn_point", Point, Point), Holder()).result()
    assert (found.x, found.y) == (-6, 5)


def test_structures_between_other_arguments(declare, executor):
    function = declare(
        "between", c.c_double, c.c_int8, Small, c.c_double, Large, c.c_float, Pair, Point, c.c_longdouble, Bytes3, c.c_int16
    )
    large = Large((1, 2, 3, 4, 5, 6), (7, 8, 9), (Point(10, 11), Point(12, 13)))
    args = (-3, Small(0.5, 1.5, 2.5), 0.25, large, 4.5, Pair(5.5, -6), Point(7, 8), 9.5, Bytes3((10, 11, 12)), -13)
    assert executor.submit(function, *args).result() == function(*args)


@pytest.mark.parametrize("wrong", [None, 5, (1, 2), b"12345678", c.c_int(1), Pair(1, 2)], ids=shown)
def test_what_is_no_instance(declare, executor, wrong):
    with pytest.raises(TypeError, match=r"turn_point\(\): argument 1 \(Point\)"):
        executor.submit(declare("turn_point", Point, Point), wrong)


# -- by pointer -------------------------------------------------------------------


@pytest.mark.parametrize("how", [lambda p: p, c.byref, c.pointer], ids=["instance", "byref", "pointer"])
@pytest.mark.parametrize("argtype", [c.POINTER(Point), c.c_void_p], ids=["POINTER", "c_void_p"])
def test_a_structure_by_pointer(declare, executor, how, argtype):
    point = Point(1, 2)
    assert executor.submit(declare("move_point", None, argtype, c.c_int), how(point), 10).result() is None
    assert (point.x, point.y) == (11, 2)


def test_no_structure(declare, executor):
    move = declare("move_point", None, c.POINTER(Point), c.c_int)
    assert executor.submit(move, None, 1).result() is None
    assert executor.submit(move, c.POINTER(Point)(), 1).result() is None


def test_an_array_of_structures(declare, executor):
    points = (Point * 100)(*((i, -i) for i in range(100)))
    sum_points = declare("sum_points", c.c_int, c.POINTER(Point), c.c_size_t)
    assert executor.submit(sum_points, points, 100).result() == sum_points(points, 100)


def test_a_part_of_an_array(declare, executor):
    points = (Point * 10)()
    move = declare("move_point", None, c.POINTER(Point), c.c_int)
    for i in range(10):
        executor.submit(move, points[i], i).result()
        executor.submit(move, c.byref(points, i * c.sizeof(Point)), 100).result()
    assert [p.x for p in points] == [100 + i for i in range(10)]


def test_a_pointer_to_a_structure_as_the_result(declare, executor):
    function = declare("static_point", c.POINTER(Point), c.c_int)
    found = executor.submit(function, 0).result()
    assert type(found) is c.POINTER(Point) and (found.contents.x, found.contents.y) == (3, 4)
    assert not executor.submit(function, 1).result()


# -- what cannot be passed ------------------------------------------------------------


class Packed(c.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("a", c.c_char), ("b", c.c_double)]


class Bits(c.Structure):
    _fields_ = [("a", c.c_int, 3), ("b", c.c_int, 5)]


class Both(c.Union):
    _fields_ = [("i", c.c_int), ("f", c.c_float)]


class HoldsPacked(c.Structure):
    _fields_ = [("p", Packed)]


class HoldsBoth(c.Structure):
    _fields_ = [("b", Both)]


class Huge(c.Structure):
    _fields_ = [("v", c.c_uint8 * 70_000)]


class Object(c.Structure):
    _fields_ = [("o", c.py_object)]


class Nothing(c.Structure):
    pass


REFUSED = [
    (Packed, "packed"),
    (Bits, "bit fields"),
    (Both, "union|result type Both"),
    (HoldsPacked, "packed"),
    (HoldsBoth, "Both"),
    (Huge, "too large"),
    (Object, "py_object"),
    (Nothing, "255 members|empty|no members"),
]


@pytest.mark.parametrize(("structure", "reason"), REFUSED, ids=lambda v: getattr(v, "__name__", None))
def test_structures_that_cannot_be_passed_by_value(declare, executor, structure, reason):
    value = structure()
    with pytest.raises(TypeError, match=rf"put\(\): argument 2 \({structure.__name__}\).*({reason})"):
        executor.submit(declare("put", c.c_int, c.c_void_p, structure), None, value)
    with pytest.raises(TypeError, match=rf"put\(\): the result type {structure.__name__}.*({reason}|cannot come back)"):
        executor.submit(declare("put", structure, c.c_void_p, c.c_int), None, 1)


@pytest.mark.parametrize("structure", [Packed, Bits, Both])
def test_pointers_to_them_are_fine(declare, executor, structure):
    value = structure()
    assert executor.submit(declare("put", c.c_int, c.POINTER(structure), c.c_int), value, 5).result() == 0
    assert bytes(value)[:4] == bytes(c.c_int(5))


def test_instances_longer_than_their_type(declare, executor):
    """Of a subclass, or resized: what the type has is passed."""

    class Base(c.Structure):
        _fields_ = [("x", c.c_int), ("y", c.c_int)]

    class Longer(Base):
        _fields_ = [("rest", c.c_char * 100_000)]

    assert executor.submit(declare("sum_point", c.c_int, Base, c.c_int), Longer(1, 2), 3).result() == 123
    number = c.c_int(5)
    c.resize(number, 100_000)
    same = declare("same_int32", c.c_int32, c.c_int32)
    assert executor.submit(same, number).result() == 5  # ctypes itself overruns
    assert list(executor.map(same, [number, 6])) == [5, 6]


def nested(depth):
    made = c.c_int
    for _ in range(depth):
        made = type("Level", (c.Structure,), {"_fields_": [("inner", made), ("n", c.c_int)]})
    return made


def test_deep_structures(declare, executor):
    deep, deeper = nested(9), nested(10)
    executor.submit(declare("sum_point", c.c_int, deep, c.c_int), deep(), 0).result()
    with pytest.raises(TypeError, match=r"sum_point\(\): argument 1 .*nested deeper than 8"):
        executor.submit(declare("sum_point", c.c_int, deeper, c.c_int), deeper(), 0)


def test_aligned_structures(declare, executor):
    class Aligned(c.Structure):
        _align_ = 64
        _fields_ = [("x", c.c_int)]

    with pytest.raises(TypeError, match=r"sum_point\(\): argument 1 .*_align_"):
        executor.submit(declare("sum_point", c.c_int, Aligned, c.c_int), Aligned(), 0)
