"""Every scalar type of ctypes, with values that Hypothesis chooses: what a
worker gives is what ctypes gives in this process, bit for bit."""

from __future__ import annotations

import ctypes
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from oracle import check, double_of, same

# The fixtures hold a pool and a library; examples share them on purpose.
relaxed = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))

INTEGERS = {
    "int8": ctypes.c_int8,
    "uint8": ctypes.c_uint8,
    "int16": ctypes.c_int16,
    "uint16": ctypes.c_uint16,
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
}
ALIASES = {
    "int8": [ctypes.c_byte],
    "uint8": [ctypes.c_ubyte],
    "int16": [ctypes.c_short],
    "uint16": [ctypes.c_ushort],
    "int32": [ctypes.c_int],
    "uint32": [ctypes.c_uint],
    "int64": [ctypes.c_long, ctypes.c_longlong, ctypes.c_ssize_t],
    "uint64": [ctypes.c_ulong, ctypes.c_ulonglong, ctypes.c_size_t],
}
whole = st.integers(-(2**70), 2**70) | st.integers(-300, 300)
# Every pattern of 64 bits: NaNs with payloads, subnormals, infinities.
any_double = st.integers(0, 2**64 - 1).map(double_of) | st.floats()


@pytest.mark.parametrize("name", INTEGERS)
@given(value=whole)
@relaxed
def test_integers_wrap_around(declare, executor, name, value):
    check(executor, declare(f"same_{name}", INTEGERS[name], INTEGERS[name]), value)


@pytest.mark.parametrize(
    ("name", "ctype"), [(n, t) for n, types in ALIASES.items() for t in types], ids=lambda v: getattr(v, "__name__", v)
)
def test_integers_by_all_their_names(declare, executor, name, ctype):
    function = declare(f"same_{name}", ctype, ctype)
    for value in (0, 1, -1, 2**31, 2**63, 2**64 + 7, True):
        check(executor, function, value)


@given(value=any_double | st.integers(-(2**70), 2**70))
@example(double_of(0x7FF8_0000_DEAD_BEEF))
@example(double_of(0x7FF0_0000_0000_0001))
@example(double_of(0xFFF8_0000_0000_0001))
@example(5e-324)
@example(-0.0)
@relaxed
def test_doubles(declare, executor, value):
    check(executor, declare("same_double", ctypes.c_double, ctypes.c_double), value)


@given(value=any_double | st.floats(width=32))
@example(double_of(0x7FF8_0000_DEAD_BEEF))
@example(1.4e-45)
@example(1e-46)
@example(1e39)
@relaxed
def test_floats(declare, executor, value):
    check(executor, declare("same_float", ctypes.c_float, ctypes.c_float), value)


@given(value=any_double)
@example(5e-324)
@example(-0.0)
@relaxed
def test_long_doubles(declare, executor, value):
    check(executor, declare("same_longdouble", ctypes.c_longdouble, ctypes.c_longdouble), value)


def test_a_long_double_keeps_what_a_double_cannot_hold(declare, executor):
    class Extended(ctypes.c_longdouble):
        """A subclass comes back as it is, with all its bits."""

    third = declare("third", Extended, ctypes.c_longdouble)
    found, expected = executor.submit(third, 1.0).result(), third(1.0)
    assert type(found) is Extended and bytes(found)[:10] == bytes(expected)[:10]
    assert bytes(found)[:10] != bytes(ctypes.c_longdouble(1 / 3))[:10]


@given(value=whole | any_double | st.text(max_size=2) | st.none() | st.booleans() | st.lists(st.integers(), max_size=1))
@relaxed
def test_bools(declare, executor, value):
    check(executor, declare("same_bool", ctypes.c_bool, ctypes.c_bool), value)


@given(value=st.binary(min_size=1, max_size=1) | st.integers(0, 255) | st.binary(min_size=1, max_size=1).map(bytearray))
@relaxed
def test_chars(declare, executor, value):
    check(executor, declare("same_char", ctypes.c_char, ctypes.c_char), value)


@given(value=st.characters())
@example("\0")
@example("\ud800")
@example("\U0010ffff")
@relaxed
def test_wide_chars(declare, executor, value):
    check(executor, declare("same_wchar", ctypes.c_wchar, ctypes.c_wchar), value)


@given(value=st.none() | st.integers(-(2**65), 2**65))
@example(0)
@relaxed
def test_addresses(declare, executor, value):
    check(executor, declare("same_address", ctypes.c_void_p, ctypes.c_void_p), value)


@given(value=st.none() | st.binary(max_size=200))
@example(b"")
@example(b"ab\0cd")
@example(b"x" * 5000)
@relaxed
def test_strings(declare, executor, value):
    check(executor, declare("same_text", ctypes.c_char_p, ctypes.c_char_p), value)


@given(value=st.none() | st.text(max_size=100))
@example("")
@example("ab\0cd")
@example("h\xe9 \U0001f600")
@example("x" * 5000)
@relaxed
def test_wide_strings(declare, executor, value):
    check(executor, declare("same_wide", ctypes.c_wchar_p, ctypes.c_wchar_p), value)


@pytest.mark.parametrize(
    "ctype", [ctypes.c_char_p, ctypes.c_wchar_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)], ids=lambda t: t.__name__
)
def test_none_is_the_null_pointer(declare, executor, ctype):
    assert executor.submit(declare("is_null", ctypes.c_int, ctype), None).result() == 1
    assert executor.submit(declare("is_null", ctypes.c_int, ctype), ctype()).result() == 1


@pytest.mark.parametrize(
    ("name", "ctype", "value"),
    [
        ("int32", ctypes.c_int32, 5),
        ("double", ctypes.c_double, 0.1),
        ("float", ctypes.c_float, 0.1),
        ("bool", ctypes.c_bool, True),
        ("char", ctypes.c_char, b"c"),
        ("wchar", ctypes.c_wchar, "w"),
        ("longdouble", ctypes.c_longdouble, 0.1),
        ("address", ctypes.c_void_p, 77),
    ],
)
def test_instances_subclasses_and_parameters(declare, executor, name, ctype, value):
    """A subclass as the result comes back as itself, as ctypes has it."""

    class Own(ctype):
        pass

    class Holder:
        _as_parameter_ = value

    function = declare(f"same_{name}", ctype, ctype)
    check(executor, function, ctype(value))
    check(executor, function, Holder())
    own = declare(f"same_{name}", Own, Own)
    found, expected = executor.submit(own, Own(value)).result(), own(Own(value))
    assert type(found) is Own and same(found.value, expected.value)


def test_none_of_them_at_all(declare, executor):
    assert executor.submit(declare("nothing", None, ctypes.c_double), 1.0).result() is None
    assert math.isnan(executor.submit(declare("same_double", ctypes.c_double, ctypes.c_double), math.nan).result())
