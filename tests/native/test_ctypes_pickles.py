"""ctypes functions and libraries inside Python tasks: by path and name, with
what is declared of them, in both directions."""

from __future__ import annotations

import ctypes
import functools
import pickle
import subprocess
import textwrap

import numpy
import pytest
from ctypes_pickles_tasks import Library, apply, refuse_minus_one
from support.ids import shown
from support.tasks import same

from fuload_exec import FuloadExecutor


@pytest.fixture
def executor():
    with FuloadExecutor(1) as made:
        yield made


@pytest.fixture
def errno_libc():
    library = ctypes.CDLL("libc.so.6", use_errno=True)
    library.rmdir.argtypes, library.rmdir.restype = [ctypes.c_char_p], ctypes.c_int
    return library


def describe(function):
    return function.__name__, function.argtypes, function.restype, function.errcheck, type(function)._flags_


def test_a_function_in_a_partial(executor, libm):
    assert executor.submit(functools.partial(libm.pow, 2.0), 3.0).result() == 8.0
    assert list(executor.map(functools.partial(libm.pow, 2.0), range(4))) == [1.0, 2.0, 4.0, 8.0]


def test_a_function_as_an_argument(executor, libm):
    assert executor.submit(apply, libm.pow, 2.0, 3.0).result() == 8.0
    assert executor.submit(apply, function=libm.pow).exception() is not None
    assert executor.submit(sorted, [3.0, 1.0], key=libm.cos).result() == [3.0, 1.0]
    assert executor.submit(list, map(libm.fabs, [-1.0])).result() == [1.0]


def test_a_function_in_containers_and_as_a_result(executor, libm):
    given = {"a": [libm.pow, libm.pow], "b": (libm, 1)}
    result = executor.submit(same, given).result()
    assert result["a"][0] is result["a"][1] and result["a"][0](2.0, 3.0) == 8.0
    assert describe(result["a"][0]) == describe(libm.pow)
    assert type(result["b"][0]) is ctypes.CDLL and result["b"][0].pow(2.0, 3.0) == 8.0


def test_a_function_that_a_worker_has_opened(executor):
    def open_it():
        import ctypes

        function = ctypes.CDLL("libm.so.6").fabs
        function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
        return function

    assert executor.submit(open_it).result()(-3.0) == 3.0


def test_a_library_around_a_function_that_goes_by_value(executor, libm):
    def twice(x):
        return 2 * libm.pow(x, 2.0)

    assert executor.submit(twice, 3.0).result() == 18.0
    assert executor.submit(lambda: libm.fabs(-1.0)).result() == 1.0


@pytest.mark.parametrize(
    "argtypes",
    [
        None,
        [],
        [ctypes.c_int, ctypes.c_char_p],
        [ctypes.POINTER(ctypes.c_double), ctypes.c_double * 3],
        [ctypes.POINTER(ctypes.POINTER(ctypes.c_int))],
        [numpy.ctypeslib.ndpointer(dtype="f8", ndim=2, flags="C")],
        [ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p), ctypes.py_object],
    ],
    ids=shown,
)
def test_declarations_go_along(executor, argtypes):
    function = ctypes.CDLL("libc.so.6").qsort
    function.argtypes = argtypes
    assert describe(executor.submit(same, function).result()) == describe(function)
    function.restype = None
    assert describe(executor.submit(same, [function]).result()[0]) == describe(function)


def test_a_callback_made_in_the_task(executor):
    libc = ctypes.CDLL("libc.so.6")
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    libc.qsort.argtypes = [ctypes.POINTER(ctypes.c_int), ctypes.c_size_t, ctypes.c_size_t, compare]
    libc.qsort.restype = None

    def sort(values):
        array = (ctypes.c_int * len(values))(*values)
        libc.qsort(array, len(array), 4, libc.qsort.argtypes[3](lambda a, b: a[0] - b[0]))
        return list(array)

    assert executor.submit(sort, [3, 1, 2]).result() == [1, 2, 3]


def test_errno_and_errcheck(executor, errno_libc):
    errno_libc.rmdir.errcheck = refuse_minus_one
    error = executor.submit(apply, errno_libc.rmdir, b"/no/such/directory").exception()
    assert type(error) is FileNotFoundError and error.args[1] == "rmdir"
    # A function without a name goes by value.
    errno_libc.rmdir.errcheck = lambda result, function, args: (result, args)
    assert executor.submit(apply, errno_libc.rmdir, b"/no/such").result() == (-1, (b"/no/such",))


def test_the_python_api(executor):
    length = ctypes.pythonapi["PyObject_Size"]
    length.argtypes, length.restype = [ctypes.py_object], ctypes.c_ssize_t
    assert executor.submit(apply, length, "four").result() == 4
    assert describe(executor.submit(same, length).result()) == describe(length)
    assert type(executor.submit(same, ctypes.pythonapi).result()) is ctypes.PyDLL


def test_a_library_class_of_the_programs_own(executor):
    library = executor.submit(same, Library()).result()
    assert type(library) is Library and library.colour == "red" and type(library.cos)._flags_ & 8


def test_a_relative_path_is_the_same_file_in_another_directory(executor, tmp_path, monkeypatch):
    (tmp_path / "answer.c").write_text("int answer(void) { return 42; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "answer.so", "answer.c"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    library = ctypes.CDLL("./answer.so")
    monkeypatch.chdir("/")
    assert executor.submit(apply, library.answer).result() == 42
    assert executor.submit(same, library).result().answer() == 42


def test_initargs(libm):
    with FuloadExecutor(1, initializer=lambda f: globals().update(f=f), initargs=(libm.pow,)) as executor:
        assert executor.submit(eval, "1 + 1").result() == 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ctypes.CFUNCTYPE(ctypes.c_int)(int), "stands for a Python function of this process"),
        (
            lambda: ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value),
            "made from an address",
        ),
        (lambda: ctypes.cast(ctypes.CDLL(None).getpid, ctypes.CFUNCTYPE(ctypes.c_int)), "take it from the library"),
        (lambda: ctypes.CFUNCTYPE(ctypes.c_int)(("getpid", ctypes.CDLL(None))), "take it from the library"),
    ],
    ids=["callback", "address", "cast", "prototype"],
)
def test_what_cannot_cross(executor, make, said):
    for future in (executor.submit(apply, make()), executor.submit(same, x=[make()])):
        error = future.exception()
        assert type(error) is TypeError and said in str(error) and "argument" in str(error)
    assert executor.submit(same, 1).result() == 1


def test_others_who_pickle_are_not_affected(executor, libm):
    executor.submit(same, libm.cos).result()
    with pytest.raises(ValueError, match="pointers cannot be pickled"):
        pickle.dumps(libm.cos)


def test_register_ctypes_reducers(python):
    program = textwrap.dedent("""
        import copy, ctypes, pickle
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        from fuload_exec import register_ctypes_reducers

        def apply(function, *args):
            return function(*args)

        before = ctypes.CDLL("libm.so.6")
        for _ in range(2):
            register_ctypes_reducers()
        after = ctypes.CDLL("libm.so.6", use_errno=True)
        for library in (before, after):
            library.pow.argtypes, library.pow.restype = [ctypes.c_double] * 2, ctypes.c_double
            for copied in (pickle.loads(pickle.dumps(library.pow)), copy.deepcopy(library.pow),
                           pickle.loads(pickle.dumps(library)).pow):
                assert copied(2.0, 3.0) == 8.0 and type(copied)._flags_ == type(library.pow)._flags_
        for made in (ctypes.CFUNCTYPE(ctypes.c_int)(int), after.pow.__class__(1)):
            try:
                pickle.dumps(made)
            except (TypeError, ValueError) as error:
                print(type(error).__name__)
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, context) as executor:
            print(executor.submit(before.pow, 2.0, 3.0).result(), executor.submit(apply, after.pow, 2.0, 3.0).result())
    """)
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "8.0 8.0"


def test_many_copies_open_a_library_once(executor, libm):
    def open_libraries(functions):
        return len({id(f._objects["0"]) for f in functions}), len(functions)

    assert executor.submit(open_libraries, [libm.cos, libm.sin]).result() == (1, 2)
