"""Exceptions of tasks: what arrives, with what cause, and what they keep alive."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
import weakref
from concurrent.futures import as_completed, wait
from concurrent.futures.process import BrokenProcessPool

import pytest
from exceptions_tasks import (
    CanaryError,
    KeywordOnly,
    Reduced,
    Refuses,
    Stateful,
    fail_behind_a_gate,
    fail_mandatory,
    fail_with_cause,
    fail_with_comment,
    fail_without_context,
)
from support.ids import shown
from support.tasks import fail

from fuload_exec import FuloadExecutor, UnpickleError


def test_exceptions_with_a_reduce_of_their_own(make_executor):
    with make_executor(1) as executor:
        error = executor.submit(fail, Reduced(1, 2)).exception()
        assert (type(error), error.one, error.other, str(error)) == (Reduced, 1, 2, "1 and 2")
        error = executor.submit(fail, KeywordOnly(code=5)).exception()
        assert type(error) is KeywordOnly and error.code == 5
        given = Stateful("s")
        given.more = [1]
        error = executor.submit(fail, given).exception()
        # Its state has been set on the way there, and once more on the way back.
        assert type(error) is Stateful and error.args == ("s",) and error.restored == {"restored": {"more": [1]}}


def test_exceptions_whose_constructor_takes_something_else(make_executor):
    """The standard's pool is broken by them, here it is that task alone; what
    happened in the worker is told nevertheless."""
    with make_executor(1) as executor:
        error = executor.submit(fail_mandatory).exception()
        assert isinstance(error, BrokenProcessPool)
        if isinstance(executor, FuloadExecutor):
            assert type(error) is UnpickleError and type(error.__cause__) is TypeError
            text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            assert "7: of hurry" in text and "in fail_mandatory" in text and "reason" in text
            assert executor.submit(abs, -1).result() == 1


def test_the_line_of_the_source_is_shown(make_executor):
    with make_executor(1) as executor:
        error = executor.submit(fail_with_comment).exception()
        assert type(error) is RuntimeError and error.args == (123,)
        assert type(error.__cause__).__name__ == "_RemoteTraceback"
        assert "raise RuntimeError(123)  # this very line" in error.__cause__.tb
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        assert "raise RuntimeError(123)  # this very line" in text and "direct cause" in text


def test_causes_and_contexts_are_in_the_text(make_executor):
    with make_executor(1) as executor:
        error = executor.submit(fail_with_cause).exception()
        text = error.__cause__.tb
        assert type(error) is TypeError and error.__context__ is None
        assert text.index("KeyError: 'inner'") < text.index("ValueError: middle") < text.index("TypeError: outer")
        assert "direct cause" in text and "During handling" in text
        error = executor.submit(fail_without_context).exception()
        assert "ZeroDivisionError" not in error.__cause__.tb and "ValueError: v" in error.__cause__.tb


if sys.version_info >= (3, 11):

    def fail_with_notes():
        error = ValueError("v")
        error.add_note("first note")
        error.add_note("second note")
        raise error

    def fail_with_a_group():
        raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [KeyError("k"), OSError(2, "o")])])

    def test_notes(make_executor):
        with make_executor(1) as executor:
            error = executor.submit(fail_with_notes).exception()
            assert error.__notes__ == ["first note", "second note"]
            assert "first note" in error.__cause__.tb

    def test_groups(make_executor):
        with make_executor(1) as executor:
            future = executor.submit(fail_with_a_group)
            with pytest.raises(ExceptionGroup) as caught:
                future.result()
            keys, others = caught.value.split(KeyError)
            assert keys.exceptions[0].exceptions[0].args == ("k",) and len(others.exceptions) == 2
            error = future.exception()
            assert error.message == "several" and [type(e) for e in error.exceptions] == [ValueError, ExceptionGroup]
            assert error.exceptions[1].exceptions[1].args == (2, "o")
            assert "inner" in error.__cause__.tb and "OSError" in error.__cause__.tb

    def test_groups_of_what_is_no_exception(make_executor):
        with make_executor(1) as executor:
            error = executor.submit(fail, BaseExceptionGroup("g", [SystemExit(3), ValueError()])).exception()
            assert type(error) is BaseExceptionGroup and error.exceptions[0].code == 3


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt("k"), GeneratorExit("g"), StopIteration(5), StopAsyncIteration(6)], ids=shown
)
def test_what_is_no_error_is_a_result_like_any(make_executor, error):
    with make_executor(1) as executor:
        for _ in range(3):
            future = executor.submit(fail, error)
            with pytest.raises(type(error)) as caught:
                future.result()
            assert caught.value is future.exception() and caught.value.args == error.args
            assert next(as_completed([future])) is future and wait([future]).done == {future}
        assert executor.submit(abs, -1).result() == 1


def test_awaiting_what_is_no_error():
    async def work(executor):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(executor.submit(fail, asyncio.CancelledError()))
        return await asyncio.wrap_future(executor.submit(abs, -1))

    with FuloadExecutor(1) as executor:
        assert asyncio.run(work(executor)) == 1


def test_each_submit_to_a_broken_pool_raises_its_own(make_executor):
    """A shared one would collect a traceback of each."""
    with make_executor(1, initializer=fail, initargs=(ValueError("of an initializer"),)) as executor:
        futures = [executor.submit(abs, -1)]
        errors = [futures[0].exception()]
        for _ in range(3):
            try:
                executor.submit(abs, -1)
            except BrokenProcessPool as error:
                errors.append(error)
        assert len(errors) == 4 and len(set(map(id, errors))) == 4
        if isinstance(executor, FuloadExecutor):
            assert len({len(traceback.extract_tb(e.__traceback__)) for e in errors[1:]}) == 1
            assert all("of an initializer" in str(e.__cause__) for e in errors)


def test_each_future_of_a_broken_pool_has_its_own(gate):
    with FuloadExecutor(1, initializer=fail_behind_a_gate, initargs=(gate.path,)) as executor, gate:
        futures = [executor.submit(abs, -i) for i in range(10)]
        gate.open()
        errors = [f.exception() for f in futures]
        assert all(isinstance(e, BrokenProcessPool) for e in errors) and len(set(map(id, errors))) == 10
        assert all("of a gate" in str(e.__cause__) for e in errors)


# -- references ----------------------------------------------------------------------


def test_an_exception_goes_with_its_future(make_executor, no_collection):
    with make_executor(1) as executor:
        future = executor.submit(fail, CanaryError("c"))
        seen = weakref.ref(future.exception())
        del future
        assert seen() is None


def test_a_raised_exception_goes_as_well(make_executor, no_collection):
    """Its traceback holds frames; none of them may hold it or the future."""

    def ask(futures):
        try:
            futures.pop().result()
        except CanaryError as error:
            return weakref.ref(error)

    with make_executor(1) as executor:
        future = executor.submit(fail, CanaryError("c"))
        wait([future])
        futures, future_seen = [future], weakref.ref(future)
        del future
        seen = ask(futures)
        assert future_seen() is None and seen() is None


def test_the_traceback_does_not_hold_the_future(make_executor):
    with make_executor(1) as executor:
        future = executor.submit(fail, CanaryError("c"))
        try:
            future.result()
        except CanaryError as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
            assert not any(value is future for frame in frames for value in frame.f_locals.values())


def test_a_pickling_error_does_not_hold_the_arguments(make_executor):
    with make_executor(1) as executor:
        value = Refuses()
        seen = weakref.ref(value)
        future = executor.submit(id, value)
        assert type(future.exception()) is CanaryError
        del value
        if isinstance(executor, FuloadExecutor):
            assert seen() is None
        assert "in __reduce__" in str(future.exception().__cause__)


def test_the_cause_of_a_crash():
    """As in Python 3.15's pool."""
    with FuloadExecutor(1) as executor:
        error = executor.submit(os._exit, 99).exception()
        assert type(error.__cause__).__name__ == "_RemoteTraceback"
        assert f"Process {error.pid} terminated abruptly with exit code 99" in error.__cause__.tb
