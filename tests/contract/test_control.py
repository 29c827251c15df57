"""Control over single tasks: timeouts, retries, cancelling what runs, workers
that retire, pools that are ended by force."""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import pickle
import signal
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, Executor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool

import numpy
import pytest
from control_tasks import count_and_die, deaf, register_farewell, sleep_and_tell, slow_start, sum_or_die
from gates import pass_gate, report_and_pass_gate
from support.tasks import die_once, double
from support.waiting import is_alive, until

from fuload_exec import FuloadExecutor, FuloadFuture, TaskTimeout, WorkerCrashed

PATIENCE = 30


# -- timeout ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["C", "Python"])
def test_a_task_past_its_timeout(pool, libc, kind):
    executor = pool(1, timeout=0.2)
    task = (libc.usleep, 60_000_000) if kind == "C" else (time.sleep, 60)
    future = executor.submit(*task)
    error = future.exception(PATIENCE)
    assert type(error) is TaskTimeout and isinstance(error, TimeoutError)
    name = "usleep(60000000)" if kind == "C" else "sleep(60)"
    assert name in str(error) and "0.2 s" in str(error) and str(future.worker_pid) in str(error)
    assert future.done() and not future.cancelled()
    assert 0.2 <= future.timing[1]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    until(lambda: not is_alive(future.worker_pid))
    # The pool goes on with another worker.
    again = executor.submit(os.getpid)
    assert again.result(PATIENCE) != future.worker_pid
    assert executor.stats().failed == 1


def test_the_due_time_is_kept(pool, libc):
    """Fifty milliseconds are promised; a machine that starves this process for
    longer fails all of them, a wrong deadline fails each."""
    executor = pool(1, timeout=0.1)
    late = []
    for _ in range(10):
        future = executor.submit(libc.usleep, 60_000_000)
        assert type(future.exception(PATIENCE)) is TaskTimeout
        late.append(future.timing[1] - 0.1)
    assert min(late) >= 0
    assert sorted(late)[2] < 0.05, late


def test_a_task_that_nothing_but_a_kill_ends(pool, tmp_path):
    executor = pool(1)
    future = executor.options(timeout=0.3).submit(deaf, str(tmp_path / "mark"))
    assert type(future.exception(PATIENCE)) is TaskTimeout
    assert (tmp_path / "mark").exists()


def test_a_worker_that_is_stopped_is_past_its_timeout_too(pool, gate, tmp_path):
    executor = pool(1)
    future = executor.options(timeout=0.5).submit(report_and_pass_gate, str(tmp_path / "mark"), gate.path)
    until((tmp_path / "mark").exists)
    for pid in executor.worker_pids:
        os.kill(pid, signal.SIGSTOP)
    assert type(future.exception(PATIENCE)) is TaskTimeout
    assert executor.submit(abs, -1).result(PATIENCE) == 1


def test_waiting_in_the_queue_is_not_running(pool):
    executor = pool(1, slots=2, timeout=0.3)
    futures = [executor.submit(sleep_and_tell, 0.05, i) for i in range(12)]
    assert [f.result(PATIENCE) for f in futures] == list(range(12))


def test_the_start_of_a_worker_is_not_the_task(pool):
    executor = pool(1, timeout=0.1, initializer=slow_start, initargs=(0.4,))
    future = executor.submit(abs, -1)
    assert future.result(PATIENCE) == 1
    assert future.timing[1] < 0.4


def test_neighbours_are_not_hit(pool):
    executor = pool(2)
    long = executor.submit(sleep_and_tell, 1.5, "whole")
    until(long.running)
    for _ in range(4):
        assert type(executor.options(timeout=0.05).submit(time.sleep, 60).exception(PATIENCE)) is TaskTimeout
    assert long.result(PATIENCE) == "whole"


def test_what_finishes_about_when_it_is_due(pool, libc, dice):
    """Each is either a result or a timeout, and no neighbour is ever hit: a
    worker that has gone on to the next task is not killed for the last."""
    executor = pool(2)
    short = executor.options(timeout=0.03)
    futures = []
    for _ in range(60):
        futures.append((short.submit(libc.usleep, dice.randrange(25_000, 35_000)), True))
        futures.append((executor.submit(libc.usleep, 1000), False))
    seen = Counter()
    for future, limited in futures:
        error = future.exception(PATIENCE)
        seen[type(error)] += 1
        assert error is None or (limited and type(error) is TaskTimeout)
    assert seen[type(None)] >= 60


def test_many_due_at_once(pool):
    executor = pool(4, timeout=0.2)
    futures = [executor.submit(time.sleep, 60) for _ in range(8)]
    assert {type(f.exception(PATIENCE)) for f in futures} == {TaskTimeout}
    assert executor.submit(double, 4).result(PATIENCE) == 8


def test_callbacks_and_waiters_are_told(pool):
    executor = pool(1)
    future = executor.options(timeout=0.05).submit(time.sleep, 60)
    seen = []
    future.add_done_callback(lambda f: seen.append((type(f.exception()), threading.current_thread())))
    assert wait([future], PATIENCE).done == {future}
    until(lambda: seen)
    assert seen[0][0] is TaskTimeout


def test_a_timeout_breaks_no_pool(pool):
    """Ten in a row: workers that were killed for a task are no sign of a pool
    that cannot start any."""
    executor = pool(1, timeout=0.02)
    for _ in range(10):
        assert type(executor.submit(time.sleep, 60).exception(PATIENCE)) is TaskTimeout
    assert executor.options(timeout=None).submit(abs, -1).result(PATIENCE) == 1


def test_limits_of_all_sizes_side_by_side(pool):
    executor = pool(2)
    limits = [0.01, 5000.0, 0.08, 1e9, 0.04]
    futures = [executor.options(timeout=limit).submit(time.sleep, 0.3) for limit in limits]
    found = [type(f.exception(PATIENCE)) for f in futures]
    assert found == [TaskTimeout, type(None), TaskTimeout, type(None), TaskTimeout]


def test_a_limit_that_comes_while_a_longer_one_waits(pool):
    executor = pool(2)
    long = executor.options(timeout=60).submit(sleep_and_tell, 1, "whole")
    until(long.running)
    assert type(executor.options(timeout=0.05).submit(time.sleep, 60).exception(PATIENCE)) is TaskTimeout
    assert long.result(PATIENCE) == "whole"


def test_a_buffer_of_a_task_that_timed_out_is_untouched(pool, c_library):
    wait_and_spoil = c_library.spoil
    executor = pool(1, timeout=5)
    buffer = bytearray(b"whole")
    assert type(executor.submit(wait_and_spoil, buffer, 5).exception(PATIENCE)) is WorkerCrashed
    assert buffer == b"whole"


def test_map_with_a_timeout_makes_each_call_a_task(pool):
    executor = pool(2)
    results = executor.options(timeout=0.5).map(time.sleep, [0, 0, 60, 0])
    assert next(results) is None and next(results) is None
    with pytest.raises(TaskTimeout, match=r"sleep\(60\)"):
        next(results)


def test_map_of_a_c_function_with_a_timeout(pool, libc):
    executor = pool(2)
    results = executor.options(timeout=0.5).map(libc.usleep, [1, 1, 60_000_000, 1])
    assert next(results) == 0 and next(results) == 0
    with pytest.raises(TaskTimeout):
        next(results)


def test_timeouts_while_the_pool_shuts_down(pool):
    executor = pool(1)
    future = executor.options(timeout=0.3).submit(time.sleep, 60)
    executor.shutdown()
    assert type(future.exception(0)) is TaskTimeout


def test_timeouts_at_a_worker_that_dies_of_itself(pool, dice):
    executor = pool(2, timeout=0.05)
    futures = [
        executor.submit(os._exit, 1) if dice.random() < 0.3 else executor.submit(time.sleep, dice.choice([0, 0.05, 1]))
        for _ in range(30)
    ]
    for future in futures:
        assert type(future.exception(PATIENCE)) in (type(None), TaskTimeout, WorkerCrashed, BrokenProcessPool)


# -- options ------------------------------------------------------------------------


def test_a_view_is_an_executor_of_the_same_pool(pool):
    executor = pool(1)
    view = executor.options(timeout=60)
    assert isinstance(view, Executor)
    assert view.submit(os.getpid).result() == executor.submit(os.getpid).result()
    assert isinstance(view.submit(abs, -1), FuloadFuture)
    assert list(view.map(double, range(5))) == [0, 2, 4, 6, 8]
    assert view.max_workers == view._max_workers == 1
    assert view.stats().completed == executor.stats().completed
    assert view.worker_pids == executor.worker_pids
    assert "timeout=60" in repr(view) and repr(executor) in repr(view)


def test_options_add_up(pool, tmp_path):
    executor = pool(1, timeout=60)
    view = executor.options(max_retries=1).options(timeout=0.2)
    assert type(view.submit(time.sleep, 60).exception(PATIENCE)) is TaskTimeout
    assert view.submit(die_once, str(tmp_path / "a")).result(PATIENCE)
    plain = view.options(timeout=None, max_retries=0)
    assert plain.submit(sleep_and_tell, 0.3, 1).result(PATIENCE) == 1
    assert type(plain.submit(die_once, str(tmp_path / "b")).exception(PATIENCE)) is WorkerCrashed


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": math.nan}, ValueError),
        ({"max_retries": -1}, ValueError),
        ({"max_retries": 1.5}, TypeError),
        ({"max_retries": None}, TypeError),
        ({"spin": 1}, TypeError),
    ],
)
def test_bad_options(pool, options, error):
    with pytest.raises(error, match=next(iter(options))):
        pool(1).options(**options)


def test_a_view_keeps_the_pool_alive(pool):
    view = FuloadExecutor(1).options(timeout=60)
    assert view.submit(double, 2).result(PATIENCE) == 4
    view.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.submit(double, 2)


def test_a_view_in_a_with_statement_shuts_the_pool_down(pool):
    executor = pool(1)
    with executor.options(timeout=60) as view:
        future = view.submit(sleep_and_tell, 0.1, 1)
    assert future.done()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 2)


# -- retries --------------------------------------------------------------------------


def test_a_task_whose_worker_died_is_tried_again(pool, tmp_path):
    executor = pool(1, max_retries=2)
    path = tmp_path / "lives"
    assert executor.submit(count_and_die, str(path), 3).result(PATIENCE) == 3
    assert executor.stats().retried == 2
    assert executor.stats().completed == 1 and executor.stats().failed == 0


def test_not_more_often_than_allowed(pool, tmp_path):
    executor = pool(1, max_retries=2)
    path = tmp_path / "lives"
    future = executor.submit(count_and_die, str(path), 100)
    error = future.exception(PATIENCE)
    assert type(error) is WorkerCrashed and error.exitcode == -signal.SIGKILL
    assert path.stat().st_size == 3


def test_a_task_that_kills_all_its_workers_breaks_no_pool(pool, tmp_path):
    executor = pool(1, max_retries=20)
    assert type(executor.submit(os._exit, 1).exception(PATIENCE)) is WorkerCrashed
    assert executor.stats().retried == 20
    assert executor.submit(double, 1).result(PATIENCE) == 2


def test_another_try_has_the_arguments_as_they_were(pool, tmp_path):
    """The dead one has written into its array, which stood in the window."""
    executor = pool(1, max_retries=1)
    array = numpy.ones(100_000)
    assert executor.submit(sum_or_die, str(tmp_path / "died"), array).result(PATIENCE) == 100_000.0
    assert (array == 1).all()


def test_another_try_of_what_waited_in_the_queue(pool, tmp_path):
    executor = pool(1, slots=1, max_retries=1)
    futures = [executor.submit(die_once, str(tmp_path / str(i))) for i in range(6)]
    assert len({f.result(PATIENCE) for f in futures}) >= 1
    assert executor.stats().retried == 6


@pytest.mark.parametrize("size", [10, 100_000])
def test_another_try_of_a_c_call_with_a_buffer(pool, c_library, tmp_path, size):
    executor = pool(1, max_retries=1)
    buffer = bytearray(size)
    assert type(executor.submit(c_library.spoil, buffer, size).exception(PATIENCE)) is WorkerCrashed
    assert buffer == bytes(size)
    assert executor.stats().retried == 1


def test_retries_keep_the_rest(pool, dice, tmp_path):
    executor = pool(2, max_retries=1)
    bad = [executor.submit(die_once, str(tmp_path / f"p{i}")) for i in range(10)]
    good = [executor.submit(double, i) for i in range(500)]
    assert [f.result(PATIENCE) for f in good] == [2 * i for i in range(500)]
    assert all(f.result(PATIENCE) for f in bad)


def test_an_exception_is_no_reason_to_try_again(pool):
    executor = pool(1, max_retries=3)
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 1, 0).result(PATIENCE)
    assert executor.stats().retried == 0


def test_a_timeout_is_no_reason_to_try_again(pool):
    executor = pool(1, max_retries=3, timeout=0.1)
    assert type(executor.submit(time.sleep, 60).exception(PATIENCE)) is TaskTimeout
    assert executor.stats().retried == 0


def test_cancelling_between_two_tries(pool, gate, tmp_path):
    """With its only worker dead and the next one held by another task, it waits."""
    executor = pool(1, max_retries=5)
    future = executor.submit(report_and_pass_gate, str(tmp_path / "mark"), gate.path)
    until((tmp_path / "mark").exists)
    assert future.terminate() and future.cancelled()
    assert executor.submit(double, 1).result(PATIENCE) == 2
    assert executor.stats().retried == 0


# -- cancel_running ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["C", "Python"])
def test_cancel_stops_what_runs(pool, libc, kind):
    executor = pool(1, cancel_running=True)
    future = executor.submit(libc.usleep, 60_000_000) if kind == "C" else executor.submit(time.sleep, 60)
    until(future.running)
    (pid,) = executor.worker_pids
    assert future.cancel() and future.cancelled() and future.done()
    with pytest.raises(CancelledError):
        future.result()
    until(lambda: not is_alive(pid))
    assert executor.submit(double, 1).result(PATIENCE) == 2


def test_cancel_leaves_what_runs_by_default(pool, gate):
    executor = pool(1)
    future = executor.submit(pass_gate, gate.path, "whole")
    until(future.running)
    assert not future.cancel() and future.running()
    gate.open()
    assert future.result(PATIENCE) == "whole"


def test_cancel_of_what_has_ended(pool):
    executor = pool(1, cancel_running=True)
    future = executor.submit(double, 1)
    assert future.result() == 2
    assert not future.cancel() and future.result() == 2


def test_an_await_that_times_out_stops_the_work(pool, tmp_path):
    executor = pool(1, cancel_running=True)

    async def main():
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(executor, report_and_pass_gate, str(tmp_path / "mark"), "/dev/zero/none")
        with pytest.raises(NotADirectoryError):
            await work
        work = loop.run_in_executor(executor, time.sleep, 60)
        while not executor.stats().workers or executor.stats().workers[0].state != "busy":
            await asyncio.sleep(0.001)
        (pid,) = executor.worker_pids
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(work, 0.1)
        return pid

    pid = asyncio.run(main())
    until(lambda: not is_alive(pid))
    assert executor.submit(double, 1).result(PATIENCE) == 2


def test_a_map_that_is_closed_early_stops_its_tasks(pool):
    executor = pool(2, cancel_running=True)
    results = executor.map(sleep_and_tell, [0, 60, 60], "abc", chunksize=1)
    assert next(results) == "a"
    results.close()
    executor.shutdown()


# -- max_tasks_per_child ---------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3])
def test_a_python_worker_retires(pool, most):
    executor = pool(1, max_tasks_per_child=most)
    pids = [executor.submit(os.getpid).result(PATIENCE) for _ in range(3 * most)]
    assert sorted(Counter(pids).values()) == [most] * 3
    until(lambda: not any(map(is_alive, pids)))


def test_c_workers_retire(pool):
    getpid = ctypes.CDLL(None).getpid
    getpid.argtypes, getpid.restype = [], ctypes.c_int
    executor = pool(2, max_tasks_per_child=10)
    futures = [executor.submit(getpid) for _ in range(200)]
    pids = Counter(f.result(PATIENCE) for f in futures)
    assert max(pids.values()) == 10 and len(pids) >= 20
    assert executor.stats().completed == 200


def test_c_and_python_tasks_count_alike(pool, libc):
    executor = pool(1, max_tasks_per_child=4)
    first = executor.submit(os.getpid)
    assert executor.submit(libc.abs, -1).result(PATIENCE) == 1
    pids = [executor.submit(os.getpid).result(PATIENCE) for _ in range(3)]
    assert first.result() == pids[0] == pids[1] != pids[2]


def test_a_worker_that_retires_leaves_in_order(pool, tmp_path):
    executor = pool(1, max_tasks_per_child=1, initializer=register_farewell, initargs=(str(tmp_path),))
    pid = executor.submit(os.getpid).result(PATIENCE)
    until((tmp_path / str(pid)).exists)
    assert executor.stats().failed == 0


@pytest.mark.stress
def test_retiring_workers_lose_nothing(pool, dice):
    executor = pool(3, max_tasks_per_child=2, slots=4)
    futures = [executor.submit(sleep_and_tell, dice.choice([0, 0, 0.002]), i) for i in range(60)]
    assert {f.result(PATIENCE) for f in as_completed(futures)} == set(range(60))


# -- terminate_workers, kill_workers ------------------------------------------------------------


@pytest.mark.parametrize("method", ["terminate_workers", "kill_workers"])
def test_ending_a_pool_by_force(pool, gate, method):
    executor = pool(2, max_retries=3)
    running = [executor.submit(pass_gate, gate.path) for _ in range(2)]
    until(lambda: all(f.running() for f in running))
    waiting = [executor.submit(double, i) for i in range(10)]
    until(lambda: len(executor.worker_pids) == 2)
    pids = executor.worker_pids
    getattr(executor, method)()
    for future in running:
        error = future.exception(PATIENCE)
        assert type(error) is WorkerCrashed and isinstance(error, BrokenProcessPool)
        assert error.exitcode == (-signal.SIGTERM if method == "terminate_workers" else -signal.SIGKILL)
    assert all(f.cancelled() for f in waiting)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)
    executor.shutdown()
    assert not any(map(is_alive, pids))
    getattr(executor, method)()  # once more does no harm
    assert executor.stats().retried == 0


@pytest.mark.parametrize("method", ["terminate_workers", "kill_workers"])
def test_ending_a_pool_that_has_done_nothing(pool, method):
    executor = pool(2)
    getattr(executor, method)()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)


def test_killing_workers_that_are_deaf(pool, tmp_path):
    executor = pool(1)
    future = executor.submit(deaf, str(tmp_path / "mark"))
    until((tmp_path / "mark").exists)
    executor.kill_workers()
    assert type(future.exception(PATIENCE)) is WorkerCrashed


def test_force_through_a_view(pool):
    executor = pool(1)
    future = executor.submit(time.sleep, 60)
    until(future.running)
    executor.options(timeout=1).kill_workers()
    assert type(future.exception(PATIENCE)) is WorkerCrashed
