"""No worker outlives its parent, whatever either of them is doing."""

from __future__ import annotations

import os
import signal

import pytest
import zoo
from support.waiting import until

STATES = {
    "idle C": "executor.submit(libc.abs, -1).result()",
    "idle Python": "executor.submit(zoo.square, 1).result()",
    "polling": "executor = FuloadExecutor(2, spin=60); wait([executor.submit(libc.abs, -1)])",
    "in C": "long = executor.submit(libc.usleep, 90_000_000); until(long.running)",
    "in Python": "executor.submit(zoo.announce_and_sleep, FOLDER + '/runs', 90); until(lambda: os.path.exists(FOLDER + '/runs'))",
    "deaf": "executor.submit(zoo.block_all_signals, FOLDER + '/runs', 90); until(lambda: os.path.exists(FOLDER + '/runs'))",
    "descriptors closed": "executor.submit(zoo.close_descriptors); executor.submit(zoo.announce_and_sleep, FOLDER + '/runs', 90); "
    "until(lambda: os.path.exists(FOLDER + '/runs'))",
    "stopped": "executor.submit(libc.abs, -1).result(); pid = until(lambda: executor.worker_pids)[0]; os.kill(pid, signal.SIGSTOP)",
    "stopped in C": "long = executor.submit(libc.usleep, 90_000_000); until(long.running); "
    "pid = until(lambda: executor.worker_pids)[0]; os.kill(pid, signal.SIGSTOP)",
    "ten": "executor = FuloadExecutor(10); longs = [executor.submit(libc.usleep, 90_000_000) for _ in range(10)]; "
    "until(lambda: all(f.running() for f in longs))",
    "queue full": "longs = [executor.submit(libc.usleep, 1000) for _ in range(100_000)]; until(longs[3].done)",
}


@pytest.mark.parametrize("doing", STATES)
def test_parent_killed(program, doing):
    p = program(f"executor = FuloadExecutor(2)\n{STATES[doing]}\nreport(pids=until(lambda: executor.worker_pids))\ntime.sleep(90)")
    assert p.expect_pids()
    p.process.kill()
    p.all_gone(seconds=5)


def test_parent_killed_at_random_moments(program, dice, stress):
    """Also while workers are being started: each is found by its environment's trace, the name."""
    for round_ in range(8 * stress):
        name = f"orphan{os.getpid() % 1000}x{round_}"
        p = program(f"""
executor = FuloadExecutor(4, name={name!r})
report(starts=True)
while True:
    executor.submit(libc.usleep, 1000)
    executor.submit(zoo.square, 1)
    time.sleep(0.0005)
""")
        p.expect("starts")
        zoo.spin_for(dice.uniform(0, 0.1))
        p.process.kill()
        p.process.wait()
        until(lambda: not named(name), 5)


def named(name):
    """Pids of processes that are called so and not yet dead."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    text = f.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text[text.index("(") + 1 : text.rindex(")")] == name[:15] and text.rsplit(")", 1)[1].split()[0] != "Z":
                found.append(int(entry))
    return found


def test_parent_ends_by_os_exit(program):
    p = program("""
executor = FuloadExecutor(3)
longs = [executor.submit(libc.usleep, 90_000_000), executor.submit(time.sleep, 90)]
until(lambda: all(f.running() for f in longs))
report(pids=executor.worker_pids)
until(lambda: os.path.exists(FOLDER + "/go"))
os._exit(7)
""")
    p.expect_pids()
    (p.path.parent / "go").touch()
    assert p.exit() == 7
    p.all_gone(seconds=5)


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("sys.exit(3)", 3),
        ("pass", 0),
        ("raise ValueError('the end')", 1),
        ("del executor", 0),
        ("executor.shutdown(wait=False)", 0),
    ],
)
def test_parent_ends_and_pending_work_is_finished(program, ending, status):
    p = program(f"""
executor = FuloadExecutor(2)
for i in range(50):
    executor.submit(libc.usleep, 2000)
for i in range(20):
    executor.submit(zoo.announce, FOLDER + f"/did{{i}}")
{ending}
""")
    assert p.exit() == status
    assert all((p.path.parent / f"did{i}").exists() for i in range(20))
    assert ("ValueError: the end" in p.errors()) == (status == 1)
    if status != 1:
        assert p.errors() == ""


def test_parent_killed_by_a_signal_it_does_not_handle(program):
    for number in (signal.SIGSEGV, signal.SIGHUP):
        p = program(
            "executor = FuloadExecutor(2)\nlong = executor.submit(libc.usleep, 90_000_000)\n"
            "until(long.running)\nreport(pids=executor.worker_pids)\ntime.sleep(90)"
        )
        p.expect_pids()
        p.process.send_signal(number)
        assert p.exit() == -number
        p.all_gone(seconds=5)


def test_thread_that_made_the_pool_ends(program):
    """The parent-death signal follows a thread: it must not be this one."""
    p = program("""
made = []
def make():
    executor = FuloadExecutor(2)
    made.append((executor, executor.submit(libc.usleep, 300_000), executor.submit(zoo.pid_after, 0.3)))
maker = threading.Thread(target=make)
maker.start()
maker.join()
executor, c, python = made[0]
report(c=c.result(timeout=20), python=python.result(timeout=20) > 0)
threads = [threading.Thread(target=lambda: executor.submit(zoo.square, 3).result(timeout=20)) for _ in range(10)]
for t in threads: t.start()
for t in threads: t.join()
report(again=executor.submit(libc.abs, -4).result(timeout=20), failed=executor.stats().failed)
""")
    assert p.exit() == 0, p.errors()
    assert p.reports() == {"c": 0, "python": True, "again": 4, "failed": 0}
