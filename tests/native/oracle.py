"""ctypes in this process says what a worker's result must be."""

from __future__ import annotations

import ctypes
import struct
from typing import Any


def bits(value: Any) -> Any:
    """Something that compares equal for equal bits only, NaNs included."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, (ctypes.Structure, ctypes.Array, ctypes._SimpleCData)):
        return bytes(value)
    return value


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, and of one type."""
    return type(one) is type(other) and bits(one) == bits(other)


def check(executor: Any, function: Any, *args: Any) -> None:
    """A worker's result is what ctypes gives here."""
    expected, found = function(*args), executor.submit(function, *args).result()
    assert same(found, expected), (function.__name__, args, found, expected)


def double_of(pattern: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", pattern))[0]
