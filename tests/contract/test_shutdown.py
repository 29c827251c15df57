"""shutdown, the with statement, the end of the interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from gates import pass_gate, report_and_pass_gate
from support.waiting import is_alive, until

from fuload_exec import FuloadExecutor, WorkerCrashed


def test_no_task_is_taken_after_it(make_executor):
    for use in (True, False):
        executor = make_executor(1)
        if use:
            assert executor.submit(abs, -1).result() == 1
        executor.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(abs, -1)


def test_twice_and_in_with(make_executor):
    with make_executor(1) as executor:
        executor.submit(abs, -1)
        executor.shutdown()
        executor.shutdown(wait=True, cancel_futures=True)
        executor.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        executor.submit(abs, -1)


def test_an_exception_leaves_the_block(make_executor):
    with pytest.raises(LookupError):
        with make_executor(1) as executor:
            executor.submit(abs, -1)
            raise LookupError


def test_it_waits_for_what_was_submitted(make_executor, tmp_path):
    with make_executor(2) as executor:
        futures = [executor.submit(Path.touch, tmp_path / str(i)) for i in range(50)]
    assert all(f.done() for f in futures) and len(list(tmp_path.iterdir())) == 50


def test_every_worker_is_reaped(libm):
    executor = FuloadExecutor(3)
    futures = [executor.submit(abs, -i) for i in range(20)] + [executor.submit(libm.cos, 0.0) for _ in range(20)]
    assert [f.exception() for f in futures] == [None] * 40
    pids = executor.worker_pids
    assert pids
    executor.shutdown()
    assert executor.worker_pids == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_without_waiting(make_executor, gate):
    executor = make_executor(1)
    with gate:
        futures = [executor.submit(pass_gate, gate.path, i) for i in range(10)]
        executor.shutdown(wait=False)
        with pytest.raises(RuntimeError):
            executor.submit(abs, -1)
        gate.open()
        assert [f.result(60) for f in futures] == list(range(10))
    executor.shutdown()


def test_shutdown_cancels_what_waits(make_executor, gate, tmp_path):
    executor = make_executor(1)
    with gate:
        mark = tmp_path / "runs"
        held = executor.submit(report_and_pass_gate, str(mark), gate.path, 5)
        until(mark.exists)
        futures = [executor.submit(abs, -i) for i in range(50)]
        seen = []
        futures[-1].add_done_callback(seen.append)
        executor.shutdown(wait=False, cancel_futures=True)
        until(futures[-1].cancelled)
        gate.open()
        assert held.result() == 5
    until(lambda: all(f.done() for f in futures))
    assert all(f.cancelled() for f in futures[3:]) and seen == [futures[-1]]
    assert all(f.done() for f in futures)


def test_from_another_thread(make_executor):
    executor = make_executor(1)
    assert executor.submit(abs, -1).result() == 1
    thread = threading.Thread(target=executor.shutdown)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError):
        executor.submit(abs, -1)


def test_from_several_threads(gate):
    executor = FuloadExecutor(2)
    with gate:
        future = executor.submit(pass_gate, gate.path, 5)
        threads = [threading.Thread(target=executor.shutdown) for _ in range(5)]
        for thread in threads:
            thread.start()
        gate.open()
        for thread in threads:
            thread.join()
        assert future.result() == 5


def test_an_executor_that_is_dropped_finishes_its_work(make_executor, gate):
    executor = make_executor(1)
    with gate:
        futures = [executor.submit(pass_gate, gate.path, i) for i in range(5)]
        del executor
        gc.collect()
        gate.open()
        assert [f.result(60) for f in futures] == list(range(5))


def test_an_executor_that_is_dropped_reaps_its_workers():
    executor = FuloadExecutor(2)
    assert executor.submit(abs, -1).result() == 1
    pids = executor.worker_pids
    del executor
    gc.collect()
    until(lambda: not any(map(is_alive, pids)))


def test_made_in_a_thread_that_ends(libm):
    made = []
    thread = threading.Thread(target=lambda: made.append(FuloadExecutor(1)))
    thread.start()
    thread.join()
    with made[0] as executor:
        assert executor.submit(libm.cos, 0.0).result() == 1.0
        assert executor.submit(abs, -1).result() == 1


def test_many_pools_one_after_the_other(libm):
    for _ in range(30):
        with FuloadExecutor(2) as executor:
            assert executor.submit(libm.cos, 0.0).result() == 1.0


def test_several_pools_at_once(libm):
    pools = [FuloadExecutor(1) for _ in range(6)]
    futures = [pool.submit(libm.fabs, -float(i)) for i, pool in enumerate(pools)]
    assert [f.result() for f in futures] == list(range(6))
    for pool in pools:
        pool.shutdown()


PROGRAM = """
import os, time
from pathlib import Path
EXECUTOR
def work(place, i):
    time.sleep(0.01)
    Path(place, str(i)).touch()
if __name__ == "__main__":
    executor = make()
    for i in range(20):
        executor.submit(work, os.getcwd() + "/done", i)
"""
FULOAD = "from fuload_exec import FuloadExecutor\ndef make(): return FuloadExecutor(2)"
STANDARD = (
    "import multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor\n"
    "def make(): return ProcessPoolExecutor(2, multiprocessing.get_context('fork'))"
)


@pytest.mark.parametrize("executor", [FULOAD, STANDARD], ids=["FuloadExecutor", "ProcessPoolExecutor"])
@pytest.mark.parametrize("ending", ["", "    del executor", "    raise SystemExit(3)", "    1 // 0"])
def test_pending_work_is_finished_at_the_end_of_the_interpreter(python, tmp_path, executor, ending):
    (tmp_path / "done").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM.replace("EXECUTOR", executor) + ending)
    done = subprocess.run([python, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert len(os.listdir(tmp_path / "done")) == 20
    assert done.returncode == {"3)": 3, " 0": 1}.get(ending[-2:], 0)
    assert (done.stderr == "") or ("ZeroDivisionError" in done.stderr and done.stderr.count("Traceback") == 1)


def test_what_a_worker_is_started_for_is_not_cancelled(make_executor):
    """Straight behind many submits some tasks have begun, and end."""
    for _ in range(5):
        executor = make_executor(2)
        futures = [executor.submit(abs, -i) for i in range(50)]
        executor.shutdown(cancel_futures=True)
        ended = [f for f in futures if not f.cancelled()]
        assert ended and [f.result(0) for f in ended] == [futures.index(f) for f in ended]


def test_ending_the_workers_cancels_that_too():
    for end in (FuloadExecutor.terminate_workers, FuloadExecutor.kill_workers):
        executor = FuloadExecutor(2)
        futures = [executor.submit(time.sleep, 60) for _ in range(20)]
        end(executor)
        assert all(f.cancelled() or isinstance(f.exception(30), WorkerCrashed) for f in futures)
        executor.shutdown()
