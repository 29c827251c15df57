"""What test_map.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import os
import sys
import threading

from gates import pass_gate


def fail_at(at, i):
    if i == at:
        raise KeyError(i)
    return i


class Thing:
    """Can be referred to weakly."""


def give_thing(_):
    return Thing()


def divmod_behind_a_gate(one, other):
    return divmod(one, other) if isinstance(one, int) else pass_gate(one)


def raise_instance_at(error, at, i):
    if i == at:
        raise error
    return i


class Locked(Exception):
    def __init__(self, i):
        super().__init__(i, threading.Lock())


def fail_with_a_lock_at(at, i):
    if i == at:
        raise Locked(i)
    return i


def give_a_lock_at(at, i):
    return threading.Lock() if i == at else i


def is_loaded(name):
    return name in sys.modules


class Whole(int):
    """No int as it travels."""


def exit_at_once(*args):
    os._exit(3)
