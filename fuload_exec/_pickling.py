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

__all__ = ["by_value_pickler", "dispatch_table", "dump", "dump_in_band", "main_can_be_imported", "must_be_by_value"]

_MOST_BUFFERS = 4096


def main_can_be_imported() -> bool:
    """Whether a worker can import this process's __main__: a script or a
    `python -m` module, not `python -c`, a notebook or an interactive session."""
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
    return b"__main__" in stream and not main_can_be_imported()


def dump(value: object) -> tuple[bytes, list[PickleBuffer] | None]:
    """(stream, out-of-band buffers or None) of any object.

    >>> stream, buffers = dump((1, 2.5))
    >>> buffers
    []
    """
    buffers: list[PickleBuffer] = []
    try:
        if _reducers_matter():
            stream = _dump_with_reducers(value, buffers.append)
        else:
            stream = _dumps(value, 5, buffer_callback=buffers.append)
            if _CONNECTION in stream:
                buffers = []
                stream = _dump_with_reducers(value, buffers.append)
        by_value = must_be_by_value(stream)
    except (PicklingError, TypeError, AttributeError, ValueError):
        by_value = True
    if by_value or len(buffers) > _MOST_BUFFERS:
        return _dump_by_value(value), None
    return stream, buffers


def dump_in_band(value: object) -> bytes:
    """The same as one stream."""
    stream, buffers = dump(value)
    return stream if not buffers else _dumps(value, 5)


# -- reducers that were registered with multiprocessing ---------------------------------

# A connection is pickled without complaint by the plain pickler, as a number
# that is another file in the worker.
_CONNECTION = b"multiprocessing.connection"

# Their reducers do what pickle does as well, or are for what it refuses: then
# they are used all the same, on the way over cloudpickle.
_HARMLESS = ("multiprocessing.reduction", "multiprocessing.connection", "multiprocessing.heap", "multiprocessing.managers")

_table: dict[type, Any] | None = None  # ForkingPickler's, once it is there
_seen: dict[type, Any] = {}  # what stood in it when it was last looked at
_reducers: dict[type, Any] = {}  # those of them that do something else than pickle
_matters = False  # whether the plain pickler will not do


def _reducers_matter() -> bool:
    """Has anybody registered a reducer with ForkingPickler that changes what
    the plain pickler would do? Cheap, for the answer is nearly always no."""
    global _table
    if _table is None:
        pickler = getattr(sys.modules.get("multiprocessing.reduction"), "ForkingPickler", None)
        if pickler is None:
            return False
        _table = pickler._extra_reducers
    if _table != _seen:
        _look(dict(_table))
    return _matters


def _look(table: dict[type, Any]) -> None:
    global _seen, _reducers, _matters, _by_value
    by = {kind: getattr(reduce, "__module__", None) for kind, reduce in table.items()}
    # Of reduction's own only that of sockets does something: the others would
    # have the worker import multiprocessing for a partial.
    _reducers = {k: r for k, r in table.items() if by[k] != "multiprocessing.reduction" or k.__name__ == "socket"}
    _matters = any(module not in _HARMLESS for module in by.values())
    _by_value = None
    _seen = table


def dispatch_table() -> dict[type, Any]:
    """copyreg's reducers, and those registered with multiprocessing."""
    _reducers_matter()  # looks
    return {**copyreg.dispatch_table, **_reducers}


def _dump_with_reducers(value: object, buffer_callback: Callable[[PickleBuffer], object]) -> bytes:
    stream = io.BytesIO()
    pickler = Pickler(stream, 5, buffer_callback=buffer_callback)
    pickler.dispatch_table = dispatch_table()
    pickler.dump(value)
    return stream.getvalue()


# -- by value ---------------------------------------------------------------------------


def _dump_by_value(value: object) -> bytes:
    stream = io.BytesIO()
    by_value_pickler()(stream, 5).dump(value)
    return stream.getvalue()


_by_value: Any = None


def by_value_pickler() -> Any:
    """cloudpickle's pickler, which knows these reducers too."""
    global _by_value
    import collections

    import cloudpickle

    _reducers_matter()  # looks
    if _by_value is None:

        class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
            dispatch_table = collections.ChainMap(_reducers, cloudpickle.Pickler.dispatch_table)

        _by_value = ByValue
    return _by_value
