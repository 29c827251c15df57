"""What test_ctypes_pickles.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import ctypes


def apply(function, *args):
    return function(*args)


def refuse_minus_one(result, function, args):
    if result == -1:
        raise OSError(ctypes.get_errno(), function.__name__)
    return result


class Library(ctypes.CDLL):
    """One with a constructor and an attribute of its own."""

    def __init__(self):
        super().__init__("libm.so.6", use_errno=True)
        self.colour = "red"
