"""What test_stats.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import os


def read_environment(*names):
    return [os.environ.get(name) for name in names]
