"""Control over tasks, interrupted at its narrow places: what would need a
thread or a signal to come at one instant is brought about there."""

from __future__ import annotations

import ctypes
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support.tasks import square
from support.waiting import until

from fuload_exec import FuloadExecutor, SlotCorrupted, TaskTimeout

PATIENCE = 30

SCRIBBLE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/layout.h"

/* Writes over the word of the first slot. */
int scribble(void)
{
    char line[512], *base = NULL;
    FILE *maps = fopen("/proc/self/maps", "r");

    while (!base && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:fuload "))
            base = (char *)strtoull(line, NULL, 16);
    fclose(maps);
    if (base)
        *(uint64_t *)(base + ((struct fl_header *)base)->plan.slots_at) = UINT64_C(0xdeadbeefdeadbeef);
    return base != NULL;
}
"""
CSRC = Path(__file__).parents[2] / "csrc"


def once(monkeypatch, target, name, act):
    """The next call of target.name does act(original, arguments) instead."""
    original = getattr(target, name)
    acts = [act]

    def call(*arguments):
        return acts.pop()(original, arguments) if acts else original(*arguments)

    monkeypatch.setattr(target, name, call)


def interrupt(original, arguments):
    raise KeyboardInterrupt


class AtPickle:
    def __init__(self, act):
        self.act = act

    def __reduce__(self):
        self.act()
        return int, ()


def fail():
    raise ValueError("no set-up")


# -- submit() while the pool ends -------------------------------------------------


@pytest.mark.parametrize("warm", [False, True])
def test_a_pool_that_is_shut_down_while_arguments_are_pickled(pool, warm):
    """The region was unmapped: the request was written to nowhere."""
    executor = pool(1)
    if warm:
        assert executor.submit(square, 2).result(PATIENCE) == 4
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, AtPickle(executor.shutdown))


def test_a_pool_that_breaks_while_arguments_are_pickled(pool):
    executor = pool(1, initializer=fail)

    def break_it():
        assert executor.submit(square, 1).exception(PATIENCE)

    with pytest.raises(Exception, match="initializer failed"):
        executor.submit(square, AtPickle(break_it))
    executor.shutdown()


def test_a_pool_that_is_shut_down_while_a_long_request_is_copied(dice):
    """The copy is made without the interpreter's lock."""
    big = bytes(64 << 20)
    for _ in range(6):
        executor = FuloadExecutor(1, max_retries=dice.choice([0, 1]))
        ending = threading.Timer(dice.random() * 0.06, executor.shutdown)
        ending.start()
        try:
            assert executor.submit(len, big).result(PATIENCE) == len(big)
        except RuntimeError as error:
            assert "after shutdown" in str(error)
        ending.join()


# -- Ctrl-C in the middle of submit() ---------------------------------------------


# Once its task counts, nothing can interrupt it: test_no_python_in_submit.py.


def test_a_submit_that_is_interrupted_may_be_tried_again(pool, monkeypatch):
    executor = pool(1, slots=1)
    once(monkeypatch, executor._crew, "recruit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        executor.options(timeout=60).submit(square, 3)
    assert executor.stats().unfinished == 0
    assert executor.submit(square, 4).result(PATIENCE) == 16
    executor.shutdown()


def test_a_submit_that_is_interrupted_lets_another_in(pool, monkeypatch):
    """Two threads are at it when the pool gets its threads."""
    executor = pool(1, max_pending=1)
    other = []

    def start_another(original, arguments):
        thread = threading.Thread(target=lambda: other.append(executor.submit(square, 5)))
        thread.start()
        thread.join(PATIENCE)
        raise KeyboardInterrupt

    once(monkeypatch, executor._crew, "recruit", start_another)
    with pytest.raises(KeyboardInterrupt):
        executor.options(timeout=60).submit(square, 3)
    assert other[0].result(PATIENCE) == 25


# -- timeouts ------------------------------------------------------------------------


def test_a_task_that_comes_when_another_is_timed_out(pool):
    """Into a slot that the supervisor has looked at already: its timeout was forgotten."""
    executor = pool(2, slots=2)
    first = executor.submit(time.sleep, 0.3)
    until(first.running)
    overdue = executor.options(timeout=0.6).submit(time.sleep, 600)
    late = []
    overdue.add_done_callback(lambda f: late.append(executor.options(timeout=0.05).submit(time.sleep, 600)))
    assert type(overdue.exception(PATIENCE)) is TaskTimeout
    until(lambda: late)
    assert type(late[0].exception(PATIENCE)) is TaskTimeout


def test_the_longest_timeout_is_waited_for(pool, caplog):
    """It is more milliseconds than epoll can count. Nobody calls result(): so
    nothing else limits the supervisor's wait."""
    executor = pool(1, timeout=1e9)
    future = executor.submit(time.sleep, 0.2)
    until(future.done)
    assert not caplog.records


# -- the end of a task -----------------------------------------------------------------


def test_callbacks_of_the_last_task_of_a_pool_that_ends_at_once(pool):
    """They are called, though the pool has nothing else to wait for."""
    executor = pool(1, max_tasks_per_child=1, spin=0)
    called = threading.Event()
    future = executor.submit(time.sleep, 0.2)
    future.add_done_callback(lambda f: called.set())
    until(future.running)
    executor.shutdown(wait=False)
    while not future.done():
        pass
    assert called.wait(PATIENCE)


# -- corrupted slots --------------------------------------------------------------------


def test_a_slot_found_corrupted_at_its_workers_burial_is_used_again(pool, tmp_path):
    """With one slot, everything after it waited for ever."""
    source = tmp_path / "scribble.c"
    source.write_text(SCRIBBLE)
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{CSRC}", "-o", str(tmp_path / "scribble.so"), str(source)], check=True)
    library = ctypes.CDLL(str(tmp_path / "scribble.so"))
    library.scribble.argtypes, library.scribble.restype = [], ctypes.c_int
    executor = pool(1, slots=1, spin=0)
    future = executor.submit(library.scribble)
    until(lambda: executor.stats().failed)  # nobody looks at the slot before the burial
    assert type(future.exception(PATIENCE)) is SlotCorrupted
    assert [executor.submit(square, i).result(PATIENCE) for i in range(3)] == [0, 1, 4]
