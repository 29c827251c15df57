"""What test_errors.py runs in workers, which import nothing else of it."""

from __future__ import annotations


def raise_(error):
    raise error
