"""fuload.h compiles wherever a plug-in may be compiled."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from toolbox import PATIENCE

from fuload_exec import NativeTask, get_include

STANDARDS = ["c99", "c11", "c17", "c++11", "c++17", "c++20"]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", f"-I{get_include()}"]

TASK = """
#include <fuload.h>
#include <fuload.h>
FULOAD_TASK(greet) { return fuload_reply(task, "hello", 5); }
FULOAD_TASK(unused) { return 0; }
int fuload_init(void) { return 0; }
void fuload_fini(void) {}
"""


def compiler(standard):
    found = shutil.which("c++" if "+" in standard else "cc")
    assert found, "the tests need a C and a C++ compiler"
    return [found, f"-std={standard}", *STRICT]


def compile_all(standard, folder, *sources, link=("-shared",)):
    suffix = ".cpp" if "+" in standard else ".c"
    paths = []
    for i, text in enumerate(sources):
        paths.append(folder / f"source{i}{suffix}")
        paths[-1].write_text(text)
    done = subprocess.run(
        [*compiler(standard), *link, *map(str, paths), "-o", str(folder / "out.so")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "out.so"


@pytest.mark.parametrize("standard", STANDARDS)
def test_alone(standard, tmp_path):
    compile_all(standard, tmp_path, "#include <fuload.h>\n")


@pytest.mark.parametrize("standard", STANDARDS)
def test_twice_with_tasks(standard, tmp_path, pool):
    task = NativeTask(compile_all(standard, tmp_path, TASK), "greet")
    assert pool(1).submit(task, b"").result(timeout=PATIENCE) == b"hello"
    assert task(b"") == b"hello"


@pytest.mark.parametrize("standard", STANDARDS)
def test_in_two_files_of_one_plugin(standard, tmp_path, pool):
    other = '#include <fuload.h>\nFULOAD_TASK(part) { return fuload_reply(task, "bye", 3); }\n'
    path = compile_all(standard, tmp_path, TASK, other)
    executor = pool(1)
    assert executor.submit(NativeTask(path, "greet"), b"").result(timeout=PATIENCE) == b"hello"
    assert executor.submit(NativeTask(path, "part"), b"").result(timeout=PATIENCE) == b"bye"


@pytest.mark.parametrize("standard", ["c99", "c++11"])
def test_hidden_visibility_hides_no_task(standard, tmp_path, pool):
    path = compile_all(standard, tmp_path, TASK, link=("-shared", "-fvisibility=hidden"))
    assert pool(1).submit(NativeTask(path, "greet"), b"").result(timeout=PATIENCE) == b"hello"
    symbols = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True).stdout
    assert {"fuload_init", "fuload_fini", "fuload_abi_version"} <= set(symbols.split())
