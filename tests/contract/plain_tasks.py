"""Tasks whose module costs a worker nothing to import."""

from __future__ import annotations

import os
from pathlib import Path

from gates import pass_gate
from support.waiting import until


def fail(value):
    raise KeyError(value)


def environment(name):
    return os.environ[name]


def report_pid_and_pass_gate(mark, path, value=None):
    """Runs until the gate opens; `mark` says where."""
    Path(f"{mark}.new").write_text(str(os.getpid()))
    os.rename(f"{mark}.new", mark)
    return pass_gate(path, value)


def fail_beside_others(number, mark, path):
    """The first fails when another runs, and that one waits for the gate."""
    if number == 0:
        until(lambda: os.path.exists(mark))
        raise KeyError(number)
    return report_pid_and_pass_gate(mark, path)
