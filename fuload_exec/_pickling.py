"""Pickles, in both directions: the C pickler, and cloudpickle for what it refuses."""

from __future__ import annotations

import sys
from _pickle import PickleBuffer, PicklingError
from _pickle import dumps as _dumps

__all__ = ["dump", "dump_in_band", "main_can_be_imported"]

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


def dump(value: object) -> tuple[bytes, list[PickleBuffer] | None]:
    """(stream, out-of-band buffers or None) of any object.

    >>> stream, buffers = dump((1, 2.5))
    >>> buffers
    []
    """
    buffers: list[PickleBuffer] = []
    try:
        stream = _dumps(value, 5, buffer_callback=buffers.append)
        by_value = b"__main__" in stream and not main_can_be_imported()
    except (PicklingError, TypeError, AttributeError, ValueError):
        by_value = True
    if by_value or len(buffers) > _MOST_BUFFERS:
        return _dump_by_value(value), None
    return stream, buffers


def _dump_by_value(value: object) -> bytes:
    import cloudpickle

    stream: bytes = cloudpickle.dumps(value, 5)
    return stream


def dump_in_band(value: object) -> bytes:
    """The same as one stream."""
    stream, buffers = dump(value)
    return stream if not buffers else _dumps(value, 5)
