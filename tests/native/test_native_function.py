"""NativeFunction: a C function as a value."""

from __future__ import annotations

import copy
import ctypes as c
import errno
import gc
import multiprocessing
import pathlib
import pickle
import re
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from support.ids import shown

from fuload_exec import FuloadExecutor, LibraryLoadError, NativeFunction, NativeTask

POW = NativeFunction("libm.so.6", "pow", c.c_double, [c.c_double, c.c_double])
MEMCMP = NativeFunction("libc.so.6", "memcmp", c.c_int, (c.c_char_p, c.c_char_p, c.c_size_t))


def test_submitted_and_called_here(executor):
    assert POW(2.0, 10.0) == executor.submit(POW, 2.0, 10.0).result() == 1024.0
    assert executor.submit(MEMCMP, b"abc", b"abd", 2).result() == MEMCMP(b"abc", b"abd", 2) == 0
    assert list(executor.map(POW, [1, 2, 3], [2, 2, 2])) == [1.0, 4.0, 9.0]
    assert executor.map_array(POW, [1, 2, 3], 2).tolist() == [1.0, 4.0, 9.0]


@pytest.mark.parametrize(
    "make", [lambda f: pickle.loads(pickle.dumps(f)), copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f, 0))]
)
def test_copies(executor, make):
    POW(1.0, 1.0)  # what it has opened here does not go along
    made = make(POW)
    assert made == POW and hash(made) == hash(POW) and repr(made) == repr(POW)
    assert made(3.0, 2.0) == executor.submit(made, 3.0, 2.0).result() == 9.0


def test_equality():
    same = NativeFunction("libm.so.6", "pow", c.c_double, (c.c_double, c.c_double))
    others = [
        NativeFunction("libm.so.6", "fmod", c.c_double, [c.c_double] * 2),
        NativeFunction("libc.so.6", "pow", c.c_double, [c.c_double] * 2),
        NativeFunction("libm.so.6", "pow", c.c_float, [c.c_double] * 2),
        NativeFunction("libm.so.6", "pow", c.c_double, [c.c_double]),
        NativeFunction("libm.so.6", "pow", c.c_double, [c.c_double] * 2, use_errno=True),
    ]
    assert same == POW and len({same, POW}) == 1
    assert all(other != POW for other in others) and len({POW, *others}) == 6
    assert POW != "pow" and POW != ("libm.so.6", "pow")


def test_a_telling_repr():
    assert repr(POW) == "<NativeFunction c_double pow(c_double, c_double) of libm.so.6>"
    nothing = NativeFunction("/usr/lib/libx.so", "run", None, [c.POINTER(c.c_int), c.c_char_p])
    assert repr(nothing) == "<NativeFunction None run(LP_c_int, c_char_p) of /usr/lib/libx.so>"


def test_from_ctypes(declare, executor, library_path):
    function = declare("add_int", c.c_int, c.c_int, c.c_int)
    made = NativeFunction.from_ctypes(function)
    assert made == NativeFunction(str(library_path), "add_int", c.c_int, [c.c_int, c.c_int])
    assert made(3, 4) == executor.submit(made, 3, 4).result() == 7
    assert pickle.loads(pickle.dumps(made)) == made


def test_from_ctypes_of_the_program(executor):
    labs = c.CDLL(None).labs
    labs.argtypes, labs.restype = [c.c_long], c.c_long
    made = NativeFunction.from_ctypes(labs)
    assert made.library.startswith("/") and "libc" in made.library
    assert executor.submit(made, -5).result() == 5


def test_from_ctypes_keeps_errno(library_path):
    function = c.CDLL(str(library_path), use_errno=True).fail_with
    function.argtypes, function.restype = [c.c_int], c.c_int
    made = NativeFunction.from_ctypes(function)
    assert made.use_errno and pickle.loads(pickle.dumps(made)).use_errno


def test_from_ctypes_loses_no_errcheck(declare):
    function = declare("add_int", c.c_int, c.c_int, c.c_int, errcheck=lambda result, function, args: -result)
    with pytest.raises(TypeError, match=r"add_int\(\).*errcheck"):
        NativeFunction.from_ctypes(function)


@pytest.mark.parametrize("wrong", [len, 5, None, "cos"], ids=shown)
def test_from_ctypes_of_something_else(wrong):
    with pytest.raises(TypeError, match="ctypes"):
        NativeFunction.from_ctypes(wrong)


def test_from_ctypes_of_something_undeclared(library):
    with pytest.raises(TypeError, match=r"add_int\(\).*argtypes"):
        NativeFunction.from_ctypes(library["add_int"])


def test_errno(library_path, executor):
    function = NativeFunction(library_path, "fail_with", c.c_int, [c.c_int], use_errno=True)
    future = executor.submit(function, errno.ENOENT)
    assert (future.result(), future.errno) == (-1, errno.ENOENT)
    assert function(errno.EPERM) == -1 and c.get_errno() == errno.EPERM
    plain = NativeFunction(library_path, "fail_with", c.c_int, [c.c_int])
    future = executor.submit(plain, errno.ENOENT)
    assert (future.result(), future.errno) == (-1, None)


def test_threads(executor):
    with ThreadPoolExecutor(2) as threads:
        assert threads.submit(POW, 2.0, 3.0).result() == 8.0
        assert list(threads.map(POW, [2.0] * 50, range(50))) == [2.0**i for i in range(50)]


def test_processes(library_path):
    add = NativeFunction(str(library_path), "add_int", c.c_int, [c.c_int, c.c_int])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as processes:
        assert processes.submit(POW, 2.0, 3.0).result() == 8.0
        assert list(processes.map(add, range(5), range(5))) == [0, 2, 4, 6, 8]


def test_as_an_argument_of_a_python_task(executor):
    assert executor.submit(map_here, POW, [1.0, 2.0]).result() == [1.0, 4.0]


def map_here(function, values):
    return [function(v, 2.0) for v in values]


def test_a_library_that_cannot_be_loaded(executor):
    missing = NativeFunction("/no/such/libmissing.so", "f", c.c_int, [])
    with pytest.raises(OSError, match="libmissing"):
        executor.submit(missing)
    with pytest.raises(OSError, match="libmissing"):
        missing()
    with pytest.raises((AttributeError, LibraryLoadError, TypeError), match="no_such_function"):
        executor.submit(NativeFunction("libm.so.6", "no_such_function", c.c_int, [])).result()
    assert executor.submit(POW, 2.0, 2.0).result() == 4.0


COS = {"library": "libm.so.6", "name": "cos", "restype": c.c_double, "argtypes": [c.c_double], "use_errno": False}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("library", value, TypeError) for value in (None, 5, 1.5, ["libm.so.6"], c.CDLL("libm.so.6"))),
        *(("library", value, ValueError) for value in ("", "libm\0.so.6")),
        *(("name", value, TypeError) for value in (None, 5, b"cos", ["cos"])),
        *(("name", value, ValueError) for value in ("", "cos\0sin")),
        *(("restype", value, TypeError) for value in (float, int, str, bytes, bool, "double", 5, c.c_double(1), [c.c_double])),
        *(("argtypes", value, TypeError) for value in (None, 5, c.c_double, float, "double", b"d", c.c_double(1))),
        *(("use_errno", value, TypeError) for value in (None, 0, 1, "yes")),
    ],
    ids=shown,
)
def test_a_bad_argument_is_named_at_once(name, value, error):
    with pytest.raises(error, match=rf"\b{name} must .*got {re.escape(repr(value))}"):
        NativeFunction(**{**COS, name: value})


@pytest.mark.parametrize("wrong", [float, "double", None, 5, c.c_double(1), [c.c_double]], ids=shown)
def test_a_bad_item_of_argtypes_is_named_at_once(wrong):
    with pytest.raises(TypeError, match=rf"argtypes must .*its item 2 is {re.escape(repr(wrong))}"):
        NativeFunction("libm.so.6", "pow", c.c_double, [c.c_double, wrong])


@pytest.mark.parametrize(
    "argtypes", [[c.c_double], (c.c_double,), iter([c.c_double]), {c.c_double: 1}], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("library", ["libm.so.6", b"libm.so.6", pathlib.Path("libm.so.6")], ids=shown)
def test_what_a_function_may_be_made_of(library, argtypes):
    assert NativeFunction(library, "cos", c.c_double, copy.copy(argtypes))(0.0) == 1.0


def test_results_converted_by_a_callable(executor, declare):
    """As in ctypes; a builtin type as restype is refused where it is written down anew."""
    labs = c.CDLL("libc.so.6").labs
    labs.argtypes, labs.restype = [c.c_long], str
    made = NativeFunction.from_ctypes(labs)
    assert made(-5) == executor.submit(made, -5).result() == pickle.loads(pickle.dumps(made))(-5) == "5"
    assert NativeFunction("libc.so.6", "labs", lambda n: n + 1, [c.c_long])(-5) == 6


@pytest.mark.parametrize(
    ("library", "name", "error", "named"),
    [
        (3, "a", TypeError, "library"),
        (["x.so"], "a", TypeError, "library"),
        ("", "a", ValueError, "library"),
        ("x\0.so", "a", ValueError, "library"),
        ("x.so", None, TypeError, "name"),
        ("x.so", b"a", TypeError, "name"),
        ("x.so", "", ValueError, "name"),
        ("x.so", "a\0", ValueError, "name"),
        (None, "", ValueError, "name"),
    ],
)
def test_a_bad_argument_of_a_task(library, name, error, named):
    value = library if named == "library" else name
    with pytest.raises(error, match=rf"\b{named} must .*got {re.escape(repr(value))}"):
        NativeTask(library, name)


@pytest.mark.parametrize(("args", "kwargs"), [((1.0,), {}), ((1.0, 2.0, 3.0), {}), ((1.0,), {"y": 2.0}), ((1.0, "x"), {})])
def test_bad_calls(executor, args, kwargs):
    with pytest.raises(TypeError, match=r"pow\(\)"):
        executor.submit(POW, *args, **kwargs)


def test_many_objects_are_one_function(library_path):
    """What the workers are told once serves all equal objects."""
    with FuloadExecutor(1) as executor:
        for i in range(5000):
            function = NativeFunction(str(library_path), "add_int", c.c_int, [c.c_int, c.c_int])
            if i % 100 == 0:
                assert executor.submit(function, i, 1).result() == i + 1


class Point(c.Structure):
    _fields_ = [("x", c.c_int), ("y", c.c_int)]


FREXP = NativeFunction("libm.so.6", "frexp", c.c_double, [c.c_double, c.POINTER(c.c_int)])


def pointer_types():
    from numpy.ctypeslib import ndpointer

    return [
        c.POINTER(c.c_int),
        c.c_int * 3,
        c.c_char * 2 * 3,
        c.POINTER(Point),
        Point * 2,
        c.POINTER(c.c_double * 4),
        ndpointer("f8", ndim=1, flags="C_CONTIGUOUS"),
        ndpointer("i4", shape=(2, 3)),
        ndpointer(),
    ]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_types_without_a_name_are_pickled(protocol):
    for ctype in pointer_types():
        made = NativeFunction("libc.so.6", "qsort", None, [ctype, c.c_size_t])
        copied = pickle.loads(pickle.dumps(made, protocol))
        assert copied == made and copied.argtypes[0] is ctype, ctype
    made = NativeFunction("libc.so.6", "f", c.POINTER(c.c_int), [])
    assert pickle.loads(pickle.dumps(made, protocol)).restype is made.restype


def frexp(function, value):
    exponent = c.c_int()
    return function(value, c.byref(exponent)), exponent.value


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pointers_on_the_standard_pool(method):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(frexp, FREXP, 48.0).result() == (0.75, 6)


def test_pointers_in_python_tasks(executor):
    assert executor.submit(frexp, FREXP, 48.0).result() == (0.75, 6)


def test_what_is_not_there():
    with pytest.raises(LibraryLoadError, match=r"no\.such\.so"):
        NativeFunction("no.such.so", "f", None, [])()
    missing = NativeFunction("libm.so.6", "no_such_function", None, [])
    with FuloadExecutor(1) as executor:
        with pytest.raises(LibraryLoadError, match="no_such_function"):
            executor.submit(missing)


def test_a_relative_path_stays_the_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = NativeFunction("./lib.so", "f", None, [])
    assert made.library == str(tmp_path / "lib.so")
    assert NativeFunction("libm.so.6", "f", None, []).library == "libm.so.6"


def test_names_of_functions_without_null_characters():
    with pytest.raises(ValueError, match="name must have no null character"):
        NativeFunction("libm.so.6", "cos\0sin", None, [])


def test_copies_are_known_by_what_they_say(monkeypatch):
    """A copy opens no library here."""
    opened = []

    class Watched(c.CDLL):
        def __init__(self, *args, **options):
            opened.append(args)
            super().__init__(*args, **options)

    monkeypatch.setattr(c, "CDLL", Watched)
    stream = pickle.dumps(NativeFunction("libm.so.6", "fabs", c.c_double, [c.c_double]))
    with FuloadExecutor(1) as executor:
        assert [executor.submit(pickle.loads(stream), -n).result() for n in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert len(opened) == 1
        assert list(executor.map(pickle.loads(stream), [-1, -2])) == [1.0, 2.0]
        other = NativeFunction("libm.so.6", "fabs", c.c_double, [c.c_double], use_errno=True)
        assert executor.submit(other, -1.0).result() == 1.0 and len(opened) == 2


def test_copies_are_not_kept():
    stream = pickle.dumps(POW)
    with FuloadExecutor(1) as executor:
        executor.submit(POW, 2.0, 3.0).result()
        copies = []
        for _ in range(1000):
            made = pickle.loads(stream)
            copies.append(weakref.ref(made))
            executor.submit(made, 2.0, 3.0).result()
            del made
        gc.collect()
        assert [ref() for ref in copies] == [None] * 1000
