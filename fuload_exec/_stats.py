"""What FuloadExecutor.stats() returns."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(frozen):
        """As that of dataclasses, which is slow to import. A program that has changed
        its user or its root meanwhile may not be able to at all."""

        def complete(kind):
            names = kind.__match_args__ = tuple(kind.__annotations__)

            def values(self):
                return tuple(getattr(self, name) for name in names)

            def __init__(self, *given, **named):
                fields = dict(zip(names, given), **named)
                if len(given) > len(names) or fields.keys() != set(names):
                    raise TypeError(f"{kind.__name__} takes {', '.join(names)}")
                self.__dict__.update(fields)

            def __setattr__(self, name, value):
                raise AttributeError(f"cannot assign to field {name!r}")

            def __delattr__(self, name):
                raise AttributeError(f"cannot delete field {name!r}")

            def __eq__(self, other):
                return values(self) == values(other) if type(other) is kind else NotImplemented

            def __repr__(self):
                return f"{kind.__name__}({', '.join(f'{n}={v!r}' for n, v in zip(names, values(self)))})"

            kind.__init__, kind.__eq__, kind.__repr__ = __init__, __eq__, __repr__
            kind.__setattr__, kind.__delattr__ = __setattr__, __delattr__
            kind.__hash__ = lambda self: hash(values(self))
            return kind

        return complete


__all__ = ["PoolStats", "WorkerStats"]


@dataclass(frozen=True)
class WorkerStats:
    """One worker: its pid, what it does ('starting', 'busy', 'polling',
    'asleep', 'called'), tasks done, seconds spent in them, and whether it has
    become a Python interpreter."""

    pid: int
    state: str
    tasks_done: int
    run_seconds: float
    python: bool


@dataclass(frozen=True)
class PoolStats:
    """A pool at one moment. `queued` are tasks that wait in this process for
    a slot, `unfinished` all that have not ended; `run_seconds` and
    `wait_seconds` are sums over all tasks that ended."""

    workers: tuple[WorkerStats, ...]
    submitted: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    doorbells: int
    queued: int
    unfinished: int
    run_seconds: float
    wait_seconds: float
