"""What the benchmarks share: the parameters, a warm pool, and how long to measure."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import peers
import pytest
from tasks import KINDS, SMALL
from time_limit import time_limit

_LIMIT_SECONDS = 120
_MOST_ROUNDS = 20_000
_LEAST_ROUNDS = 3


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=(2, 10), ids="{}-workers".format)
def workers(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=peers.ALL, ids=lambda peer: peer.name)
def peer(request: pytest.FixtureRequest) -> type[peers.Peer]:
    return request.param


@pytest.fixture
def pool(peer: type[peers.Peer], workers: int, kind: str) -> Iterator[peers.Peer]:
    """All its workers run, and have run a task of this kind."""
    with peer(workers) as opened:
        opened.warm_up(SMALL[kind])
        yield opened


def _duration(call: Callable[[], Any]) -> float:
    """The fastest of a few calls, or of one that is slow."""
    durations: list[float] = []
    while len(durations) < 10 and sum(durations) < 0.1:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return min(durations)


@pytest.fixture
def measure(benchmark: Any) -> Callable[..., None]:
    """measure(group, row, call, seconds): as many rounds as fit the seconds."""

    def run(group: str, row: str, call: Callable[[], Any], seconds: float = 1.0, iterations: int = 1) -> None:
        benchmark.group, benchmark.name = group, row
        rounds = int(seconds / (_duration(call) * iterations))
        benchmark.pedantic(call, rounds=max(_LEAST_ROUNDS, min(_MOST_ROUNDS, rounds)), iterations=iterations)

    return run


def _has_children() -> bool:
    """Also of other threads, and zombies too."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A leftover worker would disturb every benchmark after it."""
    with time_limit(_LIMIT_SECONDS):
        yield
    assert not _has_children(), "the pool left processes behind"
