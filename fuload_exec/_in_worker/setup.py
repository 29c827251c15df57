"""What a Python worker does before its first task: path, arguments, directory,
`__main__`, the initializer."""

from __future__ import annotations

import os
import sys
from _pickle import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)  # without importing types

# How long a worker whose initializer has failed may take to say so in its own ways.
_FLUSH_SECONDS = 10.0


# Whether the main module is being imported. A pool refuses tasks meanwhile.
importing_main = False


class MainNotImported(Exception):
    """Its text is the whole message: what is wrong is in the program."""


class _Unguarded(ModuleType):
    """Stands for a `__main__` that submits tasks, or starts processes, when it
    is imported. Tasks that need nothing of it are run all the same."""

    def __init__(self, reason: str) -> None:
        super().__init__("__main__")
        self.__dict__["_fuload_reason"] = reason

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        raise RuntimeError(self._fuload_reason)


def _import_main(name: str | None, path: str | None) -> None:
    """As in a spawned child: what the main module sets up at its top level is
    there for all tasks, whichever module they are of."""
    global importing_main
    if path is not None and os.path.splitext(os.path.basename(path))[0] == "ipython":
        return  # it would start a prompt
    importing_main = True
    refuse_processes()
    try:
        import runpy

        main = ModuleType("__mp_main__")
        if path is not None:
            main.__dict__.update(runpy.run_path(path, run_name="__mp_main__"))
        else:
            main.__dict__.update(runpy.run_module(name or "", run_name="__mp_main__", alter_sys=True))
        sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    except BaseException as error:
        if isinstance(error, RuntimeError) and "__main__" in str(error):
            sys.modules["__main__"] = sys.modules["__mp_main__"] = _Unguarded(str(error))
        else:
            raise MainNotImported(_what_is_wrong(name or path, error)) from None
    finally:
        importing_main = False
        if (process := _current_process()) is not None:
            process.__dict__.pop("_inheriting", None)


def _current_process() -> Any:
    module = sys.modules.get("multiprocessing.process")
    return None if module is None else module.current_process()


def refuse_processes() -> None:
    """A pool or process made while the script is imported would do so for ever;
    multiprocessing refuses that while this attribute is set."""
    if importing_main and (process := _current_process()) is not None:
        process._inheriting = True


def _what_is_wrong(main: Any, error: BaseException) -> str:
    """One message, with the lines of the program alone."""
    import traceback

    said = "".join(traceback.format_exception_only(type(error), error)).strip()
    text = f"workers cannot import the main module {main}: {said}"
    machinery = {__file__, *(getattr(sys.modules.get(name), "__file__", None) for name in ("multiprocessing.spawn", "runpy"))}
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename not in machinery and not f.filename.startswith("<frozen ")
    ]
    where = "".join(traceback.format_list(frames)).rstrip()
    return f"{text}\n{where}" if where else text


class _AfterImport:
    """A finder that finds nothing itself: it has a function called with each of
    some modules as soon as whoever finds it has imported it."""

    def __init__(self, acts: dict[str, Callable[[ModuleType], None]]) -> None:
        self.acts = acts
        for name in [name for name in acts if name in sys.modules]:
            self.act(sys.modules[name])

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self.acts:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if finder is not self else None
            if spec is not None:
                spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def act(self, module: ModuleType) -> None:
        act = self.acts.pop(module.__name__, None)
        if act is not None:
            act(module)


class _Loader:
    def __init__(self, loader: Any, after: _AfterImport) -> None:
        self.loader = loader
        self.after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: Any) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.loader  # type: ignore[union-attr]
        self.loader.exec_module(module)
        self.after.act(module)


def _follow_multiprocessing(data: dict[str, Any] | None, index: int, parent_pid: int, lender: tuple[int, int, int]) -> None:
    """Once something imports it, it says what it says in a spawned child; most
    workers never import it."""

    def adopt(multiprocessing: ModuleType) -> None:
        from .multiprocessing import adopt

        adopt(multiprocessing, data, index, parent_pid, lender)

    def share_tracker(module: ModuleType) -> None:
        from .multiprocessing import share_tracker

        share_tracker(module, lender)

    finder = _AfterImport({"multiprocessing": adopt, "multiprocessing.resource_tracker": share_tracker})
    if finder.acts:
        sys.meta_path.insert(0, finder)
    if data is not None and data["log_level"] is not None:
        import multiprocessing  # noqa: F401  to write its log from now on


def _go_to(folder: str | None, parent: int) -> None:
    """To where the program was, or if that is gone, to where it is now; if that
    is nowhere, tasks may do without."""
    for place in (folder, f"/proc/{parent}/cwd", "/"):
        try:
            if place is not None:
                os.chdir(place)
                os.getcwd()
                return
        except OSError:
            pass


def prepare(data: bytes, index: int) -> None:
    """Make this interpreter, of worker `index`, like the parent's; raises what
    the initializer raises."""
    setup = loads(data)
    if setup["sys_path"] is not None:
        sys.path[:] = setup["sys_path"]
    sys.argv[:] = setup["sys_argv"]
    _go_to(setup["dir"], setup["parent_pid"])
    sys.modules["__main__"] = sys.modules["__mp_main__"] = ModuleType("__main__")
    _follow_multiprocessing(setup["process"], index, setup["parent_pid"], setup["lender"])
    if setup["main_name"] is not None or setup["main_path"] is not None:
        _import_main(setup["main_name"], setup["main_path"])
    if setup["initializer"] is not None:
        initializer, initargs = loads(setup["initializer"])
        initializer(*initargs)


def tell_failure(error: BaseException) -> None:
    """Log what the initializer has raised, as the standard library's workers do.
    The parent ends this process as soon as it hears of it: what was put into
    queues of multiprocessing is sent before that, as at any process's end."""
    from concurrent.futures._base import LOGGER

    try:
        LOGGER.critical("Exception in initializer:", exc_info=error)
    except BaseException:  # a handler of the user's; the parent hears of the other all the same
        pass
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    from threading import Thread

    # A full pipe that nobody reads, or a child that stays, holds nobody up for ever.
    thread = Thread(target=util._exit_function, daemon=True)
    thread.start()
    thread.join(_FLUSH_SECONDS)
