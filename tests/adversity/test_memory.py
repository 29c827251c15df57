"""What a pool holds of memory: as much as it needs, given back when it is not
needed, whoever died in between."""

from __future__ import annotations

import ctypes
import math
import operator
import os
import posixpath
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import until

from fuload_exec import NativeTask, TaskTimeout, WorkerCrashed

LIBM = [
    f"{name}{kind}"
    for name in "sin cos tan asin acos atan sinh cosh tanh exp exp2 expm1 log log2 log10 sqrt cbrt fabs ceil floor erf".split()
    for kind in ("", "f")
]


def mappings(pid):
    """Of a pool, in this process."""
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:fuload")


# ---- descriptions


def test_functions_do_not_add_to_a_python_workers_mappings(pool):
    executor = pool(1)
    pid = executor.submit(os.getpid).result(timeout=30)
    before = mappings(pid)
    functions = {f for m in (operator, math, posixpath) for f in vars(m).values() if callable(f) and not isinstance(f, type)}
    for future in [executor.submit(f, None, None, None, None, None) for f in functions]:
        assert future.exception(timeout=30) is not None
    assert len(functions) > 120 and mappings(pid) <= before + 2
    assert executor.submit(os.getpid).result(timeout=30) == pid


def test_functions_do_not_add_to_a_c_workers_mappings(pool, libm, libc):
    executor = pool(1)
    pid = executor.submit(libc.getpid).result(timeout=30)
    before = mappings(pid)
    for name in LIBM:
        function = getattr(ctypes.CDLL("libm.so.6"), name)
        number = ctypes.c_float if name.endswith("f") and name != "erf" else ctypes.c_double
        function.argtypes, function.restype = [number], number
        assert executor.submit(function, 0.0).result(timeout=30) == function(0.0)
    for i in range(40):
        assert executor.submit(NativeTask("libm.so.6", f"absent{i}"), b"").exception(timeout=30) is not None
    assert mappings(pid) <= before + 2


# ---- pages

WARM = 128 << 20  # what a pool may keep
BIG = 40 << 20
SLACK = 8 << 20  # the region's base, descriptions


@pytest.fixture(scope="module")
def hungry(tmp_path_factory):
    library = tmp_path_factory.mktemp("plugin") / "hungry.so"
    source = Path(__file__).with_name("hungry.c")
    subprocess.run([sys.executable, "-m", "fuload_exec", "cc", source, "-o", library], check=True)
    return lambda name: NativeTask(str(library), name)


def pages():
    """Bytes that the only pool of this process holds."""
    files = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "memfd:fuload" in os.readlink(f"/proc/self/fd/{fd}"):
                files.append(os.stat(f"/proc/self/fd/{fd}").st_blocks * 512)
        except FileNotFoundError:
            pass
    (size,) = files
    return size


def much(size=BIG):
    return size.to_bytes(8, sys.byteorder)


@pytest.mark.parametrize("name", ["little", "nothing", "fails", "says_no_more", "asks_for_too_much"])
def test_pages_that_the_reply_does_not_mention(pool, hungry, name):
    """Eight slots are used at once, so that each has its share."""
    executor = pool(2, slots=8)
    task = hungry(name)
    for future in [executor.submit(task, much()) for _ in range(8)]:
        future.exception(timeout=30)
    assert pages() <= WARM + SLACK
    assert executor.submit(hungry("little"), much(100)).result(timeout=30) == b"\1" * 8


@pytest.mark.parametrize("name", ["dies", "leaves"])
@pytest.mark.parametrize("retries", [0, 1])
def test_pages_of_a_worker_that_died_are_given_back_before_anybody_hears_of_it(pool, hungry, name, retries):
    executor = pool(1, slots=1, max_retries=retries)
    assert executor.submit(hungry("little"), much(100)).result(timeout=30)
    for _ in range(2):
        assert isinstance(executor.submit(hungry(name), much()).exception(timeout=30), WorkerCrashed)
        assert pages() < SLACK


def test_pages_of_a_worker_that_was_ended(pool, hungry):
    executor = pool(1, slots=2, timeout=0.3)
    assert isinstance(executor.submit(hungry("hangs"), much()).exception(timeout=30), TaskTimeout)
    until(lambda: pages() < SLACK)
    future = executor.options(timeout=None).submit(hungry("hangs"), much())
    until(lambda: pages() > BIG)
    assert future.terminate()
    until(lambda: pages() < SLACK)


def test_pages_of_an_inout_call_that_crashes(pool, libc):
    libc.qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
    libc.qsort.restype = None
    executor = pool(1, slots=1)
    data = bytearray(BIG)
    assert isinstance(executor.submit(libc.qsort, data, 2, 4, 1).exception(timeout=30), WorkerCrashed)
    assert pages() < SLACK


def test_requests_of_tasks_that_were_cancelled(pool, libc, tmp_path):
    """They wait in eight slots, and nobody takes them."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    libc.open.argtypes, libc.open.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_int
    libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None
    executor = pool(1, slots=9)
    gated = executor.submit(libc.open, os.fsencode(gate), os.O_RDONLY)
    until(gated.running)
    data = bytearray(BIG)
    futures = [executor.submit(libc.memset, data, 0, 1) for _ in range(8)]
    assert pages() > 8 * BIG
    assert all(f.cancel() for f in futures)
    assert pages() <= WARM + SLACK
    os.close(os.open(gate, os.O_WRONLY))
    gated.result(timeout=30)
