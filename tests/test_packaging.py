"""What users get: a source distribution that builds elsewhere, a wheel that
works with the sources gone, and one sentence where something is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

USE = """
import ctypes, os, sys
import fuload_exec
from fuload_exec import FuloadExecutor, get_include
assert sys.prefix in fuload_exec.__file__, fuload_exec.__file__
assert os.path.exists(os.path.join(get_include(), "fuload.h"))
cos = ctypes.CDLL("libm.so.6").cos
cos.argtypes, cos.restype = [ctypes.c_double], ctypes.c_double
with FuloadExecutor(2) as executor:
    print(executor.submit(cos, 0.0).result(), executor.submit(pow, 2, 10).result())
"""


def run(*command: str, **options) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "MAKEFLAGS"}}
    done = subprocess.run(command, capture_output=True, text=True, env={**environment, **options.pop("env", {})}, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_extensions_are_no_older_than_their_sources():
    """conftest.py sees to it that they are this checkout's."""
    files = [path for folder in ("csrc", "cysrc") for path in (ROOT / folder).rglob("*")]
    newest = max((path for path in files if path.suffix in {".h", ".pyx", ".pxi", ".pxd"}), key=changed)
    for name in ("_core", "_host"):
        built = importlib.util.find_spec(f"fuload_exec.{name}").origin
        assert changed(Path(built)) >= changed(newest), f"{newest} is newer than {built}: run `make build`"


def changed(path: Path) -> float:
    return path.stat().st_mtime


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """The files of a release, away from the checkout."""
    to = tmp_path_factory.mktemp("sources")
    names = [
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "Makefile",
    ]
    for name in names:
        shutil.copy(ROOT / name, to)
    for folder in ("csrc", "cysrc", "fuload_exec", "tests", "benchmarks", "examples", "docs"):
        ignored = shutil.ignore_patterns("*.so", "*.o", "*.a", "__pycache__", "bin", "lib", "_core.c", "_host.c", "build")
        shutil.copytree(ROOT / folder, to / folder, ignore=ignored)
    return to


@pytest.mark.timeout(400)
def test_a_source_distribution_builds_a_wheel_that_works_alone(elsewhere, tmp_path):
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "build")
    # sdist first, then the wheel from the sdist. That it works is asked, not how fast.
    run(python, "-m", "build", "-o", str(tmp_path / "dist"), str(elsewhere), cwd=tmp_path, env={"CFLAGS": "-O0"})
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"csrc/protocol/slot.h", "cysrc/_core.pyx", "fuload_exec/include/fuload.h", "fuload_exec/_core.pyi", "LICENSE"} <= names
    assert not any(name.endswith((".so", ".o", ".a")) for name in names)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "fuload_exec/bin/fuload-worker",
        "fuload_exec/lib/libfuload_worker.a",
        "fuload_exec/include/fuload.h",
        "fuload_exec/py.typed",
        "fuload_exec/_pyinstaller/hook-fuload_exec.py",
        "fuload_exec/_core.pyi",
    } <= inside
    shutil.rmtree(elsewhere)
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "-q", str(wheel))
    assert run(python, "-c", USE, cwd=tmp_path).split() == ["1.0", "1024"]


def build(environment: dict[str, str], tmp_path: Path) -> str:
    """What `setup.py build_ext` says when it stops."""
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", str(tmp_path), "--build-temp", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


def test_without_a_compiler_one_sentence_says_so(tmp_path):
    assert "apt-get install gcc" in build({"CC": "no-such-compiler"}, tmp_path)


def test_without_libffi_one_sentence_says_so(tmp_path):
    # A compiler that does not find ffi.h.
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nfor a; do case $a in *.c) grep -q "ffi.h" "$a" && exit 1;; esac; done\nexec cc "$@"\n')
    compiler.chmod(0o755)
    assert "apt-get install libffi-dev" in build({"CC": str(compiler)}, tmp_path)


def test_on_another_system_one_sentence_says_so(tmp_path):
    program = "import sys, setuptools.command.build_ext; sys.platform = 'darwin'; sys.argv = ['setup.py', 'build_ext']; exec(open('setup.py').read())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "Linux only" in done.stderr.strip().splitlines()[-1]
