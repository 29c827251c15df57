"""What stands in a pickle, for messages, without importing or calling anything."""

from __future__ import annotations

import io
from _pickle import Unpickler

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Iterable
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


class _Large(bytes):
    """Stands for so many bytes beside the pickle, which nobody reads here."""

    size: int

    def __repr__(self) -> str:
        return f"<{self.size} bytes>"


def _large(size: int) -> _Large:
    made = _Large()
    made.size = size
    return made


class _Opaque:
    _args: tuple[Any, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> _Opaque:
        self = object.__new__(cls)
        self._args = args
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __repr__(self) -> str:
        if type(self).__name__ == "str" and self._args and isinstance(self._args[0], _Large):
            return f"<a text of {self._args[0].size} bytes>"
        arguments = ", ".join(map(repr, self._args))
        return f"<{type(self).__name__}({arguments})>" if arguments else f"<{type(self).__name__}>"

    def _ignore(self, *args: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = update = _ignore


def glance(stream: bytes, sizes: Iterable[int] = ()) -> Any:
    """What stands in a pickle, for a message: numbers, texts and containers as
    they are, everything else by its name. `sizes`: of the buffers beside it.

    >>> import fractions, pickle
    >>> glance(pickle.dumps([1, fractions.Fraction(1, 3), len]))
    [1, <Fraction(1, 3)>, len]
    """
    return _Glance(io.BytesIO(stream), buffers=map(_large, sizes)).load()
