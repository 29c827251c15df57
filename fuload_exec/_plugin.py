"""Plug-ins in this process: what a worker does for a NativeTask, done here, so
that the same object works with every other pool too."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from typing import Any

from . import _core
from ._errors import LibraryLoadError, NativeTaskError, PayloadTooLarge

__all__ = ["run_task"]

_ABI_VERSION = 1  # FULOAD_ABI_VERSION
_NO_PLUGIN = "{} was not built with fuload.h: it has no fuload_abi_version"

_REQUEST = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t))
_RESERVE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_COMMIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_FAIL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
_CANCELLED = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class _Api(ctypes.Structure):
    """struct fuload_api."""

    _fields_ = [
        ("request", _REQUEST),
        ("reserve", _RESERVE),
        ("commit", _COMMIT),
        ("write", _WRITE),
        ("fail", _FAIL),
        ("cancelled", _CANCELLED),
    ]


class _Task(ctypes.Structure):
    """struct fuload_task."""

    _fields_ = [("api", ctypes.POINTER(_Api))]


class _Call:
    """One call: its request and its reply so far."""

    def __init__(self, data: bytes) -> None:
        self.request = ctypes.c_char_p(data)
        self.size = len(data)
        self.room: list[Any] = []  # the last is the reply; C may still look at those before
        self.reply_size = 0
        self.reserved = 0
        self.wanted = 0  # more than there is memory for
        self.status = 0

    def reserve(self, size: int) -> int | None:
        if self.status:
            return None  # the reply is fail()'s message, and stays
        if not self.room or ctypes.sizeof(self.room[-1]) < size:
            try:
                room = ctypes.create_string_buffer(max(1, size))
            except (MemoryError, OverflowError, ValueError):
                self.wanted = size
                return None
            if self.room:
                ctypes.memmove(room, self.room[-1], ctypes.sizeof(self.room[-1]))
            self.room.append(room)
        self.reserved = max(self.reserved, size)
        return ctypes.addressof(self.room[-1])

    def commit(self, size: int) -> int:
        if self.status or size > self.reserved:
            return -1
        self.reply_size = size
        return 0

    def write(self, data: int | None, size: int) -> int:
        end = self.reply_size + size
        if self.status:
            return -1
        if not self.room or ctypes.sizeof(self.room[-1]) < end:
            reserved = self.reserved
            if self.reserve(max(end, 2 * self.reply_size)) is None:
                return -1
            self.reserved = reserved
        if size:
            ctypes.memmove(ctypes.addressof(self.room[-1]) + self.reply_size, data or 0, size)
        self.reply_size = end
        self.reserved = max(self.reserved, end)
        return 0

    def fail(self, status: int, message: bytes | None) -> int:
        self.reply_size = self.status = 0
        if message:
            text = ctypes.c_char_p(message)
            self.write(ctypes.cast(text, ctypes.c_void_p).value, len(message))
        self.status = status or -1
        return self.status

    def reply(self) -> bytes:
        return ctypes.string_at(self.room[-1], self.reply_size) if self.reply_size else b""


# By the address of their struct fuload_task.
_calls: dict[int, _Call] = {}


@_REQUEST
def _request(task: int, size: Any) -> int | None:
    call = _calls[task]
    size[0] = call.size
    return ctypes.cast(call.request, ctypes.c_void_p).value


@_RESERVE
def _reserve(task: int, size: int) -> int | None:
    return _calls[task].reserve(size)


@_COMMIT
def _commit(task: int, size: int) -> int:
    return _calls[task].commit(size)


@_WRITE
def _write(task: int, data: int | None, size: int) -> int:
    return _calls[task].write(data, size)


@_FAIL
def _fail(task: int, status: int, message: bytes | None) -> int:
    return _calls[task].fail(status, message)


@_CANCELLED
def _cancelled(task: int) -> int:
    return 0


_api = _Api(_request, _reserve, _commit, _write, _fail, _cancelled)


class _Plugin:
    """A plug-in that this process has opened. Its tasks run one at a time, as
    in a worker: its globals need not be safe for threads."""

    def __init__(self, path: str, library: ctypes.CDLL) -> None:
        self.library = library
        self.path = path
        self.lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        if not _core.holds(self.library._handle, "fuload_abi_version"):
            raise LibraryLoadError(_NO_PLUGIN.format(self.path))
        version = ctypes.c_uint32.in_dll(self.library, "fuload_abi_version").value
        if version != _ABI_VERSION:
            raise LibraryLoadError(
                f"{self.path} was built for version {version} of fuload.h, this process has version {_ABI_VERSION}"
            )
        # A dependency's are not this plug-in's.
        if _core.holds(self.library._handle, "fuload_init") and (status := self.library.fuload_init()) != 0:
            raise LibraryLoadError(f"{self.path}: fuload_init returned {status}")
        if _core.holds(self.library._handle, "fuload_fini"):
            fini = self.library.fuload_fini
            fini.restype = None
            atexit.register(fini)

    def run(self, name: str, call: _Call) -> int:
        try:
            function = self.library[name]
        except AttributeError as error:
            raise LibraryLoadError(str(error)) from None
        task = _Task(ctypes.pointer(_api))
        address = ctypes.addressof(task)
        _calls[address] = call
        try:
            with self.lock:
                return int(function(ctypes.c_void_p(address)))
        finally:
            del _calls[address]


# By path, and one plug-in that has several paths by its handle.
_plugins: dict[str | int, _Plugin] = {}
_lock = threading.Lock()


def _unlock_in_child() -> None:
    """The threads that may have held these locks are not in the child."""
    global _lock
    _lock = threading.Lock()
    for plugin in _plugins.values():
        plugin.lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)


def _open(path: str) -> _Plugin:
    with _lock:
        if path not in _plugins:
            try:
                library = ctypes.CDLL(path)
            except OSError as error:
                raise LibraryLoadError(str(error)) from None
            if library._handle not in _plugins:
                _plugins[library._handle] = _Plugin(path, library)
            _plugins[path] = _plugins[library._handle]
        return _plugins[path]


def run_task(library: str, name: str, data: Any) -> bytes:
    """The reply of one task; LibraryLoadError, NativeTaskError, PayloadTooLarge
    as from a pool."""
    _core.refuse_mask(data, f"{name}(): its argument")
    try:
        view = memoryview(data)
        if not view.c_contiguous:
            raise TypeError("it is not C-contiguous")
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}() takes a C-contiguous buffer (bytes, bytearray, memoryview, array), got {type(data).__name__} ({error})"
        ) from None
    # A copy: the address of a read-only buffer cannot be had from here.
    call = _Call(view.tobytes())
    status = _open(library).run(name, call) or call.status
    if call.wanted:
        raise PayloadTooLarge(f"the result of {name}() has {call.wanted} bytes, more than this process can hold")
    if status:
        message = call.reply() if call.status else b""
        raise NativeTaskError(status, message.decode("utf-8", "replace"))
    return call.reply()
