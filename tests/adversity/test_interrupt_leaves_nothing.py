"""When KeyboardInterrupt leaves a call of ours every future is done and every
worker reaped. Raised elsewhere, that happens by itself."""

from __future__ import annotations

import signal

import pytest

# `at_work()` is called before a task that never ends is in its function, `act()`
# in the main thread. Another thread sends the SIGINT once that sleeps in it.
PROLOGUE = """
import numpy
from pathlib import Path

def ancestry():
    # Every process by its parent, zombies too.
    found = {}
    for entry in os.listdir("/proc"):
        try:
            text = Path("/proc", entry, "stat").read_text() if entry.isdigit() else ""
        except OSError:
            text = ""
        if text:
            found.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    return found

def children():
    return ancestry().get(os.getpid(), [])

def pauses(tid):
    # How often a thread has gone to sleep; None if it does not sleep now.
    task = Path("/proc/self/task", str(tid))
    state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
    status = (task / "status").read_text().splitlines()
    count = next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt"))
    return count if state == "S" else None

def sleeps_in_a_call(tid, marks):
    # A thread that waits for the interpreter's lock wakes every few milliseconds:
    # one that does not in this while waits in a call of ours.
    marks.append(pauses(tid))
    recent = marks[-15:]
    return len(recent) == 15 and recent[0] is not None and len(set(recent)) == 1

inside = threading.Event()

def interrupt_when_asleep(ready=lambda: True, send=lambda: os.kill(os.getpid(), signal.SIGINT)):
    main = threading.main_thread().native_id
    def run():
        marks = []
        inside.wait(30)
        until(lambda: ready() and sleeps_in_a_call(main, marks))
        send()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread

TASKS = {
    "C": (lambda: (libc.usleep, 90_000_000), lambda i: (libc.abs, -i)),
    "Python": (lambda: (time.sleep, 90), lambda i: (zoo.square, i)),
}
EXECUTORS = []

def make(workers=2, **options):
    EXECUTORS.append(FuloadExecutor(workers, **options))
    return EXECUTORS[-1]

def endless(executor, kind, count=2):
    # Tasks that never end, and run.
    found = [executor.submit(*TASKS[kind][0]()) for _ in range(count)]
    until(lambda: all(f.running() for f in found) and len(children()) >= count)
    return found

def queued(executor, kind, count=3000):
    return [executor.submit(*TASKS[kind][1](i)) for i in range(count)]

def state(futures):
    # The first thing in `except KeyboardInterrupt`.
    return {"futures": len(futures), "undone": sum(not f.done() for f in futures), "alive": children()}

def usable(executor):
    found = [executor.submit(libc.abs, -5).result(20), executor.submit(zoo.square, 3).result(20)]
    return found == [5, 9] and list(executor.map(zoo.square, range(40))) == [i * i for i in range(40)]
"""

# How KeyboardInterrupt leaves: what is made before, and the call.
CALLS = {
    "result": ("", "futures[0].result()", True),
    "result of the last": ("", "futures[-1].result()", True),
    "result with a time-out": ("", "futures[0].result(timeout=90)", True),
    "exception": ("", "futures[1].exception()", True),
    "end of with": ("", "exit_of(executor)", False),
    "shutdown": ("", "executor.shutdown()", False),
    "shutdown, cancelling": ("", "executor.shutdown(cancel_futures=True)", False),
    "map, iterating": ("mapped = executor.map(*forever, buffersize=4)", "next(mapped)", True),
    "map, a list of it": ("", "list(executor.map(*forever))", True),
    "map_array": ("", "executor.map_array(libc.usleep, numpy.full(5000, 90_000_000, 'u4'))", True),
    "submit": ("", "submit_for_ever(executor.submit)", True),
    "submit of options": ("", "submit_for_ever(executor.options(max_retries=2).submit)", True),
    "map, submitting": ("", "executor.map(quick, range(100000), chunksize=1)", True),
}

LEAVES = (
    PROLOGUE
    + """
executor = make(max_pending=3100 if BLOCKED else None)
futures = endless(executor, KIND) + queued(executor, KIND)
forever = (libc.usleep if KIND == "C" else time.sleep), [90_000_000] * 3000
quick = libc.abs if KIND == "C" else zoo.square

def exit_of(executor):
    with executor:
        inside.set()

def submit_for_ever(submit):
    while True:
        futures.append(submit(*TASKS[KIND][1](7)))

BEFORE
thread = interrupt_when_asleep()
try:
    inside.set()
    CALL
except KeyboardInterrupt:
    report(state=state(futures))
thread.join()
report(usable=usable(executor) if STAYS else not executor.worker_pids)
executor.shutdown()
"""
)


@pytest.mark.parametrize("kind", ["C", "Python"])
@pytest.mark.parametrize("call", CALLS)
def test_keyboard_interrupt_leaves_a_call(program, call, kind):
    before, code, stays = CALLS[call]
    script = LEAVES.replace("KIND", repr(kind)).replace("STAYS", str(stays))
    script = script.replace("BLOCKED", str("submit" in call)).replace("BEFORE", before).replace("CALL", code)
    p = program(script)
    found = p.expect("state")
    assert found["undone"] == 0 and found["futures"] >= 3002
    assert found["alive"] == []
    assert p.expect("usable")
    assert p.exit() == 0, p.errors()


# The signal comes in the middle of a call that does not sleep: what it is given sends it.
SENT_BY_ARGUMENTS = {
    "map": "executor.map(zoo.square, interrupting(500))",
    "map of C": "executor.map(libc.abs, interrupting(2000))",
    "map with a buffer": "list(executor.map(zoo.square, interrupting(500), buffersize=10))",
    "submit": "executor.submit(zoo.square, Interrupting())",
    "map_array": "executor.map_array(libc.abs, Interrupting())",
}


@pytest.mark.parametrize("call", SENT_BY_ARGUMENTS)
def test_what_a_call_is_given_is_interrupted(program, call):
    p = program(
        PROLOGUE
        + f"""
def interrupting(count):
    yield from range(count)
    signal.raise_signal(signal.SIGINT)
    yield from range(count)

class Interrupting:
    def __reduce__(self):
        signal.raise_signal(signal.SIGINT)
    def __array__(self, *args, **options):
        signal.raise_signal(signal.SIGINT)

executor = make(3)
futures = endless(executor, "C", 1) + endless(executor, "Python", 1) + queued(executor, "C", 500)
try:
    {SENT_BY_ARGUMENTS[call]}
except KeyboardInterrupt:
    report(state=state(futures))
report(usable=usable(executor))
executor.shutdown()
"""
    )
    found = p.expect("state")
    assert found["undone"] == 0 and found["alive"] == []
    assert p.expect("usable")
    assert p.exit() == 0, p.errors()


DEAF = """
deaf = [str(Path(FOLDER, "deaf" + str(i))) for i in range(2)]
futures = [executor.submit(zoo.block_all_signals, path, 90) for path in deaf] + queued(executor, "Python")
until(lambda: all(os.path.exists(path) for path in deaf))
"""


@pytest.mark.parametrize("times", [2, 8])
@pytest.mark.parametrize("call", ["futures[0].result()", "list(executor.map(zoo.square, range(10)))", "executor.shutdown()"])
def test_again_while_it_is_acted_on(program, call, times):
    """Deaf workers have a grace: the next Ctrl-C comes within it, and does not
    let the first one's exception out sooner."""
    p = program(
        PROLOGUE
        + f"""
executor = make()
{DEAF}
def send():
    for _ in range({times}):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.005)
thread = interrupt_when_asleep(send=send)
found = []
def act():
    try:
        inside.set()
        {call}
    except KeyboardInterrupt:
        found.append(state(futures))
        raise
caught = 0
while thread.is_alive() or not caught:
    try:  # the last may come when the first's exception has left
        act() if not found else thread.join()
    except KeyboardInterrupt:
        caught += 1
report(state=found[0], others=len(found) - 1)
executor.shutdown()
"""
    )
    found = p.expect("state")
    assert found["undone"] == 0 and found["alive"] == []
    assert p.reports()["others"] == 0
    assert p.exit() == 0, p.errors()


@pytest.mark.parametrize("kind", ["C", "Python"])
@pytest.mark.parametrize("workers", [1, 8])
def test_while_workers_are_started(program, workers, kind):
    p = program(
        PROLOGUE
        + f"""
found = []
for round_ in range(8):
    executor = make({workers})
    try:
        with executor:
            futures = [executor.submit(*TASKS["{kind}"][0]()) for _ in range({workers})]
            futures += queued(executor, "{kind}", 50)
            until(lambda: len(children()) >= round_ % {workers + 1})
            os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        found.append(state(futures))
report(found=found)
"""
    )
    found = p.expect("found")
    assert [(s["undone"], s["alive"]) for s in found] == [(0, [])] * 8
    assert p.exit() == 0, p.errors()


def test_ten_pools(program):
    """One of them is waited for; nothing is left of the nine others either."""
    p = program(
        PROLOGUE
        + """
futures = []
for i in range(10):
    executor = make(1)
    futures += endless(executor, "Python" if i < 2 else "C", 1) + queued(executor, "C", 300)
untouched = FuloadExecutor(1, handle_sigint=False)
kept = untouched.submit(zoo.pid_after, 0)
kept_pid = kept.result()
thread = interrupt_when_asleep()
try:
    inside.set()
    futures[301 * 4].result()
except KeyboardInterrupt:
    report(state=state(futures))
report(kept=kept_pid)
thread.join()
report(usable=all(executor.submit(libc.abs, -4).result(20) == 4 for executor in EXECUTORS))
for executor in EXECUTORS:
    executor.shutdown()
report(same=untouched.submit(os.getpid).result(20))
untouched.shutdown()
"""
    )
    found = p.expect("state")
    assert found["undone"] == 0
    assert found["alive"] == [p.expect("kept")]
    assert p.expect("usable")
    assert p.expect("same") == p.expect("kept")
    assert p.exit() == 0, p.errors()


@pytest.mark.parametrize("terminal", [True, False])
def test_interrupting_a_pool_in_a_task(program, terminal):
    p = program(
        PROLOGUE
        + """
executor = make()
path = FOLDER + "/nested"
futures = [executor.submit(zoo.sleep_in_a_nested_pool, path, 90)] + queued(executor, "C", 500)
until(lambda: os.path.exists(path))
report(pids=[int(text) for text in Path(path).read_text().split()])
main, marks = threading.main_thread().native_id, []
def run():
    until(lambda: sleeps_in_a_call(main, marks))
    report(asleep=True)
threading.Thread(target=run, daemon=True).start()
try:
    futures[0].result()
except KeyboardInterrupt:
    report(state=state(futures))
report(usable=usable(executor))
executor.shutdown()
""",
        terminal=terminal,
    )
    assert len(p.expect_pids()) == 2
    p.expect("asleep")
    p.ctrl_c() if terminal else p.process.send_signal(signal.SIGINT)
    found = p.expect("state")
    assert found["undone"] == 0 and found["alive"] == []
    p.all_gone()
    assert p.expect("usable")
    assert p.exit() == 0, p.errors()


@pytest.mark.parametrize("where", ["a C call", "time.sleep", "a lock", "a loop"])
@pytest.mark.parametrize("kind", ["Python", "deaf"])
def test_by_itself_while_the_main_thread_is_elsewhere(program, where, kind):
    """The C call is one that no signal ends: only when all is over is it let go."""
    act = {
        "a C call": "libc.pthread_mutex_lock(mutex)",
        "time.sleep": "time.sleep(90)",
        "a lock": "lock.acquire()",
        "a loop": "while True: pass",
    }[where]
    tasks = DEAF if kind == "deaf" else f'futures = endless(executor, "{kind}") + queued(executor, "{kind}")'
    p = program(
        PROLOGUE
        + f"""
executor = make()
{tasks}
lock = threading.Lock()
lock.acquire()
mutex = ctypes.create_string_buffer(128)
libc.pthread_mutex_lock(mutex)
def see_to_it():
    until(lambda: not children() and all(f.done() for f in futures))
    report(by_itself=True)
    libc.pthread_mutex_unlock(mutex)
ready = (lambda: inside.is_set()) if {where == "a loop"} else (lambda marks=[]: sleeps_in_a_call(main, marks))
main = threading.main_thread().native_id
def run():
    inside.wait(20)
    until(ready)
    os.kill(os.getpid(), signal.SIGINT)
    see_to_it()
thread = threading.Thread(target=run, daemon=True)
thread.start()
try:
    inside.set()
    {act}
except KeyboardInterrupt:
    report(caught=True)
thread.join()
report(usable=usable(executor))
executor.shutdown()
"""
    )
    assert p.expect("by_itself")
    assert p.expect("caught")
    assert p.expect("usable")
    assert p.exit() == 0, p.errors()
