"""NativeTask is a value, and a function of this process too."""

from __future__ import annotations

import array
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from toolbox import PATIENCE, build_plugin, ints, numbers

from fuload_exec import FuloadExecutor, LibraryLoadError, NativeTask, NativeTaskError, PayloadTooLarge

OWN = NativeTask(None, "hello")


def test_native_tasks_can_be_pickled_and_copied(plugin):
    for task in (plugin("upper"), OWN):
        for same in (pickle.loads(pickle.dumps(task)), copy.copy(task), copy.deepcopy(task)):
            assert same == task and hash(same) == hash(task)
            assert (same.library, same.name) == (task.library, task.name)


def test_compares_and_hashes(plugin):
    assert plugin("upper") == plugin("upper")
    assert len({plugin("upper"), plugin("upper"), plugin("echo"), OWN}) == 3
    assert plugin("upper") != NativeTask("/other.so", "upper") and OWN != "hello" and OWN != plugin("hello")


def test_repr_of_a_native_task():
    assert repr(NativeTask("/opt/tasks.so", "upper")) == "<NativeTask upper of /opt/tasks.so>"
    assert repr(OWN) == "<NativeTask hello of the worker program>"


def test_the_library_is_the_one_of_this_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = NativeTask("tasks.so", "upper")
    monkeypatch.chdir("/")
    assert task.library == str(tmp_path / "tasks.so")
    assert NativeTask(Path("/a.so"), "f").library == "/a.so"
    assert NativeTask(b"/a.so", "f").library == "/a.so"


@pytest.mark.parametrize(("library", "name"), [(5, "f"), ("/a.so", b"f"), ("/a.so", None), (object(), "f")])
def test_wrong_types(library, name):
    with pytest.raises(TypeError):
        NativeTask(library, name)


def test_it_is_bound_to_no_pool(pool, plugin):
    task = plugin("upper")
    for executor in (pool(1), pool(2)):
        assert executor.submit(task, b"a").result(timeout=PATIENCE) == b"A"


# -- called here ---------------------------------------------------------------------------


def outcome(call):
    """What it returns, or the type and text of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


REQUESTS = [
    ("echo", b""),
    ("echo", b"some text"),
    ("echo", os.urandom(100_000)),
    ("echo", bytearray(b"mutable")),
    ("echo", array.array("i", [1, 2, 3])),
    ("upper", b"some text"),
    ("upper", b"x" * 100_000),
    ("nothing", b"x"),
    ("request_size", b"12345"),
    ("pieces", numbers(3000, 7)),
    ("pieces", numbers(0, 7)),
    ("pieces", numbers(5, 0)),
    ("grow", numbers(257, 40)),
    ("head_and_body", numbers(0)),
    ("head_and_body", numbers(70_000)),
    ("shrink", numbers(5000, 3)),
    ("shrink", numbers(5000, 0)),
    ("replaced", numbers(0)),
    ("replaced", numbers(1000)),
    ("overlap", b""),
    ("commit_unreserved", b""),
    ("make", numbers(0)),
    ("make", numbers(1 << 20)),
    ("fail", numbers(42) + b"as asked"),
    ("fail", numbers(0) + "naïve".encode()),
    ("fail", numbers(-5) + b"\xff"),
    ("fail_without_message", b""),
    ("plain_status", numbers(7)),
    ("plain_status", numbers(-7)),
    ("fail_and_return_0", b""),
    ("is_cancelled", b""),
]


@pytest.mark.parametrize(("name", "data"), REQUESTS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_call_here_is_as_one_in_a_worker(pool, plugin, name, data):
    task = plugin(name)
    assert outcome(lambda: task(data)) == outcome(lambda: pool(1).submit(task, data).result(timeout=PATIENCE))


def test_status_and_message_here(plugin):
    with pytest.raises(NativeTaskError) as caught:
        plugin("fail")(numbers(42) + b"as asked")
    assert (caught.value.status, caught.value.message) == (42, "as asked")


def test_more_than_memory_holds(plugin):
    with pytest.raises(PayloadTooLarge, match=str(1 << 62)):
        plugin("make")(numbers(1 << 62))


@pytest.mark.parametrize("data", ["text", 5, None])
def test_what_is_no_buffer(plugin, data):
    with pytest.raises(TypeError, match=r"echo\(\) takes a C-contiguous buffer"):
        plugin("echo")(data)
    with pytest.raises(TypeError, match=r"echo\(\) takes a C-contiguous buffer"):
        plugin("echo")(memoryview(b"abcdef")[::2])


def test_a_masked_array(pool, plugin):
    masked = numpy.ma.masked_array([1.0, 2.0], mask=[False, True])
    for call in (plugin("echo"), lambda data: pool(1).submit(plugin("echo"), data)):
        with pytest.raises(TypeError, match=r"echo\(\): its argument must be an array without a mask.*got MaskedArray"):
            call(masked)


def test_libraries_that_cannot_be_used(plugin, tmp_path):
    with pytest.raises(LibraryLoadError, match=r"none\.so"):
        NativeTask(tmp_path / "none.so", "f")(b"")
    with pytest.raises(LibraryLoadError, match="no_such_task"):
        plugin("no_such_task")(b"")


def test_a_task_of_a_worker_program_is_not_here():
    with pytest.raises(TypeError, match=r"hello\(\) is a task of a worker program"):
        OWN(b"")


def test_init_once_a_process_and_fini_at_its_end(plugin, tmp_path):
    log = tmp_path / "log"
    path = plugin("echo").library
    script = f"from fuload_exec import NativeTask\nfor _ in range(3): print(NativeTask({path!r}, 'echo')(b'x'))\n"
    done = run_python(script, PLUGIN_LOG=str(log))
    assert done.stdout == "b'x'\n" * 3, done.stderr
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["init", "fini"]


def test_an_init_that_fails_here(plugin):
    path = plugin("echo").library
    done = run_python(f"from fuload_exec import NativeTask\nNativeTask({path!r}, 'echo')(b'x')\n", INIT_STATUS="7")
    assert "LibraryLoadError" in done.stderr and "fuload_init returned 7" in done.stderr


def run_python(script, **environment):
    import fuload_exec

    place = os.path.dirname(os.path.dirname(fuload_exec.__file__))
    environment = {**os.environ, "PYTHONPATH": place, **environment}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)


# -- other pools ---------------------------------------------------------------------------------


def test_in_threads(plugin):
    with ThreadPoolExecutor(4) as executor:
        texts = [b"text %d" % i * 100 for i in range(200)]
        assert list(executor.map(plugin("upper"), texts)) == [text.upper() for text in texts]


def test_tasks_of_one_plugin_run_one_at_a_time(tmp_path):
    """Its globals need not be safe for threads, here as in a worker."""
    source = tmp_path / "alone.c"
    source.write_text(
        "#include <fuload.h>\n#include <sched.h>\nstatic volatile int inside;\n"
        "FULOAD_TASK(enter) { int i, seen; inside++; for (i = 0; i < 50; i++) sched_yield(); seen = inside; inside--;"
        " return fuload_reply(task, &seen, sizeof seen); }\n"
    )
    task = NativeTask(build_plugin(source, tmp_path / "alone.so"), "enter")
    with ThreadPoolExecutor(4) as executor:
        assert {ints(answer) for answer in executor.map(task, [b""] * 200)} == {(1,)}


def test_in_processes(plugin):
    plugin("echo")(b"opened here before the fork, too")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        assert executor.submit(plugin("upper"), b"text").result(timeout=PATIENCE) == b"TEXT"
        with pytest.raises(NativeTaskError, match="as asked"):
            executor.submit(plugin("fail"), numbers(42) + b"as asked").result(timeout=PATIENCE)


def test_inside_a_python_task(pool, plugin):
    executor = pool(1)
    assert executor.submit(map_here, plugin("upper"), [b"a", b"b"]).result(timeout=PATIENCE) == [b"A", b"B"]


def map_here(task, texts):
    return list(map(task, texts))


def test_names_without_null_characters(plugin):
    with pytest.raises(ValueError, match="name must have no null character"):
        NativeTask(plugin("echo").library, "echo\0x")


def test_a_library_without_the_mark_of_the_header():
    maps = Path("/proc/self/maps").read_text().split()
    task = NativeTask(next(path for path in maps if "/libm.so" in path or "/libm-" in path), "cos")
    with pytest.raises(LibraryLoadError, match=r"was not built with fuload\.h"):
        task(b"")
    with FuloadExecutor(1) as executor, pytest.raises(LibraryLoadError, match=r"was not built with fuload\.h"):
        executor.submit(task, b"").result()


@pytest.fixture(params=["here", "there"])
def run(request, pool):
    """A task's reply in this process, and in a worker."""
    if request.param == "here":
        return lambda task, data: task(data)
    executor = pool(1)
    return lambda task, data: executor.submit(task, data).result(timeout=PATIENCE)


def test_what_follows_a_failure_changes_nothing(plugin, run):
    with pytest.raises(NativeTaskError) as caught:
        run(plugin("fail_and_reply"), b"")
    assert (caught.value.status, caught.value.message) == (9, "nine")


def test_only_what_was_reserved_can_be_committed(plugin, run):
    assert ints(run(plugin("commit_too_much"), b"")) == (-1, 0, -1)


@pytest.mark.parametrize("data", [memoryview(b"abcdef")[::2], None, "text"], ids=["strided", "None", "text"])
def test_one_error_for_what_is_no_buffer(plugin, run, data):
    with pytest.raises(TypeError, match=r"echo\(\) takes a C-contiguous buffer"):
        run(plugin("echo"), data)


COUNTING = """
#include <fuload.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int inits;
int fuload_init(void) { inits++; return 0; }
void fuload_fini(void) { printf("fini %d\\n", (int)getpid()); fflush(stdout); }
FULOAD_TASK(count) { return fuload_reply(task, &inits, sizeof inits); }
"""
DEPENDING = """
#include <fuload.h>
extern int count(fuload_task *task);
FULOAD_TASK(count_of_the_other) { return count(task); }
"""
SEVERAL = """
from fuload_exec import FuloadExecutor, NativeTask
import sys
tasks = [NativeTask("counting.so", "count"), NativeTask("link.so", "count"), NativeTask("depending.so", "count_of_the_other")] * 2
with FuloadExecutor(1) as executor:
    there = [executor.submit(task, b"").result() for task in tasks]
here = [task(b"") for task in tasks]
print({int.from_bytes(count, sys.byteorder) for count in there + here}, flush=True)
"""


def test_a_plugin_of_several_paths_starts_once(tmp_path):
    """Also if another depends on it: its init is not that one's."""
    (tmp_path / "counting.c").write_text(COUNTING)
    build_plugin(tmp_path / "counting.c", tmp_path / "counting.so")
    (tmp_path / "link.so").symlink_to("counting.so")
    (tmp_path / "depending.c").write_text(DEPENDING)
    build_plugin(tmp_path / "depending.c", tmp_path / "depending.so", str(tmp_path / "counting.so"), "-Wl,-rpath,$ORIGIN")
    done = subprocess.run([sys.executable, "-c", SEVERAL], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    said = done.stdout.split("\n")
    assert "{1}" in said and sum(line.startswith("fini") for line in said) == 2, done
