"""The end of the interpreter: pending work is finished first."""

from __future__ import annotations

import os
import threading

from . import _supervisor

_exiting = False
_registered = False


def register_exit() -> None:
    """Finish pending work before the interpreter ends, as the standard library does."""
    global _registered
    if _exiting:
        raise RuntimeError("cannot make a FuloadExecutor while the interpreter shuts down")
    if not _registered:
        _registered = True
        threading._register_atexit(_finish_all)  # type: ignore[attr-defined]


def _finish_all() -> None:
    global _exiting
    _exiting = True
    for crew in _supervisor.every_crew():
        if crew.pool.owner == os.getpid():
            crew.pool.exiting = not crew.pool.closing
            crew.close()
            crew.join()
