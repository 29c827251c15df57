"""Limits of the process: what does not fit is an error that names the limit,
and nothing is left of it."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import resource
import struct
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# What is left of pools that could not be made: descriptors and mappings.
LEFT = """
def left():
    with open("/proc/self/maps") as maps:
        return len(os.listdir("/proc/self/fd")), sum("memfd:" in line for line in maps)
"""


@pytest.fixture(scope="module")
def failing_calls(tmp_path_factory):
    """A library to be preloaded; see failing_calls.c."""
    library = tmp_path_factory.mktemp("preloaded") / "failing_calls.so"
    subprocess.run(
        ["cc", "-O1", "-D_FILE_OFFSET_BITS=64", "-shared", "-fPIC", HERE / "failing_calls.c", "-o", library, "-ldl"], check=True
    )
    return str(library)


def test_no_descriptors_for_a_pool(program):
    """From none to more than enough."""
    p = program(
        LEFT
        + """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
before, made, said = left(), 0, []
while made < 2:
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for _ in range(len(said) + made):
        os.close(held.pop())
    try:
        executor = FuloadExecutor(1)
        executor.shutdown()
        made += 1
    except OSError as error:
        said.append(str(error))
    for fd in held:
        os.close(fd)
    assert left() == before
with FuloadExecutor(1) as executor:
    report(said=said, result=executor.submit(libc.abs, -8).result(timeout=20))
"""
    )
    assert p.exit() == 0, p.errors()
    said = p.reports()["said"]
    assert 1 <= len(said) <= 10 and p.reports()["result"] == 8
    for text in said:
        assert "Too many open files (RLIMIT_NOFILE is 64)" in text
        assert any(call in text for call in ("epoll_create1", "eventfd", "memfd_create", "socketpair")), text
    assert p.errors() == ""


def test_each_call_of_the_constructor_fails_once(program, failing_calls):
    p = program(
        LEFT
        + """
fail_call = ctypes.CDLL(os.environ["LD_PRELOAD"]).fail_call
fail_call.argtypes, fail_call.restype = [ctypes.c_long], ctypes.c_char_p
FuloadExecutor(1).shutdown()
before, failed, n = left(), [], 1
while True:
    fail_call(n)
    try:
        FuloadExecutor(1).shutdown()
    except (OSError, MemoryError) as error:
        failed.append((fail_call(0).decode(), type(error).__name__, str(error)))
    else:
        assert fail_call(0) is None, "an error was overlooked"
        break
    assert left() == before, failed[-1]
    n += 1
report(failed=failed)
with FuloadExecutor(1) as executor:
    report(result=executor.submit(libc.abs, -8).result(timeout=20))
""",
        env={"LD_PRELOAD": failing_calls},
    )
    assert p.exit() == 0, p.errors()
    failed = p.reports()["failed"]
    assert {call for call, _, _ in failed} >= {
        "malloc",
        "calloc",
        "eventfd",
        "memfd_create",
        "ftruncate",
        "fcntl",
        "mmap",
        "madvise",
    }
    for call, kind, text in failed:
        assert ("tables" if kind == "MemoryError" else call) in text, (call, kind, text)
    assert p.reports()["result"] == 8 and p.errors() == ""


def test_no_memory_for_a_request(program, failing_calls):
    """Both for one that finds a slot and for one that has waited for it."""
    p = program(
        """
fail_call = ctypes.CDLL(os.environ["LD_PRELOAD"]).fail_call
fail_call.argtypes, fail_call.restype = [ctypes.c_long], ctypes.c_char_p
libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None

def errors(submit):
    found, n = [], 1
    while True:
        with FuloadExecutor(1, slots=1) as executor:
            executor.submit(libc.abs, -1).result(timeout=20)
            error = submit(executor, n)
            if fail_call(0) == b"fallocate":
                found.append(f"{type(error).__name__}: {error}")
                assert executor.submit(libc.abs, -5).result(timeout=20) == 5
        n += 1
        if n > 10:
            return found

def at_once(executor, n):
    fail_call(n)
    try:
        executor.submit(libc.memset, bytes(3_000_000), 0, 0).result(timeout=20)
    except (OSError, MemoryError) as error:
        return error

def later(executor, n):
    first = executor.submit(libc.usleep, 50_000)
    second = executor.submit(libc.memset, bytes(3_000_000), 0, 0)
    fail_call(n)
    return second.exception(timeout=20)

report(at_once=errors(at_once), later=errors(later))
""",
        env={"LD_PRELOAD": failing_calls},
    )
    assert p.exit(40) == 0, p.errors()
    for found in p.reports().values():
        assert found and all(text.startswith("MemoryError: no memory for a request of 30000") for text in found), found


def test_no_address_space_for_a_pool(program):
    p = program(
        LEFT
        + """
import resource
before = left()
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
limit = used + (8 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    FuloadExecutor(1, slots=20000)
except OSError as error:
    report(said=str(error), limit=limit)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert left() == before
with FuloadExecutor(1) as executor:
    report(result=executor.submit(libc.abs, -8).result(timeout=20))
"""
    )
    assert p.exit() == 0, p.errors()
    assert f"RLIMIT_AS is {p.reports()['limit']}" in p.reports()["said"] and "mmap" in p.reports()["said"]
    assert p.reports()["result"] == 8 and p.errors() == ""


# ---- mappings and address space


def mappings(pid="self"):
    return Path(f"/proc/{pid}/maps").read_text().count("\n")


class Gate:
    """A C task that opens its path waits until open() is called."""

    def __init__(self, path):
        self.path = os.fsencode(path)
        os.mkfifo(path)

    def open(self):
        os.close(os.open(self.path, os.O_WRONLY))


@pytest.fixture
def gated(tmp_path, libc):
    libc.open.argtypes, libc.open.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_int
    libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None
    return Gate(tmp_path / "gate")


@pytest.mark.stress
def test_more_windows_than_a_process_may_map(pool, libc, gated):
    """Each waits in a slot, with a request longer than the slot."""
    many = 6000
    executor = pool(1, slots=many, slot_size=64)
    pid = executor.submit(libc.getpid).result(timeout=30)
    before, worker_before = mappings(), mappings(pid)
    first = executor.submit(libc.open, gated.path, os.O_RDONLY)
    buffers = [bytearray(1000) for _ in range(many - 1)]
    futures = [executor.submit(libc.memset, b, 1 + i % 255, len(b)) for i, b in enumerate(buffers)]
    assert mappings() < before + 4200
    gated.open()
    for i, (future, buffer) in enumerate(zip(futures, buffers)):
        future.result(timeout=60)
        assert buffer.count(1 + i % 255) == 1000
    first.result(timeout=30)
    assert mappings() < before + 4200 and mappings(pid) < worker_before + 4200
    # And a second time round, with those that are mapped and those that are not.
    futures = [executor.submit(libc.memset, b, 7, len(b)) for b in buffers]
    for future in futures:
        future.result(timeout=60)
    assert all(b.count(7) == 1000 for b in buffers) and mappings() < before + 4200


def test_a_worker_without_address_space_says_so(pool, libc):
    """Neither for a request nor for a reply; and goes on with what fits."""
    libc.setrlimit.argtypes, libc.setrlimit.restype = [ctypes.c_int, ctypes.c_char_p], ctypes.c_int
    libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None
    executor = pool(1)
    pid = executor.submit(libc.getpid).result(timeout=30)
    limits = struct.pack("QQ", 64 << 20, 64 << 20)
    assert executor.submit(libc.setrlimit, resource.RLIMIT_AS, limits).result(timeout=30) == 0
    error = executor.submit(libc.memset, bytes(80 << 20), 0, 1).exception(timeout=30)
    assert type(error) is OSError and error.errno == errno.ENOMEM
    assert "memset(): mmap of" in str(error) and "in the worker, for the arguments" in str(error)
    error = executor.submit(libc.memset, bytearray(30 << 20), 0, 1).exception(timeout=30)
    assert type(error) is OSError and error.errno == errno.ENOMEM
    assert "memset(): mmap of" in str(error) and "in the worker, for the result" in str(error)
    assert executor.submit(libc.abs, -4).result(timeout=30) == 4
    assert executor.submit(libc.getpid).result(timeout=30) == pid
    assert executor.stats().failed == 2


def test_windows_that_nobody_uses_make_room(pool, libc):
    """A worker under a limit has mapped others before the one that it needs now."""
    libc.setrlimit.argtypes, libc.setrlimit.restype = [ctypes.c_int, ctypes.c_char_p], ctypes.c_int
    libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None
    executor = pool(1, slots=8)
    limits = struct.pack("QQ", 96 << 20, 96 << 20)
    assert executor.submit(libc.setrlimit, resource.RLIMIT_AS, limits).result(timeout=30) == 0
    data = [bytes([i]) * (7 << 20) for i in range(8)]
    for _ in range(3):
        futures = [executor.submit(libc.memset, d, 0, 0) for d in data]
        assert [f.exception(timeout=30) for f in futures] == [None] * 8


kept = []


def keep_and_take_the_rest_away(data):
    """What is kept stands in the window, and cannot be moved out of it."""
    kept.append(memoryview(data))
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))
    return os.getpid()


def test_an_argument_that_is_kept_without_memory_for_it(pool):
    """That worker runs nothing else: the next request would stand in what was kept."""
    executor = pool(1, slots=1)
    before = executor.submit(os.getpid).result(timeout=30)
    error = executor.submit(keep_and_take_the_rest_away, pickle.PickleBuffer(bytes(20 << 20))).exception(timeout=30)
    assert type(error) is RuntimeError and "no memory to keep an argument" in str(error)
    assert executor.submit(os.getpid).result(timeout=30) != before


class Unspeakable(BaseException):
    """Can be neither pickled nor turned into text."""

    def __reduce__(self):
        raise Unspeakable()

    def __str__(self):
        raise Unspeakable()


def raise_it():
    raise Unspeakable()


def test_an_exception_of_which_nothing_can_be_said(pool):
    executor = pool(1)
    assert type(executor.submit(raise_it).exception(timeout=30)) is RuntimeError
    assert executor.submit(abs, -3).result(timeout=30) == 3


# ---- the size of files

FILE_SIZE = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # not every program ignores it, as Python does
libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None

def both_ways(executor, size):
    data = bytearray(size)
    executor.submit(libc.memset, data, 5, size).result(timeout=30)
    return data.count(5) == size
"""


def test_a_soft_limit_of_file_sizes_is_no_limit(program):
    p = program(
        FILE_SIZE
        + """
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
with FuloadExecutor(2) as executor:
    report(limit=resource.getrlimit(resource.RLIMIT_FSIZE), works=both_ways(executor, 30 << 20))
"""
    )
    assert p.exit() == 0, p.errors()
    assert p.reports() == {"limit": [1 << 16, resource.RLIM_INFINITY], "works": True}


@pytest.mark.parametrize(("limit", "payload"), [(1 << 20, 50_000), (2 << 20, 200_000), (64 << 20, 8 << 20), (1 << 30, 30 << 20)])
def test_a_pool_fits_the_limit_of_file_sizes(program, limit, payload):
    p = program(
        FILE_SIZE
        + f"""
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit} // 2, {limit}))
    with FuloadExecutor(2, max_payload=40 << 20) as executor:
        works = both_ways(executor, {payload})
        numbers = [f.result(timeout=30) for f in [executor.submit(libc.abs, -i) for i in range(3000)]]
        squares = list(executor.map(zoo.square, range(500)))
        futures = [executor.submit(bytes, {payload}) for _ in range(5)]
        works = works and all(len(f.result(timeout=30)) == {payload} for f in futures)
        size = min({limit}, 39 << 20)
        for name, task, argument in (("request", len, bytes(size)), ("result", bytes, size), ("more", bytes, 41 << 20)):
            try:
                executor.submit(task, argument).result(timeout=30)
            except ValueError as error:
                report(**{{name: f"{{type(error).__name__}}: {{error}}"}})
        report(works=works, numbers=numbers == list(range(3000)), squares=squares == [i * i for i in range(500)])
"""
    )
    assert p.exit(60) == 0, p.errors()
    said = p.reports()
    assert said["works"] and said["numbers"] and said["squares"]
    assert "max_payload is 41943040" in said["more"]
    for text in [said["request"], said["result"]] if limit < 1 << 30 else []:
        assert text.startswith("PayloadTooLarge") and "RLIMIT_FSIZE, ulimit -f" in text and f" {limit} " in text
        assert "max_workers" in text and "slots" in text
    assert p.errors() == ""


def test_no_pool_fits_the_limit_of_file_sizes(program):
    p = program(
        LEFT
        + FILE_SIZE
        + """
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
before = left()
try:
    FuloadExecutor(2)
except OSError as error:
    report(said=str(error), left=left() == before)
try:
    FuloadExecutor(1, slots=1, slot_size=64)
except OSError as error:
    report(again=str(error))
"""
    )
    assert p.exit() == 0, p.errors()
    for text in (p.reports()["said"], p.reports()["again"]):
        assert all(word in text for word in ("300000", "RLIMIT_FSIZE", "max_workers=", "slots=", "slot_size=")), text
    assert p.reports()["left"]


def test_many_functions_where_there_is_room_for_few(program):
    """Python functions are pickled with each task then; C functions say why not."""
    p = program(
        FILE_SIZE
        + """
for i in range(700):
    exec(f"def function{i}(): return {i}")
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    with FuloadExecutor(1) as executor:
        got = [executor.submit(globals()[f"function{i}"]).result(timeout=30) for i in range(700)]
        report(got=got == list(range(700)), c=executor.submit(libc.abs, -1).result(timeout=30))
"""
    )
    assert p.exit(60) == 0, p.errors()
    assert p.reports() == {"got": True, "c": 1}
