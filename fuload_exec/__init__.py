"""A concurrent.futures.Executor whose workers are C processes.

>>> from fuload_exec import FuloadExecutor
>>> with FuloadExecutor(2) as executor:
...     executor.submit(pow, 2, 10).result()
1024
"""

TYPE_CHECKING = False  # type checkers take it as true; typing itself is slow to import

if TYPE_CHECKING:
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
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
