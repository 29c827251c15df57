"""What a pool holds of memory: as much as it needs, given back when it is not
needed, whoever died in between."""

from __future__ import annotations

import ctypes
import math
import operator
import os
import posixpath
from pathlib import Path

import pytest
from zoo import until

from fuload_exec import NativeTask

LIBM = [
    f"{name}{kind}"
    for name in "sin cos tan asin acos atan sinh cosh tanh exp exp2 expm1 log log2 log10 sqrt cbrt fabs ceil floor erf".split()
    for kind in ("", "f")
]


def mappings(pid):
    """Of a pool, in this process."""
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:fuload")


# ---- descriptions


def test_functions_do_not_add_to_a_python_workers_mappings(pool):
    executor = pool(1)
    pid = executor.submit(os.getpid).result(timeout=30)
    before = mappings(pid)
    functions = {f for m in (operator, math, posixpath) for f in vars(m).values() if callable(f) and not isinstance(f, type)}
    for future in [executor.submit(f, None, None, None, None, None) for f in functions]:
        assert future.exception(timeout=30) is not None
    assert len(functions) > 120 and mappings(pid) <= before + 2
    assert executor.submit(os.getpid).result(timeout=30) == pid


def test_functions_do_not_add_to_a_c_workers_mappings(pool, libm, libc):
    executor = pool(1)
    pid = executor.submit(libc.getpid).result(timeout=30)
    before = mappings(pid)
    for name in LIBM:
        function = getattr(ctypes.CDLL("libm.so.6"), name)
        number = ctypes.c_float if name.endswith("f") and name != "erf" else ctypes.c_double
        function.argtypes, function.restype = [number], number
        assert executor.submit(function, 0.0).result(timeout=30) == function(0.0)
    for i in range(40):
        assert executor.submit(NativeTask("libm.so.6", f"absent{i}"), b"").exception(timeout=30) is not None
    assert mappings(pid) <= before + 2
