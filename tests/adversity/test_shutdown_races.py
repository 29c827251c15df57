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
executor, results = FuloadExecutor(1), []
def submit():
    results.append(executor.submit(libc.abs, -3))
first = threading.Thread(target=submit)
first.start()
assert reached.wait(20)
ending = threading.Thread(target=lambda: executor.shutdown(cancel_futures={cancel}))
ending.start()
until(lambda: executor._pool.closing)
go_on.set()
first.join(20), ending.join(20)
assert not first.is_alive() and not ending.is_alive()
report(result=results[0].result(timeout=10))
"""


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_shutdown_while_the_first_task_starts_the_threads(program, before, cancel):
    """The task has begun then, for a worker is being started for it."""
    p = program(RECRUITING.format(before=before, cancel=cancel))
    assert p.expect("result", 60) == 3
    assert p.exit() == 0, p.errors()
