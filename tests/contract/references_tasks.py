"""What test_references.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path


class Canary:
    def __init__(self, cargo=None):
        self.cargo = cargo

    def method(self, *args):
        return self

    def __call__(self, *args):
        return None


class CanaryError(Exception):
    pass


_seen = []


def watch(canary, *more):
    """Remember the argument weakly; the result is another that is remembered."""
    _seen.append(weakref.ref(canary))
    result = Canary()
    _seen.append(weakref.ref(result))
    return result


def watch_and_fail(canary, *more, error=None):
    _seen.append(weakref.ref(canary))
    error = CanaryError("c")
    _seen.append(weakref.ref(error))
    raise error


def watch_and_return_it(canary, *more):
    _seen.append(weakref.ref(canary))
    return canary


def watch_and_give_what_cannot_be_pickled(canary, *more):
    import threading

    _seen.append(weakref.ref(canary))
    canary.lock = threading.Lock()
    return canary


def stop_collecting():
    gc.collect()
    gc.disable()


def alive():
    """(how many are alive, of how many)"""
    found = sum(s() is not None for s in _seen), len(_seen)
    _seen.clear()
    return found


class Farewell:
    """Says so when it goes, and in which process."""

    def __init__(self, path):
        self.path = path

    def __del__(self):
        Path(f"{self.path}.{os.getpid()}").touch()


def farewells(paths):
    return [Farewell(path) for path in paths]


class FarewellError(Exception):
    def __init__(self, cargo):
        super().__init__()
        self.cargo = cargo

    def __reduce__(self):
        return FarewellError, (None,)


def fail_with_farewell(path):
    raise FarewellError(Farewell(path))
