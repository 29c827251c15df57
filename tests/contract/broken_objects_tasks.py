"""What test_broken_objects.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import sys

from gates import report_and_pass_gate


def crash():
    faulthandler.disable()  # the standard pool's workers have pytest's
    ctypes.string_at(0)


def leave():
    os._exit(3)


def system_exit():
    sys.exit(3)


def fail():
    raise LookupError("of a bad object")


def interrupt():
    raise KeyboardInterrupt("of a bad object")


class AtPickle:
    """Does it when it is pickled."""

    def __init__(self, act):
        self.act = act

    def __reduce__(self):
        self.act()


class AtUnpickle:
    """Does it when it is rebuilt."""

    def __init__(self, act):
        self.act = act

    def __reduce__(self):
        return self.act, ()


class AtSetState:
    def __getstate__(self):
        return {"x": 1}

    def __setstate__(self, state):
        raise LookupError("of a bad object")


class AtRepr:
    def __repr__(self):
        raise LookupError("of a bad object")


class ErrorAtStr(Exception):
    def __str__(self):
        raise LookupError("of a bad object")


def make(cls, *args):
    return cls(*args)


def raise_made(cls, *args):
    raise cls(*args)


class PickledAs(Exception):
    """Rebuilt as something else."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


class ErrorWith(Exception):
    """An exception that carries something bad."""

    def __init__(self, cls, *args):
        super().__init__(cls, *args)
        self.cargo = cls(*args)


def crash_with(data):
    crash()


def report_and_pass_gate_and_crash(mark, path):
    report_and_pass_gate(mark, path)
    crash()


def make_behind_a_gate(path, act):
    os.close(os.open(path, os.O_RDONLY))
    return AtUnpickle(act)


def leave_with(*args, **kwargs):
    os._exit(3)


class Grumpy(Exception):
    """Cannot be pickled, and the reason cannot be said."""

    def __reduce__(self):
        raise ErrorAtStr


def deep(n):
    value = []
    for _ in range(n):
        value = [value]
    return value


def depth(value):
    n = 0
    while value:
        value, n = value[0], n + 1
    return n


def recurse(n):
    return recurse(n + 1)
