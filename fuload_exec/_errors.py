"""The exceptions of the package. All can be pickled."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool

__all__ = [
    "LibraryLoadError",
    "NativeTaskError",
    "PayloadTooLarge",
    "SlotCorrupted",
    "TaskTimeout",
    "UnpickleError",
    "WorkerCrashed",
]


LOST_DESCRIPTORS = (
    "somebody has closed descriptors of fuload_exec in this process (os.closerange(), a daemon's helper): "
    "its pools cannot go on and their workers are ended; pools that are made from now on work"
)

# What is short when a system call says so: the limit that the message names.
_LIMITS = {
    errno.EMFILE: "RLIMIT_NOFILE",
    errno.ENOMEM: "RLIMIT_AS",
    errno.EFBIG: "RLIMIT_FSIZE",
    errno.EAGAIN: "RLIMIT_NPROC",
}


def refused(call: str, number: int) -> OSError:
    """The error of a system call, with its name and the limit that may be why.

    >>> str(refused("eventfd", errno.EMFILE)).startswith("[Errno 24] eventfd: Too many open files (RLIMIT_NOFILE is ")
    True
    """
    text = f"{call}: {os.strerror(number)}"
    if number == errno.ENFILE:
        text += " (in the whole system: fs.file-max)"
    name = _LIMITS.get(number)
    if name is not None:
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit != resource.RLIM_INFINITY:
            text += f" ({name} is {limit})"
    return OSError(number, text)


def _describe_exit(exitcode: int | None) -> str:
    if exitcode is None:
        return "and somebody else collected its exit code"
    if exitcode >= 0:
        return f"with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    likely = {
        "SIGKILL": " (killed by somebody, or by the kernel for want of memory)",
        "SIGSEGV": " (a crash in native code)",
        "SIGBUS": " (a crash in native code, or no memory for a payload)",
        "SIGABRT": " (a crash in native code)",
        "SIGFPE": " (a crash in native code)",
        "SIGILL": " (a crash in native code)",
    }.get(name, "")
    return f"by {name}{likely}"


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
        return f"worker {self.pid} died {_describe_exit(self.exitcode)} while it ran {self.task}"


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
