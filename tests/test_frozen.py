"""What a frozen program gets of the package. The hook needs no PyInstaller to be
looked at: it is three lists."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import fuload_exec._pyinstaller as hook

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fuload_exec"
PROJECT = (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def lists():
    (folder,) = hook.hook_directories()
    return runpy.run_path(os.path.join(folder, "hook-fuload_exec.py"))


def test_pyinstaller_finds_the_hook():
    where, function = re.search(r'\[project\.entry-points\.pyinstaller40\]\nhook-dirs = "(.+):(.+)"', PROJECT).groups()
    assert getattr(importlib.import_module(where), function) is hook.hook_directories


def test_every_package_is_installed():
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    (listed,) = re.findall(r"^packages = \[(.*)\]$", PROJECT, re.M)
    assert set(re.findall(r'"(.+?)"', listed)) == found


def test_every_module_goes_along(lists):
    modules = {path.name.partition(".")[0] for path in PACKAGE.iterdir() if path.suffix in {".py", ".so"}}
    modules |= {"_in_worker", *(f"_in_worker.{path.stem}" for path in (PACKAGE / "_in_worker").glob("[!_]*.py"))}
    expected = modules - {"__init__", "joblib"}  # that one has importers of its own
    assert {name.partition(".")[2] for name in lists["hiddenimports"] if name.startswith("fuload_exec.")} == expected


def test_what_the_extension_modules_import_goes_along(lists):
    core = (ROOT / "cysrc/_core.pyx").read_text()
    parts = re.findall(r'^include "(\w+\.pxi)"', core, re.M)
    text = core + "".join((ROOT / "cysrc" / part).read_text() for part in parts)
    imported = set(re.findall(r"^\s*import (\w[\w.]*)", text, re.M)) | set(re.findall(r"^\s*from (\w[\w.]*) import", text, re.M))
    assert {"_pickle", "ctypes", "concurrent.futures.process"} <= imported
    # An array of NumPy's is made for those who have it.
    assert imported - {"numpy"} <= set(lists["hiddenimports"]), imported


def test_the_worker_program_goes_along_as_a_program(lists):
    """At the place where the package looks for it; what is data loses its permissions."""
    places = {os.path.join(folder, os.path.basename(file)) for file, folder in lists["binaries"] + lists["datas"]}
    assert places == {
        "fuload_exec/bin/fuload-worker",
        "fuload_exec/include/fuload.h",
        "fuload_exec/lib/libfuload_worker.a",
        "fuload_exec/lib/libraries",
    }
    assert all(os.path.isfile(file) for file, _ in lists["binaries"] + lists["datas"])
    ((program, _),) = lists["binaries"]
    assert os.access(program, os.X_OK)


PROGRAM = """
import ctypes, multiprocessing, sys
# As a frozen program has it: it is no interpreter, its main module is no file.
interpreter, sys.executable = sys.executable, "/opt/program"
multiprocessing.set_executable(sys.executable)
sys.frozen = True
sys.path[:] = ["/opt/program/archive.zip"]
__file__ = "/opt/program/app.py"

class Point:
    def __init__(self, x):
        self.x = x

def make(x):
    import fuload_exec
    return Point(x), "/opt/program/archive.zip" in sys.path

if __name__ == "__main__":
    libc = ctypes.CDLL("libc.so.6")
    libc.abs.argtypes = [ctypes.c_int]
    with FuloadExecutor(1) as executor:
        print(executor.submit(libc.abs, -1).result())
        try:
            executor.submit(make, 1).result()
        except RuntimeError as error:
            print(error)
    multiprocessing.set_executable(interpreter)
    with FuloadExecutor(1) as executor:
        point, foreign = executor.submit(make, 2).result()
        print(type(point) is Point, point.x, foreign, executor.submit(pow, 2, 3).result())
"""


def test_python_tasks_of_a_frozen_program(tmp_path):
    """They run in the interpreter that it names, with that one's modules."""
    path = tmp_path / "app.py"
    # Imported before its path is gone; numbers and letters of its own are in the archive.
    path.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import cloudpickle, fuload_exec._inheritance, subprocess, multiprocessing.spawn, multiprocessing.resource_tracker\n"
        "from fuload_exec import FuloadExecutor\nimport fuload_exec._executor, fuload_exec._glance\n" + PROGRAM
    )
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == "", done.stderr
    c_result, told, python_result = done.stdout.splitlines()
    assert c_result == "1" and python_result == "True 2 False 8"
    assert "/opt/program is a frozen program" in told and "multiprocessing.set_executable()" in told
