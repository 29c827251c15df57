"""What a Python worker does before its first task: path, arguments, directory,
`__main__` on demand, the initializer."""

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


class _LazyMain(ModuleType):
    """Stands for `__main__` until a task asks it for something; then the
    parent's main module is imported as multiprocessing does it."""

    def __init__(self, name: str | None, path: str | None) -> None:
        super().__init__("__main__")
        self._wait_for_need(name, path)

    def _wait_for_need(self, name: str | None, path: str | None) -> None:
        self.__dict__["_fuload_main"] = (name, path)
        # Where multiprocessing looks to tell the children of this process.
        if name is not None:
            self.__spec__ = type(sys.__spec__)(name, None)
        elif path is not None:
            self.__file__ = path

    def __getattr__(self, attribute: str) -> object:
        main = self.__dict__.pop("_fuload_main", None)
        if main is None or attribute.startswith("__") and attribute not in ("__file__",):
            if main is not None:
                self.__dict__["_fuload_main"] = main
            raise AttributeError(f"module '__main__' has no attribute {attribute!r}")
        _import_main(*main)
        return getattr(sys.modules["__main__"], attribute)


def _import_main(name: str | None, path: str | None) -> None:
    from multiprocessing import process, spawn

    # A pool or process made while the script is imported would do so for ever;
    # multiprocessing refuses that while this attribute is set.
    process.current_process()._inheriting = True  # type: ignore[attr-defined]
    lazy = sys.modules["__main__"]
    # With these multiprocessing would take it for imported.
    lazy.__spec__ = None
    lazy.__dict__.pop("__file__", None)
    try:
        if name is not None:
            spawn._fixup_main_from_name(name)  # type: ignore[attr-defined]
        elif path is not None:
            spawn._fixup_main_from_path(path)  # type: ignore[attr-defined]
    except BaseException:
        lazy._wait_for_need(name, path)
        raise
    finally:
        del process.current_process()._inheriting  # type: ignore[attr-defined]


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


def _follow_multiprocessing(data: dict[str, Any], index: int, lender: tuple[int, int, int]) -> None:
    """Once something imports it, it says what it says in a spawned child; most
    workers never import it."""

    def adopt(multiprocessing: ModuleType) -> None:
        from ._worker_process import adopt

        adopt(multiprocessing, data, index)

    def share_tracker(module: ModuleType) -> None:
        from ._worker_process import share_tracker

        share_tracker(module, lender)

    os.set_inheritable(lender[0], False)
    finder = _AfterImport({"multiprocessing": adopt, "multiprocessing.resource_tracker": share_tracker})
    if finder.acts:
        sys.meta_path.insert(0, finder)
    if data["log_level"] is not None:
        import multiprocessing  # noqa: F401  to write its log from now on


def prepare(data: bytes, index: int) -> None:
    """Make this interpreter, of worker `index`, like the parent's; raises what
    the initializer raises."""
    setup = loads(data)
    sys.path[:] = setup["sys_path"]
    sys.argv[:] = setup["sys_argv"]
    if setup["dir"] is not None and setup["dir"] != os.getcwd():
        os.chdir(setup["dir"])
    sys.modules["__main__"] = sys.modules["__mp_main__"] = _LazyMain(setup["main_name"], setup["main_path"])
    _follow_multiprocessing(setup["process"], index, setup["lender"])
    if setup["initializer"] is not None:
        initializer, initargs = loads(setup["initializer"])
        initializer(*initargs)
