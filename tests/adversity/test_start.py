"""Workers are started whatever the program does meanwhile, and whatever it is
short of; what is no interpreter is found out."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from unittest import mock

import pytest
from support.tasks import square, wait_for
from support.waiting import until

from fuload_exec import NativeTask, _crew

PATIENCE = 20


@pytest.fixture
def getenv():
    function = ctypes.CDLL("libc.so.6").getenv
    function.argtypes, function.restype = [ctypes.c_char_p], ctypes.c_char_p
    return function


# -- what the program does ---------------------------------------------------------


def test_children_that_are_forked_meanwhile_hold_nothing_up(program):
    p = program("""
def main():
    for _ in range(5):
        executor = FuloadExecutor(8)
        futures = [executor.submit(libc.usleep, 20_000) for _ in range(16)]
        children = []
        for _ in range(4):
            child = os.fork()
            if not child:
                time.sleep(100)
                os._exit(0)
            children.append(child)
        for future in futures:
            future.result(timeout=20)
        executor.kill_workers()
        executor.shutdown()
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    report(done=True)
if __name__ == "__main__":
    main()
""")
    assert p.expect("done", 60) is True
    assert p.exit() == 0, p.errors()


def test_the_environment_changes_meanwhile(pool, libc, monkeypatch):
    for i in range(300):
        monkeypatch.setenv(f"PADDING_{i}", "x")
    over = threading.Event()
    interval = sys.getswitchinterval()

    def change():
        i = 0
        while not over.is_set():
            os.environ[f"CHANGING_{i % 40}"] = "x"
            os.environ.pop(f"CHANGING_{(i + 20) % 40}", None)
            i += 1
        for name in [name for name in os.environ if name.startswith("CHANGING_")]:
            del os.environ[name]

    thread = threading.Thread(target=change)
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(15):
            executor = pool(2)
            assert executor.submit(libc.abs, -3).result(PATIENCE) == 3
            executor.shutdown()
    finally:
        sys.setswitchinterval(interval)
        over.set()
        thread.join()


def test_workers_find_the_environment_of_when_they_are_started(pool, getenv, monkeypatch):
    for value in ("first", "second"):
        monkeypatch.setenv("CHANGED", value)
        executor = pool(1, env={"GIVEN": "too"})
        assert executor.submit(getenv, b"CHANGED").result(PATIENCE) == value.encode()
        assert executor.submit(getenv, b"GIVEN").result(PATIENCE) == b"too"
    executor = pool(1)
    monkeypatch.delenv("CHANGED")
    assert executor.submit(getenv, b"CHANGED").result(PATIENCE) is None


@pytest.mark.parametrize("name", ["subprocess.Popen", "os.posix_spawn", "os.fork", "os.pidfd_open", "signal.pthread_kill"])
def test_functions_that_a_test_replaces(pool, libc, name):
    with mock.patch(name):
        executor = pool(2)
        assert executor.submit(libc.abs, -3).result(PATIENCE) == 3
        assert executor.submit(square, 3).result(PATIENCE) == 9
        executor.shutdown()


# -- what a worker inherits -----------------------------------------------------------

INHERITED = """
import struct
def refuse(number, error):
    code = b"".join(struct.pack("HBBI", *i) for i in
                    ((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7FFF0000)))
    text = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(text)), 16)
    return libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(head)), 0, 0) == 0
libc.fcntl.argtypes, libc.fcntl.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
libc.isatty.argtypes, libc.isatty.restype = [ctypes.c_int], ctypes.c_int
def main():
    filtered = REFUSE and refuse(436, 38)
    for fd in (200, 201):
        os.dup2(os.pipe()[1], fd, inheritable=True)
    with FuloadExecutor(1) as executor:
        found = [executor.submit(libc.fcntl, fd, 1).result(timeout=20) for fd in (0, 200, 201)]
        python = executor.submit(os.readlink, "/proc/self/fd/0").result(timeout=20)
    report(found=found, python=python, filtered=filtered)
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("close_range", [True, False])
def test_a_worker_has_its_own_descriptors_only(program, close_range):
    """Also where the kernel has no close_range()."""
    p = program(f"REFUSE = {not close_range}\n{INHERITED}")
    assert p.expect("found") == [0, -1, -1]
    assert p.reports()["python"] == "/dev/null"
    assert p.exit() == 0, p.errors()


# -- what it is short of -----------------------------------------------------------------

SHORT = """
import resource
from fuload_exec import _crew
def main():
    with FuloadExecutor(1) as other:  # the threads are there
        other.submit(libc.abs, -1).result(timeout=20)
        executor = FuloadExecutor(1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        future = executor.submit(libc.abs, -3)
        until(lambda: executor._crew.failing_since or future.done())
        outcome = finish(held, future, executor)
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        executor.shutdown()
    report(outcome=outcome)
"""


def test_a_moment_without_descriptors(program):
    p = program(
        SHORT
        + """
def finish(held, future, executor):
    while held:
        os.close(held.pop())
    return [future.result(timeout=20), executor.submit(libc.abs, -4).result(timeout=20)]
if __name__ == "__main__":
    main()
"""
    )
    assert p.expect("outcome", 60) == [3, 4]
    assert p.exit() == 0, p.errors()


def test_no_descriptors_for_long(program):
    p = program(
        SHORT
        + """
_crew._START_PATIENCE = 0.3
def finish(held, future, executor):
    error = future.exception(timeout=20)
    return [type(error).__name__, str(error)]
if __name__ == "__main__":
    main()
"""
    )
    name, text = p.expect("outcome", 60)
    assert name == "BrokenProcessPool" and "RLIMIT_NOFILE is 128" in text
    assert p.exit() == 0, p.errors()


def test_some_descriptors_are_left_to_the_program(program):
    p = program("""
import resource
from fuload_exec import _crew
not_started, refused = _crew.Crew._not_started, []
def noted(crew, indexes, error):
    refused.append(str(error))
    not_started(crew, indexes, error)
_crew.Crew._not_started = noted
def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (96, hard))
    executor = FuloadExecutor(100)
    futures = [executor.submit(libc.usleep, 60_000_000) for _ in range(100)]
    until(lambda: refused)
    left = 96 - len(os.listdir("/proc/self/fd"))
    executor.kill_workers()
    executor.shutdown()
    report(left=left, refused=refused[0])
if __name__ == "__main__":
    main()
""")
    assert p.expect("left", 60) >= 96 // 8 - 1  # the listing takes one
    assert "RLIMIT_NOFILE is 96" in p.reports()["refused"]
    assert p.exit() == 0, p.errors()


# -- interpreters that are none -------------------------------------------------------------


@pytest.fixture
def interpreter(tmp_path, monkeypatch):
    """Makes a shell script what sys.executable names."""

    def make(text):
        path = tmp_path / "an-interpreter"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        return path

    monkeypatch.setattr("multiprocessing.spawn._python_exe", None)
    return make


@pytest.mark.parametrize("text", ["exit 0", "exit 5", "kill -SEGV $$"])
def test_an_interpreter_that_ends(pool, libc, interpreter, text):
    interpreter(text)
    executor = pool(1, max_retries=3)
    for _ in range(8):
        error = executor.submit(square, 3).exception(PATIENCE)
        assert "an-interpreter" in str(error) and "SIGKILL" not in str(error), error
        assert executor.submit(libc.abs, -3).result(PATIENCE) == 3


@pytest.mark.stress
@pytest.mark.parametrize("text", ["exec sleep 1000", "sleep 1000", "while :; do :; done"])
def test_an_interpreter_that_never_serves(pool, libc, interpreter, monkeypatch, text):
    monkeypatch.setattr(_crew, "_INTERPRETER_GRACE", 0.5)
    interpreter(text)
    executor = pool(2)
    futures = [executor.submit(square, i) for i in range(20)]
    for future in futures:
        assert "an-interpreter" in str(future.exception(PATIENCE))
    assert executor.submit(libc.abs, -3).result(PATIENCE) == 3


def test_a_slow_interpreter_is_waited_for(pool, monkeypatch, tmp_path):
    """`site` and what it imports may take longer than one that is none is given."""
    monkeypatch.setattr(_crew, "_INTERPRETER_GRACE", 0.5)
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(1.5)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    executor = pool(1)
    assert executor.submit(square, 3).result(PATIENCE) == 9


def test_a_worker_that_wraps_the_interpreter(pool, interpreter):
    executable = sys.executable
    interpreter(f'exec {executable} "$@"')
    assert pool(1).submit(square, 3).result(PATIENCE) == 9


@pytest.mark.parametrize("later", ["exit 5", "exec sleep 1000", None])
def test_an_interpreter_that_is_replaced_later(pool, libc, interpreter, monkeypatch, tmp_path, later):
    """Further workers are started as interpreters; where that fails, as C workers,
    whose Python tasks say why."""
    monkeypatch.setattr(_crew, "_INTERPRETER_GRACE", 0.5)
    path = interpreter(f'exec {sys.executable} "$@"')
    executor = pool(2)
    first = executor.submit(os.getpid).result(PATIENCE)
    path.unlink() if later is None else interpreter(later)
    for pid in executor.worker_pids:
        if pid != first:  # it was started before that
            os.kill(pid, signal.SIGKILL)
    held = executor.submit(wait_for, tmp_path / "open")
    until(held.running)
    error = executor.submit(square, 3).exception(PATIENCE)
    assert "an-interpreter" in str(error), error
    assert executor.submit(libc.abs, -3).result(PATIENCE) == 3
    (tmp_path / "open").touch()
    assert held.result(PATIENCE) is None


# -- an exec that fails -------------------------------------------------------------------------

PLUGIN = r"""
#include <fuload.h>
#include <stdio.h>
#include <stdlib.h>
static int alive;
int fuload_init(void) { alive++; return 0; }
void fuload_fini(void) { alive--; }
FULOAD_TASK(state) { char c = (char)('0' + alive); return fuload_reply(task, &c, 1); }
FULOAD_TASK(shell)
{
    size_t size;
    const char *command = fuload_request(task, &size);
    char text[4096];
    FILE *pipe = popen(command, "r");
    size_t got = fread(text, 1, sizeof text, pipe);

    pclose(pipe);
    return fuload_reply(task, text, got);
}
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "p.c").write_text(PLUGIN)
    command = [sys.executable, "-m", "fuload_exec", "cc", str(folder / "p.c"), "-o", str(folder / "p.so")]
    subprocess.run(command, check=True)
    return lambda name: NativeTask(str(folder / "p.so"), name)


@pytest.mark.parametrize("how", ["missing", "not executable", "no program"])
def test_after_an_exec_that_failed(pool, plugin, interpreter, how):
    """The plug-in is one that was initialised, and what its tasks start inherits
    nothing of the pool's."""
    path = interpreter("exit 0")
    if how == "missing":
        path.unlink()
    elif how == "not executable":
        path.chmod(0o644)
    else:
        path.write_bytes(b"\x7fELF is no program")
    executor = pool(1)
    for _ in range(3):
        assert executor.submit(plugin("state"), b"").result(PATIENCE) == b"1"
        assert "an-interpreter" in str(executor.submit(square, 3).exception(PATIENCE))
        found = executor.submit(plugin("shell"), b"env; ls -l /proc/self/fd\0").result(PATIENCE)
        assert b"FULOAD_WORKER" not in found
        assert not [part for part in (b"memfd", b"eventfd", b"socket", b"pidfd") if part in found], found


def test_a_missing_worker_program_is_not_waited_for(pool, tmp_path):
    program = tmp_path / "worker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    executor = pool(1, worker=str(program))
    program.unlink()
    with pytest.raises(BrokenProcessPool, match="worker: No such file"):
        executor.submit(NativeTask(None, "echo"), b"").result(PATIENCE)
