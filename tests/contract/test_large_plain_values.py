"""bytes, bytearrays and texts: large ones stand beside the pickle as arguments, and
those of any size are replies as they are. What a task sees, and what comes back, is
what a pickle would have made of them."""

from __future__ import annotations

import os

import pytest
from support.ids import shown
from support.tasks import same

from fuload_exec import FuloadExecutor, WorkerCrashed

LARGE = 1 << 16


class Text(str): ...


class Bytes(bytes): ...


def kinds(*args, **kwargs):
    return [(type(a).__name__, len(a) if hasattr(a, "__len__") else a) for a in (*args, *kwargs.values())]


def identities(*args):
    return [a is args[0] for a in args]


def inside(array, others):
    return [other is array for other in others]


def append_and_return(array):
    array += b"!"
    return array


def die_at_first(mark, *args):
    if not os.path.exists(mark):
        open(mark, "x").close()
        os._exit(7)
    return [len(a) for a in args]


@pytest.fixture
def executor():
    with FuloadExecutor(1) as executor:
        yield executor


@pytest.mark.parametrize("size", [0, 1, 100, LARGE - 1, LARGE, LARGE + 1, 5 * LARGE, 3_000_001])
@pytest.mark.parametrize(
    "make",
    [bytes, bytearray, lambda n: "x" * n, lambda n: "é" * n, lambda n: "\U0001f600" * n],
    ids=["bytes", "bytearray", "ASCII", "Latin", "beyond"],
)
def test_there_and_back(executor, make, size):
    value = make(size)
    result = executor.submit(same, value).result()
    assert type(result) is type(value) and result == value
    if size:
        assert executor.submit(same, [value]).result() == [value]


@pytest.mark.parametrize("value", ["\ud800" * LARGE, "a" * LARGE + "\udfff", "\ud800", "\0" * LARGE], ids=shown)
def test_texts_that_utf8_does_not_know(executor, value):
    assert executor.submit(same, value).result() == value


@pytest.mark.parametrize("value", [Text("x" * LARGE), Bytes(LARGE)], ids=lambda v: type(v).__name__)
def test_their_subclasses_stay_what_they_are(executor, value):
    result = executor.submit(same, value).result()
    assert type(result).__name__ == type(value).__name__ and result == value


def test_among_others(executor):
    big = bytes(LARGE)
    expected = [
        ("bytes", LARGE),
        ("int", 7),
        ("str", LARGE),
        ("float", 1.5),
        ("bytearray", LARGE),
        ("NoneType", None),
        ("bool", True),
    ]
    assert executor.submit(kinds, big, 7, "x" * LARGE, 1.5, bytearray(LARGE), None, True).result() == expected
    assert executor.submit(kinds, big, key="x" * LARGE).result() == [("bytes", LARGE), ("str", LARGE)]
    assert executor.submit(kinds, "x" * LARGE, b"small").result() == [("str", LARGE), ("bytes", 5)]


def test_one_array_given_twice_is_one_array(executor):
    array = bytearray(LARGE)
    assert executor.submit(identities, array, array, bytearray(LARGE)).result() == [True, True, False]
    assert executor.submit(inside, array, [array, bytearray(LARGE)]).result() == [True, False]


def test_what_the_task_does_with_its_array_stays_there(executor):
    array = bytearray(LARGE)
    assert executor.submit(append_and_return, array).result() == bytes(LARGE) + b"!"
    array += b"?"  # nobody holds it
    assert array == bytes(LARGE) + b"?"


def test_they_are_sent_again(tmp_path):
    with FuloadExecutor(1, max_retries=1) as executor:
        future = executor.submit(die_at_first, str(tmp_path / "mark"), bytes(LARGE), "y" * LARGE)
        assert future.result() == [LARGE, LARGE]


def test_many_that_wait_for_a_slot():
    with FuloadExecutor(2, slots=2) as executor:
        values = [bytes([i]) * LARGE if i % 2 else chr(i) * LARGE for i in range(60)]
        assert [f.result() for f in [executor.submit(same, value) for value in values]] == values


def die(*args):
    os._exit(7)


@pytest.mark.parametrize("size", [LARGE, 3_000_000])
def test_a_crash_names_them_by_their_size(executor, size):
    arguments = [(b"x" * size, f"<{size} bytes>"), (bytearray(size), f"<{size} bytes>"), ("x" * size, f"<a text of {size} bytes>")]
    for value, said in arguments:
        with pytest.raises(WorkerCrashed) as caught:
            executor.submit(die, 3, value).result()
        assert caught.value.task == f"die(3, {said})"
        executor.submit(abs, -1).result()


@pytest.mark.parametrize("count", [3, 1000, 1_000_000])
def test_a_crash_names_an_array(executor, count):
    import numpy

    with pytest.raises(WorkerCrashed) as caught:
        executor.submit(die, 1, numpy.ones(count)).result()
    assert caught.value.task.startswith("die(1, <") and f"<{8 * count} bytes>" in caught.value.task
