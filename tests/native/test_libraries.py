"""Where a function comes from: the file that this process has open."""

from __future__ import annotations

import ctypes as c
import ctypes.util
import os
import signal
import subprocess
import sys

import pytest
from support.waiting import until

from fuload_exec import FuloadExecutor, LibraryLoadError, NativeFunction

ANSWER = "int answer(int x) { return x + %d; }\n"


def answer_of(path, **options):
    function = c.CDLL(str(path), **options).answer
    function.argtypes, function.restype = [c.c_int], c.c_int
    return function


def declared(library, name="labs"):
    function = library[name]
    function.argtypes, function.restype = [c.c_long], c.c_long
    return function


def test_the_libraries_of_the_program(executor):
    assert executor.submit(declared(c.CDLL(None)), -5).result() == 5


def test_find_library(executor):
    cbrt = c.CDLL(ctypes.util.find_library("m")).cbrt
    cbrt.argtypes, cbrt.restype = [c.c_double], c.c_double
    assert executor.submit(cbrt, 27.0).result() == cbrt(27.0)


def test_load_library(executor):
    assert executor.submit(declared(c.cdll.LoadLibrary("libc.so.6")), -5).result() == 5
    assert executor.submit(declared(c.CDLL("libc.so.6", mode=os.RTLD_GLOBAL | os.RTLD_NOW)), -5).result() == 5


def test_relative_paths(tmp_path, monkeypatch, compile_library, executor):
    (tmp_path / "elsewhere").mkdir()
    compile_library(tmp_path / "libanswer.so", ANSWER % 1)
    compile_library(tmp_path / "elsewhere/libanswer.so", ANSWER % 2)
    monkeypatch.chdir(tmp_path)
    function = answer_of("./libanswer.so")
    monkeypatch.chdir("elsewhere")
    assert executor.submit(function, 1).result() == 2
    for path, expected in (("./libanswer.so", None), ("../libanswer.so", 2), ("../elsewhere/libanswer.so", 3)):
        # The loader may know "./libanswer.so" already: then it is the first one here, too.
        again = answer_of(path)
        assert executor.submit(again, 1).result() == again(1) == (expected or again(1))


def test_a_link_to_a_library(tmp_path, compile_library, executor):
    path = compile_library(tmp_path / "libanswer.so.1", ANSWER % 1)
    (tmp_path / "libanswer.so").symlink_to(path)
    assert executor.submit(answer_of(tmp_path / "libanswer.so"), 1).result() == 2


@pytest.mark.parametrize("name", ["lib with spaces.so", "lib\xe9\u20ac.so", "lib'quoted\".so"])
def test_names_of_files(tmp_path, compile_library, executor, name):
    assert executor.submit(answer_of(compile_library(tmp_path / name, ANSWER % 1)), 1).result() == 2


def test_one_name_in_several_libraries(tmp_path, compile_library):
    paths = [compile_library(tmp_path / f"lib{n}.so", ANSWER % n) for n in range(3)]
    functions = [answer_of(path) for path in paths]
    with FuloadExecutor(2) as executor:
        futures = [executor.submit(functions[i % 3], i) for i in range(300)]
        assert [f.result() for f in futures] == [i + i % 3 for i in range(300)]
        assert [list(executor.map(f, range(10))) for f in functions] == [list(range(n, n + 10)) for n in range(3)]


def test_one_name_in_a_library_that_is_global(tmp_path, compile_library, executor):
    """What this process loaded RTLD_GLOBAL takes no other library's place."""
    first = answer_of(compile_library(tmp_path / "lib1.so", ANSWER % 1), mode=os.RTLD_GLOBAL)
    second = answer_of(compile_library(tmp_path / "lib2.so", ANSWER % 2))
    assert [executor.submit(f, 1).result() for f in (first, second, first)] == [2, 3, 2]


def test_a_library_that_was_moved(tmp_path, compile_library, executor):
    """It is the file that counts, wherever it is now."""
    path = compile_library(tmp_path / "libold.so", ANSWER % 1)
    function = answer_of(path)
    path.rename(tmp_path / "libmoved.so")
    assert executor.submit(function, 1).result() == 2
    compile_library(path, ANSWER % 2)
    again = answer_of(path)  # the loader gives what is open under this name
    assert executor.submit(again, 1).result() == again(1) == 2


def test_a_symbolic_link_that_was_turned(tmp_path, compile_library, executor):
    for number in (1, 2):
        compile_library(tmp_path / f"v{number}.so", ANSWER % number)
    (tmp_path / "current.so").symlink_to("v1.so")
    function = answer_of(tmp_path / "current.so")
    (tmp_path / "current.so").unlink()
    (tmp_path / "current.so").symlink_to("v2.so")
    assert executor.submit(function, 1).result() == function(1) == 2


def replace(path, compile_library):
    os.replace(compile_library(path.with_name("libnext.so"), ANSWER % 2), path)


def test_a_library_that_was_replaced(tmp_path, compile_library, executor):
    path = compile_library(tmp_path / "libnew.so", ANSWER % 1)
    function = answer_of(path)
    replace(path, compile_library)
    with pytest.raises(LibraryLoadError, match=r"libnew\.so is not the file any more.*replaced"):
        executor.submit(function, 1).result()


def test_a_library_that_is_replaced_later(tmp_path, compile_library, executor):
    path = compile_library(tmp_path / "libnew.so", ANSWER % 1)
    function = answer_of(path)
    first = executor.submit(function, 1)
    assert first.result() == 2
    replace(path, compile_library)
    assert executor.submit(function, 1).result() == 2  # this worker has it open
    os.kill(first.worker_pid, signal.SIGKILL)
    until(lambda: first.worker_pid not in executor.worker_pids)
    with pytest.raises(LibraryLoadError, match=r"libnew\.so is not the file any more.*replaced"):
        executor.submit(function, 1).result()


def test_a_library_without_a_place_in_the_file_system(tmp_path, compile_library, executor):
    path = compile_library(tmp_path / "libmemory.so", ANSWER % 1)
    fd = os.memfd_create("library")
    try:
        os.write(fd, path.read_bytes())
        assert executor.submit(answer_of(f"/proc/self/fd/{fd}"), 1).result() == 2
    finally:
        os.close(fd)


def test_a_library_that_is_gone(tmp_path, compile_library, executor):
    path = compile_library(tmp_path / "libgone.so", ANSWER % 1)
    function, other = answer_of(path), declared(c.CDLL("libc.so.6"))
    path.unlink()
    pid = executor.submit(other, -1)
    pid.result()
    for _ in range(2):
        future = executor.submit(function, 1)
        with pytest.raises(LibraryLoadError, match=r"libgone\.so.*No such file") as caught:
            future.result()
        assert isinstance(caught.value, OSError) and future.worker_pid == pid.worker_pid
    after = executor.submit(other, -2)
    assert after.result() == 2 and after.worker_pid == pid.worker_pid
    compile_library(path, ANSWER % 2)
    again = answer_of(path)  # the loader gives what is open under this name: no worker can
    assert again(1) == 2
    with pytest.raises(LibraryLoadError, match="replaced"):
        executor.submit(again, 1).result()


def test_map_over_a_library_that_is_gone(tmp_path, compile_library, executor):
    path = compile_library(tmp_path / "libgone.so", ANSWER % 1)
    function = answer_of(path)
    path.unlink()
    with pytest.raises(LibraryLoadError, match=r"libgone\.so"):
        list(executor.map(function, range(100)))
    with pytest.raises(LibraryLoadError, match=r"libgone\.so"):
        executor.map_array(function, range(100))
    assert executor.submit(declared(c.CDLL(None)), -5).result() == 5


def test_a_library_that_is_another_now(tmp_path, compile_library, executor):
    path = compile_library(tmp_path / "libother.so", ANSWER % 1)
    function = answer_of(path)
    path.unlink()
    compile_library(path, "int question(int x) { return x; }\n")
    with pytest.raises(LibraryLoadError, match=r"libother\.so is not the file any more.*replaced"):
        executor.submit(function, 1).result()
    (tmp_path / "libother.so").write_text("no library at all")
    with FuloadExecutor(1) as fresh, pytest.raises(LibraryLoadError, match=r"libother\.so"):
        fresh.submit(function, 1).result()


IN_ANOTHER_PROCESS = """
import ctypes, os, sys
from fuload_exec import FuloadExecutor
function = ctypes.CDLL({library!r})[{name!r}]
function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
os.chdir("/")
with FuloadExecutor(1) as executor:
    print(executor.submit(function, 1).result())
"""


@pytest.mark.parametrize("relative", [False, True])
def test_a_library_of_the_search_path(tmp_path, compile_library, relative):
    """LD_LIBRARY_PATH may be relative to where this process was."""
    compile_library(tmp_path / "libsearched.so", ANSWER % 1)
    env = {**os.environ, "LD_LIBRARY_PATH": "." if relative else str(tmp_path)}
    text = IN_ANOTHER_PROCESS.format(library="libsearched.so", name="answer")
    done = subprocess.run([sys.executable, "-c", text], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_library_that_finds_others_beside_itself(tmp_path, compile_library, executor):
    """RPATH of $ORIGIN: for what it needs, and for where a function is."""
    (tmp_path / "lib").mkdir()
    compile_library(tmp_path / "lib/libinner.so", ANSWER % 1, "-Wl,-soname,libinner.so")
    outer = "int answer(int); int twice(int x) { return 2 * answer(x); }\n"
    path = compile_library(
        tmp_path / "lib/libouter.so", outer, f"-L{tmp_path}/lib", "-Wl,--no-as-needed", "-linner", "-Wl,-rpath,$ORIGIN"
    )
    library = c.CDLL(str(path))
    for name, expected in (("twice", 4), ("answer", 2)):
        function = library[name]
        function.argtypes, function.restype = [c.c_int], c.c_int
        assert executor.submit(function, 1).result() == function(1) == expected


def test_functions_that_need_the_interpreter(executor):
    initialized = c.pythonapi.Py_IsInitialized
    initialized.argtypes, initialized.restype = [], c.c_int
    with pytest.raises(TypeError, match=r"Py_IsInitialized\(\) belongs to a ctypes.PyDLL.*interpreter"):
        executor.submit(initialized)
    with pytest.raises(TypeError, match=r"Py_IsInitialized\(\) belongs to a ctypes.PyDLL.*interpreter"):
        NativeFunction.from_ctypes(initialized)


def test_functions_of_no_library(executor):
    prototype = c.CFUNCTYPE(c.c_int, c.c_int)
    from_address = prototype(c.cast(c.CDLL(None).abs, c.c_void_p).value)
    from_python = prototype(lambda x: x)
    for function in (from_address, from_python):
        function.argtypes = [c.c_int]
        for refuse in (lambda f: executor.submit(f, -1), lambda f: executor.map(f, [-1]), NativeFunction.from_ctypes):
            with pytest.raises(TypeError, match="made from an address or a Python callable"):
                refuse(function)
