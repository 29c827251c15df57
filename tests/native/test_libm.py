"""Every public function of libm with a double signature, over edge cases."""

from __future__ import annotations

import ctypes
import itertools
import math

import pytest
from oracle import bits, double_of

from fuload_exec import FuloadExecutor

ONE = """acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erfc exp exp10 exp2 expm1 fabs floor gamma j0 j1
    lgamma log log10 log1p log2 logb nearbyint rint round roundeven significand sin sinh sqrt tan tanh tgamma trunc
    y0 y1""".split()
TWO = """atan2 copysign drem fdim fmax fmaxmag fmin fminmag fmod hypot nextafter pow remainder scalb""".split()
MIXED = {
    "ldexp": (ctypes.c_double, [ctypes.c_double, ctypes.c_int]),
    "scalbln": (ctypes.c_double, [ctypes.c_double, ctypes.c_long]),
    "jn": (ctypes.c_double, [ctypes.c_int, ctypes.c_double]),
    "ilogb": (ctypes.c_int, [ctypes.c_double]),
    "lround": (ctypes.c_long, [ctypes.c_double]),
    "llrint": (ctypes.c_longlong, [ctypes.c_double]),
    "nexttoward": (ctypes.c_double, [ctypes.c_double, ctypes.c_longdouble]),
    "fma": (ctypes.c_double, [ctypes.c_double] * 3),
    "cosf": (ctypes.c_float, [ctypes.c_float]),
    "powf": (ctypes.c_float, [ctypes.c_float] * 2),
    "cosl": (ctypes.c_longdouble, [ctypes.c_longdouble]),
    "powl": (ctypes.c_longdouble, [ctypes.c_longdouble] * 2),
}
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    -1.5,
    2.5,
    2.0,
    -2.0,
    3.0,
    math.pi,
    -math.pi,
    math.e,
    10.0,
    100.5,
    170.6,
    710.0,
    -745.2,
    1e15,
    2.0**52 + 0.5,
    2.0**53,
    1e22,
    1e300,
    -1e300,
    1e-10,
    1e-300,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    -1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
    double_of(0x7FF8_0000_DEAD_BEEF),
    double_of(0xFFF8_0000_0000_0001),
    1 - 2**-53,
    1 + 2**-52,
]
FEW = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.0, 1e300, 5e-324, math.inf, -math.inf, math.nan]


@pytest.fixture(scope="module")
def libm():
    return ctypes.CDLL("libm.so.6")


def declared(libm, name, restype, argtypes):
    if not hasattr(libm, name):
        return None
    function = libm[name]
    function.restype, function.argtypes = restype, argtypes
    return function


def check_all(function, calls):
    """One by one and mapped, in the worker, as here."""
    expected = [bits(function(*args)) for args in calls]
    with FuloadExecutor(1) as executor:
        futures = [executor.submit(function, *args) for args in calls]
        assert [bits(f.result()) for f in futures] == expected
        assert [bits(r) for r in executor.map(function, *zip(*calls))] == expected


def names_there(libm, names):
    """A C library need not have all that others have, but it has most."""
    found = [name for name in names if hasattr(libm, name)]
    assert len(found) > len(names) * 3 // 4
    return found


def test_functions_of_one_double(libm):
    for name in names_there(libm, ONE):
        check_all(declared(libm, name, ctypes.c_double, [ctypes.c_double]), [(x,) for x in EDGES])


def test_functions_of_two_doubles(libm):
    for name in names_there(libm, TWO):
        check_all(
            declared(libm, name, ctypes.c_double, [ctypes.c_double] * 2), list(itertools.product(EDGES[:20] + EDGES[-8:], FEW))
        )


@pytest.mark.parametrize("name", MIXED)
def test_functions_of_other_types(libm, name):
    restype, argtypes = MIXED[name]
    function = declared(libm, name, restype, argtypes)
    values = {ctypes.c_int: [0, 1, -3, 40], ctypes.c_long: [0, 1, -3, 2000]}
    columns = [values.get(t, FEW[:9]) for t in argtypes]
    check_all(function, list(itertools.product(*columns)))


def test_pointers_for_second_results(libm, executor):
    frexp = declared(libm, "frexp", ctypes.c_double, [ctypes.c_double, ctypes.POINTER(ctypes.c_int)])
    modf = declared(libm, "modf", ctypes.c_double, [ctypes.c_double, ctypes.POINTER(ctypes.c_double)])
    for value in EDGES[:30]:
        exponent, expected = ctypes.c_int(-99), ctypes.c_int(-99)
        assert bits(executor.submit(frexp, value, ctypes.byref(exponent)).result()) == bits(frexp(value, ctypes.byref(expected)))
        assert exponent.value == expected.value
        whole, expected = ctypes.c_double(), ctypes.c_double()
        assert bits(executor.submit(modf, value, whole).result()) == bits(modf(value, expected))
        assert bits(whole.value) == bits(expected.value)
