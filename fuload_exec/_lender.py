"""The parent's side of _descriptors.py: what it lends to its workers."""

from __future__ import annotations

import _socket
import itertools
import os

from . import _core, _refusals
from ._descriptors import PROCESS, ROOM, TRACKER, Address, received_in, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Device and inode.
File = tuple[int, int]


def file_of(fd: int) -> File:
    try:
        status = os.fstat(fd)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


class Lender:
    """The parent's side. It never waits for a worker."""

    # close() finds these, however little of the object was made.
    ends: tuple[_socket.socket, ...] = ()
    fd = far = -1
    files: tuple[File, ...] = ()
    lent: dict[int, tuple[int, File]] = {}

    def __init__(self) -> None:
        self.address: Address = (-1, 0, 0)
        self.lent = {}
        self.holds: object = None  # what the lent descriptors and names belong to lives as long
        self.process: Callable[[], bytes] | None = None  # what fetch_process() gives
        self._numbers = itertools.count()

    def open(self) -> None:
        """Apart from the object, and all of it kept in the object, so that who
        owns that can close what there is: on an error, and in a forked child."""
        try:
            self.ends = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        except OSError as error:
            raise _refusals.refused("socketpair", error.errno or 0) from None
        self.ends = (_above_standard_streams(self.ends[0]), self.ends[1])
        self.ends = (self.ends[0], _above_standard_streams(self.ends[1]))
        self.ends[0].setblocking(False)  # whatever socket.setdefaulttimeout() says
        self.ends[1].setblocking(True)
        self.fd, self.far = (end.fileno() for end in self.ends)
        self.files = (file_of(self.fd), file_of(self.far))
        self.address = (self.far, *self.files[1])

    def keep(self, fd: int) -> int:
        """Lend a duplicate of `fd`; the number under which workers ask for it."""
        number = next(self._numbers)
        copy = os.dup(fd)
        self.lent[number] = copy, file_of(copy)
        return number

    def take_back(self, numbers: list[int]) -> None:
        for number in numbers:
            fd, file = self.lent.pop(number, (-1, (0, 0)))
            _core.close_file(fd, *file)  # somebody may have closed it, and it is another's

    def whole(self) -> bool:
        """Whether both ends are still what they were."""
        return not self.ends or (file_of(self.fd), file_of(self.far)) == self.files

    def serve(self) -> None:
        """Answer the requests that are there."""
        while True:
            try:
                what, ancillary, _, _ = self.ends[0].recvmsg(32, ROOM, _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            received = received_in(ancillary)
            if not what and not received and not self.whole():
                return  # the end of it
            try:
                if received:
                    self._answer(what, received[0])
            finally:
                for fd in received:
                    os.close(fd)

    def _answer(self, what: bytes, to: int) -> None:
        try:
            if what == PROCESS and self.process is not None:
                fd = _file_of_bytes(self.process())
                try:
                    send(to, b"+", fd, _socket.MSG_DONTWAIT)
                finally:
                    os.close(fd)
            else:
                fd = _tracker() if what == TRACKER else self.lent[int(what)][0]
                send(to, b"+", fd, _socket.MSG_DONTWAIT)
        except Exception:  # also of an import, near the interpreter's end
            pass  # it sees its end closed

    def close(self) -> None:
        ends, self.ends = self.ends, ()  # two may be here
        files, self.files = self.files, ()
        for end, file in itertools.zip_longest(ends, files):
            if file is None:
                end.close()
            else:
                _core.close_file(end.detach(), *file)
        self.fd = self.far = -1
        self.take_back(list(self.lent))
        self.holds = self.process = None

    def __del__(self) -> None:
        if self.ends or self.lent:  # at the interpreter's end close() may have lost what it needs
            self.close()


def _file_of_bytes(data: bytes) -> int:
    fd = os.memfd_create("fuload-process", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    except OSError:
        os.close(fd)
        raise


def _tracker() -> int:
    import signal
    from multiprocessing import resource_tracker

    # Starting it lets SIGINT and SIGTERM through in this thread, which takes none.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        fd: int = resource_tracker.getfd()  # type: ignore[assignment]
        return fd
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _above_standard_streams(end: _socket.socket) -> _socket.socket:
    if end.fileno() > 2:
        return end
    above = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, _core.high_descriptor(os.dup(end.fileno()), "dup"))
    end.close()
    return above
