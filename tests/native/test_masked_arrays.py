"""A masked array is no array for a C function: its mask would be dropped."""

from __future__ import annotations

import ctypes as c

import numpy
import pytest
from numpy.ctypeslib import ndpointer

MASKED = numpy.ma.masked_array([0.0, 1.0, 2.0], mask=[False, True, False])
PLAIN = numpy.arange(3.0)
TOLD = r"must be an array without a mask.*got (MaskedArray|MaskedConstant).*\.filled\(value\).*\.data"


@pytest.fixture
def power(declare):
    libm = c.CDLL("libm.so.6")
    libm.pow.argtypes, libm.pow.restype = [c.c_double, c.c_double], c.c_double
    return libm.pow


@pytest.mark.parametrize("argtype", [c.c_void_p, c.POINTER(c.c_double), ndpointer("f8")], ids=lambda t: t.__name__)
@pytest.mark.parametrize("value", [MASKED, numpy.ma.masked_array(PLAIN), MASKED[:2]], ids=["masked", "no mask set", "view"])
def test_as_a_buffer(declare, executor, argtype, value):
    with pytest.raises(TypeError, match=rf"^double_all\(\): argument 1 {TOLD}"):
        executor.submit(declare("double_all", None, argtype, c.c_size_t), value, 3)


@pytest.mark.parametrize("value", [numpy.ma.masked, MASKED[:1], numpy.ma.masked_array(1.0)], ids=["masked", "one", "scalar"])
def test_as_a_number(power, executor, value):
    with pytest.raises(TypeError, match=rf"^pow\(\): argument 2 {TOLD}"):
        executor.submit(power, 2.0, value)
    with pytest.raises(TypeError, match=rf"^pow\(\): argument 2 {TOLD}"):
        executor.map(power, [2.0], [value])


@pytest.mark.parametrize(
    "value", [MASKED, numpy.ma.masked, [MASKED, MASKED], (1.0, numpy.ma.masked, 2.0)], ids=["masked", "constant", "list", "tuple"]
)
def test_map_array(power, executor, value):
    with pytest.raises(TypeError, match=rf"^pow\(\): argument 1 {TOLD}"):
        executor.map_array(power, value, 2.0)
    with pytest.raises(TypeError, match=rf"^pow\(\): argument 2 {TOLD}"):
        executor.map_array(power, 2.0, value)


def test_a_masked_out(power, executor):
    with pytest.raises(TypeError, match=rf"^out {TOLD}"):
        executor.map_array(power, PLAIN, 2.0, out=MASKED.copy())


@pytest.mark.parametrize("own_submit", [False, True])
def test_map(power, executor, own_submit):
    if own_submit:  # as tqdm replaces it
        executor.submit = executor.submit
    with pytest.raises(TypeError, match=rf"^pow\(\): argument 2 {TOLD}"):
        executor.map(power, PLAIN, MASKED)
    assert executor.stats().submitted == 0


def test_what_it_says_to_do(power, declare, executor):
    assert executor.map_array(power, MASKED.filled(7), 2.0).tolist() == [0, 49, 4]
    assert list(executor.map(power, MASKED.data, [2.0] * 3)) == [0, 1, 4]
    values = MASKED.copy()
    executor.submit(declare("double_all", None, c.POINTER(c.c_double), c.c_size_t), values.data, 3).result()
    assert values.data.tolist() == [0, 2, 4]


def twice(values):
    return values * 2


def test_python_tasks_have_it_with_its_mask(executor):
    for found in (executor.submit(twice, MASKED).result(), next(executor.map(twice, [MASKED]))):
        assert type(found) is type(MASKED) and found.mask.tolist() == [False, True, False]
    assert list(executor.map(abs, MASKED))[1] is numpy.ma.masked
