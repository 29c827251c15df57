"""C functions as other libraries have them: numba's cfuncs, cffi's functions."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["how_to_pass"]


def how_to_pass(value: Any) -> str | None:
    """What a C function of another library is, and what to give in its place;
    None for everything else.

    >>> how_to_pass(len)
    """
    kind = type(value)
    if kind.__name__ == "CFunc" and _package(kind) == "numba":
        return (
            "is a numba cfunc, machine code that is in this process only: give a numba.njit function, which workers "
            "compile for themselves, or its Python function (its __wrapped__)"
        )
    if kind is type(len):
        kind = type(value.__self__)  # a function of a compiled cffi module
    if _package(kind) == "_cffi_backend":
        return (
            f"is a cffi object, which holds an address of this process: give fuload_exec.NativeFunction({_library(value)}, "
            "its name, restype, argtypes), with ctypes types, or an already declared function of a ctypes.CDLL"
        )
    return None


def _package(kind: type) -> str:
    module = getattr(kind, "__module__", "")
    return module.partition(".")[0] if isinstance(module, str) else ""


def _library(function: Any) -> str:
    """The path of the library that holds it, as far as can be told."""
    backend = sys.modules.get("_cffi_backend")
    try:
        from ._core import mapped_file

        address = int(backend.cast(backend.new_primitive_type("intptr_t"), function))  # type: ignore[union-attr]
        path = mapped_file(address)
    except Exception:  # no function at all, or one that cffi has wrapped
        path = None
    return repr(path) if path is not None else "its library"
