"""Limits of the process: what does not fit is an error that names the limit,
and nothing is left of it."""

from __future__ import annotations

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
    subprocess.run(["cc", "-O1", "-D_FILE_OFFSET_BITS=64", "-shared", "-fPIC", HERE / "failing_calls.c", "-o", library, "-ldl"], check=True)
    return str(library)


def test_no_descriptors_for_a_pool(program):
    """From none to more than enough."""
    p = program(LEFT + """
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
""")
    assert p.exit() == 0, p.errors()
    said = p.reports()["said"]
    assert 1 <= len(said) <= 10 and p.reports()["result"] == 8
    for text in said:
        assert "Too many open files (RLIMIT_NOFILE is 64)" in text
        assert any(call in text for call in ("eventfd", "memfd_create", "socketpair")), text
    assert p.errors() == ""


def test_each_call_of_the_constructor_fails_once(program, failing_calls):
    p = program(LEFT + """
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
""", env={"LD_PRELOAD": failing_calls})
    assert p.exit() == 0, p.errors()
    failed = p.reports()["failed"]
    assert {call for call, _, _ in failed} >= {"malloc", "calloc", "eventfd", "memfd_create", "ftruncate", "fcntl", "mmap", "madvise"}
    for call, kind, text in failed:
        assert ("tables" if kind == "MemoryError" else call) in text, (call, kind, text)
    assert p.reports()["result"] == 8 and p.errors() == ""


def test_no_address_space_for_a_pool(program):
    p = program(LEFT + """
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
""")
    assert p.exit() == 0, p.errors()
    assert f"RLIMIT_AS is {p.reports()['limit']}" in p.reports()["said"] and "mmap" in p.reports()["said"]
    assert p.reports()["result"] == 8 and p.errors() == ""
