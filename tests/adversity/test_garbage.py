"""Executors that nobody shuts down; `nothing_is_left` looks after each test."""

from __future__ import annotations

import gc
import os
import weakref

import pytest
import zoo
from support.waiting import until

from fuload_exec import FuloadExecutor


def ended(pids):
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize("python", [False, True])
def test_dropped(libc, python):
    executor = FuloadExecutor(2)
    task = zoo.square if python else libc.abs
    futures = [executor.submit(task, 1) for _ in range(100)]
    assert [f.result() for f in futures] == [1] * 100
    pids = until(lambda: executor.worker_pids)
    del executor
    until(lambda: gc.collect() + 1 and ended(pids))
    assert [f.result() for f in futures] == [1] * 100


def test_dropped_with_pending_work(libc):
    """The tasks are finished, as with the standard library."""
    executor = FuloadExecutor(2)
    futures = [executor.submit(libc.usleep, 2000) for _ in range(100)] + [executor.submit(zoo.square, 2)]
    del executor
    gc.collect()
    assert [f.result(timeout=30) for f in futures] == [0] * 100 + [4]


def test_dropped_with_its_futures(libc):
    FuloadExecutor(2).submit(libc.usleep, 50_000)


def test_dropped_in_a_cycle(libc):
    executor = FuloadExecutor(2)
    executor.submit(libc.abs, -1).result()
    executor.me = executor
    reference = weakref.ref(executor)
    del executor
    until(lambda: gc.collect() + 1 and reference() is None)


def test_dropped_in_its_own_callback(libc):
    held = [FuloadExecutor(1)]
    called = []
    future = held[0].submit(libc.usleep, 20_000)
    future.add_done_callback(lambda f: (held.clear(), gc.collect(), called.append(f.result())))
    del future
    until(lambda: called == [0])


def test_shut_down_in_its_own_callback(libc):
    executor = FuloadExecutor(1)
    called = []
    future = executor.submit(libc.usleep, 20_000)
    future.add_done_callback(lambda f: (executor.shutdown(), called.append(f.result())))
    until(lambda: called == [0])


def test_never_used():
    for _ in range(50):
        FuloadExecutor(2)
    executor = FuloadExecutor(3)
    executor.shutdown()
    executor.shutdown()
    with FuloadExecutor(1):
        pass


def test_hundreds_made_and_dropped(libc, stress):
    for i in range(150 * stress):
        executor = FuloadExecutor(1 + i % 3)
        future = executor.submit(libc.abs, -i)
        if i % 2:
            assert future.result(timeout=30) == i
        if i % 5 == 0:
            executor.shutdown(wait=bool(i % 10))


@pytest.mark.stress
def test_hundreds_alive_at_once(libc):
    executors = [FuloadExecutor(1) for _ in range(60)]
    futures = [executor.submit(libc.abs, -i) for i, executor in enumerate(executors)]
    assert [f.result(timeout=60) for f in futures] == list(range(60))
    for executor in executors[::2]:
        executor.shutdown()
    assert [e.submit(libc.abs, -3).result(timeout=30) for e in executors[1::2]] == [3] * 30


def test_shutdown_at_once(libc):
    for _ in range(30):
        executor = FuloadExecutor(4)
        futures = [executor.submit(libc.abs, -i) for i in range(20)]
        executor.shutdown(wait=True)
        assert [f.result(timeout=0) for f in futures] == list(range(20))


def test_from_many_threads_at_once(libc):
    """Several threads shut the same executor down; all return."""
    import threading

    for _ in range(10):
        executor = FuloadExecutor(2)
        futures = [executor.submit(libc.usleep, 500) for _ in range(20)]
        threads = [threading.Thread(target=executor.shutdown) for _ in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)
            assert not t.is_alive()
        assert all(f.done() for f in futures)


# -- the interpreter ends ---------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "executor = FuloadExecutor(2); executor.submit(libc.abs, -1).result()",
        "executor = FuloadExecutor(2); executor.submit(zoo.square, 1).result()",
        "executor = FuloadExecutor(2)",
        "executor = FuloadExecutor(2, spin=0); futures = [executor.submit(zoo.square, i) for i in range(100)]",
        "executor = FuloadExecutor(2); future = executor.submit(libc.usleep, 100_000); sys.exit()",
        "executors = [FuloadExecutor(2) for _ in range(5)]; futures = [e.submit(libc.usleep, 1000) for e in executors]",
        "executor = FuloadExecutor(2); executor.submit(os._exit, 1).exception(); executor.submit(libc.abs, -1).result()",
        "sys.executor = FuloadExecutor(2); sys.executor.submit(libc.abs, -1)",
        "executor = FuloadExecutor(2); executor.submit(libc.abs, -1).add_done_callback(lambda f: executor.submit(libc.abs, -2))",
        "executor = FuloadExecutor(2); futures = [executor.submit(libc.usleep, 1000) for _ in range(3000)]; executor.shutdown(wait=False, cancel_futures=True)",
        "class Late:\n    def __del__(self): self.future = self.executor.submit(libc.abs, -1)\nlate = Late(); late.executor = FuloadExecutor(1); late.executor.submit(libc.abs, -1)",
        "import atexit; executor = FuloadExecutor(1); executor.submit(libc.abs, -1); atexit.register(executor.shutdown)",
    ],
)
def test_exit_with_a_live_pool_says_nothing(program, script):
    p = program(script)
    assert p.exit(30) == 0, p.errors()
    text = p.errors()
    if "Late" in script or "add_done_callback" in script:
        # Refused, and said so by Python itself, in its own words; nothing else.
        lines = [line for line in text.splitlines() if "RuntimeError" in line]
        assert not text or lines, text
    else:
        assert text == ""


# -- in the middle of starting ------------------------------------------------------------

# Executors of which nobody knows any more, in every state: `forget()` makes one
# that a collection closes, `held` ones that end when they are let go.
FORGOTTEN = """
import _thread, gc
gc.disable()
held = []
USES = [
    lambda executor: None,
    lambda executor: executor.submit(libc.abs, -1).result(20),
    lambda executor: executor.submit(libc.usleep, 3000),
]

def forget(use):
    cycle = [FuloadExecutor(1)]
    use(cycle[0])
    cycle.append(cycle)

def around_threads(act):
    # What act() does is done in every thread that is just being started, before
    # anybody knows that it runs, and in the one that starts it.
    def first(function):
        def run(*args):
            act()
            return function(*args)
        return run
    def afterwards(function):
        def run(*args):
            found = function(*args)
            act()
            return found
        return run
    from fuload_exec import _core, _supervisor
    _supervisor._begin = first(_supervisor._begin)
    _core.Start = afterwards(_core.Start)
    threading.Thread._set_ident = afterwards(threading.Thread._set_ident)

def in_a_thread(function):
    # Not one of `threading`: that is changed.
    done = _thread.allocate_lock()
    done.acquire()
    _thread.start_new_thread(lambda: (function(), done.release()), ())
    assert done.acquire(timeout=30)
"""


@pytest.mark.parametrize("others", [True, False])
def test_collected_in_a_thread_that_is_being_started(program, others):
    """With and without a supervisor that runs already."""
    p = program(
        FORGOTTEN
        + f"""
other = FuloadExecutor(1)
if {others}:
    other.submit(libc.abs, -1).result(20)
closed = []
def collect():
    before = sum(type(thing) is FuloadExecutor for thing in gc.get_objects())
    gc.collect()
    closed.append(before - sum(type(thing) is FuloadExecutor for thing in gc.get_objects()))
around_threads(collect)
for use in USES:
    forget(use)
    def another():
        forget(use)
        with FuloadExecutor(1) as executor:
            assert executor.submit(libc.abs, -7).result(20) == 7
    in_a_thread(another)
gc.collect()
report(closed=max(closed), works=other.submit(libc.abs, -8).result(20))
other.shutdown()
"""
    )
    assert p.expect("works") == 8
    assert p.reports()["closed"] > 0
    assert p.exit() == 0, p.errors()
    assert p.errors() == ""


def test_closed_at_any_call_of_another_pools(program, dice, stress):
    """A finalizer runs at this call of a function, be it in the caller, the
    collector or the supervisor: no lock may be held there that it waits for."""
    p = program(
        FORGOTTEN
        + f"""
import random
dice = random.Random({dice.random()!r})
left = 0  # calls until the finalizer runs
def count(frame, event, arg):
    global left
    if left and event in ("call", "c_call"):
        left -= 1
        if not left:
            held.clear()
around_threads(lambda: sys.setprofile(count))
def life(calls):
    global left
    use = dice.choice(USES)
    held.append(FuloadExecutor(1))
    use(held[0])
    sys.setprofile(count)
    left = calls
    with FuloadExecutor(1) as executor:
        assert executor.submit(libc.abs, -7).result(20) == 7
    sys.setprofile(None)
    rest, left = left, 0
    reached = not held
    held.clear()
    return reached, calls - rest
# The first call of a process makes many more calls, and so does one use or another.
total = min(life(100_000)[1] for _ in range(10))
reached = 0
for round_ in range({60 * stress}):
    found = []
    calls = dice.randrange(1, total)
    in_a_thread(lambda: found.append(life(calls)))
    reached += found[0][0]
report(reached=reached)
"""
    )
    assert p.expect("reached", 60 * stress) > 20
    assert p.exit() == 0, p.errors()
    assert p.errors() == ""


def test_collections_everywhere(program, stress):
    """At every few allocations, in threads that make and forget pools."""
    p = program(
        FORGOTTEN
        + f"""
gc.enable()
def work():
    for i in range({12 * stress}):
        forget(USES[i % 3])
        with FuloadExecutor(1) as executor:
            assert executor.submit(libc.abs, -7).result(20) == 7
gc.set_threshold(3, 3, 1000)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.set_threshold(700, 10, 10)
report(done=True)
"""
    )
    assert p.expect("done", 60 * stress)
    assert p.exit() == 0, p.errors()
    assert p.errors() == ""


def test_finalizers_in_the_supervisors_thread(program):
    """A collection may come there too. A finalizer that shuts down its pool, submits
    or waits for a task must not keep the thread that all pools need."""
    p = program("""
import gc
gc.disable()
class Service:
    def __init__(self, act):
        self.executor, self.act, self.me = FuloadExecutor(1, max_pending=1), act, self
        assert self.executor.submit(libc.abs, -1).result() == 1
        made.append(self.executor)
    def __del__(self):
        self.act(self.executor)
        ended.append(self.act)

made, ended, said = [], [], []
def shut_down(executor):
    executor.shutdown()
def submit_much(executor):
    for _ in range(3):
        executor.submit(libc.usleep, 1000)
def wait_for_a_task(executor):
    try:
        executor.submit(libc.usleep, 200_000).result()
    except RuntimeError as error:
        said.append(str(error))
with FuloadExecutor(1, max_retries=3) as other:
    assert other.submit(libc.abs, -2).result() == 2
    for number, act in enumerate((shut_down, submit_much, wait_for_a_task), 1):
        Service(act)
        other._crew.supervisor.call(gc.collect)
        until(lambda: len(ended) == number)
        until(lambda: other.worker_pids)
        os.kill(other.worker_pids[0], signal.SIGKILL)
        assert other.submit(libc.abs, -2).result(timeout=20) == 2
for executor in made:
    executor.shutdown()
report(said=said)
""")
    assert ["waits for a task" in text for text in p.expect("said", 90)] == [True]
    assert p.exit() == 0, p.errors()
