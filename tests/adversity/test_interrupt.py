"""Ctrl-C, in a terminal and without: the main thread has its KeyboardInterrupt,
every future is done, every worker is gone, and the pool can be used again."""

from __future__ import annotations

import signal
import subprocess

import pytest

# Three tasks that do not end: in C, in Python, and in Python deaf to the interrupt.
BUSY = """
executor = FuloadExecutor(3)
futures = [
    executor.submit(libc.usleep, 90_000_000),
    executor.submit(zoo.announce_and_sleep, FOLDER + "/sleeps", 90),
    executor.submit(zoo.ignore_interrupts, FOLDER + "/ignores", 90),
]
futures += [executor.submit(libc.abs, -i) for i in range(3000)]
futures += [executor.submit(zoo.square, i) for i in range(100)]
until(lambda: os.path.exists(FOLDER + "/sleeps") and os.path.exists(FOLDER + "/ignores") and futures[0].running())
"""

ENDINGS = {
    "result": "futures[0].result()",
    "result with time-out": "futures[0].result(timeout=90)",
    "exception": "futures[2].exception()",
    "last result": "futures[-1].result()",
    "wait": "wait(futures)",
    "as_completed": "for future in as_completed(futures): pass",
    "map": "list(executor.map(time.sleep, [90] * 10))",
    "map of C": "list(executor.map(libc.usleep, [90_000_000] * 10))",
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "sleep": "time.sleep(90)",
    "queue": "import queue; queue.Queue().get()",
    "join": "threading.Thread(target=time.sleep, args=(90,), daemon=True).start(); threading.enumerate()[-1].join()",
    "exit of with": "pass",
    "shutdown": "executor.shutdown()",
    "computing": "while True: pass",
    "submitting": "while True: executor.submit(libc.abs, 1)",
    "submitting Python": "while True: executor.submit(zoo.square, 1)",
    "one by one": "while True: executor.submit(libc.abs, 1).result()",
}

WAITS = (
    BUSY
    + """
with executor:
    report(pids=executor.worker_pids)
    try:
        report(waits=True)
        ENDING
    except BaseException as error:
        chain = error
        while chain is not None and not isinstance(chain, KeyboardInterrupt):
            chain = chain.__context__
        report(caught=type(error).__name__, interrupted=chain is not None)
        raise
"""
)


def ends(ending):
    return WAITS.replace("ENDING", ENDINGS[ending])


def check_interrupted(p):
    assert p.exit() == -signal.SIGINT, p.errors()
    assert "KeyboardInterrupt" in p.errors()
    p.all_gone()


@pytest.mark.parametrize("ending", ENDINGS)
def test_ctrl_c_in_a_terminal(program, ending):
    p = program(ends(ending), terminal=True)
    assert len(p.expect_pids()) == 3
    p.expect("waits")
    p.ctrl_c()
    check_interrupted(p)


@pytest.mark.parametrize("ending", ["result", "wait", "lock", "exit of with", "submitting"])
def test_sigint_to_the_parent_alone(program, ending):
    p = program(ends(ending))
    p.expect_pids()
    p.expect("waits")
    p.process.send_signal(signal.SIGINT)
    check_interrupted(p)


@pytest.mark.parametrize("ending", ["result", "wait", "sleep", "exit of with", "shutdown"])
def test_ctrl_c_again_and_again(program, ending):
    p = program(ends(ending), terminal=True)
    p.expect_pids()
    p.expect("waits")
    while p.process.poll() is None and p.process.returncode is None:
        p.ctrl_c()
        try:
            p.process.wait(0.05)
        except subprocess.TimeoutExpired:
            pass
    assert p.exit() in (-signal.SIGINT, 1)
    p.all_gone()


WAITS_DEAF = """
executor = FuloadExecutor(1)
future = executor.submit(libc.usleep, 90_000_000)
until(future.running)
lock = threading.Lock()
lock.acquire()
waits = False

def main_sleeps():
    with open(f"/proc/self/task/{os.getpid()}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"

def interrupt():
    until(lambda: waits and main_sleeps())
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    time.sleep(90)

threading.Thread(target=interrupt, daemon=True).start()
"""


def test_a_sigint_that_does_not_end_the_wait(program):
    """Python looks for signals between bytecodes: a main thread that looked a moment
    ago sleeps on. So it is when the signal comes to another thread."""
    p = program(
        WAITS_DEAF
        + """
try:
    waits = True
    lock.acquire()
except KeyboardInterrupt:
    report(cancelled=future.cancelled())
    executor.shutdown()
"""
    )
    assert p.expect("cancelled")
    assert p.exit() == 0, p.errors()


@pytest.mark.parametrize("handler", ["the default", "the user's"])
def test_one_sigint_is_one_interrupt(program, handler):
    """Whatever the main thread waits for afterwards."""
    p = program(
        """
called = 0
def handler(number, frame):
    global called
    called += 1
    raise KeyboardInterrupt
"""
        + ("signal.signal(signal.SIGINT, handler)\n" if handler == "the user's" else "called = 1\n")
        + WAITS_DEAF
        + """
try:
    waits = True
    lock.acquire()
except KeyboardInterrupt:
    again = lock.acquire(timeout=1.5)
    time.sleep(0.2)
    report(again=again, called=called, after=executor.submit(libc.abs, -1).result(timeout=20))
    executor.shutdown()
"""
    )
    assert p.expect("again") is False
    assert p.reports()["called"] == p.reports()["after"] == 1
    assert p.exit() == 0, p.errors()


AFTERWARDS = """
def afterwards():
    done, pending = wait(futures, timeout=20)
    report(pending=len(pending), pending_states=sorted({repr(f._state) for f in pending}), stats=repr(executor.stats()))
    report(completed=sum(1 for _ in as_completed(futures, timeout=20)))
    states = {"cancelled": 0, "finished": 0, "failed": []}
    for future in futures:
        assert future.done() and not future.running()
        if future.cancelled():
            states["cancelled"] += 1
            try:
                future.result()
            except CancelledError:
                pass
        elif future.exception() is None:
            states["finished"] += 1
        else:
            states["failed"].append(repr(future.exception()))
    report(states=states, all=len(futures))
    until(lambda: called >= len(futures))  # the collector calls them, after who waits is told
    again = [executor.submit(libc.abs, -i).result(timeout=20) for i in range(100)]
    again += [executor.submit(zoo.square, i).result(timeout=20) for i in range(100)]
    report(again=again == [*range(100), *(i * i for i in range(100))])
    executor.shutdown()
    report(callbacks=called == len(futures))
    report(left=executor.worker_pids, handler=signal.getsignal(signal.SIGINT).__name__)

called = 0
def count(future):
    global called
    called += 1
"""

REUSED = (
    BUSY
    + AFTERWARDS
    + """
for future in futures:
    future.add_done_callback(count)
report(pids=executor.worker_pids, handler_before=signal.getsignal(signal.SIGINT).__name__)
try:
    report(waits=True)
    ENDING
except KeyboardInterrupt:
    report(caught=True)
afterwards()
"""
)


def check_afterwards(p):
    assert p.expect("pending") == 0, p.reports()
    states = p.expect("states")
    assert p.reports()["completed"] == p.reports()["all"]
    assert states["failed"] == []
    assert states["cancelled"] >= 3
    assert p.expect("callbacks")
    assert p.expect("again")
    assert p.expect("left") == []


@pytest.mark.parametrize("ending", ["sleep", "lock", "wait", "as_completed"])
@pytest.mark.parametrize("terminal", [True, False])
def test_the_pool_after_a_caught_interrupt(program, ending, terminal):
    p = program(REUSED.replace("ENDING", ENDINGS[ending]), terminal=terminal)
    p.expect_pids()
    p.expect("waits")
    p.ctrl_c() if terminal else p.process.send_signal(signal.SIGINT)
    p.expect("caught")
    check_afterwards(p)
    assert p.exit() == 0, p.errors()
    assert p.reports()["handler"] == p.reports()["handler_before"] == "default_int_handler"
    p.all_gone()


HANDLED = (
    AFTERWARDS
    + """
def handler(number, frame):
    report(handled=True)

def install():
    signal.signal(signal.SIGINT, handler)
"""
)


@pytest.mark.parametrize("when", ["before", "after", "while idle"])
def test_handler_of_the_users(program, when):
    """It is called, and does not have to know of the pool."""
    install = {"before": ("install()", ""), "after": ("", "install()"), "while idle": ("", "")}[when]
    idle = "FuloadExecutor(1).submit(abs, -1).result(); install()" if when == "while idle" else ""
    p = program(
        HANDLED
        + idle
        + "\n"
        + install[0]
        + BUSY
        + install[1]
        + """
for future in futures:
    future.add_done_callback(count)
report(pids=executor.worker_pids)
until(lambda: len(executor.stats().workers) and all(f.done() for f in futures))
afterwards()
"""
    )
    p.expect_pids()
    p.process.send_signal(signal.SIGINT)
    p.expect("handled")
    check_afterwards(p)
    assert p.exit() == 0, p.errors()
    assert p.reports()["handler"] == "handler"
    p.all_gone()


def test_sigint_right_after_the_users_handler_was_installed(program):
    """There is no moment in which a new handler hides the interrupt."""
    p = program(
        HANDLED
        + BUSY
        + """
for future in futures:
    future.add_done_callback(count)
install()
os.kill(os.getpid(), signal.SIGINT)
afterwards()
"""
    )
    check_afterwards(p)
    assert p.exit() == 0, p.errors()


def test_ignored_sigint_stays_ignored(program):
    p = program("""
signal.signal(signal.SIGINT, signal.SIG_IGN)
executor = FuloadExecutor(2)
futures = [executor.submit(libc.usleep, 300_000) for _ in range(2)]
until(lambda: all(f.running() for f in futures))
for _ in range(20):
    os.kill(os.getpid(), signal.SIGINT)
report(results=[f.result(timeout=20) for f in futures], ignored=signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
""")
    assert p.exit() == 0, p.errors()
    assert p.reports() == {"results": [0, 0], "ignored": True}


def test_default_action_ends_the_workers_too(program):
    p = program("signal.signal(signal.SIGINT, signal.SIG_DFL)\n" + BUSY + "report(pids=executor.worker_pids)\ntime.sleep(90)")
    p.expect_pids()
    p.process.send_signal(signal.SIGINT)
    assert p.exit() == -signal.SIGINT
    p.all_gone()


@pytest.mark.parametrize("terminal", [True, False])
def test_pool_made_outside_the_main_thread(program, terminal):
    made = "\n".join("    " + line for line in ("global executor, futures\n" + BUSY).splitlines())
    p = program(
        AFTERWARDS
        + "executor = futures = None\ndef make():\n"
        + made
        + """
maker = threading.Thread(target=make)
maker.start()
maker.join()
for future in futures:
    future.add_done_callback(count)
report(pids=executor.worker_pids)
try:
    report(waits=True)
    time.sleep(90)
except KeyboardInterrupt:
    report(caught=True)
afterwards()
""",
        terminal=terminal,
    )
    p.expect_pids()
    p.expect("waits")
    p.ctrl_c() if terminal else p.process.send_signal(signal.SIGINT)
    p.expect("caught")
    check_afterwards(p)
    assert p.exit() == 0, p.errors()
    p.all_gone()


def test_several_pools(program):
    p = program("""
executors = [FuloadExecutor(1) for _ in range(5)]
untouched = FuloadExecutor(1, handle_sigint=False)
kept = untouched.submit(libc.usleep, 700_000)
futures = [executor.submit(libc.usleep, 90_000_000) for executor in executors for _ in range(3)]
until(lambda: all(f.running() for f in futures[::3]) and kept.running())
report(pids=[pid for executor in executors for pid in executor.worker_pids])
try:
    report(waits=True)
    time.sleep(90)
except KeyboardInterrupt:
    pass
wait(futures, timeout=20)
report(cancelled=sum(f.cancelled() for f in futures), kept=kept.result(timeout=20))
""")
    p.expect_pids()
    p.expect("waits")
    p.process.send_signal(signal.SIGINT)
    assert p.expect("cancelled") == 15
    assert p.expect("kept") == 0
    assert p.exit() == 0, p.errors()
    p.all_gone()


@pytest.mark.parametrize("terminal", [True, False])
def test_handle_sigint_false(program, terminal):
    """The interrupt is the main thread's alone; the tasks are finished."""
    p = program(
        """
executor = FuloadExecutor(2, handle_sigint=False)
futures = [executor.submit(libc.usleep, 500_000), executor.submit(zoo.announce_and_sleep, FOLDER + "/sleeps", 0.5)]
futures += [executor.submit(zoo.square, i) for i in range(20)]
until(lambda: os.path.exists(FOLDER + "/sleeps"))
try:
    report(waits=True)
    time.sleep(90)
except KeyboardInterrupt:
    report(caught=True)
report(results=[f.result(timeout=20) for f in futures])
executor.shutdown()
""",
        terminal=terminal,
    )
    p.expect("waits")
    p.ctrl_c() if terminal else p.process.send_signal(signal.SIGINT)
    assert p.expect("results") == [0, None, *(i * i for i in range(20))]
    assert p.exit() == 0, p.errors()


def test_sigint_to_workers_from_others_is_ignored(pool, tmp_path, libc):
    executor = pool(2)
    c = executor.submit(libc.usleep, 600_000)
    python = executor.submit(sleep_in_pieces, 600)
    for _ in range(10):
        for pid in executor.worker_pids:
            subprocess.run(["kill", "-INT", str(pid)], check=True)
    assert c.result(timeout=30) == 0
    assert python.result(timeout=30) == 600
    before = executor.worker_pids
    for pid in before:
        subprocess.run(["kill", "-INT", str(pid)], check=True)
    assert executor.submit(libc.abs, -2).result(timeout=30) == 2
    assert executor.worker_pids == before
    assert executor.stats().failed == 0


def sleep_in_pieces(milliseconds):
    import time

    for _ in range(milliseconds):
        time.sleep(0.001)
    return milliseconds


def test_interrupts_at_random_moments(program, dice, stress):
    """Whatever the main thread is about to do: one SIGINT, one KeyboardInterrupt,
    every future done, and the same pool goes on with the next round."""
    rounds = 25 * stress
    p = program(f"""
import random
dice = random.Random({dice.random()!r})
executor = FuloadExecutor(2)
bad = []
for round_ in range({rounds}):
    futures = []
    when = dice.uniform(0, 0.03)
    caught = 0
    try:
        timer = threading.Timer(when, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        due = time.monotonic() + 30
        while time.monotonic() < due:
            futures += [executor.submit(libc.abs, -1) for _ in range(dice.randrange(200))]
            futures += [executor.submit(libc.usleep, 100) for _ in range(dice.randrange(3))]
            try:
                for future in futures[-dice.randrange(1, 100):]:
                    future.result()
            except CancelledError:
                pass
        bad.append(f"round {{round_}}: no KeyboardInterrupt")
    except KeyboardInterrupt:
        caught = 1
    timer.join()
    done, pending = wait(futures, timeout=20)
    if pending:
        bad.append(f"round {{round_}}: {{len(pending)}} pending, {{executor.stats()}}")
        break
    for future in futures:
        if not future.cancelled() and future.exception() is not None:
            bad.append(f"round {{round_}}: {{future.exception()!r}}")
    if executor.submit(libc.abs, -5).result(timeout=20) != 5:
        bad.append("wrong")
report(bad=bad)
executor.shutdown()
""")
    assert p.expect("bad", seconds=80 * stress) == []
    assert p.exit() == 0, p.errors()


def test_a_deaf_task_is_killed(program):
    """All signals blocked, in Python: the grace is a tenth of a second."""
    p = program("""
executor = FuloadExecutor(1)
future = executor.submit(zoo.block_all_signals, FOLDER + "/deaf", 90)
until(lambda: os.path.exists(FOLDER + "/deaf"))
report(pids=executor.worker_pids)
try:
    report(waits=True)
    future.result()
except (KeyboardInterrupt, CancelledError) as error:
    report(caught=type(error).__name__)
until(lambda: not executor.worker_pids)
report(cancelled=future.cancelled(), again=executor.submit(zoo.square, 4).result(timeout=20))
executor.shutdown()
""")
    p.expect_pids()
    p.expect("waits")
    p.process.send_signal(signal.SIGINT)
    assert p.exit() in (0, -signal.SIGINT), p.errors()
    p.all_gone()


def test_a_stopped_worker_is_killed(program):
    p = program("""
executor = FuloadExecutor(2)
stopped = executor.submit(libc.usleep, 90_000_000)
until(stopped.running)
pid = executor.worker_pids[0]
os.kill(pid, signal.SIGSTOP)
report(pids=executor.worker_pids)
try:
    report(waits=True)
    time.sleep(90)
except KeyboardInterrupt:
    pass
wait([stopped], timeout=20)
until(lambda: not executor.worker_pids)
report(cancelled=stopped.cancelled())
executor.shutdown()
""")
    p.expect_pids()
    p.expect("waits")
    p.process.send_signal(signal.SIGINT)
    assert p.expect("cancelled")
    assert p.exit() == 0, p.errors()
    p.all_gone()


def test_exit_by_sigterm_leaves_no_worker(program):
    p = program(BUSY + "report(pids=executor.worker_pids)\ntime.sleep(90)")
    p.expect_pids()
    p.process.send_signal(signal.SIGTERM)
    assert p.exit() == -signal.SIGTERM
    p.all_gone()
