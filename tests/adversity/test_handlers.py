"""Signal handlers of the program's: what is put around signal.signal, what they
raise in the middle of submit(), and what ours must not do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# -- wrappers of signal.signal ---------------------------------------------------------

WRAPPERS = """
executors, saved = {}, {}

def start(name):
    executors[name] = FuloadExecutor(1)
    executors[name].submit(libc.abs, -1).result(20)

def stop(name):
    executors.pop(name).shutdown()

def wrap(name):
    saved[name] = inner = signal.signal
    def wrapper(number, handler):
        return inner(number, handler)
    signal.signal = wrapper

def unwrap(name):  # as mock.patch does, whatever has come on top meanwhile
    signal.signal = saved.pop(name)

def check():
    heard = []
    def handler(number, frame):
        heard.append(number)
    before = signal.signal(signal.SIGINT, handler)
    assert signal.getsignal(signal.SIGINT) is handler
    signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT], heard
    futures = [executor.submit(libc.usleep, 90_000_000) for executor in executors.values()]
    # A wrapper that was taken away may have taken ours with it; then a look finds
    # the new handler.
    until(lambda: signal.raise_signal(signal.SIGINT) or all(f.cancelled() for f in futures))
    assert signal.signal(signal.SIGINT, before) is handler
    assert signal.getsignal(signal.SIGINT) is before

DO = {"start": start, "stop": stop, "wrap": wrap, "unwrap": unwrap}
for order in ORDERS:
    for step in order:
        what, name = step.split()
        DO[what](name)
        try:
            check()
        except BaseException as error:
            report(failed=[order, step, repr(error)[:300]])
            raise
    signal.signal = original
report(done=len(ORDERS))
"""

PAIRS = [("start a", "stop a"), ("start b", "stop b"), ("wrap 1", "unwrap 1"), ("wrap 2", "unwrap 2")]
KEPT = [  # wrappers that are never taken away
    ["start a", "wrap 1", "stop a", "start b", "stop b", "start a", "stop a"],
    ["start a", "wrap 1", "stop a", "wrap 2", "start b", "stop b", "start a", "wrap 3", "stop a"],
    ["wrap 1", "start a", "wrap 2", "stop a", "start b", "wrap 3", "stop b", "start a", "stop a"],
    ["start a", "wrap 1", "start b", "stop a", "wrap 2", "stop b", "start a", "stop a", "start b", "stop b"],
]


def interleaved(dice, pairs):
    """Each pair in its order, all of them in any."""
    steps = [list(pair) for pair in pairs]
    found = []
    while steps:
        chosen = dice.choice(steps)
        found.append(chosen.pop(0))
        steps = [pair for pair in steps if pair]
    return found


def in_orders(program, orders):
    p = program(f"ORDERS = {orders!r}\noriginal = signal.signal\n" + WRAPPERS)
    assert p.expect("done", 60) == len(orders), p.reports()
    assert p.exit() == 0, p.errors()


def test_wrappers_that_stay(program):
    in_orders(program, KEPT)


def test_wrappers_set_and_taken_away_in_any_order(program, dice, stress):
    in_orders(program, [interleaved(dice, PAIRS) for _ in range(10 * stress)])


def test_a_wrapper_that_outlives_many_pools(program):
    """Nothing grows with their number."""
    p = program("""
import traceback
deepest = []
def wrap(inner):
    def wrapper(number, handler):
        return inner(number, handler)
    return wrapper
for i in range(300):
    with FuloadExecutor(1) as executor:
        executor.submit(libc.abs, -1).result(20)
        if i == 0:
            signal.signal = wrap(signal.signal)
    if i in (5, 299):
        found = []
        sys.setprofile(lambda frame, event, arg: found.append(event) if event == "call" else None)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.setprofile(None)
        deepest.append(len(found))
report(deepest=deepest)
""")
    few, many = p.expect("deepest", 60)
    assert few == many
    assert p.exit() == 0, p.errors()


def test_a_handler_is_found_by_a_look_however_soon_the_next_task_comes(program):
    """One that signal.signal knows nothing of, with a task submitted in the very
    moment in which the supervisor stops looking."""
    p = program("""
plain = signal.signal
executor = FuloadExecutor(1)
for round_ in range(20):
    executor.submit(libc.abs, -1).result(20)
    heard = []
    plain(signal.SIGINT, lambda number, frame: heard.append(number))
    future = executor.submit(libc.usleep, 90_000_000)
    until(lambda: signal.raise_signal(signal.SIGINT) or future.cancelled())
    assert heard
report(done=True)
plain(signal.SIGINT, signal.default_int_handler)
executor.shutdown()
""")
    assert p.expect("done")
    assert p.exit() == 0, p.errors()


@pytest.mark.parametrize("task, rounds", [("libc.abs, -9", 30), ("zoo.square, 3", 6)])
def test_the_first_task_of_a_pool_that_is_made_right_after_a_sigint(program, task, rounds):
    """It was submitted afterwards: it is not cancelled."""
    p = program(f"""
signal.signal(signal.SIGINT, lambda number, frame: None)
before = FuloadExecutor(1)
for round_ in range({rounds}):
    future = before.submit(libc.usleep, 90_000_000)
    signal.raise_signal(signal.SIGINT)
    with FuloadExecutor(1) as executor:
        assert executor.submit({task}).result(20) == 9
    assert wait([future], 20).done and future.cancelled()
report(done=True)
before.shutdown()
""")
    assert p.expect("done")
    assert p.exit() == 0, p.errors()


# -- what ours allocates ---------------------------------------------------------------


@pytest.fixture(scope="module")
def counted_allocations(tmp_path_factory):
    """A library to be preloaded; see counted_allocations.c."""
    library = tmp_path_factory.mktemp("preloaded") / "counted_allocations.so"
    subprocess.run(["cc", "-O1", "-fno-builtin", "-shared", "-fPIC", HERE / "counted_allocations.c", "-o", library], check=True)
    return str(library)


@pytest.mark.parametrize("handler", ["signal.default_int_handler", "lambda number, frame: None"])
def test_the_first_sigint_of_a_thread_allocates_nothing(program, counted_allocations, handler):
    """It may have come in the middle of malloc."""
    p = program(
        f"""
counting = ctypes.CDLL({counted_allocations!r})
report(seen=counting.allocate_counted())
signal.signal(signal.SIGINT, {handler})
executor = FuloadExecutor(1)
executor.submit(libc.abs, -1).result(20)
found = []
def await_one():
    found.append(counting.await_signal())
def signal_who_waits(thread):
    until(counting.who_waits)
    signal.pthread_kill(thread.ident, signal.SIGINT)
for _ in range(2):
    thread = threading.Thread(target=await_one)
    thread.start()
    try:
        signal_who_waits(thread)
        thread.join()
    except KeyboardInterrupt:
        thread.join()
sender = threading.Thread(target=signal_who_waits, args=(threading.main_thread(),))
try:
    sender.start()
    await_one()
except KeyboardInterrupt:
    pass
sender.join()
report(found=found)
executor.shutdown()
""",
        env={"LD_PRELOAD": counted_allocations},
    )
    assert p.expect("seen") == 3
    found = p.expect("found")
    assert found and not any(found)
    assert p.exit() == 0, p.errors()


# -- exceptions of handlers --------------------------------------------------------------

RAISING = """
from fuload_exec import _crew
class Alarm(Exception):
    pass
def on_alarm(number, frame):
    raise Alarm
signal.signal(signal.SIGALRM, on_alarm)
path = FOLDER + "/announced"

def in_the_middle_of(before):
    # The handler runs where the pool gets its threads, once.
    plain = _crew.Crew.recruit
    def interrupted(self):
        _crew.Crew.recruit = plain
        if not before:
            plain(self)
        signal.raise_signal(NUMBER)
        plain(self)
    _crew.Crew.recruit = interrupted

executor = FuloadExecutor(1, handle_sigint=False)
"""


@pytest.mark.parametrize("signals", [("SIGALRM", "Alarm"), ("SIGINT", "KeyboardInterrupt")])
@pytest.mark.parametrize("before", [True, False])
def test_what_a_handler_raises_in_submit_comes_out(program, before, signals):
    """Then the task is never run."""
    number, error = signals
    p = program(
        RAISING.replace("NUMBER", f"signal.{number}")
        + f"""
in_the_middle_of({before})
try:
    report(returned=repr(executor.submit(zoo.announce, path)))
except {error}:
    report(raised=True)
report(again=[executor.submit(zoo.square, 3).result(20), executor.submit(libc.abs, -3).result(20)])
executor.shutdown()
report(announced=os.path.exists(path), left=executor.worker_pids)
"""
    )
    assert p.expect("again") == [9, 3]
    assert p.expect("left") == []
    assert p.reports().get("raised"), p.reports()
    assert not p.reports()["announced"]
    assert p.exit() == 0, p.errors()


def test_a_real_timer_at_any_moment(program, dice, stress):
    """Each exception that the handler has raised is heard of, and each pool ends."""
    p = program(f"""
import random
dice = random.Random({dice.random()!r})
class Alarm(Exception):
    pass
raised = heard = 0
def on_alarm(number, frame):
    global raised
    raised += 1
    raise Alarm
def unraisable(info):  # in a finalizer, Python itself can only say so
    global heard
    heard += info.exc_type is Alarm
sys.unraisablehook = unraisable
signal.signal(signal.SIGALRM, on_alarm)
lost = []
for round_ in range({60 * stress}):
    executor, futures = None, []
    try:
        executor = FuloadExecutor(2)
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.00001, 0.004))
        while True:
            futures.append(executor.submit(libc.abs, -4))
            futures.append(executor.submit(libc.usleep, 10))
            if len(futures) > 200:
                wait(futures[:-100]), futures.clear()
    except Alarm:
        heard += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    if executor is not None:
        done, pending = wait(futures, timeout=20)
        lost += [repr(future) for future in pending]
        executor.shutdown()
        lost += executor.worker_pids
report(raised=raised, heard=heard, lost=lost)
""")
    assert p.expect("lost", 60 * stress) == []
    assert p.reports()["raised"] == p.reports()["heard"] == 60 * stress
    assert p.exit() == 0, p.errors()
