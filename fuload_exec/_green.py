"""Programs that gevent or eventlet have patched."""

from __future__ import annotations

import sys

__all__ = ["refuse_green_threads"]


def refuse_green_threads() -> None:
    """A pool has two threads of its own, which greenlets cannot stand for: they
    run only while others wait in ways that gevent knows.

    Raises:
        RuntimeError: what `threading` starts are no threads.
    """
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and (gevent.is_module_patched("_thread") or gevent.is_module_patched("threading")):
        _refuse("gevent", "gevent.monkey.patch_all(thread=False)")
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        _refuse("eventlet", "eventlet.monkey_patch(thread=False)")


def _refuse(who: str, instead: str) -> None:
    raise RuntimeError(
        f"{who} has patched this program's threads, and a FuloadExecutor needs threads that run beside the greenlets: "
        f"patch with {instead}, or make the pool in a process that is not patched"
    )
