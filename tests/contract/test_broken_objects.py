"""Objects that fail, exit or crash while they are pickled or rebuilt, at every
place where that happens: their future fails, nothing hangs, the pool works on."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
from concurrent.futures.process import BrokenProcessPool

import pytest
from broken_objects_tasks import (
    AtPickle,
    AtRepr,
    AtSetState,
    AtUnpickle,
    ErrorAtStr,
    ErrorWith,
    Grumpy,
    PickledAs,
    crash,
    crash_with,
    deep,
    depth,
    fail,
    interrupt,
    leave,
    leave_with,
    make,
    make_behind_a_gate,
    raise_made,
    recurse,
    report_and_pass_gate_and_crash,
    system_exit,
)
from support.tasks import same
from support.waiting import until

from fuload_exec import FuloadExecutor, UnpickleError, WorkerCrashed


@pytest.fixture
def works_on():
    """The pool runs what comes next, in the same process unless that had to go."""

    def check(executor, pid=None):
        assert executor.submit(same, 5).result(60) == 5
        if pid is not None:
            assert executor.submit(os.getpid).result(60) == pid

    return check


# -- what the standard library promises as well ------------------------------------

CASES = {
    "error as a task is pickled": (LookupError, same, AtPickle(fail)),
    "exit as a task is rebuilt": (BrokenProcessPool, same, AtUnpickle(system_exit)),
    "crash as a task is rebuilt": (BrokenProcessPool, same, AtUnpickle(crash)),
    "death as a task is rebuilt": (BrokenProcessPool, same, AtUnpickle(leave)),
    "crash in a task": (BrokenProcessPool, crash),
    "exit in a task": (SystemExit, system_exit),
    "interrupt in a task": (KeyboardInterrupt, interrupt),
    "error in a task": (LookupError, fail),
    "crash as a result is pickled": (BrokenProcessPool, make, AtPickle, crash),
    "death as a result is pickled": (BrokenProcessPool, make, AtPickle, leave),
    "exit as a result is pickled": (SystemExit, make, AtPickle, system_exit),
    "error as a result is pickled": (LookupError, make, AtPickle, fail),
    "error as a result is rebuilt": (BrokenProcessPool, make, AtUnpickle, fail),
    "crash as an exception is pickled": (BrokenProcessPool, raise_made, ErrorWith, AtPickle, crash),
    "error as an exception is rebuilt": (BrokenProcessPool, raise_made, PickledAs, fail, ()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_future_fails_and_nothing_hangs(make_executor, case):
    error, fn, *args = CASES[case]
    with make_executor(2) as executor:
        future = executor.submit(fn, *args)
        with pytest.raises(error):
            future.result(60)
        assert isinstance(future.exception(0), error)
        if isinstance(executor, FuloadExecutor):
            futures = [executor.submit(same, i) for i in range(10)]
            assert [f.result(60) for f in futures] == list(range(10))


@pytest.mark.parametrize("case", CASES)
def test_shutdown_does_not_hang(make_executor, case):
    """The pool is shut down before that happens."""
    error, fn, *args = CASES[case]
    executor = make_executor(2)
    executor.submit(same, 1).result(60)
    future = executor.submit(fn, *args)
    executor.shutdown(wait=False)
    assert isinstance(future.exception(60), error)
    executor.shutdown(wait=True)


@pytest.mark.parametrize("case", CASES)
def test_among_others_only_the_bad_one_fails(case):
    error, fn, *args = CASES[case]
    with FuloadExecutor(2, slots=4) as executor:
        futures = [executor.submit(fn, *args) if i in (5, 25) else executor.submit(same, i) for i in range(40)]
        for i, future in enumerate(futures):
            assert isinstance(future.exception(60), error) if i in (5, 25) else future.result(60) == i


def test_a_crash_with_much_data():
    """The standard's pool of 3.10 hangs here."""
    with FuloadExecutor(2) as executor:
        with pytest.raises(BrokenProcessPool):
            list(executor.map(crash_with, ["a" * 2_000_000] * 3))


def test_a_crash_after_shutdown_was_called(make_executor, gate, tmp_path):
    executor = make_executor(2)
    with gate:
        future = executor.submit(report_and_pass_gate_and_crash, str(tmp_path / "runs"), gate.path)
        until((tmp_path / "runs").exists)
        thread = threading.Thread(target=executor.shutdown)
        thread.start()
        gate.open()
        thread.join()
        assert isinstance(future.exception(0), BrokenProcessPool)


# -- what only this pool promises ------------------------------------------------------


def test_a_pickling_error_stands_on_the_future(make_executor):
    with make_executor(1) as executor:
        for value, kind in [(AtPickle(fail), LookupError), (threading.Lock(), (TypeError, pickle.PicklingError))]:
            for args, kwargs in [((value,), {}), ((), {"value": value}), (([value],), {})]:
                future = executor.submit(same, *args, **kwargs)
                error = future.exception(60)
                assert isinstance(error, kind) and future.done() and not future.cancelled()
                with pytest.raises(kind):
                    future.result()
                assert type(error.__cause__).__name__ == "_RemoteTraceback"
                if kind is LookupError:
                    assert "in __reduce__" in str(error.__cause__)
        assert executor.submit(same, 1).result() == 1


def test_what_pickling_fails_on_is_counted_and_called_back():
    seen = []
    with FuloadExecutor(1) as executor:
        future = executor.submit(same, AtPickle(fail))
        future.add_done_callback(seen.append)
        assert seen == [future] and not future.cancel() and not future.running()
        stats = executor.stats()
        assert (stats.submitted, stats.failed, stats.unfinished) == (1, 1, 0)
        assert future.worker_pid is None and future.timing == (None, None)


@pytest.mark.parametrize("act", [system_exit, interrupt])
def test_what_is_no_exception_while_pickling_leaves_submit(act, works_on):
    with FuloadExecutor(1) as executor:
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            executor.submit(same, AtPickle(act))
        works_on(executor)
        assert executor.stats().unfinished == 0


@pytest.mark.parametrize("act", [fail, system_exit, interrupt])
def test_arguments_that_fail_when_rebuilt(act, works_on):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        error = executor.submit(same, AtUnpickle(act)).exception()
        assert type(error) is UnpickleError
        assert type(error.__cause__).__name__ in ("LookupError", "SystemExit", "KeyboardInterrupt")
        assert f"in {act.__name__}" in str(error.__cause__.__cause__)
        works_on(executor, pid)


def test_a_state_that_cannot_be_set(works_on):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        assert type(executor.submit(same, AtSetState()).exception()) is UnpickleError
        assert type(executor.submit(make, AtSetState).exception()) is UnpickleError
        works_on(executor, pid)


@pytest.mark.parametrize("act", [fail, system_exit])
def test_results_that_fail_when_rebuilt(act, works_on):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        error = executor.submit(make, AtUnpickle, act).exception()
        assert type(error) is UnpickleError and type(error.__cause__) in (LookupError, SystemExit)
        works_on(executor, pid)


def test_a_result_that_fails_when_rebuilt_reaches_those_who_wait(gate):
    """Nobody asks this future for its result: others look at it."""
    from concurrent.futures import FIRST_EXCEPTION, as_completed, wait

    with FuloadExecutor(1) as executor, gate:
        seen = []
        futures = [executor.submit(make_behind_a_gate, gate.path, act) for act in (fail, system_exit)]
        futures[0].add_done_callback(lambda f: seen.append(type(f.exception())))
        timer = threading.Timer(0.01, gate.open)
        timer.start()
        assert wait(futures, return_when=FIRST_EXCEPTION).done
        assert set(as_completed(futures)) == set(futures)
        timer.join()
        until(lambda: seen)
        assert seen == [UnpickleError]


@pytest.mark.parametrize("act", [crash, leave, system_exit, fail])
@pytest.mark.parametrize("keyword", [False, True])
def test_the_message_of_a_crash_does_not_rebuild_what_crashed(act, keyword):
    """It names the arguments, in this process."""
    with FuloadExecutor(1) as executor:
        args, kwargs = ((), {"value": AtUnpickle(act)}) if keyword else ((AtUnpickle(act),), {})
        error = executor.submit(leave_with, 1, *args, **kwargs).exception()
        if act in (crash, leave):
            assert type(error) is WorkerCrashed
            assert "leave_with(1, " in error.task and f"<{act.__name__}>" in error.task
        else:
            assert type(error) is UnpickleError


@pytest.mark.parametrize(
    "value",
    [AtRepr(), ErrorAtStr("x"), {AtRepr: AtRepr()}, [b"x" * 500], AtSetState, len, 1.5, {"a": {1, 2}}, same, (1, "é")],
    ids=lambda v: type(v).__name__,
)
def test_the_message_of_a_crash_names_any_argument(value):
    with FuloadExecutor(1) as executor:
        error = executor.submit(leave_with, value).exception()
        assert type(error) is WorkerCrashed and error.exitcode == 3
        assert error.task.startswith("leave_with(") and len(str(error)) < 300


@pytest.mark.parametrize("cls", [ErrorAtStr, AtRepr])
def test_exceptions_and_results_with_bad_texts(cls, works_on):
    with FuloadExecutor(1) as executor:
        future = executor.submit(raise_made if issubclass(cls, Exception) else make, cls)
        error = future.exception()
        assert type(error if error is not None else future.result()) is cls
        assert repr(future)
        works_on(executor)


@pytest.mark.parametrize(
    "how", [(Grumpy,), (ErrorWith, AtPickle, system_exit), (ErrorWith, AtPickle, interrupt)], ids=lambda h: h[-1].__name__
)
def test_exceptions_that_cannot_be_pickled(how, works_on):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        error = executor.submit(raise_made, *how).exception()
        assert type(error) is pickle.PicklingError and how[0].__name__ in str(error)
        assert "in raise_made" in str(error.__cause__)
        works_on(executor, pid)


@pytest.mark.parametrize("how", [(str, ("x",)), (fail, ()), (system_exit, ()), (ErrorWith, ())], ids=lambda h: h[0].__name__)
def test_exceptions_that_are_not_rebuilt_as_exceptions(how, works_on):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        error = executor.submit(raise_made, PickledAs, *how).exception()
        assert type(error) is UnpickleError and error.__cause__ is not None
        # What happened in the worker is told all the same.
        assert "in raise_made" in str(error.__cause__.__cause__)
        works_on(executor, pid)


# -- depth ------------------------------------------------------------------------------


@pytest.mark.stress
def test_structures_too_deep_to_be_pickled(make_executor):
    with make_executor(1) as executor:
        for future in (executor.submit(depth, deep(200_000)), executor.submit(deep, 200_000)):
            assert isinstance(future.exception(60), (RecursionError, pickle.PicklingError))
        assert executor.submit(depth, deep(100)).result() == 100
        assert depth(executor.submit(deep, 100).result()) == 100


def test_endless_recursion_in_a_task(make_executor):
    with make_executor(1) as executor:
        error = executor.submit(recurse, 0).exception()
        assert type(error) is RecursionError and "recurse" in str(error.__cause__)
        assert executor.submit(abs, -1).result() == 1


def at_depth(n, act):
    return act() if n <= 0 else at_depth(n - 1, act)


def frames():
    frame, n = sys._getframe(), 0
    while frame is not None:
        frame, n = frame.f_back, n + 1
    return n


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("fn", [abs, functools.partial(abs)], ids=["function", "partial"])
def test_submitting_near_the_recursion_limit(fn, used):
    """It raises or works; with one slot and one worker, one that is lost stops the pool."""
    refused = 0
    left = sys.getrecursionlimit() - frames()
    with FuloadExecutor(1, slots=1) as executor:
        if used:
            executor.submit(fn, -1).result()
        for margin in range(1, 60):
            try:
                at_depth(left - margin, lambda: executor.submit(fn, -1).exception())
            except (RecursionError, pickle.PicklingError):
                refused += 1
        assert [executor.submit(fn, -i).result(60) for i in range(10)] == list(range(10))
        assert (refused or used) and executor.stats().unfinished == 0
