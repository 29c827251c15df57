"""FuloadExecutor(worker=...): programs that call fuload_worker_main, and those that do not."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from support.ids import shown
from support.waiting import exists, until
from toolbox import HERE, PATIENCE, command, ints

from fuload_exec import FuloadExecutor, LibraryLoadError, NativeTask, NativeTaskError, WorkerCrashed

ROOT = HERE.parent.parent


def own(name):
    return NativeTask(None, name)


def refusal(executor):
    """What a task of a pool whose program is no worker says; no worker is left."""
    future = executor.submit(own("echo"), b"")
    error = future.exception(timeout=PATIENCE)
    assert isinstance(error, BrokenProcessPool), error
    until(lambda: not executor.worker_pids)
    with pytest.raises(BrokenProcessPool):
        executor.submit(own("echo"), b"")
    return str(error)


# -- programs that are workers -------------------------------------------------------


def test_one_that_starts_slowly(pool, worker_program, tmp_path):
    """On a busy machine, say. For one task no second worker is started beside it."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\nsleep 0.3\nexec {worker_program}\n")
    slow.chmod(0o755)
    executor = pool(4, worker=str(slow))
    assert executor.submit(own("echo"), b"x").result(timeout=PATIENCE) == b"x"
    assert len(executor.worker_pids) == 1


def test_tasks_by_name(pool, worker_program):
    executor = pool(2, worker=worker_program)
    texts = [b"text %d" % i for i in range(300)] + [b"x" * 100_000]
    futures = [executor.submit(own("echo"), text) for text in texts]
    assert [future.result(timeout=PATIENCE) for future in futures] == texts


def test_state_stays_in_its_globals(pool, worker_program):
    executor = pool(1, worker=worker_program)
    answers = [ints(executor.submit(own("count"), b"").result(timeout=PATIENCE)) for _ in range(50)]
    assert [calls for calls, _ in answers] == list(range(1, 51))
    assert {pid for _, pid in answers} == set(executor.worker_pids)


def test_each_worker_has_its_own_state(pool, worker_program):
    executor = pool(2, worker=worker_program)
    futures = [executor.submit(own("count"), b"") for _ in range(400)]
    last = {}
    for calls, pid in sorted(ints(future.result(timeout=PATIENCE)) for future in futures):
        assert calls == last.get(pid, 0) + 1
        last[pid] = calls
    assert sum(last.values()) == 400


@pytest.mark.parametrize("form", [str, Path, lambda p: [p], lambda p: (Path(p),), lambda p: os.path.relpath(p)])
def test_the_program_may_be_a_path(pool, worker_program, form):
    executor = pool(1, worker=form(worker_program))
    assert executor.submit(own("echo"), b"here").result(timeout=PATIENCE) == b"here"


def test_the_program_may_be_a_command(pool, worker_program):
    executor = pool(1, worker=[worker_program, "--level", "3 4"])
    first, *rest = executor.submit(own("argv"), b"").result(timeout=PATIENCE).split(b"\0")
    assert os.path.basename(first) == b"worker"
    assert rest == [b"--level", b"3 4", b""]


def test_the_program_may_be_on_the_path(pool, worker_program, monkeypatch):
    monkeypatch.setenv("PATH", os.path.dirname(worker_program) + os.pathsep + os.environ["PATH"])
    executor = pool(1, worker="worker")
    assert executor.submit(own("echo"), b"found").result(timeout=PATIENCE) == b"found"


def test_the_program_may_be_run_by_another(pool, worker_program):
    """`env` and `nice` exec it: same process, same descriptors."""
    executor = pool(2, worker=["env", "SOME=thing", worker_program])
    assert executor.submit(own("echo"), b"through env").result(timeout=PATIENCE) == b"through env"


def test_failures_are_those_of_plugins(pool, worker_program):
    executor = pool(1, worker=worker_program)
    with pytest.raises(NativeTaskError) as caught:
        executor.submit(own("fail"), b"").result(timeout=PATIENCE)
    assert (caught.value.status, caught.value.message) == (5, "on purpose")


@pytest.mark.parametrize("env", [{}, {"NO_TASKS": "1"}], ids=["other tasks", "no tasks"])
def test_a_task_that_the_program_does_not_have(pool, worker_program, env):
    executor = pool(1, worker=worker_program, env=env)
    for _ in range(7):
        with pytest.raises(LibraryLoadError, match="no task named missing"):
            executor.submit(own("missing"), b"").result(timeout=PATIENCE)
    assert len(executor.worker_pids) == 1


def test_a_task_of_the_program_in_a_pool_without_one(pool):
    executor = pool(1)
    with pytest.raises(LibraryLoadError, match="no task named echo"):
        executor.submit(own("echo"), b"").result(timeout=PATIENCE)


def test_plugins_and_c_functions_run_in_it_too(pool, worker_program, plugin, libm):
    executor = pool(1, worker=worker_program)
    assert executor.submit(plugin("upper"), b"plug-in").result(timeout=PATIENCE) == b"PLUG-IN"
    assert executor.submit(libm.pow, 2.0, 10.0).result(timeout=PATIENCE) == 1024.0
    assert list(executor.map(libm.fabs, [-1.0, -2.0], timeout=PATIENCE)) == [1.0, 2.0]
    assert ints(executor.submit(own("count"), b"").result(timeout=PATIENCE))[0] == 1


def test_a_crash_later_fails_one_task_and_the_worker_is_replaced(pool, worker_program):
    executor = pool(1, worker=worker_program)
    for _ in range(6):
        calls, pid = ints(executor.submit(own("count"), b"").result(timeout=PATIENCE))
        assert calls == 1, "a new worker starts anew"
        with pytest.raises(WorkerCrashed, match=r"crash\(b'now'\)") as caught:
            executor.submit(own("crash"), b"now").result(timeout=PATIENCE)
        assert (caught.value.pid, caught.value.exitcode) == (pid, -signal.SIGABRT)
    assert executor.submit(own("echo"), b"on").result(timeout=PATIENCE) == b"on"


def test_the_workers_leave_with_the_pool(worker_program):
    with FuloadExecutor(2, worker=worker_program) as executor:
        futures = [executor.submit(own("count"), b"") for _ in range(100)]
        pids = {ints(future.result(timeout=PATIENCE))[1] for future in futures} | set(executor.worker_pids)
    assert not any(map(exists, pids))


# -- Python callables -----------------------------------------------------------------------


def test_python_callables_are_refused_with_a_reason(pool, worker_program):
    executor = pool(1, worker=worker_program)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="worker program runs no Python callables"):
            executor.submit(pow, 2, 10).result(timeout=PATIENCE)
    assert ints(executor.submit(own("count"), b"").result(timeout=PATIENCE))[0] == 1


def test_a_program_may_allow_python(pool, worker_program):
    executor = pool(1, worker=worker_program, env={"ALLOW_PYTHON": "1"})
    assert ints(executor.submit(own("count"), b"").result(timeout=PATIENCE))[0] == 1
    assert executor.submit(pow, 2, 10).result(timeout=PATIENCE) == 1024
    # It is an interpreter now, which has none of the program's tasks.
    with pytest.raises(LibraryLoadError, match="no task named count"):
        executor.submit(own("count"), b"").result(timeout=PATIENCE)


# -- what they say --------------------------------------------------------------------------------


def test_standard_error_reaches_the_parents(pool, worker_program, capfd):
    executor = pool(1, worker=worker_program, env={"SAY_FIRST": "said before"})
    executor.submit(own("say"), b"said later").result(timeout=PATIENCE)
    executor.shutdown()
    assert capfd.readouterr().err == "said before\nsaid later\n"


def test_all_that_is_said_before_reaches_it(pool, worker_program, capfd):
    text = "\n".join(f"line {i}" for i in range(3000))
    executor = pool(1, worker=worker_program, env={"SAY_FIRST": text})
    executor.submit(own("say"), b"later").result(timeout=PATIENCE)
    assert capfd.readouterr().err == text + "\nlater\n"


def test_nobody_hears_a_closed_standard_error(worker_program, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom fuload_exec import FuloadExecutor, NativeTask\nos.close(2)\n"
        f"with FuloadExecutor(1, worker={worker_program!r}, env={{'SAY_FIRST': 'x'}}) as executor:\n"
        "    print(executor.submit(NativeTask(None, 'echo'), b'served').result(timeout=30))\n"
    )
    import sys

    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, timeout=60, text=True)
    assert (done.returncode, done.stdout) == (0, "b'served'\n")


# -- programs that are none -------------------------------------------------------------------------


def test_a_program_that_ends_at_once(pool):
    text = refusal(pool(2, worker="/bin/false"))
    assert "/bin/false" in text and "exit code 1" in text and "before it had attached" in text


def test_a_program_that_ends_well_is_no_worker_either(pool):
    assert "exit code 0" in refusal(pool(1, worker="/bin/true"))


def test_its_last_words_are_quoted(pool):
    lines = "; ".join(f"echo line {i} >&2" for i in range(20))
    text = refusal(pool(2, worker=["/bin/sh", "-c", f"{lines}; echo cannot open the database >&2; exit 4"]))
    assert "exit code 4" in text
    assert "line 19\ncannot open the database" in text
    assert "line 5\n" not in text, "the last lines only"


def test_last_words_that_are_no_text(pool):
    text = refusal(pool(1, worker=["/bin/sh", "-c", r"printf '\377\376 bytes' >&2; exit 4"]))
    assert "bytes" in text and "exit code 4" in text


def test_a_program_that_crashes_at_once(pool, worker_program):
    text = refusal(pool(1, worker=worker_program, env={"CRASH_FIRST": "1", "SAY_FIRST": "my last words"}))
    assert "SIGABRT" in text and "my last words" in text


def test_a_worker_that_gives_up_before_it_attaches(pool, worker_program):
    text = refusal(pool(1, worker=worker_program, env={"LEAVE_FIRST": "9", "SAY_FIRST": "no licence"}))
    assert "exit code 9" in text and "no licence" in text


def test_a_program_that_never_attaches(pool):
    executor = pool(1, worker=["/bin/sleep", "1000"])
    text = refusal(executor)
    assert "/bin/sleep 1000" in text and re.search(r"did not attach within \d+ seconds", text)


def test_all_that_were_queued_are_told(pool):
    executor = pool(2, worker=["/bin/sh", "-c", "exit 4"])
    futures = []
    try:
        futures = [executor.submit(own("echo"), b"") for _ in range(100)]
    except BrokenProcessPool as error:
        assert "exit code 4" in str(error)
    for future in futures:
        assert "exit code 4" in str(future.exception(timeout=PATIENCE))


def test_a_worker_of_another_version(pool, built):
    """The parts of the library that know the version are built from headers
    that say another one."""
    headers = built / "version9"
    shutil.copytree(ROOT / "csrc", headers)
    layout = headers / "protocol" / "layout.h"
    text = layout.read_text()
    version = re.search(r"#define FL_VERSION (\d+)u", text)[1]
    layout.write_text(text.replace(f"#define FL_VERSION {version}u", "#define FL_VERSION 9u"))
    flags = command("config", "--cflags", "--libs").stdout.split()
    sources = [str(HERE / "worker.c"), str(headers / "worker" / "attach.c")]
    line = ["cc", "-std=gnu11", "-D_GNU_SOURCE", f"-I{headers}", *sources, "-o", str(built / "worker9"), *flags]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = refusal(pool(1, worker=str(built / "worker9")))
    assert "version 9" in text and f"version {version}" in text and "exit code 3" in text


def test_a_worker_that_nobody_started_says_so(worker_program):
    done = subprocess.run([worker_program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 3
    assert "started by FuloadExecutor only" in done.stderr


@pytest.mark.parametrize("worker", ["/no/such/program", "no-such-program-anywhere", ["/no/such/program", "x"]])
def test_a_program_that_is_not_there(worker):
    with pytest.raises(ValueError, match=r"worker .*no.such.program"):
        FuloadExecutor(1, worker=worker)


def test_a_program_that_is_not_executable(tmp_path):
    (tmp_path / "file").write_text("text")
    for worker in (tmp_path / "file", tmp_path):
        with pytest.raises(ValueError, match="can be executed"):
            FuloadExecutor(1, worker=worker)


def test_a_program_that_cannot_be_run(pool, tmp_path):
    """Executable by its mode, and by nothing else."""
    (tmp_path / "file").write_bytes(b"\x7fELF but not really")
    (tmp_path / "file").chmod(0o755)
    assert str(tmp_path / "file") in refusal(pool(1, worker=tmp_path / "file"))


@pytest.mark.parametrize("worker", [5, b"/bin/true", [], [5], [b"/bin/true"], {}, True, object()], ids=shown)
def test_what_is_no_command(worker):
    with pytest.raises(TypeError, match="worker must be None, a path or a sequence of str"):
        FuloadExecutor(1, worker=worker)


def test_a_null_character(worker_program):
    with pytest.raises(ValueError, match="worker"):
        FuloadExecutor(1, worker=[worker_program, "a\0b"])


def test_ctypes_functions_in_a_refused_pool(pool, libc):
    executor = pool(1, worker="/bin/false")
    with pytest.raises(BrokenProcessPool, match="exit code 1"):
        executor.submit(libc.abs, ctypes.c_int(-1)).result(timeout=PATIENCE)
