"""What test_nesting.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from fuload_exec import FuloadExecutor


def squares_by_a_pool_of_its_own(n):
    with FuloadExecutor(2) as executor:
        return [f.result() for f in [executor.submit(pow, i, 2) for i in range(n)]]


def nest(depth):
    """Pids from here down."""
    if not depth:
        return [os.getpid()]
    with FuloadExecutor(1) as executor:
        return [os.getpid(), *executor.submit(nest, depth - 1).result()]


def fail_in_a_nested_pool():
    with FuloadExecutor(1) as executor:
        return executor.submit(divmod, 1, 0).result()


left_open = []


def leave_a_pool_open():
    executor = FuloadExecutor(1)
    left_open.append(executor)
    return executor.submit(os.getpid).result()


def call_c_in_a_nested_pool(value):
    import ctypes

    library = ctypes.CDLL("libm.so.6")
    library.fabs.argtypes, library.fabs.restype = [ctypes.c_double], ctypes.c_double
    with FuloadExecutor(1) as executor:
        return executor.submit(library.fabs, value).result()


def die_in_a_nested_pool():
    with FuloadExecutor(1) as executor:
        return type(executor.submit(os._exit, 3).exception()).__name__, executor.submit(abs, -1).result()


def threads_abs(value):
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(abs, value).result()
