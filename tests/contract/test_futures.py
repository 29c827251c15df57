"""The future: a concurrent.futures.Future in every respect, and what it adds."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import signal
import threading
import time
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError, as_completed, wait
from pathlib import Path

import pytest
from futures_tasks import Alarm
from gates import pass_gate, report_and_pass_gate
from support.tasks import fail
from support.waiting import is_alive, until

from fuload_exec import FuloadExecutor, FuloadFuture


def hold_workers(executor, gate, tmp_path, workers=1):
    """Futures of tasks that run, one in each worker."""
    marks = [tmp_path / f"runs{i}" for i in range(workers)]
    held = [executor.submit(report_and_pass_gate, str(mark), gate.path, i) for i, mark in enumerate(marks)]
    until(lambda: all(mark.exists() for mark in marks))
    return held


def test_what_it_is(make_executor, libm):
    with make_executor(1) as executor:
        assert isinstance(executor.submit(abs, 1), concurrent.futures.Future)
    with FuloadExecutor(1) as executor:
        for future in (executor.submit(abs, 1), executor.submit(libm.cos, 0.0)):
            assert type(future) is FuloadFuture and isinstance(future, concurrent.futures.Future)


def test_result_and_exception_with_a_timeout(make_executor, gate):
    with make_executor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path, 5)
        for timeout in (0, 0.01, -1):
            with pytest.raises(concurrent.futures.TimeoutError):
                future.result(timeout)
            with pytest.raises(concurrent.futures.TimeoutError):
                future.exception(timeout=timeout)
        gate.open()
        assert future.result(60) == 5 and future.result(0) == 5 and future.result(timeout=None) == 5
        assert future.exception(0) is None


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 1e19, 2e10])
def test_a_timeout_longer_than_any_clock_waits(libc, timeout):
    with FuloadExecutor(1) as executor:
        assert executor.submit(libc.usleep, 20_000).result(timeout) == 0
        assert executor.submit(libc.usleep, 20_000).exception(timeout) is None


@pytest.mark.parametrize("timeout", [float("nan"), float("-inf"), -1e300])
def test_a_timeout_that_is_over(gate, timeout):
    with FuloadExecutor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path, 5)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(timeout)
        gate.open()


def test_the_exception(make_executor):
    with make_executor(1) as executor:
        future = executor.submit(fail, ValueError("v"))
        assert type(future.exception(60)) is ValueError
        with pytest.raises(ValueError, match="v"):
            future.result(0)


def test_the_states_of_a_task(make_executor, gate, tmp_path):
    with make_executor(1) as executor, gate:
        (held,) = hold_workers(executor, gate, tmp_path)
        last = [executor.submit(abs, -i) for i in range(5)][-1]
        until(held.running)
        assert (held.done(), held.cancelled()) == (False, False)
        assert (last.running(), last.done(), last.cancelled()) == (False, False, False)
        gate.open()
        assert last.result() == 4
        assert (held.running(), held.done(), held.cancelled()) == (False, True, False)


def test_cancelling_what_waits(make_executor, gate, tmp_path):
    with make_executor(1) as executor, gate:
        (held,) = hold_workers(executor, gate, tmp_path)
        others = [executor.submit(Path.touch, tmp_path / f"ran{i}") for i in range(10)]
        seen = []
        last = others[-1]
        last.add_done_callback(seen.append)
        assert last.cancel() and last.cancel()
        assert seen == [last]
        assert (last.running(), last.done(), last.cancelled()) == (False, True, True)
        for ask in (last.result, last.exception):
            with pytest.raises(CancelledError):
                ask()
        gate.open()
        for future in others[:-1]:
            future.result()
        assert executor.submit(abs, -1).result() == 1
    assert not (tmp_path / "ran9").exists() and (tmp_path / "ran8").exists()


def test_cancelling_what_runs_or_has_run(make_executor, gate, tmp_path):
    with make_executor(1) as executor, gate:
        (held,) = hold_workers(executor, gate, tmp_path)
        until(held.running)
        assert not held.cancel() and not held.cancelled()
        gate.open()
        assert held.result() == 0
        assert not held.cancel() and not held.cancelled() and held.result() == 0


def test_a_thread_that_waits_for_a_cancelled_task(make_executor, gate, tmp_path):
    with make_executor(1) as executor, gate:
        hold_workers(executor, gate, tmp_path)
        last = [executor.submit(abs, -i) for i in range(5)][-1]
        caught = []

        def ask():
            try:
                last.result()
            except CancelledError as error:
                caught.append(error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert last.cancel()
        for thread in threads:
            thread.join()
        assert len(caught) == 3


def test_many_threads_wait_for_one_task(make_executor, gate):
    with make_executor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path, 5)
        results = []
        threads = [threading.Thread(target=lambda: results.append(future.result())) for _ in range(20)]
        for thread in threads:
            thread.start()
        gate.open()
        for thread in threads:
            thread.join()
        assert results == [5] * 20


# -- callbacks --------------------------------------------------------------------


def test_callbacks_in_their_order(make_executor, gate, caplog):
    seen = []
    with make_executor(1) as executor, gate:
        future = executor.submit(pass_gate, gate.path, 5)
        future.add_done_callback(lambda f: seen.append((1, f, f.done(), f.result(), os.getpid())))
        future.add_done_callback(lambda f: fail(ValueError("of a callback")))
        future.add_done_callback(lambda f: seen.append((2, f, f.done(), f.result(), os.getpid())))
        assert seen == []
        with caplog.at_level(logging.ERROR):
            gate.open()
            until(lambda: len(seen) == 2)
    assert seen == [(n, future, True, 5, os.getpid()) for n in (1, 2)]
    assert "of a callback" in caplog.text and caplog.records[0].name == "concurrent.futures"
    caplog.clear()  # its records hold this frame


def test_a_callback_for_what_has_ended_is_called_at_once(make_executor, caplog):
    with make_executor(1) as executor:
        future = executor.submit(abs, -5)
        future.result()
        seen = []
        future.add_done_callback(lambda f: seen.append((f, threading.get_ident())))
        assert seen == [(future, threading.get_ident())]
        with caplog.at_level(logging.ERROR):
            future.add_done_callback(lambda f: fail(ValueError("of a callback")))
        assert "of a callback" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("count", [1, 500])
def test_callbacks_of_many_tasks(make_executor, count):
    seen = []
    with make_executor(2) as executor:
        futures = [executor.submit(abs, -i) for i in range(count)]
        for future in futures:
            future.add_done_callback(lambda f: seen.append(f.result()))
        until(lambda: len(seen) == count)
    assert sorted(seen) == list(range(count))


def test_callbacks_without_anybody_who_waits(libm):
    """Nobody calls result(): the pool itself sees the end."""
    event = threading.Event()
    with FuloadExecutor(1) as executor:
        executor.submit(libm.cos, 0.0).add_done_callback(lambda f: event.set())
        assert event.wait(60)


def test_a_callback_that_submits_and_waits(libm):
    results = []
    with FuloadExecutor(1) as executor:
        first = executor.submit(libm.cos, 0.0)
        first.add_done_callback(lambda f: results.append(executor.submit(libm.fabs, -2.0).result()))
        until(lambda: results)
    assert results == [2.0]


def test_callbacks_of_failed_and_crashed_tasks(libc):
    seen = []
    with FuloadExecutor(1) as executor:
        executor.submit(fail, KeyError()).add_done_callback(lambda f: seen.append(type(f.exception()).__name__))
        until(lambda: len(seen) == 1)
        executor.submit(libc.raise_, signal.SIGKILL).add_done_callback(lambda f: seen.append(type(f.exception()).__name__))
        until(lambda: len(seen) == 2)
    assert seen == ["KeyError", "WorkerCrashed"]


# -- wait and as_completed --------------------------------------------------------------


def test_wait_for_all(make_executor):
    with make_executor(2) as executor:
        futures = [executor.submit(abs, -i) for i in range(50)]
        done, not_done = wait([*futures, *futures[:3]], return_when=ALL_COMPLETED)
        assert (done, not_done) == (set(futures), set())
        assert wait(futures) == (set(futures), set())
        assert wait([]) == (set(), set())


def test_wait_for_the_first(make_executor, make_gate):
    with make_executor(2) as executor, make_gate() as one, make_gate() as other:
        held = executor.submit(pass_gate, one.path), executor.submit(pass_gate, other.path)
        assert wait(held, timeout=0) == (set(), set(held))
        assert wait(held, timeout=0.01) == (set(), set(held))
        other.open()
        assert wait(held, return_when=FIRST_COMPLETED) == ({held[1]}, {held[0]})
        one.open()
        assert wait(held) == (set(held), set())


def test_wait_for_the_first_exception(make_executor, gate):
    with make_executor(2) as executor, gate:
        held = executor.submit(pass_gate, gate.path)
        good, bad = executor.submit(abs, 1), executor.submit(fail, ValueError())
        done, not_done = wait([held, good, bad], return_when=FIRST_EXCEPTION)
        assert bad in done and held in not_done
        gate.open()
        assert wait([held, good], return_when=FIRST_EXCEPTION) == ({held, good}, set())


def test_wait_sees_what_was_cancelled(make_executor, gate, tmp_path):
    with make_executor(1) as executor, gate:
        hold_workers(executor, gate, tmp_path)
        last = [executor.submit(abs, -i) for i in range(10)][-1]
        timer = threading.Timer(0.01, last.cancel)
        timer.start()
        if isinstance(last, FuloadFuture):
            assert wait([last], timeout=60) == ({last}, set())
        timer.join()
        assert last.cancelled()


def test_as_completed_in_the_order_of_their_ends(make_executor, make_gate):
    with make_executor(2) as executor, make_gate() as one, make_gate() as other:
        held = executor.submit(pass_gate, one.path, 1), executor.submit(pass_gate, other.path, 2)
        completed = as_completed([*held, held[0]])
        other.open()
        assert next(completed) is held[1]
        one.open()
        assert list(completed) == [held[0]]


def test_as_completed_with_a_timeout(make_executor, gate):
    with make_executor(2) as executor, gate:
        held, quick = executor.submit(pass_gate, gate.path), executor.submit(abs, -1)
        quick.result()
        completed = as_completed([held, quick], timeout=0.05)
        assert next(completed) is quick
        with pytest.raises(concurrent.futures.TimeoutError):
            next(completed)
        with pytest.raises(concurrent.futures.TimeoutError):
            list(as_completed([held], timeout=0))


def test_futures_of_several_executors(make_executor, libm):
    with make_executor(1) as one, FuloadExecutor(2) as two, concurrent.futures.ThreadPoolExecutor(1) as three:
        futures = [
            f
            for i in range(20)
            for f in (one.submit(abs, -i), two.submit(abs, -i), two.submit(libm.fabs, -float(i)), three.submit(abs, -i))
        ]
        assert wait(futures).not_done == set()
        assert sorted(f.result() for f in as_completed(futures)) == sorted(4 * list(range(20)))
        mixed = [one.submit(abs, -1), two.submit(fail, ValueError()), three.submit(abs, -1)]
        assert {type(f.exception()) for f in as_completed(mixed)} == {type(None), ValueError}


# -- asyncio -----------------------------------------------------------------------------


def test_asyncio(make_executor):
    async def work(executor):
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(executor, abs, -i) for i in range(100)))
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divmod, 1, 0)
        return results, await asyncio.wrap_future(executor.submit(pow, 2, 3))

    with make_executor(2) as executor:
        assert asyncio.run(work(executor)) == (list(range(100)), 8)


def test_asyncio_with_c_functions(libm):
    async def work(executor):
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, libm.fabs, -float(i)) for i in range(100)))

    with FuloadExecutor(2) as executor:
        assert asyncio.run(work(executor)) == list(range(100))


def test_a_cancelled_await_cancels_what_waits(make_executor, gate, tmp_path):
    async def work(executor):
        last = [executor.submit(abs, -i) for i in range(5)][-1]
        task = asyncio.ensure_future(asyncio.wrap_future(last))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return last

    with make_executor(1) as executor, gate:
        hold_workers(executor, gate, tmp_path)
        assert asyncio.run(work(executor)).cancelled()


# -- what FuloadFuture adds ------------------------------------------------------------------


def test_the_worker_and_the_times(gate, tmp_path, libc):
    with FuloadExecutor(1) as executor, gate:
        (held,) = hold_workers(executor, gate, tmp_path)
        waiting = executor.submit(libc.usleep, 20_000)
        before = time.monotonic()
        assert waiting.worker_pid is None and waiting.timing == (None, None)
        until(lambda: time.monotonic() > before + 0.01)
        gate.open()
        assert waiting.result() == 0
        queued, running = waiting.timing
        assert queued >= 0.01 and running >= 0.02
        assert {held.worker_pid, waiting.worker_pid} == set(executor.worker_pids)


@pytest.mark.parametrize("kind", ["C", "Python"])
def test_terminating_what_runs(gate, tmp_path, open_gate, kind):
    with FuloadExecutor(2) as executor, gate:
        (neighbour,) = hold_workers(executor, gate, tmp_path)
        if kind == "C":
            future = executor.submit(open_gate, gate.raw_path, os.O_RDONLY)
        else:
            future = executor.submit(pass_gate, gate.path)
        seen = []
        future.add_done_callback(seen.append)
        until(future.running)
        pids = executor.worker_pids
        assert future.terminate() and future.cancelled() and future.done()
        assert seen == [future]
        with pytest.raises(CancelledError):
            future.result()
        until(lambda: sum(map(is_alive, pids)) == 1)
        assert executor.submit(abs, -1).result() == 1
        gate.open()
        assert neighbour.result() == 0


def test_terminating_what_waits_and_what_has_ended(gate, tmp_path):
    with FuloadExecutor(1) as executor, gate:
        (held,) = hold_workers(executor, gate, tmp_path)
        waiting = executor.submit(abs, -1)
        assert waiting.terminate() and waiting.cancelled() and waiting.terminate()
        gate.open()
        assert held.result() == 0
        assert not held.terminate() and not held.cancelled() and held.result() == 0


def test_terminating_many(gate):
    with FuloadExecutor(2) as executor, gate:
        for i in range(10):
            future = executor.submit(pass_gate, gate.path)
            if i % 2:
                until(future.running)
            assert future.terminate()
            assert executor.submit(abs, -i).result() == i


def test_repr(gate, tmp_path):
    with FuloadExecutor(1) as executor, gate:
        (held,) = hold_workers(executor, gate, tmp_path)
        waiting, failing, cancelled = executor.submit(abs, -1), executor.submit(fail, KeyError()), executor.submit(abs, 1)
        cancelled.cancel()
        assert "running" in repr(held) and "pending" in repr(waiting) and "cancelled" in repr(cancelled)
        assert all("FuloadFuture" in repr(f) for f in (held, waiting, cancelled))
        gate.open()
        wait([held, waiting, failing])
        assert "finished" in repr(waiting) and "int" in repr(waiting) and "KeyError" in repr(failing)


# -- signals, threads, dropped futures -----------------------------------------------------------


@pytest.mark.parametrize("ask", ["result", "exception", "wait"])
def test_waiting_is_interrupted_by_signals(make_executor, gate, ask):
    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGUSR2, ring)
    try:
        with make_executor(1) as executor, gate:
            future = executor.submit(pass_gate, gate.path, 5)
            timer = threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR2))
            timer.start()
            with pytest.raises(Alarm):
                wait([future]) if ask == "wait" else getattr(future, ask)()
            timer.join()
            assert not future.done()
            gate.open()
            assert future.result() == 5
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_submitting_from_many_threads(libm):
    wrong = []

    def work(n):
        for i in range(300):
            value = float(n * 1000 + i)
            if executor.submit(libm.fabs, -value).result() != value:
                wrong.append(value)
        if executor.submit(abs, -n).result() != n:
            wrong.append(n)

    with FuloadExecutor(2, slots=8) as executor:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_the_first_tasks_of_a_pool_come_from_many_threads(libm):
    for _ in range(10):
        with FuloadExecutor(2) as executor:
            together, results = threading.Barrier(8), []

            def work(executor=executor, together=together, results=results):
                together.wait()
                results.append(executor.submit(libm.cos, 0.0).result())

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert results == [1.0] * 8


def test_dropped_futures_run_all_the_same(make_executor, tmp_path):
    with make_executor(1) as executor:
        for i in range(20):
            executor.submit(Path.touch, tmp_path / str(i))
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize("spin", [0, 0.0001, None])
def test_thousands_of_tasks_one_after_the_other(libm, spin):
    with FuloadExecutor(2, spin=spin) as executor:
        for i in range(3000):
            assert executor.submit(libm.fabs, -float(i)).result() == i
