"""What a Python worker is told: which interpreter to become, and what it does then."""

from __future__ import annotations

import os
import sys

from ._directory import original_directory, working_directory

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from ._lender import Lender


class PythonSetup:
    """Made into bytes before the first Python task: the interpreter to become,
    and what it does then."""

    def __init__(
        self,
        initializer: Callable[..., Any] | None,
        initargs: tuple[Any, ...],
        mp_context: Any,
        workers: int,
        lender: Lender,
    ) -> None:
        self.initializer = initializer
        self.initargs = initargs
        self.mp_context = mp_context
        self.workers = workers
        self.lender = lender
        self.told: dict[str, Any] | None = None  # what multiprocessing is to say in workers

    def __call__(self) -> tuple[bytes, bytes, ModuleType | None]:
        from ._inheritance import dump_for_workers
        from ._pickling import dump_in_band, importable_main

        host = b"".join(os.fsencode(a) + b"\0" for a in _interpreter())
        initializer = None
        if self.initializer is not None:
            initializer = dump_for_workers(self.initializer, self.initargs, self.lender)
            # A lock's name, a shared value: workers that come later need them too.
            self.lender.holds = self.initializer, self.initargs
        self.lender.process = self._packed_process
        main = importable_main()
        name, path = _how_to_import(main)
        setup = {
            "sys_path": None
            if _is_frozen()
            else [original_directory() or folder if folder == "" else folder for folder in sys.path],
            "sys_argv": list(sys.argv),
            "dir": working_directory(),
            "parent_pid": os.getpid(),
            "main_name": name,
            "main_path": path,
            "initializer": initializer,
            # Where the program does not use multiprocessing, a worker that imports it asks then.
            "process": self._process() if "multiprocessing.process" in sys.modules else None,
            "lender": self.lender.address,
        }
        return host, dump_in_band(setup), main

    def _process(self) -> dict[str, Any]:
        from ._inheritance import process_data

        if self.told is None:
            self.told = process_data(self.mp_context, self.workers)
        return self.told

    def _packed_process(self) -> bytes:
        from ._pickling import dump_in_band

        return dump_in_band(self._process())


def _is_frozen() -> bool:
    return bool(getattr(sys, "frozen", False))


def _interpreter() -> list[str]:
    from ._inheritance import interpreter, interpreter_flags

    if _is_frozen():  # its modules are in an archive, and its flags keep it from all others
        home, flags, site = [], [], False
    else:
        home = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
        flags = interpreter_flags()
        # It says that it is an interpreter first of all, and imports `site` then.
        site = "-S" not in flags
        if site:
            flags.append("-S")
    # Nothing is imported from the directory that the worker stands in ('' of -c).
    code = (
        f"import sys; sys.path[:sys.path[:1] == ['']] = {home!r}; import fuload_exec; del sys.path[:{len(home)}]; "
        f"from fuload_exec._host import main; main({site!r}, {_editable_finders()!r})"
    )
    return [interpreter(), *flags, "-c", code]


def _editable_finders() -> tuple[str, ...]:
    """Modules of editable installs that workers need not import at their start
    (see _in_worker/site.py): setuptools' finders, but for those of namespace packages
    and of what `site` itself imports."""
    return tuple(
        name
        for name, module in list(sys.modules.items())
        if name.startswith("__editable___")
        and name.endswith("_finder")
        and not getattr(module, "NAMESPACES", True)
        and {"sitecustomize", "usercustomize"}.isdisjoint(module.MAPPING)
    )


def _how_to_import(main: ModuleType | None) -> tuple[str | None, str | None]:
    """Name or path under which workers import the main module."""
    if main is None:
        return None, None
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        return name, None
    path: str = main.__file__  # type: ignore[assignment]
    return None, os.path.join(original_directory() or "", path)
