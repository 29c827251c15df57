"""Tasks that wait until the test lets them go, and conditions that the test waits for."""

from __future__ import annotations

import os
from pathlib import Path


class Gate:
    """A FIFO that blocks whoever opens it for reading until the test opens it.

    Leaving its `with` block opens it, so that a failed test does not hang in
    the shutdown of its pool.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self.raw_path = os.fsencode(path)
        self._descriptor: int | None = None

    def open(self) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


def pass_gate(path: str, value: object = None) -> object:
    """A task: wait for the gate, then return `value`."""
    os.close(os.open(path, os.O_RDONLY))
    return value


def report_and_pass_gate(mark: str, path: str, value: object = None) -> object:
    """The same, and `mark` exists as soon as it runs."""
    Path(mark).touch()
    return pass_gate(path, value)
