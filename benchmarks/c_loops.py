"""C functions over arrays, and a C loop that calls them in this process."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

# The function is called through a pointer, so that the loop is not compiled
# into something else than calls.
_SOURCE = """
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

# How many arguments each function has, and its results: NumPy's, where it has them.
FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "cos": (1, numpy.cos),
    "exp": (1, numpy.exp),
    "pow": (2, numpy.power),
    "erf": (1, lambda x: numpy.array([_erf(v) for v in x.tolist()])),
    "fabs": (1, numpy.fabs),
}


def _erf(value: float) -> float:
    import math

    return math.erf(value)


@dataclass
class Case:
    """One function, its arguments, what must come out and where it goes."""

    name: str
    function: Any
    arrays: list[Any]
    expected: Any
    out: Any

    def part(self, start: int, stop: int) -> Case:
        return replace(self, arrays=[a[start:stop] for a in self.arrays], out=self.out[start:stop])


def make_case(name: str, items: int) -> Case:
    count, results = FUNCTIONS[name]
    function = ctypes.CDLL("libm.so.6")[name]
    function.argtypes, function.restype = [ctypes.c_double] * count, ctypes.c_double
    random = numpy.random.default_rng(0)
    arrays = [random.uniform(0.5, 3, items) for _ in range(count)]
    return Case(name, function, arrays, results(*arrays), numpy.empty(items))


def cases(items: int) -> Iterator[Case]:
    for name in FUNCTIONS:
        yield make_case(name, items)


def compile_loops(directory: Path) -> ctypes.CDLL:
    library = directory / "loops.so"
    source = library.with_suffix(".c")
    source.write_text(_SOURCE)
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


def c_loop(case: Case, library: ctypes.CDLL) -> Callable[[], Any]:
    """A call of the loop over the case's arrays."""
    loop = library[f"loop{len(case.arrays)}"]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*case.arrays, case.out)]
    address, items = ctypes.cast(case.function, ctypes.c_void_p), ctypes.c_size_t(len(case.out))

    def call() -> Any:
        loop(address, *pointers, items)
        return case.out

    return call
