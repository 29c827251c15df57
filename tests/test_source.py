"""The directions of docs/design.md: who may use whom, and what stands in one place only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A module may import those named before it, never those after it.
PYTHON_ORDER = [
    "_core", "_errors", "_ctypes_reducers", "_foreign", "_pickling", "_descriptors", "_inheritance", "_toolchain",
    "_parameters", "_stats", "_green", "_supervisor", "_workers",
    "_future", "_plugin", "_native", "_map", "_arrays", "_executor",
]


def sources(*patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def includes(path: Path) -> set[str]:
    return set(re.findall(r'^#include "([^"]+)"', path.read_text(), re.M))


def test_protocol_headers_include_only_earlier_ones():
    order = ["layout.h", "slot.h", "ring.h", "doorbell.h", "poll.h"]
    for position, name in enumerate(order):
        assert includes(ROOT / "csrc/protocol" / name) <= set(order[:position])
    assert includes(ROOT / "csrc/protocol/message.h") <= set(order)
    assert includes(ROOT / "csrc/protocol/copy.h") == set()


def test_the_worker_has_no_python():
    for path in sources("csrc/**/*.[ch]"):
        assert "Python.h" not in path.read_text(), path


def test_the_public_header_includes_nothing_of_ours():
    assert includes(ROOT / "fuload_exec/include/fuload.h") == set()


def test_atomics_stand_in_the_protocol_and_the_interrupt_handler_only():
    for path in sources("csrc/worker/*.c"):
        assert "_Atomic" not in path.read_text(), path


def test_the_parent_and_the_worker_never_meet():
    core = "".join(p.read_text() for p in sources("cysrc/_core.pyx", "cysrc/*.pxi"))
    assert "worker/worker.h" not in core


@pytest.mark.parametrize("name", [n for n in PYTHON_ORDER if n != "_core"])
def test_modules_import_only_earlier_ones(name):
    text = (ROOT / "fuload_exec" / f"{name}.py").read_text()
    text = re.sub(r"if TYPE_CHECKING:\n(    .*\n)+", "", text)
    used = set(re.findall(r"^\s*from \.(_\w+) import", text, re.M))
    for names in re.findall(r"^\s*from \. import (.+)$", text, re.M):
        used |= {part.split(" as ")[0].strip() for part in names.split(",")}
    assert used <= set(PYTHON_ORDER[: PYTHON_ORDER.index(name)]), used


def test_sigusr1_is_sent_in_one_place_of_the_parent():
    senders = [p for p in sources("cysrc/*.p*", "fuload_exec/*.py") if re.search(r"SIGUSR1, NULL|kill\(.*SIGUSR1", p.read_text())]
    assert [p.name for p in senders] == ["registry.pxi"]


def test_signals_forks_and_waits_of_the_parent_stand_in_workers():
    calls = re.compile(r"pidfd_send_signal\(|subprocess\.Popen\(|os\.waitid\(|os\.kill\(")
    users = [p.name for p in sources("fuload_exec/*.py") if calls.search(p.read_text())]
    assert users == ["_workers.py"]


def test_examples_and_contract_tests_use_public_names_only():
    private = re.compile(r"fuload_exec\._(?!_)|from fuload_exec import .*\b_[a-z]")
    for path in sources("examples/**/*.py", "tests/contract/*.py"):
        assert not private.search(path.read_text()), path


def test_integrations_use_public_names_only():
    text = (ROOT / "fuload_exec/joblib.py").read_text()
    assert "from . import" in text and not re.search(r"from \._|fuload_exec\._|from \. import .*\b_", text)


def test_each_barrier_names_its_partner():
    """[pair: name] stands at both ends, beside the proof at the head of a file."""
    places = []
    for path in sources("csrc/**/*.[ch]"):
        head, end, rest = path.read_text().partition("*/")
        places += re.findall(r"\[pair: ([^\]]+)\]", re.sub(r"\s*\n \*\s*", " ", rest))
    assert {"published or asleep", "flag or asleep"} <= set(places)
    assert [name for name in set(places) if places.count(name) < 2] == []


def test_the_parents_half_knows_no_python_and_no_worker():
    for path in sources("csrc/parent/*.h"):
        assert all(name.startswith("protocol/") or "/" not in name for name in includes(path)), path
        assert "Python.h" not in path.read_text(), path
