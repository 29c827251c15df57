"""What `multiprocessing` says in a worker: the same as in a spawned child.
Imported when a task's imports bring multiprocessing in."""

from __future__ import annotations

import os
from _pickle import loads
from typing import Any

from .._descriptors import Address, fetch_process, fetch_tracker
from .._pickling import look_at_reducers
from . import setup


def adopt(multiprocessing: Any, data: dict[str, Any] | None, index: int, parent_pid: int, lender: Address) -> None:
    """Right after multiprocessing's import, before anybody uses it. No data: the parent
    has not imported it either; then it does so now."""
    process = multiprocessing.process
    told = data or _fetched(lender, index)

    class FuloadProcess(process.BaseProcess):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            number = told["numbers"][index]
            self._identity = (*told["identity"], number)
            self._config = {**told["config"], "authkey": process.AuthenticationString(told["config"]["authkey"])}
            self._parent_pid = parent_pid
            self._parent_name = told["parent_name"]
            self._popen = None
            self._closed = False
            self._name = "FuloadProcess-" + ":".join(map(str, self._identity))

    FuloadProcess.__module__, FuloadProcess.__qualname__ = __name__, "FuloadProcess"
    process._current_process = FuloadProcess()
    setup.refuse_processes()
    process._parent_process = process._ParentProcess(told["parent_name"], parent_pid, _sentinel(parent_pid, lender))
    process.ORIGINAL_DIR = told["orig_dir"]
    multiprocessing.set_start_method(told["start_method"], force=True)
    look_at_reducers()
    if told["log_level"] is not None:
        from multiprocessing import util

        if told["log_to_stderr"]:
            util.log_to_stderr()
        util.get_logger().setLevel(told["log_level"])
        util.info("child process calling self.run()")


def _fetched(lender: Address, index: int) -> dict[str, Any]:
    try:
        told: dict[str, Any] = loads(fetch_process(lender))
    except OSError:  # the parent is about to end, or a task has closed the way to it
        told = {
            "parent_name": "MainProcess",
            "identity": (),
            "numbers": {index: index + 1},
            "config": {"authkey": os.urandom(32), "semprefix": "/mp"},
            "orig_dir": None,
            "start_method": "spawn",
            "log_level": None,
        }
    return told


def _sentinel(parent: int, lender: Address) -> int:
    """A descriptor that becomes readable when the parent ends."""
    try:
        return os.pidfd_open(parent)
    except OSError:  # refused by a sandbox; the parent's end of this socket closes with it
        return os.dup(lender[0])


def share_tracker(module: Any, address: Address) -> None:
    """Right after the import of multiprocessing.resource_tracker: one tracker
    for the parent and all its workers, or the one would unlink what the other
    still uses. The parent's is asked for, and started, when it is first needed."""

    class SharedTracker(type(module._resource_tracker)):  # type: ignore[misc]
        asked = False

        @property
        def _fd(self) -> int | None:
            if self.__dict__["_fd"] is None and not self.asked:
                self.asked = True
                try:
                    self.__dict__["_fd"] = fetch_tracker(address)
                except OSError:
                    pass  # it has to be one of its own
            fd: int | None = self.__dict__["_fd"]
            return fd

        @_fd.setter
        def _fd(self, fd: int | None) -> None:
            self.__dict__["_fd"] = fd

        def __del__(self) -> None:
            """Not ours to stop."""

    module._resource_tracker.__class__ = SharedTracker
