"""Python callables: arguments, results, exceptions, what cannot be pickled, the
initializer."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import importlib.util
import logging
import math
import operator
import os
import pickle
import re
import signal
import struct
import sys
import threading
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cloudpickle
import numpy
import pytest
from gates import pass_gate
from python_callables_tasks import (
    Adder,
    Celsius,
    Colour,
    Custom,
    OwnError,
    OwnReason,
    Pair,
    Point,
    Text,
    Unpicklable,
    arguments,
    die,
    exit_with,
    fail_deep_down,
    fail_in_context,
    fail_to_initialize,
    fail_unpicklably,
    fail_with_two,
    fail_with_two_arguments,
    get_kept,
    give,
    give_generator,
    give_homesick,
    give_lock,
    give_unpicklable,
    initialize,
    keep,
    kept,
    locked,
)
from support.ids import shown
from support.tasks import Homesick, fail, same

from fuload_exec import FuloadExecutor, UnpickleError, WorkerCrashed

VALUES = [
    None,
    True,
    False,
    Ellipsis,
    NotImplemented,
    0,
    1,
    -1,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64,
    10**100,
    -(10**100),
    0.0,
    -0.0,
    1.5,
    math.inf,
    -math.inf,
    5e-324,
    1.7976931348623157e308,
    Celsius(1.5),
    1 + 2j,
    "",
    "a",
    "é€\U0001f600",
    "\0",
    "\ud800",
    "x" * 10_000,
    Text("t"),
    b"",
    b"a\0b",
    b"x" * 10_000,
    bytearray(b""),
    bytearray(b"abc"),
    (),
    (1,),
    [],
    [1, [2, (3,)]],
    {},
    {"a": {1: None}},
    set(),
    {1, 2},
    frozenset({3}),
    range(3),
    slice(1, None, 2),
    Colour.RED,
    Pair(1, "x"),
    Point(1.0, 2.0, ["a"]),
    collections.OrderedDict(a=1),
    collections.deque([1], 5),
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    Path("a/b"),
    int,
    Point,
    same,
    len,
    math.sqrt,
    ValueError("not raised", 1),
    b"z" * 1_000_000,
]


def alike(one, other) -> bool:
    return type(one) is type(other) and repr(one) == repr(other) and (one == other or isinstance(one, BaseException))


def test_values_there_and_back(make_executor):
    with make_executor(2) as executor:
        for value, future in [(value, executor.submit(same, value)) for value in VALUES]:
            assert alike(future.result(), value), repr(value)[:200]


@pytest.mark.parametrize("bits", [0x7FF8_0000_0000_0000, 0x7FF8_0000_DEAD_BEEF, 0xFFF8_0000_0000_0001])
def test_nan_keeps_its_bits(make_executor, bits):
    value = struct.unpack("<d", struct.pack("<Q", bits))[0]
    with make_executor(1) as executor:
        for result in (executor.submit(same, value).result(), executor.submit(same, [value]).result()[0]):
            assert struct.unpack("<Q", struct.pack("<d", result))[0] == bits


def test_references_within_a_value_are_kept(make_executor):
    shared = [1]
    loop = [shared, shared]
    loop.append(loop)
    with make_executor(1) as executor:
        result = executor.submit(same, loop).result()
    assert result[0] is result[1] and result[2] is result and result is not loop


def test_a_result_is_one_object(make_executor):
    with make_executor(1) as executor:
        future = executor.submit(same, [1])
        assert future.result() is future.result()


ARRAYS = [
    numpy.arange(10),
    numpy.zeros(0),
    numpy.array(2.5),
    numpy.zeros((0, 3)),
    numpy.arange(12.0).reshape(3, 4),
    numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
    numpy.arange(20)[::3],
    numpy.array([True, False]),
    numpy.array(["a", "bcd"]),
    numpy.array([(1, 2.5)], dtype="i4,f8"),
    numpy.array([None, "x"], dtype=object),
    numpy.array(["2026-01-01"], dtype="M8[D]"),
    numpy.float32(1.5),
    numpy.int64(7),
]


def test_numpy_values(make_executor):
    with make_executor(1) as executor:
        for array in ARRAYS:
            result, _ = executor.submit(arguments, array, more=array).result()
            assert type(result[0]) is type(array) and result[0].dtype == array.dtype and result[0].shape == array.shape
            assert numpy.array_equal(result[0], array)


def test_positional_and_keyword_arguments(make_executor):
    with make_executor(1) as executor:
        assert executor.submit(arguments).result() == ((), {})
        assert executor.submit(arguments, 1, "b", None).result() == ((1, "b", None), {})
        assert executor.submit(arguments, key=1).result() == ((), {"key": 1})
        given = {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "timeout": 5, "é": 6}
        assert executor.submit(arguments, 0, **given).result() == ((0,), given)
        assert list(executor.submit(arguments, z=1, a=2).result()[1]) == ["z", "a"]
        assert executor.submit(arguments, *range(300), **{f"k{i}": i for i in range(300)}).result() == (
            tuple(range(300)),
            {f"k{i}": i for i in range(300)},
        )


def test_submit_without_a_function(make_executor):
    with make_executor(1) as executor:
        with pytest.raises(TypeError):
            executor.submit()
        with pytest.raises(TypeError):
            executor.submit(fn=len)


def test_every_kind_of_callable(make_executor):
    with make_executor(1) as executor:
        for callable_, args, result in [
            (math.sqrt, (4,), 2.0),
            (len, ("abc",), 3),
            (int, ("12",), 12),
            (dict, ([("a", 1)],), {"a": 1}),
            (Point, (1, 2), Point(1, 2)),
            (operator.itemgetter(1), ("abc",), "b"),
            (functools.partial(pow, 2), (5,), 32),
            (Adder(3), (4,), 7),
            (Adder(3).method, (4,), 7),
            (Adder.class_method, (4,), ("Adder", 4)),
            (Adder.static_method, (4,), 4),
            ("abc".upper, (), "ABC"),
            ([3, 1].__len__, (), 2),
            (str.upper, ("a",), "A"),
            (numpy.sqrt, (4.0,), 2.0),
            (operator.methodcaller("upper"), ("a",), "A"),
            (same, (1,), 1),
        ]:
            assert executor.submit(callable_, *args).result() == result, callable_


def test_the_state_of_a_callable_is_that_of_its_submission(make_executor):
    adder = Adder(0)
    with make_executor(1) as executor:
        for n in range(10):
            adder.n = n
            assert executor.submit(adder, 1).result() == n + 1
            assert executor.submit(adder.method, 1).result() == n + 1


def test_what_is_not_callable(make_executor):
    with make_executor(1) as executor:
        for wrong in (5, "text", None):
            assert type(outcome(executor, wrong)) is TypeError
        assert executor.submit(same, 1).result() == 1


def test_lambdas_closures_and_local_classes():
    calls = []

    class Local:
        def __init__(self, x):
            self.x = x

        def __eq__(self, other):
            return self.x == other.x

        def double(self):
            return 2 * self.x

    def closure(x):
        calls.append(x)
        return len(calls)

    with FuloadExecutor(1) as executor:
        assert executor.submit(lambda x: x + 1, 1).result() == 2
        assert executor.submit(closure, 5).result() == 1
        assert executor.submit(Local(4).double).result() == 8
        assert executor.submit(same, Local(4)).result() == Local(4)
        assert executor.submit(sorted, [3, 1, 2], key=lambda x: -x).result() == [3, 2, 1]
        assert executor.submit(lambda: lambda: 3).result()() == 3
        assert calls == []


def test_functions_that_come_and_go():
    """A new function may stand where a dead one stood."""
    with FuloadExecutor(1) as executor:
        for i in range(300):
            assert executor.submit(lambda x, i=i: (i, x), 1).result() == (i, 1)


def test_a_function_that_was_redefined():
    module = sys.modules[__name__]
    original = module.same
    with FuloadExecutor(1) as executor:
        assert executor.submit(same, 1).result() == 1
        try:
            module.same = lambda value: ("another", value)
            assert executor.submit(module.same, 1).result() == ("another", 1)
        finally:
            module.same = original


# -- exceptions --------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 1),
        KeyError("k"),
        OSError(2, "No such file", "x"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        StopIteration(5),
        AssertionError(),
        Custom(3, detail="d"),
        TimeoutError("t"),
        MemoryError(),
        RecursionError("deep"),
    ],
    ids=shown,
)
def test_an_exception_arrives_as_itself(make_executor, error):
    with make_executor(1) as executor:
        future = executor.submit(fail, error)
        with pytest.raises(type(error)) as caught:
            future.result()
        assert caught.value is future.exception()
        assert type(caught.value) is type(error) and caught.value.args == error.args
        assert getattr(caught.value, "detail", None) == getattr(error, "detail", None)
        assert str(caught.value) == str(error)


def test_the_cause_is_the_traceback_of_the_worker(make_executor):
    with make_executor(1) as executor:
        for future in (executor.submit(fail_deep_down, 3), executor.submit(fail_deep_down, n=3)):
            cause = future.exception().__cause__
            assert type(cause).__name__ == "_RemoteTraceback"
            text = str(cause)
            assert text.count("in fail_deep_down") >= 2 and "return 1 // 0" in text
            assert "ZeroDivisionError" in text and fail_deep_down.__code__.co_filename in text


def test_the_traceback_shows_what_came_before(make_executor):
    with make_executor(1) as executor:
        error = executor.submit(fail_in_context).exception()
        assert type(error) is KeyError
        assert "ZeroDivisionError" in str(error.__cause__) and "direct cause" in str(error.__cause__)


def test_an_exception_can_be_raised_again_and_again(make_executor):
    with make_executor(1) as executor:
        future = executor.submit(fail_deep_down, 0)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                future.result()
        assert executor.submit(same, 1).result() == 1


# -- what cannot be pickled ------------------------------------------------------------


def outcome(executor, fn, *args, **kwargs):
    """The exception that submit raises or the future holds."""
    try:
        return executor.submit(fn, *args, **kwargs).exception()
    except Exception as error:
        return error


PICKLING = (TypeError, AttributeError, pickle.PicklingError)


@pytest.mark.parametrize("value", [threading.Lock, Unpicklable, lambda: (i for i in ())], ids=["lock", "class", "generator"])
def test_arguments_that_cannot_be_pickled(make_executor, value):
    with make_executor(1) as executor:
        assert executor.submit(same, 1).result() == 1
        assert isinstance(outcome(executor, same, value()), PICKLING)
        assert isinstance(outcome(executor, arguments, key=[value()]), PICKLING)
        assert isinstance(outcome(executor, functools.partial(same, value())), PICKLING)
        assert executor.submit(same, 2).result() == 2


@pytest.mark.parametrize("function", [give_lock, give_unpicklable, give_generator, fail_unpicklably])
def test_results_and_exceptions_that_cannot_be_pickled(make_executor, function):
    with make_executor(1) as executor:
        pids = {executor.submit(os.getpid).result()}
        error = executor.submit(function).exception()
        assert isinstance(error, PICKLING), repr(error)
        pids.add(executor.submit(os.getpid).result())
        assert len(pids) == 1


def test_the_traceback_of_an_exception_that_cannot_be_pickled():
    with FuloadExecutor(1) as executor:
        error = executor.submit(fail_unpicklably).exception()
        assert "UnpicklableError" in str(error)
        assert "in fail_unpicklably" in str(error.__cause__)


def test_arguments_that_the_worker_cannot_rebuild():
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        for future in (executor.submit(same, Homesick()), executor.submit(arguments, key=Homesick())):
            with pytest.raises(UnpickleError, match="LookupError") as caught:
                future.result()
            assert type(caught.value.__cause__) is LookupError
            assert isinstance(caught.value, BrokenProcessPool)
        assert executor.submit(os.getpid).result() == pid


def test_results_that_this_process_cannot_rebuild():
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        future = executor.submit(give_homesick)
        with pytest.raises(UnpickleError, match=r"give_homesick.*LookupError") as caught:
            future.result()
        assert type(caught.value.__cause__) is LookupError
        assert executor.submit(os.getpid).result() == pid


def test_exceptions_that_this_process_cannot_rebuild():
    with FuloadExecutor(1) as executor:
        error = executor.submit(fail_with_two_arguments).exception()
        assert type(error) is UnpickleError and type(error.__cause__) is TypeError
        assert executor.submit(same, 1).result() == 1


def test_a_function_of_a_module_that_the_worker_cannot_import(tmp_path):
    path = tmp_path / "only_here.py"
    path.write_text("def function(): return 1\n")
    spec = importlib.util.spec_from_file_location("only_here", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["only_here"] = module
    try:
        spec.loader.exec_module(module)
        with FuloadExecutor(1) as executor:
            error = executor.submit(module.function).exception()
            assert type(error) is UnpickleError and type(error.__cause__) is ModuleNotFoundError
            assert executor.submit(same, 1).result() == 1
    finally:
        del sys.modules["only_here"]


# -- what the errors say --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "part"),
    [
        (same, [threading.Lock], {}, r"argument 1 of same\(\) \(lock\)"),
        (arguments, [int, lambda: [threading.Lock()]], {}, r"argument 2 of arguments\(\) \(list\)"),
        (arguments, [int], {"key": threading.Lock}, r"argument 'key' of arguments\(\) \(lock\)"),
        (functools.partial(same, threading.Lock()), [], {}, r"the function partial\(\)"),
        (arguments, [lambda: (i for i in ())], {}, r"argument 1 of arguments\(\) \(generator\).*; a list of what it yields can"),
        (arguments, [lambda: sys.stdout], {}, r"argument 1 of arguments\(\)"),
    ],
)
def test_what_cannot_be_pickled_is_named(task, args, kwargs, part):
    """The class of the error stays; what pickle has said, too."""
    args, kwargs = [make() for make in args], {key: make() for key, make in kwargs.items()}
    for value in (*args, *kwargs.values(), task):
        try:
            cloudpickle.dumps(value)
        except Exception as failed:
            reason = failed
    with FuloadExecutor(1) as executor:
        error = executor.submit(task, *args, **kwargs).exception()
        assert type(error) is type(reason) and re.match(part, str(error)) and " cannot be pickled: " in str(error)


def test_an_error_of_the_programs_own_while_pickling_is_left_alone():
    with FuloadExecutor(1) as executor:
        error = executor.submit(same, OwnReason()).exception()
        assert type(error) is OwnError and error.args == ("mine",)


@pytest.mark.parametrize("chunksize", [None, 1, 2])
def test_errors_of_map_name_the_users_function(chunksize):
    with FuloadExecutor(1) as executor:
        with pytest.raises(UnpickleError, match=r"the arguments of same\(\) cannot be rebuilt in the worker: LookupError"):
            list(executor.map(same, [Homesick(), Homesick(), Homesick()], chunksize=chunksize))
        with pytest.raises(UnpickleError, match=r"the result of give\(\) cannot be rebuilt"):
            list(executor.map(give, range(3), chunksize=chunksize))
        with pytest.raises(TypeError, match=r"argument 1 of same\(\) \(lock\) cannot be pickled: "):
            list(executor.map(same, [threading.Lock()] * 3, chunksize=chunksize))
        with pytest.raises(TypeError, match=r"the result of locked\(\) \(lock\) cannot be pickled: "):
            list(executor.map(locked, range(3), chunksize=chunksize))
        with pytest.raises(UnpickleError, match=r"^fail_with_two\(\) raised TwoArguments: 1 2; .*TypeError"):
            list(executor.map(fail_with_two, range(3), chunksize=chunksize))
        with pytest.raises(WorkerCrashed) as caught:
            list(executor.map(exit_with, [3, 4, 5], chunksize=chunksize))
        assert caught.value.task == "exit_with(3)" + (", the first of 2 calls" if chunksize == 2 else "")


def test_what_an_exception_said_that_cannot_be_rebuilt():
    with FuloadExecutor(1) as executor:
        error = executor.submit(fail_with_two_arguments).exception()
        assert str(error).startswith("fail_with_two_arguments() raised TwoArguments: 1 2; ")
        assert "in fail_with_two_arguments" in str(error.__cause__.__cause__)
        error = executor.submit(fail_unpicklably).exception()
        assert "UnpicklableError cannot be pickled" in str(error) and "lock object" in str(error)


# -- the worker ---------------------------------------------------------------------------


def test_globals_of_a_worker_live_on(make_executor):
    with make_executor(1) as executor:
        assert [executor.submit(keep, i).result() for i in range(5)] == [1, 2, 3, 4, 5]
    assert kept == []


@pytest.mark.parametrize(("how", "exitcode"), [("exit", 7), (signal.SIGKILL, -9), (signal.SIGSEGV, -11)])
def test_a_python_task_that_takes_its_worker_along(how, exitcode):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        error = executor.submit(die, how, "y" * 500, key=3).exception()
        assert type(error) is WorkerCrashed and (error.pid, error.exitcode) == (pid, exitcode)
        shown = [repr(how)] if how == "exit" else (how.name, f"Signals({how:d})")  # as it is pickled, by name or number
        assert "die" in error.task and any(s in error.task for s in shown) and len(error.task) < 400
        assert error.task in str(error) and str(pid) in str(error)
        assert executor.submit(os.getpid).result() not in (pid, os.getpid())


def test_queued_python_tasks_survive_a_crash():
    with FuloadExecutor(2, slots=4) as executor:
        futures = [executor.submit(die, "exit") if i % 20 == 10 else executor.submit(same, i) for i in range(100)]
        for i, future in enumerate(futures):
            assert type(future.exception()) is WorkerCrashed if i % 20 == 10 else future.result() == i


def test_both_kinds_of_task_in_one_worker(libm, libc):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(libc.getpid).result()
        for i in range(50):
            assert executor.submit(os.getpid).result() == pid
            assert executor.submit(libc.getpid).result() == pid
            assert executor.submit(libm.pow, 2.0, i).result() == 2.0**i
        assert executor.worker_pids == [pid]


# -- the initializer ------------------------------------------------------------------------


def test_the_initializer_runs_once_in_each_worker(make_executor, tmp_path, make_gate):
    path = tmp_path / "initialized"
    with make_executor(2, initializer=initialize, initargs=(str(path), 1, "two")) as executor, make_gate() as gate:
        held = [executor.submit(pass_gate, gate.path) for _ in range(2)]
        futures = [executor.submit(get_kept) for _ in range(20)]
        gate.open()
        assert [f.result() for f in futures] == [[1, "two"]] * 20
        for future in held:
            future.result()
    runs = Counter(path.read_text().split())
    assert runs and set(runs.values()) == {1}


def test_the_initializer_may_be_a_lambda(tmp_path):
    path = tmp_path / "initialized"
    with FuloadExecutor(1, None, lambda: path.touch()) as executor:
        executor.submit(same, 1).result()
    assert path.exists()


def test_the_initializer_does_not_run_for_c_functions(libm, tmp_path):
    path = tmp_path / "initialized"
    with FuloadExecutor(1, initializer=initialize, initargs=[str(path)]) as executor:
        assert executor.submit(libm.cos, 0.0).result() == 1.0
        assert not path.exists()
        executor.submit(same, 1).result()
        assert path.exists()


def test_a_failing_initializer_breaks_the_pool(make_executor, tmp_path, caplog):
    with make_executor(1, initializer=fail_to_initialize, initargs=(str(tmp_path / "tried"),)) as executor:
        with caplog.at_level(logging.CRITICAL):
            futures = []
            try:
                for i in range(10):
                    futures.append(executor.submit(same, i))
            except BrokenProcessPool:
                pass
            assert futures
            for future in futures:
                assert isinstance(future.exception(), BrokenProcessPool)
            with pytest.raises(BrokenProcessPool):
                executor.submit(same, 1)
    assert (tmp_path / "tried").exists()


def test_a_failing_initializer_is_logged(tmp_path, caplog):
    with FuloadExecutor(1, initializer=fail_to_initialize, initargs=(str(tmp_path / "tried"),)) as executor:
        assert isinstance(executor.submit(same, 1).exception(), BrokenProcessPool)
    assert "the initializer says no" in caplog.text


def test_an_initializer_that_cannot_be_pickled():
    with FuloadExecutor(1, initializer=same, initargs=(threading.Lock(),)) as executor:
        assert isinstance(outcome(executor, same, 1), (*PICKLING, BrokenProcessPool))
