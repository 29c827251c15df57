"""What a worker is told about this process, and given in `initargs`, as if
multiprocessing had spawned it."""

from __future__ import annotations

import io
import os
import sys
import types
from _pickle import Pickler, PicklingError, dumps

from ._descriptors import Descriptor
from ._directory import original_directory
from ._pickling import by_value_pickler, ctypes_reduced, dispatch_table, look_at_reducers, must_be_by_value

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

    from ._lender import Lender

__all__ = [
    "dump_for_workers", "interpreter", "interpreter_flags", "process_data",
]  # fmt: skip


def interpreter() -> str:
    """The program that a worker becomes for Python tasks.

    Raises:
        RuntimeError: a frozen program, which is no interpreter.
    """
    spawn = sys.modules.get("multiprocessing.spawn")
    program = (spawn.get_executable() if spawn is not None else None) or sys.executable
    if not program:
        raise RuntimeError(
            "workers need a Python interpreter for Python tasks, and sys.executable names none: "
            "name one with multiprocessing.set_executable()"
        )
    program = os.fsdecode(program)
    if getattr(sys, "frozen", False) and program == sys.executable:
        raise RuntimeError(
            f"workers need a Python interpreter for Python tasks, and {program} is a frozen program: "
            "name an interpreter that has fuload_exec with multiprocessing.set_executable(); C functions need none"
        )
    return program


def interpreter_flags() -> list[str]:
    """What an interpreter is given to be like this one."""
    flags = [f"-{letter * getattr(sys.flags, name)}" for name, letter in _FLAGS.items() if getattr(sys.flags, name) > 0]
    if sys.flags.isolated:
        flags.append("-I")
    else:
        flags += [f"-{letter}" for name, letter in _NOT_ISOLATED.items() if getattr(sys.flags, name, False)]
    warnings = list(sys.warnoptions)
    # These options were put there by another flag, which is given too.
    for implied in ["error::BytesWarning"] * (sys.flags.bytes_warning > 1) + ["default::BytesWarning"] * (
        sys.flags.bytes_warning == 1
    ):
        warnings.remove(implied)
    if sys.flags.dev_mode:
        warnings.remove("default")
        flags += ["-X", "dev"]
    flags += [f"-W{option}" for option in warnings]
    options = getattr(sys, "_xoptions", {})
    for name in _OPTIONS & options.keys():
        flags += ["-X", name if options[name] is True else f"{name}={options[name]}"]
    return flags


_FLAGS = {
    "optimize": "O",
    "debug": "d",
    "dont_write_bytecode": "B",
    "no_site": "S",
    "verbose": "v",
    "bytes_warning": "b",
    "quiet": "q",
}
_NOT_ISOLATED = {"ignore_environment": "E", "no_user_site": "s", "safe_path": "P"}
_OPTIONS = {"faulthandler", "tracemalloc", "importtime", "frozen_modules", "showrefcount", "utf8", "gil", "context_aware_warnings"}


def process_data(mp_context: Any, workers: int) -> dict[str, Any]:
    """For _in_worker.multiprocessing.adopt(). Numbers are drawn as for this many children."""
    from multiprocessing import process

    look_at_reducers()
    parent = process.current_process()
    numbers = [next(process._process_counter) for _ in range(workers)]  # type: ignore[attr-defined]
    util = sys.modules.get("multiprocessing.util")
    logger = getattr(util, "_logger", None)
    return {
        "parent_name": parent.name,
        "identity": parent._identity,
        "numbers": numbers,
        # An AuthenticationString refuses to be pickled.
        "config": {**parent._config, "authkey": bytes(parent.authkey)},  # type: ignore[attr-defined]
        "orig_dir": original_directory(),
        "start_method": _start_method(mp_context),
        "log_to_stderr": bool(getattr(util, "_log_to_stderr", False)),
        "log_level": logger.getEffectiveLevel() if logger is not None else None,
    }


def _start_method(mp_context: Any) -> str:
    """What a child of that context finds: workers are as spawned ones without."""
    get = getattr(mp_context, "get_start_method", None)
    # Without allow_none it would settle the default that the program may still choose.
    return (get(allow_none=True) if get is not None else None) or "spawn"


def dump_for_workers(initializer: Any, initargs: tuple[Any, ...], lender: Lender) -> bytes:
    """Pickle as for a child that is being spawned: locks, queues, connections
    and shared values go along.

    Raises:
        RuntimeError: there is a lock of a 'fork' context in it.
    """
    from multiprocessing import context

    look_at_reducers()
    before = context.get_spawning_popen()
    popen = _Popen(lender)
    context.set_spawning_popen(popen)  # type: ignore[arg-type]
    try:
        return _dump(initializer, initargs, popen)
    except BaseException:
        popen.take_back()
        raise
    finally:
        context.set_spawning_popen(before)


class _Popen:
    """What multiprocessing asks for descriptors while a child's data is pickled."""

    method = "spawn"

    def __init__(self, lender: Lender) -> None:
        self.lender = lender
        self.numbers: list[int] = []

    def duplicate_for_child(self, fd: int) -> int:
        self.numbers.append(self.lender.keep(fd))
        return self.numbers[-1]

    def DupFd(self, number: int) -> Descriptor:
        return Descriptor(self.lender.address, number)

    def take_back(self) -> None:
        self.lender.take_back(self.numbers)
        self.numbers = []


class _ForWorkers(Pickler):
    def reducer_override(self, thing: Any) -> Any:
        _refuse_fork_context(thing)
        return ctypes_reduced(thing)


def _dump(initializer: Any, initargs: tuple[Any, ...], popen: _Popen) -> bytes:
    stream = io.BytesIO()
    pickler = _ForWorkers(stream, 5)
    pickler.dispatch_table = dispatch_table()
    try:
        pickler.dump((initializer, initargs))
        if not must_be_by_value(stream.getvalue()):
            return stream.getvalue()
    except (PicklingError, TypeError, AttributeError, ValueError):
        pass
    popen.take_back()
    by_reference = _importable_function(initializer)
    by_value = by_value_pickler()

    class ForWorkersByValue(by_value):  # type: ignore[misc, valid-type]
        def reducer_override(self, thing: Any) -> Any:
            _refuse_fork_context(thing)
            if thing is by_reference:
                return thing.__qualname__
            return super().reducer_override(thing)

    stream = io.BytesIO()
    ForWorkersByValue(stream, 5).dump((initializer, initargs))
    return stream.getvalue()


def _importable_function(initializer: Any) -> Any:
    """The initializer if it is a function that workers can import, which has
    to run there and not as a copy: its globals are those that tasks see."""
    if not isinstance(initializer, types.FunctionType):
        return None
    try:
        stream = dumps(initializer)
    except (PicklingError, TypeError, AttributeError, ValueError):
        return None
    return None if must_be_by_value(stream) else initializer


def _refuse_fork_context(thing: Any) -> None:
    synchronize = sys.modules.get("multiprocessing.synchronize")
    # One of a fork context has no name by which another program could open it.
    if synchronize is not None and isinstance(thing, synchronize.SemLock) and thing._semlock.name is None:
        raise RuntimeError(
            f"initargs hold a {type(thing).__name__} (or a Queue, Event, Condition, Value or Array made of one) of a "
            "'fork' context, which only forked children can use, and workers are fresh programs: make it with "
            "multiprocessing.get_context('spawn')"
        )
