"""What test_futures.py runs in workers, which import nothing else of it."""

from __future__ import annotations


class Alarm(Exception):
    pass
