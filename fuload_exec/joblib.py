"""joblib.Parallel (of joblib 1.5 and newer) on this package's workers.

>>> import joblib
>>> from fuload_exec.joblib import register
>>> register()
>>> with joblib.parallel_config(backend="fuload", n_jobs=2):
...     joblib.Parallel()(joblib.delayed(pow)(n, 2) for n in range(4))
[0, 1, 4, 9]

A pool lives as long as one call of Parallel, or as its `with` block. To keep
one for longer, give it:

>>> from fuload_exec import FuloadExecutor
>>> with FuloadExecutor(2) as executor:
...     with joblib.parallel_config(backend="fuload", executor=executor):
...         joblib.Parallel()(joblib.delayed(abs)(n) for n in (-1, -2))
[1, 2]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import joblib
from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from . import FuloadExecutor, FuloadFuture

__all__ = ["FuloadBackend", "register"]

# Given to every backend by Parallel; about files that arrays are mapped from, and choices made already.
_NOT_OURS = {"context", "max_nbytes", "mmap_mode", "prefer", "require", "temp_folder", "verbose"}


def register() -> None:
    """Make "fuload" a name that joblib's `backend=` knows."""
    joblib.register_parallel_backend("fuload", FuloadBackend)


class FuloadBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """What joblib asks of a backend.

    Args:
        executor: the FuloadExecutor to use, without max_pending; it stays
            open, and its max_workers counts, not n_jobs. None makes one for
            each call of Parallel.
        options: further arguments of that FuloadExecutor, but max_pending:
            how much is submitted ahead is joblib's pre_dispatch.

    Raises:
        TypeError: executor is not a FuloadExecutor, options are given for one
            that exists, or max_pending is.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        executor: FuloadExecutor | None = None,
        *,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if executor is not None and not isinstance(executor, FuloadExecutor):
            raise TypeError(f"executor must be a FuloadExecutor or None, got {executor!r}")
        if executor is not None and (options or inner_max_num_threads is not None):
            given = ", ".join([*options, *["inner_max_num_threads"] * (inner_max_num_threads is not None)])
            raise TypeError(f"{given}: these belong to the pool, and executor is one that exists already")
        self._given = executor
        self._options = self._checked(options)
        self._executor: FuloadExecutor | None = executor
        self._unfinished: set[FuloadFuture[Any]] = set()
        self._aborting = False

    @staticmethod
    def _checked(options: dict[str, Any]) -> dict[str, Any]:
        if "max_pending" in options:
            # joblib submits while it holds the lock that its callbacks take.
            raise TypeError(
                f"max_pending must not be given with joblib, got {options['max_pending']!r}: use Parallel's pre_dispatch"
            )
        return {name: value for name, value in options.items() if name not in _NOT_OURS}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many tasks can run at once; -1 is all CPUs, -2 all but one."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if self._given is not None:
            return self._given.max_workers
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(joblib.cpu_count() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Make the pool of a call, unless one was given."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if self._given is None:
            if n_jobs == 1:
                raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
            options = {**self._options, **self._checked(options)}
            options["env"] = {**self._prepare_worker_env(n_jobs), **(options.get("env") or {})}
            self._executor = FuloadExecutor(n_jobs, **options)
        self.parallel = parallel
        return n_jobs

    def start_call(self) -> None:
        self._aborting = False

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> FuloadFuture[Any]:
        """A batch of calls is one task."""
        assert self._executor is not None
        future = self._executor.submit(func)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        if self._aborting:  # since joblib looked
            future.terminate()
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: FuloadFuture[Any]) -> Any:
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A task failed or timed out: stop the call's others, also those that run."""
        self._aborting = True
        for future in list(self._unfinished):
            future.terminate()

    def terminate(self) -> None:
        """The call is over."""
        if self._given is None and self._executor is not None:
            self._executor.shutdown()
            self._executor = None
        self.reset_batch_stats()
