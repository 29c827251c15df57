"""The examples in the documentation strings are right, in the modules that are
compiled too (Cython lists those in `__test__`)."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import fuload_exec

MODULES = ["fuload_exec", *(m.name for m in pkgutil.walk_packages(fuload_exec.__path__, "fuload_exec."))]
MODULES = [name for name in MODULES if not name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name, capsys):
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "example"),
    [("fuload_exec._core", "terminate"), ("fuload_exec._executor", "_PoolExecutor.map"), ("fuload_exec", "fuload_exec")],
)
def test_examples_are_found(name, example):
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    assert [test.name for test in found if example in test.name and test.examples]
