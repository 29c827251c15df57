"""What test_futures.py runs in workers, which import nothing else of it."""

from __future__ import annotations


def fail(error):
    raise error


class Alarm(Exception):
    pass
