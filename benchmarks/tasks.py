"""What is measured: one task of each kind, small and with 8 MiB."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import c_tasks
import numpy
import python_tasks

EIGHT_MIB = 8 << 20


@dataclass(frozen=True)
class Task:
    """The same work in two forms: `function` as it is, and `picklable` for the
    standard process pools, which refuse ctypes functions."""

    kind: str
    function: Callable[..., Any]
    picklable: Callable[..., Any]
    args: tuple[Any, ...]
    expected: Any

    def check(self, result: Any) -> None:
        """A benchmark of wrong results measures nothing."""
        if not numpy.array_equal(result, self.expected):
            raise AssertionError(f"{self.function!r} returned {result!r}")


def _task(function: Callable[..., Any], args: tuple[Any, ...], expected: Any) -> Task:
    return Task("Python", function, function, args, expected)


def _c_task(function: Any, picklable: Callable[..., Any], args: tuple[Any, ...], expected: Any) -> Task:
    return Task("C", function, picklable, args, expected)


KINDS = ("C", "Python")
# Bytes that do not repeat a page, so that nothing can be shared or guessed.
_ARRAY = numpy.random.default_rng(0).integers(0, 256, EIGHT_MIB, dtype=numpy.uint8)
_BYTES = _ARRAY.tobytes()

SMALL = {
    "C": _c_task(c_tasks.cos, c_tasks.call_cos, (0.5,), math.cos(0.5)),
    "Python": _task(python_tasks.increment, (1,), 2),
}
LARGE = {
    "C": _c_task(c_tasks.crc32, c_tasks.call_crc32, (0, _BYTES, EIGHT_MIB), zlib.crc32(_BYTES)),
    "Python": _task(python_tasks.same, (_ARRAY,), _ARRAY),
}
