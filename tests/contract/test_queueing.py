"""More tasks than slots; order; cancelling what waits; max_pending."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections import Counter
from concurrent.futures import wait
from pathlib import Path

import pytest
from queueing_tasks import count
from support.waiting import until

from fuload_exec import FuloadExecutor


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def hold(executor, open_gate, gate):
    future = executor.submit(open_gate, gate.raw_path, os.O_RDONLY)
    until(future.running)
    return future


@pytest.mark.stress
@pytest.mark.parametrize("slots", [1, 2, 8, 100])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_more_tasks_than_slots(libm, slots, workers):
    with FuloadExecutor(workers, slots=slots) as executor:
        futures = [executor.submit(libm.fabs, -float(i)) for i in range(5000)]
        assert [f.result() for f in futures] == list(range(5000))
        futures = [executor.submit(abs, -i) for i in range(1000)]
        assert [f.result() for f in futures] == list(range(1000))


@pytest.mark.parametrize("slots", [1, 3, 1024])
def test_one_worker_runs_tasks_in_their_order(c_library, slots):
    with FuloadExecutor(1, slots=slots) as executor:
        futures = [executor.submit(c_library.count) for _ in range(5000)]
        assert [f.result() for f in futures] == list(range(5000))
        futures = [executor.submit(count, i) for i in range(1000)]
        assert [f.result() for f in futures] == list(range(1, 1001))


@pytest.mark.parametrize("slots", [1, 8, 1024])
def test_tasks_of_all_sizes_keep_their_order(c_library, slots):
    data = os.urandom(20_000)
    with FuloadExecutor(1, slots=slots) as executor:
        sizes = [(i * 7919) % 20_000 for i in range(500)]
        futures = [(executor.submit(c_library.digest, data[:n], n), executor.submit(c_library.count)) for n in sizes]
        assert [f.result() for f, _ in futures] == [c_library.digest(data, n) for n in sizes]
        assert [f.result() for _, f in futures] == list(range(500))


@pytest.mark.parametrize("slots", [1, 8, 4096])
def test_cancelling_in_the_middle(c_library, open_gate, gate, slots):
    with FuloadExecutor(1, slots=slots) as executor, gate:
        held = hold(executor, open_gate, gate)
        futures = [executor.submit(c_library.count) for _ in range(2000)]
        gone = futures[::3] + futures[1000:1100] + futures[-1:]
        for future in gone:
            assert future.cancel()
        late = executor.submit(c_library.count)
        gate.open()
        left = [f for f in futures if not f.cancelled()]
        assert len(left) == 2000 - len(set(gone))
        assert [f.result() for f in left] == list(range(len(left)))
        assert late.result() == len(left) and held.result() >= 0


def test_cancelling_everything_again_and_again(libm, open_gate, gate):
    """Cancelled tasks leave room behind."""
    with FuloadExecutor(1, slots=4) as executor, gate:
        hold(executor, open_gate, gate)
        for _ in range(50):
            futures = [executor.submit(libm.fabs, -1.0) for _ in range(100)]
            assert all(f.cancel() for f in reversed(futures))
        assert executor.stats().unfinished == 1 and executor.stats().queued == 0
        last = executor.submit(libm.fabs, -5.0)
        gate.open()
        assert last.result() == 5.0


def test_cancelling_while_workers_claim(c_library):
    with FuloadExecutor(2, slots=16) as executor:
        for _ in range(20):
            futures = [executor.submit(c_library.count) for _ in range(300)]
            cancelled = [f for f in reversed(futures) if f.cancel()]
            assert all(f.cancelled() for f in cancelled)
            for future in set(futures) - set(cancelled):
                assert future.exception() is None
        stats = executor.stats()
        assert stats.submitted == stats.completed + stats.cancelled == 6000


@pytest.mark.stress
@pytest.mark.parametrize("kind", ["C", "Python"])
def test_what_a_pending_future_costs(libm, open_gate, gate, kind):
    number = 200_000 if kind == "C" else 50_000
    with FuloadExecutor(1) as executor, gate:
        hold(executor, open_gate, gate)
        function = libm.fabs if kind == "C" else abs
        executor.submit(function, -1.0)
        futures = [None] * number
        before = resident()
        for i in range(number):
            futures[i] = executor.submit(function, -1.0)
        cost = (resident() - before) / number
        assert cost < 1000, f"{cost:.0f} bytes each"
        assert executor.stats().unfinished == number + 2
        gate.open()
        assert futures[-1].result() == 1.0 and sum(f.result() for f in futures) == number


def test_buffers_of_pending_tasks_are_those_of_their_submission(c_library, open_gate, gate):
    data = [os.urandom(n) for n in (10, 1000, 10_000, 100_000) for _ in range(10)]
    with FuloadExecutor(1, slots=2) as executor, gate:
        hold(executor, open_gate, gate)
        futures = [executor.submit(c_library.digest, bytes(bytearray(d)), len(d)) for d in data]
        gate.open()
        assert [f.result() for f in futures] == [c_library.digest(d, len(d)) for d in data]


# -- max_pending -------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 4, 100])
def test_no_more_than_max_pending_are_unfinished(libm, most):
    with FuloadExecutor(2, max_pending=most) as executor:
        futures = []
        for i in range(1000):
            futures.append(executor.submit(libm.fabs, -float(i)))
            assert executor.stats().unfinished <= most
        assert [f.result() for f in futures] == list(range(1000))
        futures = [executor.submit(abs, -i) for i in range(100)]
        assert [f.result() for f in futures] == list(range(100))


def test_submit_blocks_and_a_signal_interrupts_it(libm, open_gate, gate):
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with FuloadExecutor(1, max_pending=3, handle_sigint=False) as executor, gate:
            futures = [hold(executor, open_gate, gate)]
            futures += [executor.submit(libm.fabs, -1.0) for _ in range(2)]
            for _ in range(3):
                with pytest.raises(KeyboardInterrupt):
                    signal.setitimer(signal.ITIMER_REAL, 0.05)
                    executor.submit(libm.fabs, -2.0)
                assert executor.stats().unfinished == 3
            timer = threading.Timer(0.02, gate.open)
            timer.start()
            assert executor.submit(libm.fabs, -3.0).result() == 3.0
            timer.join()
            assert [f.result() for f in futures][1:] == [1.0, 1.0]
            assert executor.stats().submitted == 4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_cancelling_makes_room(libm, open_gate, gate):
    with FuloadExecutor(1, max_pending=2) as executor, gate:
        hold(executor, open_gate, gate)
        waiting = executor.submit(libm.fabs, -1.0)
        timer = threading.Timer(0.02, waiting.cancel)
        timer.start()
        future = executor.submit(libm.fabs, -2.0)
        timer.join()
        assert waiting.cancelled()
        gate.open()
        assert future.result() == 2.0


def test_shutdown_ends_a_submit_that_blocks(libm, open_gate, gate):
    executor = FuloadExecutor(1, max_pending=1)
    with gate:
        hold(executor, open_gate, gate)
        errors = []

        def submit():
            try:
                executor.submit(libm.fabs, -1.0)
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=submit)
        thread.start()
        executor.shutdown(wait=False)
        thread.join()
        assert len(errors) == 1 and "shutdown" in str(errors[0])
        gate.open()
    executor.shutdown()


def test_many_threads_before_a_full_pool(libm):
    results = Counter()
    with FuloadExecutor(2, max_pending=3) as executor:

        def work(n):
            for i in range(100):
                results[executor.submit(libm.fabs, -float(n)).result()] += 1

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {float(n): 100 for n in range(8)}


def test_a_callback_submits_into_a_full_pool(libm):
    results = []
    with FuloadExecutor(1, max_pending=1) as executor:
        first = executor.submit(libm.fabs, -1.0)
        first.add_done_callback(lambda f: results.append(executor.submit(libm.fabs, -2.0)))
        until(lambda: results)
        assert results[0].result() == 2.0


def test_a_slot_is_free_again_after_every_kind_of_end(libm, libc, c_library):
    """With one slot, one that is not given back stops the pool."""
    gone = ctypes.CDLL("libm.so.6").cos
    gone.argtypes, gone.restype = [ctypes.c_double], ctypes.c_double
    with FuloadExecutor(1, slots=1, max_payload=100_000) as executor:
        for i in range(10):
            executor.submit(libm.cos, 0.0).result()
            executor.submit(divmod, 1, 0).exception()
            executor.submit(bytes, 200_000).exception()
            executor.submit(c_library.text, 50_000).result()
            executor.submit(libc.raise_, signal.SIGKILL).exception()
            executor.submit(libm.cos, 0.0).cancel()
            with pytest.raises(TypeError):
                executor.submit(libm.cos, "x")
            with pytest.raises(ValueError):
                executor.submit(c_library.echo, bytes(200_000))
            assert executor.submit(gone, 0.0).result() == 1.0


@pytest.mark.stress
@pytest.mark.parametrize("look", ["done", "running"])
def test_looking_at_one_future_moves_the_queue_on(libm, look):
    """The reply that done() takes makes room in the slots, and the worker, which
    sees it taken, calls nobody: done() must hand out the next task."""
    for _ in range(100):
        with FuloadExecutor(1, slots=1, spin=0) as executor:
            futures = [executor.submit(libm.fabs, -1.0) for _ in range(20)]
            while futures[0]._state != "FINISHED":
                getattr(futures[0], look)()
            assert not wait(futures, 30).not_done
