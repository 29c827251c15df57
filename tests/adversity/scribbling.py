"""A program: pools whose memory a task writes over, while others run. Arguments:
the scribbling library, a manner, and seeds from and to. It ends with 0 if every
future of every pool ended and each pool worked on or was broken with an error."""

import ctypes
import faulthandler
import random
import sys
import threading
import time
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool

from fuload_exec import FuloadExecutor, LibraryLoadError, NativeTaskError, PayloadTooLarge, TaskTimeout
from fuload_exec._core import LOGGER

PATIENCE = 20
# What a stray store may turn a task's outcome into: its error names what happened.
SAID = (BrokenProcessPool, CancelledError, TaskTimeout, PayloadTooLarge, LibraryLoadError, NativeTaskError, RuntimeError)

libc = ctypes.CDLL("libc.so.6")
libc.usleep.argtypes, libc.usleep.restype = [ctypes.c_uint], ctypes.c_int
libc.labs.argtypes, libc.labs.restype = [ctypes.c_long], ctypes.c_long


def by_python(library, manner, seed):
    return ctypes.CDLL(library).scribble(manner, ctypes.c_uint64(seed))


def one_pool(library, manner, seed, exact):
    dice = random.Random(seed * 1000 + manner)
    scribble = ctypes.CDLL(library).scribble
    scribble.argtypes, scribble.restype = [ctypes.c_int, ctypes.c_uint64], ctypes.c_int
    executor = FuloadExecutor(dice.choice([1, 2, 3]), spin=dice.choice([None, 0]), slots=dice.choice([2, 8, 100]), slot_size=512)
    futures, expected, called = [], {}, []

    def put(future, value=None):
        futures.append(future)
        if value is not None:
            expected[future] = value

    def some_tasks():
        try:
            for i in range(6):
                put(executor.submit(libc.labs, -i - 1), i + 1)
                put(executor.submit(pow, 2, i), 2**i)
            put(executor.submit(len, b"b" * 70_000), 70_000)
            put(executor.submit(bytes, 80_000), bytes(80_000))
            put(executor.options(timeout=2).submit(libc.usleep, 20_000))  # or as long as is written over its argument
            put(executor.options(timeout=0.2).submit(time.sleep, 3))
            put(executor.options(max_retries=1).submit(libc.labs, 7), 7)
            futures[-1].add_done_callback(called.append)
        except BrokenProcessPool:
            pass

    try:
        some_tasks()
        ending = executor.submit(time.sleep, 4)
        futures.append(ending)
        python = dice.random() < 0.5
        futures.append(executor.submit(by_python, library, manner, seed) if python else executor.submit(scribble, manner, seed))
        some_tasks()
        threading.Timer(0.1, ending.terminate).start()
    except BrokenProcessPool:
        pass
    # Nobody looks at these but the collector and the supervisor.
    left = wait(futures, PATIENCE).not_done
    assert not left, f"{len(left)} of {len(futures)} futures did not end: {list(left)[:3]}"
    for future in futures:
        try:
            value = future.result(0)
        except SAID:
            continue
        except Exception as error:
            assert not exact, f"{future}: {error!r}"
            continue
        if exact and future in expected:
            assert value == expected[future], f"{future}: {str(value)[:99]}"
    due = time.monotonic() + PATIENCE
    while True:  # it works on, or is broken
        assert time.monotonic() < due, "it does not work on, and is not broken"
        try:
            if executor.submit(libc.labs, -5).result(PATIENCE) == 5 and executor.submit(pow, 3, 2).result(PATIENCE) == 9:
                break
        except SAID:
            if executor._pool.broken is not None:
                break
    if executor._pool.broken is None:
        idle(executor, due)
    executor.shutdown()
    assert not executor.worker_pids


def idle(executor, due):
    """No worker spins when there is nothing to do."""

    def states():
        found = []
        for pid in executor.worker_pids:
            try:
                with open(f"/proc/{pid}/stat") as file:
                    found.append(file.read().rsplit(")", 1)[1].split()[0])
            except FileNotFoundError:
                pass
        return found

    while "R" in states():
        assert time.monotonic() < due, "a worker spins"
        time.sleep(0.01)


def main():
    library, manner, begin, end, exact = sys.argv[1], *map(int, sys.argv[2:6])
    LOGGER.disabled = True
    for seed in range(begin, end):
        print(f"manner {manner}, seed {seed}", flush=True)
        faulthandler.dump_traceback_later(2 * PATIENCE + 20, exit=True)
        one_pool(library, manner, seed, exact)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
