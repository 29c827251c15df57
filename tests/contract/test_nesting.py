"""Pools in tasks, submission from everywhere, shutdown in odd places."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from gates import pass_gate, report_and_pass_gate
from nesting_tasks import (
    call_c_in_a_nested_pool,
    die_in_a_nested_pool,
    fail_in_a_nested_pool,
    leave_a_pool_open,
    nest,
    squares_by_a_pool_of_its_own,
    threads_abs,
)
from support.waiting import is_alive, until

from fuload_exec import FuloadExecutor


def test_a_pool_in_a_task():
    with FuloadExecutor(2) as executor:
        futures = [executor.submit(squares_by_a_pool_of_its_own, n) for n in (3, 5, 0)]
        assert [f.result() for f in futures] == [[0, 1, 4], [0, 1, 4, 9, 16], []]
        assert executor.submit(call_c_in_a_nested_pool, -2.5).result() == 2.5
        assert executor.submit(die_in_a_nested_pool).result() == ("WorkerCrashed", 1)
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.stress
def test_pools_in_pools_in_pools():
    with FuloadExecutor(1) as executor:
        pids = executor.submit(nest, 3).result()
        assert len(set(pids)) == 4 and os.getpid() not in pids
        assert not any(map(is_alive, pids[1:]))


def test_an_exception_through_two_pools():
    with FuloadExecutor(1) as executor:
        error = executor.submit(fail_in_a_nested_pool).exception()
        assert type(error) is ZeroDivisionError
        text = str(error.__cause__)
        assert "divmod" in text and "in fail_in_a_nested_pool" in text


def test_a_nested_pool_that_is_left_open_ends_with_its_worker():
    with FuloadExecutor(1) as executor:
        pid = executor.submit(leave_a_pool_open).result()
        assert is_alive(pid)
    until(lambda: not is_alive(pid))


def test_a_nested_pool_ends_with_a_worker_that_dies():
    with FuloadExecutor(1) as executor:
        pid = executor.submit(leave_a_pool_open).result()
        executor.submit(os._exit, 3).exception()
        until(lambda: not is_alive(pid))


# -- from everywhere -------------------------------------------------------------------


def test_from_tasks_of_a_thread_pool(make_executor):
    with make_executor(2) as executor, ThreadPoolExecutor(4) as threads:
        outer = [threads.submit(lambda i=i: executor.submit(abs, -i).result()) for i in range(50)]
        assert [f.result() for f in outer] == list(range(50))
        chained = [executor.submit(threads_abs, -i) for i in range(3)]
        assert [f.result() for f in chained] == [0, 1, 2]


def test_from_many_threads(make_executor):
    results = [None] * 8
    with make_executor(2) as executor:
        together = threading.Barrier(8)

        def work(n):
            together.wait()
            results[n] = [f.result() for f in [executor.submit(abs, -n * 100 - i) for i in range(50)]]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [[n * 100 + i for i in range(50)] for n in range(8)]


def test_mapping_from_many_threads(make_executor):
    results = [None] * 6
    with make_executor(2) as executor:
        threads = [
            threading.Thread(target=lambda n=n: results.__setitem__(n, list(executor.map(abs, range(-n * 10, 0)))))
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [list(range(n * 10, 0, -1)) for n in range(6)]


# -- shutdown in odd places ----------------------------------------------------------------


@pytest.mark.parametrize("wait_for_it", [True, False])
@pytest.mark.parametrize("cancel_futures", [True, False])
def test_shutdown_in_a_callback(gate, wait_for_it, cancel_futures):
    executor = FuloadExecutor(1)
    with gate:
        done = threading.Event()
        future = executor.submit(pass_gate, gate.path)
        futures = [executor.submit(abs, -i) for i in range(10)]

        def end(_):
            executor.shutdown(wait=wait_for_it, cancel_futures=cancel_futures)
            done.set()

        future.add_done_callback(end)
        gate.open()
        assert done.wait(60)
        assert wait(futures, 60).not_done == set()
        if not cancel_futures:
            assert [f.result() for f in futures] == list(range(10))
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    executor.shutdown()


def test_shutdown_twice_and_each_way(make_executor, gate):
    for first in ({"wait": True}, {"wait": False}, {"wait": False, "cancel_futures": True}):
        for second in ({"wait": True}, {"wait": True, "cancel_futures": True}):
            executor = make_executor(1)
            assert executor.submit(abs, -1).result() == 1
            executor.shutdown(**first)
            executor.shutdown(**second)
            executor.shutdown(wait=False)


def test_cancelling_at_a_second_shutdown(make_executor, gate, tmp_path):
    executor = make_executor(1)
    with gate:
        held = executor.submit(report_and_pass_gate, str(tmp_path / "runs"), gate.path, 5)
        until((tmp_path / "runs").exists)
        futures = [executor.submit(abs, -i) for i in range(20)]
        executor.shutdown(wait=False)
        executor.shutdown(wait=False, cancel_futures=True)
        until(futures[-1].cancelled)
        gate.open()
        assert held.result(60) == 5
        until(lambda: all(f.done() for f in futures))
    executor.shutdown(cancel_futures=True)


def test_shutdown_while_threads_submit(make_executor):
    """Each gets its result or the reason."""
    executor = make_executor(2)
    executor.submit(abs, -1).result()
    wrong, started = [], threading.Barrier(5)

    def work(n):
        started.wait()
        while True:
            try:
                future = executor.submit(abs, -n)
            except RuntimeError as error:
                if "cannot schedule new futures" not in str(error):
                    wrong.append(error)
                return
            if future.result(60) != n:
                wrong.append(future)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    executor.shutdown()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.stress
def test_thousands_of_tasks_before_anything_runs(make_executor):
    """What wakes the pool must not fill up (python/cpython#105829)."""
    with make_executor(2) as executor:
        futures = [executor.submit(abs, -i) for i in range(3000)]
        assert [f.result(60) for f in futures] == list(range(3000))


@pytest.mark.stress
def test_a_million_tasks_before_anything_runs(libm):
    with FuloadExecutor(2) as executor:
        futures = [executor.submit(libm.fabs, -1.0) for _ in range(1_000_000)]
        assert sum(f.result() for f in futures) == 1_000_000
        assert executor.stats().unfinished == 0
