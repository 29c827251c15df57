"""What C and Python both say is said alike: limits of the layout, and the API of plug-ins."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from fuload_exec import _pickling, _plugin, get_include

ROOT = Path(__file__).resolve().parent.parent
HEADER = (Path(get_include()) / "fuload.h").read_text()


def defined(path: Path, name: str) -> int:
    """The number that a header defines this name as."""
    found = re.search(rf"^#define {name} \(?(\d+)u?(?: << (\d+))?\)?(?: |$)", path.read_text(), re.M)
    assert found, f"{path.name} defines no {name}"
    return int(found[1]) << int(found[2] or 0)


@pytest.mark.parametrize(("header", "name", "number"), [
    ("csrc/protocol/message.h", "FL_MAX_BUFFERS", _pickling._MOST_BUFFERS),
    ("fuload_exec/include/fuload.h", "FULOAD_ABI_VERSION", _plugin._ABI_VERSION),
])  # fmt: skip
def test_limits_are_those_of_the_headers(header, name, number):
    assert number == defined(ROOT / header, name)


# C's types in fuload.h -> what ctypes takes for them: a task's address is one of _calls' keys.
CTYPES = {
    "fuload_task *": ctypes.c_void_p, "const void *": ctypes.c_void_p, "void *": ctypes.c_void_p, "int": ctypes.c_int,
    "size_t": ctypes.c_size_t, "size_t *": ctypes.POINTER(ctypes.c_size_t), "const char *": ctypes.c_char_p,
}  # fmt: skip


def members(struct: str) -> list[tuple[str, str, list[str]]]:
    """(name, result, arguments) of each function pointer in a struct of fuload.h, in its order."""
    body = re.search(rf"struct {struct} \{{\n([^}}]*)\}};", HEADER)
    assert body, f"fuload.h has no struct {struct}"
    found = re.findall(r"^    ([\w ]+?\*?) ?\(\*(\w+)\)\(([^)]*)\);$", body[1], re.M)
    assert len(found) == body[1].count(";")
    return [
        (name, result.strip(), [re.sub(r"\w+$", "", a.strip()).strip() for a in arguments.split(",")])
        for result, name, arguments in found
    ]


def test_the_api_of_plugins_is_that_of_the_header():
    declared = [
        (name, CTYPES[result], [CTYPES[argument] for argument in arguments]) for name, result, arguments in members("fuload_api")
    ]
    assert declared == [(name, kind._restype_, list(kind._argtypes_)) for name, kind in _plugin._Api._fields_]


def test_a_task_begins_with_its_api():
    assert re.search(r"struct fuload_task \{\n    const struct fuload_api \*api;\n\};", HEADER)
    assert _plugin._Task._fields_ == [("api", ctypes.POINTER(_plugin._Api))]


def test_workers_fill_every_member_of_the_api():
    """In the order of the header, or by name: one left out would be a jump to 0."""
    table = re.search(r"fuload_api \w+ = \{([^}]*)\}", (ROOT / "csrc/worker/call_task.c").read_text())
    assert table
    filled = re.findall(r"\.(\w+) =", table[1]) or list(re.findall(r"\w+", table[1]))
    assert len(filled) == len(members("fuload_api"))
