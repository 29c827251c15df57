"""FuloadExecutor's parameters: defaults, and what is refused."""

from __future__ import annotations

import concurrent.futures
import ctypes
import datetime
import inspect
import math
import multiprocessing
import os
import re
import subprocess
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
from support.ids import shown

from fuload_exec import FuloadExecutor, FuloadFuture

PATIENCE = 30

DEFAULTS = {
    "max_workers": None,
    "mp_context": None,
    "initializer": None,
    "initargs": (),
    "max_tasks_per_child": None,
    "worker": None,
    "timeout": None,
    "max_retries": 0,
    "slots": 1024,
    "slot_size": 4096,
    "max_payload": 1 << 30,
    "max_pending": None,
    "spin": None,
    "handle_sigint": True,
    "cancel_running": False,
    "env": None,
    "name": "fuload",
}
POSITIONAL = ["max_workers", "mp_context", "initializer", "initargs"]

NULLABLE = ["max_workers", "mp_context", "initializer", "max_tasks_per_child", "worker", "timeout", "max_pending", "spin", "env"]


class NoContext:
    get_start_method = "spawn"


WRONG_TYPES = [
    *(
        ("mp_context", value)
        for value in (
            "fork",
            "spawn",
            3,
            0,
            True,
            b"fork",
            ["fork"],
            print,
            object(),
            NoContext(),
            type(multiprocessing.get_context("spawn")),
        )
    ),
    *(
        (name, value)
        for name in ("max_workers", "slots", "slot_size", "max_payload", "max_pending", "max_tasks_per_child", "max_retries")
        for value in ("8", 8.0, True, b"8", [8], 1j)
    ),
    *(("worker", value) for value in (7, b"./my_worker", [b"./my_worker"], [7], {"./my_worker"})),
    *((name, None) for name in ("slots", "slot_size", "max_payload", "handle_sigint", "name", "initargs")),
    *(
        (name, value)
        for name in ("spin", "timeout")
        for value in (
            "1",
            b"1",
            True,
            [1],
            1j,
            numpy.True_,
            numpy.complex64(1),
            numpy.zeros(1),
            numpy.array(1.0),
            datetime.timedelta(1),
        )
    ),
    *((name, value) for name in ("handle_sigint", "cancel_running") for value in (0, 1, "yes", [])),
    ("max_retries", None),
    ("cancel_running", None),
    *(("env", value) for value in ("A=1", 7, [("A", "1")], {"A": 1}, {1: "A"}, {b"A": b"1"}, {"A": None})),
    *(("name", value) for value in (7, b"fuload", ["fuload"])),
    *(("initializer", value) for value in (7, "print", [print])),
    ("initargs", 7),
]
WRONG_VALUES = [
    *(
        (name, value)
        for name in ("max_workers", "slots", "slot_size", "max_pending", "max_tasks_per_child")
        for value in (0, -1, 1 << 80)
    ),
    *((name, value) for name in ("max_payload", "max_retries") for value in (-1, 1 << 80)),
    *(
        (name, value)
        for name in ("spin", "timeout")
        for value in (-1, -0.001, math.nan, math.inf, -math.inf, 1e10, 10**400, numpy.float32(-1), Decimal("NaN"), Fraction(-1, 3))
    ),
    ("timeout", 0),
    ("timeout", 0.0),
    ("timeout", numpy.float32(0)),
    ("spin", 3601),
    *(("env", value) for value in ({"A=B": "1"}, {"": "1"}, {"A": "\0"}, {"A\0": "1"})),
    *(("name", value) for value in ("", "a\0b")),
    *(("worker", value) for value in ("./no_such_worker", ["./no_such_worker", "-v"], "a\0b")),
]


def is_told(message: str, name: str, value: object) -> bool:
    """The message names the parameter, what was given, and what is allowed."""
    given = list(value.items())[0] if isinstance(value, dict) else (value,)
    return (
        re.search(rf"\b{name}\b", message) is not None
        and all(repr(part) in message for part in given)
        and re.search(r"\b(must|may|allowed|at most|at least)\b", message) is not None
        and ("None" in message.replace(repr(value), "", 1)) == (name in NULLABLE)
        and re.search(r"\d{12}", message.replace(repr(value), "")) is None
    )


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES, ids=shown)
def test_a_value_of_a_wrong_type(name, value):
    with pytest.raises(TypeError) as caught:
        FuloadExecutor(**{name: value})
    assert is_told(str(caught.value), name, value), str(caught.value)


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES, ids=shown)
def test_a_value_out_of_range(name, value):
    with pytest.raises(ValueError) as caught:
        FuloadExecutor(**{name: value})
    assert is_told(str(caught.value), name, value), str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("timeout", -1, "more than 0 and at most 1e+09, got -1"),
        ("timeout", 0, "more than 0 and at most 1e+09, got 0"),
        ("spin", -1, "a number of seconds from 0 to 3600, got -1"),
        ("max_workers", 0, "max_workers must be greater than 0"),
        ("max_workers", 5000, "from 1 to 4096, got 5000"),
        ("max_pending", 0, "from 1 to 2**60, got 0"),
        ("max_payload", -1, "from 0 to 2**46, got -1"),
        ("mp_context", "fork", "a multiprocessing context, as multiprocessing.get_context() returns one, got 'fork'"),
    ],
)
def test_what_is_allowed_is_true(parameter, value, said):
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        FuloadExecutor(**{parameter: value})


@pytest.mark.parametrize("value", ["1", True, [1], 1j, numpy.True_], ids=shown)
@pytest.mark.parametrize(
    "call",
    [
        lambda e, t: e.options(timeout=t),
        lambda e, t: e.map(abs, [1], timeout=t),
        lambda e, t: e.map(libc_abs(), [1], timeout=t),
        lambda e, t: e.submit(abs, -1).result(t),
        lambda e, t: e.submit(abs, -1).exception(timeout=t),
        lambda e, t: ended(e).result(t),
        lambda e, t: FuloadFuture().result(t),
    ],
    ids=["options", "map", "map C", "result", "exception", "of one that has ended", "of one made by hand"],
)
def test_a_timeout_of_a_wrong_type_is_named_at_the_call(call, value):
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=rf"timeout must be None or a number of seconds.*, got {re.escape(repr(value))}"):
            call(executor, value)


def ended(executor):
    future = executor.submit(abs, -1)
    assert future.result() == 1
    return future


def libc_abs():
    function = ctypes.CDLL("libc.so.6").abs
    function.argtypes = [ctypes.c_int]
    return function


@pytest.mark.parametrize("function", [abs, libc_abs()], ids=["Python", "C"])
def test_map_submits_nothing_with_a_bad_timeout(function):
    with FuloadExecutor(1) as executor:
        for options in ({"timeout": "x"}, {"chunksize": "x"}, {"chunksize": 0}, {"buffersize": 0}):
            with pytest.raises((TypeError, ValueError), match=rf"{next(iter(options))} must be .*\bNone\b.*, got"):
                executor.map(function, [1, 2], **options)
        assert executor.stats().submitted == 0


@pytest.mark.parametrize(
    "value", [2, 2.5, numpy.float32(2), numpy.float64(2), numpy.int8(2), Fraction(5, 2), Decimal("2.5")], ids=shown
)
def test_any_real_number_is_a_timeout(value):
    with FuloadExecutor(1, timeout=value, spin=value) as executor:
        assert executor.options(timeout=value).submit(abs, -1).result(PATIENCE * value) == 1
        assert list(executor.map(abs, [-1], timeout=PATIENCE * value)) == [1]


@pytest.mark.parametrize("value", [math.inf, 1e30, 10**400], ids=shown)
def test_more_seconds_than_anybody_waits(value):
    with FuloadExecutor(1) as executor:
        assert executor.submit(abs, -1).result(value) == 1
        assert executor.submit(abs, -1).exception(timeout=value) is None
        assert list(executor.map(abs, [-1], timeout=value)) == [1]


@pytest.mark.parametrize("name", ["timeout", "max_retries"])
@pytest.mark.parametrize("value", ["1", -1, 1 << 80, [1]], ids=shown)
def test_options(name, value):
    with FuloadExecutor(1) as executor:
        with pytest.raises((TypeError, ValueError)) as caught:
            executor.options(**{name: value})
        assert is_told(str(caught.value), name, value), str(caught.value)


def test_more_address_space_than_there_is():
    with pytest.raises(ValueError, match=r"slots.*max_payload.*at most.*32768.*70368744177664"):
        FuloadExecutor(slots=32768, max_payload=1 << 46)


@pytest.mark.parametrize(
    ("slots", "max_payload"),
    [(slots, (1 << shift) + more) for slots in (1, 2, 16384, 16385, 32767, 32768) for shift in (45, 46) for more in (-1, 0, 1)],
)
def test_what_the_parent_accepts_workers_accept(libc, slots, max_payload):
    """Two numbers that are possible each by itself."""
    if max_payload > 1 << 46:
        with pytest.raises(ValueError, match="max_payload"):
            FuloadExecutor(1, slots=slots, max_payload=max_payload)
        return
    try:
        executor = FuloadExecutor(1, slots=slots, max_payload=max_payload, slot_size=64)
    except ValueError as error:
        assert slots * max_payload > 1 << 60
        assert f"{slots} * {max_payload}" in str(error) and "2**60" in str(error)
        return
    with executor:
        assert slots * max_payload <= 1 << 60
        assert executor.submit(libc.abs, -3).result(timeout=30) == 3


def test_a_parameter_that_does_not_exist():
    with pytest.raises(TypeError, match="no_such_parameter"):
        FuloadExecutor(no_such_parameter=1)


def test_what_can_be_given_by_position():
    with pytest.raises(TypeError):
        FuloadExecutor(1, None, None, (), None)


def test_a_refused_pool_leaves_the_next_alone(libm):
    for _ in range(20):
        with pytest.raises(ValueError):
            FuloadExecutor(0)
    with FuloadExecutor(1) as executor:
        assert executor.submit(libm.cos, 0.0).result() == 1.0


def test_the_signature():
    parameters = inspect.signature(FuloadExecutor).parameters
    assert {name: p.default for name, p in parameters.items()} == DEFAULTS
    assert list(parameters) == list(DEFAULTS)
    for name, parameter in parameters.items():
        expected = parameter.POSITIONAL_OR_KEYWORD if name in POSITIONAL else parameter.KEYWORD_ONLY
        assert parameter.kind == expected, name


def test_the_defaults_given_in_words(libm):
    with FuloadExecutor(**DEFAULTS) as executor:
        assert executor.submit(libm.cos, 0.0).result() == 1.0


def test_it_is_an_executor():
    with FuloadExecutor(1) as executor:
        assert isinstance(executor, concurrent.futures.Executor)


def test_the_default_number_of_workers_respects_the_affinity(python):
    with FuloadExecutor() as executor:
        assert 1 <= executor.max_workers <= len(os.sched_getaffinity(0))
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from fuload_exec import FuloadExecutor\n"
        "with FuloadExecutor() as executor: print(executor.max_workers, executor.submit(abs, -3).result())"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1 3\n", "")


@pytest.mark.parametrize("number", [1, 3, numpy.int64(3)])
def test_the_number_of_workers(number):
    with FuloadExecutor(number) as executor:
        assert executor.max_workers == number


class Wrapped:
    """As others make contexts of their own."""

    def __init__(self):
        self.context = multiprocessing.get_context("spawn")

    def __getattr__(self, name):
        return getattr(self.context, name)


@pytest.mark.parametrize(
    "context",
    [*map(multiprocessing.get_context, ["fork", "spawn", "forkserver", None]), multiprocessing, Wrapped(), None],
    ids=["fork", "spawn", "forkserver", "default", "module", "wrapped", "None"],
)
def test_a_context_is_accepted(context):
    with FuloadExecutor(1, context) as executor:
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 1},
        {"slots": 32768},
        {"slot_size": 64},
        {"slot_size": 4097},
        {"slot_size": 1 << 20},
        {"slots": 64, "max_payload": 1 << 46},
        {"max_pending": 1},
        {"spin": 0},
        {"spin": 0.001},
        {"spin": 1},
        {"handle_sigint": False},
        {"env": {}},
        {"name": "x" * 1000},
        {"name": "fülöad"},
        {"initargs": []},
        {"max_workers": 100, "slots": 2},
    ],
    ids=shown,
)
def test_allowed_values(libm, options):
    with FuloadExecutor(**{"max_workers": 2, **options}) as executor:
        assert executor.submit(libm.pow, 2.0, 10.0).result() == 1024.0
        assert executor.submit(pow, 2, 10).result() == 1024


@pytest.mark.parametrize("slots", [1, 64])
def test_no_payload_at_all_is_allowed_by_the_constructor(slots):
    FuloadExecutor(1, slots=slots, max_payload=0).shutdown()
