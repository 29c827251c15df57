"""What is said when the system refuses something, or has ended a worker."""

from __future__ import annotations

import errno
import os
import resource
import signal

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


def describe_exit(exitcode: int | None) -> str:
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
