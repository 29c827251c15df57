"""Who may use whom, what stands in one place only, and how long things are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.sources import c_code, defined, python_code, used

ROOT = Path(__file__).resolve().parent.parent

# A module may import those named before it, never those after it.
PYTHON_ORDER = [
    "_core",
    "_refusals",
    "_errors",
    "_ctypes_reducers",
    "_foreign",
    "_pickling",
    "_descriptors",
    "_directory",
    "_lender",
    "_inheritance",
    "_toolchain",
    "_parameters",
    "_stats",
    "_green",
    "_supervisor",
    "_process",
    "_crew",
    "_exit",
    "_python_setup",
    "_future",
    "_plugin",
    "_native",
    "_map",
    "_arrays",
    "_executor",
]


def sources(*patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def includes(path: Path) -> set[str]:
    return set(re.findall(r'^#include "([^"]+)"', path.read_text(), re.M))


def test_protocol_headers_include_only_earlier_ones():
    order = ["layout.h", "slot.h", "ring.h", "doorbell.h", "poll.h"]
    for position, name in enumerate(order):
        assert includes(ROOT / "csrc/protocol" / name) <= set(order[:position])
    for path in sources("csrc/protocol/*.h"):
        assert includes(path) <= {p.name for p in sources("csrc/protocol/*.h")}, path


@pytest.mark.parametrize("mine", ["parent", "worker"])
def test_the_parent_and_the_worker_never_meet(mine):
    own = {path.name for path in sources(f"csrc/{mine}/*.h")}
    for path in sources(f"csrc/{mine}/*.[ch]"):
        strange = {name for name in includes(path) if not name.startswith("protocol/")} - own - {"fuload.h"}
        assert not strange, (path, strange)


def test_core_reaches_no_worker_and_the_python_host_no_parent():
    core = "".join(p.read_text() for p in sources("cysrc/_core.pyx", "cysrc/*.pxi") if p.name not in HOSTS)
    assert not re.search(r'extern from "worker/', core)
    host = "".join((ROOT / "cysrc" / name).read_text() for name in ["_host.pyx", *HOSTS])
    assert not re.search(r'extern from "parent/', host)


def test_csrc_has_no_python():
    for path in sources("csrc/**/*.[ch]"):
        assert not re.search(r"\bPy[A-Z_]\w*\(|Python\.h", path.read_text()), path


def test_the_public_header_includes_nothing_of_ours():
    assert includes(ROOT / "fuload_exec/include/fuload.h") == set()


# Outside csrc/protocol, csrc/parent and SIGINT's handler: who reads or writes a
# shared word without a function of these. This list only becomes shorter.
ATOMICS = {
    "attach.c",
    "become_python.c",
    "worker.c",
    "worker.h",
    "_host.pyx",
    "burial.pxi",
    "counts.pxi",
    "crew.pxi",
    "look.pxi",
    "pool.pxi",
}


def test_atomics_stand_in_the_protocol_the_parent_and_the_interrupt_handler_only():
    instruction = r"\b_Atomic\b|\batomic_(?!t\b)\w+|\b__(?:atomic|sync)_\w+|\bfl_(?:load|store|swap)\("
    paths = sources("csrc/worker/*.[ch]", "cysrc/*.pyx", "cysrc/*.pxi", "fuload_exec/include/*.h")
    found = {
        path.name
        for path in paths
        if re.search(instruction, c_code(path.read_text()) if path.suffix in {".c", ".h"} else path.read_text())
    }
    assert found - {"interrupt.pxi"} == ATOMICS


# -- the parts of _core ---------------------------------------------------------------

HOSTS = set(re.findall(r'^include "([^"]+)"', (ROOT / "cysrc/_host.pyx").read_text(), re.M)) - set(
    re.findall(r'^include "([^"]+)"', (ROOT / "cysrc/_core.pyx").read_text(), re.M)
)
PARTS = re.findall(r'^include "(\w+)\.pxi"', (ROOT / "cysrc/_core.pyx").read_text(), re.M)
FORWARD = {"Pool", "CoreFuture"}
# What uses a name of a part below it, and why it may. This list only becomes shorter.
EXCEPTIONS = {
    ("cancel", "corrupted"): "what cannot be taken back is judged, and judging takes all tasks back where the pool breaks",
    ("arrays", "Submitter"): "what is mapped is submitted with a submitter's options",
    ("pool", "Submitter"): "as above: it makes the futures",
}


def test_each_part_uses_only_what_stands_above_it():
    text = {part: (ROOT / "cysrc" / f"{part}.pxi").read_text() for part in PARTS}
    below = {name: part for part in PARTS for name in defined(text[part])}
    found = {
        (part, name)
        for position, part in enumerate(PARTS)
        for name in used(text[part]) - FORWARD
        if name in below and PARTS.index(below[name]) > position
    }
    assert found == set(EXCEPTIONS)


def test_what_is_declared_of_c_is_used():
    declared = python_code((ROOT / "cysrc/protocol.pxd").read_text())
    parts = "".join(path.read_text() for path in sources("cysrc/*.pyx", "cysrc/*.pxi"))
    names, used_names = (set(re.findall(r"\b(?:fl|FL)_\w+", text)) for text in (declared, parts))
    assert len(names) > 100
    unused = names - used_names
    # A type may be there for other declarations alone.
    assert {name for name in unused if declared.count(name) == 1} == set()


def test_definitions_and_uses_are_told_apart():
    text = (
        'cdef extern from *:\n    """\n    static int hidden;\n    """\n    int declared(int fd) nogil\n    int A, B\n\n\n'
        "cdef enum:\n    FIRST = 1  # not_this\n\n\ncdef object table = {}\n\n\nclass _Plain(Exception):\n    pass\n\n\n"
        "cdef int path(Pool pool, int size) except -1:\n    cdef int local = 0\n"
        '    local = elsewhere(pool.field, f"{shown}", key=other)\n    return local + size  # commented()\n'
    )
    assert defined(text) == {"declared", "A", "B", "FIRST", "table", "_Plain", "path"}
    assert {"elsewhere", "shown", "other", "Pool"} <= used(text)
    assert not used(text) & {"hidden", "local", "size", "field", "key", "commented", "not_this", "pool"}


def test_every_part_is_included_once_and_includes_none():
    assert len(PARTS) == len(set(PARTS))
    hosts = set(re.findall(r'^include "(\w+)\.pxi"', (ROOT / "cysrc/_host.pyx").read_text(), re.M))
    assert {p.stem for p in sources("cysrc/*.pxi")} == set(PARTS) | hosts
    for path in sources("cysrc/*.pxi"):
        assert not re.search(r"^include ", path.read_text(), re.M), path


# -- sizes ------------------------------------------------------------------------------

MOST_LINES, MOST_FUNCTION, MOST_FIELDS = 450, 60, 40
# Each has its reason in docs/decisions/long-files.md.
LONG = set(re.findall(r"^- `([^`]+)`", (ROOT / "docs/decisions/long-files.md").read_text(), re.M))


def long_files() -> set[str]:
    paths = sources("cysrc/*.p*", "csrc/**/*.[ch]", "fuload_exec/**/*.py")
    return {str(p.relative_to(ROOT)) for p in paths if len(p.read_text().splitlines()) > MOST_LINES}


def functions_of_python(path: Path) -> dict[str, int]:
    """Functions and methods of Python and Cython: how many lines each has."""
    found: dict[str, int] = {}
    lines = path.read_text().splitlines()
    begun: list[tuple[int, str, int]] = []  # indentation, name, line

    def close(indentation: int, end: int) -> None:
        while begun and begun[-1][0] >= indentation:
            _, name, start = begun.pop()
            while not lines[end - 1].strip() or lines[end - 1].lstrip().startswith(("#", "@")):
                end -= 1
            found[name] = max(found.get(name, 0), end - start)

    for number, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        indentation = len(line) - len(line.lstrip())
        if re.match(r"\s*[\])}]", line):  # the end of a long signature
            continue
        close(indentation, number)
        match = re.match(r"\s*(?:async )?(?:def|cdef|cpdef)\s+(?:.*?[\s\*])?(\w+)\(", line)
        if match and "=" not in line.split("(")[0]:
            begun.append((indentation, match[1], number))
    close(0, len(lines))
    return found


def functions_of_c(path: Path) -> dict[str, int]:
    found, start, name = {}, 0, ""
    for number, line in enumerate(path.read_text().splitlines()):
        match = re.match(r"[A-Za-z].*?(\w+)\(", line)
        if match:
            start, name = number, match[1]
        if line == "}" and name:
            found[name], name = number - start + 1, ""
    return found


def long_functions() -> set[str]:
    found = set()
    for path in sources("cysrc/*.p*", "fuload_exec/**/*.py", "csrc/**/*.[ch]"):
        functions = functions_of_c(path) if path.suffix in {".c", ".h"} else functions_of_python(path)
        found |= {f"{path.relative_to(ROOT)}: {name}" for name, lines in functions.items() if lines > MOST_FUNCTION}
    return found


def wide_classes() -> set[str]:
    found = set()
    for path in sources("cysrc/*.p*"):
        for name, body in re.findall(r"^cdef class (\w+).*:\n((?:(?:[ ]{4}.*)?\n)+)", path.read_text(), re.M):
            fields = re.findall(r"^    cdef (?:public |readonly )?(?!inline)[\w ]+?[ \*]([\w\*, \[\]]+?) *(?:#.*)?$", body, re.M)
            if sum(field.count(",") + 1 for field in fields if "__weakref__" not in field) > MOST_FIELDS:
                found.add(f"{path.relative_to(ROOT)}: {name}")
    for path in sources("fuload_exec/**/*.py"):
        for name, body in re.findall(r"^class (\w+).*:\n((?:(?:[ ]{4}.*)?\n)+)", path.read_text(), re.M):
            if len(set(re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", body))) > MOST_FIELDS:
                found.add(f"{path.relative_to(ROOT)}: {name}")
    return found


def test_what_is_long_has_a_reason():
    assert long_files() | long_functions() | wide_classes() == LONG


# -- the package ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in PYTHON_ORDER if n != "_core"])
def test_modules_import_only_earlier_ones(name):
    text = (ROOT / "fuload_exec" / f"{name}.py").read_text()
    text = re.sub(r"if TYPE_CHECKING:\n(    .*\n|\n(?=    ))+", "", text)
    used = set(re.findall(r"^\s*from \.(_\w+) import", text, re.M))
    for names in re.findall(r"^\s*from \. import (.+)$", text, re.M):
        used |= {part.split(" as ")[0].strip() for part in names.split(",")}
    assert used <= set(PYTHON_ORDER[: PYTHON_ORDER.index(name)]), used


def test_sigusr1_is_sent_in_one_place_of_the_parent():
    senders = [p for p in sources("cysrc/*.p*", "fuload_exec/*.py") if re.search(r"SIGUSR1, NULL|kill\(.*SIGUSR1", p.read_text())]
    assert [p.name for p in senders] == ["registry.pxi"]


def test_signals_and_waits_of_the_parent_stand_in_one_module():
    calls = re.compile(r"pidfd_send_signal\(|subprocess\.Popen\(|os\.waitid\(|os\.kill\(")
    users = [p.name for p in sources("fuload_exec/*.py") if calls.search(p.read_text())]
    assert users == ["_process.py"]


def private(text: str) -> set[str]:
    """The private names of this package that a Python text imports or reaches by attributes."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names.add(ast.unparse(node))
    return {name for name in names if re.match(r"fuload_exec\.(\w+\.)*_(?!_)", name)}


def test_private_names_are_told_from_public_ones():
    text = "import fuload_exec._core\nfrom fuload_exec import (_map,\n    arrays)\nfuload_exec._errors\nfuload_exec.__file__\n"
    assert private(text) == {"fuload_exec._core", "fuload_exec._map", "fuload_exec._errors"}


def test_examples_and_contract_tests_use_public_names_only():
    for path in sources("examples/**/*.py", "tests/contract/*.py"):
        assert not private(path.read_text()), path


def test_pages_show_public_names_only():
    for path in sources("README.md", "docs/**/*.md"):
        for block in re.findall(r"^```py[^\n]*\n([\s\S]*?)^```", path.read_text(), re.M):
            assert not re.search(r"fuload_exec\._(?!_)|from fuload_exec import .*\b_[a-z]", block), path


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


def test_names_of_tests_are_their_own():
    """A name in a report says which test it is."""
    names = [
        name for path in sources("tests/**/test_*.py") for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)
    ]
    assert len(names) > 1000
    assert {name for name in names if names.count(name) > 1} == set()


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+(?: [a-z]+)*):", (ROOT / "Makefile").read_text(), re.M))
    targets = {name for group in targets for name in group.split()}
    for path in sources("*.md", "docs/**/*.md", ".github/**/*.yml", ".github/**/*.md", ".ci/run"):
        named = set(re.findall(r"(?:^|`|run: |exec )make ([a-z]+)", path.read_text(), re.M))
        assert named <= targets, (path, named - targets)


def test_the_map_of_contributing_names_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for folder, name in re.findall(r"`((?:csrc|cysrc|fuload_exec|tests)/(?:\w+/)*)([\w*.]*)`", text):
        assert list(ROOT.glob(folder + name)) if name else (ROOT / folder).is_dir(), folder + name
