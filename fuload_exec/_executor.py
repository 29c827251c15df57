"""FuloadExecutor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor

from . import _core
from . import _parameters as parameters
from ._arrays import NativeMap, check_iterables, map_array
from ._core import Pool, Submitter, item_formats, passage, region_possible
from ._crew import Crew
from ._exit import register_exit
from ._future import FuloadFuture
from ._green import refuse_green_threads
from ._map import map_calls
from ._native import NativeFunction, NativeTask
from ._python_setup import PythonSetup
from ._stats import PoolStats, WorkerStats
from ._toolchain import worker_program

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from _ctypes import CFuncPtr
    from multiprocessing.context import BaseContext
    from types import EllipsisType
    from typing import Any, TypeVar

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import TypeVarTuple, Unpack

    T = TypeVar("T")
    Ts = TypeVarTuple("Ts")

__all__ = ["FuloadExecutor", "OptionsView"]

# About what waking a sleeping process costs.
_SPIN_SECONDS = 50e-6


class _PoolExecutor(Submitter, Executor):
    """All that submits tasks or tells of the pool."""

    _crew: Crew
    _max_workers: int
    _timeout: float | None
    _max_retries: int

    def _use(self, pool: Pool, timeout: float | None, max_retries: int) -> None:
        self._timeout = timeout
        self._max_retries = max_retries
        self._bind(pool, FuloadFuture, timeout, max_retries)

    # submit() is _core.Submitter's.

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Like map(fn, *iterables), with the calls made by the workers.

        Args:
            timeout: seconds from now until all results that are asked for
                must be there; else TimeoutError.
            chunksize: calls per task; None chooses it: 1 with a buffer, and if
                tasks have a timeout or are retried.
            buffersize: tasks submitted ahead of the results that are read;
                None is all of them, at once.

        Raises:
            TypeError, ValueError: timeout is no number, chunksize or buffersize
                no int, or below 1; a C function takes another number of
                arguments than there are iterables, or one is a masked array.
            RuntimeError: after shutdown.

        >>> with FuloadExecutor(2) as executor:
        ...     list(executor.map(abs, range(-3, 0)))
        [3, 2, 1]
        """
        with passage:
            return self._map(fn, iterables, timeout, chunksize, buffersize)

    def _map(
        self,
        fn: Callable[..., T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
    ) -> Iterator[T]:
        timeout = parameters.waiting_time(timeout)
        chunksize = parameters.map_chunksize(chunksize)
        buffersize = parameters.map_buffersize(buffersize)
        if chunksize is None:
            chunksize = self._calls_per_task()
        native = isinstance(fn, (ctypes._CFuncPtr, NativeFunction))  # type: ignore[attr-defined]
        if native or isinstance(fn, NativeTask):
            check_iterables(self, fn, iterables)
        if native and "submit" not in self.__dict__ and type(self).submit is Submitter.submit:
            formats = item_formats(self, fn)
            if formats is not None:
                many = NativeMap(self, fn, iterables, formats)
                return many.run(self._max_workers, timeout, chunksize, buffersize)
        if buffersize is not None and chunksize is None:
            chunksize = 1  # as many calls ahead as the buffer has places
        chunked = chunksize != 1 and not native and not isinstance(fn, NativeTask)
        return map_calls(self.submit, fn, iterables, timeout, chunksize, buffersize, self._max_workers, chunked)

    def map_array(self, fn: CFuncPtr | NativeFunction, *arrays: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """A C function of numbers over arrays, broadcast as NumPy does it.

        Args:
            fn: a ctypes function or NativeFunction, numbers in, a number out.
            arrays: arrays or numbers, one per argument.
            out: a C-contiguous array for the results; None makes one.

        Many calls go as one task, but one by one if tasks have a timeout or are
        retried. An error leaves in `out` what was finished.

        Returns:
            The results as a NumPy array; no Python object is created per element.

        Raises:
            TypeError: fn is no C function of numbers, or items do not convert.
            ValueError: shapes do not go together, or out does not fit.
            WorkerCrashed, TaskTimeout, LibraryLoadError: as futures do.

        >>> import ctypes, numpy
        >>> libm = ctypes.CDLL("libm.so.6")
        >>> libm.pow.argtypes, libm.pow.restype = [ctypes.c_double] * 2, ctypes.c_double
        >>> with FuloadExecutor(2) as executor:
        ...     executor.map_array(libm.pow, numpy.arange(4.0), 2)
        array([0., 1., 4., 9.])
        """
        with passage:
            results: NDArray[Any] = map_array(self, self._max_workers, fn, arrays, out, self._calls_per_task())
        return results

    def _calls_per_task(self) -> int | None:
        """A timeout, and another try, are meant for one call."""
        return 1 if self._timeout is not None or self._max_retries else None

    def options(self, *, timeout: float | EllipsisType | None = ..., max_retries: int | EllipsisType = ...) -> OptionsView:
        """The same pool with other options for the tasks submitted through it.

        Args:
            timeout, max_retries: as for FuloadExecutor; what is not given
                stays as it is here.

        >>> import time
        >>> with FuloadExecutor(1) as executor:
        ...     quick = executor.options(timeout=0.1)
        ...     type(quick.submit(time.sleep, 60).exception()).__name__
        'TaskTimeout'
        """
        return OptionsView(
            self,
            self._timeout if timeout is ... else parameters.timeout(timeout),
            self._max_retries
            if max_retries is ...
            else parameters.whole_number("max_retries", max_retries, 0, parameters.MOST_RETRIES),
        )

    def stats(self) -> PoolStats:
        """Numbers of this moment.

        >>> with FuloadExecutor(1) as executor:
        ...     executor.submit(int).result()
        ...     executor.stats().completed
        0
        1
        """
        workers, totals = _core.snapshot(self._pool)
        return PoolStats(tuple(WorkerStats(*w) for w in workers), **totals)

    @property
    def max_workers(self) -> int:
        """The number of worker processes, at most."""
        return self._max_workers

    @property
    def _broken(self) -> str | bool:
        """As in the standard library, where programs look at it to replace a
        pool that is broken: why it is, or False."""
        return False if self._pool.broken is None else str(self._pool.broken)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are alive; they start on demand."""
        return self._crew.pids()

    def terminate_workers(self) -> None:
        """Shut down without waiting: cancel what waits, send SIGTERM to the
        workers. What they run fails with WorkerCrashed.

        >>> import time
        >>> executor = FuloadExecutor(1)
        >>> future = executor.submit(time.sleep, 60)
        >>> executor.terminate_workers()
        >>> future.cancelled() or type(future.exception()).__name__ == "WorkerCrashed"
        True
        """
        self._force(signal.SIGTERM)

    def kill_workers(self) -> None:
        """As terminate_workers(), with SIGKILL: no task can withstand it."""
        self._force(signal.SIGKILL)

    def _force(self, number: signal.Signals) -> None:
        if self._pool.owner == os.getpid():
            self.shutdown(wait=False, cancel_futures=True)
            _core.cancel_all(self._pool, begun=True)
            self._crew.end_all(number)


class FuloadExecutor(_PoolExecutor):
    """A concurrent.futures.Executor whose workers are C processes.

    Args:
        max_workers: number of worker processes; None is the number of CPUs
            that this process may use (affinity and cgroup quota).
        mp_context: accepted for code written for ProcessPoolExecutor; workers
            are always fresh programs, as with 'spawn'.
        initializer, initargs: called once in each worker before its first
            Python task; if it raises, the pool is broken.
        max_tasks_per_child: a worker is replaced after this many tasks; None is
            no limit.
        worker: path or argv of a worker program of one's own, built with
            fuload.h; None is the bundled fuload-worker.
        timeout: seconds that one task may run before its worker is killed and
            its future raises TaskTimeout; None is no limit. It does not
            count what comes before the call: the worker's start, its
            initializer, the imports that function and arguments need.
        max_retries: how often a task whose worker died is tried again; one
            that timed out or was terminated is not.
        slots, slot_size: tasks that can be in the shared memory at once, and
            the bytes of a request or reply that fit a slot itself.
        max_payload: most bytes of one request or reply; address space only.
        max_pending: submit() blocks while this many tasks are unfinished.
        spin: seconds that a worker, and a thread in result(), polls before
            it sleeps; None adapts to the CPUs and to how busy they are, 0 never
            polls.
        handle_sigint: on SIGINT cancel everything and reap the workers; the
            handler that was there runs as ever. When KeyboardInterrupt leaves
            a with block, shutdown(), result(), map or submit() that has
            happened; raised elsewhere, it happens within 0.2 s by itself.
            False: tasks are finished, as a service wants that drains.
        cancel_running: Future.cancel() also stops a task that runs, as
            terminate() does.
        env: a mapping added to the workers' environment.
        name: shown by ps and top, and in messages.

    Raises:
        TypeError, ValueError: a bad parameter; the message names it, what was
            given and what is allowed.
        OSError, MemoryError: a limit of this process is reached; the message
            names the system call and the limit, and nothing is left.
        RuntimeError: gevent or eventlet has patched this program's threads.

    >>> with FuloadExecutor(2) as executor:
    ...     list(executor.map(pow, [2, 3], [10, 2]))
    [1024, 9]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[[Unpack[Ts]], object] | None = None,
        initargs: tuple[Unpack[Ts]] = (),  # type: ignore[assignment]
        *,
        max_tasks_per_child: int | None = None,
        worker: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        timeout: float | None = None,
        max_retries: int = 0,
        slots: int = 1024,
        slot_size: int = 4096,
        max_payload: int = 1 << 30,
        max_pending: int | None = None,
        spin: float | None = None,
        handle_sigint: bool = True,
        cancel_running: bool = False,
        env: Mapping[str, str] | None = None,
        name: str = "fuload",
    ) -> None:
        cpus = parameters.usable_cpus()
        max_workers = parameters.max_workers(max_workers)
        mp_context = parameters.context(mp_context)
        max_tasks_per_child = parameters.whole_number_or_none("max_tasks_per_child", max_tasks_per_child, 1, parameters.MOST_TASKS)
        timeout = parameters.timeout(timeout)
        max_retries = parameters.whole_number("max_retries", max_retries, 0, parameters.MOST_RETRIES)
        slots = parameters.whole_number("slots", slots, 1, _core.MOST_SLOTS)
        slot_size = parameters.whole_number("slot_size", slot_size, 64, _core.MOST_SLOT_SIZE)
        max_payload = parameters.whole_number("max_payload", max_payload, 0, parameters.MOST_PAYLOAD)
        if not region_possible(max_workers or 1, slots, slot_size, max_payload):
            raise ValueError(f"slots * max_payload must be at most 2**60 bytes, got {slots} * {max_payload}")
        max_pending = parameters.whole_number_or_none("max_pending", max_pending, 1, parameters.MOST_TASKS)
        spin = parameters.spin(spin)
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable or None, got {initializer!r}")
        initargs = parameters.arguments("initargs", initargs)
        handle_sigint = parameters.flag("handle_sigint", handle_sigint)
        cancel_running = parameters.flag("cancel_running", cancel_running)
        env = parameters.environment(env)
        name = parameters.pool_name(name)
        command = None if worker is None else parameters.worker_command(worker)
        refuse_green_threads()
        register_exit()
        self._max_workers = max_workers or min(cpus, _core.MOST_WORKERS)
        self._mp_context = mp_context
        pool = Pool(
            workers=self._max_workers,
            slots=slots,
            slot_size=slot_size,
            max_payload=max_payload,
            max_pending=max_pending or 0,
            max_tasks=max_tasks_per_child or 0,
            cancel_running=cancel_running,
            # With one CPU a poller only keeps the other side from running.
            spin=spin if spin is not None else _SPIN_SECONDS if cpus > 1 else 0,
            adapt=spin is None,
            cpus=cpus,
            name=name,
        )
        if command is None:
            self._crew = Crew(pool, [name], worker_program(), env, handle_sigint, False)
        else:
            self._crew = Crew(pool, command, command[0], env, handle_sigint, True)
        try:
            if _main_is_being_imported():
                pool.premature, pool.broken = _main_is_being_imported, RuntimeError(_NO_GUARD)
            pool.setup = PythonSetup(initializer, initargs, mp_context, self._max_workers, self._crew.lender)
            self._use(pool, timeout, max_retries)
            self._ended = weakref.finalize(self, Crew.close, self._crew)
        except BaseException:
            self._crew.abandon()
            raise
        self._ended.atexit = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; with `wait` return when all have ended and every
        worker is reaped.

        Args:
            wait: False returns at once; the tasks are finished all the same.
            cancel_futures: cancel the tasks that no worker has begun. One that
                a worker is being started for, or has been called for, has begun.
        """
        pool = self._pool
        if pool.owner != os.getpid():
            return
        with passage:
            pool.closing = True
            if cancel_futures:
                _core.cancel_all(pool)
            self._crew.close()  # whole, or the next shutdown() does it
            self._ended.detach()
            if wait:
                self._crew.join()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._pool.name!r} max_workers={self._max_workers}>"


class OptionsView(_PoolExecutor):
    """What FuloadExecutor.options() returns: an executor of the same pool."""

    def __init__(self, executor: _PoolExecutor, timeout: float | None, max_retries: int) -> None:
        self._executor = executor
        self._crew = executor._crew
        self._max_workers = executor._max_workers
        self._use(executor._pool, timeout, max_retries)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down the pool, as its FuloadExecutor does."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._executor!r} timeout={self._timeout} max_retries={self._max_retries}>"


_NO_GUARD = (
    "a task is submitted while a worker imports the main module: put the code that starts the work under "
    "\"if __name__ == '__main__':\""
)


def _main_is_being_imported() -> bool:
    setup = sys.modules.get("fuload_exec._in_worker.setup")
    if setup is not None and setup.importing_main:
        return True
    process = sys.modules.get("multiprocessing.process")  # a child that it has started
    return process is not None and getattr(process.current_process(), "_inheriting", False)
