"""Pools that end whatever becomes of the test, and plug-ins compiled once."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from toolbox import HERE, build_plugin, build_program

from fuload_exec import FuloadExecutor, NativeTask


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


@pytest.fixture
def dice(request):
    """A random.Random whose seed is the test's name (printed if it fails)."""
    seed = f"{request.node.name}/{os.environ.get('FULOAD_SEED', '1')}"
    print(f"seed: {seed!r}")
    return random.Random(seed)


@pytest.fixture
def pool():
    """Makes executors; afterwards all of them end, by force if they hang."""
    made = []

    def make(*args, **kwargs):
        made.append(FuloadExecutor(*args, **kwargs))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(wait=False, cancel_futures=True)
    hung = [text for text in map(end, made) if text]
    made.clear()
    assert not hung, f"pools that do not end: {hung}"


def end(executor):
    """'' when all workers have left; what was seen, if they had to be killed."""
    due = time.monotonic() + 20
    while executor.worker_pids and time.monotonic() < due:
        time.sleep(0.002)
    text = f"{executor!r}: {executor.stats()}" if executor.worker_pids else ""
    for pid in executor.worker_pids:
        os.kill(pid, signal.SIGKILL)
    if not text:
        executor.shutdown()
    return text
