"""What a program pays for: modules that are not imported before they are needed."""

from __future__ import annotations

import subprocess
import sys

SLOW = ["multiprocessing", "dataclasses", "inspect", "typing", "shutil", "pathlib", "subprocess", "tempfile", "pickle", "socket"]

PROGRAM = f"""
import sys, concurrent.futures
before = set(sys.modules)
def slow():
    return [name for name in {SLOW} if name in set(sys.modules) - before]
"""

FIRST = """
import ctypes
from fuload_exec import FuloadExecutor
libc = ctypes.CDLL(None)
libc.abs.argtypes = libc.strlen.argtypes = [ctypes.c_int]  # an int is no text: strlen crashes
executor = FuloadExecutor(1)
assert executor.submit(libc.abs, -3).result() == 3
"""


def output(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM + script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_first_result_of_c_needs_no_slow_module(monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage.py would import some
    assert output(FIRST + "print(slow(), executor.stats().completed); executor.shutdown(); print(slow())") == "[] 1\n[]\n"


def test_errors_are_what_they_are_called():
    """Though their classes are made when the first is raised."""
    assert (
        output(
            FIRST
            + """
error = executor.submit(libc.strlen, 1).exception()
from concurrent.futures.process import BrokenProcessPool
from fuload_exec import WorkerCrashed
print(type(error) is WorkerCrashed, isinstance(error, BrokenProcessPool), type(error.__cause__).__name__)
executor.shutdown()
"""
        )
        == "True True _RemoteTraceback\n"
    )


def test_errors_where_nothing_can_be_imported():
    """No future stays without an end: its error is concurrent.futures' own."""
    assert (
        output(
            FIRST
            + """
import os, resource
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
future = executor.submit(libc.strlen, 1)
while not future.done():
    pass
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
error = future.exception()
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(type(error).__name__, "died by SIGSEGV" in str(error), slow())
again = executor.submit(libc.strlen, 1).exception()
print(type(again).__name__, executor.submit(libc.abs, -5).result())
executor.shutdown()
"""
        )
        == "BrokenExecutor False []\nWorkerCrashed 5\n"
    )


def test_the_module_lists_what_it_has():
    import fuload_exec

    assert set(fuload_exec.__all__) <= set(dir(fuload_exec))
