"""What PyInstaller has to know of this package; it asks by way of the entry point
`pyinstaller40`. Nothing else imports this."""

from __future__ import annotations

import os
import pkgutil

__all__ = ["data_files", "hidden_imports", "hook_directories", "programs"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NAME = __name__.partition(".")[0]

# Imported by the extension modules, where PyInstaller cannot look.
_OF_EXTENSIONS = [
    "_pickle", "_thread", "collections", "concurrent.futures", "concurrent.futures._base", "concurrent.futures.process", "ctypes", "os",
    "pickle", "signal", "sys", "threading", "traceback", "types", "weakref",
]  # fmt: skip


def hook_directories() -> list[str]:
    return [os.path.dirname(os.path.abspath(__file__))]


def hidden_imports() -> list[str]:
    """All modules of the package: it imports most of its own when they are asked
    for. Those for programs that are not part of the frozen one are left out."""
    left_out = {"_pyinstaller", "joblib"}
    modules = [module.name for module in pkgutil.iter_modules([_PACKAGE]) if module.name not in left_out]
    inner = os.path.join(_PACKAGE, "_in_worker")
    modules += [f"_in_worker.{module.name}" for module in pkgutil.iter_modules([inner])]
    return [*(f"{_NAME}.{name}" for name in sorted(modules)), *_OF_EXTENSIONS]


def programs() -> list[tuple[str, str]]:
    """(file, folder): as binaries they stay executable."""
    return [(os.path.join(_PACKAGE, "bin", "fuload-worker"), f"{_NAME}/bin")]


def data_files() -> list[tuple[str, str]]:
    """For get_include() and the configuration of worker programs."""
    return [
        (os.path.join(_PACKAGE, folder, name), f"{_NAME}/{folder}")
        for folder, name in (("include", "fuload.h"), ("lib", "libfuload_worker.a"), ("lib", "libraries"))
    ]
