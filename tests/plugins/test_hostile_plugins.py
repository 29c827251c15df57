"""Plug-ins that do harm: the task fails or not, the pool serves on, nobody is left."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from support.waiting import asleep, exists, until
from toolbox import HERE, PATIENCE, build_plugin, ints, numbers

from fuload_exec import LibraryLoadError, NativeTask, SlotCorrupted, WorkerCrashed


@pytest.fixture
def serves(hostile):
    """Asserts that the pool does its work, each worker that it has now too."""

    def check(executor, tasks=200):
        texts = [b"%d" % i for i in range(tasks)]
        futures = [executor.submit(hostile("echo"), text) for text in texts]
        assert [future.result(timeout=PATIENCE) for future in futures] == texts

    return check


# -- the end of the worker -------------------------------------------------------------

ENDS = {
    "crash": -signal.SIGSEGV,
    "overflow_the_stack": -signal.SIGSEGV,
    "call_exit": 7,
    "call__exit": 8,
}


@pytest.mark.parametrize("spin", [None, 0])
@pytest.mark.parametrize("name", ENDS)
def test_task_that_ends_its_worker(pool, hostile, serves, name, spin):
    executor = pool(2, spin=spin)
    for _ in range(6):
        serves(executor, 20)
        with pytest.raises(WorkerCrashed, match=rf"{name}\(b'request'\)") as caught:
            executor.submit(hostile(name), b"request").result(timeout=PATIENCE)
        assert caught.value.exitcode == ENDS[name]
        assert not exists(caught.value.pid)
    serves(executor)


def test_many_that_end_their_workers_between_others(pool, hostile, dice):
    executor = pool(2)
    names = dice.choices([*ENDS, *["echo"] * 20], k=400)
    futures = [executor.submit(hostile(name), b"%d" % i) for i, name in enumerate(names)]
    for i, (future, name) in enumerate(zip(futures, names)):
        if name in ENDS:
            assert future.exception(timeout=PATIENCE).exitcode == ENDS[name]
        else:
            assert future.result(timeout=PATIENCE) == b"%d" % i


def test_five_workers_in_a_row_that_finish_nothing_break_the_pool(pool, hostile):
    from concurrent.futures.process import BrokenProcessPool

    executor = pool(1)
    for _ in range(4):
        with pytest.raises(WorkerCrashed):
            executor.submit(hostile("crash"), b"").result(timeout=PATIENCE)
    executor.submit(hostile("echo"), b"").result(timeout=PATIENCE)
    for _ in range(5):
        with pytest.raises(WorkerCrashed):
            executor.submit(hostile("crash"), b"").result(timeout=PATIENCE)
    # The first of the five had finished a task; the fifth in a row is the next.
    with pytest.raises(BrokenProcessPool, match=r"5 workers in a row|crash\(b''\)"):
        executor.submit(hostile("crash"), b"").result(timeout=PATIENCE)
    until(lambda: not executor.worker_pids)
    with pytest.raises(BrokenProcessPool, match="5 workers in a row"):
        executor.submit(hostile("echo"), b"")


def test_a_thread_that_ends_itself(pool, hostile, serves):
    """pthread_exit ends the loop's thread, not the process: the task is stuck
    until somebody ends it."""
    executor = pool(2)
    serves(executor, 20)
    future = executor.submit(hostile("call_pthread_exit"), b"")
    until(future.running)
    future.terminate()
    serves(executor)


# -- init and fini ---------------------------------------------------------------------------


def hostile_init(folder, flag):
    name = "".join(c if c.isalnum() else "_" for c in flag)
    return NativeTask(build_plugin(HERE / "hostile_init.c", folder / f"{name}.so", flag), "answer")


@pytest.mark.parametrize(
    ("what", "exitcode"),
    [("raise(SIGSEGV)", -signal.SIGSEGV), ("abort()", -signal.SIGABRT), ("exit(3)", 3), ("_exit(4)", 4)],
)
def test_init_that_ends_the_worker(pool, hostile, serves, built, what, exitcode):
    executor = pool(2)
    task = hostile_init(built, f"-DINIT={what}")
    for _ in range(6):
        serves(executor, 20)
        with pytest.raises(WorkerCrashed, match="answer") as caught:
            executor.submit(task, b"").result(timeout=PATIENCE)
        assert caught.value.exitcode == exitcode
    serves(executor)


def test_init_that_refuses(pool, serves, built):
    executor = pool(2)
    task = hostile_init(built, "-DINIT=return -3")
    for _ in range(12):
        with pytest.raises(LibraryLoadError, match="fuload_init returned -3"):
            executor.submit(task, b"").result(timeout=PATIENCE)
    serves(executor)
    assert executor.stats().failed == 12


def test_init_that_never_returns(pool, serves, built):
    executor = pool(2)
    serves(executor, 20)
    future = executor.submit(hostile_init(built, "-DINIT=for(;;)pause()"), b"")
    until(future.running)
    future.terminate()
    serves(executor)


@pytest.mark.stress
@pytest.mark.parametrize("what", ["raise(SIGSEGV)", "exit(3)", "_exit(4)", "raise(SIGSTOP)"])
def test_fini_that_does_harm(pool, serves, built, what):
    executor = pool(2)
    task = hostile_init(built, f"-DFINI={what}")
    futures = [executor.submit(task, b"") for _ in range(50)]
    assert {future.result(timeout=PATIENCE) for future in futures} == {b"42"}
    executor.shutdown()
    assert not executor.worker_pids


# -- past the reply -----------------------------------------------------------------------------

# After a reply area come 64 bytes of nobody, then the next slot's header line:
# its word, what is asked, sizes. What lies behind is another task's request,
# and who writes there cannot be told from who filled it.
MARGIN = 64
HEADER = 64


def test_the_header_cannot_be_written(pool, hostile, serves):
    """The parent computes addresses from it."""
    executor = pool(2)
    for _ in range(3):
        error = executor.submit(hostile("write_over_the_header"), b"").exception(timeout=PATIENCE)
        assert type(error) is WorkerCrashed and error.exitcode == -signal.SIGSEGV
        serves(executor, 20)


def write_past(hostile, executor, size, junk):
    return executor.submit(hostile("write_past"), numbers(size, len(junk)) + junk)


def check_neighbour(future, expected):
    """A right result, or it is said that it was written over."""
    try:
        assert future.result(timeout=PATIENCE) == expected
    except (SlotCorrupted, WorkerCrashed):
        return 1
    return 0


@pytest.mark.stress
@pytest.mark.parametrize("junk", [b"\0", b"\xff", b"\x01", b"\x02", b"\x03", b"\xaa"], ids=lambda j: j.hex())
@pytest.mark.parametrize("length", [1, 63, 64, 65, 66, 67, 68, 72, 80, 128])
def test_writing_past_a_reply_harms_no_other_result(pool, hostile, serves, junk, length):
    """Each slot's neighbour is in use, and in every state. Two culprits and
    their two neighbours are at most four dead workers in a row."""
    executor = pool(2, slots=4, slot_size=256)
    for _ in range(6):
        serves(executor, 10)
        futures = []
        for i in range(8):
            text = b"text %d" % i
            futures.append((executor.submit(hostile("echo_late"), numbers(500) + text), text))
            if i in (2, 5):
                futures.append((write_past(hostile, executor, 256, junk * length), b"r" * 256))
        for future, expected in futures:
            check_neighbour(future, expected)
    serves(executor)


@pytest.mark.parametrize("workers", [1, 2])
def test_fuzzing_what_lies_past_a_reply(pool, hostile, serves, dice, workers):
    executor = pool(workers, slots=4, slot_size=256)
    for _ in range(40):
        serves(executor, 10)
        futures = []
        culprits = dice.sample(range(10), 2)
        for i in range(10):
            text = dice.randbytes(20)
            futures.append((executor.submit(hostile("echo_late"), numbers(dice.choice([0, 0, 300])) + text), text))
            if i in culprits:
                junk = dice.randbytes(dice.randrange(1, MARGIN + HEADER))
                futures.append((write_past(hostile, executor, 256, junk), b"r" * 256))
        for future, expected in futures:
            check_neighbour(future, expected)
    serves(executor)


def test_writing_past_a_reply_in_a_window(pool, hostile, serves):
    """The end of the mapping, or what is mapped behind it."""
    executor = pool(1, slots=4, slot_size=256, max_payload=1 << 20)
    for length in (1, 100, 5000, 200_000):
        serves(executor, 20)
        check_neighbour(write_past(hostile, executor, 65536, b"j" * length), b"r" * 65536)
    serves(executor)


# -- forks, jumps, descriptors, signals ------------------------------------------------------------


@pytest.mark.parametrize("name", ["fork_and_return", "fork_and_return_late", "fork_and_crash"])
def test_a_fork_is_no_second_worker(pool, hostile, serves, name):
    executor = pool(1, slots=2)
    (pid,) = ints(executor.submit(hostile("pid"), b"").result(timeout=PATIENCE))
    for _ in range(10):
        (child,) = ints(executor.submit(hostile(name), b"").result(timeout=PATIENCE))
        assert child > 0, "this is the child's result"
        serves(executor, 20)
    assert executor.worker_pids == [pid]


def test_a_jump_out_of_a_task(pool, hostile, serves):
    executor = pool(1)
    for _ in range(6):
        serves(executor, 20)
        executor.submit(hostile("jump_from"), b"").result(timeout=PATIENCE)
        error = executor.submit(hostile("jump_out"), b"").exception(timeout=PATIENCE)
        assert error is None or isinstance(error, WorkerCrashed)
    serves(executor)


@pytest.mark.parametrize("python", [False, True], ids=["C workers", "Python workers"])
@pytest.mark.parametrize(
    "name",
    [
        "block_signals",
        "unblock_signals",
        "ignore_usr1",
        "default_usr1",
        "handle_usr1",
        "raise_usr1",
        "leave_a_thread",
        "change_directory",
        "fill_the_environment",
        "ignore_everything",
    ],
)
def test_what_a_task_changes_in_its_process(pool, hostile, serves, name, python):
    """The doorbell works after it, a worker that sleeps is woken, and leaves."""
    executor = pool(1, spin=0)
    if python:
        assert executor.submit(pow, 2, 3).result(timeout=PATIENCE) == 8
    (pid,) = ints(executor.submit(hostile("pid"), b"").result(timeout=PATIENCE))
    for i in range(20):
        until(lambda: asleep(executor))
        assert executor.submit(hostile(name), b"").result(timeout=PATIENCE) == b""
        until(lambda: asleep(executor))
        assert executor.submit(hostile("echo"), b"%d" % i).result(timeout=PATIENCE) == b"%d" % i
    serves(executor)
    assert executor.worker_pids == [pid]
    executor.shutdown()
    assert not exists(pid)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_closes_every_descriptor(pool, hostile, workers):
    """What needs none arrives; what does says so; nothing hangs."""
    executor = pool(workers, spin=0)
    for _ in range(3):
        assert executor.submit(hostile("close_descriptors"), b"").exception(timeout=PATIENCE) is None
        for size in [1, 100, 4096]:
            assert executor.submit(hostile("echo"), b"x" * size).result(timeout=PATIENCE) == b"x" * size
        error = executor.submit(hostile("echo"), b"x" * 100_000).exception(timeout=PATIENCE)
        assert error is None or "map" in str(error) or isinstance(error, WorkerCrashed)


def test_a_task_that_closes_every_descriptor_calls_callbacks(pool, hostile):
    """Nobody waits in result(): the collector must hear of it all the same."""
    executor = pool(1, spin=0)
    called = threading.Event()
    executor.submit(hostile("close_descriptors"), b"").add_done_callback(lambda f: called.set())
    assert called.wait(PATIENCE)


@pytest.mark.parametrize("spin", [None, 0])
def test_an_endless_task_ends_with_terminate(pool, hostile, serves, spin):
    executor = pool(2, spin=spin)
    serves(executor, 20)
    for _ in range(4):
        future = executor.submit(hostile("ignore_and_loop"), b"")
        until(future.running)
        # The other may still be on its way to sleep.
        until(lambda: len(busy := [w.pid for w in executor.stats().workers if w.state == "busy"]) == 1 and busy)
        pid = [w.pid for w in executor.stats().workers if w.state == "busy"][0]
        assert future.terminate()
        assert future.cancelled()
        serves(executor, 20)
        until(lambda: not exists(pid))


def test_a_task_may_tidy_up_after_ctrl_c(pool, hostile, serves, tmp_path):
    executor = pool(1)
    future = executor.submit(hostile("tidy_up"), bytes(tmp_path))
    until((tmp_path / "began").exists)
    assert not (tmp_path / "tidied").exists()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        future.result(timeout=PATIENCE)
    until((tmp_path / "tidied").exists)
    assert future.cancelled()
    serves(executor, 20)
