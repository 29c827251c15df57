"""C functions and plug-in tasks as values: picklable, comparable, callable here too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from . import _core
from ._ctypes_reducers import made_again, taken_apart

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from _ctypes import CFuncPtr, _CDataType
    from typing import Any, Protocol

    from typing_extensions import Buffer

    class Array(Protocol):
        """NumPy's arrays: to type checkers they are no buffers before Python 3.12."""

        @property
        def __array_interface__(self) -> dict[str, Any]: ...


__all__ = ["NativeFunction", "NativeTask"]


def _symbol(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name must be the symbol's name, a str, got {name!r}")
    if not name:
        raise ValueError("name must be the symbol's name, not empty, got ''")
    if "\0" in name:
        raise ValueError(f"name must have no null character, got {name!r}")
    return name


def _file(library: Any, allowed: str) -> str:
    try:
        path = os.fsdecode(library)
    except TypeError:
        raise TypeError(f"library must be {allowed}, got {library!r}") from None
    if not path or "\0" in path:
        raise ValueError(f"library must be {allowed}, not empty and without null characters, got {library!r}")
    return path


def _path(library: Any) -> str:
    """A path stays the same file in another working directory; a mere name is
    left to the loader's search."""
    path = _file(library, "a path, or a name that ctypes.CDLL finds (str or os.PathLike)")
    return os.path.abspath(path) if os.sep in path else path


def _argument_types(argtypes: Any) -> tuple[Any, ...]:
    """What ctypes asks of them, asked at once."""
    if isinstance(argtypes, (type, str, bytes)) or not isinstance(argtypes, Iterable):
        raise TypeError(f"argtypes must be a sequence of ctypes types, such as [ctypes.c_double], got {argtypes!r}")
    types = tuple(argtypes)
    for number, argtype in enumerate(types, 1):
        if not isinstance(argtype, type) or not hasattr(argtype, "from_param"):
            raise TypeError(f"argtypes must hold ctypes types, such as ctypes.c_double: its item {number} is {argtype!r}")
    return types


def _result_type(restype: Any) -> Any:
    """As in ctypes a callable converts an int, but int, float or str as one are
    taken for types by those who write them."""
    builtin = isinstance(restype, type) and restype.__module__ == "builtins"
    if restype is None or (callable(restype) and not builtin):
        return restype
    raise TypeError(f"restype must be None or a ctypes type, such as ctypes.c_double, got {restype!r}")


class NativeFunction:
    """A C function by the file that holds it, its name and its types.

    Args:
        library: path of the shared library, or a name that ctypes.CDLL finds.
        name: the function's symbol.
        restype: its result type, a ctypes type or None.
        argtypes: its argument types, a sequence of ctypes types.
        use_errno: futures tell the call's errno, as of a library that
            ctypes has opened with use_errno=True.

    Raises:
        TypeError, ValueError: a bad argument, which the message names.

    Raises, once it is called or submitted:
        LibraryLoadError: this process cannot open the library or find the
            function. (Workers open the file that this process has open.)

    It can be submitted, pickled, compared, and called in this process.

    >>> import ctypes
    >>> cos = NativeFunction("libm.so.6", "cos", ctypes.c_double, [ctypes.c_double])
    >>> cos(0.0)
    1.0
    """

    __slots__ = ("__weakref__", "_function", "argtypes", "library", "name", "restype", "use_errno")

    def __init__(
        self,
        library: str | os.PathLike[str],
        name: str,
        restype: type[_CDataType] | None,
        argtypes: Iterable[type[_CDataType]],
        *,
        use_errno: bool = False,
    ) -> None:
        self.library = _path(library)
        self.name = _symbol(name)
        self.restype = _result_type(restype)
        self.argtypes = _argument_types(argtypes)
        if not isinstance(use_errno, bool):
            raise TypeError(f"use_errno must be True or False, got {use_errno!r}")
        self.use_errno = use_errno
        self._function: Any = None

    @classmethod
    def from_ctypes(cls, function: CFuncPtr) -> NativeFunction:
        """The same function as a ctypes function object names it.

        >>> import ctypes
        >>> f = ctypes.CDLL("libm.so.6").fabs
        >>> f.argtypes, f.restype = [ctypes.c_double], ctypes.c_double
        >>> NativeFunction.from_ctypes(f)(-2.0)
        2.0
        """
        if not isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
            raise TypeError(f"a function of a ctypes.CDLL is allowed, got {function!r}")
        path, name = _core.function_library(function)
        if function.argtypes is None:
            raise TypeError(f"{name}(): its argtypes are not declared")
        if function.errcheck is not None:
            raise TypeError(f"{name}() has an errcheck, which a NativeFunction cannot take along")
        made = cls(path, name, None, function.argtypes, use_errno=bool(type(function)._flags_ & 8))
        made.restype = function.restype  # int or str too: ctypes has taken it
        return made

    def _load(self) -> Any:
        if self._function is None:
            try:
                function = getattr(ctypes.CDLL(self.library, use_errno=self.use_errno), self.name)
            except (OSError, AttributeError) as error:
                from ._errors import LibraryLoadError

                raise LibraryLoadError(str(error)) from None
            function.argtypes = list(self.argtypes)
            function.restype = self.restype
            self._function = function
        return self._function

    def __call__(self, *args: Any) -> Any:
        return self._load()(*args)

    def __fuload_describe__(self, pool: _core.Pool) -> object:
        return _core.native_function(pool, self._load(), self.argtypes, self.restype, self.use_errno)

    def _key(self) -> tuple[Any, ...]:
        return (self.library, self.name, self.restype, self.argtypes, self.use_errno)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, NativeFunction) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        types = tuple(taken_apart(t) for t in self.argtypes)
        return (_make_function, (self.library, self.name, taken_apart(self.restype), types, self.use_errno))

    def __repr__(self) -> str:
        types = ", ".join(getattr(t, "__name__", repr(t)) for t in self.argtypes)
        result = getattr(self.restype, "__name__", repr(self.restype))
        return f"<NativeFunction {result} {self.name}({types}) of {self.library}>"


def _make_function(library: str, name: str, restype: Any, argtypes: Any, use_errno: bool) -> NativeFunction:
    types = [made_again(t) for t in argtypes]
    made = NativeFunction(library, name, None, types, use_errno=use_errno)
    made.restype = made_again(restype)
    return made


class NativeTask:
    """A task of a plug-in written with fuload.h: bytes in, bytes out.

    Args:
        library: path of the plug-in, or None for a task of the pool's own
            worker program.
        name: the task's name.

    It can be submitted, pickled, compared, and called in this process.

    >>> NativeTask("/opt/tasks.so", "upper")
    <NativeTask upper of /opt/tasks.so>
    """

    __slots__ = ("__weakref__", "library", "name")

    def __init__(self, library: str | os.PathLike[str] | None, name: str) -> None:
        if library is not None:
            library = os.path.abspath(_file(library, "a plug-in's path (str or os.PathLike), or None"))
        self.library = library
        self.name = _symbol(name)

    def __call__(self, data: Buffer | Array) -> bytes:
        if self.library is None:
            raise TypeError(
                f"{self.name}() is a task of a worker program: it can be submitted to a pool with "
                f"that program, not called in this process"
            )
        from ._plugin import run_task

        return run_task(self.library, self.name, data)

    def __fuload_describe__(self, pool: _core.Pool) -> object:
        return _core.native_task(pool, self.library, self.name)

    def _key(self) -> tuple[Any, ...]:
        return (self.library, self.name)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, NativeTask) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return (NativeTask, (self.library, self.name))

    def __repr__(self) -> str:
        return f"<NativeTask {self.name} of {self.library or 'the worker program'}>"
