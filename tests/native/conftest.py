"""A C library for the tests, and one pool that most of them share."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from fuload_exec import FuloadExecutor

C_TEXT = Path(__file__).with_name("functions.c")


@pytest.fixture(scope="session")
def library_path(tmp_path_factory, compile_library):
    return compile_library(tmp_path_factory.mktemp("native") / "libfunctions.so", C_TEXT.read_text())


@pytest.fixture
def library(library_path):
    """The library with nothing declared."""
    return ctypes.CDLL(str(library_path))


@pytest.fixture
def declare(library):
    """declare(name, restype, *argtypes): a function of the library, an object of its own."""

    def declare_(name, restype, *argtypes, **attributes):
        function = library[name]
        function.restype, function.argtypes = restype, list(argtypes)
        for key, value in attributes.items():
            setattr(function, key, value)
        return function

    return declare_


@pytest.fixture
def executor():
    with FuloadExecutor(1) as executor:
        yield executor


@pytest.fixture
def fifo(tmp_path):
    """A path whose opening by a C function waits until the test opens it."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path
