"""Plug-ins compiled once."""

from __future__ import annotations

import pytest
from toolbox import HERE, build_plugin, build_program

from fuload_exec import NativeTask


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder of what the tests compile."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture(scope="session")
def plugin(built):
    """Makes tasks of tasks.c."""
    path = build_plugin(HERE / "tasks.c", built / "tasks.so")
    return lambda name: NativeTask(path, name)


@pytest.fixture(scope="session")
def hostile(built):
    path = build_plugin(HERE / "hostile.c", built / "hostile.so", "-pthread", "-U_FORTIFY_SOURCE")
    return lambda name: NativeTask(path, name)


@pytest.fixture(scope="session")
def worker_program(built):
    return str(build_program(HERE / "worker.c", built / "worker"))
