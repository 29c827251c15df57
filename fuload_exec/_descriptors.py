"""Descriptors of the parent that a worker may have whenever it asks: what was
given to it in `initargs`, and the way to the resource tracker.

A worker cannot inherit them: it may have been started long before there was a
Python task, and a replacement comes later still. So each worker inherits one
end of a socket pair. It sends a request and an end of a pair of its own; the
parent's supervisor sends the descriptor back over that one.
"""

from __future__ import annotations

import _socket
import itertools
import os
import sys

_TRACKER = b"tracker"
_RIGHTS = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
_ROOM = _socket.CMSG_SPACE(4)

# Where workers ask: the descriptor that they inherit, and which file it must be.
Address = tuple[int, int, int]


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
        self._numbers = itertools.count()

    def open(self) -> None:
        """Apart from the object, and all of it kept in the object, so that who
        owns that can close what there is: on an error, and in a forked child."""
        try:
            self.ends = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        except OSError as error:
            from . import _errors

            raise _errors.refused("socketpair", error.errno or 0) from None
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
            fd, file = self.lent.pop(number, (-1, (-1, 0)))
            if file_of(fd) == file:  # else somebody has closed it, and it is another's
                os.close(fd)

    def whole(self) -> bool:
        """Whether both ends are still what they were."""
        return not self.ends or (file_of(self.fd), file_of(self.far)) == self.files

    def serve(self) -> None:
        """Answer the requests that are there."""
        while True:
            try:
                what, ancillary, _, _ = self.ends[0].recvmsg(32, _ROOM, _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            received = _received(ancillary)
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
            fd = _tracker() if what == _TRACKER else self.lent[int(what)][0]
            _send(to, b"+", fd, _socket.MSG_DONTWAIT)
        except (OSError, KeyError, ValueError):
            pass  # it sees its end closed

    def close(self) -> None:
        ends, self.ends = self.ends, ()  # two may be here
        files, self.files = self.files, ()
        for end, file in itertools.zip_longest(ends, files):
            if file is None or file_of(end.fileno()) == file:
                end.close()
            else:
                end.detach()
        self.fd = self.far = -1
        self.take_back(list(self.lent))
        self.holds = None

    def __del__(self) -> None:
        if self.ends or self.lent:  # at the interpreter's end close() may have lost what it needs
            self.close()


def fetch(address: Address, what: bytes) -> int:
    """In a worker: a descriptor from the parent.

    Raises:
        OSError: the parent does not have it, or a task has closed the way to it.
    """
    far, *file = address
    status = os.fstat(far)
    if [status.st_dev, status.st_ino] != file:
        raise OSError("a task has closed the descriptor by which its worker asks for others")
    mine, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        try:
            _send(far, what, other.fileno(), 0)
        finally:
            other.close()
        ancillary = mine.recvmsg(1, _ROOM, _socket.MSG_CMSG_CLOEXEC)[1]
    finally:
        mine.close()
    received = _received(ancillary)
    if not received:
        raise OSError(f"the parent has no descriptor {what.decode()!r} to lend")
    return received[0]


def fetch_tracker(address: Address) -> int:
    """In a worker: the pipe to the resource tracker of the parent."""
    return fetch(address, _TRACKER)


class Descriptor:
    """What a descriptor is pickled as for workers; has the method that
    multiprocessing calls in the worker.

    As in a spawned child it is used up by the object that is rebuilt with it.
    """

    def __init__(self, address: Address, number: int) -> None:
        self.address = address
        self.number = number

    def detach(self) -> int:
        return fetch(self.address, b"%d" % self.number)


def _send(to: int, what: bytes, fd: int, flags: int) -> None:
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, to)
    try:
        channel.sendmsg([what], [(*_RIGHTS, fd.to_bytes(4, sys.byteorder))], flags | _socket.MSG_NOSIGNAL)
    finally:
        channel.detach()


def _received(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    return [
        int.from_bytes(packed[at : at + 4], sys.byteorder)
        for level, kind, packed in ancillary
        if (level, kind) == _RIGHTS
        for at in range(0, len(packed) - 3, 4)
    ]


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
    from ._core import high_descriptor

    above = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, high_descriptor(os.dup(end.fileno()), "dup"))
    end.close()
    return above
