"""Conditions that tests wait for. Workers import this module: it is light."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait for the condition, and give what it gave; it is an error if it does not come in time."""
    due = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > due:
            raise TimeoutError(f"still not so after {seconds} s: {condition}")
        time.sleep(0.001)
    return found


def process_state(pid: int) -> str:
    """One letter, as in /proc: "S" for one that sleeps, "Z" for a zombie, "X" for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def exists(pid: int) -> bool:
    """Whether the process is not reaped yet."""
    return process_state(pid) != "X"


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    return process_state(pid) not in "ZX"


def asleep(executor: Any) -> bool:
    """Whether there are workers, and all of them wait to be called."""
    workers = executor.stats().workers
    return len(workers) > 0 and all(worker.state == "asleep" for worker in workers)
