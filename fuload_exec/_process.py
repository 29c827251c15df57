"""One worker's process: signalled, reaped, its last words. Every signal and wait of the
parent stands here, but for SIGUSR1, which the core sends."""

from __future__ import annotations

import fcntl
import os
import resource
import signal

from . import _core, _refusals
from ._lender import file_of

_QUOTED_LINES = 5
_HEADROOM = 32  # descriptors that are left to the program, or an eighth of what it may have


class Worker:
    def __init__(self, pid: int, pidfd: int, errors: int) -> None:
        self.pid = pid
        self.pidfd = pidfd  # the pool's, open until it is buried
        self.errors = errors  # what a worker program writes to stderr before it has attached, or -1
        self.errors_file = file_of(errors)
        self.silent = 0.0  # seconds since it exec'ed the interpreter, of which nothing was heard
        self.late = False  # it is killed for that

    def last_words(self) -> str:
        if self.errors < 0:
            return ""
        size = os.fstat(self.errors).st_size
        text = os.pread(self.errors, 4096, max(0, size - 4096)).decode("utf-8", "replace")
        lines = text.strip().splitlines()[-_QUOTED_LINES:]
        return "; the last lines of its standard error:\n" + "\n".join(lines) if lines else ""

    def waited_for_cpu(self) -> float:
        """Seconds that it could have run and did not."""
        try:
            with open(f"/proc/{self.pid}/schedstat") as file:
                return int(file.read().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def send(self, number: int) -> None:
        """A signal, to this process and no later one. OSError where that is refused."""
        signal.pidfd_send_signal(self.pidfd, number)

    def await_exit(self, wait: bool) -> bool:
        """Whether it has ended; it is not reaped by that."""
        try:
            return os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)) is not None
        except ChildProcessError:
            return True  # somebody else has reaped it, or the system did

    def reap(self) -> int | None:
        """The exit code of one that has ended, negative for a signal; None if
        somebody else has it."""
        try:
            result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            result = None
        if result is None:
            return None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    def end_by_pid(self) -> None:
        """Where its pidfd may be somebody else's file by now: a child that nobody
        has reaped still has its pid."""
        try:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                os.kill(self.pid, signal.SIGKILL)
            os.waitid(os.P_PID, self.pid, os.WEXITED)
        except (ChildProcessError, PermissionError):
            pass

    def close(self) -> None:
        if self.errors >= 0:
            _core.close_file(self.errors, *self.errors_file)
        self.errors = -1


def environment() -> dict[bytes, bytes]:
    """os.environ as it is now, copied in one step: other threads change it."""
    variables = getattr(os.environ, "_data", os.environ)  # the dict in it, of bytes
    copied = variables.copy() if isinstance(variables, dict) else dict(variables)
    return {os.fsencode(name): os.fsencode(value) for name, value in copied.items()}


def free_descriptors() -> int:
    """How many more this process may open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return 1 << 30
    try:
        # Linux 6.2 counts them.
        used = os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except OSError:
        return limit
    return limit - used


def headroom() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _HEADROOM if limit == resource.RLIM_INFINITY else min(_HEADROOM, limit // 8)


def error_file() -> tuple[int, int]:
    """Where a worker program's standard error goes until it has attached, and
    where it goes then; (-1, -1) if this process has none."""
    try:
        os.fstat(2)
    except OSError:
        return -1, -1
    errors = -1
    try:
        errors = os.memfd_create("fuload-stderr", os.MFD_CLOEXEC)
        return errors, fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError as error:
        if errors >= 0:
            os.close(errors)
        raise _refusals.refused("a file for standard error", error.errno or 0) from None
