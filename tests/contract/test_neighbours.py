"""What others build on executors works on this one: asyncio, Dask, tqdm, rich, joblib."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import multiprocessing
import os
import subprocess
import sys
import weakref
from concurrent.futures import as_completed

import dask
import dask.array
import dask.multiprocessing
import joblib
import numpy
import pytest
from gates import pass_gate
from plain_tasks import environment, fail, fail_beside_others, report_pid_and_pass_gate
from rich.console import Console
from rich.progress import Progress
from support.tasks import square
from support.waiting import is_alive, until
from tqdm import tqdm

import fuload_exec.joblib
from fuload_exec import FuloadExecutor, WorkerCrashed

# -- asyncio ---------------------------------------------------------------------------------


class Stage:
    """Tasks that run in a worker while a coroutine looks on."""

    def __init__(self, executor, gate, tmp_path):
        self.executor, self.gate, self.tmp_path = executor, gate, tmp_path
        self.count = 0

    async def start(self, value=None):
        """(future, pid) of a task that runs by now and ends with the gate."""
        self.count += 1
        mark = self.tmp_path / f"runs{self.count}"
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self.executor, report_pid_and_pass_gate, str(mark), self.gate.path, value)
        while not mark.exists():
            await asyncio.sleep(0.001)
        return future, int(mark.read_text())


def run_quietly(caplog, coroutine):
    """asyncio.run; it is an error if the loop or a callback complains, then or later."""
    complaints = []

    async def work():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        return await coroutine

    with caplog.at_level(logging.WARNING):
        result = asyncio.run(work())
    assert not complaints
    return result


async def cancel(future):
    future.cancel()
    await future


async def wait_for(future):
    await asyncio.wait_for(future, 0.01)


async def timeout(future):
    async with asyncio.timeout(0.01):
        await future


async def fail_beside(future):
    async def wait():
        await future

    async with asyncio.TaskGroup() as group:
        group.create_task(wait())
        await asyncio.sleep(0)
        raise KeyError("beside")


WAYS_TO_CANCEL = [cancel, wait_for]
if sys.version_info >= (3, 11):
    WAYS_TO_CANCEL += [timeout, fail_beside]


@pytest.mark.parametrize("way", WAYS_TO_CANCEL)
def test_a_cancelled_await_stops_the_work(caplog, gate, tmp_path, way):
    async def work(stage):
        neighbour, neighbours_pid = await stage.start("unharmed")
        future, pid = await stage.start()
        with pytest.raises(BaseException) as caught:
            await way(future)
        assert future.cancelled()
        while is_alive(pid):
            await asyncio.sleep(0.001)
        # There is a worker for the next task again.
        again, new_pid = await stage.start("next")
        assert new_pid not in (pid, neighbours_pid)
        stage.gate.open()
        return caught.type.__name__, await neighbour, await again, is_alive(neighbours_pid)

    with FuloadExecutor(2, cancel_running=True) as executor, gate:
        error, *results = run_quietly(caplog, work(Stage(executor, gate, tmp_path)))
        assert error == {cancel: "CancelledError", fail_beside: "ExceptionGroup"}.get(way, "TimeoutError")
        assert results == ["unharmed", "next", True]
    assert not caplog.records


def test_many_cancelled_awaits(caplog, gate, tmp_path):
    """Running and waiting ones; nothing of them stays."""

    async def work(stage):
        loop = asyncio.get_running_loop()
        tasks = [(await stage.start())[0] for _ in range(2)]
        core = [stage.executor.submit(square, n) for n in range(50)]
        tasks += [asyncio.wrap_future(future) for future in core]
        group = asyncio.gather(*tasks)
        await asyncio.sleep(0)
        group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group
        assert all(future.cancelled() for future in core)
        return [weakref.ref(future) for future in core], await loop.run_in_executor(stage.executor, square, 5)

    with FuloadExecutor(2, cancel_running=True) as executor, gate:
        futures, result = run_quietly(caplog, work(Stage(executor, gate, tmp_path)))
        assert result == 25
        gc.collect()
        assert not [ref for ref in futures if ref() is not None]
        assert executor.stats().cancelled == 52
    assert not caplog.records


def test_without_cancel_running_the_work_goes_on(caplog, make_executor, gate, tmp_path):
    """As with the standard's pool: it ends later, when the loop is closed."""

    async def work(stage):
        future, pid = await stage.start()
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        return pid

    with make_executor(1) as executor, gate:
        pid = run_quietly(caplog, work(Stage(executor, gate, tmp_path)))
        gate.open()
        assert executor.submit(os.getpid).result() == pid
    assert not caplog.records


def test_tasks_as_they_complete(make_executor):
    async def work(executor):
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(executor, square, n) for n in range(100)]
        return [await future for future in asyncio.as_completed(futures)]

    with make_executor(2) as executor:
        assert sorted(asyncio.run(work(executor))) == [n * n for n in range(100)]


# -- Dask ------------------------------------------------------------------------------------


def dask_of_an_executor(executor):
    return dask.config.set(scheduler=executor)


def dask_of_processes(executor):
    return dask.config.set(scheduler="processes", pool=executor)


def dask_in_batches(executor):
    return dask.config.set(scheduler=executor, chunksize=4)


@pytest.fixture(params=[dask_of_an_executor, dask_of_processes, dask_in_batches])
def dask_uses(request):
    return request.param


def test_a_dask_array(make_executor, dask_uses):
    numbers = numpy.random.default_rng(1).random((300, 200))
    lazy = dask.array.from_array(numbers, chunks=70)
    with make_executor(2) as executor, dask_uses(executor):
        product, columns = dask.compute(lazy @ lazy.T, (lazy**2).mean(axis=0))
    assert numpy.allclose(product, numbers @ numbers.T)
    assert numpy.allclose(columns, (numbers**2).mean(axis=0))


def test_dask_runs_in_the_workers(dask_uses):
    with FuloadExecutor(3) as executor, dask_uses(executor):
        assert dask.delayed(os.getpid)().compute() in executor.worker_pids
        many = [dask.delayed(square)(n) for n in range(200)]
        assert dask.delayed(sum)(many).compute() == sum(n * n for n in range(200))
        stats = executor.stats()
        assert stats.failed == 0 and stats.completed == stats.submitted > 2


def test_dask_takes_lambdas_and_closures(dask_uses):
    factor = 3
    with FuloadExecutor(2) as executor, dask_uses(executor):
        assert dask.delayed(lambda n: factor * n)(dask.delayed(square)(2)).compute() == 12


def test_a_failure_in_dask(make_executor, dask_uses):
    with make_executor(2) as executor, dask_uses(executor):
        with pytest.raises(KeyError, match="the value"):
            dask.delayed(square)(dask.delayed(fail)("the value")).compute()
        assert dask.delayed(square)(7).compute() == 49


def test_a_crash_in_dask():
    with FuloadExecutor(2) as executor, dask.config.set(scheduler=executor):
        with pytest.raises(WorkerCrashed):
            dask.delayed(os._exit)(3).compute()
        assert dask.delayed(square)(7).compute() == 49


def test_dasks_own_get(make_executor):
    graph = {"a": 5, "b": (square, "a"), "c": (sum, ["a", "b"])}
    with make_executor(2) as executor:
        assert dask.multiprocessing.get(graph, ["b", "c"], pool=executor) == (25, 30)


# -- tqdm ------------------------------------------------------------------------------------


@pytest.fixture
def bar(monkeypatch):
    """Makes bars that write nowhere; without tqdm's watching thread, which stays for good."""
    monkeypatch.setattr(tqdm, "monitor_interval", 0)
    return lambda *args, **options: tqdm(*args, file=io.StringIO(), mininterval=0, **options)


@pytest.mark.parametrize("chunksize", [1, 7])
def test_tqdm_around_map(make_executor, bar, chunksize):
    with make_executor(2) as executor:
        shown = bar(executor.map(square, range(100), chunksize=chunksize), total=100)
        assert list(shown) == [n * n for n in range(100)]
    assert shown.n == shown.total == 100
    assert "100/100" in shown.fp.getvalue()


def test_tqdm_around_as_completed(make_executor, bar):
    with make_executor(2) as executor:
        futures = [executor.submit(square, n) for n in range(100)]
        shown = bar(as_completed(futures), total=len(futures))
        assert sorted(future.result() for future in shown) == [n * n for n in range(100)]
    assert shown.n == 100


def test_a_submit_that_is_replaced_on_the_instance(make_executor, bar):
    """tqdm.contrib.concurrent does so: map() has to use it."""
    with make_executor(2) as executor, bar(total=100) as shown:
        submit = executor.submit

        def submit_and_count(*args, **kwargs):
            future = submit(*args, **kwargs)
            future.add_done_callback(lambda _: shown.update())
            return future

        executor.submit = submit_and_count
        assert list(executor.map(square, range(100), chunksize=1)) == [n * n for n in range(100)]
        executor.shutdown()
        assert shown.n == 100


PROCESS_MAP = """
import concurrent.futures, multiprocessing, os, sys
from fuload_exec import FuloadExecutor
from tqdm.contrib.concurrent import process_map

def square(n):
    return n * n, os.getppid()

if __name__ == "__main__":
    # tqdm gives the workers the lock of its bars.
    multiprocessing.set_start_method("spawn")
    concurrent.futures.ProcessPoolExecutor = FuloadExecutor
    found = process_map(square, range(100), max_workers=2, chunksize=int(sys.argv[1]))
    assert found == [(n * n, os.getpid()) for n in range(100)], found
"""


@pytest.mark.parametrize("chunksize", [1, 7])
def test_process_map(python, tmp_path, chunksize):
    (tmp_path / "program.py").write_text(PROCESS_MAP)
    command = [python, "program.py", str(chunksize)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("100/100" if chunksize == 1 else "/100") in done.stderr
    assert "Traceback" not in done.stderr and "exception" not in done.stderr


# -- rich ------------------------------------------------------------------------------------


def test_rich_fed_by_callbacks(make_executor):
    console = Console(file=io.StringIO(), width=80)
    with make_executor(2) as executor, Progress(console=console) as progress:
        task = progress.add_task("squares", total=100)
        futures = [executor.submit(square, n) for n in range(100)]
        for future in futures:
            future.add_done_callback(lambda _: progress.advance(task))
        executor.shutdown()
        assert progress.tasks[0].completed == 100 and progress.finished
    assert "100%" in console.file.getvalue()


# -- joblib ----------------------------------------------------------------------------------


@pytest.fixture
def joblib_uses():
    """joblib.parallel_config with this package's backend."""
    fuload_exec.joblib.register()
    return lambda **options: joblib.parallel_config(backend="fuload", **options)


@pytest.fixture(params=["list", "generator", "generator_unordered"])
def squares(request):
    """Calls joblib in each of its ways."""
    return lambda count: sorted(joblib.Parallel(return_as=request.param)(joblib.delayed(square)(n) for n in range(count)))


def test_joblib(joblib_uses, squares):
    with joblib_uses(n_jobs=2):
        assert squares(1000) == [n * n for n in range(1000)]


def test_joblib_on_a_pool_that_is_there(joblib_uses, squares):
    with FuloadExecutor(2) as executor, joblib_uses(executor=executor):
        assert squares(100) == squares(100) == [n * n for n in range(100)]
        pids = set(joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(10)))
        assert pids <= set(executor.worker_pids)
        assert executor.submit(square, 3).result() == 9


def test_joblib_keeps_its_pool_in_a_with_block(joblib_uses):
    with joblib_uses(n_jobs=2), joblib.Parallel() as parallel:
        first = set(parallel(joblib.delayed(os.getpid)() for _ in range(50)))
        again = set(parallel(joblib.delayed(os.getpid)() for _ in range(50)))
        assert len(first | again) <= 2 and os.getpid() not in first


@pytest.mark.parametrize("given", [False, True])
def test_a_failure_in_joblib_stops_the_others(joblib_uses, gate, tmp_path, given):
    """What runs, and what waits; a pool that was given serves on."""
    mark = tmp_path / "runs"
    calls = [joblib.delayed(fail_beside_others)(n, str(mark), gate.path) for n in range(10)]
    with FuloadExecutor(2) as executor, gate:
        with joblib_uses(executor=executor) if given else joblib_uses(n_jobs=2):
            with pytest.raises(KeyError):
                joblib.Parallel()(calls)
            until(lambda: not is_alive(int(mark.read_text())))
            assert joblib.Parallel()(joblib.delayed(square)(n) for n in range(3)) == [0, 1, 4]


def test_a_crash_in_joblib(joblib_uses):
    with joblib_uses(n_jobs=2):
        with pytest.raises(WorkerCrashed):
            joblib.Parallel()(joblib.delayed(os._exit)(3) for _ in range(3))


def test_a_timeout_in_joblib(joblib_uses, gate):
    with joblib_uses(n_jobs=2), gate, pytest.raises(multiprocessing.TimeoutError):
        joblib.Parallel(timeout=0.01)(joblib.delayed(pass_gate)(gate.path) for _ in range(2))


def test_joblib_limits_the_threads_of_libraries(joblib_uses):
    with joblib_uses(n_jobs=2, inner_max_num_threads=3):
        assert set(joblib.Parallel()(joblib.delayed(environment)("OMP_NUM_THREADS") for _ in range(4))) == {"3"}
    with joblib_uses(n_jobs=2, env={"OMP_NUM_THREADS": "5"}):
        assert set(joblib.Parallel()(joblib.delayed(environment)("OMP_NUM_THREADS") for _ in range(4))) == {"5"}


def test_joblib_in_joblib(joblib_uses):
    def total(count):
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(square)(n) for n in range(count)))

    with joblib_uses(n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(total)(n) for n in range(5)) == [0, 0, 1, 5, 14]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": 3}, "executor must be a FuloadExecutor or None, got 3"),
        ({"max_pending": 2}, "max_pending must not be given with joblib, got 2"),
        ({"executor": None, "slots": 0}, "slots"),
    ],
)
def test_what_the_joblib_backend_refuses(joblib_uses, options, message):
    with pytest.raises((TypeError, ValueError), match=message), joblib_uses(n_jobs=2, **options):
        joblib.Parallel()([joblib.delayed(square)(1)])


def test_options_for_a_pool_that_is_there(joblib_uses):
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match="slots, name: these belong to the pool"):
            joblib_uses(executor=executor, slots=3, name="other")
