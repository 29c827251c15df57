"""Result types, errcheck and errno."""

from __future__ import annotations

import ctypes as c
import enum
import errno

import pytest
from oracle import check, same
from support.ids import shown


@pytest.mark.parametrize(
    "restype",
    [
        c.c_bool,
        c.c_char,
        c.c_wchar,
        c.c_byte,
        c.c_ubyte,
        c.c_short,
        c.c_ushort,
        c.c_int,
        c.c_uint,
        c.c_long,
        c.c_ulong,
        c.c_longlong,
        c.c_ulonglong,
        c.c_size_t,
        c.c_ssize_t,
        c.c_void_p,
    ],
    ids=lambda t: t.__name__,
)
def test_a_result_of_another_width(declare, executor, restype):
    function = declare("same_int64", restype, c.c_int64)
    for value in (0, 1, 65, 0x1_0001):
        check(executor, function, value)


def test_addresses_as_results(declare, executor):
    function = declare("same_address", c.c_void_p, c.c_void_p)
    assert executor.submit(function, None).result() is None
    assert executor.submit(function, 2**64 - 1).result() == 2**64 - 1


def test_wide_texts(declare, executor):
    function = declare("wide_text", c.c_wchar_p, c.c_int)
    assert [executor.submit(function, i).result() for i in range(3)] == [None, "", "h\xe9 \U0001f600"]


def test_pointers(declare, executor):
    function = declare("numbers", c.POINTER(c.c_int), c.c_int)
    found = executor.submit(function, 0).result()
    assert type(found) is c.POINTER(c.c_int) and found[0] == 1
    none = executor.submit(function, 1).result()
    assert type(none) is c.POINTER(c.c_int) and not none


def test_pointers_to_arrays(declare, executor):
    found = executor.submit(declare("numbers", c.POINTER(c.c_int * 4), c.c_int), 0).result()
    assert list(found.contents) == [1, -2, 3, -4]
    found.contents[0] = 100  # a copy that is one's own
    assert executor.submit(declare("numbers", c.POINTER(c.c_int * 4), c.c_int), 0).result().contents[0] == 1


def test_a_pointer_to_too_much(declare, executor):
    with pytest.raises(TypeError, match=r"numbers\(\): the result type.*70000 bytes.*65535"):
        executor.submit(declare("numbers", c.POINTER(c.c_uint8 * 70_000), c.c_int), 0)


# -- callables --------------------------------------------------------------------


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize("restype", [lambda n: n * 10, str, Color, int, bool, hex], ids=shown)
def test_a_callable_as_the_result_type(declare, executor, restype):
    """It is called with the int that the function returned, here."""
    function = declare("add_int", restype, c.c_int, c.c_int)
    check(executor, function, 1, 1)
    check(executor, function, 2, -1)


def test_a_callable_that_raises(declare, executor):
    def refuse(number):
        if number < 0:
            raise LookupError(number)
        return number

    function = declare("same_int32", refuse, c.c_int)
    assert executor.submit(function, 3).result() == 3
    error = executor.submit(function, -3).exception()
    assert type(error) is LookupError and error.args == (-3,)


def test_errcheck(declare, executor):
    calls = []

    def double(result, function, args):
        calls.append((result, function, args))
        return 2 * result

    function = declare("add_int", c.c_int, c.c_int, c.c_int, errcheck=double)
    future = executor.submit(function, 3, 4)
    assert future.result() == future.result() == 14
    assert calls == [(7, function, (3, 4))]


def test_errcheck_that_raises(declare, executor):
    def refuse(result, function, args):
        raise ValueError(f"{function.__name__}{args} gave {result}")

    function = declare("add_int", c.c_int, c.c_int, c.c_int, errcheck=refuse)
    future = executor.submit(function, 3, 4)
    with pytest.raises(ValueError, match=r"add_int\(3, 4\) gave 7"):
        future.result()
    assert type(future.exception()) is ValueError


def test_errcheck_that_gives_the_arguments_back(declare, executor):
    """As ctypes has it, that means to go on with the result."""
    function = declare("add_int", c.c_int, c.c_int, c.c_int, errcheck=lambda result, function, args: args)
    check(executor, function, 3, 4)


def test_errcheck_reads_what_the_call_wrote(declare, executor):
    function = declare("put", c.c_int, c.POINTER(c.c_int), c.c_int, errcheck=lambda result, function, args: (result, args[0].value))
    assert executor.submit(function, c.c_int(5), 6).result() == (5, 6)


def test_errcheck_after_other_results(declare, executor):
    def wrap(result, function, args):
        return [result]

    assert executor.submit(declare("nothing", None, c.c_double, errcheck=wrap), 1.0).result() == [None]
    assert executor.submit(declare("same_text", c.c_char_p, c.c_char_p, errcheck=wrap), b"abc").result() == [b"abc"]
    assert executor.submit(declare("same_double", c.c_double, c.c_double, errcheck=wrap), 0.5).result() == [0.5]


def test_errcheck_set_and_taken_away(declare, executor):
    function = declare("add_int", c.c_int, c.c_int, c.c_int)
    assert executor.submit(function, 3, 4).result() == 7
    function.errcheck = lambda result, function, args: -result
    assert executor.submit(function, 3, 4).result() == -7
    del function.errcheck
    assert executor.submit(function, 3, 4).result() == 7


def test_map_with_errcheck(declare, executor):
    function = declare("add_int", c.c_int, c.c_int, c.c_int, errcheck=lambda result, function, args: -result)
    assert list(executor.map(function, range(5), range(5))) == [0, -2, -4, -6, -8]


# -- errno ------------------------------------------------------------------------


@pytest.fixture
def with_errno(library_path):
    library = c.CDLL(str(library_path), use_errno=True)
    library.fail_with.argtypes, library.fail_with.restype = [c.c_int], c.c_int
    library.look_at_errno.argtypes, library.look_at_errno.restype = [], c.c_int
    return library


def test_errno_of_a_future(with_errno, executor):
    for number in (errno.ENOENT, errno.EINTR, 0, 5000):
        future = executor.submit(with_errno.fail_with, number)
        assert future.result() == (-1 if number else 0)
        assert future.errno == number


def test_errno_is_nobody_elses(with_errno, executor):
    """Each call begins with 0, and this process's own errno stays."""
    c.set_errno(77)
    executor.submit(with_errno.fail_with, 5).result()
    future = executor.submit(with_errno.look_at_errno)
    assert (future.result(), future.errno) == (0, 0)
    assert c.get_errno() == 77


def test_errno_with_buffers(library_path, tmp_path, executor):
    getcwd = c.CDLL("libc.so.6", use_errno=True).getcwd
    getcwd.argtypes, getcwd.restype = [c.c_char_p, c.c_size_t], c.c_char_p
    future = executor.submit(getcwd, c.create_string_buffer(1), 1)
    assert future.result() is None and future.errno == errno.ERANGE


def test_no_errno_where_none_was_asked_for(declare, executor):
    future = executor.submit(declare("fail_with", c.c_int, c.c_int), 5)
    assert future.result() == -1 and future.errno is None


def test_errno_comes_to_map_too(with_errno, executor):
    assert list(executor.map(with_errno.fail_with, [0, 1, 0])) == [0, -1, 0]


def test_results_are_made_once(declare, executor):
    """The same object every time somebody asks."""
    future = executor.submit(declare("numbers", c.POINTER(c.c_int), c.c_int), 0)
    assert future.result() is future.result()
    assert same(executor.submit(declare("same_double", c.c_double, c.c_double), 0.5).result(), 0.5)


def test_errcheck_asks_for_errno(declare, library_path, executor):
    """The usual idiom: the errno of this call, and the thread's own is left alone."""

    def check(result, function, arguments):
        if result < 0:
            raise OSError(c.get_errno(), "failed")
        return result

    library = c.CDLL(str(library_path), use_errno=True)
    fail = library.fail_with
    fail.argtypes, fail.restype, fail.errcheck = [c.c_int], c.c_int, check
    with pytest.raises(OSError) as here:
        fail(5)
    c.set_errno(77)
    with pytest.raises(OSError) as there:
        executor.submit(fail, 5).result()
    assert there.value.errno == here.value.errno == 5 and c.get_errno() == 77


def test_the_other_byte_order(declare, executor):
    for ctype in (c.c_int32.__ctype_be__, c.c_uint16.__ctype_be__):
        function = declare("truth", ctype, c.c_int)
        assert same(executor.submit(function, 1).result(), function(1)), ctype


def test_variant_bool(declare, executor):
    from ctypes.wintypes import VARIANT_BOOL

    function = declare("same_int16", VARIANT_BOOL, VARIANT_BOOL)
    for value in (True, False, 0, 5):
        assert executor.submit(function, value).result() is function(value)
