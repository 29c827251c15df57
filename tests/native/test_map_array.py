"""executor.map_array: a C function over arrays, as NumPy would do it."""

from __future__ import annotations

import ctypes as c
import os
import signal
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ids import shown
from support.waiting import until

from fuload_exec import FuloadExecutor, PayloadTooLarge, TaskTimeout, WorkerCrashed

relaxed = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.fixture
def power():
    function = c.CDLL("libm.so.6").pow
    function.argtypes, function.restype = [c.c_double] * 2, c.c_double
    return function


def equal(found, expected):
    return (
        type(found) is numpy.ndarray
        and found.dtype == expected.dtype
        and found.shape == expected.shape
        and found.tobytes() == expected.tobytes()
    )


@given(data=st.binary(max_size=4000))
@relaxed
def test_every_bit(declare, executor, data):
    """NaNs with their payloads, subnormals, all of it."""
    values = numpy.frombuffer(data[: len(data) // 8 * 8])
    assert equal(executor.map_array(declare("same_double", c.c_double, c.c_double), values), values)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 15, 17, 32768, 32769, 1_000_000])
def test_sizes(declare, workers, count):
    careful = declare("careful", c.c_double, c.c_double)
    values = numpy.arange(float(count))
    with FuloadExecutor(workers) as executor:
        assert equal(executor.map_array(careful, values), 2 * values)


A, B = numpy.arange(12.0).reshape(3, 4), numpy.arange(4.0)
BROADCAST = {
    "two arrays": (A, A / 4),
    "a row": (A, B),
    "a column": (A, A[:, :1]),
    "scalars": (2.0, 3),
    "a scalar and an array": (2, B),
    "no dimensions": (numpy.array(2.0), B),
    "none at all": (numpy.array(2.0), numpy.array(3.0)),
    "lists": ([1, 2, 3], [[1], [2]]),
    "strided": (A[:, ::2], 2.0),
    "transposed": (A.T, 2),
    "reversed": (A[::-1], A[:, ::-1] / 3),
    "empty": (numpy.zeros((0, 3)), 1.0),
    "Fortran": (numpy.asfortranarray(A), A),
    "a broadcast view": (numpy.broadcast_to(B, (5, 4)), 2.0),
    "one item": ([3.0], [[2.0]]),
    "float32": (A.astype("f4"), 2.0),
    "integers": (numpy.arange(5), numpy.int8(2)),
    "bools": (numpy.array([True, False]), 2),
    "big-endian": (A.astype(">f8"), 2.0),
    "ranges": (range(4), range(4)),
    "bytes in between": (B, True),
}


@pytest.mark.parametrize("name", BROADCAST)
def test_broadcasting(power, executor, name):
    given_ = BROADCAST[name]
    columns = numpy.broadcast_arrays(*(numpy.asarray(a, "f8") for a in given_))
    expected = numpy.array([power(x, y) for x, y in zip(*(col.ravel().tolist() for col in columns))]).reshape(columns[0].shape)
    assert equal(executor.map_array(power, *given_), expected)


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_arrays_of_integers(declare, executor, name):
    ctype = getattr(c, f"c_{name}")
    info = numpy.iinfo(name)
    values = numpy.array([0, 1, info.max, info.min, 7] * 100, name)
    same = declare(f"same_{name}", ctype, ctype)
    assert equal(executor.map_array(same, values), values)
    assert equal(executor.map_array(same, 5), numpy.array(5, name))


def test_several_integer_types(declare, executor):
    scale = declare("scale", c.c_int64, c.c_int8, c.c_int64)
    a, b = numpy.arange(-128, 128, dtype="i1"), numpy.arange(256) * 2**50
    assert equal(executor.map_array(scale, a, b), a.astype("i8") * b)
    assert equal(executor.map_array(scale, -3, b), -3 * b)
    add = declare("add_int", c.c_int, c.c_int, c.c_int)
    c32 = numpy.arange(1000, dtype="i4")
    assert equal(executor.map_array(add, c32, 5), c32 + numpy.int32(5))


def test_arrays_of_floats(declare, executor):
    values = numpy.linspace(-1, 1, 1001, dtype="f4")
    assert equal(executor.map_array(declare("halve", c.c_float, c.c_float), values), values / numpy.float32(2))
    assert equal(
        executor.map_array(declare("halve", c.c_float, c.c_float), 0.1), numpy.array(numpy.float32(0.1) / numpy.float32(2))
    )


def test_arrays_of_long_doubles(declare, executor):
    third = declare("third", c.c_longdouble, c.c_longdouble)
    values = numpy.arange(100, dtype=numpy.longdouble) + numpy.longdouble(1) / 7
    found = executor.map_array(third, values)
    assert found.dtype == numpy.longdouble and (found == values / 3).all()
    assert executor.map_array(third, 1) == numpy.longdouble(1) / 3
    assert (executor.map_array(third, [1, 2.5]) == numpy.array([1, 2.5], numpy.longdouble) / 3).all()


def test_arrays_of_bools(declare, executor):
    found = executor.map_array(declare("is_even", c.c_bool, c.c_uint), numpy.arange(100, dtype="u4"))
    assert equal(found, numpy.arange(100) % 2 == 0)
    assert equal(executor.map_array(declare("same_bool", c.c_bool, c.c_bool), [True, False]), numpy.array([True, False]))


def test_nine_arrays(declare, executor):
    nine = declare("nine", c.c_double, *[c.c_double] * 9)
    columns = [float(i) if i % 2 else numpy.arange(100.0) + i for i in range(9)]
    assert equal(executor.map_array(nine, *columns), sum((i + 1) * col for i, col in enumerate(columns)) + numpy.zeros(100))


def test_all_workers_help(declare):
    """Also more of them than CPUs, if the function blocks."""
    nap = declare("nap", c.c_int, c.c_int)
    with FuloadExecutor(10) as executor:
        assert (executor.map_array(nap, numpy.full(160, 20_000, "i4")) == 20_000).all()
        assert sum(w.tasks_done > 0 for w in executor.stats().workers) == 10


def region_bytes():
    """What the pools of this process have in memory."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(link).startswith("/memfd:fuload"):
                found += os.stat(link).st_blocks * 512
        except FileNotFoundError:
            pass
    return found


@pytest.mark.stress
def test_long_arrays_take_no_more_memory(declare):
    same = declare("same_double", c.c_double, c.c_double)
    values = numpy.arange(8_000_000.0)
    with FuloadExecutor(2) as executor:
        assert equal(executor.map_array(same, values), values)
        assert region_bytes() < values.nbytes


# -- out ---------------------------------------------------------------------------


def test_out(power, executor):
    out = numpy.empty((3, 4))
    assert executor.map_array(power, A, 2, out=out) is out
    assert (out == A**2).all()


def test_a_part_of_an_array_as_out(power, executor):
    whole = numpy.zeros((5, 4))
    out = whole[1:4]
    assert executor.map_array(power, A, 2, out=out) is out
    assert (whole[1:4] == A**2).all() and not whole[0].any() and not whole[4].any()


def test_map_array_in_place(power, executor):
    values = numpy.arange(100_000.0)
    executor.map_array(power, values, 2, out=values)
    assert (values == numpy.arange(100_000.0) ** 2).all()


@pytest.mark.parametrize("shift", [-1, 1])
def test_out_that_overlaps(power, shift):
    """As with NumPy, all is read before anything is written."""
    whole = numpy.arange(200_001.0)
    given_, out = (whole[:-1], whole[1:]) if shift > 0 else (whole[1:], whole[:-1])
    expected = given_ + 0
    with FuloadExecutor(2, max_pending=2) as executor:
        executor.map_array(power, given_, 1, out=out)
    assert (out == expected).all()


def read_only():
    made = numpy.empty((3, 4))
    made.flags.writeable = False
    return made


@pytest.mark.parametrize(
    "out",
    [
        numpy.empty((3, 4), "f4"),
        numpy.empty((3, 4), "i8"),
        numpy.empty((3, 4), ">f8"),
        numpy.empty((4, 3)),
        numpy.empty(12),
        numpy.empty((1, 3, 4)),
        numpy.empty((4, 3)).T,
        numpy.empty((3, 8))[:, ::2],
        read_only(),
        bytearray(96),
        [0.0] * 12,
    ],
    ids=[
        "float32",
        "int64",
        "big-endian",
        "shape",
        "flat",
        "more dimensions",
        "transposed",
        "strided",
        "read-only",
        "bytearray",
        "list",
    ],
)
def test_what_cannot_be_out(power, executor, out):
    with pytest.raises(ValueError, match=r"out must be .*(float64|C-contiguous|writable)"):
        executor.map_array(power, A, 2, out=out)
    assert executor.stats().submitted == 0


# -- errors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ctype", "name", "values"),
    [
        (c.c_int32, "same_int32", numpy.array([0.5])),
        (c.c_int32, "same_int32", 0.5),
        (c.c_double, "same_double", numpy.array([1j])),
        (c.c_double, "same_double", "text"),
        (c.c_double, "same_double", ["1"]),
        (c.c_double, "same_double", None),
        (c.c_double, "same_double", numpy.array(["2020-01-01"], "M8[D]")),
        (c.c_bool, "same_bool", numpy.array([2])),
        (c.c_uint32, "same_uint32", numpy.array([-1])),
        (c.c_double, "same_double", numpy.array([object()])),
    ],
    ids=shown,
)
def test_items_that_do_not_convert(declare, executor, ctype, name, values):
    with pytest.raises(TypeError, match=rf"{name}\(\).*argument 1"):
        executor.map_array(declare(name, ctype, ctype), values)
    assert executor.stats().submitted == 0


def test_shapes_that_do_not_go_together(power, executor):
    with pytest.raises(ValueError, match="broadcast"):
        executor.map_array(power, numpy.zeros(3), numpy.zeros(4))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_arrays(power, executor, count):
    with pytest.raises(TypeError, match=rf"pow\(\) takes 2 arrays or numbers \({count} given\)"):
        executor.map_array(power, *[B] * count)


def test_functions_that_cannot_be_mapped(declare, executor):
    refused = [
        declare("nothing", None, c.c_double),
        declare("same_text", c.c_char_p, c.c_char_p),
        declare("invert", None, c.c_void_p, c.c_size_t),
        declare("same_char", c.c_char, c.c_char),
        abs,
        len,
        declare("same_int32", str, c.c_int),
        declare("add_int", c.c_int, c.c_int, c.c_int, errcheck=lambda r, f, a: r),
    ]
    for function in refused:
        with pytest.raises(TypeError, match=rf"{function.__name__}.*C function of numbers"):
            executor.map_array(function, B)


def test_undeclared_functions_over_arrays(library, executor):
    with pytest.raises(TypeError, match=r"add_int\(\).*argtypes"):
        executor.map_array(library["add_int"], B, B)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash(declare, workers):
    careful = declare("careful", c.c_double, c.c_double)
    values = numpy.ones(200_000)
    values[150_000] = -1
    out = numpy.zeros(200_000)
    with FuloadExecutor(workers) as executor:
        for _ in range(3):
            with pytest.raises(WorkerCrashed, match=r"careful\(\d+ calls\)"):
                executor.map_array(careful, values, out=out)
            written = out.copy()
            assert set(numpy.unique(written)) <= {0.0, 2.0}
            assert (executor.map_array(careful, numpy.ones(100_000)) == 2).all()
            assert (out == written).all()  # nothing comes late
        stats = executor.stats()
        assert stats.completed + stats.failed + stats.cancelled == stats.submitted


@pytest.mark.parametrize("max_pending", [1, 2])
def test_max_pending(power, max_pending):
    values = numpy.arange(300_000.0)
    with FuloadExecutor(2, max_pending=max_pending) as executor:
        assert equal(executor.map_array(power, values, 2), values**2)


@pytest.mark.parametrize("options", [{"slots": 1}, {"slots": 3, "slot_size": 64}])
def test_few_slots(power, options):
    values = numpy.arange(300_000.0)
    with FuloadExecutor(2, **options) as executor:
        assert equal(executor.map_array(power, values, 2), values**2)


@pytest.mark.parametrize("max_payload", [128, 4096, 100_000])
def test_chunks_fit_the_payload(power, max_payload):
    values = numpy.arange(3000.0)
    with FuloadExecutor(2, max_payload=max_payload, slot_size=64) as executor:
        assert equal(executor.map_array(power, values, 2), values**2)
        assert list(executor.map(power, values, values % 3)) == [power(x, x % 3) for x in values.tolist()]


def test_what_does_not_fit_alone(power):
    with FuloadExecutor(1, max_payload=40) as executor:
        with pytest.raises(PayloadTooLarge, match="max_payload is 40"):
            executor.map_array(power, B, 2)
        assert executor.submit(power, 2, 3).result() == 8


@pytest.mark.parametrize("options", [{"timeout": 0.6}, {"max_retries": 1, "timeout": 0.6}], ids=["timeout", "retries"])
def test_a_timeout_is_a_calls(declare, options):
    nap = declare("nap", c.c_int, c.c_int)
    naps = numpy.full(40, 30_000, "i4")
    with FuloadExecutor(1) as executor:
        limited = executor.options(**options)
        assert equal(limited.map_array(nap, naps), naps)
        naps[3] = 60_000_000
        with pytest.raises(TaskTimeout, match=r"nap\(1 call\)"):
            limited.map_array(nap, naps)
        assert executor.stats().unfinished == 0


def test_map_array_after_shutdown(power):
    executor = FuloadExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.map_array(power, B, 2)


def test_arrays_are_let_go(power, executor):
    """Nothing of the inputs or the result is held afterwards."""
    import array

    data = array.array("d", range(100))
    executor.map_array(power, data, 2)
    until(lambda: executor.stats().completed == executor.stats().submitted)
    data.append(1)


def test_bools_are_bools(declare, executor):
    """C has other truths than 1; NumPy has not."""
    truth = declare("truth", c.c_bool, c.c_int)
    found = executor.map_array(truth, numpy.array([0, 1, 2, 255], "i4"))
    assert found.dtype == bool and found.tobytes() == b"\0\1\1\1"
    out = numpy.zeros(4, bool)
    executor.map_array(truth, numpy.array([0, 1, 2, 255], "i4"), out=out)
    assert out.tobytes() == b"\0\1\1\1"


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_as_out(power, executor):
    out = numpy.matrix(numpy.zeros((2, 2)))
    assert executor.map_array(power, [[1, 2], [3, 4]], 2, out=out) is out
    assert out.tolist() == [[1, 4], [9, 16]]


# It may do so while the interpreter closes a generator, which can only say so.
@pytest.mark.stress
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_handler_that_raises(declare):
    """Whenever it does: nothing of the call is under way afterwards."""

    class Stop(Exception):
        pass

    def stop(signum, frame):
        raise Stop

    same = declare("same_double", c.c_double, c.c_double)
    values = numpy.ones(400_000)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with FuloadExecutor(2) as executor:
            for turn in range(150):
                out = numpy.zeros(len(values))
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0002 + turn % 50 * 0.0001)
                    executor.map_array(same, values, out=out)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Stop:
                    pass
                written = out.copy()
                executor.map_array(same, values[:50_000])
                assert (out == written).all(), turn
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
