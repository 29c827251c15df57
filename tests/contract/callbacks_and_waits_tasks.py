"""What test_callbacks_and_waits.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import concurrent.futures

from fuload_exec import FuloadExecutor


class Thing:
    """Can be referred to weakly."""


def give_thing(_=None):
    return Thing()


def ended(fn, *args):
    """A future of a user's own that has its outcome."""
    future = concurrent.futures.Future()
    future.set_running_or_notify_cancel()
    try:
        future.set_result(fn(*args))
    except Exception as error:
        future.set_exception(error)
    return future


class Counting(FuloadExecutor):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def submit(self, fn, /, *args, **kwargs):
        self.calls.append(fn)
        return super().submit(fn, *args, **kwargs)
