"""What the parts of a task cost at least: a round trip through shared memory,
a pickle of the call, a copy of 8 MiB into pages that were touched before."""

import ctypes
import mmap
import os
import pickle
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
from python_tasks import increment
from tasks import EIGHT_MIB

ROUND_TRIPS = 1_000
_ANSWER_SECONDS = 60


@pytest.fixture(scope="module")
def cache_line(tmp_path_factory):
    library = tmp_path_factory.mktemp("floors") / "cache_line.so"
    source = Path(__file__).with_name("cache_line.c")
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


@contextmanager
def _answering(library, line):
    """Another process that answers on this cache line."""
    pid = os.fork()
    if not pid:
        # Whatever becomes of the parent, this one does not spin for ever.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_ANSWER_SECONDS)
        library.answer(line)
        os._exit(0)
    try:
        yield
    finally:
        library.leave(line)
        os.waitpid(pid, 0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes that spin need two CPUs")
def bench_cache_line(measure, cache_line):
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    word = ctypes.c_uint64.from_buffer(shared)
    line, times = ctypes.c_void_p(ctypes.addressof(word)), ctypes.c_uint64(ROUND_TRIPS)
    with _answering(cache_line, line):
        measure(
            f"floor of latency: a cache line there and back {ROUND_TRIPS:,} times",
            "two processes that spin",
            lambda: cache_line.ask(line, times),
        )


def bench_pickle(measure):
    call = (increment, (1,), {})
    measure(
        "floor of a pickled call: (fn, args, kwargs) there",
        "dumps and loads",
        lambda: pickle.loads(pickle.dumps(call, 5)),
        iterations=100,
    )


@pytest.mark.parametrize("copy", ["ctypes.memmove", "numpy.copyto"])
def bench_memcpy(measure, copy):
    source, target = numpy.ones(EIGHT_MIB, numpy.uint8), numpy.zeros(EIGHT_MIB, numpy.uint8)
    calls = {
        "ctypes.memmove": lambda: ctypes.memmove(target.ctypes.data, source.ctypes.data, EIGHT_MIB),
        "numpy.copyto": lambda: numpy.copyto(target, source),
    }
    measure("floor of 8 MiB: one copy into warm pages", copy, calls[copy])
