"""C functions over arrays: whole chunks in one slot, no Python object an element."""

from __future__ import annotations

import itertools
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from . import _core
from ._map import cancel, chunk_sizes, count_of
from ._native import NativeFunction

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

    from ._future import FuloadFuture

__all__ = ["NativeMap", "check_iterables", "map_array"]

# A chunk of this many items costs little per call, and its pages stay in the caches.
_LARGEST_CHUNK = 16384
# map_array's chunks: at most this many bytes of arguments and results, all that
# are under way together this many, and towards the end fewer, so that the workers
# come to their ends at the same time.
_CHUNK_BYTES = 1 << 19
_BYTES_AHEAD = 1 << 26
_LEAST_CHUNK = 8192
# Chunks of map_array under way for each worker: the same few slots, whose pages
# stay warm, serve all, however long the arrays are.
_CHUNKS_AHEAD = 12

_KINDS = {"?": "b", **dict.fromkeys("bhilqn", "i"), **dict.fromkeys("BHILQN", "u"), **dict.fromkeys("fdg", "f")}


def _same_items(format: str, itemsize: int, wanted: str) -> bool:
    """Whether a buffer's items are what the C type `wanted` (a letter) has."""
    import struct

    letter = format.lstrip("@=<")
    size = 16 if wanted == "g" else struct.calcsize(wanted)
    return letter in _KINDS and _KINDS[letter] == _KINDS.get(wanted) and itemsize == size


def _as_buffer(values: Any, wanted: str | None) -> memoryview | None:
    """A flat view of `values` if its items are of that C type; an array of
    NumPy whose items convert without loss is converted. Else None."""
    if wanted is None:
        return None
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(values, numpy.ndarray):
        if values.ndim != 1 or not numpy.can_cast(values.dtype, wanted, "safe"):
            return None
        values = numpy.ascontiguousarray(values, dtype=wanted)
    try:
        view = memoryview(values)
    except (TypeError, ValueError, BufferError):
        return None
    if view.ndim != 1 or not view.c_contiguous or not _same_items(view.format, view.itemsize, wanted):
        return None
    return view


def check_iterables(submitter: _core.Submitter, fn: Any, iterables: Sequence[Iterable[Any]]) -> None:
    """A C function says how many arguments it takes, before there is a call."""
    name, count = _core.native_count(submitter, fn)
    if len(iterables) != count:
        raise TypeError(
            f"{name}() takes {count} argument{'s' if count != 1 else ''} ({len(iterables)} given): map() needs "
            f"one iterable for each; variadic calls are not supported"
        )
    for number, values in enumerate(iterables, 1):
        _core.refuse_mask(values, f"{name}(): argument {number}")


def _refuse_masks(value: Any, where: str) -> None:
    """Also in lists of arrays, which NumPy makes one array of."""
    _core.refuse_mask(value, where)
    if isinstance(value, (list, tuple)):
        for item in value:
            if not isinstance(item, (int, float)):
                _refuse_masks(item, where)


class NativeMap:
    """executor.map for a C function that takes and gives numbers: chunks of
    calls as one task each, results as Python scalars, in order."""

    def __init__(self, submitter: _core.Submitter, fn: Any, iterables: Sequence[Iterable[Any]], formats: Any) -> None:
        self.submitter = submitter
        self.fn = fn
        views = [_as_buffer(values, wanted) for values, wanted in zip(iterables, formats[0])]
        self.largest = min(_LARGEST_CHUNK, formats[2])
        self.count = min((len(v) for v in views if v is not None), default=None)
        rest = count_of([values for values, view in zip(iterables, views) if view is None])
        self.known = rest if self.count is None else self.count if rest is None else min(rest, self.count)
        self.columns: list[Any] = [v if v is not None else iter(i) for v, i in zip(views, iterables)]

    def tasks(self, sizes: Iterator[int]) -> Iterator[tuple[list[Any], int]]:
        """(columns of a chunk, its number of calls)."""
        at = 0
        for size in sizes:
            if self.count is not None:
                size = min(size, self.count - at)
            chunk: list[Any] = []
            for column in self.columns:
                chunk.append(column[at : at + size] if isinstance(column, memoryview) else list(itertools.islice(column, size)))
                size = min(size, len(chunk[-1]))
            if size <= 0:
                return
            yield [part[:size] if len(part) > size else part for part in chunk], size
            at += size

    def run(self, workers: int, timeout: float | None, chunksize: int | None, buffersize: int | None) -> Iterator[Any]:
        due = None if timeout is None else time.monotonic() + timeout
        tasks = self.tasks(chunk_sizes(chunksize, self.known, workers, self.largest))
        futures: deque[FuloadFuture[Any]] = deque()
        try:
            futures.extend(self._submit(task) for task in itertools.islice(tasks, buffersize))
        except BaseException:
            cancel(futures)
            raise
        return _core.MapResults(self._results(tasks, futures, due))

    def _submit(self, task: tuple[list[Any], int]) -> FuloadFuture[Any]:
        return _core.submit_map(self.submitter, self.fn, *task, None)

    def _results(self, tasks: Iterator[Any], futures: deque[FuloadFuture[Any]], due: float | None) -> Iterator[list[Any]]:
        with _core.passage:
            try:
                while futures:
                    future = futures.popleft()
                    try:
                        values = future.result() if due is None else future.result(due - time.monotonic())
                    finally:
                        future.cancel()
                        del future
                    futures.extend(self._submit(task) for task in itertools.islice(tasks, 1))
                    handed_on = [values]
                    del values
                    yield handed_on.pop()
            finally:
                cancel(futures)


def map_array(submitter: _core.Submitter, workers: int, fn: Any, arrays: tuple[Any, ...], out: Any, most: int | None = None) -> Any:
    """See FuloadExecutor.map_array. `most`: calls per task."""
    import numpy

    formats = _core.item_formats(submitter, fn)
    if formats is None or None in formats[0] or formats[1] is None:
        named = getattr(fn, "__name__", type(fn).__name__)
        raise TypeError(f"{named} cannot be called over arrays: fn must be a C function of numbers that gives a number, got {fn!r}")
    wanted, result, fitting = formats
    name = fn.name if isinstance(fn, NativeFunction) else fn.__name__
    if len(arrays) != len(wanted):
        word = "array or number" if len(wanted) == 1 else "arrays or numbers"
        raise TypeError(f"{name}() takes {len(wanted)} {word} ({len(arrays)} given)")
    for number, value in enumerate(arrays, 1):
        _refuse_masks(value, f"{name}(): argument {number}")
    _core.refuse_mask(out, "out")
    given = [numpy.asarray(a) for a in arrays]
    shape = numpy.broadcast_shapes(*(a.shape for a in given))
    results = _out(out, shape, numpy.dtype(result))
    columns = []
    for number, (value, array, letter) in enumerate(zip(arrays, given, wanted), 1):
        where = f"{name}(): argument {number}"
        columns.append(_column(value, array, letter, results, where))
    item_bytes = sum(numpy.dtype(letter).itemsize for letter in (*wanted, result))
    sizes = _shares(results.size, workers, item_bytes, min(fitting, most or fitting))
    whole: Any = numpy.asarray(results).reshape(-1)
    flat = memoryview(whole)
    futures: list[FuloadFuture[Any]] = []
    ahead = _CHUNKS_AHEAD * workers
    at = 0
    try:
        while True:
            for size in itertools.islice(sizes, ahead - len(futures)):
                chunk = [c if isinstance(c, tuple) else c[at : at + size] for c in columns]
                _core.submit_map(submitter, fn, chunk, size, flat[at : at + size], futures)
                at += size
            if not futures:
                if result == "?":  # any value but 0 is true in C, NumPy wants a 1
                    numpy.not_equal(flat.cast("B"), 0, out=whole)
                return results
            # Not for each chunk by itself: to wake costs as much as a small one,
            # and those behind keep the workers busy meanwhile.
            futures[len(futures) // 3].result()
            futures = [future for future in futures if not _is_over(future)]
    except BaseException:
        # Those that run write to `out`: nothing may be under way when we leave.
        for future in futures:
            if not future.cancel():
                future.terminate()
        raise


def _is_over(future: FuloadFuture[Any]) -> bool:
    """Raises what its calls have raised."""
    return future.done() and future.result() is None


def _shares(count: int, workers: int, item_bytes: int, most: int) -> Iterator[int]:
    """How many calls each next chunk of map_array takes, `count` in all."""
    chunk_bytes = min(_CHUNK_BYTES, _BYTES_AHEAD // (_CHUNKS_AHEAD * workers))
    largest = max(1, min(most, chunk_bytes // item_bytes, count // (workers * 8)))
    while count:
        size = min(largest, max(count // (workers * 2), _LEAST_CHUNK), count)
        yield size
        count -= size


def _column(value: Any, array: Any, letter: str, results: Any, where: str) -> Any:
    """A flat buffer of one argument's items, or (number,) for one that stays."""
    import numpy

    if type(value) in (bool, int, float) and letter != "g":
        return (value,)  # converted as ctypes converts it
    if type(value) is not int and not numpy.can_cast(array.dtype, letter, "same_kind"):
        raise TypeError(f"{where} has items of {array.dtype}, which do not convert to {numpy.dtype(letter)}")
    if array.ndim == 0 and letter != "g":
        return (array.astype(letter).item(),)
    if numpy.may_share_memory(array, results):
        array = array.copy()  # results come back while later items are still to be read
    column: Any = numpy.ascontiguousarray(numpy.broadcast_to(array, results.shape), dtype=letter)
    return memoryview(column.reshape(-1))


def _out(out: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    import numpy

    if out is None:
        return numpy.empty(shape, dtype)
    if not isinstance(out, numpy.ndarray) or out.dtype != dtype or out.shape != shape:
        raise ValueError(
            f"out must be an array of {dtype} with the shape {shape}, got {getattr(out, 'dtype', type(out))} "
            f"with the shape {getattr(out, 'shape', None)}"
        )
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError("out must be C-contiguous and writable")
    return out
