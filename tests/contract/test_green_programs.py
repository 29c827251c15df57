"""Programs that gevent or eventlet have patched: stand-ins do here what those do."""

from __future__ import annotations

import subprocess
import textwrap

import pytest

RUN = """
import ctypes, sys, threading, types
{}
from fuload_exec import FuloadExecutor
libc = ctypes.CDLL("libc.so.6")
libc.abs.argtypes = [ctypes.c_int]
threads = threading.active_count()
try:
    with FuloadExecutor(1) as executor:
        print(executor.submit(libc.abs, -1).result(), executor.submit(pow, 2, 3).result())
except RuntimeError as error:
    print(error)
print(threading.active_count() - threads)
"""
GEVENT = """
monkey = types.ModuleType("gevent.monkey")
monkey.is_module_patched = lambda name: name in {}
sys.modules["gevent.monkey"] = monkey
"""
EVENTLET = """
patcher = types.ModuleType("eventlet.patcher")
patcher.is_monkey_patched = lambda name: name in {}
sys.modules["eventlet.patcher"] = patcher
"""
# Both take it away, since their select() could not stand for it.
NO_EPOLL = """
import select
for name in ("epoll", "poll"):
    delattr(select, name)
"""


def run(python, *patches):
    program = RUN.format("".join(map(textwrap.dedent, patches)))
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == "", done.stderr
    return done.stdout.splitlines()


def test_without_epoll(python):
    assert run(python, NO_EPOLL) == ["1 8", "0"]


@pytest.mark.parametrize(
    "patch",
    [GEVENT.format({"select", "socket", "os"}), EVENTLET.format({"select", "socket"}), "sys.modules['gevent.monkey'] = None"],
)
def test_patched_in_other_places(python, patch):
    assert run(python, patch, NO_EPOLL) == ["1 8", "0"]


@pytest.mark.parametrize(
    ("who", "patch", "instead"),
    [
        ("gevent", GEVENT.format({"_thread", "threading"}), "gevent.monkey.patch_all(thread=False)"),
        ("eventlet", EVENTLET.format({"thread"}), "eventlet.monkey_patch(thread=False)"),
    ],
)
def test_patched_threads(python, who, patch, instead):
    told, threads = run(python, patch, NO_EPOLL)
    assert told.startswith(f"{who} has patched this program's threads") and instead in told
    assert threads == "0"


def test_threads_that_are_patched_after_the_pool_was_made(python):
    """Its threads are started by the first task."""
    program = RUN.format("").replace(
        "        print(", GEVENT.format({"threading"}).replace("\n", "\n        ") + "\n        print("
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == "", done.stderr
    assert done.stdout.startswith("gevent has patched this program's threads")
