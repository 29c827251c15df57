"""The Python callables that workers run.

They have a module of their own that imports next to nothing, because a worker
imports it before its first task and the start-up benchmark counts that.
"""

import os
import threading
import time


def increment(number):
    """Less work than any way of asking for it."""
    return number + 1


def same(array):
    """There and back."""
    return array


def nap_and_tell_who(seconds):
    """Sleeps long enough for the other workers to start and take a task too."""
    time.sleep(seconds)
    return os.getpid(), threading.get_native_id()
