"""C functions and plug-in tasks as values: picklable, comparable, callable here too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from . import _core
from ._plugin import run_task

if TYPE_CHECKING:
    from _ctypes import CFuncPtr, _CDataType

    from typing_extensions import Buffer

    class Array(Protocol):
        """NumPy's arrays: to type checkers they are no buffers before Python 3.12."""

        @property
        def __array_interface__(self) -> dict[str, Any]: ...

__all__ = ["NativeFunction", "NativeTask"]


class NativeFunction:
    """A C function by the file that holds it, its name and its types.

    Args:
        library: path of the shared library, or a name that ctypes.CDLL finds.
        name: the function's symbol.
        restype: its result type, a ctypes type or None.
        argtypes: its argument types, a sequence of ctypes types.

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
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {type(name).__name__}")
        self.library = os.fspath(library)
        self.name = name
        self.restype = restype
        self.argtypes = tuple(argtypes)
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
        return cls(path, name, function.restype, function.argtypes, use_errno=bool(type(function)._flags_ & 8))

    def _load(self) -> Any:
        if self._function is None:
            function = getattr(ctypes.CDLL(self.library, use_errno=self.use_errno), self.name)
            function.argtypes = list(self.argtypes)
            function.restype = self.restype
            self._function = function
        return self._function

    def __call__(self, *args: Any) -> Any:
        return self._load()(*args)

    def __fuload_describe__(self, pool: _core.Pool) -> object:
        path, name = _core.function_library(self._load())
        return _core.native_function(pool, self.argtypes, self.restype, path, name, self.use_errno)

    def _key(self) -> tuple[Any, ...]:
        return (self.library, self.name, self.restype, self.argtypes, self.use_errno)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, NativeFunction) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return (_make_function, self._key())

    def __repr__(self) -> str:
        types = ", ".join(getattr(t, "__name__", repr(t)) for t in self.argtypes)
        result = getattr(self.restype, "__name__", repr(self.restype))
        return f"<NativeFunction {result} {self.name}({types}) of {self.library}>"


def _make_function(library: str, name: str, restype: Any, argtypes: Any, use_errno: bool) -> NativeFunction:
    return NativeFunction(library, name, restype, argtypes, use_errno=use_errno)


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
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {type(name).__name__}")
        self.library = None if library is None else os.path.abspath(os.fsdecode(library))
        self.name = name

    def __call__(self, data: Buffer | Array) -> bytes:
        if self.library is None:
            raise TypeError(f"{self.name}() is a task of a worker program: it can be submitted to a pool with "
                            f"that program, not called in this process")
        return run_task(self.library, self.name, data)

    def __fuload_describe__(self, pool: _core.Pool) -> object:
        return _core.native_task(pool, self.library, self.name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NativeTask):
            return NotImplemented
        return (self.library, self.name) == (other.library, other.name)

    def __hash__(self) -> int:
        return hash((self.library, self.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return (NativeTask, (self.library, self.name))

    def __repr__(self) -> str:
        return f"<NativeTask {self.name} of {self.library or 'the worker program'}>"
