"""What stands in a pickle, for messages, without importing or calling anything."""

from __future__ import annotations

import io
from _pickle import Unpickler

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["glance"]


class _Seen(type):
    """Stands for a class or function of which only the name is of interest."""

    def __repr__(cls) -> str:
        return cls.__name__


class _Glance(Unpickler):
    """Imports nothing and calls nothing of the user's: what has killed a
    worker must not be let loose here."""

    def find_class(self, module: str, name: str) -> Any:
        return _Seen(name.rpartition(".")[2], (_Opaque,), {})


class _Opaque:
    _args: tuple[Any, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> _Opaque:
        self = object.__new__(cls)
        self._args = args
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __repr__(self) -> str:
        arguments = ", ".join(map(repr, self._args))
        return f"<{type(self).__name__}({arguments})>" if arguments else f"<{type(self).__name__}>"

    def _ignore(self, *args: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = update = _ignore


def glance(stream: bytes) -> Any:
    """What stands in a pickle, for a message: numbers, texts and containers as
    they are, everything else by its name.

    >>> import fractions, pickle
    >>> glance(pickle.dumps([1, fractions.Fraction(1, 3), len]))
    [1, <Fraction(1, 3)>, len]
    """
    return _Glance(io.BytesIO(stream)).load()
