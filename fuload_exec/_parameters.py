"""Checks of FuloadExecutor's parameters: each names what was given and what is allowed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence

from ._core import MOST_WORKERS

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

MOST_PAYLOAD = 1 << 46
MOST_RETRIES = 1_000_000
MOST_TASKS = 1 << 60
MOST_SECONDS = 1e9

_CGROUPS = "/sys/fs/cgroup"


def whole_number(name: str, value: Any, least: int, most: int, none: str = "") -> int:
    """An int (or what has __index__) within limits. `none`: how messages say
    that None is allowed too.

    >>> whole_number("slots", 8, 1, 100)
    8
    """
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be {none}an int from {least} to {_readable(most)}, got {value!r}")
    number: int = value.__index__()
    if not least <= number <= most:
        raise ValueError(f"{name} must be {none}from {least} to {_readable(most)}, got {number}")
    return number


def whole_number_or_none(name: str, value: Any, least: int, most: int) -> int | None:
    return None if value is None else whole_number(name, value, least, most, "None or ")


def max_workers(value: Any) -> int | None:
    """The error for less than 1 is worded as in the standard library."""
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        raise ValueError(f"max_workers must be greater than 0 and at most {MOST_WORKERS}, or None, got {value!r}")
    return whole_number_or_none("max_workers", value, 1, MOST_WORKERS)


def _readable(number: int) -> str:
    """
    >>> _readable(4096), _readable(1 << 46)
    ('4096', '2**46')
    """
    power = number.bit_length() - 1
    return f"2**{power}" if number >= 1 << 30 and number == 1 << power else str(number)


def map_chunksize(value: Any) -> int | None:
    if value is None:
        return None
    if not hasattr(type(value), "__index__"):
        raise TypeError(f"chunksize must be an integer or None, got {value!r}")
    if value.__index__() < 1:
        raise ValueError(f"chunksize must be >= 1, or None, got {value!r}")
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


def _as_float(name: str, value: Any, allowed: str) -> float:
    """Of any real number: a Fraction, a Decimal, NumPy's; not of a bool."""
    kind = type(value)
    number = hasattr(kind, "__float__") or hasattr(kind, "__index__")
    # NumPy's bools, complex numbers and arrays have these methods too.
    if (
        not number
        or isinstance(value, bool)
        or hasattr(kind, "__len__")
        or getattr(getattr(value, "dtype", None), "kind", "f") not in "fiu"
    ):
        raise TypeError(f"{name} must be {allowed}, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {allowed}, got {value!r}") from None


def spin(value: Any) -> float | None:
    if value is None:
        return None
    allowed = "None or a number of seconds from 0 to 3600"
    checked = _as_float("spin", value, allowed)
    if not 0 <= checked <= 3600:
        raise ValueError(f"spin must be {allowed}, got {value!r}")
    return checked


def timeout(value: Any) -> float | None:
    """Of a task."""
    if value is None:
        return None
    allowed = f"None or a number of seconds, more than 0 and at most {MOST_SECONDS:g}"
    checked = _as_float("timeout", value, allowed)
    if not 0 < checked <= MOST_SECONDS:
        raise ValueError(f"timeout must be {allowed}, got {value!r}")
    return checked


def waiting_time(value: Any) -> float | None:
    """The timeout of result(), exception() and map(): one that is not above 0
    (nor a number) is over at once."""
    return None if value is None else _as_float("timeout", value, "None or a number of seconds")


def context(value: Any) -> Any:
    """A multiprocessing context, or what serves as one (the module itself)."""
    if value is not None and (isinstance(value, type) or not callable(getattr(value, "get_start_method", None))):
        raise TypeError(
            f"mp_context must be None or a multiprocessing context, as multiprocessing.get_context() returns one, got {value!r}"
        )
    return value


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def environment(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"env must be None or a mapping of str to str, got {value!r}")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"env must be None or a mapping of str to str, got {key!r}: {text!r}")
        if not key or "=" in key or "\0" in key or "\0" in text:
            raise ValueError(f"env must be None or hold names without '=' and texts without null characters, got {key!r}: {text!r}")
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
        raise TypeError(f"worker must be None, a path or a sequence of str (argv), got {value!r}")
    if not command or not all(isinstance(part, str) for part in command):
        raise TypeError(f"worker must be None, a path or a sequence of str (argv), not empty, got {value!r}")
    if any("\0" in part for part in command):
        raise ValueError(f"worker must be None or hold no null characters, got {value!r}")
    from shutil import which

    found = which(command[0])
    if found is None:
        raise ValueError(f"worker must be None or name a program that can be executed, got {value!r}")
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
        for line in _text("/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                quotas += _quotas_v2(os.path.normpath(_CGROUPS + path))
            elif "cpu" in controllers.split(","):
                quotas += _quotas_v1(os.path.join(_CGROUPS, controllers, path.lstrip("/")))
    except (OSError, ValueError):
        pass
    return min(quotas, default=None)


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _quotas_v2(group: str) -> list[float]:
    found = []
    while group.startswith(_CGROUPS):
        try:
            quota, period = _text(f"{group}/cpu.max").split()
            if quota != "max":
                found.append(int(quota) / int(period))
        except (OSError, ValueError):
            pass
        group = os.path.dirname(group)
    return found


def _quotas_v1(group: str) -> list[float]:
    try:
        quota = int(_text(f"{group}/cpu.cfs_quota_us"))
        period = int(_text(f"{group}/cpu.cfs_period_us"))
    except (OSError, ValueError):
        return []
    return [quota / period] if quota > 0 and period > 0 else []
