"""The exceptions: their bases, what they carry, their pickles."""

from __future__ import annotations

import concurrent.futures
import copy
import pickle
from concurrent.futures.process import BrokenProcessPool

import pytest
from errors_tasks import raise_
from support.ids import shown

import fuload_exec
from fuload_exec import (
    LibraryLoadError,
    NativeTaskError,
    PayloadTooLarge,
    SlotCorrupted,
    TaskTimeout,
    UnpickleError,
    WorkerCrashed,
)

BASES = {
    WorkerCrashed: [BrokenProcessPool, concurrent.futures.BrokenExecutor, RuntimeError],
    TaskTimeout: [TimeoutError, concurrent.futures.TimeoutError],
    PayloadTooLarge: [ValueError],
    NativeTaskError: [RuntimeError],
    UnpickleError: [BrokenProcessPool],
    LibraryLoadError: [OSError],
    SlotCorrupted: [BrokenProcessPool],
}
INSTANCES = [
    WorkerCrashed(4711, -11, "strlen(0x10)"),
    WorkerCrashed(4711, 3, "f()"),
    WorkerCrashed(4711, None, "f()"),
    TaskTimeout("past 2 seconds"),
    PayloadTooLarge("200 bytes, max_payload is 100"),
    NativeTaskError(3, "no such word"),
    NativeTaskError(-1, ""),
    UnpickleError("why"),
    LibraryLoadError("libx.so: cannot open shared object file"),
    SlotCorrupted("slot 3"),
]


@pytest.mark.parametrize("error", BASES, ids=lambda e: e.__name__)
def test_bases(error):
    for base in BASES[error]:
        assert issubclass(error, base), base
    assert error.__name__ in fuload_exec.__all__ and getattr(fuload_exec, error.__name__) is error


@pytest.mark.parametrize("error", INSTANCES, ids=shown)
def test_pickles_and_copies(error):
    copies = [pickle.loads(pickle.dumps(error, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in [*copies, copy.copy(error), copy.deepcopy(error)]:
        assert type(other) is type(error) and other is not error
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_what_a_crash_carries():
    error = WorkerCrashed(4711, -11, "strlen(0x10)")
    assert (error.pid, error.exitcode, error.task) == (4711, -11, "strlen(0x10)")
    for exitcode, parts in [
        (-11, ["SIGSEGV", "native code"]),
        (-9, ["SIGKILL", "memory"]),
        (7, ["exit code 7"]),
        (0, ["exit code 0"]),
        (-64, ["SIGRTMAX"]),
        (-40, ["40"]),
    ]:
        message = str(WorkerCrashed(4711, exitcode, "strlen(0x10)"))
        assert all(part in message for part in [*parts, "4711", "strlen(0x10)"]), message


def test_what_a_plug_in_said():
    error = NativeTaskError(3, "no such word")
    assert (error.status, error.message) == (3, "no such word")
    assert "3" in str(error) and "no such word" in str(error)


def test_an_error_raised_in_a_task_arrives(make_executor):
    def arrive(error):
        return executor.submit(raise_, error).exception()

    with make_executor(1) as executor:
        for error in INSTANCES:
            other = arrive(error)
            assert type(other) is type(error) and str(other) == str(error)
