"""A C library made of random signatures: up to 16 arguments of every kind,
all of which the function writes down, so that ctypes here and the worker can
be compared byte by byte."""

from __future__ import annotations

import ctypes
import random

import pytest
from oracle import bits, double_of

from fuload_exec import FuloadExecutor

FUNCTIONS = 60
CALLS = 4


class Two(ctypes.Structure):
    _fields_ = [("a", ctypes.c_float), ("b", ctypes.c_int8)]


class Three(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("n", ctypes.c_int64), ("two", Two)]


class Doubles(ctypes.Structure):
    _fields_ = [("v", ctypes.c_double * 2)]


HEAD = """
#include <stdint.h>
#include <string.h>
struct two { float a; int8_t b; };
struct three { double x; int64_t n; struct two two; };
struct doubles { double v[2]; };
"""
# C's name, ctypes' type, how many bytes of it count (long double has padding).
TYPES = {
    "int8_t": (ctypes.c_int8, 1),
    "uint8_t": (ctypes.c_uint8, 1),
    "int16_t": (ctypes.c_int16, 2),
    "uint16_t": (ctypes.c_uint16, 2),
    "int32_t": (ctypes.c_int32, 4),
    "uint32_t": (ctypes.c_uint32, 4),
    "int64_t": (ctypes.c_int64, 8),
    "uint64_t": (ctypes.c_uint64, 8),
    "float": (ctypes.c_float, 4),
    "double": (ctypes.c_double, 8),
    "long double": (ctypes.c_longdouble, 10),
    "struct two": (Two, 5),
    "struct three": (Three, 21),
    "struct doubles": (Doubles, 16),
    "const int32_t *": (ctypes.POINTER(ctypes.c_int32), 4),
}
RESULTS = [name for name in TYPES if "*" not in name]
ROOM = 16 * 32


def random_signatures():
    """(name, result, arguments): the same ones in every run."""
    choose = random.Random(20240607)
    for number in range(FUNCTIONS):
        count = 16 if number % 4 == 0 else choose.randrange(16)
        yield f"f{number}", choose.choice(RESULTS), [choose.choice(list(TYPES)) for _ in range(count)]


def c_function(name, result, arguments):
    """It writes its arguments to `out`, 32 bytes each, and returns the first
    of the result's type, or zeros."""
    text = [f"{result} {name}({', '.join([f'{t} a{i}' for i, t in enumerate(arguments)] + ['unsigned char *out'])})", "{"]
    for i, t in enumerate(arguments):
        value = f"a{i}" if "*" in t else f"&a{i}"
        text.append(f"    memcpy(out + {32 * i}, {value}, {TYPES[t][1]});")
    first = next((f"a{i}" for i, t in enumerate(arguments) if t == result), None)
    text.append(f"    return {first};" if first else f"    {result} r; memset(&r, 0, sizeof r); return r;")
    return "\n".join([*text, "}"])


def random_value(choose, name):
    ctype = TYPES[name][0]
    if issubclass(ctype, ctypes.Structure):
        return ctype.from_buffer_copy(choose.randbytes(ctypes.sizeof(ctype)))
    if "*" in name:
        return (ctypes.c_int32 * 1)(choose.randrange(-(2**31), 2**31))
    if "int" in name:
        return choose.randrange(-(2**64), 2**64)
    return choose.choice([double_of(choose.getrandbits(64)), choose.uniform(-1e6, 1e6), -0.0])


@pytest.fixture(scope="module")
def generated(tmp_path_factory, compile_library):
    text = HEAD + "\n".join(c_function(*signature) for signature in random_signatures())
    return ctypes.CDLL(str(compile_library(tmp_path_factory.mktemp("generated") / "libgenerated.so", text)))


def test_mixed_signatures_of_up_to_sixteen_arguments(generated):
    choose = random.Random(7)
    with FuloadExecutor(1) as executor:
        for name, result, arguments in random_signatures():
            function = generated[name]
            function.restype = TYPES[result][0]
            function.argtypes = [TYPES[t][0] for t in arguments] + [ctypes.c_void_p]
            for _ in range(CALLS):
                args = [random_value(choose, t) for t in arguments]
                here, there = ctypes.create_string_buffer(ROOM), ctypes.create_string_buffer(ROOM)
                expected, found = function(*args, here), executor.submit(function, *args, there).result()
                assert there.raw == here.raw, (name, arguments)
                assert meant(found) == meant(expected), (name, result, arguments)


def meant(value):
    """Bytes without a structure's padding, which nobody defines."""
    if isinstance(value, ctypes.Structure):
        return [meant(getattr(value, field)) for field, _ in value._fields_]
    if isinstance(value, ctypes.Array):
        return [meant(v) for v in value]
    return bits(value)


@pytest.mark.parametrize("count", [63, 64, 65])
def test_many_arguments(tmp_path, compile_library, count):
    names = ", ".join(f"long a{i}" for i in range(count))
    text = f"long sum({names}) {{ return {' + '.join(f'{i} * a{i}' for i in range(count))}; }}"
    function = ctypes.CDLL(str(compile_library(tmp_path / "libmany.so", text))).sum
    function.argtypes, function.restype = [ctypes.c_long] * count, ctypes.c_long
    with FuloadExecutor(1) as executor:
        if count > 64:
            with pytest.raises(TypeError, match=r"sum\(\): 65 arguments, at most 64"):
                executor.submit(function, *range(count))
        else:
            assert executor.submit(function, *range(count)).result() == function(*range(count))
