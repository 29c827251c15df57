"""C functions of numba and cffi cannot cross: what they are, and what can, is said.
Stand-ins look here as those do."""

from __future__ import annotations

import ctypes as c
import sys
import types

import pytest


class CFunc:
    """numba.cfunc's, whose pickle fails for a generator somewhere inside."""

    def __init__(self, function):
        self.__name__, self.__wrapped__ = function.__name__, function

    def __call__(self, *args):
        return self.__wrapped__(*args)

    def __reduce__(self):
        raise TypeError("cannot pickle 'generator' object")


CFunc.__module__ = "numba.core.ccallback"


class CData:
    """cffi's: an address."""

    def __init__(self, address):
        self.address = address

    def __call__(self, *args):
        return args

    def __repr__(self):
        return f"<cdata 'double(*)(double)' {self.address:#x}>"

    def __reduce__(self):
        raise TypeError("cannot pickle '_cffi_backend._CDataBase' object")


CData.__module__ = "_cffi_backend"


@pytest.fixture
def backend(monkeypatch):
    module = types.ModuleType("_cffi_backend")
    module.new_primitive_type = lambda name: {"intptr_t": int}[name]
    module.cast = lambda kind, value: kind(value.address)
    monkeypatch.setitem(sys.modules, "_cffi_backend", module)


@CFunc
def twice(x):
    return 2 * x


NUMBA = r"is a numba cfunc, machine code that is in this process only: give a numba\.njit function.*__wrapped__"
CFFI = r"is a cffi object.*: give fuload_exec\.NativeFunction\({}, its name, restype, argtypes\)"


def call(executor, function):
    return [
        lambda: executor.submit(function, 1.0),
        lambda: executor.options(timeout=5).submit(function, 1.0),
    ]


def test_a_cfunc_of_numba(executor):
    for act in call(executor, twice):
        with pytest.raises(TypeError, match=f"^twice {NUMBA}"):
            act()
    assert executor.stats().submitted == 0
    with pytest.raises(TypeError, match=NUMBA):
        list(executor.map(twice, [1.0]))
    assert executor.submit(twice.__wrapped__, 1.0).result() == 2.0


def test_a_function_of_cffi(executor, backend, library, library_path):
    function = CData(c.cast(library.add_int, c.c_void_p).value)
    for act in call(executor, function):
        with pytest.raises(TypeError, match=f"^<cdata 'double.* {CFFI.format(repr(str(library_path)))}"):
            act()


@pytest.mark.parametrize("address", [0, 8, id(CData)], ids=["null", "nowhere", "the heap"])
def test_one_that_is_in_no_library(executor, backend, address):
    with pytest.raises(TypeError, match=f"^<cdata.* {CFFI.format('its library')}"):
        executor.submit(CData(address), 1.0)


def test_as_arguments(executor, backend, library):
    """Pickling has its words, and these come after them."""
    with pytest.raises(TypeError, match=rf"argument 1 of len\(\).*cannot pickle 'generator' object; it {NUMBA}"):
        executor.submit(len, twice).result()
    with pytest.raises(TypeError, match=rf"argument 1 of len\(\).*_CDataBase' object; it {CFFI.format('.*functions.so.')}"):
        executor.submit(len, CData(c.cast(library.add_int, c.c_void_p).value)).result()


def test_callables_of_ones_own_are_pickled(executor):
    class Numbered:
        def __call__(self, x):
            return x + 1

    assert executor.submit(Numbered(), 1).result() == 2
    assert executor.submit([3, 1, 2].index, 1).result() == 1


def test_a_ctypes_function_of_an_address(executor, library):
    function = c.CFUNCTYPE(c.c_int, c.c_int, c.c_int)(c.cast(library.add_int, c.c_void_p).value)
    function.argtypes = [c.c_int, c.c_int]
    with pytest.raises(TypeError, match="^this ctypes function was made from an address or a Python callable"):
        executor.submit(function, 1, 2)
