"""Descriptors of the parent that a worker may have whenever it asks: what was
given to it in `initargs`, and the way to the resource tracker.

A worker cannot inherit them: it may have been started long before there was a
Python task, and a replacement comes later still. So each worker inherits one
end of a socket pair. It sends a request and an end of a pair of its own; the
parent's supervisor sends the descriptor back over that one (_lender.py).
"""

from __future__ import annotations

import _socket
import os
import sys

TRACKER = b"tracker"
PROCESS = b"process"
RIGHTS = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
ROOM = _socket.CMSG_SPACE(4)

# Where workers ask: the descriptor that they inherit, and which file it must be.
Address = tuple[int, int, int]


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
            send(far, what, other.fileno(), 0)
        finally:
            other.close()
        ancillary = mine.recvmsg(1, ROOM, _socket.MSG_CMSG_CLOEXEC)[1]
    finally:
        mine.close()
    received = received_in(ancillary)
    if not received:
        raise OSError(f"the parent has no descriptor {what.decode()!r} to lend")
    return received[0]


def fetch_tracker(address: Address) -> int:
    """In a worker: the pipe to the resource tracker of the parent."""
    return fetch(address, TRACKER)


def fetch_process(address: Address) -> bytes:
    """In a worker: what `multiprocessing` is to say in it, as _inheritance.process_data() packs it."""
    with open(fetch(address, PROCESS), "rb") as file:
        return file.read()


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


def send(to: int, what: bytes, fd: int, flags: int) -> None:
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, to)
    try:
        channel.sendmsg([what], [(*RIGHTS, fd.to_bytes(4, sys.byteorder))], flags | _socket.MSG_NOSIGNAL)
    finally:
        channel.detach()


def received_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    return [
        int.from_bytes(packed[at : at + 4], sys.byteorder)
        for level, kind, packed in ancillary
        if (level, kind) == RIGHTS
        for at in range(0, len(packed) - 3, 4)
    ]
