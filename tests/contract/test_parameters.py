"""FuloadExecutor's parameters: defaults, and what is refused."""

from __future__ import annotations

import concurrent.futures
import inspect
import math
import multiprocessing
import os
import re
import subprocess

import numpy
import pytest

from fuload_exec import FuloadExecutor

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

WRONG_TYPES = [
    *((name, value)
      for name in ("max_workers", "slots", "slot_size", "max_payload", "max_pending", "max_tasks_per_child", "max_retries")
      for value in ("8", 8.0, True, b"8", [8], 1j)),
    *(("worker", value) for value in (7, b"./my_worker", [b"./my_worker"], [7], {"./my_worker"})),
    *((name, None) for name in ("slots", "slot_size", "max_payload", "handle_sigint", "name", "initargs")),
    *((name, value) for name in ("spin", "timeout") for value in ("1", True, [1], 1j)),
    *((name, value) for name in ("handle_sigint", "cancel_running") for value in (0, 1, "yes", [])),
    ("max_retries", None), ("cancel_running", None),
    *(("env", value) for value in ("A=1", 7, [("A", "1")], {"A": 1}, {1: "A"}, {b"A": b"1"}, {"A": None})),
    *(("name", value) for value in (7, b"fuload", ["fuload"])),
    *(("initializer", value) for value in (7, "print", [print])),
    ("initargs", 7),
]
WRONG_VALUES = [
    *((name, value) for name in ("max_workers", "slots", "slot_size", "max_pending", "max_tasks_per_child") for value in (0, -1, 1 << 80)),
    *((name, value) for name in ("max_payload", "max_retries") for value in (-1, 1 << 80)),
    *((name, value) for name in ("spin", "timeout") for value in (-1, -0.001, math.nan, math.inf, 1e10)),
    ("timeout", 0), ("timeout", 0.0),
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
    )


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES, ids=repr)
def test_a_value_of_a_wrong_type(name, value):
    with pytest.raises(TypeError) as caught:
        FuloadExecutor(**{name: value})
    assert is_told(str(caught.value), name, value), str(caught.value)


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES, ids=repr)
def test_a_value_out_of_range(name, value):
    with pytest.raises(ValueError) as caught:
        FuloadExecutor(**{name: value})
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


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_context_is_accepted(method):
    with FuloadExecutor(1, multiprocessing.get_context(method)) as executor:
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 1}, {"slots": 32768}, {"slot_size": 64}, {"slot_size": 4097}, {"slot_size": 1 << 20},
        {"slots": 64, "max_payload": 1 << 46}, {"max_pending": 1}, {"spin": 0}, {"spin": 0.001}, {"spin": 1},
        {"handle_sigint": False}, {"env": {}}, {"name": "x" * 1000}, {"name": "fülöad"}, {"initargs": []},
        {"max_workers": 100, "slots": 2},
    ],
    ids=repr,
)
def test_allowed_values(libm, options):
    with FuloadExecutor(**{"max_workers": 2, **options}) as executor:
        assert executor.submit(libm.pow, 2.0, 10.0).result() == 1024.0
        assert executor.submit(pow, 2, 10).result() == 1024


@pytest.mark.parametrize("slots", [1, 64])
def test_no_payload_at_all_is_allowed_by_the_constructor(slots):
    FuloadExecutor(1, slots=slots, max_payload=0).shutdown()
