"""How many times faster is FuloadExecutor than each other executor, on this
machine, now? And is that what the project requires?

FuloadExecutor and the peer take turns (A B A B ...), so that whatever else the
machine does meets both. A round of one is the median of its calls, or one burst;
a ratio is that of two rounds side by side; the table shows the median ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import peers
from tasks import KINDS, LARGE, SMALL, Task
from time_limit import time_limit

WORKERS = (2, 10)
# Times faster than ProcessPoolExecutor with fork.
REQUIRED = {
    ("latency", "C"): 100,
    ("latency", "Python"): 15,
    ("throughput", "C"): 60,
    ("throughput", "Python"): 10,
    ("8 MiB there and back", "Python"): 8,
}
# Of the throughput of 2 workers, that of 10.
REQUIRED_OF_TEN = 0.5
_LIMIT_SECONDS = 300
# CPUs that other programs may use before the table says so.
_QUIET = 0.1


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int
    bursts: int
    burst_tasks: int
    seconds: float


FULL = Effort(rounds=7, bursts=5, burst_tasks=10_000, seconds=0.1)
QUICK = Effort(rounds=3, bursts=3, burst_tasks=2_000, seconds=0.05)

# The seconds that one task took, in one round.
Round = Callable[[], float]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def latency_round(pool: peers.Peer, task: Task, effort: Effort) -> Round:
    call = pool.one(task)

    def run() -> float:
        durations: list[float] = []
        end = time.perf_counter() + effort.seconds
        while time.perf_counter() < end or len(durations) < 3:
            durations.append(_seconds(call))
        return statistics.median(durations)

    return run


def throughput_round(pool: peers.Peer, task: Task, effort: Effort) -> Round:
    burst = pool.burst(task, effort.burst_tasks)
    return lambda: _seconds(burst) / effort.burst_tasks


@dataclass
class Rounds:
    """Two sides that took turns."""

    ours: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def take_turns(ours: Round, other: Round, rounds: int) -> Rounds:
    found = Rounds()
    ours(), other()
    for _ in range(rounds):
        found.ours.append(ours())
        found.ratios.append(other() / found.ours[-1])
    return found


@dataclass
class Row:
    """One line of the table: a case, and the rounds against each peer."""

    case: str
    kind: str
    workers: int
    against: dict[str, Rounds] = field(default_factory=dict)

    @property
    def missed(self) -> bool:
        return self.standard.ratio < REQUIRED[self.case, self.kind]

    @property
    def standard(self) -> Rounds:
        return self.against[peers.ProcessPool.name]

    def __str__(self) -> str:
        ours = statistics.median(second for rounds in self.against.values() for second in rounds.ours)
        return (
            f"{self.case:21} {self.kind:6} {self.workers:7} {ours * 1e6:10.2f} µs"
            f"{_judged(self.standard, REQUIRED[self.case, self.kind])}"
            + "".join(f" {_short(self.against[peer.name].ratio):>8}" for peer in peers.OTHERS[1:])
        )


def _judged(rounds: Rounds, required: float) -> str:
    spread = f"({_short(min(rounds.ratios))}-{_short(max(rounds.ratios))})"
    verdict = "MISSED" if rounds.ratio < required else "ok"
    return f" {_short(rounds.ratio):>6} {spread:13} {required:8} {verdict:6}"


def _short(ratio: float) -> str:
    """Three figures: 0.0142, 9.87, 254."""
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


HEADING = f"""\
{"":42}FuloadExecutor is this many times faster than
{"":42}ProcessPoolExecutor with fork          mp.Pool  Threads
{"case":21} {"kind":6} workers {"one task":>13} {"ratio":>6} {"(its rounds)":13} required"""


def cases(kind: str, effort: Effort) -> Iterator[tuple[str, Task, Callable[..., Round], int]]:
    yield "latency", SMALL[kind], latency_round, effort.rounds
    yield "throughput", SMALL[kind], throughput_round, effort.bursts
    if kind == "Python":
        yield "8 MiB there and back", LARGE[kind], latency_round, effort.rounds


def compare(rows: dict[str, Row], kind: str, workers: int, peer: type[peers.Peer], effort: Effort) -> None:
    """All cases on one pair of pools. The peer forks first, while this process
    has no other threads."""
    with peer(workers) as other:
        other.warm_up(SMALL[kind])
        with peers.Fuload(workers) as ours:
            ours.warm_up(SMALL[kind])
            for case, task, one_round, rounds in cases(kind, effort):
                turns = take_turns(one_round(ours, task, effort), one_round(other, task, effort), rounds)
                rows.setdefault(case, Row(case, kind, workers)).against[peer.name] = turns


def compare_all(effort: Effort) -> list[Row]:
    found = []
    for kind in KINDS:
        for workers in WORKERS:
            rows: dict[str, Row] = {}
            for peer in peers.OTHERS:
                _progress(f"{kind}, {workers} workers, beside {peer.name}")
                compare(rows, kind, workers, peer, effort)
            found += rows.values()
    order = list(REQUIRED)
    return sorted(found, key=lambda row: order.index((row.case, row.kind)))


def ten_to_two(kind: str, effort: Effort) -> Rounds:
    """Throughput of many workers as a share of that of few."""
    few, many = WORKERS
    _progress(f"{kind}, {many} workers beside {few}")
    with peers.Fuload(few) as small, peers.Fuload(many) as large:
        small.warm_up(SMALL[kind])
        large.warm_up(SMALL[kind])
        sides = (throughput_round(pool, SMALL[kind], effort) for pool in (large, small))
        return take_turns(*sides, effort.rounds * 2)


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def _busy_seconds() -> float:
    """CPU time that all programs of the machine have used."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, *interrupts = map(int, stat.readline().split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """CPU time of this process and of the workers that it has reaped."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def print_neighbours(others: float, wall: float) -> None:
    """Ratios from a busy machine say little."""
    used = max(0.0, others / wall)
    advice = "" if used < _QUIET else ": measure again when they rest"
    print(f"\n{wall:.0f} seconds; other programs used {used:.2f} of {os.cpu_count()} CPUs meanwhile{advice}")


def run(effort: Effort) -> bool:
    """Prints the table; whether it holds what is required."""
    rows = compare_all(effort)
    scaling = {kind: ten_to_two(kind, effort) for kind in KINDS}
    _progress("")
    print(HEADING, *rows, sep="\n")
    print("\nThroughput of 10 workers, of that of 2")
    for kind, rounds in scaling.items():
        print(f"{'':21} {kind:6} {'':21}{_judged(rounds, REQUIRED_OF_TEN)}")
    return not any(row.missed for row in rows) and min(r.ratio for r in scaling.values()) >= REQUIRED_OF_TEN


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: half a minute")
    effort = QUICK if parser.parse_args().quick else FULL
    start, others = time.monotonic(), _busy_seconds() - _own_seconds()
    with time_limit(_LIMIT_SECONDS):
        held = run(effort)
    print_neighbours(_busy_seconds() - _own_seconds() - others, time.monotonic() - start)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
