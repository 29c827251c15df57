"""C functions declared with ctypes: a worker's result is what ctypes gives in
this process."""

from __future__ import annotations

import array
import ctypes
import ctypes.util
import errno
import math
import os
import signal
import struct
from concurrent.futures.process import BrokenProcessPool

import numpy
import pytest
from support.ids import shown
from support.waiting import is_alive, until

from fuload_exec import FuloadExecutor, LibraryLoadError, WorkerCrashed

INTEGERS = [
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    -128,
    -129,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64 - 1,
    2**64,
    2**64 + 5,
    10**40,
    -(10**40),
    True,
    False,
]
NAN_WITH_PAYLOAD = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
NEGATIVE_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
FLOATS = [
    0.0,
    -0.0,
    1.5,
    -1.5,
    1 / 3,
    math.pi,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1e-310,
    1.4e-45,
    1e-46,
    1e38,
    3.4e38,
    1e39,
    -1e39,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
    NAN_WITH_PAYLOAD,
    NEGATIVE_NAN,
    1,
    -7,
    2**53 + 1,
    True,
    2**64,
]
WRONG = ["1", b"12", None, [], 1.5j, object()]


class Index:
    def __index__(self):
        return 77


class Float:
    def __float__(self):
        return 0.25


class Parameter:
    def __init__(self, value):
        self._as_parameter_ = value


OBJECTS = [
    Index(),
    Float(),
    Parameter(5),
    Parameter(2.5),
    Parameter(b"x"),
    numpy.int64(9),
    numpy.float64(0.1),
    numpy.float32(0.1),
    numpy.bool_(True),
    ctypes.c_int(4),
    ctypes.c_double(4.5),
    ctypes.c_char(b"c"),
    ctypes.c_bool(True),
    ctypes.c_wchar("w"),
    ctypes.c_longdouble(0.1),
    bytearray(b"z"),
    1.5,
    "é",
    b"q",
]
TYPES = {
    "bool": (ctypes.c_bool, [*INTEGERS, *FLOATS, "", "x", [], [0]]),
    "char": (ctypes.c_char, [b"\0", b"a", b"\xff", b"", b"ab", 65, 255, 256, -1, bytearray(b"a")]),
    "wchar": (ctypes.c_wchar, ["\0", "a", "é", "€", "\U0001f600", "", "ab", 65]),
    "byte": (ctypes.c_byte, INTEGERS),
    "ubyte": (ctypes.c_ubyte, INTEGERS),
    "short": (ctypes.c_short, INTEGERS),
    "ushort": (ctypes.c_ushort, INTEGERS),
    "int": (ctypes.c_int, INTEGERS),
    "uint": (ctypes.c_uint, INTEGERS),
    "long": (ctypes.c_long, INTEGERS),
    "ulong": (ctypes.c_ulong, INTEGERS),
    "longlong": (ctypes.c_longlong, INTEGERS),
    "ulonglong": (ctypes.c_ulonglong, INTEGERS),
    "float": (ctypes.c_float, FLOATS),
    "double": (ctypes.c_double, FLOATS),
    "longdouble": (ctypes.c_longdouble, FLOATS),
    "address": (ctypes.c_void_p, [0, 1, -1, 2**63, 2**64 - 1, 2**64 + 3, None]),
}


def same(one, other) -> bool:
    """Equal to the bit, and of one type."""
    if type(one) is not type(other):
        return False
    return struct.pack("<d", one) == struct.pack("<d", other) if isinstance(one, float) else one == other


def here(function, *args):
    """(result, whether ctypes refuses the call)."""
    try:
        return function(*args), False
    except (ctypes.ArgumentError, TypeError):
        return None, True


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", ["same", "middle"])
def test_every_scalar_type(c_library, name, shape):
    ctype, values = TYPES[name]
    function = getattr(c_library, f"{shape}_{name}")
    function.restype = ctype
    function.argtypes = [ctype] if shape == "same" else [ctypes.c_byte, ctype, ctypes.c_double, ctypes.c_char]
    calls = [
        (value,) if shape == "same" else (-3, value, 1e300, b"!")
        for value in [*values, *WRONG, *OBJECTS]
        if name != "address" or not isinstance(value, (bytes, bytearray, str, Parameter, numpy.generic))
    ]
    with FuloadExecutor(1) as executor:
        sent = []
        for args in calls:
            expected, refused = here(function, *args)
            if refused:
                with pytest.raises((TypeError, OverflowError)) as caught:
                    executor.submit(function, *args)
                message = str(caught.value)
                assert function.__name__ in message, (args, message)
                assert f"argument {1 if shape == 'same' else 2}" in message, (args, message)
            else:
                sent.append((args, expected, executor.submit(function, *args)))
        for args, expected, future in sent:
            assert same(future.result(), expected), (args, future.result(), expected)


@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["positive", "negative"])
@pytest.mark.parametrize("name", ["float", "double", "longdouble"])
def test_an_int_too_large_for_a_float(c_library, name, value):
    function = getattr(c_library, f"same_{name}")
    function.restype, function.argtypes = TYPES[name][0], [TYPES[name][0]]
    with FuloadExecutor(1) as executor:
        with pytest.raises((TypeError, OverflowError), match=rf"same_{name}.*argument 1"):
            executor.submit(function, value)
        assert executor.submit(function, 1.0).result() == 1.0


def test_results_of_another_width_than_the_arguments(c_library):
    function = c_library.same_long
    with FuloadExecutor(1) as executor:
        for result in (t for t, _ in TYPES.values() if t not in (ctypes.c_float, ctypes.c_double, ctypes.c_longdouble)):
            function.argtypes, function.restype = [ctypes.c_long], result
            for value in (65, 0, 1):
                assert same(executor.submit(function, value).result(), function(value)), result


def test_subclasses_of_ctypes_types(c_library):
    class Celsius(ctypes.c_double):
        pass

    c_library.same_double.argtypes, c_library.same_double.restype = [Celsius], Celsius
    with FuloadExecutor(1) as executor:
        result = executor.submit(c_library.same_double, Celsius(36.6)).result()
    assert type(result) is Celsius and result.value == 36.6


def test_sixteen_arguments_of_mixed_types(c_library):
    function = c_library.mixed
    c = ctypes
    function.argtypes = [
        c.c_int8,
        c.c_double,
        c.c_uint16,
        c.c_float,
        c.c_int64,
        c.c_longdouble,
        c.c_uint8,
        c.c_double,
        c.c_int32,
        c.c_float,
        c.c_uint64,
        c.c_double,
        c.c_int16,
        c.c_bool,
        c.c_uint32,
        c.c_double,
    ]
    function.restype = c.c_double
    args = (-1, 2.5, 65535, 0.25, -(2**40), 1.5, 200, -8.0, -9, 10.5, 2**45, 12.25, -13, True, 2**31, 16.0)
    with FuloadExecutor(1) as executor:
        assert executor.submit(function, *args).result() == function(*args)


def test_no_arguments_and_no_result(c_library, libc):
    with FuloadExecutor(1) as executor:
        future = executor.submit(c_library.nothing)
        assert future.result() is None
        assert executor.submit(libc.getpid).result() == future.worker_pid != os.getpid()


def test_the_default_result_type_is_int(c_library):
    function = c_library.same_int
    function.argtypes = [ctypes.c_int]
    with FuloadExecutor(1) as executor:
        assert executor.submit(function, -5).result() == -5


# -- text and buffers ---------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"a", b"abc", b"\xff\xfe", b"x" * 100, b"x" * 4096, b"x" * 1_000_000, None])
def test_text_there_and_back(c_library, text):
    with FuloadExecutor(1) as executor:
        assert executor.submit(c_library.echo, text).result() == text


def test_text_ends_at_its_first_null_character(c_library, libc):
    with FuloadExecutor(1) as executor:
        assert executor.submit(c_library.echo, b"ab\0cd").result() == b"ab"
        assert executor.submit(libc.strlen, b"ab\0cd").result() == 2


def test_no_text_as_the_result(c_library):
    with FuloadExecutor(1) as executor:
        assert executor.submit(c_library.text, 2**64 - 1).result() is None
        assert executor.submit(c_library.text, 3).result() == b"xxx"


@pytest.mark.parametrize("value", ["text", 5, 1.5, bytearray(b"x"), [b"x"]])
def test_what_is_no_text(c_library, value):
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=r"echo.*argument 1"):
            executor.submit(c_library.echo, value)


def frozen(values) -> numpy.ndarray:
    made = numpy.array(values)
    made.flags.writeable = False
    return made


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"hello",
        memoryview(b"hello"),
        memoryview(b"hello world")[3:7],
        memoryview(bytearray(b"abc")).toreadonly(),
        memoryview(array.array("d", [1.5, 2.5])).toreadonly(),
        frozen([1, 2, 3]),
        frozen([[1.5, 2.5], [3.5, 4.5]]),
        frozen(numpy.arange(0)),
        frozen(numpy.zeros((3, 0))),
        frozen(2.5),
        numpy.arange(20)[4:9].__array__()[1:].copy(),
    ],
    ids=shown,
)
def test_read_only_buffers(c_library, data):
    if isinstance(data, numpy.ndarray):
        data.flags.writeable = False
    raw = bytes(data.tobytes() if isinstance(data, numpy.ndarray) else data)
    with FuloadExecutor(1) as executor:
        assert executor.submit(c_library.digest, data, len(raw)).result() == c_library.digest(raw, len(raw))
        assert executor.submit(c_library.misaligned, data).result() == 0
        assert executor.submit(c_library.is_null, data).result() == 0


def test_a_pointer_to_scalars_takes_any_buffer(c_library):
    values = [0.5 * i for i in range(1000)]
    data = array.array("d", values)
    with FuloadExecutor(1) as executor:
        for given in (bytes(data), memoryview(data).toreadonly(), frozen(values)):
            assert executor.submit(c_library.total, given, 1000).result() == sum(values)


def test_none_and_zero_are_the_null_pointer(c_library):
    with FuloadExecutor(1) as executor:
        assert executor.submit(c_library.is_null, None).result() == 1
        assert executor.submit(c_library.is_null, 0).result() == 1
        assert executor.submit(c_library.total, None, 0).result() == 0


@pytest.mark.parametrize("slot_size", [64, 100, 4096])
def test_buffers_around_the_size_of_a_slot(c_library, slot_size):
    data = os.urandom(slot_size + 130)
    sizes = range(max(0, slot_size - 130), slot_size + 130)
    with FuloadExecutor(2, slots=16, slot_size=slot_size) as executor:
        futures = [executor.submit(c_library.digest, data[:size], size) for size in sizes]
        assert [f.result() for f in futures] == [c_library.digest(data, size) for size in sizes]
        texts = [executor.submit(c_library.text, size) for size in sizes]
        assert [len(f.result()) for f in texts] == list(sizes)
        echoes = [executor.submit(c_library.echo, b"y" * size) for size in sizes]
        assert [f.result() for f in echoes] == [b"y" * size for size in sizes]


def test_large_buffers(c_library):
    data = os.urandom(10_000_000)
    expected = c_library.digest(data, len(data))
    with FuloadExecutor(2) as executor:
        futures = [executor.submit(c_library.digest, data, len(data)) for _ in range(4)]
        assert [f.result() for f in futures] == [expected] * 4
        assert executor.submit(c_library.text, 10_000_000).result() == b"x" * 10_000_000
        assert executor.submit(c_library.digest, data[:10], 10).result() == c_library.digest(data, 10)


def test_several_buffers_in_one_call(libc):
    memcmp = libc.memcmp
    memcmp.argtypes, memcmp.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t], ctypes.c_int
    one, other = os.urandom(50_000), os.urandom(50_000)
    with FuloadExecutor(1) as executor:
        assert executor.submit(memcmp, one, one, len(one)).result() == 0
        assert executor.submit(memcmp, one, memoryview(one), len(one)).result() == 0
        assert executor.submit(memcmp, one, one[:-1] + bytes([one[-1] ^ 1]), len(one)).result() != 0
        assert (executor.submit(memcmp, one, other, 50_000).result() > 0) == (one > other)


WRITABLE = {
    "bytearray": bytearray,
    "array": lambda raw: array.array("d", raw),
    "numpy": lambda raw: numpy.frombuffer(bytearray(raw)),
    "ctypes array": lambda raw: (ctypes.c_double * (len(raw) // 8)).from_buffer_copy(raw),
    "string buffer": lambda raw: ctypes.create_string_buffer(raw, len(raw)),
    "memoryview": lambda raw: memoryview(bytearray(raw)),
}


@pytest.mark.parametrize("count", [1, 3, 10_000])
@pytest.mark.parametrize("kind", WRITABLE)
def test_writable_buffers_of_every_length(c_library, kind, count):
    values = array.array("d", [0.5 * i for i in range(count)])
    data = WRITABLE[kind](values.tobytes())
    with FuloadExecutor(1) as executor:
        assert executor.submit(c_library.double_all, data, count).result() is None
        assert bytes(data) == array.array("d", [2 * v for v in values]).tobytes()
        assert executor.submit(c_library.digest, data, 8 * count).result() == c_library.digest(bytes(data), 8 * count)


def test_two_writable_buffers(c_library):
    one, other = ctypes.c_int(1), (ctypes.c_int * 3)(7, 8, 9)
    with FuloadExecutor(1) as executor:
        executor.submit(c_library.swap, ctypes.byref(one), ctypes.byref(other, 4)).result()
    assert (one.value, list(other)) == (8, [7, 1, 9])


def test_a_task_that_dies_leaves_its_buffer_untouched(c_library):
    data = bytearray(b"hello")
    with FuloadExecutor(1) as executor:
        assert type(executor.submit(c_library.spoil, data, len(data)).exception()) is WorkerCrashed
        assert data == b"hello"
        data.append(1)  # BufferError while anybody holds it


@pytest.mark.parametrize("data", [memoryview(b"abcdef")[::2], frozen(numpy.zeros((3, 4)).T), frozen(range(9))[::-1]])
def test_buffers_that_are_not_contiguous_are_refused(c_library, data):
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=r"digest.*argument 1.*contiguous"):
            executor.submit(c_library.digest, data, 0)


def test_a_refused_argument_lets_those_before_it_go(c_library):
    data = bytearray(b"abc")
    with FuloadExecutor(1) as executor:
        for wrong in ("x", None):
            with pytest.raises(TypeError, match=r"digest.*argument 2"):
                executor.submit(c_library.digest, memoryview(data).toreadonly(), wrong)
            with pytest.raises(TypeError, match=r"digest.*argument 2"):
                executor.submit(c_library.digest, data, wrong)
    data.append(1)  # BufferError while anybody holds it


# -- what is refused ------------------------------------------------------------


class Packed(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("c", ctypes.c_char), ("x", ctypes.c_int)]


class Bits(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int, 3), ("y", ctypes.c_int, 4)]


class Either(ctypes.Union):
    _fields_ = [("i", ctypes.c_int), ("f", ctypes.c_float)]


UNSUPPORTED = [
    ctypes.py_object,
    ctypes.POINTER(ctypes.POINTER(ctypes.c_int)),
    ctypes.POINTER(ctypes.c_char_p),
    ctypes.CFUNCTYPE(ctypes.c_int),
    ctypes.POINTER(ctypes.CFUNCTYPE(ctypes.c_int)),
    Packed,
    Bits,
    Either,
]


@pytest.mark.parametrize("argtype", [*UNSUPPORTED, ctypes.c_char_p * 2], ids=lambda t: t.__name__)
def test_unsupported_argument_types(libc, argtype):
    function = ctypes.CDLL("libc.so.6").labs
    function.argtypes, function.restype = [ctypes.c_int, argtype], ctypes.c_int
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=rf"labs.*argument 2.*{argtype.__name__}"):
            executor.submit(function, 1, None)
        assert executor.submit(libc.abs, -1).result() == 1


@pytest.mark.parametrize("restype", UNSUPPORTED, ids=lambda t: t.__name__)
def test_unsupported_result_types(restype):
    function = ctypes.CDLL("libc.so.6").labs
    function.argtypes, function.restype = [ctypes.c_long], restype
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=rf"labs.*result type {restype.__name__}"):
            executor.submit(function, 1)


def test_undeclared_arguments():
    function = ctypes.CDLL("libc.so.6").labs
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=r"labs.*argtypes"):
            executor.submit(function, 1)


def test_variadic_calls():
    function = ctypes.CDLL("libc.so.6").printf
    function.argtypes, function.restype = [ctypes.c_char_p], ctypes.c_int
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=r"printf.*takes 1 argument.*2 given.*variadic"):
            executor.submit(function, b"%d", 5)


@pytest.mark.parametrize("args", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_too_few_and_too_many_arguments(libm, args):
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=rf"pow.*takes 2 arguments.*{len(args)} given"):
            executor.submit(libm.pow, *args)


def test_keyword_arguments_are_refused(libm):
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match=r"cos.*keyword.*x"):
            executor.submit(libm.cos, x=1.0)
        with pytest.raises(TypeError, match=r"cos.*keyword.*x"):
            executor.submit(libm.cos, 1.0, x=1.0)


def test_functions_made_from_addresses(libc):
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    from_address = prototype(ctypes.cast(libc.abs, ctypes.c_void_p).value)
    from_address.argtypes = [ctypes.c_int]
    from_python = prototype(lambda x: x)
    from_python.argtypes = [ctypes.c_int]
    with FuloadExecutor(1) as executor:
        for function in (from_address, from_python):
            with pytest.raises(TypeError, match="address"):
                executor.submit(function, -1)


def test_functions_of_a_pydll():
    function = ctypes.pythonapi.Py_IsInitialized
    function.argtypes, function.restype = [], ctypes.c_int
    cos = ctypes.PyDLL("libm.so.6").cos
    cos.argtypes, cos.restype = [ctypes.c_double], ctypes.c_double
    with FuloadExecutor(1) as executor:
        with pytest.raises(TypeError, match="Py_IsInitialized.*PyDLL"):
            executor.submit(function)
        with pytest.raises(TypeError, match="cos.*PyDLL"):
            executor.submit(cos, 0.0)


def test_callables_as_arguments(c_library, libm):
    callback = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)
    with FuloadExecutor(1) as executor:
        for value in (callback, len, lambda: 1, libm.cos):
            with pytest.raises(TypeError, match="is_null.*argument 1"):
                executor.submit(c_library.is_null, value)
        with pytest.raises(TypeError, match="cos.*argument 1"):
            executor.submit(libm.cos, len)


# -- structures, wide text, pointers, and results that are made here ------------


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


def test_structures_by_value(c_library):
    turn = c_library.turn
    turn.argtypes, turn.restype = [Point], Point
    with FuloadExecutor(1) as executor:
        found = executor.submit(turn, Point(3, 0.5)).result()
        assert type(found) is Point and (found.x, found.y) == (-3, 1.0)
        with pytest.raises(TypeError, match="turn.*argument 1.*Point"):
            executor.submit(turn, (3, 0.5))


def test_structures_by_pointer(c_library):
    point = Point(3, 0.5)
    move = c_library.move
    move.argtypes, move.restype = [ctypes.POINTER(Point), ctypes.c_int], None
    with FuloadExecutor(1) as executor:
        for given in (point, ctypes.byref(point), ctypes.pointer(point)):
            executor.submit(move, given, 10).result()
    assert (point.x, point.y) == (33, 0.5)


@pytest.mark.parametrize("text", [None, "", "a", "h\xe9 \u20ac \U0001f600", "x" * 5000])
def test_wide_text_there_and_back(c_library, text):
    function = c_library.wide_echo
    function.argtypes, function.restype = [ctypes.c_wchar_p], ctypes.c_wchar_p
    with FuloadExecutor(1) as executor:
        assert executor.submit(function, text).result() == text


def test_what_a_pointer_points_at_comes_back(c_library):
    function = c_library.table
    function.argtypes, function.restype = [ctypes.c_int], ctypes.POINTER(ctypes.c_int * 3)
    with FuloadExecutor(1) as executor:
        found = executor.submit(function, 0).result()
        assert type(found) is function.restype and list(found.contents) == [2, 3, 5]
        assert not executor.submit(function, 1).result()


def test_a_callable_makes_the_result(c_library):
    function = c_library.same_int
    function.argtypes, function.restype = [ctypes.c_int], hex
    with FuloadExecutor(1) as executor:
        assert executor.submit(function, 255).result() == "0xff"


def test_errcheck_is_called_here():
    function = ctypes.CDLL("libc.so.6").labs
    function.argtypes, function.restype = [ctypes.c_long], ctypes.c_long
    calls = []

    def negate(result, function, args):
        calls.append((result, function, args))
        if result == 7:
            raise LookupError(result)
        return -result

    with FuloadExecutor(1) as executor:
        assert executor.submit(function, -1).result() == 1
        function.errcheck = negate
        assert executor.submit(function, -2).result() == -2
        assert calls == [(2, function, (-2,))]
        assert type(executor.submit(function, -7).exception()) is LookupError


def test_errno_of_a_ctypes_function():
    function = ctypes.CDLL("libc.so.6", use_errno=True).chdir
    function.argtypes, function.restype = [ctypes.c_char_p], ctypes.c_int
    with FuloadExecutor(1) as executor:
        future = executor.submit(function, b"/no/such/directory")
        assert (future.result(), future.errno) == (-1, errno.ENOENT)
        future = executor.submit(function, b"/")
        assert (future.result(), future.errno) == (0, 0)


def test_changed_declarations_are_noticed(c_library):
    function = c_library.same_int
    function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
    with FuloadExecutor(1) as executor:
        for _ in range(3):
            function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
            assert executor.submit(function, 300).result() == 300
            function.restype = ctypes.c_ubyte
            assert executor.submit(function, 300).result() == 44
            function.argtypes, function.restype = [ctypes.c_byte], ctypes.c_int
            assert executor.submit(function, 300).result() == 44
            function.argtypes = [ctypes.c_int, ctypes.c_int]
            with pytest.raises(TypeError, match="takes 2 arguments"):
                executor.submit(function, 300)
            function.argtypes = None
            with pytest.raises(TypeError, match="argtypes"):
                executor.submit(function, 300)


def test_function_objects_that_come_and_go(c_library_path):
    """A new object may stand where a dead one stood."""
    with FuloadExecutor(1) as executor:
        for i in range(500):
            function = ctypes.CDLL(str(c_library_path))[("same_int", "same_byte", "same_double")[i % 3]]
            ctype = (ctypes.c_int, ctypes.c_byte, ctypes.c_double)[i % 3]
            function.argtypes, function.restype = [ctype], ctype
            assert executor.submit(function, 200).result() == (200, -56, 200.0)[i % 3]


# -- where the library is ---------------------------------------------------------


def test_labs_of_the_program():
    function = ctypes.CDLL(None).labs
    function.argtypes, function.restype = [ctypes.c_long], ctypes.c_long
    with FuloadExecutor(1) as executor:
        assert executor.submit(function, -5).result() == 5


def test_a_library_that_find_library_names():
    function = ctypes.CDLL(ctypes.util.find_library("m")).cbrt
    function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    with FuloadExecutor(1) as executor:
        assert executor.submit(function, 27.0).result() == function(27.0)


TINY = "int answer(int x) { return x + %d; }\n"


def declared_answer(path) -> object:
    function = ctypes.CDLL(str(path)).answer
    function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
    return function


def test_a_relative_path_after_changing_the_directory(tmp_path, monkeypatch, compile_library):
    (tmp_path / "elsewhere").mkdir()
    compile_library(tmp_path / "libtiny.so", TINY % 1)
    monkeypatch.chdir(tmp_path)
    function = declared_answer("./libtiny.so")
    monkeypatch.chdir("elsewhere")
    with FuloadExecutor(1) as executor:
        assert executor.submit(function, 1).result() == 2


def test_two_libraries_with_a_function_of_one_name(tmp_path, compile_library):
    paths = [compile_library(tmp_path / f"lib with {n} spaces é.so", TINY % n) for n in range(3)]
    functions = [declared_answer(path) for path in paths]
    with FuloadExecutor(2) as executor:
        futures = [executor.submit(functions[i % 3], i) for i in range(300)]
        assert [f.result() for f in futures] == [i + i % 3 for i in range(300)]


def test_a_library_that_is_gone_costs_one_task(tmp_path, compile_library, libm):
    path = compile_library(tmp_path / "libgone.so", TINY % 1)
    function = declared_answer(path)
    path.unlink()
    with FuloadExecutor(1) as executor:
        assert executor.submit(libm.cos, 0.0).result() == 1.0
        pids = executor.worker_pids
        future = executor.submit(function, 1)
        with pytest.raises(LibraryLoadError, match=r"libgone\.so.*No such file") as caught:
            future.result()
        assert isinstance(caught.value, OSError)
        assert executor.submit(libm.cos, 0.0).result() == 1.0
        assert executor.worker_pids == pids
        compile_library(path, TINY % 2)
        with pytest.raises(LibraryLoadError, match="replaced"):
            executor.submit(declared_answer(path), 1).result()


def test_another_library_in_its_place(tmp_path, compile_library, libm):
    path = compile_library(tmp_path / "libother.so", TINY % 1)
    function = declared_answer(path)
    path.unlink()
    compile_library(path, "int question(int x) { return x; }\n")
    with FuloadExecutor(1) as executor:
        with pytest.raises(LibraryLoadError, match=r"libother\.so.*replaced"):
            executor.submit(function, 1).result()
        assert executor.submit(libm.cos, 0.0).result() == 1.0


# -- crashes ---------------------------------------------------------------------


@pytest.fixture
def strlen_of_address():
    function = ctypes.CDLL("libc.so.6").strlen
    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_size_t
    return function


@pytest.fixture
def exit_at_once():
    function = ctypes.CDLL("libc.so.6")._exit
    function.argtypes, function.restype = [ctypes.c_int], None
    return function


def test_a_crash_says_what_died_of_what(strlen_of_address, libm):
    with FuloadExecutor(1) as executor:
        pid = executor.submit(libm.cos, 0.0)
        pid.result()
        future = executor.submit(strlen_of_address, 0x10)
        with pytest.raises(WorkerCrashed) as caught:
            future.result()
        error = caught.value
        assert isinstance(error, BrokenProcessPool)
        assert (error.pid, error.exitcode) == (pid.worker_pid, -signal.SIGSEGV)
        assert future.worker_pid == error.pid and future.done() and not future.cancelled()
        assert "strlen" in error.task and "0x10" in error.task
        for part in (str(error.pid), "SIGSEGV", "strlen", "0x10", "crash in native code"):
            assert part in str(error)
        until(lambda: not is_alive(error.pid))
        assert executor.submit(libm.cos, 0.0).result() == 1.0
        assert error.pid not in executor.worker_pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS])
def test_death_by_a_signal(libc, number):
    with FuloadExecutor(1) as executor:
        error = executor.submit(libc.raise_, number).exception()
        assert type(error) is WorkerCrashed and error.exitcode == -number
        assert number.name in str(error) and "raise" in str(error)
        assert executor.submit(libc.abs, -1).result() == 1


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_a_task_that_exits(exit_at_once, libc, code):
    with FuloadExecutor(1) as executor:
        error = executor.submit(exit_at_once, code).exception()
        assert type(error) is WorkerCrashed and error.exitcode == code
        assert f"exit code {code}" in str(error)
        assert executor.submit(libc.abs, -1).result() == 1


@pytest.mark.parametrize("slots", [1, 4, 1024])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_crash_fails_its_own_task_alone(strlen_of_address, libc, workers, slots):
    with FuloadExecutor(workers, slots=slots) as executor:
        futures = [
            executor.submit(strlen_of_address, 0x10) if i % 100 == 50 else executor.submit(libc.abs, -i) for i in range(1000)
        ]
        for i, future in enumerate(futures):
            if i % 100 == 50:
                assert type(future.exception()) is WorkerCrashed
            else:
                assert future.result() == i


def test_workers_killed_from_outside(gate, open_gate, libc):
    with FuloadExecutor(2) as executor, gate:
        held = executor.submit(open_gate, gate.raw_path, os.O_RDONLY)
        until(held.running)
        before = [executor.submit(libc.abs, -i) for i in range(50)]
        until(lambda: held.worker_pid or executor.stats().completed == 50)
        busy = [worker.pid for worker in executor.stats().workers if worker.state == "busy"]
        assert len(busy) == 1
        os.kill(busy[0], signal.SIGKILL)
        error = held.exception()
        assert type(error) is WorkerCrashed and (error.pid, error.exitcode) == (busy[0], -signal.SIGKILL)
        assert "open" in error.task and "SIGKILL" in str(error)
        assert [f.result() for f in before] == list(range(50))
        assert executor.submit(libc.abs, -7).result() == 7


def test_idle_workers_killed_from_outside(libc):
    with FuloadExecutor(2) as executor:
        for _ in range(5):
            assert [executor.submit(libc.abs, -i).result() for i in range(3)] == [0, 1, 2]
            for pid in executor.worker_pids:
                os.kill(pid, signal.SIGKILL)
            assert [executor.submit(libc.abs, -i).exception() or i for i in range(3)][1:] == [1, 2]


def test_five_crashes_in_a_row_break_the_pool(libc):
    with FuloadExecutor(1) as executor:
        errors = [executor.submit(libc.raise_, signal.SIGKILL).exception() for _ in range(5)]
        assert [type(e) for e in errors] == [WorkerCrashed] * 5
        with pytest.raises(BrokenProcessPool) as caught:
            for _ in range(2):
                executor.submit(libc.abs, -1).result()
        assert type(caught.value) is BrokenProcessPool and "row" in str(caught.value)


def test_crashes_with_work_between_them_break_nothing(libc):
    with FuloadExecutor(1) as executor:
        for i in range(12):
            assert type(executor.submit(libc.raise_, signal.SIGKILL).exception()) is WorkerCrashed
            assert executor.submit(libc.abs, -i).result() == i


def test_a_class_with_attributes_of_its_own(libm):
    """What is declared is what its attributes say, wherever they come from."""

    class Declared(ctypes._CFuncPtr):
        _flags_ = ctypes._FUNCFLAG_CDECL
        _restype_ = ctypes.c_int
        given = (ctypes.c_double,)
        argtypes = property(lambda self: self.given)
        restype = ctypes.c_double
        errcheck = None

    cos = Declared(("cos", libm))
    cos.__name__ = "cos"
    with FuloadExecutor(1) as executor:
        assert [executor.submit(cos, 0.0).result() for _ in range(3)] == [1.0] * 3
        Declared.given = (ctypes.c_double, ctypes.c_double)
        with pytest.raises(TypeError, match="takes 2 arguments"):
            executor.submit(cos, 0.0)
