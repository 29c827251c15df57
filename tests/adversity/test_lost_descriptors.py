"""Somebody closes the descriptors under us: one error says so, everything ends,
and what has their numbers since is left alone."""

from __future__ import annotations

import pytest

LOSE = """
import gc, logging
from concurrent.futures.process import BrokenProcessPool
logging.basicConfig(filename=FOLDER + "/log", format="%(levelname)s %(message)s")

def numbers():
    # But that of the listing itself.
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}

before = numbers()
executor = FuloadExecutor(2)
executor.submit(zoo.square, 1).result(timeout=20)
futures = []
if BUSY:
    futures += [executor.submit(libc.usleep, 90_000_000) for _ in range(3)]
    futures += [executor.submit(zoo.square, 2) for _ in range(50)]
    until(futures[0].running)
pids = executor.worker_pids
ours = sorted(numbers() - before)
LOSE
errors = {type(future.exception(timeout=20)).__name__ for future in futures}
report(errors=sorted(errors), done=all(f.done() for f in futures))
try:
    executor.submit(libc.abs, 1).result(timeout=20)
    report(refused="no")
except BrokenProcessPool as error:
    report(refused=str(error))
until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
executor.shutdown()
until(lambda: not zoo.our_threads())
used = time.process_time()
time.sleep(0.3)
report(idle=time.process_time() - used < 0.1)
del executor, futures
gc.collect()
with FuloadExecutor(2) as later:
    report(later=[later.submit(zoo.square, 3).result(timeout=20), later.submit(libc.abs, -4).result(timeout=20)])
report(log=open(FOLDER + "/log").read())
"""

CLOSE = """
for fd in ours:
    try:
        os.close(fd)
    except OSError:
        pass  # we are faster than this loop
"""

# Files with something in them, and pipes that nobody else writes to.
REUSE = """
with open(FOLDER + "/theirs", "w") as file:
    file.write("0123456789" * 10)
theirs = os.open(FOLDER + "/theirs", os.O_RDWR)
from_pipe, to_pipe = os.pipe()
os.set_blocking(from_pipe, False)
for fd in ours:
    os.dup2(theirs if fd % 2 else to_pipe, fd)
"""

UNTOUCHED = """
for fd in ours:
    os.fstat(fd)
report(place=os.lseek(theirs, 0, os.SEEK_CUR), same=open(FOLDER + "/theirs").read() == "0123456789" * 10)
try:
    report(written=len(os.read(from_pipe, 100)))
except BlockingIOError:
    report(written=0)
"""


def check(p, busy):
    assert p.exit(60) == 0, p.errors()
    found = p.reports()
    assert found["done"] and set(found["errors"]) <= {"BrokenProcessPool", "NoneType"}
    assert "BrokenProcessPool" in found["errors"] or not busy
    assert "somebody has closed descriptors" in found["refused"]
    assert found["idle"] and found["later"] == [9, 4]
    assert found["log"].count("somebody has closed") == 1 and len(found["log"].splitlines()) == 1, found["log"]
    assert p.errors() == ""


@pytest.mark.parametrize("busy", [True, False])
def test_all_are_closed(program, busy):
    check(program(LOSE.replace("LOSE", CLOSE).replace("BUSY", repr(busy))), busy)


@pytest.mark.parametrize("busy", [True, False])
def test_all_are_closed_and_others_have_their_numbers(program, busy):
    p = program(LOSE.replace("LOSE", REUSE).replace("BUSY", repr(busy)) + UNTOUCHED)
    check(p, busy)
    assert (p.reports()["place"], p.reports()["same"], p.reports()["written"]) == (0, True, 0)


ONE = """
import logging
logging.disable()

def numbers():
    # But that of the listing itself.
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}

before = numbers()
bad, which = [], 0
while True:
    executor = FuloadExecutor(1)
    executor.submit(libc.abs, -1).result(timeout=20)
    future = executor.submit(libc.usleep, 400_000)
    until(future.running)
    ours = sorted(numbers() - before)
    name = "none"
    if which < len(ours):
        name = os.readlink(f"/proc/self/fd/{ours[which]}")
        os.close(ours[which])
    try:
        future.exception(timeout=20)
        for _ in range(3):
            executor.submit(libc.abs, 1).exception(timeout=20)
    except TimeoutError:
        bad.append(f"{which}: {name}: pending")
    except Exception:
        pass
    executor.shutdown()
    until(lambda: not zoo.our_threads())
    del executor, future
    left = numbers() - before
    # Without the epoll nothing proves whose the others are.
    if left and "eventpoll" not in name:
        bad.append(f"{which}: {name}: left open {left}")
    before |= left
    if which >= len(ours):
        break
    which += 1
report(bad=bad, which=which)
"""


def test_any_single_one_is_closed(program):
    """By a program that closes a number twice: whichever of ours has it by then,
    nothing is left pending or open, and the next pool works."""
    p = program(ONE)
    assert p.exit(90) == 0, p.errors()
    assert p.reports()["bad"] == [] and p.reports()["which"] > 5, p.reports()


@pytest.mark.parametrize("theirs", ["file", "pipe"])
def test_a_new_workers_descriptor_is_replaced_before_it_is_known(program, theirs):
    p = program(f"""
import logging
from concurrent.futures.process import BrokenProcessPool
from fuload_exec import _core
logging.disable()
if {theirs == "file"}:
    theirs = os.open(FOLDER + "/theirs", os.O_RDWR | os.O_CREAT)
else:
    _, theirs = os.pipe()
numbers, pids, start_workers = [], [], _core.start_workers

def start_and_replace(*arguments):
    started, failure = start_workers(*arguments)
    for pid, pidfd in started:
        pids.append(pid)
        numbers.append(os.dup2(theirs, pidfd))
    return started, failure

_core.start_workers = start_and_replace
executor = FuloadExecutor(2)
try:
    while True:  # the worker may serve until it is known
        executor.submit(libc.abs, 1).result(timeout=20)
except BrokenProcessPool as error:
    report(error=str(error))
until(lambda: not any(os.path.exists(f"/proc/{{pid}}") for pid in pids))
executor.shutdown()
report(replaced=len(numbers), theirs=all(os.path.sameopenfile(fd, theirs) for fd in numbers))
_core.start_workers = start_workers
with FuloadExecutor(1) as later:
    report(later=later.submit(libc.abs, -4).result(timeout=20))
""")
    assert p.exit() == 0, p.errors()
    found = p.reports()
    assert "somebody has closed descriptors" in found["error"]
    assert found["replaced"] > 0 and found["theirs"] and found["later"] == 4
