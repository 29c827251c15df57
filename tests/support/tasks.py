"""Tasks that tests of several folders submit. Workers import this module: it is light."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NoReturn


def same(value: Any) -> Any:
    return value


def fail(error: BaseException) -> NoReturn:
    raise error


def square(x: Any) -> Any:
    return x * x


def double(x: Any) -> Any:
    return 2 * x


def die_once(path: str) -> int:
    """The first that comes here dies, the second lives."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return os.getpid()
    os._exit(9)


class Homesick:
    """Can be rebuilt only in the process that made it."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_only_in, (self.pid,)


def rebuild_only_in(pid: int) -> str:
    if os.getpid() != pid:
        raise LookupError(f"not in {pid}")
    return "rebuilt"


def wait_for(path: Path) -> None:
    """Until the file is there."""
    while not path.exists():
        time.sleep(0.002)
