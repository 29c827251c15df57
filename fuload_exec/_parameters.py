"""Checks of FuloadExecutor's parameters: each names what was given and what is allowed."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

MOST_WORKERS = 4096
MOST_SLOTS = 32768
MOST_SLOT_SIZE = 1 << 30
MOST_PAYLOAD = 1 << 46
MOST_RETRIES = 1_000_000


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """An int (or what has __index__) within limits.

    >>> whole_number("slots", 8, 1, 100)
    8
    """
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an int from {least} to {most}, got {value!r}")
    number: int = value.__index__()
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, got {number}")
    return number


def map_chunksize(value: Any) -> int | None:
    if value is None:
        return None
    if not hasattr(type(value), "__index__"):
        raise TypeError(f"chunksize must be an integer or None, got {value!r}")
    if value.__index__() < 1:
        raise ValueError(f"chunksize must be >= 1, got {value!r}")
    return int(value.__index__())


def map_buffersize(value: Any) -> int | None:
    """The errors are worded as in the standard library."""
    if value is None:
        return None
    if not hasattr(type(value), "__index__"):
        raise TypeError(f"buffersize must be an integer or None, got {value!r}")
    if value.__index__() < 1:
        raise ValueError(f"buffersize must be None or > 0, got {value!r}")
    return int(value.__index__())


def seconds(name: str, value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds from 0 to {most:g}, got {value!r}")
    if not 0 <= value <= most or math.isnan(value):
        raise ValueError(f"{name} must be from 0 to {most:g} seconds, got {value!r}")
    return float(value)


def timeout(value: Any) -> float | None:
    if value is None:
        return None
    checked = seconds("timeout", value, 1e9)
    if not checked:
        raise ValueError(f"timeout must be more than 0 seconds, or None, got {value!r}")
    return checked


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def environment(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"env must be a mapping of str to str, got {value!r}")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"env must be a mapping of str to str, got {key!r}: {text!r}")
        if not key or "=" in key or "\0" in key or "\0" in text:
            raise ValueError(f"env must hold names without '=' and texts without null characters, got {key!r}: {text!r}")
    return dict(value)


def pool_name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"name must be a str, got {value!r}")
    if not value or "\0" in value:
        raise ValueError(f"name must be a text without null characters, not empty, got {value!r}")
    return value


def arguments(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a tuple of arguments, got {value!r}")
    return tuple(value)


def worker_command(value: Any) -> list[str]:
    """argv of a worker program, its first part found and executable."""
    if isinstance(value, (str, os.PathLike)):
        command = [os.fspath(value)]
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        command = [os.fspath(part) if isinstance(part, (str, os.PathLike)) else part for part in value]
    else:
        raise TypeError(f"worker must be a path or a sequence of str (argv), got {value!r}")
    if not command or not all(isinstance(part, str) for part in command):
        raise TypeError(f"worker must be a path or a sequence of str (argv), not empty, got {value!r}")
    if any("\0" in part for part in command):
        raise ValueError(f"worker must hold no null characters, got {value!r}")
    found = shutil.which(command[0])
    if found is None:
        raise ValueError(f"worker must name a program that can be executed, got {value!r}")
    return [os.path.abspath(found), *command[1:]]


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity and its cgroup's quota.

    >>> usable_cpus() >= 1
    True
    """
    cpus = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return max(1, min(cpus, math.ceil(quota))) if quota else cpus


def _cgroup_quota() -> float | None:
    """CPUs that the tightest cgroup above this process allows, or None."""
    quotas = []
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                quotas += _quotas_v2(Path("/sys/fs/cgroup" + path))
            elif "cpu" in controllers.split(","):
                quotas += _quotas_v1(Path("/sys/fs/cgroup", controllers) / path.lstrip("/"))
    except (OSError, ValueError):
        pass
    return min(quotas, default=None)


def _quotas_v2(group: Path) -> list[float]:
    found = []
    for place in (group, *group.parents):
        if not place.is_relative_to("/sys/fs/cgroup"):
            break
        try:
            quota, period = (place / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            found.append(int(quota) / int(period))
    return found


def _quotas_v1(group: Path) -> list[float]:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return []
    return [quota / period] if quota > 0 and period > 0 else []
