"""What test_python_callables.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import collections
import dataclasses
import enum
import os
import pickle
import threading
from pathlib import Path

from support.tasks import Homesick


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Celsius(float):
    pass


Pair = collections.namedtuple("Pair", "one other")


@dataclasses.dataclass
class Point:
    x: float
    y: float
    tags: list = dataclasses.field(default_factory=list)


def arguments(*args, **kwargs):
    return args, kwargs


class Adder:
    def __init__(self, n):
        self.n = n

    def __call__(self, x):
        return self.n + x

    def method(self, x):
        return self.n + x

    @classmethod
    def class_method(cls, x):
        return cls.__name__, x

    @staticmethod
    def static_method(x):
        return x


class Custom(Exception):
    def __init__(self, code, *, detail=None):
        super().__init__(code)
        self.code = code
        self.detail = detail


def fail_deep_down(n):
    if n:
        fail_deep_down(n - 1)
    return 1 // 0


def fail_in_context():
    try:
        fail_deep_down(0)
    except ZeroDivisionError as error:
        raise KeyError("outer") from error


class Unpicklable:
    def __reduce__(self):
        raise pickle.PicklingError("this one stays at home")


class UnpicklableError(Exception):
    def __init__(self):
        super().__init__(threading.Lock())


def give_lock():
    return threading.Lock()


def give_unpicklable():
    return Unpicklable()


def give_generator():
    return (i for i in range(3))


def fail_unpicklably():
    raise UnpicklableError


class TwoArguments(Exception):
    """Pickled as most exceptions of this kind are: so that it cannot be rebuilt."""

    def __init__(self, one, other):
        super().__init__(f"{one} {other}")


def fail_with_two_arguments():
    raise TwoArguments(1, 2)


def give_homesick():
    return Homesick()


class OwnError(Exception):
    pass


class OwnReason:
    def __reduce__(self):
        raise OwnError("mine")


def give(_):
    return Homesick()


def locked(_):
    return threading.Lock()


def fail_with_two(n):
    raise TwoArguments(1, 2)


def exit_with(code):
    os._exit(code)


kept = []


def keep(value):
    kept.append(value)
    return len(kept)


def die(how, *args, **kwargs):
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), how)


def initialize(path, *values):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    kept.extend(values)


def get_kept():
    return list(kept)


def fail_to_initialize(path):
    Path(path).touch()
    raise RuntimeError("the initializer says no")
