"""FuloadFuture: a concurrent.futures.Future that costs next to nothing."""

from __future__ import annotations

from concurrent.futures import Future

from ._core import CoreFuture

__all__ = ["FuloadFuture"]

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")
else:
    T = None


class FuloadFuture(CoreFuture[T], Future[T]):
    """What FuloadExecutor.submit returns.

    A concurrent.futures.Future in every respect. It adds:

    - `terminate()`: cancel the task even while it runs,
    - `worker_pid`: the process that ran it, or None,
    - `timing`: (seconds queued, seconds running), None where unknown.

    >>> from fuload_exec import FuloadExecutor
    >>> with FuloadExecutor(1) as executor:
    ...     future = executor.submit(divmod, 17, 5)
    ...     future.result()
    (3, 2)
    >>> future.worker_pid > 0
    True
    """
