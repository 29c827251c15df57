"""The exceptions of the package. All can be pickled. Imported when the first is
raised or named: multiprocessing comes with the class of which most are."""

from __future__ import annotations

import sys
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool

from ._refusals import describe_exit

__all__ = [
    "LibraryLoadError",
    "NativeTaskError",
    "PayloadTooLarge",
    "SlotCorrupted",
    "TaskTimeout",
    "UnpickleError",
    "WorkerCrashed",
]


class WorkerCrashed(BrokenProcessPool):
    """The worker died while it ran this task; the pool lives on.

    Attributes:
        pid: process id of the worker.
        exitcode: its exit code, negative for the signal that ended it; None
            if somebody else collected it.
        task: the function's name and its first arguments, shortened.
        reason: what else is known, or ''.

    >>> str(WorkerCrashed(4711, -11, "strlen(None)"))
    'worker 4711 died by SIGSEGV (a crash in native code) while it ran strlen(None)'
    """

    def __init__(self, pid: int, exitcode: int | None, task: str, reason: str = "") -> None:
        super().__init__(pid, exitcode, task, reason)
        self.pid = pid
        self.exitcode = exitcode
        self.task = task
        self.reason = reason

    def __str__(self) -> str:
        if self.reason:  # it says how it died
            return f"worker {self.pid} could not run {self.task}: {self.reason}"
        return f"worker {self.pid} died {describe_exit(self.exitcode)} while it ran {self.task}"


# One class since Python 3.11, two before.
if sys.version_info >= (3, 11):
    _Timeout = TimeoutError
else:

    class _Timeout(FutureTimeoutError, TimeoutError): ...


class TaskTimeout(_Timeout):
    """The task ran past its timeout; its worker was killed."""


class PayloadTooLarge(ValueError):
    """A request or a reply has more bytes than the pool's max_payload."""


class NativeTaskError(RuntimeError):
    """A plug-in's task returned a status other than zero.

    Attributes:
        status: what the task returned.
        message: the text that it set, or ''.

    >>> NativeTaskError(3, "no such word").status
    3
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"status {self.status}: {self.message}" if self.message else f"status {self.status}"


class UnpickleError(BrokenProcessPool):
    """The worker could not rebuild the arguments, or this process the result.

    The exception that unpickling raised is the cause; only this task fails.
    """


class LibraryLoadError(OSError):
    """The worker could not open the library or find the function; the
    message is the loader's."""


class SlotCorrupted(BrokenProcessPool):
    """What stands in a slot cannot be what a worker of this pool wrote."""
