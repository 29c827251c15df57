"""executor.map of a C function: chunks of calls in one task, results as
Python scalars, lazily and in order."""

from __future__ import annotations

import array
import concurrent.futures
import ctypes as c
import itertools
import math
import os

import numpy
import pytest
from oracle import same
from support.waiting import until

from fuload_exec import FuloadExecutor, NativeTask, WorkerCrashed


@pytest.fixture
def power():
    function = c.CDLL("libm.so.6").pow
    function.argtypes, function.restype = [c.c_double] * 2, c.c_double
    return function


XS, YS = [0.5 * i for i in range(1, 3000)], [float(i % 7) for i in range(2999)]
EXPECTED = [math.pow(x, y) for x, y in zip(XS, YS)]
FORMS = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda v: (x for x in v),
    "numpy": numpy.array,
    "array": lambda v: array.array("d", v),
    "ctypes": lambda v: (c.c_double * len(v))(*v),
    "memoryview": lambda v: memoryview(array.array("d", v)).toreadonly(),
    "numpy float32": lambda v: numpy.array(v, "f4"),
    "numpy strided": lambda v: numpy.repeat(numpy.array(v), 2)[::2],
    "numpy reversed": lambda v: numpy.array(v[::-1])[::-1],
    "numpy big-endian": lambda v: numpy.array(v, ">f8"),
    "numpy objects": lambda v: numpy.array(v, object),
    "array of floats": lambda v: array.array("f", v),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_that_can_be_mapped_over(power, executor, form):
    found = list(executor.map(power, FORMS[form](XS), FORMS[form](YS)))
    assert found == EXPECTED and set(map(type, found)) == {float}


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(["list", "generator", "numpy", "array"], 2)))
def test_mixed(power, one, other):
    with FuloadExecutor(2) as executor:
        assert list(executor.map(power, FORMS[one](XS), FORMS[other](YS))) == EXPECTED


@pytest.mark.parametrize("forms", list(itertools.product(["list", "iterator", "numpy"], repeat=2)), ids="-".join)
@pytest.mark.parametrize("lengths", [(0, 0), (0, 5), (5, 0), (1, 1), (10, 7), (7, 10), (2999, 100), (100, 2999)])
def test_the_shortest_ends_it(power, executor, forms, lengths):
    columns = [FORMS[form](values[:length]) for form, values, length in zip(forms, (XS, YS), lengths)]
    assert list(executor.map(power, *columns)) == EXPECTED[: min(lengths)]


def test_endless_iterables(power, executor):
    assert list(executor.map(power, itertools.repeat(2.0), range(100))) == [2.0**i for i in range(100)]
    assert list(executor.map(power, numpy.arange(5.0), itertools.repeat(2))) == [0.0, 1.0, 4.0, 9.0, 16.0]
    endless = executor.map(power, itertools.count(), itertools.repeat(2.0), buffersize=2)
    assert list(itertools.islice(endless, 500)) == [float(i * i) for i in range(500)]
    endless.close()


INTEGERS = {"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q"}


@pytest.mark.parametrize("name", INTEGERS)
def test_map_over_integers(declare, executor, name):
    ctype = getattr(c, f"c_{name}")
    function = declare(f"same_{name}", ctype, ctype)
    info = numpy.iinfo(name)
    values = [0, 1, 2, info.max, info.min, info.max - 1]
    for given in (values, numpy.array(values, name), array.array(INTEGERS[name], values), iter(values)):
        found = list(executor.map(function, given))
        assert found == values and set(map(type, found)) == {int}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_of_other_types(declare, executor, name):
    """Without loss they are converted, else they wrap around as ctypes has it."""
    ctype = getattr(c, f"c_{name}")
    function = declare(f"same_{name}", ctype, ctype)
    for other in INTEGERS:
        info = numpy.iinfo(other)
        given = numpy.array([0, 1, info.max, info.min], other)
        assert list(executor.map(function, given)) == [ctype(int(v)).value for v in given], other


def test_map_over_bools(declare, executor):
    is_even = declare("is_even", c.c_bool, c.c_uint)
    found = list(executor.map(is_even, numpy.arange(100, dtype="u4")))
    assert found == [i % 2 == 0 for i in range(100)] and set(map(type, found)) == {bool}
    same_bool = declare("same_bool", c.c_bool, c.c_bool)
    values = [True, False, True]
    for given in (values, numpy.array(values), [1, 0, "x"], [2.5, None, [0]]):
        found = list(executor.map(same_bool, given))
        assert found == values and set(map(type, found)) == {bool}


def test_floats_and_long_doubles(declare, executor):
    halve = declare("halve", c.c_float, c.c_float)
    values = [0.1, 1e38, -0.0, math.inf, 1e-45]
    expected = [halve(v) for v in values]
    for given in (values, numpy.array(values, "f4"), array.array("f", values), numpy.array(values, "f8")):
        assert all(map(same, executor.map(halve, given), expected))
    third = declare("third", c.c_longdouble, c.c_longdouble)
    for given in (values, numpy.array(values), numpy.array(values, numpy.longdouble)):
        assert all(map(same, executor.map(third, given), [third(v) for v in values]))


def test_chars_and_addresses(declare, executor):
    assert list(executor.map(declare("same_char", c.c_char, c.c_char), [b"a", b"\0", 255])) == [b"a", b"\0", b"\xff"]
    assert list(executor.map(declare("same_wchar", c.c_wchar, c.c_wchar), "h\xe9\U0001f600")) == list("h\xe9\U0001f600")
    assert list(executor.map(declare("same_address", c.c_void_p, c.c_void_p), [None, 1, 2**64 - 1])) == [None, 1, 2**64 - 1]
    assert list(executor.map(declare("same_text", c.c_char_p, c.c_char_p), [b"a", None, b""])) == [b"a", None, b""]


def test_bytes_are_numbers(declare, executor):
    assert list(executor.map(declare("same_uint8", c.c_uint8, c.c_uint8), b"abc")) == [97, 98, 99]
    assert list(executor.map(declare("same_int32", c.c_int32, c.c_int32), b"abc")) == [97, 98, 99]


def test_functions_without_a_result(declare, executor):
    assert list(executor.map(declare("nothing", None, c.c_double), range(1000))) == [None] * 1000


def test_callables_as_results(declare, executor):
    assert list(executor.map(declare("same_int32", str, c.c_int), range(100))) == [str(i) for i in range(100)]


def test_nine_arguments(declare, executor):
    nine = declare("nine", c.c_double, *[c.c_double] * 9)
    columns = numpy.arange(9 * 500.0).reshape(9, 500)
    assert list(executor.map(nine, *columns)) == [nine(*row) for row in columns.T]


def test_functions_without_arguments(executor):
    getpid = c.CDLL("libc.so.6").getpid
    getpid.argtypes, getpid.restype = [], c.c_int
    assert list(executor.map(getpid)) == []


# -- laziness -----------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 2, 7, 1000, 10**6])
@pytest.mark.parametrize("form", ["list", "numpy", "generator"])
def test_chunksize(power, executor, chunksize, form):
    assert list(executor.map(power, FORMS[form](XS[:200]), FORMS[form](YS[:200]), chunksize=chunksize)) == EXPECTED[:200]


def test_items_of_a_chunk_share_a_task(power, executor):
    assert list(executor.map(power, XS[:100], YS[:100], chunksize=10)) == EXPECTED[:100]
    assert executor.stats().submitted == 10


def test_one_slot_serves_thousands_of_calls(power, executor):
    values = numpy.ones(100_000)
    assert list(executor.map(power, values, values)) == [1.0] * 100_000
    assert executor.stats().submitted < 50


@pytest.mark.parametrize("buffersize", [1, 2, 5])
def test_buffersize(power, executor, buffersize):
    read = []

    def values():
        for x in XS[:100]:
            read.append(x)
            yield x

    results = executor.map(power, values(), YS, chunksize=4, buffersize=buffersize)
    assert len(read) == 4 * buffersize
    assert next(results) == EXPECTED[0]
    assert len(read) == 4 * (buffersize + 1)
    assert [EXPECTED[0], *results] == EXPECTED[:100]


def test_without_buffersize_all_is_submitted_at_once(power, executor):
    read = []
    results = executor.map(power, (read.append(x) or x for x in XS), YS)
    assert read == XS
    executor.shutdown()
    assert list(results) == EXPECTED


def test_arrays_may_change_when_map_has_returned(power, executor):
    xs = numpy.array(XS)
    results = executor.map(power, xs, numpy.array(YS))
    xs[:] = 0
    assert list(results) == EXPECTED


def test_an_array_may_grow_when_map_is_through(power, executor):
    xs = array.array("d", XS)
    results = executor.map(power, xs, YS)
    assert list(results) == EXPECTED
    del results
    xs.append(1.0)  # BufferError while anybody holds it


def test_closing_early(declare):
    wait = declare("same_int32", c.c_int, c.c_int)
    with FuloadExecutor(1) as executor:
        results = executor.map(wait, range(1000), chunksize=1)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        results.close()
        assert list(results) == []
        assert executor.submit(wait, 5).result() == 5
        until(lambda: (lambda s: s.completed + s.cancelled == s.submitted)(executor.stats()))


@pytest.fixture
def busy(fifo, executor):
    """The only worker waits until the descriptor is closed."""
    open_ = c.CDLL("libc.so.6").open
    open_.argtypes, open_.restype = [c.c_char_p, c.c_int], c.c_int
    held = executor.submit(open_, os.fsencode(fifo), os.O_RDONLY)
    until(held.running)
    yield
    descriptor = os.open(fifo, os.O_RDWR)
    held.result()
    os.close(descriptor)


def test_a_timeout_over_an_array(power, executor, busy):
    results = executor.map(power, numpy.array(XS), YS, timeout=0.01)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    assert list(results) == []
    # All but the task that keeps the worker busy.
    assert executor.stats().cancelled == executor.stats().submitted - 1


def test_a_timeout_over_an_array_that_is_kept(power, executor):
    assert list(executor.map(power, XS, YS, timeout=60)) == EXPECTED


# -- errors ------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["x", None, [1], 1j, b"1"])
def test_a_wrong_value(power, executor, wrong):
    with pytest.raises(TypeError, match=r"pow\(\): argument 2 \(c_double\)"):
        executor.map(power, [1.0, 2.0], [1.0, wrong])
    with pytest.raises(TypeError, match=r"pow\(\): argument 1 \(c_double\)"):
        executor.map(power, [wrong], numpy.ones(1))
    assert list(executor.map(power, XS, YS)) == EXPECTED


@pytest.mark.parametrize(
    "values",
    [
        numpy.array(["a"]),
        numpy.array(["2020-01-01"], "M8[D]"),
        numpy.zeros((2, 2)),
        numpy.zeros(2, [("a", "f8")]),
    ],
    ids=["text", "dates", "two dimensions", "records"],
)
def test_arrays_that_do_not_convert(power, executor, values):
    with pytest.raises(TypeError, match=r"pow\(\): argument 1 \(c_double\)"):
        executor.map(power, values, [1.0])


def test_an_array_without_dimensions(power, executor):
    with pytest.raises(TypeError, match="0-d|not iterable"):
        executor.map(power, numpy.array(1.0), [1.0])
    with pytest.raises(TypeError, match="not iterable"):
        executor.map(power, 1.0, [1.0])


def test_an_iterable_that_fails_beside_an_array(power, executor):
    def values():
        yield from XS[:10]
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        executor.map(power, values(), YS)
    assert list(executor.map(power, XS, YS)) == EXPECTED


@pytest.mark.parametrize("own_submit", [False, True])
@pytest.mark.parametrize("items", [[1.0], []], ids=["one", "none"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_iterables(power, executor, count, items, own_submit):
    """It is one whether or not there is a call to make."""
    if own_submit:  # as tqdm replaces it
        executor.submit = executor.submit
    with pytest.raises(TypeError, match=rf"pow\(\) takes 2 arguments \({count} given\): map\(\) needs one iterable for each"):
        executor.map(power, *[items] * count)
    assert list(executor.map(power, [], [])) == []


def test_a_wrong_number_of_iterables_for_pointers_and_tasks(declare, executor):
    for function in (declare("invert", None, c.c_void_p, c.c_size_t), NativeTask("/no/such.so", "task")):
        with pytest.raises(TypeError, match=r"takes \d arguments? \(0 given\)"):
            executor.map(function)
    assert list(executor.map(declare("nothing", None))) == []


def test_python_functions_are_mapped_as_the_standard_does(executor):
    assert list(executor.map(abs)) == list(executor.map(lambda: 1)) == []


def test_a_crash_comes_after_the_results_before_it(declare):
    careful = declare("careful", c.c_double, c.c_double)
    with FuloadExecutor(1) as executor:
        results = executor.map(careful, numpy.array([1.0, 2.0, 3.0, 4.0, -1.0, 5.0]), chunksize=2)
        assert [next(results) for _ in range(4)] == [2.0, 4.0, 6.0, 8.0]
        with pytest.raises(WorkerCrashed, match=r"careful\(2 calls\)"):
            next(results)
        assert list(results) == []
        assert list(executor.map(careful, [1.0])) == [2.0]


@pytest.mark.parametrize("max_pending", [1, 2, 10])
def test_max_pending_of_map_over_an_array(power, max_pending):
    with FuloadExecutor(2, max_pending=max_pending) as executor:
        assert list(executor.map(power, XS, YS, chunksize=50)) == EXPECTED
        assert list(executor.map(power, numpy.array(XS), numpy.array(YS), chunksize=50)) == EXPECTED


@pytest.mark.parametrize("slots", [1, 3])
def test_more_chunks_than_slots(power, slots):
    with FuloadExecutor(2, slots=slots, slot_size=64) as executor:
        assert list(executor.map(power, numpy.array(XS), YS, chunksize=10)) == EXPECTED


def test_map_over_an_array_after_shutdown(power):
    executor = FuloadExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.map(power, XS, YS)


def test_shutdown_in_between(power):
    with FuloadExecutor(1) as executor:
        results = executor.map(power, XS, YS, chunksize=100, buffersize=2)
        first = [next(results) for _ in range(100)]
    with pytest.raises(RuntimeError, match="shutdown"):
        list(results)
    assert first == EXPECTED[:100]


def test_a_replaced_submit_is_called(power, executor):
    calls = []
    submit = executor.submit

    def counted(*args):
        calls.append(args)
        return submit(*args)

    executor.submit = counted
    assert list(executor.map(power, XS[:10], YS[:10])) == EXPECTED[:10]
    assert len(calls) == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_a_result_is_there_while_the_next_call_runs(declare, workers):
    """Workers report short chunks together; the next one may take for ever."""
    nap = declare("nap", c.c_int, c.c_int)
    with FuloadExecutor(workers) as executor:
        naps = [0] + [90_000_000] * workers + [0] * 40
        results = executor.map(nap, naps, chunksize=1, timeout=30)
        assert next(results) == 0
        results.close()
        executor.kill_workers()
