"""What a pool tells of itself: stats(), worker_pids, its name; and what its
workers inherit."""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import signal
from pathlib import Path

import pytest
from gates import pass_gate
from stats_tasks import read_environment
from support.waiting import is_alive, until

from fuload_exec import FuloadExecutor, PoolStats, WorkerStats


def command_name(pid: int) -> bytes:
    return Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n")


@pytest.fixture
def getenv():
    function = ctypes.CDLL("libc.so.6").getenv
    function.argtypes, function.restype = [ctypes.c_char_p], ctypes.c_char_p
    return function


def test_a_pool_without_tasks():
    with FuloadExecutor(3) as executor:
        stats = executor.stats()
        assert type(stats) is PoolStats
        assert (stats.workers, stats.submitted, stats.completed, stats.failed, stats.cancelled, stats.retried) == (
            (),
            0,
            0,
            0,
            0,
            0,
        )
        assert (stats.queued, stats.unfinished, stats.run_seconds, stats.wait_seconds) == (0, 0, 0, 0)
        assert executor.worker_pids == [] and executor.max_workers == 3


def test_they_are_values():
    one, other = WorkerStats(7, "busy", 3, 0.5, True), WorkerStats(7, "busy", 4, 0.5, python=True)
    assert one == WorkerStats(pid=7, state="busy", tasks_done=3, run_seconds=0.5, python=True) != other
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == one and len({one, copy.deepcopy(one), other}) == 2
    assert repr(one) == "WorkerStats(pid=7, state='busy', tasks_done=3, run_seconds=0.5, python=True)"
    for change in (lambda: setattr(one, "state", "asleep"), lambda: delattr(one, "state")):
        with pytest.raises(AttributeError):
            change()
    for wrong in ((7, "busy", 3, 0.5), (7, "busy", 3, 0.5, True, 1)):
        with pytest.raises(TypeError, match="WorkerStats takes pid, state"):
            WorkerStats(*wrong)


def test_what_became_of_tasks(libm, libc, gate, open_gate):
    with FuloadExecutor(1, slots=2) as executor, gate:
        for i in range(10):
            executor.submit(libm.cos, 0.0).result()
        executor.submit(divmod, 1, 0).exception()
        executor.submit(libc.raise_, signal.SIGKILL).exception()
        held = executor.submit(open_gate, gate.raw_path, os.O_RDONLY)
        until(held.running)
        waiting = [executor.submit(libm.cos, 0.0) for _ in range(5)]
        waiting[2].cancel()
        with pytest.raises(TypeError):
            executor.submit(libm.cos, "x")
        stats = executor.stats()
        assert (stats.submitted, stats.completed, stats.failed, stats.cancelled, stats.retried) == (18, 10, 2, 1, 0)
        assert stats.unfinished == 5 and stats.queued == 3
        gate.open()
        for future in (held, waiting[-1]):
            future.result()
        stats = executor.stats()
        assert (stats.completed, stats.unfinished, stats.queued) == (15, 0, 0)


def test_times_and_doorbells(libc):
    with FuloadExecutor(1, spin=0) as executor:
        for _ in range(5):
            assert executor.submit(libc.usleep, 10_000).result() == 0
            until(lambda: executor.stats().workers[0].state == "asleep")
        stats = executor.stats()
        assert stats.run_seconds >= 0.05 and stats.wait_seconds > 0
        assert stats.doorbells >= 4
        assert stats.workers[0].run_seconds >= 0.05


def test_workers(libm, gate):
    with FuloadExecutor(2) as executor, gate:
        executor.submit(libm.cos, 0.0).result()
        (worker, *_) = [w for w in executor.stats().workers if w.tasks_done]
        assert worker.pid in executor.worker_pids and not worker.python and is_alive(worker.pid)
        held = [executor.submit(pass_gate, gate.path) for _ in range(2)]
        # A worker may run a task before the supervisor has written down its pid.
        until(lambda: all(f.running() for f in held) and len(executor.worker_pids) == 2)
        workers = executor.stats().workers
        assert {w.pid for w in workers} == set(executor.worker_pids) and len(workers) == 2
        until(lambda: all(w.state == "busy" and w.python for w in executor.stats().workers))
        gate.open()
        for future in held:
            future.result()
        until(lambda: sum(w.tasks_done for w in executor.stats().workers) == 3)
        until(lambda: all(w.state == "asleep" for w in executor.stats().workers))


def test_no_more_workers_than_asked_for(libm):
    with FuloadExecutor(3) as executor:
        for _ in range(2000):
            executor.submit(libm.cos, 0.0)
        for i in range(200):
            executor.submit(abs, -i).result()
        assert 1 <= len(executor.worker_pids) <= 3


def test_workers_start_when_there_is_work(libm):
    with FuloadExecutor(4) as executor:
        assert executor.worker_pids == []
        executor.submit(libm.cos, 0.0).result()
        assert len(executor.worker_pids) >= 1


def test_stats_after_shutdown():
    executor = FuloadExecutor(2)
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown()
    assert executor.stats().completed == 1 and executor.stats().workers == ()
    assert executor.worker_pids == [] and executor.max_workers == 2


@pytest.mark.parametrize("name", ["fuload", "digester", "a name with spaces", "x" * 50, "fülöad-ü-ö"])
def test_the_name_of_the_workers(libm, name):
    with FuloadExecutor(1, name=name) as executor:
        executor.submit(libm.cos, 0.0).result()
        (pid,) = executor.worker_pids
        expected = name.encode()[:15]
        assert command_name(pid) == expected
        executor.submit(abs, -1).result()
        assert executor.worker_pids == [pid]
        assert command_name(pid) == expected


def test_repr_of_stats():
    with FuloadExecutor(3, name="digester") as executor:
        assert "FuloadExecutor" in repr(executor) and "digester" in repr(executor) and "3" in repr(executor)


def test_the_environment_of_the_workers(getenv, monkeypatch):
    monkeypatch.setenv("FROM_THE_PARENT", "inherited")
    monkeypatch.setenv("CHANGED", "before")
    env = {"OMP_NUM_THREADS": "1", "CHANGED": "after", "EMPTY": "", "TEXT": "ü = x"}
    expected = {**env, "FROM_THE_PARENT": "inherited", "ABSENT": None}
    with FuloadExecutor(1, env=env) as executor:
        for name, value in expected.items():
            found = executor.submit(getenv, name.encode()).result()
            assert found == (None if value is None else value.encode()), name
        assert executor.submit(read_environment, *expected).result() == list(expected.values())
    assert os.environ["CHANGED"] == "before" and "EMPTY" not in os.environ


def test_the_environment_is_read_when_the_pool_is_made(getenv):
    env = {"CHANGED": "before"}
    with FuloadExecutor(1, env=env) as executor:
        env["CHANGED"] = "after"
        assert executor.submit(getenv, b"CHANGED").result() == b"before"
