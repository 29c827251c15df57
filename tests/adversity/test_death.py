"""Workers die at every moment: what they had finished counts, what they ran
fails alone, nothing is lost, and the pool goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import zoo
from procfs import Watched, state
from support.waiting import until

from fuload_exec import WorkerCrashed, _core

PATIENCE = 10
FATAL = [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]


class Killer(threading.Thread):
    """Kills workers that have finished at least one task (five that have not
    would break the pool, by contract) until stopped. `killed` says whom, by what."""

    def __init__(self, executor, dice, pause, signals=FATAL):
        super().__init__(name="killer", daemon=True)
        self.executor, self.dice, self.pause, self.signals = executor, dice, pause, signals
        self.killed = {}
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(self.dice.uniform(0, self.pause)):
            victims = [w.pid for w in self.executor.stats().workers if w.pid and w.tasks_done and w.pid not in self.killed]
            if victims:
                kill(self.executor, self.dice.choice(victims), self.dice.choice(self.signals), self.killed)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.over.set()
        self.join()


def kill(executor, pid, number, killed):
    try:
        with Watched(pid) as worker:
            if pid in executor.worker_pids:
                killed[pid] = number
                return worker.send(number)
    except ProcessLookupError:
        pass
    return False


def check_each(expected, killed):
    """Every future has its result or says who died of what; one task a worker."""
    crashed = []
    for future, value in expected:
        try:
            assert future.result(timeout=PATIENCE) == value
        except WorkerCrashed as crash:
            assert crash.pid in killed, f"{crash.pid} was not killed: {crash}"
            assert crash.exitcode == -killed[crash.pid], f"{crash} but it was killed by {killed[crash.pid]!r}"
            assert future.worker_pid == crash.pid
            crashed.append(crash.pid)
    assert len(set(crashed)) == len(crashed), "a dead worker took more than the task that it ran"
    return crashed


def quiet(executor, state="asleep"):
    return all(w.state == state for w in executor.stats().workers)


# -- at random moments -------------------------------------------------------------


@pytest.mark.parametrize("spin", [None, 0])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_c_tasks_while_workers_are_killed(pool, dice, libc, stress, workers, spin):
    executor = pool(workers, spin=spin)
    with Killer(executor, dice, 0.01) as killer:
        for _ in range(6 * stress):
            expected = [(executor.submit(libc.abs, -i), i) for i in range(2000)]
            check_each(expected, killer.killed)
    assert killer.killed
    assert executor.submit(libc.abs, -7).result(timeout=PATIENCE) == 7


def test_long_c_tasks_while_workers_are_killed(pool, dice, libc, stress):
    executor = pool(3)
    with Killer(executor, dice, 0.02) as killer:
        expected = [(executor.submit(libc.usleep, dice.randrange(2000)), 0) for _ in range(600 * stress)]
        crashed = check_each(expected, killer.killed)
    assert crashed, "nobody was killed in the middle of a task: this tests nothing"


def test_python_tasks_while_workers_are_killed(pool, dice, stress):
    executor = pool(2)
    with Killer(executor, dice, 0.12) as killer:
        for _ in range(3 * stress):
            expected = [(executor.submit(zoo.square, i), i * i) for i in range(1000)]
            expected += [(executor.submit(zoo.pid_after, 0.001), Anything()) for _ in range(200)]
            check_each(expected, killer.killed)
    assert killer.killed


def test_both_kinds_of_all_sizes_while_workers_are_killed(pool, dice, libc, stress):
    """Payloads in slots and in windows, C and Python, few slots."""
    executor = pool(2, slots=8, slot_size=256)
    with Killer(executor, dice, 0.1) as killer:
        expected = []
        for i in range(500 * stress):
            text = bytes([65 + i % 26]) * dice.choice([0, 1, 200, 300, 5000, 200_000])
            expected.append((executor.submit(libc.strlen, text), len(text)))
            expected.append((executor.submit(bytes.swapcase, text), text.swapcase()))
        check_each(expected, killer.killed)
    assert killer.killed


def test_one_after_the_other_while_workers_are_killed(pool, dice, libc, stress):
    executor = pool(2, spin=0)
    with Killer(executor, dice, 0.01) as killer:
        for i in range(2000 * stress):
            check_each([(executor.submit(libc.abs, -i), i)], killer.killed)
    assert killer.killed


def test_wait_as_completed_and_callbacks_while_workers_are_killed(pool, dice, libc, stress):
    executor = pool(2)
    called = []
    with Killer(executor, dice, 0.02) as killer:
        for _ in range(3 * stress):
            futures = [executor.submit(libc.usleep, 300) for _ in range(200)]
            for future in futures:
                future.add_done_callback(called.append)
            wait(futures[:50], timeout=PATIENCE, return_when=FIRST_COMPLETED)
            assert set(as_completed(futures, timeout=PATIENCE)) == set(futures)
            until(lambda: len(called) == len(futures))
            assert set(called) == set(futures)
            called.clear()
            check_each([(future, 0) for future in futures], killer.killed)


class Anything:
    def __eq__(self, other):
        return True


# -- at chosen moments --------------------------------------------------------------


@pytest.mark.parametrize("number", FATAL)
@pytest.mark.parametrize("spin", [0, 5])
def test_killed_while_idle(pool, libc, number, spin):
    """Asleep with spin=0; polling with a long one."""
    executor = pool(2, spin=spin)
    for i in range(10):
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
        # At most one of two CPUs is polled on.
        until(lambda: any(w.state == ("polling" if spin else "asleep") for w in executor.stats().workers))
        for pid in executor.worker_pids:
            kill(executor, pid, number, {})
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i


@pytest.mark.parametrize("spin", [None, 0, 3])
def test_nothing_waits_for_the_polling_to_end(pool, libc, spin):
    """Neither result nor death is noticed only when `spin` is over."""
    executor = pool(2, spin=spin)
    began = time.monotonic()
    for i in range(5):
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
        with pytest.raises(WorkerCrashed):
            executor.submit(libc.raise_, signal.SIGKILL).result(timeout=PATIENCE)
    assert time.monotonic() - began < 15, "each result came when the polling ended"


def test_first_tasks_while_the_worker_is_being_started(pool, libc, stress):
    """A worker may be through with its first task before the process that
    started it knows its pid; then it can be called all the same."""
    for _ in range(40 * stress):
        executor = pool(1, spin=0)
        for i in range(5):
            assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
        executor.shutdown()


def test_killed_and_the_next_task_submitted_at_once(pool, dice, libc, stress):
    """The submit and the death of the only worker meet at every distance."""
    executor = pool(1)
    for i in range(100 * stress):
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
        killed = {}
        kill(executor, until(lambda: executor.worker_pids)[0], signal.SIGKILL, killed)
        zoo.spin_for(dice.uniform(0, 0.002))
        check_each([(executor.submit(libc.abs, -i), i)], killed)
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i


def work_for_all(executor, libc):
    for future in [executor.submit(libc.usleep, 2000) for _ in range(16)]:
        future.result(timeout=PATIENCE)
    return sum(bool(worker.pid and worker.tasks_done) for worker in executor.stats().workers) == 4


def test_all_killed_at_once(pool, libc, stress):
    executor = pool(4)
    for _ in range(5 * stress):
        until(lambda: work_for_all(executor, libc))
        killed = {}
        expected = [(executor.submit(libc.usleep, 500), 0) for _ in range(100)]
        expected += [(executor.submit(libc.abs, -i), i) for i in range(1000)]
        for worker in executor.stats().workers:
            if worker.pid and worker.tasks_done:
                kill(executor, worker.pid, signal.SIGKILL, killed)
        assert len(killed) == 4
        check_each(expected, killed)


def test_killed_while_starting(pool, dice, libc, stress):
    executor = pool(1)
    for i in range(20 * stress):
        future = executor.submit(libc.abs, -i)
        # A worker ends before it has finished anything; its successor is let
        # live, so that there are never two in a row.
        pid = until(lambda: executor.worker_pids)[0]
        zoo.spin_for(dice.uniform(0, 0.0015))
        killed = {}
        kill(executor, pid, signal.SIGKILL, killed)
        check_each([(future, i)], killed)
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
        pid = until(lambda: executor.worker_pids)[0]
        kill(executor, pid, signal.SIGKILL, {})
        until(lambda: pid not in executor.worker_pids)


def test_killed_while_becoming_python(pool, dice, libc, stress):
    executor = pool(1)
    crashes = 0
    for i in range(15 * stress):
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
        pid = until(lambda: executor.worker_pids)[0]
        future = executor.submit(zoo.square, i)
        zoo.spin_for(dice.uniform(0, 0.03))
        killed = {}
        kill(executor, pid, signal.SIGKILL, killed)
        crashes += len(check_each([(future, i * i)], killed))
        # The kill takes a task with it or none, never one that comes later.
        check_each([(executor.submit(libc.abs, -i), i)], killed)
    assert crashes, "the worker was always faster: this tests nothing"


@pytest.mark.parametrize("pause", [0, 0.0001, 0.001])
def test_killed_between_two_tasks(pool, libc, pause):
    """A task that has its result keeps it; the one behind it runs elsewhere."""
    executor = pool(1)
    for i in range(30):
        first, second = executor.submit(libc.getpid), executor.submit(libc.abs, -i)
        pid = first.result(timeout=PATIENCE)
        zoo.spin_for(pause)
        killed = {}
        kill(executor, pid, signal.SIGKILL, killed)
        check_each([(second, i)], killed)
        assert first.result() == pid
        assert executor.submit(libc.getpid).result(timeout=PATIENCE) != pid or not killed


# -- by the task's own hand ------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "arguments", "exitcode"),
    [
        (os._exit, (0,), 0),
        (os._exit, (1,), 1),
        (os._exit, (77,), 77),
        (os._exit, (255,), 255),
        (os.abort, (), -signal.SIGABRT),
        (zoo.segfault, (), -signal.SIGSEGV),
        (zoo.die_by_signal, (signal.SIGKILL,), -signal.SIGKILL),
        (zoo.die_by_signal, (signal.SIGTERM,), -signal.SIGTERM),
        (zoo.die_by_signal, (signal.SIGRTMIN + 3,), -(signal.SIGRTMIN + 3)),
        (zoo.die_by_signal, (signal.SIGHUP,), -signal.SIGHUP),
    ],
)
def test_python_task_that_kills_its_worker(pool, task, arguments, exitcode):
    executor = pool(1)
    pid = executor.submit(os.getpid).result(timeout=PATIENCE)
    before = [executor.submit(zoo.square, i) for i in range(20)]
    fatal = executor.submit(task, *arguments)
    after = [executor.submit(zoo.square, i) for i in range(20)]
    with pytest.raises(WorkerCrashed) as caught:
        fatal.result(timeout=PATIENCE)
    assert (caught.value.pid, caught.value.exitcode) == (pid, exitcode)
    assert str(pid) in str(caught.value)
    assert [f.result(timeout=PATIENCE) for f in before] == [i * i for i in range(20)]
    assert [f.result(timeout=PATIENCE) for f in after] == [i * i for i in range(20)]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGFPE, signal.SIGBUS])
def test_c_task_that_kills_its_worker(pool, libc, number):
    executor = pool(2)
    for i in range(10):
        executor.submit(libc.getpid).result(timeout=PATIENCE)
        fatal = executor.submit(libc.raise_, number)
        after = [executor.submit(libc.abs, -n) for n in range(50)]
        with pytest.raises(WorkerCrashed) as caught:
            fatal.result(timeout=PATIENCE)
        assert caught.value.exitcode == -number
        assert caught.value.pid == fatal.worker_pid > 0
        assert [f.result(timeout=PATIENCE) for f in after] == list(range(50))
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i


def test_c_task_that_exits(pool, libc):
    exit_ = ctypes.CDLL(None).exit
    exit_.argtypes, exit_.restype = [ctypes.c_int], None
    executor = pool(1)
    for code in (0, 4, 130):
        assert executor.submit(libc.abs, -code).result(timeout=PATIENCE) == code
        with pytest.raises(WorkerCrashed) as caught:
            executor.submit(exit_, code).result(timeout=PATIENCE)
        assert caught.value.exitcode == code


def test_null_pointer_in_c(pool, libc):
    executor = pool(1)
    for _ in range(3):
        assert executor.submit(libc.strlen, b"four").result(timeout=PATIENCE) == 4
        with pytest.raises(WorkerCrashed) as caught:
            executor.submit(libc.strlen, None).result(timeout=PATIENCE)
        assert caught.value.exitcode == -signal.SIGSEGV


def test_system_exit_is_a_result_not_a_death(pool):
    executor = pool(1)
    pid = executor.submit(os.getpid).result(timeout=PATIENCE)
    with pytest.raises(SystemExit) as caught:
        executor.submit(exit_quietly, 3).result(timeout=PATIENCE)
    assert caught.value.code == 3
    assert executor.submit(os.getpid).result(timeout=PATIENCE) == pid


def exit_quietly(code):
    raise SystemExit(code)


def test_crashes_in_a_row_that_are_not_five(pool, libc):
    """Four that finished nothing, then one that does, over and over."""
    executor = pool(1)
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(WorkerCrashed):
                executor.submit(libc.raise_, signal.SIGKILL).result(timeout=PATIENCE)
        assert executor.submit(libc.abs, -1).result(timeout=PATIENCE) == 1


def test_many_crashes_with_results_between(pool, libc, stress):
    executor = pool(2)
    for i in range(40 * stress):
        fatal = executor.submit(libc.raise_, signal.SIGKILL)
        good = executor.submit(libc.abs, -i)
        with pytest.raises(WorkerCrashed):
            fatal.result(timeout=PATIENCE)
        assert good.result(timeout=PATIENCE) == i


def test_five_deaths_in_a_row_break_the_pool(pool):
    executor = pool(1)
    fatal = [executor.submit(os._exit, 3) for _ in range(5)]
    behind = [executor.submit(zoo.square, i) for i in range(10)]
    for future in fatal:
        error = future.exception(timeout=PATIENCE)
        assert isinstance(error, WorkerCrashed), error
        assert error.exitcode == 3
    for future in behind:
        assert isinstance(future.exception(timeout=PATIENCE), BrokenProcessPool)
    with pytest.raises(BrokenProcessPool):
        executor.submit(zoo.square, 1)
    until(lambda: not executor.worker_pids)


def test_five_deaths_in_c_break_the_pool(pool, libc):
    executor = pool(1)
    for _ in range(5):
        with pytest.raises(WorkerCrashed):
            executor.submit(libc.raise_, signal.SIGSEGV).result(timeout=PATIENCE)
    with pytest.raises(BrokenProcessPool):
        # The fifth death is judged just after its future is resolved.
        until(lambda: executor.submit(libc.abs, -1).result(timeout=PATIENCE) is None)
    with pytest.raises(BrokenProcessPool):
        executor.submit(libc.abs, -1)


def test_a_death_breaks_no_other_pool(pool, libc):
    victim, bystander = pool(1), pool(1)
    assert bystander.submit(libc.abs, -1).result(timeout=PATIENCE) == 1
    for _ in range(5):
        victim.submit(libc.raise_, signal.SIGKILL).exception(timeout=PATIENCE)
    assert bystander.submit(libc.abs, -2).result(timeout=PATIENCE) == 2


def test_death_while_another_task_runs_long(pool, tmp_path):
    executor = pool(2)
    long = executor.submit(zoo.announce_and_sleep, str(tmp_path / "long"), 1.0)
    until((tmp_path / "long").exists)
    for _ in range(3):
        with pytest.raises(WorkerCrashed):
            executor.submit(os._exit, 1).result(timeout=PATIENCE)
    assert long.result(timeout=PATIENCE) is None


def test_callback_of_a_crashed_task_submits_again(pool, tmp_path):
    executor = pool(1)
    again = []
    first = executor.submit(zoo.die_once, str(tmp_path / "once"))
    first.add_done_callback(lambda _: again.append(executor.submit(zoo.die_once, str(tmp_path / "once"))))
    assert isinstance(first.exception(timeout=PATIENCE), WorkerCrashed)
    until(lambda: again)
    assert again[0].result(timeout=PATIENCE) > 0


def test_shutdown_while_workers_die(pool, dice, libc):
    for _ in range(5):
        executor = pool(2)
        killed = {}
        for i in range(10):
            executor.submit(libc.abs, -i).result(timeout=PATIENCE)
        expected = [(executor.submit(libc.usleep, 1000), 0) for _ in range(40)]
        executor.shutdown(wait=False)
        for worker in executor.stats().workers:
            if worker.pid and worker.tasks_done:
                kill(executor, worker.pid, signal.SIGKILL, killed)
        executor.shutdown()
        assert all(future.done() for future, _ in expected)
        check_each(expected, killed)


def test_exit_code_that_somebody_else_collected(pool, libc):
    """waitpid(-1) in the host program takes the status from under the pool."""
    executor = pool(1)
    over = threading.Event()

    def collect_all():
        while not over.is_set():
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pass

    thief = threading.Thread(target=collect_all)
    thief.start()
    try:
        for i in range(10):
            with pytest.raises(WorkerCrashed) as caught:
                executor.submit(libc.raise_, signal.SIGKILL).result(timeout=PATIENCE)
            assert caught.value.exitcode in (None, -signal.SIGKILL)
            assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
        executor.shutdown()
    finally:
        over.set()
        thief.join()


# -- stopped ----------------------------------------------------------------------------


@pytest.mark.parametrize("spin", [0, 5], ids=["asleep", "polling"])
@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("tasks", [1, 200])
def test_stopped_worker_holds_up_nobody(pool, libc, spin, python, tasks):
    executor = pool(2, spin=spin)
    task, argument = (zoo.square, 3) if python else (libc.abs, -9)
    assert executor.submit(task, argument).result(timeout=PATIENCE) == 9
    lazy = "polling" if spin else "asleep"
    pid = until(lambda: [w.pid for w in executor.stats().workers if w.state == lazy])[0]
    with Watched(pid) as worker:
        worker.send(signal.SIGSTOP)
        until(lambda: state(pid) == "T")
        # It may have got up to a task in the last moment: only that one waits.
        futures = [executor.submit(task, argument) for _ in range(tasks)]
        done, _ = wait(futures, timeout=PATIENCE)
        assert len(done) == tasks, executor.stats()
        for _ in range(20):
            assert executor.submit(task, argument).result(timeout=PATIENCE) == 9
        worker.send(signal.SIGKILL)
        until(worker.gone)
    futures = [executor.submit(task, argument) for _ in range(200)]
    assert [f.result(timeout=PATIENCE) for f in futures] == [9] * 200
    until(lambda: pid not in executor.worker_pids)


def test_stopped_in_a_task(pool, libc):
    executor = pool(2)
    stuck = executor.submit(libc.raise_, signal.SIGSTOP)
    for i in range(200):
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
    pid = until(lambda: [p for p in executor.worker_pids if state(p) == "T"])[0]
    assert not stuck.done()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashed) as caught:
        stuck.result(timeout=PATIENCE)
    assert (caught.value.pid, caught.value.exitcode) == (pid, -signal.SIGKILL)
    assert executor.submit(libc.abs, -5).result(timeout=PATIENCE) == 5


def test_stopped_and_continued(pool, libc):
    executor = pool(1, spin=0)
    pid = executor.submit(libc.getpid).result(timeout=PATIENCE)
    for i in range(20):
        until(lambda: quiet(executor))
        os.kill(pid, signal.SIGSTOP)
        until(lambda: state(pid) == "T")
        future = executor.submit(libc.abs, -i)
        os.kill(pid, signal.SIGCONT)
        assert future.result(timeout=PATIENCE) == i


def test_stopped_while_starting(pool, libc):
    executor = pool(2)
    future = executor.submit(libc.abs, -5)
    pid = until(lambda: executor.worker_pids)[0]
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state(pid) == "T")
    try:
        if future.running():  # it was quick enough to claim the task
            assert future.terminate()
        else:
            assert future.result(timeout=PATIENCE) == 5
        for i in range(50):
            assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
    finally:
        kill(executor, pid, signal.SIGKILL, {})


# -- forks and descriptors of tasks ----------------------------------------------------------


@pytest.mark.parametrize("how", ["returns", "raises", "exits", "returns later", "_exits"])
def test_task_that_forks(pool, how):
    executor = pool(1, slots=2)
    pid = executor.submit(os.getpid).result(timeout=PATIENCE)
    for i in range(5):
        worker, status = executor.submit(zoo.fork_and_return, how).result(timeout=PATIENCE)
        assert worker == pid
        assert status is not None, "the child lives on as a second worker"
        for n in range(20):
            assert executor.submit(zoo.square, n).result(timeout=PATIENCE) == n * n
    assert executor.submit(os.getpid).result(timeout=PATIENCE) == pid


@pytest.mark.stress
def test_child_of_a_task_writes_into_no_slot(pool):
    """The task's fork returns long after its slot has gone to others."""
    executor = pool(1, slots=1)
    for _ in range(5):
        executor.submit(return_late_in_a_child, 3000).result(timeout=PATIENCE)
        due = time.monotonic() + 0.1
        while time.monotonic() < due:
            text = os.urandom(3000)
            assert executor.submit(bytes, text).result(timeout=PATIENCE) == text


def return_late_in_a_child(size):
    if os.fork():
        return None
    time.sleep(0.05)
    return b"X" * size


def test_c_fork(pool):
    fork = ctypes.CDLL(None).fork
    fork.argtypes, fork.restype = [], ctypes.c_int
    executor = pool(1)
    pid = executor.submit(os.getpid).result(timeout=PATIENCE)
    for _ in range(50):
        assert executor.submit(fork).result(timeout=PATIENCE) > 0, "the child's result"
    assert executor.submit(os.getpid).result(timeout=PATIENCE) == pid


def test_death_is_seen_though_a_grandchild_holds_everything(pool, tmp_path):
    executor = pool(1)
    path = str(tmp_path / "child")
    pid = executor.submit(zoo.fork_a_sleeper, path).result(timeout=PATIENCE)
    with Watched(int(Path(path).read_text())) as grandchild:
        try:
            future = executor.submit(zoo.pid_after, 60)
            until(future.running)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(WorkerCrashed):
                future.result(timeout=PATIENCE)
            assert executor.submit(zoo.square, 3).result(timeout=PATIENCE) == 9
            executor.shutdown()
            assert not grandchild.gone()
        finally:
            grandchild.send(signal.SIGKILL)


def test_a_worker_is_known_before_its_first_task_ends(pool, libc):
    """The supervisor may not have heard yet that it was started."""
    for _ in range(20):
        executor = pool(2)
        futures = [executor.submit(libc.getpid) for _ in range(4)]
        assert {f.result(PATIENCE) for f in futures} <= set(executor.worker_pids)
        assert all(f.worker_pid == f.result() for f in futures)
        executor.shutdown()


def open_files(pid):
    """What its descriptors are; it may be closing some, as it execs."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[number] = os.readlink(f"/proc/{pid}/fd/{number}")
    return found


def test_grandchild_with_inherited_descriptors(pool):
    executor = pool(2)
    grandchild = executor.submit(zoo.start_a_sleeper).result(timeout=PATIENCE)
    with Watched(grandchild) as watched:
        try:
            held = list(open_files(grandchild).values())
            assert not [name for name in held if "memfd" in name or "eventfd" in name or "pidfd" in name], held
            with pytest.raises(WorkerCrashed):
                executor.submit(os._exit, 1).result(timeout=PATIENCE)
            assert executor.submit(zoo.square, 3).result(timeout=PATIENCE) == 9
            executor.shutdown()
        finally:
            watched.send(signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_task_that_closes_all_descriptors(pool, workers):
    """Its results may arrive or not; nothing hangs, and the pool goes on."""
    executor = pool(workers, spin=0)
    for round_ in range(3):
        check_harmed(executor, executor.submit(zoo.close_descriptors))
        for i in range(50):
            check_harmed(executor, executor.submit(zoo.square, i), i * i)
        futures = [executor.submit(len, b"x" * 100_000) for _ in range(20)]
        called = []
        for future in futures:
            future.add_done_callback(called.append)
            check_harmed(executor, future, 100_000)
        until(lambda: len(called) == len(futures))


@pytest.mark.parametrize("workers", [1, 2])
def test_task_that_reuses_all_descriptors(pool, tmp_path, workers):
    executor = pool(workers, spin=0)
    check_harmed(executor, executor.submit(zoo.close_descriptors_and_reuse, str(tmp_path / "other")))
    for i in range(50):
        check_harmed(executor, executor.submit(zoo.square, i), i * i)
    future = executor.submit(len, b"x" * 100_000)
    check_harmed(executor, future, 100_000)


def check_harmed(executor, future, value=None):
    """A harmed worker may fail a task, but says so, and soon."""
    try:
        found = future.result(timeout=10)
    except (BrokenProcessPool, OSError, MemoryError, RuntimeError) as error:
        # A time-out would be a hang.
        assert not isinstance(error, TimeoutError), f"hangs: {executor.stats()}"
    else:
        assert value is None or found == value


# -- signals that tasks change ------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        zoo.ignore_sigusr1,
        zoo.default_sigusr1,
        zoo.handle_sigusr1,
        zoo.register_faulthandler,
        zoo.block_sigusr1,
        zoo.block_everything,
        zoo.unblock_everything,
        zoo.raise_sigusr1,
        zoo.start_threads,
        zoo.use_an_alarm,
    ],
)
def test_task_that_changes_signals(pool, change, libc):
    executor = pool(2, spin=0)
    for i in range(60):
        if i % 10 == 0:
            until(lambda: quiet(executor))
            assert executor.submit(change).result(timeout=PATIENCE) is None
        until(lambda: quiet(executor))
        assert executor.submit(zoo.square, i).result(timeout=PATIENCE) == i * i
        until(lambda: quiet(executor))
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
    assert executor.stats().failed == 0


def test_sigusr1_raised_in_c(pool, libc):
    executor = pool(2, spin=0)
    for i in range(100):
        until(lambda: quiet(executor))
        assert executor.submit(libc.raise_, signal.SIGUSR1).result(timeout=PATIENCE) == 0
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i


def test_sigusr1_from_anybody(pool, dice, libc, stress):
    """Stray doorbells wake nobody for good and harm no task."""
    executor = pool(2, spin=0)
    executor.submit(zoo.square, 1).result(timeout=PATIENCE)
    over = threading.Event()

    def ring():
        while not over.wait(dice.uniform(0, 0.001)):
            for pid in executor.worker_pids:
                with_pid(pid, signal.SIGUSR1)

    def with_pid(pid, number):
        try:
            with Watched(pid) as worker:
                # Before it has its handlers a SIGUSR1 would end a program.
                if any(w.pid == pid and w.tasks_done for w in executor.stats().workers):
                    worker.send(number)
        except ProcessLookupError:
            pass

    ringer = threading.Thread(target=ring)
    ringer.start()
    try:
        for i in range(1000 * stress):
            assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
            assert executor.submit(zoo.square, i).result(timeout=PATIENCE) == i * i
    finally:
        over.set()
        ringer.join()


def test_tasks_and_their_programs_have_a_clean_mask(pool):
    executor = pool(1, spin=0)
    for _ in range(5):
        until(lambda: quiet(executor))
        assert executor.submit(zoo.mask).result(timeout=PATIENCE) == zoo.mask()
        blocked, ignored = executor.submit(zoo.masks_of_a_program).result(timeout=PATIENCE)
        assert blocked == 0
        assert not ignored & 1 << signal.SIGUSR1 - 1


def test_a_doorbell_does_not_cut_short_a_sleep(pool, libc):
    """usleep ends early when a handler runs: busy workers must not be rung."""
    executor = pool(2, spin=0)
    sleeps = [executor.submit(libc.usleep, 200_000) for _ in range(2)]
    bystanders = [executor.submit(libc.abs, -i) for i in range(200)]
    assert [f.result(timeout=PATIENCE) for f in sleeps] == [0, 0]
    assert [f.result(timeout=PATIENCE) for f in bystanders] == list(range(200))
    assert all(f.timing[1] >= 0.2 for f in sleeps)


@pytest.mark.parametrize("kind", ["C", "Python"])
def test_a_task_is_ended_before_its_worker_is_in_the_books(pool, monkeypatch, libc, kind):
    """The worker serves as soon as it is forked; the thread that forked it may
    be held up before it has noted its pid."""
    executor = pool(1)
    forked, go_on = threading.Event(), threading.Event()
    start_workers = _core.start_workers

    def held_up(*args):
        started = start_workers(*args)
        forked.set()
        assert go_on.wait(PATIENCE)
        return started

    monkeypatch.setattr(_core, "start_workers", held_up)
    task = executor.submit(libc.usleep, 60_000_000) if kind == "C" else executor.submit(time.sleep, 60)
    assert forked.wait(PATIENCE)
    until(task.running)
    assert task.terminate()
    monkeypatch.undo()
    go_on.set()
    assert executor.submit(abs, -3).result(PATIENCE) == 3
