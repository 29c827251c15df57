"""A task writes over the memory that its pool shares with its workers: the parent
lives, every future ends, and the pool works on or is broken with one error."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from support.waiting import asleep, process_state, until

from fuload_exec import FuloadExecutor, SlotCorrupted, WorkerCrashed

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
PATIENCE = 30

MANNERS = [
    "notices",
    "states",
    "blocks",
    "flags",
    "slot headers",
    "slot areas",
    "stray",
    "headers",
    "random",
    "zeros",
    "ones",
    "removed",
    "hole",
    "holes",
    "file header",
    "file stray",
]
EXACT = 4  # the first of them leave arguments and results alone (a slot's header holds a number that is the result)
COLLECTOR, HEAD, SLEEPERS, PIDS = range(4)
GONE, STARTING, BUSY, POLLING, ASLEEP, CALLED = range(6)  # doorbell.h


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The path of the library that scribbles: its offsets come from the layout."""
    path = tmp_path_factory.mktemp("scribble") / "scribble.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{CSRC}", "-o", path, HERE / "scribble.c"], check=True
    )
    return str(path)


@pytest.fixture
def functions(library):
    loaded = ctypes.CDLL(library)
    loaded.scribble.argtypes, loaded.scribble.restype = [ctypes.c_int, ctypes.c_uint64], ctypes.c_int
    loaded.poke.argtypes, loaded.poke.restype = [ctypes.c_int, ctypes.c_uint64], ctypes.c_int
    loaded.vanish.argtypes, loaded.vanish.restype = [], ctypes.c_int
    return loaded


@pytest.mark.parametrize("manner", range(len(MANNERS)), ids=MANNERS)
def test_scribbling(library, manner, stress):
    """FULOAD_STRESS=N tries N times as many seeds."""
    exact = int(manner < EXACT)
    seeds = stress * (2 if exact else 1)
    done = subprocess.run(
        [sys.executable, str(HERE / "scribbling.py"), library, str(manner), "0", str(seeds), str(exact)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-4000:]


def meet(mine, other):
    """Ends when another worker runs the same with the names exchanged."""
    Path(mine).touch()
    until(Path(other).exists, PATIENCE)
    return os.getpid()


def both_work(executor, folder):
    a, b = str(folder / "a"), str(folder / "b")
    futures = [executor.submit(meet, a, b), executor.submit(meet, b, a)]
    found = {future.result(PATIENCE) for future in futures}
    Path(a).unlink()
    Path(b).unlink()
    return found


@pytest.mark.parametrize("spin", [None, 0])
@pytest.mark.parametrize("head", [0, 600, 1 << 40, (1 << 64) - 1], ids=hex)
def test_a_head_that_is_no_position(functions, head, spin):
    """A head past the tail: nothing was claimed any more, and everybody looked for it."""
    with FuloadExecutor(2, spin=spin, slots=16) as executor:
        for round in range(3):
            assert executor.submit(functions.poke, HEAD, head).result(PATIENCE) == 1
            assert [f.result(PATIENCE) for f in [executor.submit(pow, round, k) for k in range(40)]] == [
                round**k for k in range(40)
            ]
            for pid in executor.worker_pids:
                until(lambda: process_state(pid) == "S")


@pytest.mark.parametrize("word", [0, 2, 0x4141414141414141], ids=hex)
def test_a_word_of_the_collector_that_means_nothing(functions, word):
    """Nobody looks at the future but the collector."""
    with FuloadExecutor(1, spin=0) as executor:
        assert executor.submit(functions.poke, COLLECTOR, word).result(PATIENCE) == 1
        for _ in range(3):
            called = threading.Event()
            executor.submit(pow, 2, 2).add_done_callback(lambda f: called.set())
            assert called.wait(PATIENCE)


@pytest.mark.parametrize("state", [GONE, STARTING, BUSY, POLLING, CALLED, (1 << 64) - 1], ids=hex)
def test_a_sleeper_that_says_that_it_does_not_sleep(functions, tmp_path, state):
    with FuloadExecutor(2, spin=0) as executor:
        pids = both_work(executor, tmp_path)
        # Who finds none has itself seen the other called, for a task that waits for long on a busy machine.
        until(lambda: asleep(executor) and executor.submit(functions.poke, SLEEPERS, state).result(PATIENCE) == 1)
        assert both_work(executor, tmp_path) == pids


def test_the_pids_are_those_of_the_workers(functions):
    """A program may pass them to os.kill(), and siblings are signalled by them."""
    with FuloadExecutor(2) as executor:
        executor.submit(os.getpid).result(PATIENCE)
        pids = executor.worker_pids
        future = executor.submit(functions.poke, PIDS, os.getpid())
        assert future.result(PATIENCE) >= 0
        assert future.worker_pid in executor.worker_pids
        assert os.getpid() not in executor.worker_pids and set(pids) <= set(executor.worker_pids)
        assert os.getpid() not in {w.pid for w in executor.stats().workers}


def region_file(process):
    """A descriptor of the pool's memory, of its own."""
    folder = f"/proc/{process}/fd"
    links = [f"{folder}/{name}" for name in os.listdir(folder)]
    link = next(x for x in links if os.path.lexists(x) and os.readlink(x).startswith("/memfd:fuload "))
    return os.open(link, os.O_RDWR)


def punch(process):
    """A hole over the whole file, by the worker's descriptor or by the parent's."""
    fd = region_file(process)
    libc = ctypes.CDLL(None)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    return libc.fallocate(fd, 3, 0, os.fstat(fd).st_size)


def cut_and_freeze():
    """How many of these are refused."""
    fd, refused = region_file("self"), 0
    for call in (
        partial(os.ftruncate, fd, 0),
        partial(os.ftruncate, fd, 1 << 60),
        partial(fcntl.fcntl, fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
    ):
        try:
            call()
        except OSError:
            refused += 1
    return refused


@pytest.mark.parametrize("through", ["self", "the parent"])
@pytest.mark.parametrize("others", [0, 30])
def test_a_hole_over_everything(through, others):
    with FuloadExecutor(2) as executor:
        futures = [executor.submit(time.sleep, 0.01) for _ in range(others)]
        futures.append(executor.submit(punch, os.getpid() if through == "the parent" else "self"))
        futures += [executor.submit(pow, 2, k) for k in range(others)]
        for future in futures:
            assert isinstance(future.exception(PATIENCE), (SlotCorrupted, WorkerCrashed, type(None)))
        until(lambda: broken(executor))
        with pytest.raises(SlotCorrupted, match="memory was destroyed"):
            executor.submit(pow, 2, 2)
    assert not executor.worker_pids


def broken(executor):
    try:
        executor.submit(pow, 2, 2).exception(PATIENCE)
    except SlotCorrupted:
        return True
    return False


def test_the_memory_can_neither_be_cut_nor_frozen():
    with FuloadExecutor(1) as executor:
        assert executor.submit(cut_and_freeze).result(PATIENCE) == 3
        assert executor.submit(pow, 2, 2).result(PATIENCE) == 4


@pytest.mark.parametrize("slots", [1, 8])
def test_a_worker_that_nothing_is_known_of_any_more(functions, slots):
    """It has written over all that names it, and sleeps: its place is taken by another."""
    with FuloadExecutor(1, slots=slots, spin=0) as executor:
        executor.submit(functions.poke, COLLECTOR, 0).result(PATIENCE)
        future = executor.submit(functions.vanish)
        assert isinstance(future.exception(PATIENCE), SlotCorrupted)
        assert executor.submit(pow, 2, 5).result(PATIENCE) == 32
        assert executor.submit(functions.poke, COLLECTOR, 0).result(PATIENCE) == 1


def test_a_terminated_task_ends_though_its_word_is_forged(functions):
    """By the collector and the supervisor alone."""
    with FuloadExecutor(2, slots=4, spin=0) as executor:
        futures = [executor.submit(time.sleep, 60) for _ in range(2)]
        until(lambda: all(f.running() for f in futures))
        futures += [executor.submit(functions.scribble, MANNERS.index("zeros"), 1)]
        for future in futures[:2]:
            future.terminate()
        for future in futures:
            try:
                future.exception(PATIENCE)
            except BaseException:
                assert future.cancelled()
