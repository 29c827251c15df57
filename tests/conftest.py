"""Every test leaves the process as it found it: no child, no thread, no
descriptor, no mapping of a region. A hung test is ended by pytest-timeout,
which shows all stacks."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.ids import LONGEST_ID

import fuload_exec
from fuload_exec import FuloadExecutor, _core

HERE = Path(__file__).parent
ROOT = HERE.parent


# -- groups: what `make check` leaves out, and what runs in one process ----------------

# Which files belong to a group, beside the tests that use one of its fixtures.
GROUPS = {
    "program": {
        "contract/test_exit", "contract/test_green_programs", "contract/test_interpreter", "contract/test_main_module",
        "contract/test_multiprocessing", "contract/test_neighbours", "plugins/test_plugin_tools",
        "plugins/test_worker_programs", "test_examples", "test_native_examples", "test_neighbour_examples",
        "conformance/test_standard", "adversity/test_idle", "adversity/test_memory",
    },
    "build": {"test_frozen", "test_packaging", "test_typing", "protocol/test_protocol", "plugins/test_plugin_header"},
    "stress": {
        "adversity/test_collections", "adversity/test_control_races", "adversity/test_doorbell_races",
        "adversity/test_scribbling", "adversity/test_shutdown_races",
    },
}  # fmt: skip
GROUP_OF_FIXTURE = {"program": "program", "python": "program", "stress": "stress"}
# Made once, for all tests that use it.
MADE_ONCE = {"dask_uses", "elsewhere", "hungry", "joblib_uses", "lists", "mypy", "quickstart"}
# They measure this process, and the machine.
MEASURING = {"adversity/test_idle", "adversity/test_memory"}
# They take longest, so they begin first.
LONGEST = [
    "test_packaging", "protocol/test_protocol", "test_frozen", "test_typing", "adversity/test_idle", "test_examples",
    "plugins/test_hostile_plugins", "contract/test_control",
]  # fmt: skip


def pytest_report_header():
    return f"extension: {_core.__file__}"


def pytest_configure(config):
    # One checkout's modules with another's extension would fail in many odd ways.
    for module in (fuload_exec, _core):
        if Path(module.__file__).resolve().parent != (ROOT / "fuload_exec").resolve():
            raise pytest.UsageError(
                f"these are the tests of {ROOT}, but {module.__name__} is that of {module.__file__}: "
                "run `make test`, or the pytest of this checkout's own .venv"
            )
    for name, what in {
        "program": "starts programs of its own",
        "build": "builds or checks the package, or runs the C tests",
        "stress": "repeats a race, breaks things at random, or moves a lot",
    }.items():
        config.addinivalue_line("markers", f"{name}: {what}; `make check` leaves it out")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook
def pytest_collection_modifyitems(items):
    for item in items:
        file = name_of_file(item)
        groups = {group for group, files in GROUPS.items() if file in files}
        groups |= {group for fixture, group in GROUP_OF_FIXTURE.items() if fixture in item.fixturenames}
        for group in sorted(groups):
            item.add_marker(group)
        together = MADE_ONCE & set(item.fixturenames)
        if file in MEASURING:
            together = {"measuring"}
        if together:
            item.add_marker(pytest.mark.xdist_group("-".join(sorted(together))))
    items.sort(key=lambda item: LONGEST.index(name_of_file(item)) if name_of_file(item) in LONGEST else len(LONGEST))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    """xdist tells groups by the names of tests."""
    if getattr(session.config.option, "loadgroup", False):
        lost = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"this pytest and this pytest-xdist do not keep groups together: {lost[0]}")


def pytest_make_parametrize_id(val, argname):
    """Long texts and programs are not the name of a test, least of all those that show a set."""
    if isinstance(val, (str, bytes)) and (len(val) > LONGEST_ID or "\n" in str(val)):
        return f"{argname} of {len(val)}"
    return None


def name_of_file(item) -> str:
    return str(item.path.relative_to(HERE).with_suffix(""))


def children() -> set[int]:
    """Pids of this process's children, zombies too."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except FileNotFoundError:
            pass
    return found


def descriptors() -> dict[int, str]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            pass
    return found


def regions() -> list[str]:
    """Mappings of pools' shared memory."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:fuload" in line]


def leftovers(before: tuple[set[int], dict[int, str], set[threading.Thread]]) -> list[str]:
    old_children, old_descriptors, old_threads = before
    found = [f"child {pid}" for pid in children() - old_children]
    found += [f"thread {t.name}" for t in threading.enumerate() if t not in old_threads]
    new = descriptors()
    found += [f"descriptor {fd} -> {to}" for fd, to in new.items() if old_descriptors.get(fd) != to]
    found += [f"mapping {line}" for line in regions()]
    return found


def stop_resource_tracker() -> None:
    """multiprocessing's own child, which else lives as long as this process."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    if module is not None:
        module._resource_tracker._stop()


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    """What ends by itself in the background (a pool that was dropped, or shut
    down without waiting) has a few seconds to do so; what stays fails the test."""
    before = (children(), descriptors(), set(threading.enumerate()))
    yield
    stop_resource_tracker()
    due = time.monotonic() + 15
    while (left := leftovers(before)) and time.monotonic() < due:
        gc.collect()
        time.sleep(0.01)
    assert not left, f"left behind: {', '.join(left)}"


@pytest.fixture
def dice(request):
    """A random.Random whose seed is the test's name (printed if it fails)."""
    seed = f"{request.node.name}/{os.environ.get('FULOAD_SEED', '1')}"
    print(f"seed: {seed!r}")
    return random.Random(seed)


@pytest.fixture
def pool():
    """Makes executors; afterwards all of them end, by force if they hang."""
    made = []

    def make(*args, **kwargs):
        made.append(FuloadExecutor(*args, **kwargs))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(wait=False, cancel_futures=True)
    hung = [text for text in map(end, made) if text]
    made.clear()
    assert not hung, f"pools that do not end: {hung}"


def end(executor):
    """'' when all workers have left; what was seen, if they had to be killed."""
    due = time.monotonic() + 20
    while executor.worker_pids and time.monotonic() < due:
        time.sleep(0.002)
    text = f"{executor!r}: workers {executor.worker_pids}, {executor.stats()}" if executor.worker_pids else ""
    for pid in executor.worker_pids:
        os.kill(pid, signal.SIGKILL)
    if not text:
        executor.shutdown()
    return text


@pytest.fixture(scope="session")
def libm():
    """libm with the declarations that the tests use."""
    library = ctypes.CDLL("libm.so.6")
    for name in ("cos", "sin", "fabs", "sqrt"):
        function = getattr(library, name)
        function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    library.pow.argtypes, library.pow.restype = [ctypes.c_double, ctypes.c_double], ctypes.c_double
    return library


@pytest.fixture(scope="session")
def compile_library():
    """A function that makes a shared library of C text."""

    def compile_(path: Path, text: str, *flags: str) -> Path:
        source = path.with_suffix(".c")
        source.write_text(text)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(path), str(source), *flags], check=True)
        return path

    return compile_


@pytest.fixture(scope="session")
def libc():
    library = ctypes.CDLL("libc.so.6")
    library.abs.argtypes, library.abs.restype = [ctypes.c_int], ctypes.c_int
    library.strlen.argtypes, library.strlen.restype = [ctypes.c_char_p], ctypes.c_size_t
    library.getpid.argtypes, library.getpid.restype = [], ctypes.c_int
    library.usleep.argtypes, library.usleep.restype = [ctypes.c_uint], ctypes.c_int
    library.raise_ = library["raise"]
    library.raise_.argtypes, library.raise_.restype = [ctypes.c_int], ctypes.c_int
    return library


@pytest.fixture(scope="session")
def python():
    """This interpreter, for tests that need a process of their own."""
    return sys.executable
