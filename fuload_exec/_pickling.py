"""Pickles, in both directions: the C pickler, and cloudpickle for what it refuses."""

from __future__ import annotations

import copyreg
import io
import sys
from _pickle import PickleBuffer, Pickler, PicklingError
from _pickle import dumps as _dumps

TYPE_CHECKING = False  # a worker does without typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "by_value_pickler", "dispatch_table", "dump", "dump_in_band", "look_at_reducers", "main_can_be_imported",
    "must_be_by_value",
]  # fmt: skip

_MOST_BUFFERS = 4096
_MAIN = b"__main__"


def main_can_be_imported() -> bool:
    """Whether a worker can import this process's __main__: a script or a
    `python -m` module, not `python -c`, a notebook or a prompt."""
    main = sys.modules.get("__main__")
    if main is None:
        return False
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        # multiprocessing does not import a package's __main__ either.
        return not name.endswith("__main__")
    path = getattr(main, "__file__", None)
    return path is not None and path != "<stdin>"


def must_be_by_value(stream: bytes) -> bool:
    """Whether it names something of a __main__ that workers cannot import."""
    return stream.find(_MAIN) >= 0 and not main_can_be_imported()


def dump(value: object) -> tuple[bytes, list[PickleBuffer] | None]:
    """(stream, out-of-band buffers or None) of any object.

    >>> stream, buffers = dump((1, 2.5))
    >>> buffers
    []
    """
    if _table != _seen:
        look_at_reducers()
    if not _matters:
        buffers: list[PickleBuffer] = []
        try:
            stream = _dumps(value, 5, buffer_callback=buffers.append)
            # find() takes a third of the time of `in`, which tries it as a number first.
            if stream.find(_CONNECTION) < 0 and len(buffers) <= _MOST_BUFFERS and not must_be_by_value(stream):
                return stream, buffers
        except (PicklingError, TypeError, AttributeError, ValueError):
            pass
    return _dump_with_care(value)


def dump_in_band(value: object) -> bytes:
    """The same as one stream."""
    stream, buffers = dump(value)
    return stream if not buffers else _dump_with_care(value, in_band=True)[0]


def _dump_with_care(value: object, in_band: bool = False) -> tuple[bytes, list[PickleBuffer] | None]:
    """The same for what the plain pickler refuses, or does not do as it should."""
    try:
        stream, buffers = _dump_by(_dump_with_reducers, value, in_band)
        if not must_be_by_value(stream):
            return stream, buffers
    except (PicklingError, TypeError, AttributeError, ValueError):
        pass
    return _dump_by(_dump_by_value, value, in_band)


def _dump_by(
    how: Callable[[object, Callable[[PickleBuffer], Any] | None], bytes], value: object, in_band: bool
) -> tuple[bytes, list[PickleBuffer] | None]:
    if not in_band:
        buffers: list[PickleBuffer] = []
        stream = how(value, buffers.append)
        if len(buffers) <= _MOST_BUFFERS:
            return stream, buffers
    return how(value, None), None


# -- reducers that were registered with multiprocessing ---------------------------------

# A connection is pickled without complaint by the plain pickler, as a number
# that is another file in the worker.
_CONNECTION = b"multiprocessing.connection"

# Their reducers do what pickle does as well, or are for what it refuses: then
# they are used all the same, on the way over cloudpickle.
_HARMLESS = ("multiprocessing.reduction", "multiprocessing.connection", "multiprocessing.heap", "multiprocessing.managers")

_table: dict[type, Any] = {}  # ForkingPickler's, once multiprocessing is imported
_seen: dict[type, Any] = {}  # what stood in it when it was last looked at
_reducers: dict[type, Any] = {}  # those of them that do something else than pickle
_matters = False  # whether the plain pickler will not do
_by_value: Any = None  # cloudpickle's pickler with these, once it is needed


def look_at_reducers() -> None:
    """Has anybody registered a reducer with ForkingPickler that changes what
    the plain pickler would do? Called once when multiprocessing is there."""
    global _table, _seen, _reducers, _matters, _by_value
    from multiprocessing.reduction import ForkingPickler

    _table = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    _seen = dict(_table)
    by = {kind: getattr(reduce, "__module__", None) for kind, reduce in _seen.items()}
    # Of reduction's own only that of sockets does something: the others would
    # have the worker import multiprocessing for a partial.
    _reducers = {k: r for k, r in _seen.items() if by[k] != "multiprocessing.reduction" or k.__name__ == "socket"}
    _matters = any(module not in _HARMLESS for module in by.values())
    _by_value = None


def dispatch_table() -> dict[type, Any]:
    """copyreg's reducers, and those registered with multiprocessing."""
    if _table != _seen:
        look_at_reducers()
    return {**copyreg.dispatch_table, **_reducers}


def _dump_with_reducers(value: object, buffer_callback: Callable[[PickleBuffer], Any] | None) -> bytes:
    stream = io.BytesIO()
    pickler = Pickler(stream, 5, buffer_callback=buffer_callback)
    pickler.dispatch_table = dispatch_table()
    pickler.dump(value)
    return stream.getvalue()


# -- by value ---------------------------------------------------------------------------


def _dump_by_value(value: object, buffer_callback: Callable[[PickleBuffer], Any] | None) -> bytes:
    stream = io.BytesIO()
    by_value_pickler()(stream, 5, buffer_callback).dump(value)
    return stream.getvalue()


def by_value_pickler() -> Any:
    """cloudpickle's pickler, which knows these reducers too."""
    global _by_value
    import collections

    import cloudpickle

    if _table != _seen:
        look_at_reducers()
    if _by_value is None:

        class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
            dispatch_table = collections.ChainMap(_reducers, cloudpickle.Pickler.dispatch_table)

        _by_value = ByValue
    return _by_value
