"""What test_functions_by_name.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import functools
import math


def double(x):
    return 2 * x


def traced(function):
    @functools.wraps(function)
    def wrapper(*args):
        return "traced", function(*args)

    return wrapper


@traced
def decorated(x):
    return x


class Tools:
    @staticmethod
    def static(x):
        return "static", x

    @classmethod
    def of_class(cls, x):
        return cls.__name__, x

    def plain(self, x):
        return type(self).__name__, x

    class Inner:
        def plain(self, x):
            return "inner", x


def floor():
    return math.floor


def twice(function, x):
    return function(function(x))
