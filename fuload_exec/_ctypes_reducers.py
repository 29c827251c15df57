"""ctypes functions and libraries in pickles: by path and name, with what is
declared of them."""

from __future__ import annotations

import copyreg
import ctypes
import os
from _ctypes import CFuncPtr

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["made_again", "reduced", "register_ctypes_reducers", "taken_apart"]

_PYTHON_API, _USES_ERRNO = 4, 8  # of _flags_


# POINTER(T), T * n, ndpointer(...) and CFUNCTYPE(...) are classes without a
# name to pickle them by: they are pickled by what they are made of.


def taken_apart(ctype: Any) -> Any:
    if not isinstance(ctype, type):
        return ctype
    return _taken_apart(ctype)


def _taken_apart(ctype: Any) -> Any:
    if issubclass(ctype, ctypes._Pointer) and ctypes.POINTER(ctype._type_) is ctype:
        return ("pointer", taken_apart(ctype._type_))
    if issubclass(ctype, ctypes.Array):
        return ("array", taken_apart(ctype._type_), ctype._length_)
    if issubclass(ctype, CFuncPtr) and ctype.__qualname__.endswith("<locals>.CFunctionType"):
        types = tuple(taken_apart(t) for t in ctype._argtypes_)
        return ("prototype", ctype._flags_, taken_apart(ctype._restype_), types)
    if hasattr(ctype, "_ndim_") and hasattr(ctype, "_dtype_"):
        return ("ndpointer", ctype._dtype_, ctype._ndim_, ctype._shape_, ctype._flags_)
    return ctype


def made_again(parts: Any) -> Any:
    if not isinstance(parts, tuple):
        return parts
    kind, *rest = parts
    if kind == "pointer":
        return ctypes.POINTER(made_again(rest[0]))
    if kind == "array":
        return made_again(rest[0]) * rest[1]
    if kind == "prototype":
        flags, restype, argtypes = rest
        types = made_again(restype), *map(made_again, argtypes)
        if flags & _PYTHON_API:
            return ctypes.PYFUNCTYPE(*types)
        return ctypes.CFUNCTYPE(*types, use_errno=bool(flags & _USES_ERRNO))
    from numpy.ctypeslib import ndpointer

    return ndpointer(*rest)


class _LinkMap(ctypes.Structure):
    _fields_ = [("l_addr", ctypes.c_void_p), ("l_name", ctypes.c_char_p)]


def _file(library: ctypes.CDLL) -> str | None:
    """The file that is open, not what a second search would find; None for the
    program itself."""
    if library._name is None:
        return None
    dlinfo = ctypes.CDLL(None).dlinfo
    dlinfo.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    found = ctypes.POINTER(_LinkMap)()
    if dlinfo(library._handle, 2, ctypes.byref(found)) != 0 or not found or not found.contents.l_name:
        return library._name
    name: bytes = found.contents.l_name
    if not name.startswith(b"/"):
        folder = ctypes.create_string_buffer(4097)
        if dlinfo(library._handle, 6, folder) == 0:
            name = os.path.join(folder.value, os.path.basename(name))
    return os.fsdecode(name)


def _reduce_library(library: ctypes.CDLL) -> tuple[Any, ...]:
    own = ("_name", "_handle", "_FuncPtr")
    state = {k: v for k, v in library.__dict__.items() if k not in own and not _is_as_found(v)}
    return (_open_library, _place(library), state or None)


def _place(library: ctypes.CDLL) -> tuple[str | None, type, bool]:
    return _file(library), type(library), bool(library._FuncPtr._flags_ & _USES_ERRNO)


def _is_as_found(value: Any) -> bool:
    """A function of which nothing is declared."""
    return (
        isinstance(value, CFuncPtr) and value.argtypes is None and value.errcheck is None and value.restype is type(value)._restype_
    )


def _open_library(path: str | None, kind: Any, use_errno: bool) -> ctypes.CDLL:
    library: ctypes.CDLL = kind.__new__(kind)
    ctypes.CDLL.__init__(library, path, use_errno=use_errno)
    return library


def _reduce_function(function: Any) -> tuple[Any, ...]:
    name = getattr(function, "__name__", None)
    objects = getattr(function, "_objects", None)
    origin = objects.get("0") if isinstance(objects, dict) else None
    if not isinstance(origin, ctypes.CDLL):
        if origin is not None:
            raise TypeError(
                "a ctypes callback stands for a Python function of this process and cannot be pickled: "
                "pass the Python function, and make the callback in the task"
            )
        raise TypeError(
            "a ctypes function that was made from an address cannot be pickled, since addresses mean nothing in "
            "another process: take it from its library, as an attribute of a ctypes.CDLL"
        )
    if not isinstance(name, str):
        raise TypeError(
            f"a ctypes function of {origin._name or 'the program'} that a prototype or a cast made has no name and "
            "cannot be pickled: take it from the library as an attribute"
        )
    argtypes = None if function.argtypes is None else tuple(map(taken_apart, function.argtypes))
    return (_open_function, (*_place(origin), name, argtypes, taken_apart(function.restype), function.errcheck))


# Opened for functions that came alone: nothing is declared of these.
_opened: dict[tuple[str | None, type, bool], ctypes.CDLL] = {}


def _open_function(path: str | None, kind: type, use_errno: bool, name: str, argtypes: Any, restype: Any, errcheck: Any) -> Any:
    place = path, kind, use_errno
    library = _opened.get(place)
    if library is None:
        library = _opened[place] = _open_library(*place)
    function = library[name]  # a new one each time
    if argtypes is not None:
        function.argtypes = list(map(made_again, argtypes))
    function.restype = made_again(restype)
    if errcheck is not None:
        function.errcheck = errcheck
    return function


def reduced(thing: object) -> Any:
    """For a pickler's reducer_override.

    Raises:
        TypeError: a ctypes function that no other process can find.
    """
    if isinstance(thing, CFuncPtr):
        return _reduce_function(thing)
    if (
        isinstance(thing, ctypes.CDLL)
        and type(thing).__reduce_ex__ is object.__reduce_ex__
        and type(thing).__reduce__ is object.__reduce__
    ):
        return _reduce_library(thing)
    return NotImplemented


def _reduce_ex(function: Any, protocol: int) -> Any:
    return _reduce_function(function)


def register_ctypes_reducers() -> None:
    """Functions and libraries of ctypes pickle by path and name, for everybody
    who pickles in this process. (Arguments and results of tasks do so anyway.)

    Libraries that are opened later are included. What cannot be found in
    another process, a callback or a function made from an address, raises
    TypeError.

    >>> import ctypes, pickle
    >>> register_ctypes_reducers()
    >>> libm = ctypes.CDLL("libm.so.6")
    >>> libm.fabs.argtypes, libm.fabs.restype = [ctypes.c_double], ctypes.c_double
    >>> pickle.loads(pickle.dumps(libm.fabs))(-2.0)
    2.0
    """
    copyreg.pickle(ctypes.CDLL, _reduce_library)
    copyreg.pickle(ctypes.PyDLL, _reduce_library)
    # Each library has a class of its own for its functions.
    for kind in CFuncPtr.__subclasses__():
        kind.__reduce_ex__ = _reduce_ex  # type: ignore[method-assign, assignment]
    init = ctypes.CDLL.__init__
    if getattr(init, "__name__", "") == "_init_with_reducer":
        return

    def _init_with_reducer(self: ctypes.CDLL, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._FuncPtr.__reduce_ex__ = _reduce_ex  # type: ignore[method-assign, assignment]

    ctypes.CDLL.__init__ = _init_with_reducer  # type: ignore[method-assign]
