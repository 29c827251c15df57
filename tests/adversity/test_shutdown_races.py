"""A pool is shut down in one thread while others are in the middle of a call of
it: what they use stays mapped until they are through."""

from __future__ import annotations

import pytest

ROUNDS = """
import random
def work(executor, call):
    try:
        for i in range(200):
            call(executor, i)
    except (RuntimeError, CancelledError, WorkerCrashed):
        pass
def rounds(count, call, end, threads=2):
    # Threads change places as often as can be.
    sys.setswitchinterval(1e-6)
    for _ in range(count):
        executor = FuloadExecutor(2)
        running = [threading.Thread(target=work, args=(executor, call)) for _ in range(threads)]
        for thread in running:
            thread.start()
        time.sleep(random.random() * 0.003)
        end(executor)
        for thread in running:
            thread.join(30)
            assert not thread.is_alive()
        executor.shutdown()
    until(lambda: threading.active_count() == 1)
    report(done=count)
"""
CALLS = {
    "submit": "lambda executor, i: executor.submit(libc.abs, i)",
    "result": "lambda executor, i: executor.submit(libc.abs, i).result()",
    "python": "lambda executor, i: executor.submit(abs, i).cancel()",
    "map": "lambda executor, i: list(executor.map(libc.abs, range(300)))",
    "stats": "lambda executor, i: (executor.submit(libc.abs, i), executor.stats(), executor.worker_pids)",
}
ENDS = {
    "cancelled": "lambda executor: executor.shutdown(wait=False, cancel_futures=True)",
    "waited for": "lambda executor: executor.shutdown()",
    "not waited for": "lambda executor: executor.shutdown(wait=False)",
    "killed": "lambda executor: executor.kill_workers()",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("call", CALLS)
def test_shutdown_in_the_middle(program, call, end):
    p = program(ROUNDS + f"rounds(40, {CALLS[call]}, {ENDS[end]})\n")
    assert p.expect("done", 100) == 40
    assert p.exit() == 0, p.errors()


RECRUITING = """
from fuload_exec import _supervisor
enlist, reached, go_on = _supervisor.enlist, threading.Event(), threading.Event()
def slowly(crew):
    if {before}:
        reached.set(), go_on.wait(20)
    found = enlist(crew)
    if not {before}:
        reached.set(), go_on.wait(20)
    return found
_supervisor.enlist = slowly
executor, refused = FuloadExecutor(1), []
def submit():
    try:
        executor.submit(libc.abs, -3)
    except RuntimeError as error:
        refused.append(str(error))
first = threading.Thread(target=submit)
first.start()
assert reached.wait(20)
ending = threading.Thread(target=lambda: executor.shutdown(cancel_futures={cancel}))
ending.start()
until(lambda: executor._pool.closing)
go_on.set()
first.join(20), ending.join(20)
assert not first.is_alive() and not ending.is_alive()
report(refused=refused, left=executor.worker_pids)
"""


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_shutdown_while_the_first_task_starts_the_threads(program, before, cancel):
    """The task does not count yet: submit() refuses it, and shutdown() waits for nobody."""
    p = program(RECRUITING.format(before=before, cancel=cancel))
    assert p.expect("refused", 60) == ["cannot schedule new futures after shutdown"]
    assert p.expect("left") == []
    assert p.exit() == 0, p.errors()


def test_pools_that_come_and_go_while_the_supervisor_looks_at_others(program):
    """It goes through the pools of the process for the next timeout: others are
    made, and end, in the middle of that. Nothing is logged, and no timeout is
    forgotten."""
    p = program("""
import logging
from fuload_exec import TaskTimeout, _crew
logged = []
class Keep(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())
logging.getLogger().addHandler(Keep())
deadline, ended = _crew.Crew.deadline, []
def visit():
    executor = FuloadExecutor(1)
    executor.submit(libc.abs, -1)
    executor.shutdown(wait=False)
    ended.append(executor)
def while_it_is_asked(crew):
    if len(ended) < 30:
        visitor = threading.Thread(target=visit)
        visitor.start()
        visitor.join(10)
        assert not visitor.is_alive()
    return deadline.fget(crew)
_crew.Crew.deadline = property(while_it_is_asked)
executors = [FuloadExecutor(1, timeout=0.02) for _ in range(3)]
futures = [executor.submit(libc.usleep, 90_000_000) for executor in executors for _ in range(4)]
report(errors=sorted({type(f.exception(timeout=60)).__name__ for f in futures}))
until(lambda: len(ended) >= 30)
for executor in executors + ended:
    executor.shutdown()
report(logged=logged)
""")
    assert p.expect("logged", 60) == []
    assert p.reports()["errors"] == ["TaskTimeout"]
    assert p.exit() == 0, p.errors()
    assert p.errors() == ""


def test_pools_that_come_and_go_in_threads(program, stress):
    p = program(f"""
from fuload_exec import TaskTimeout
sys.setswitchinterval(1e-5)
bad = []
def come_and_go():
    for i in range({40 * stress}):
        with FuloadExecutor(1) as executor:
            if executor.submit(libc.abs, -i).result(30) != i:
                bad.append(i)
def time_out():
    with FuloadExecutor(1, timeout=0.02) as executor:
        for i in range({15 * stress}):
            error = executor.submit(libc.usleep, 90_000_000).exception(30)
            if type(error) is not TaskTimeout:
                bad.append(repr(error))
threads = [threading.Thread(target=act) for act in (come_and_go, come_and_go, come_and_go, time_out, time_out)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
report(bad=bad)
""")
    assert p.expect("bad", 60 * stress) == []
    assert p.exit() == 0, p.errors()
    assert p.errors() == ""


def test_shutdown_does_not_wait_for_another_pool(program):
    """One that is made while shutdown() waits for the supervisor, and keeps that."""
    p = program("""
from fuload_exec import _supervisor
from procfs import state, switches
others, marks = [], []
def asleep():
    if not ending.is_alive():  # it has seen this pool in the supervisor's books still
        return True
    try:
        marks.append((state(ending.native_id), switches(os.getpid()).get(ending.native_id)))
    except FileNotFoundError:  # a thread has just ended, this one or another
        return False
    return len(marks) > 15 and marks[-1][0] == "S" and len(set(marks[-15:])) == 1
over = _supervisor.Supervisor._over
def make_another_first(supervisor):
    if executor._crew.over and not others:
        until(asleep)
        others.append(FuloadExecutor(1))
        others[0].submit(libc.abs, -1)
    return over(supervisor)
_supervisor.Supervisor._over = make_another_first
executor = FuloadExecutor(1)
executor.submit(libc.abs, -1).result(20)
ending = threading.Thread(target=executor.shutdown, daemon=True)
ending.start()
ending.join(10)
ended = not ending.is_alive()
until(lambda: others)  # shutdown() may have been sooner
report(ended=ended, lives=others[0].submit(libc.abs, -2).result(20))
others[0].shutdown()
ending.join()
""")
    assert p.expect("lives", 60) == 2
    assert p.reports()["ended"]
    assert p.exit() == 0, p.errors()


def test_shutdown_while_the_first_python_task_is_prepared(program):
    """Another thread's first task was at it too, and is done."""
    p = program("""
executor = FuloadExecutor(1)
prepare = executor._pool.setup
def prepare_slowly():
    prepared = prepare()
    executor._pool.setup = prepare
    report(other=executor.submit(abs, -7).result(timeout=20))
    executor.shutdown()
    return prepared
executor._pool.setup = prepare_slowly
try:
    executor.submit(abs, -8)
except RuntimeError as error:
    report(refused=str(error))
""")
    assert p.exit() == 0, p.errors()
    assert p.reports() == {"other": 7, "refused": "cannot schedule new futures after shutdown"}
