"""A chunk of map(). This is imported in each worker, and imports nothing by itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # One argument of each call, or each result: a list, or as pack_column() has packed it.
    Column = list[Any] | tuple[str, bytes]

__all__ = ["run_chunk"]

# What an exception becomes on its way: see _pickling.packed().
Packed = tuple[bytes, str, str]


def run_chunk(fn: Callable[..., Any], columns: list[Column]) -> tuple[Column, Packed | None]:
    """The results of the calls, and what ended them early."""
    from .._host import pack_column, unpack_column  # type: ignore[import-not-found]

    results: list[Any] = []
    add = results.append
    failure = None
    try:
        if len(columns) == 1:
            for value in unpack_column(columns[0]):
                add(fn(value))
        else:
            for args in zip(*map(unpack_column, columns)):
                add(fn(*args))
    except BaseException as error:
        from .._pickling import packed

        failure = packed(error)
    return pack_column(results), failure


def _picklable_part(outcome: tuple[list[Any], Packed | None], fn: Callable[..., Any]) -> tuple[list[Any], Packed]:
    """What comes before that which cannot be pickled."""
    from _pickle import PicklingError

    from .._pickling import dump, explained, name_of, packed

    results, _ = outcome
    for i, value in enumerate(results):
        try:
            dump(value)
        except Exception as reason:
            return results[:i], packed(explained(reason, name_of(fn), [("the result", value)]))
    return [], packed(PicklingError("results that can be pickled alone cannot be pickled together"))


run_chunk.__fuload_picklable__ = _picklable_part  # type: ignore[attr-defined]
