"""What the tests of the contract share: executors of this package and the
standard's, gates, and a C library made for them."""

from __future__ import annotations

import ctypes
import gc
import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from gates import Gate

from fuload_exec import FuloadExecutor


def fuload_executor(max_workers=2, **options):
    return FuloadExecutor(max_workers, **options)


def process_pool_executor(max_workers=2, **options):
    return ProcessPoolExecutor(max_workers, mp_context=multiprocessing.get_context("fork"), **options)


@pytest.fixture(params=[fuload_executor, process_pool_executor], ids=["FuloadExecutor", "ProcessPoolExecutor"])
def make_executor(request):
    """For promises that the standard library makes too: its pool proves the test."""
    return request.param


@pytest.fixture
def no_collection():
    """What goes must go by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def make_gate(tmp_path):
    """A function that makes gates."""
    gates = []
    numbers = itertools.count()

    def make() -> Gate:
        gates.append(Gate(tmp_path / f"gate{next(numbers)}"))
        return gates[-1]

    yield make
    for gate in gates:
        gate.close()


@pytest.fixture
def gate(make_gate):
    return make_gate()


@pytest.fixture(scope="session")
def open_gate(libc):
    """A C function that waits for a gate: open(path, O_RDONLY)."""
    function = ctypes.CDLL("libc.so.6").open
    function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_int
    return function


C_TEXT = r"""
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define TYPE(name, type)                                                       \
    type same_##name(type x) { return x; }                                     \
    type middle_##name(signed char a, type x, double b, char c) { return x; }

TYPE(bool, bool) TYPE(char, char) TYPE(wchar, wchar_t)
TYPE(byte, signed char) TYPE(ubyte, unsigned char)
TYPE(short, short) TYPE(ushort, unsigned short)
TYPE(int, int) TYPE(uint, unsigned)
TYPE(long, long) TYPE(ulong, unsigned long)
TYPE(longlong, long long) TYPE(ulonglong, unsigned long long)
TYPE(float, float) TYPE(double, double) TYPE(longdouble, long double)
TYPE(address, void *)

double mixed(int8_t a, double b, uint16_t c, float d, int64_t e, long double f, uint8_t g, double h,
             int32_t i, float j, uint64_t k, double l, int16_t m, bool n, uint32_t o, double p)
{
    return a + 2 * b + 3 * c + 4 * d + 5 * (double)e + 6 * (double)f + 7 * g + 8 * h + 9 * i + 10 * j +
           11 * (double)k + 12 * l + 13 * m + 14 * n + 15.0 * o + 16 * p;
}

void nothing(void) {}

/* FNV-1a */
uint64_t digest(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

double total(const double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

size_t misaligned(const void *at) { return (uintptr_t)at % 16; }
int is_null(const void *at) { return at == NULL; }

/* A text of `size` letters, or NULL for the longest size there is. */
const char *text(size_t size)
{
    static char *made;
    if (size == SIZE_MAX)
        return NULL;
    made = realloc(made, size + 1);
    memset(made, 'x', size);
    made[size] = 0;
    return made;
}

const char *echo(const char *given) { return given; }
const wchar_t *wide_echo(const wchar_t *given) { return given; }

void double_all(double *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] *= 2;
}

void swap(int *a, int *b)
{
    int t = *a;
    *a = *b, *b = t;
}

void spoil(void *data, size_t size)
{
    memset(data, 0xee, size);
    abort();
}

int *table(int null)
{
    static int values[3] = {2, 3, 5};
    return null ? NULL : values;
}

struct point { int x; double y; };
struct point turn(struct point p) { return (struct point){-p.x, 2 * p.y}; }
void move(struct point *p, int dx) { p->x += dx; }

/* Which task of this worker it is, from 0. */
long count(void)
{
    static long n;
    return n++;
}
"""


@pytest.fixture(scope="session")
def c_library_path(tmp_path_factory, compile_library):
    return compile_library(tmp_path_factory.mktemp("library") / "libcontract.so", C_TEXT)


@pytest.fixture
def c_library(c_library_path):
    """The library, with nothing declared yet but what takes buffers and text."""
    library = ctypes.CDLL(str(c_library_path))
    declarations = {
        "digest": (ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_size_t]),
        "double_all": (None, [ctypes.POINTER(ctypes.c_double), ctypes.c_size_t]),
        "swap": (None, [ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)]),
        "spoil": (None, [ctypes.c_void_p, ctypes.c_size_t]),
        "total": (ctypes.c_double, [ctypes.POINTER(ctypes.c_double), ctypes.c_size_t]),
        "misaligned": (ctypes.c_size_t, [ctypes.c_void_p]),
        "is_null": (ctypes.c_int, [ctypes.c_void_p]),
        "text": (ctypes.c_char_p, [ctypes.c_size_t]),
        "echo": (ctypes.c_char_p, [ctypes.c_char_p]),
        "count": (ctypes.c_long, []),
        "nothing": (None, []),
    }
    for name, (restype, argtypes) in declarations.items():
        function = getattr(library, name)
        function.restype, function.argtypes = restype, argtypes
    return library
