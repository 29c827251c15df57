"""executor.map: lazy results in order, chunks where they pay."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future

from ._core import MapResults, exception_of_map, pack_column, passage
from ._in_worker.chunk import run_chunk

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["cancel", "chunk_sizes", "count_of", "map_calls"]

# Chunks that nobody has asked for: the first have at most so many calls, the later
# ones as many as take so long, judged by those that are back.
_FIRST_CHUNK = 64
_LARGEST_CHUNK = 4096
_CHUNK_SECONDS = 0.0005


def chunk_sizes(chunksize: int | None, count: int | None, workers: int, largest: int) -> Iterator[int]:
    """How many calls each next task takes: few enough that all workers get
    some, many enough that a call costs little."""
    if chunksize is not None:
        yield from itertools.repeat(chunksize)
    elif count is not None:
        yield from itertools.repeat(max(1, min(largest, count // (workers * 8))))
    size = 1
    while True:
        yield from itertools.repeat(size, workers * 8)
        size = min(2 * size, largest)


class _Growing:
    """Sizes of chunks that nobody has asked for."""

    def __init__(self, count: int | None, workers: int) -> None:
        self.first = chunk_sizes(None, count, workers, _FIRST_CHUNK)
        self.most = _LARGEST_CHUNK if count is None else min(_LARGEST_CHUNK, count // (workers * 8))
        self.fitting = 1  # as far as is known
        self.watched: deque[tuple[Future[Any], int]] = deque()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        while self.watched and self.watched[0][0].done():
            future, size = self.watched.popleft()
            seconds = getattr(future, "timing", (None, None))[1]  # submit() may be another's
            if seconds:
                self.fitting = min(4 * size, int(size * _CHUNK_SECONDS / seconds))
        return max(next(self.first), min(self.fitting, self.most))

    def watch(self, future: Future[Any], size: int) -> None:
        self.watched.append((future, size))


def count_of(iterables: Iterable[Iterable[Any]]) -> int | None:
    """How many calls there will be, or None."""
    try:
        return min(len(it) for it in iterables)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def map_calls(
    submit: Callable[..., Future[Any]],
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    chunksize: int | None,
    buffersize: int | None,
    workers: int,
    chunked: bool,
) -> Iterator[Any]:
    """The iterator that map() returns; the tasks (or the first `buffersize` of
    them) are submitted before it is. With a buffer there is a chunksize."""
    due = None if timeout is None else time.monotonic() + timeout
    futures: deque[Future[Any]] = deque()
    tasks: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]] = iter(())
    try:
        if chunked and chunksize is None:
            _submit_chunks(submit, fn, iterables, workers, futures)
        elif chunked:
            chunks = _chunks(iterables, itertools.repeat(chunksize or 1))
            tasks = ((run_chunk, (fn, [pack_column(column) for column in chunk])) for chunk in chunks)
        else:
            tasks = ((fn, args) for args in zip(*iterables))
        for target, args in itertools.islice(tasks, buffersize):
            futures.append(submit(target, *args))
    except BaseException:
        cancel(futures)
        raise
    # Who holds the iterator holds the executor only as long as more is to be submitted.
    return MapResults(_results(submit if buffersize is not None else None, tasks, futures, due, chunked))


def _chunks(iterables: tuple[Iterable[Any], ...], sizes: Iterable[int]) -> Iterator[list[list[Any]]]:
    """The columns of each chunk."""
    single = len(iterables) == 1
    calls: Iterator[Any] = iter(iterables[0]) if single else zip(*iterables)
    for size in sizes:
        chunk = list(itertools.islice(calls, size))
        if not chunk:
            return
        yield [chunk] if single else [list(column) for column in zip(*chunk)]


def _submit_chunks(
    submit: Callable[..., Future[Any]],
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    workers: int,
    futures: deque[Future[Any]],
) -> None:
    """Chunks that the caller has not asked for: if one cannot be sent as a whole, each of
    its calls has its own result or error."""
    sizes = _Growing(count_of(iterables), workers)
    for chunk in _chunks(iterables, sizes):
        future = _submit_whole(submit, fn, chunk)
        if future is not None:
            futures.append(future)
            sizes.watch(future, len(chunk[0]))
            continue
        for args in zip(*chunk):
            futures.append(submit(run_chunk, fn, [[value] for value in args]))


def _submit_whole(submit: Callable[..., Future[Any]], fn: Callable[..., Any], chunk: list[list[Any]]) -> Future[Any] | None:
    """None if it cannot be sent."""
    try:
        future = submit(run_chunk, fn, [pack_column(column) for column in chunk])
    except ValueError as error:
        from ._errors import PayloadTooLarge  # which loads much

        if not isinstance(error, PayloadTooLarge):
            raise
        return None
    return None if _never_left(future) else future


def _never_left(future: Future[Any]) -> bool:
    """Whether its arguments could not be pickled: no worker has seen it."""
    if not future.done() or future.cancelled() or getattr(future, "worker_pid", 0) is not None:
        return False
    error = future.exception()
    return error is not None and not isinstance(error, BrokenExecutor)


def cancel(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def _results(
    submit: Callable[..., Future[Any]] | None,
    tasks: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]],
    futures: deque[Future[Any]],
    due: float | None,
    chunked: bool,
) -> Iterator[Any]:
    with passage:
        yield from _ordered(submit, tasks, futures, due, chunked)


def _ordered(
    submit: Callable[..., Future[Any]] | None,
    tasks: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]],
    futures: deque[Future[Any]],
    due: float | None,
    chunked: bool,
) -> Iterator[Any]:
    """The results of each chunk, as a column."""
    try:
        while futures:
            # No reference is kept during a yield: a result lives no longer
            # than its reader wants it.
            future = futures.popleft()
            try:
                value = future.result() if due is None else future.result(due - time.monotonic())
                column, failure = value if chunked else ([value], None)
                error = exception_of_map(future, failure) if failure is not None else None
            finally:
                future.cancel()
                del future
            if submit is not None:
                task = next(tasks, None)
                if task is None:
                    submit = None
                else:
                    futures.append(submit(task[0], *task[1]))
                    del task
            handed_on = [column]
            del value, column
            yield handed_on.pop()
            if error is not None:
                try:
                    raise error
                finally:
                    del error
    finally:
        cancel(futures)
