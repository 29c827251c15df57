"""What test_initializer.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from logging.handlers import QueueHandler
from pathlib import Path

from gates import pass_gate
from support.tasks import wait_for


def leave(*_):
    os._exit(3)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def touch_and_pass_gate(mark, path):
    Path(mark).touch()
    pass_gate(path)


def pass_gate_and_fail(path):
    pass_gate(path)
    raise ValueError("of an initializer")


class Lost(Exception):
    """Cannot be pickled."""

    def __reduce__(self):
        raise LookupError


def fail_lost():
    raise Lost("where is it")


def set_recursion_limit(limit):
    sys.setrecursionlimit(limit)


def log_to_and_fail(queue):
    logger = logging.getLogger("concurrent.futures")
    logger.addHandler(QueueHandler(queue))
    logger.propagate = False
    raise LookupError("no database")


class Deaf(logging.Handler):
    def emit(self, record):
        raise OSError("of a handler")


def spoil_logging_and_fail():
    logging.getLogger("concurrent.futures").addHandler(Deaf())
    raise LookupError("no database")


def pass_or_wait(folder):
    """The first of a pool's workers passes, the others wait until they may."""
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        (folder / "second").touch()
        wait_for(folder / "open")


def pass_once_then_fail(folder):
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        (folder / "second").touch()
        raise ValueError("of a later initializer") from None
