"""How long does a C function over an array take: map_array on 1 and 2 workers,
a C loop over the same function in this process, NumPy, a Python loop?"""

import numpy
import pytest
from c_loops import c_loop, compile_loops, make_case

from fuload_exec import FuloadExecutor

ITEMS = 1_000_000
# NumPy's names for the functions.
NUMPY = {"cos": numpy.cos, "pow": numpy.power, "fabs": numpy.fabs}


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    return compile_loops(tmp_path_factory.mktemp("loops"))


@pytest.fixture(params=NUMPY)
def case(request):
    return make_case(request.param, ITEMS)


def _measure(measure, case, row, call):
    result = call()
    if not numpy.allclose(result, case.expected):
        raise AssertionError(f"{row}: wrong results")
    measure(f"arrays: {case.name} of {ITEMS:,} doubles", row, call)


@pytest.mark.parametrize("workers", [1, 2])
def bench_map_array(measure, case, workers):
    with FuloadExecutor(workers) as executor:

        def call():
            return executor.map_array(case.function, *case.arrays, out=case.out)

        for _ in range(5):
            call()
        _measure(measure, case, f"map_array, {workers} worker{'s' if workers > 1 else ''}", call)


def bench_c_loop(measure, case, loops):
    _measure(measure, case, "C loop in this process", c_loop(case, loops))


def bench_numpy(measure, case):
    function = NUMPY[case.name]
    _measure(measure, case, f"numpy.{function.__name__}", lambda: function(*case.arrays, out=case.out))


def bench_map(measure, case):
    with FuloadExecutor(2) as executor:
        _measure(measure, case, "list(executor.map(...)), 2 workers", lambda: list(executor.map(case.function, *case.arrays)))


def bench_python_loop(measure, case):
    columns = [a.tolist() for a in case.arrays]
    _measure(measure, case, "[f(x) for x] by ctypes", lambda: [case.function(*args) for args in zip(*columns)])
