"""executor.map: lazy results in order, chunks where they pay."""

from __future__ import annotations

import itertools
import time
from _pickle import PicklingError
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["cancel", "chunk_sizes", "count_of", "map_calls"]

_LARGEST_CHUNK = 64


# What an exception becomes on its way: see _pickling.packed().
Packed = tuple[bytes, str, str]


def run_chunk(fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> tuple[list[Any], Packed | None]:
    """In the worker."""
    results: list[Any] = []
    try:
        for args in calls:
            results.append(fn(*args))
    except BaseException as error:
        from ._pickling import packed

        return results, packed(error)
    return results, None


def _picklable_part(outcome: tuple[list[Any], Packed | None], fn: Callable[..., Any]) -> tuple[list[Any], Packed]:
    """In the worker: what comes before that which cannot be pickled."""
    from ._pickling import dump, explained, name_of, packed

    results, _ = outcome
    for i, value in enumerate(results):
        try:
            dump(value)
        except Exception as reason:
            return results[:i], packed(explained(reason, name_of(fn), [("the result", value)]))
    return [], packed(PicklingError("results that can be pickled alone cannot be pickled together"))


run_chunk.__fuload_picklable__ = _picklable_part  # type: ignore[attr-defined]


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
    them) are submitted before it is."""
    due = None if timeout is None else time.monotonic() + timeout
    calls = zip(*iterables)
    futures: deque[Future[Any]] = deque()
    tasks: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]
    if chunked:
        sizes = chunk_sizes(chunksize, count_of(iterables), workers, _LARGEST_CHUNK)
        tasks = ((run_chunk, (fn, chunk)) for chunk in _chunks(calls, sizes))
    else:
        tasks = ((fn, args) for args in calls)
    try:
        for target, args in itertools.islice(tasks, buffersize):
            if chunked and chunksize is None and len(args[1]) > 1:
                futures.extend(_submit_chunk(submit, *args))
            else:
                futures.append(submit(target, *args))
    except BaseException:
        cancel(futures)
        raise
    # Who holds the iterator holds the executor only as long as more is to be submitted.
    return _results(submit if buffersize is not None else None, tasks, futures, due, chunked)


def _chunks(calls: Iterator[tuple[Any, ...]], sizes: Iterator[int]) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(calls, next(sizes))):
        yield chunk


def _submit_chunk(
    submit: Callable[..., Future[Any]], fn: Callable[..., Any], calls: list[tuple[Any, ...]]
) -> Iterator[Future[Any]]:
    """A chunk that the caller did not ask for: if it cannot be sent as one,
    each call has its own result or error."""
    from ._errors import PayloadTooLarge  # in a worker it would load much

    try:
        future = submit(run_chunk, fn, calls)
        if not _never_left(future):
            yield future
            return
    except PayloadTooLarge:
        pass
    for call in calls:
        yield submit(run_chunk, fn, [call])


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
    from ._core import passage  # in a worker there is no such module

    with passage:
        yield from _ordered(submit, tasks, futures, due, chunked)


def _ordered(
    submit: Callable[..., Future[Any]] | None,
    tasks: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]],
    futures: deque[Future[Any]],
    due: float | None,
    chunked: bool,
) -> Iterator[Any]:
    from ._core import exception_of_map  # not in workers, which import this module

    try:
        while futures:
            # No reference is kept during a yield: a result lives no longer
            # than its reader wants it.
            future = futures.popleft()
            try:
                value = future.result() if due is None else future.result(due - time.monotonic())
                results, failure = value if chunked else ([value], None)
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
            del value
            results.reverse()
            while results:
                yield results.pop()
            if error is not None:
                try:
                    raise error
                finally:
                    del error
    finally:
        cancel(futures)
