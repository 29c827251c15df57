"""Pickles, in both directions: the C pickler, and cloudpickle for what it refuses."""

from __future__ import annotations

import copyreg
import io
import os
import stat
import sys
from _pickle import PickleBuffer, Pickler, PicklingError, Unpickler
from _pickle import dumps as _dumps

TYPE_CHECKING = False  # a worker does without typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import EllipsisType, ModuleType
    from typing import Any

__all__ = [
    "advice_on_main", "by_value_pickler", "ctypes_reduced", "dispatch_table", "dump", "dump_in_band", "explained",
    "importable_main", "load_with_main", "look_at_reducers", "must_be_by_value", "name_of", "packed",
]  # fmt: skip

_MOST_BUFFERS = 4096
_MAIN = b"__main__"


def importable_main() -> ModuleType | None:
    """This process's __main__ if another process can import it: a script or a
    `python -m` module, not `python -c`, a notebook, a prompt, a pipe or a frozen program."""
    main = sys.modules.get("__main__")
    if getattr(sys, "frozen", False):
        return None
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        # multiprocessing does not import a package's __main__ either.
        return None if name.endswith("__main__") else main
    path = getattr(main, "__file__", None)
    return None if path is None or path == "<stdin>" or _is_pipe(path) else main


def _is_pipe(path: str) -> bool:
    """`python <(...)`: what was read from it is gone."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, TypeError, ValueError):
        return False


def must_be_by_value(stream: bytes, main: ModuleType | EllipsisType | None = ...) -> bool:
    """Whether it names something that is not found in the other process under
    that name. `main` is the __main__ that is found there, None if none is."""
    if stream.find(_MAIN) >= 0:
        own = importable_main()
        if own is None or (main is not ... and own is not main):
            return True
    registered = getattr(sys.modules.get("cloudpickle.cloudpickle"), "_PICKLE_BY_VALUE_MODULES", None)
    if registered:  # cloudpickle looks more closely
        return any(stream.find(name.encode()) >= 0 for name in list(registered))
    return False


def dump(value: object, main: ModuleType | EllipsisType | None = ...) -> tuple[bytes, list[PickleBuffer] | None]:
    """(stream, out-of-band buffers or None) of any object; `main` is as for
    must_be_by_value(), by default this process's own.

    >>> stream, buffers = dump((1, 2.5))
    >>> buffers
    []
    """
    if _table != _seen or (not _known and _REDUCTION in sys.modules):
        look_at_reducers()
    if not _matters:
        buffers: list[PickleBuffer] = []
        try:
            stream = _dumps(value, 5, buffer_callback=buffers.append)
            # find() takes a third of the time of `in`, which tries it as a number first.
            if stream.find(_CONNECTION) < 0 and len(buffers) <= _MOST_BUFFERS and not must_be_by_value(stream, main):
                return stream, buffers
        except (PicklingError, TypeError, AttributeError, ValueError):
            pass
    return _dump_with_care(value, main)


def load_with_main(stream: bytes, buffers: list[Any] | None, main: ModuleType) -> Any:
    """Unpickle what a worker has sent, where its __mp_main__ is `main`."""

    class WithMain(Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module != "__mp_main__":
                return super().find_class(module, name)
            found: Any = main
            for part in name.split("."):
                found = getattr(found, part)
            return found

    return WithMain(io.BytesIO(stream), buffers=buffers).load()


def dump_in_band(value: object) -> bytes:
    """The same as one stream."""
    stream, buffers = dump(value)
    return stream if not buffers else _dump_with_care(value, ..., in_band=True)[0]


def _dump_with_care(
    value: object, main: ModuleType | EllipsisType | None, in_band: bool = False
) -> tuple[bytes, list[PickleBuffer] | None]:
    """The same for what the plain pickler refuses, or does not do as it should."""
    _look_again()
    try:
        stream, buffers = _dump_by(_dump_with_reducers, value, in_band)
        if not must_be_by_value(stream, main):
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
_REDUCTION = "multiprocessing.reduction"

# Their reducers do what pickle does as well, or are for what it refuses: then
# they are used all the same, on the way over cloudpickle.
_HARMLESS = ("multiprocessing.reduction", "multiprocessing.connection", "multiprocessing.heap", "multiprocessing.managers")

_table: dict[type, Any] = {}  # ForkingPickler's, once multiprocessing is imported
_seen: dict[type, Any] = {}  # what stood in it when it was last looked at
_reducers: dict[type, Any] = {}  # those of them that do something else than pickle
_known = False  # whether multiprocessing was imported when that was
_matters = False  # whether the plain pickler will not do
_by_value: Any = None  # cloudpickle's pickler with these, once it is needed


def look_at_reducers() -> None:
    """Has anybody registered a reducer with ForkingPickler that changes what
    the plain pickler would do? Called once when multiprocessing is there."""
    global _known, _table, _seen, _reducers, _matters, _by_value
    from multiprocessing.reduction import ForkingPickler

    _known = True
    _table = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    _seen = dict(_table)
    by = {kind: getattr(reduce, "__module__", None) for kind, reduce in _seen.items()}
    # Of reduction's own only that of sockets does something: the others would
    # have the worker import multiprocessing for a partial.
    _reducers = {k: r for k, r in _seen.items() if by[k] != "multiprocessing.reduction" or k.__name__ == "socket"}
    _matters = any(module not in _HARMLESS for module in by.values())
    _by_value = None


def _look_again() -> None:
    """Multiprocessing is imported for who has sockets: it knows how to pass them."""
    if _table != _seen or (not _known and (_REDUCTION in sys.modules or "socket" in sys.modules)):
        look_at_reducers()


def dispatch_table() -> dict[type, Any]:
    """copyreg's reducers, and those registered with multiprocessing."""
    _look_again()
    return {**copyreg.dispatch_table, **_reducers}


_reduced: Any = None  # _ctypes_reducers.reduced, once ctypes is there


def ctypes_reduced(thing: object) -> Any:
    """For a pickler's reducer_override: ctypes functions and libraries."""
    global _reduced
    if _reduced is None:
        if "ctypes" not in sys.modules:
            return NotImplemented
        from ._ctypes_reducers import reduced as _reduced
    return _reduced(thing)


class _WithCtypes(Pickler):
    def reducer_override(self, thing: Any) -> Any:
        return ctypes_reduced(thing)


def _dump_with_reducers(value: object, buffer_callback: Callable[[PickleBuffer], Any] | None) -> bytes:
    stream = io.BytesIO()
    pickler = (_WithCtypes if "ctypes" in sys.modules else Pickler)(stream, 5, buffer_callback=buffer_callback)
    pickler.dispatch_table = dispatch_table()
    pickler.dump(value)
    return stream.getvalue()


# -- what goes wrong --------------------------------------------------------------------


def name_of(fn: object) -> str:
    """What messages call a task."""
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else type(fn).__name__


def packed(error: BaseException) -> tuple[bytes, str, str]:
    """An exception, its traceback, and what it says, apart: if the other
    process cannot rebuild the first, it still has the rest."""
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    said = f"{type(error).__qualname__}: {_said(error)}"
    try:
        return dump_in_band(error), text, said
    except BaseException as failure:
        reason = PicklingError(f"{type(error).__qualname__} cannot be pickled ({_said(failure)}); it says: {_said(error)}")
        return dump_in_band(reason), text, said


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__qualname__}>"


def explained(error: Exception, name: str, parts: list[tuple[str, Any]], main: ModuleType | EllipsisType | None = ...) -> Exception:
    """The same error, which pickling has raised, with what it is about: which
    part of the task `name`, and what would work instead."""
    if type(error) not in (TypeError, AttributeError, ValueError, RuntimeError, PicklingError):
        return error  # of the user's own
    for what, value in parts:
        try:
            dump(value, main)
        except Exception:
            break
    else:
        return error
    part = f"the function {name}()" if what == "the function" else f"{what} of {name}() ({type(value).__qualname__})"
    told = type(error)(f"{part} cannot be pickled: {error}{_advice(value, str(error), what)}")
    told.__traceback__ = error.__traceback__
    return told


def _advice(value: object, said: str, what: str) -> str:
    from ._foreign import how_to_pass

    foreign = how_to_pass(value)
    if foreign is not None:
        return f"; it {foreign}"
    if "inheritance" in said:  # a lock or queue of multiprocessing's
        return "; give it to the workers by initargs"
    if "generator" in said or "iterator" in said:
        return "; a list of what it yields can" if hasattr(value, "__next__") else ""
    if "_io." in said:
        return "; its path can"
    if "ctypes" in said:
        return ""  # which says it itself
    return "" if what == "the result" else "; what cannot, the task itself or the initializer can make in the worker"


def advice_on_main(error: BaseException) -> str:
    """For a name that workers do not find in the main module."""
    if isinstance(error, AttributeError) and ("__main__" in str(error) or "__mp_main__" in str(error)):
        return (
            "; workers import the main module under another name, so what tasks need of it must not stand "
            "under \"if __name__ == '__main__':\""
        )
    return ""


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

    _look_again()
    if _by_value is None:

        class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
            dispatch_table = collections.ChainMap(_reducers, cloudpickle.Pickler.dispatch_table)

            def reducer_override(self, thing: Any) -> Any:
                made = ctypes_reduced(thing)
                return super().reducer_override(thing) if made is NotImplemented else made

        _by_value = ByValue
    return _by_value
