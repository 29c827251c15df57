"""Where the installed header, library and worker program are, and the compiler's
command for plug-ins."""

from __future__ import annotations

import os
import sys

__all__ = ["compile_command", "configuration", "get_include", "worker_program"]

_PACKAGE = os.path.dirname(os.path.realpath(__file__))
_CPLUSPLUS = {".cc", ".cpp", ".cxx", ".C", ".c++"}


def get_include() -> str:
    """The directory that holds fuload.h.

    >>> import os
    >>> os.path.exists(os.path.join(get_include(), "fuload.h"))
    True
    """
    return os.path.join(_PACKAGE, "include")


def worker_program() -> str:
    """The bundled fuload-worker."""
    return os.path.join(_PACKAGE, "bin", "fuload-worker")


def configuration(what: str) -> str:
    """Flags for a compiler: 'cflags', 'includes' or 'libs' (what a worker
    program links against; a plug-in needs none).

    >>> configuration("includes") == "-I" + get_include()
    True
    """
    import shlex

    includes = f"-I{shlex.quote(get_include())}"
    if what == "includes":
        return includes
    if what == "cflags":
        return f"{includes} -O2 -fPIC"
    library = os.path.join(_PACKAGE, "lib")
    with open(os.path.join(library, "libraries")) as others:
        return f"-L{shlex.quote(library)} -lfuload_worker {others.read()}"


def compile_command(arguments: list[str]) -> list[str]:
    """The command that makes a plug-in: $CC, or $CXX for C++ sources, with
    fuload.h in reach and a shared library as its product.

    >>> "-shared" in compile_command(["tasks.c", "-o", "tasks.so"])
    True
    """
    import shlex

    plus = any(os.path.splitext(a)[1] in _CPLUSPLUS for a in arguments)
    compiler = shlex.split(os.environ.get("CXX", "c++") if plus else os.environ.get("CC", "cc"))
    return [*compiler, "-O2", "-fPIC", "-shared", f"-I{get_include()}", *arguments]


def fail(reason: str) -> int:
    print(f"fuload_exec: {reason}", file=sys.stderr)
    return 2
