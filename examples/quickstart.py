"""Digest every file of the standard library on ten C workers.

    python examples/quickstart.py

Four steps, each a screenful of code below:

1. a C function, taken from a library with ctypes, digests every file in C workers;
2. a Python function does the same in Python workers of the same pool;
3. a C function that crashes costs one task, and the pool goes on;
4. how much a task costs here and in the executors of the standard library.
"""

from __future__ import annotations

import binascii
import ctypes
import ctypes.util
import math
import multiprocessing
import os
import signal
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fuload_exec import FuloadExecutor, WorkerCrashed

WORKERS = 10

# Tasks under way at once: submit() waits when there are more, so that no more
# than these files are in memory.
MOST_PENDING = 64

# For each row of the table, for each of its two columns.
SECONDS = 1.0


def main() -> int:
    files = readable_files(Path(sysconfig.get_path("stdlib")))
    with FuloadExecutor(WORKERS, max_pending=MOST_PENDING) as executor:
        agreed = digest_all(executor, files)
        crash_and_go_on(executor)
    print_table()
    print("\nEverything agreed." if agreed else "\nSomething DISAGREED, see above.")
    return 0 if agreed else 1


# -- 1 and 2: the same job by C workers, by Python workers, and here ---------------------------


def digest_all(executor: FuloadExecutor, files: list[Path]) -> bool:
    digest = library_digest()
    print(f"{len(files)} files of the standard library; {digest.origin} on {WORKERS} C workers,")
    print("then a Python function on the same workers, then the same in this process.\n")
    by_c = run("C function, C workers", files, lambda file: digest.submit(executor, file.read_bytes()))
    show_workers(executor)
    by_python = run("Python function, Python workers", files, lambda file: executor.submit(digest_file, file))
    show_workers(executor)
    started = time.perf_counter()
    with progress(files, "this process alone") as watched:
        here = {file: digest_file(file) for file in watched}
    print_time("this process alone", files, started)
    print()
    agreed = [agree("C workers", by_c, here), agree("Python workers", by_python, here)]
    return all(agreed)


def digest_file(file: Path) -> int:
    """The CRC-32 of a file. Runs in a Python worker, and in this process."""
    return binascii.crc32(file.read_bytes())


class Digest(NamedTuple):
    """A C function that computes a CRC-32, and the order of its arguments."""

    function: Callable[..., int]
    origin: str
    arguments: Callable[[bytes], tuple[Any, ...]]

    def submit(self, executor: FuloadExecutor, data: bytes) -> Future[int]:
        return executor.submit(self.function, *self.arguments(data))


def library_digest() -> Digest:
    """zlib's crc32; where zlib is missing, the same digest of liblzma."""
    try:
        return zlib_digest()
    except (OSError, AttributeError):
        print("(zlib's shared library is missing here: liblzma's function is used instead)")
    try:
        return lzma_digest()
    except (OSError, AttributeError):
        raise SystemExit("Neither zlib nor liblzma is installed: 'apt-get install zlib1g' brings the first.") from None


def zlib_digest() -> Digest:
    crc32 = ctypes.CDLL(ctypes.util.find_library("z") or "libz.so.1").crc32
    crc32.argtypes = [ctypes.c_ulong, ctypes.c_void_p, ctypes.c_uint]
    crc32.restype = ctypes.c_ulong
    return Digest(crc32, "zlib's crc32()", lambda data: (0, data, len(data)))


def lzma_digest() -> Digest:
    crc32 = ctypes.CDLL(ctypes.util.find_library("lzma") or "liblzma.so.5").lzma_crc32
    crc32.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32]
    crc32.restype = ctypes.c_uint32
    return Digest(crc32, "liblzma's lzma_crc32()", lambda data: (data, len(data), 0))


def run(title: str, files: list[Path], submit: Callable[[Path], Future[int]]) -> dict[Path, int]:
    """One task a file. The results are kept by file, in whatever order they come."""
    started = time.perf_counter()
    with progress(files, title) as watched:
        futures = {file: submit(file) for file in watched}
        digests = {file: future.result() for file, future in futures.items()}
    print_time(title, files, started)
    return digests


def print_time(title: str, files: list[Path], started: float) -> None:
    print(f"  {title}: {len(files)} files in {time.perf_counter() - started:.2f} s", flush=True)


def show_workers(executor: FuloadExecutor) -> None:
    workers = executor.stats().workers
    interpreters = sum(worker.python for worker in workers)
    print(f"  workers: {', '.join(str(worker.pid) for worker in workers)}")
    print(f"  {interpreters} of these {len(workers)} processes run a Python interpreter\n", flush=True)


def agree(title: str, digests: dict[Path, int], expected: dict[Path, int]) -> bool:
    wrong = [file for file in expected if digests[file] != expected[file]]
    for file in wrong:
        print(f"  DISAGREE: {file}: {digests[file]:08x} by {title}, {expected[file]:08x} in this process")
    print(f"  {title} and this process agree on {len(expected) - len(wrong)} of {len(expected)} files")
    return not wrong


def readable_files(folder: Path) -> list[Path]:
    """Regular files below the folder, without what was installed on top of it."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages")]
        found += [file for file in (Path(place, name) for name in names) if is_readable(file)]
    return found


def is_readable(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and os.access(file, os.R_OK)


# -- 3: a crash --------------------------------------------------------------------------------


def crash_and_go_on(executor: FuloadExecutor) -> None:
    """strlen() reads until it finds a zero byte: at this address it finds no memory."""
    strlen = ctypes.CDLL(None).strlen
    strlen.argtypes = [ctypes.c_void_p]
    strlen.restype = ctypes.c_size_t
    print("\nA C function that crashes, on purpose:")
    try:
        executor.submit(strlen, 0xBAD).result()
    except WorkerCrashed as crash:
        print(f"  WorkerCrashed: {crash}")
    print(f"  and the pool goes on: strlen(b'still here') is {executor.submit(strlen, b'still here').result()}")


# -- 4: what a task costs ----------------------------------------------------------------------


def print_table() -> None:
    cos = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6").cos
    cos.argtypes, cos.restype = [ctypes.c_double], ctypes.c_double
    print(f"\nWhat a task costs: the cosine of 0.5, {WORKERS} workers, {os.cpu_count()} CPUs.")
    print(f"  {'executor':<20} {'task':<16} {'tasks a second':>14} {'µs a task':>11}")
    with FuloadExecutor(WORKERS) as fuload:
        print_row(fuload, "C function", cos)
        print_row(fuload, "Python callable", math.cos)
    with standard_process_pool() as processes:
        print_row(processes, "Python callable", math.cos)
    with ThreadPoolExecutor(WORKERS) as threads:
        print_row(threads, "C function", cos)
        print_row(threads, "Python callable", math.cos)
    print("  tasks a second: many submitted at once; µs a task: one after the other, submit to result, median")


def print_row(executor: Executor, task: str, fn: Callable[[float], float]) -> None:
    name = type(executor).__name__
    many(executor, fn, 1000)  # the workers are started and warm
    rate, latency = throughput(executor, fn), round_trip(executor, fn)
    print(f"  {name:<20} {task:<16} {rate:>14,.0f} {latency * 1e6:>11,.1f}", flush=True)


def throughput(executor: Executor, fn: Callable[[float], float]) -> float:
    """Tasks a second: bursts, until the time is over."""
    tasks, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        tasks += many(executor, fn)
    return tasks / elapsed


def many(executor: Executor, fn: Callable[[float], float], tasks: int = 10_000) -> int:
    for future in [executor.submit(fn, 0.5) for _ in range(tasks)]:
        future.result()
    return tasks


def round_trip(executor: Executor, fn: Callable[[float], float]) -> float:
    """Seconds from submit to result: the median of tasks that are alone in the pool."""
    times: list[float] = []
    due = time.perf_counter() + SECONDS
    while (started := time.perf_counter()) < due:
        executor.submit(fn, 0.5).result()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@contextmanager
def standard_process_pool() -> Iterator[ProcessPoolExecutor]:
    """A ProcessPoolExecutor that Ctrl-C ends at once.

    Its workers would print a traceback each, and the parent would wait for
    what is queued. So they are born deaf to Ctrl-C, and killed if it comes.
    """
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as executor:
        try:
            start_deaf_workers(executor)
            yield executor
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.kill()
            raise


def start_deaf_workers(executor: ProcessPoolExecutor) -> None:
    """Each of the first tasks starts a worker, which inherits the signal mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        for _ in range(WORKERS):
            executor.submit(math.cos, 0.5)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- progress ----------------------------------------------------------------------------------


@contextmanager
def progress(files: list[Path], title: str) -> Iterator[Iterable[Path]]:
    """The files one by one, with a bar that moves along, or plain lines."""
    try:
        from rich.progress import Progress
    except ImportError:
        Progress = None
    if Progress is None or not sys.stdout.isatty():
        yield in_lines(files, title)
        return
    with Progress() as bar:
        yield bar.track(files, description=f"  {title}")


def in_lines(files: list[Path], title: str) -> Iterator[Path]:
    for done, file in enumerate(files):
        if done % max(1, len(files) // 4) == 0:
            print(f"  {title}: {done} of {len(files)} files", flush=True)
        yield file


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
