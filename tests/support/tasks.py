"""Tasks that tests of several folders submit. Workers import this module: it is light."""

from __future__ import annotations

from typing import Any, NoReturn


def same(value: Any) -> Any:
    return value


def fail(error: BaseException) -> NoReturn:
    raise error


def square(x: Any) -> Any:
    return x * x


def double(x: Any) -> Any:
    return 2 * x
