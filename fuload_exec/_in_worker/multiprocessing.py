"""What `multiprocessing` says in a worker: the same as in a spawned child.
Imported when a task's imports bring multiprocessing in."""

from __future__ import annotations

import os
from typing import Any

from .._descriptors import Address, fetch_tracker
from .._pickling import look_at_reducers


def adopt(multiprocessing: Any, data: dict[str, Any], index: int, lender: Address) -> None:
    """Right after multiprocessing's import, before anybody uses it."""
    process = multiprocessing.process

    class FuloadProcess(process.BaseProcess):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            number = data["numbers"][index]
            self._identity = (*data["identity"], number)
            self._config = {**data["config"], "authkey": process.AuthenticationString(data["config"]["authkey"])}
            self._parent_pid = data["parent_pid"]
            self._parent_name = data["parent_name"]
            self._popen = None
            self._closed = False
            self._name = "FuloadProcess-" + ":".join(map(str, self._identity))

    FuloadProcess.__module__, FuloadProcess.__qualname__ = __name__, "FuloadProcess"
    process._current_process = FuloadProcess()
    process._parent_process = process._ParentProcess(data["parent_name"], data["parent_pid"], _sentinel(data["parent_pid"], lender))
    process.ORIGINAL_DIR = data["orig_dir"]
    multiprocessing.set_start_method(data["start_method"], force=True)
    look_at_reducers()
    if data["log_level"] is not None:
        from multiprocessing import util

        if data["log_to_stderr"]:
            util.log_to_stderr()
        util.get_logger().setLevel(data["log_level"])
        util.info("child process calling self.run()")


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
