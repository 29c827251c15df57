"""A concurrent.futures.Executor whose workers are C processes.

>>> from fuload_exec import FuloadExecutor
>>> with FuloadExecutor(2) as executor:
...     executor.submit(pow, 2, 10).result()
1024
"""

TYPE_CHECKING = False  # type checkers take it as true; typing itself is slow to import

if TYPE_CHECKING:
    from ._ctypes_reducers import register_ctypes_reducers
    from ._errors import (
        LibraryLoadError,
        NativeTaskError,
        PayloadTooLarge,
        SlotCorrupted,
        TaskTimeout,
        UnpickleError,
        WorkerCrashed,
    )
    from ._executor import FuloadExecutor
    from ._future import FuloadFuture
    from ._native import NativeFunction, NativeTask
    from ._stats import PoolStats, WorkerStats
    from ._toolchain import get_include

__version__ = "0.1.0"

# Imported when first asked for: a worker needs none of it.
_HOMES = {
    "FuloadExecutor": "_executor",
    "FuloadFuture": "_future",
    "LibraryLoadError": "_errors",
    "NativeFunction": "_native",
    "NativeTask": "_native",
    "NativeTaskError": "_errors",
    "PayloadTooLarge": "_errors",
    "PoolStats": "_stats",
    "SlotCorrupted": "_errors",
    "TaskTimeout": "_errors",
    "UnpickleError": "_errors",
    "WorkerCrashed": "_errors",
    "WorkerStats": "_stats",
    "get_include": "_toolchain",
    "register_ctypes_reducers": "_ctypes_reducers",
}

__all__ = [
    "FuloadExecutor",
    "FuloadFuture",
    "LibraryLoadError",
    "NativeFunction",
    "NativeTask",
    "NativeTaskError",
    "PayloadTooLarge",
    "PoolStats",
    "SlotCorrupted",
    "TaskTimeout",
    "UnpickleError",
    "WorkerCrashed",
    "WorkerStats",
    "__version__",
    "get_include",
    "register_ctypes_reducers",
]


def _refuse_sub_interpreter() -> None:
    """Before anything of the extension is loaded: the first interpreter that
    loads it is the only one that can."""
    reason = None
    try:
        import ctypes

        ask = ctypes.PYFUNCTYPE(ctypes.c_void_p)
        current, main = (ask((f"PyInterpreterState_{name}", ctypes.pythonapi))() for name in ("Get", "Main"))
        if current == main:
            return
    except ImportError as error:  # from 3.12 on ctypes cannot be loaded there either
        reason = error
    raise ImportError(
        "fuload_exec cannot be used in a sub-interpreter: signal handlers and worker processes belong to the "
        "process, and the main interpreter looks after them; make the pool there"
    ) from reason


if not TYPE_CHECKING:  # which would take every misspelt name for one of ours

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        _refuse_sub_interpreter()
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
