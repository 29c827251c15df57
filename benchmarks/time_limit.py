"""A pool that hangs ends its benchmark with an error, not the run with silence."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

# Closing a pool that hangs may hang as well: the alarm goes off again.
_AGAIN_SECONDS = 10


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise TimeoutError(f"still running after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
