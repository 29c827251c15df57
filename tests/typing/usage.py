"""What users write, with the types that they should see, and mistakes that a
type checker must find: mypy reads this file, and it runs as a program."""

from __future__ import annotations

import array
import asyncio
import ctypes
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from typing_extensions import assert_type

import fuload_exec
from fuload_exec import (
    FuloadExecutor,
    FuloadFuture,
    LibraryLoadError,
    NativeFunction,
    NativeTask,
    NativeTaskError,
    PayloadTooLarge,
    PoolStats,
    SlotCorrupted,
    TaskTimeout,
    UnpickleError,
    WorkerCrashed,
    WorkerStats,
    get_include,
)

PLUGIN = """
#include <fuload.h>

FULOAD_TASK(twice)
{
    size_t size;
    const void *request = fuload_request(task, &size);

    return size ? fuload_write(task, request, size) || fuload_write(task, request, size)
                : fuload_fail(task, 7, "nothing to repeat");
}
"""


def area(width: float, height: float, *, unit: str = "m") -> str:
    return f"{width * height:g} {unit}2"


def remember(name: str, number: int) -> None:
    os.environ[name] = str(number)


def start(name: str = "START") -> int:
    os.environ[name] = "1"
    return 1


def pid_of(future: FuloadFuture[str]) -> int | None:
    return future.worker_pid


def refused(error: type[BaseException], act: Callable[[], object]) -> None:
    """A mistake is one when it runs too."""
    try:
        act()
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


def python_callables(executor: FuloadExecutor) -> None:
    future = executor.submit(area, 2, height=3)
    assert_type(future, FuloadFuture[str])
    assert_type(future.result(timeout=30), str)
    assert future.result() == "6 m2"
    assert_type(executor.submit(len, "abc"), FuloadFuture[int])
    assert_type(executor.submit(pow, 2, 10).result(), int)
    assert_type(executor.submit(divmod, 17, 5).result(), tuple[int, int])
    assert_type(executor.submit(lambda: b"x").result(), bytes)
    assert_type(executor.submit(remember, "NAME", 1), FuloadFuture[None])
    assert_type(executor.submit(Path("a").with_name, "b").result(), Path)
    assert_type(executor.submit(Path, "/tmp").result(), Path)

    refused(ValueError, lambda: executor.submit(area, "2", 3).result())  # type: ignore[arg-type]
    refused(TypeError, lambda: executor.submit(area, 2).result())  # type: ignore[call-arg]
    refused(TypeError, lambda: executor.submit(remember, "NAME", 1, 2).result())  # type: ignore[call-arg]
    refused(TypeError, lambda: executor.submit(area, 2, 3, units="m").result())  # type: ignore[call-arg]
    refused(TypeError, lambda: executor.submit(len, 3).result())  # type: ignore[arg-type]
    refused(TypeError, lambda: executor.submit(area(2, 3)).result())  # type: ignore[arg-type]
    refused(TypeError, lambda: executor.submit())  # type: ignore[call-arg]
    wrong: FuloadFuture[int] = executor.submit(area, 2, 3)  # type: ignore[arg-type]
    number: int = wrong.result()
    assert not isinstance(number, int)


def futures(executor: FuloadExecutor) -> None:
    future = executor.submit(area, 2, 3)
    assert_type(future.result(), str)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.terminate(), bool)
    assert_type(future.cancel(), bool)
    assert_type(future.done(), bool)
    assert_type(future.worker_pid, int | None)
    assert_type(future.errno, int | None)
    assert_type(future.timing, tuple[float | None, float | None])
    assert isinstance(future, Future)
    assert future.worker_pid in executor.worker_pids

    seen: list[int | None] = []
    future.add_done_callback(lambda f: seen.append(len(f.result())))
    future.add_done_callback(lambda f: seen.append(f.worker_pid))
    future.add_done_callback(pid_of)
    assert seen == [4, future.worker_pid]

    standard: Future[str] = future
    assert_type(standard.result(), str)
    for done in as_completed([future, executor.submit(area, 3, 4)]):
        assert_type(done, Future[str])
    assert_type(wait([future]).done, set[Future[str]])

    own: FuloadFuture[int] = FuloadFuture()
    own.set_result(3)
    assert_type(own.result(), int)
    assert own.result() == 3
    assert repr(FuloadFuture[int]).endswith("FuloadFuture[int]")
    list_of: list[FuloadFuture[int]] = [own, executor.submit(len, "abc")]
    assert sum(f.result() for f in list_of) == 6

    refused(InvalidStateError, lambda: own.set_result("3"))  # type: ignore[arg-type]
    own.add_done_callback(pid_of)  # type: ignore[arg-type]
    refused(AttributeError, lambda: future.kill())  # type: ignore[attr-defined]
    refused(TypeError, lambda: future.result(seconds=1))  # type: ignore[call-arg]
    refused(AttributeError, lambda: setattr(future, "worker_pid", 1))
    text: bytes = future.result()  # type: ignore[assignment]
    assert not isinstance(text, bytes)


def maps(executor: FuloadExecutor) -> None:
    assert_type(executor.map(area, [1, 2], [3, 4]), Iterator[str])
    assert_type(list(executor.map(len, ["a", "bc"], chunksize=1, buffersize=2, timeout=30)), list[int])
    for n in executor.map(ord, "abc", chunksize=None):
        assert_type(n, int)

    refused(TypeError, lambda: list(executor.map(len, 3)))  # type: ignore[arg-type]
    refused(TypeError, lambda: executor.map(len, ["a"], chunksize="2"))  # type: ignore[arg-type]
    refused(TypeError, lambda: executor.map(len, ["a"], chunk_size=2))  # type: ignore[call-arg]


def c_functions(executor: FuloadExecutor) -> None:
    libm = ctypes.CDLL("libm.so.6")
    libm.pow.argtypes, libm.pow.restype = [ctypes.c_double] * 2, ctypes.c_double
    assert_type(executor.submit(libm.pow, 2, 0.5), FuloadFuture[Any])
    assert_type(executor.map(libm.pow, array.array("d", [1, 2]), [2, 2]), Iterator[Any])

    power = NativeFunction("libm.so.6", "pow", ctypes.c_double, [ctypes.c_double, ctypes.c_double])
    assert_type(NativeFunction.from_ctypes(libm.pow), NativeFunction)
    assert_type(executor.submit(power, 2, 0.5), FuloadFuture[Any])
    NativeFunction("libc.so.6", "memcpy", None, (ctypes.c_void_p, ctypes.POINTER(ctypes.c_int), ctypes.c_size_t))
    assert_type(power.name, str)
    assert_type(power(2, 3), Any)
    assert power(2, 3) == executor.submit(power, 2, 3).result() == 8

    squares = executor.map_array(libm.pow, numpy.arange(4.0), 2)
    assert_type(squares, NDArray[Any])
    assert_type(executor.map_array(power, [1, 2], 2, out=numpy.empty(2)), NDArray[Any])

    refused(TypeError, lambda: executor.map_array(pow, [1, 2], 2))  # type: ignore[arg-type]
    refused(ValueError, lambda: executor.map_array(power, [1, 2], 2, out=[0, 0]))  # type: ignore[arg-type]
    refused(TypeError, lambda: NativeFunction.from_ctypes(pow))  # type: ignore[arg-type]
    refused(TypeError, lambda: NativeFunction("libm.so.6", "pow", float, [ctypes.c_double]))  # type: ignore[arg-type]
    refused(TypeError, lambda: NativeFunction("libm.so.6", "pow", ctypes.c_double, [float]))  # type: ignore[list-item]


def plugins(executor: FuloadExecutor, library: Path) -> None:
    twice = NativeTask(library, "twice")
    assert_type(twice, NativeTask)
    assert_type(twice.library, str | None)
    assert_type(twice(b"ab"), bytes)
    future = executor.submit(twice, b"ab")
    assert_type(future, FuloadFuture[bytes])
    assert future.result() == b"abab"
    for data in (bytearray(b"ab"), memoryview(b"ab"), array.array("B", b"ab"), (ctypes.c_char * 2)()):
        assert_type(executor.submit(twice, data).result(), bytes)
    assert_type(executor.submit(twice, numpy.zeros(3)).result(), bytes)
    assert_type(executor.map(twice, [b"a", b"b"]), Iterator[bytes])
    try:
        executor.submit(twice, b"").result()
    except NativeTaskError as error:
        assert_type(error.status, int)
        assert_type(error.message, str)
        assert (error.status, error.message) == (7, "nothing to repeat")

    refused(TypeError, lambda: executor.submit(twice, "ab"))  # type: ignore[arg-type]
    refused(TypeError, lambda: executor.submit(twice))  # type: ignore[call-arg]
    refused(TypeError, lambda: executor.submit(twice, b"a", b"b"))  # type: ignore[call-arg]
    refused(TypeError, lambda: twice(3))  # type: ignore[arg-type]
    refused(TypeError, lambda: NativeTask(library))  # type: ignore[call-arg]


def constructors() -> None:
    executor = FuloadExecutor(
        2,
        multiprocessing.get_context("spawn"),
        remember,
        ("NUMBER", 3),
        max_tasks_per_child=None,
        worker=None,
        timeout=None,
        max_retries=0,
        slots=64,
        slot_size=4096,
        max_payload=1 << 20,
        max_pending=100,
        spin=0,
        handle_sigint=False,
        cancel_running=False,
        env={"OMP_NUM_THREADS": "1"},
        name="typed",
    )
    executor.shutdown(wait=True, cancel_futures=True)
    for executor in (
        FuloadExecutor(initializer=start),
        FuloadExecutor(initializer=start, initargs=("STARTED",)),
        FuloadExecutor(initializer=random.seed, initargs=(1,)),
        FuloadExecutor(initializer=lambda: None),
        FuloadExecutor(worker="/bin/true"),
        FuloadExecutor(worker=[Path("/bin/true"), "--verbose"]),
    ):
        executor.shutdown()

    FuloadExecutor(1, None, remember, ("NUMBER", "3")).shutdown()  # type: ignore[arg-type]
    FuloadExecutor(initializer=start, initargs=("A", "B")).shutdown()  # type: ignore[arg-type]
    refused(TypeError, lambda: FuloadExecutor(mp_context="spawn"))  # type: ignore[arg-type]
    refused(TypeError, lambda: FuloadExecutor("4"))  # type: ignore[arg-type]
    refused(TypeError, lambda: FuloadExecutor(workers=4))  # type: ignore[call-arg]
    refused(TypeError, lambda: FuloadExecutor(1, None, None, (), 10))  # type: ignore[call-arg]
    refused(TypeError, lambda: FuloadExecutor(spin="0"))  # type: ignore[arg-type]
    refused(TypeError, lambda: FuloadExecutor(env={"A": 1}))  # type: ignore[dict-item]
    refused(TypeError, lambda: FuloadExecutor(worker=3))  # type: ignore[arg-type]


def the_pool_itself(executor: FuloadExecutor) -> None:
    assert_type(executor.max_workers, int)
    assert_type(executor.worker_pids, list[int])
    stats = executor.stats()
    assert_type(stats, PoolStats)
    assert_type(stats.workers, tuple[WorkerStats, ...])
    assert_type(stats.workers[0].state, str)
    assert_type(stats.run_seconds, float)
    assert_type(get_include(), str)
    assert_type(fuload_exec.__version__, str)

    refused(AttributeError, lambda: setattr(stats, "submitted", 1))
    refused(AttributeError, lambda: fuload_exec.Executor)  # type: ignore[attr-defined]
    refused(TypeError, lambda: executor.shutdown(True, True))  # type: ignore[call-arg]


def errors(executor: FuloadExecutor) -> None:
    try:
        executor.submit(os.abort).result()
    except WorkerCrashed as error:
        assert_type(error.pid, int)
        assert_type(error.exitcode, int | None)
        assert_type(error.task, str)
    broken: list[type[BrokenProcessPool]] = [WorkerCrashed, UnpickleError, SlotCorrupted]
    late: type[TimeoutError] = TaskTimeout
    large: type[ValueError] = PayloadTooLarge
    missing: type[OSError] = LibraryLoadError
    assert broken and late and large and missing


def any_executor(executor: Executor) -> Future[str]:
    """Code of others, which knows of no pool of ours."""
    return executor.submit(area, 1, 2)


async def awaited(executor: FuloadExecutor) -> None:
    loop = asyncio.get_running_loop()
    assert_type(await loop.run_in_executor(executor, area, 2, 3), str)
    assert_type(await asyncio.wrap_future(executor.submit(len, "abc")), int)
    both = await asyncio.gather(asyncio.wrap_future(executor.submit(len, "abc")), asyncio.wrap_future(executor.submit(area, 2, 3)))
    assert_type(both, tuple[int, str])


class Logging(FuloadExecutor):
    """A subclass with a submit of its own."""

    def map(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return super().map(*args, **kwargs)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, Logging(1) as mine, FuloadExecutor(2) as executor:
        assert_type(executor, FuloadExecutor)
        assert_type(mine, Logging)
        source, library = Path(directory, "twice.c"), Path(directory, "twice.so")
        source.write_text(PLUGIN)
        subprocess.run([sys.executable, "-m", "fuload_exec", "cc", source, "-o", library], check=True)
        python_callables(executor)
        futures(executor)
        maps(executor)
        c_functions(executor)
        plugins(executor, library)
        the_pool_itself(executor)
        errors(executor)
        asyncio.run(awaited(executor))
        assert any_executor(executor).result() == "2 m2"
        assert list(mine.map(len, ["abc"])) == [3]
    constructors()


if __name__ == "__main__":
    main()
