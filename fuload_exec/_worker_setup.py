"""What a Python worker does before its first task: path, arguments, directory,
`__main__` on demand, the initializer."""

from __future__ import annotations

import os
import sys
from _pickle import loads


class _LazyMain(type(sys)):  # types.ModuleType, which is slower to import
    """Stands for `__main__` until a task asks it for something; then the
    parent's main module is imported as multiprocessing does it."""

    def __init__(self, name: str | None, path: str | None) -> None:
        super().__init__("__main__")
        self.__dict__["_fuload_main"] = (name, path)

    def __getattr__(self, attribute: str):
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
    process.current_process()._inheriting = True
    lazy = sys.modules["__main__"]
    try:
        if name is not None:
            spawn._fixup_main_from_name(name)
        elif path is not None:
            spawn._fixup_main_from_path(path)
    except BaseException:
        lazy.__dict__["_fuload_main"] = (name, path)
        raise
    finally:
        del process.current_process()._inheriting


def prepare(data: bytes) -> None:
    """Make this interpreter like the parent's; raises what the initializer raises."""
    setup = loads(data)
    sys.path[:] = setup["sys_path"]
    sys.argv[:] = setup["sys_argv"]
    if setup["dir"] is not None and setup["dir"] != os.getcwd():
        os.chdir(setup["dir"])
    sys.modules["__main__"] = sys.modules["__mp_main__"] = _LazyMain(setup["main_name"], setup["main_path"])
    if setup["initializer"] is not None:
        initializer, initargs = loads(setup["initializer"])
        initializer(*initargs)
