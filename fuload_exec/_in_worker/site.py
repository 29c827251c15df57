"""`site`, run by a worker that was started without it (-S), all but what is
slow and seldom needed.

An editable install may bring a finder for sys.meta_path. Its module takes as
long to import as the interpreter to start, and it is asked only for what all
other finders do not know. So it is imported when that happens.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["run"]


# Found, if at all, by other finders: the parent has looked.
_NEVER = frozenset({"sitecustomize", "usercustomize"})


class _Deferred:
    """On sys.meta_path in the place of the finders that `modules` install."""

    def __init__(self) -> None:
        self.modules: list[str] = []
        self.finders: list[Any] | None = None
        self.lock = RLock()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        # Also those of other systems (nt, msvcrt), which the library tries to import.
        if name in _NEVER or name.partition(".")[0] in sys.stdlib_module_names:
            return None
        with self.lock:
            if self.finders is None:
                self._install()
            finders = self.finders or []
        for finder in finders:
            spec: ModuleSpec | None = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def _install(self) -> None:
        self.finders = []  # not once more for what the modules import
        before = sys.meta_path[:]
        for module in self.modules:
            __import__(module)
            sys.modules[module].install()
        self.finders = sys.meta_path[len(before) :]
        at = before.index(self)
        # In one step: other threads may be looking for modules.
        sys.meta_path[:] = before[:at] + self.finders + before[at + 1 :]


class _Stubs:
    """Finds, while `site` runs, empty modules in the place of `modules`."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules
        self.deferred = _Deferred()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        # It has the file of the true one, which must still be there.
        if name in self.modules and self.deferred.finders is None and PathFinder.find_spec(name) is not None:
            loader: Any = self
            return ModuleSpec(name, loader)
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """An empty one will do."""

    def exec_module(self, module: ModuleType) -> None:
        def install() -> None:
            if self.deferred not in sys.meta_path:
                sys.meta_path.append(self.deferred)
            self.deferred.modules.append(module.__name__)
            del sys.modules[module.__name__]

        module.__dict__["install"] = install


def run(modules: tuple[str, ...]) -> None:
    """Import `site`, which does its work then; `modules` install finders, when
    first needed."""
    stubs = _Stubs(modules)
    sys.meta_path.insert(0, stubs)
    try:
        import site  # noqa: F401
    finally:
        sys.meta_path.remove(stubs)
