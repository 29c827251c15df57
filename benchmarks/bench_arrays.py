"""How long does a C function over an array take: map_array on 1 and 2 workers,
a C loop over the same function in this process, NumPy, a Python loop?"""

import ctypes
import os
import subprocess

import numpy
import pytest

from fuload_exec import FuloadExecutor

ITEMS = 1_000_000
# Arguments of each function, and NumPy's name for it.
FUNCTIONS = {"cos": (1, numpy.cos), "pow": (2, numpy.power), "fabs": (1, numpy.fabs)}

# The function is called through a pointer, so that the loop is not compiled
# into something else than calls.
C_LOOPS = """
#include <stddef.h>
void loop1(double (*f)(double), const double *x, double *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f(x[i]);
}
void loop2(double (*f)(double, double), const double *x, const double *y, double *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f(x[i], y[i]);
}
"""


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    library = tmp_path_factory.mktemp("loops") / "loops.so"
    source = library.with_suffix(".c")
    source.write_text(C_LOOPS)
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(params=FUNCTIONS)
def case(request):
    """(name, the C function, its arrays, NumPy's results, where results go)."""
    count, numpys = FUNCTIONS[request.param]
    function = ctypes.CDLL("libm.so.6")[request.param]
    function.argtypes, function.restype = [ctypes.c_double] * count, ctypes.c_double
    random = numpy.random.default_rng(0)
    arrays = [random.uniform(0.5, 3, ITEMS) for _ in range(count)]
    return request.param, function, arrays, numpys(*arrays), numpy.empty(ITEMS)


def _measure(measure, case, row, call):
    name, _, _, expected, _ = case
    result = call()
    if not numpy.allclose(result, expected):
        raise AssertionError(f"{row}: wrong results")
    measure(f"arrays: {name} of {ITEMS:,} doubles", row, call)


@pytest.mark.parametrize("workers", [1, 2])
def bench_map_array(measure, case, workers):
    _, function, arrays, _, out = case
    with FuloadExecutor(workers) as executor:
        call = lambda: executor.map_array(function, *arrays, out=out)
        for _ in range(5):
            call()
        _measure(measure, case, f"map_array, {workers} worker{'s' if workers > 1 else ''}", call)


def bench_c_loop(measure, case, loops):
    _, function, arrays, _, out = case
    loop = loops[f"loop{len(arrays)}"]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, out)]
    address = ctypes.cast(function, ctypes.c_void_p)

    def call():
        loop(address, *pointers, ctypes.c_size_t(ITEMS))
        return out

    _measure(measure, case, "C loop in this process", call)


def bench_numpy(measure, case):
    name, _, arrays, _, out = case
    function = FUNCTIONS[name][1]
    _measure(measure, case, f"numpy.{function.__name__}", lambda: function(*arrays, out=out))


def bench_map(measure, case):
    _, function, arrays, _, _ = case
    with FuloadExecutor(2) as executor:
        _measure(measure, case, "list(executor.map(...)), 2 workers", lambda: list(executor.map(function, *arrays)))


def bench_python_loop(measure, case):
    _, function, arrays, _, _ = case
    columns = [a.tolist() for a in arrays]
    _measure(measure, case, "[f(x) for x] by ctypes", lambda: [function(*args) for args in zip(*columns)])
