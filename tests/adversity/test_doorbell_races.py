"""The moments around falling asleep and being called: no ring is lost, in
neither direction, whoever submits from wherever."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
import time
from concurrent.futures import as_completed

import pytest
import zoo
from support.waiting import until

PATIENCE = 30


def pauses(dice):
    """Around the time that falling asleep and waking up take."""
    kind = dice.random()
    if kind < 0.3:
        return
    if kind < 0.97:
        zoo.spin_for(dice.uniform(0, 0.0002))
    else:
        time.sleep(dice.uniform(0.00008, 0.0002))


@pytest.mark.parametrize("spin", [0, 5e-6, 60e-6, None])
@pytest.mark.parametrize("workers", [1, 2, 10])
def test_sequential_c(pool, dice, libc, stress, workers, spin):
    executor = pool(workers, spin=spin)
    for i in range((5000 if spin == 0 else 3000) * stress):
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i, executor.stats()
        pauses(dice)


@pytest.mark.parametrize("spin", [0, 5e-6, None])
@pytest.mark.parametrize("workers", [1, 2, 10])
def test_sequential_python(pool, dice, stress, workers, spin):
    executor = pool(workers, spin=spin)
    for i in range((5000 if spin == 0 else 2000) * stress):
        assert executor.submit(zoo.square, i).result(timeout=PATIENCE) == i * i, executor.stats()
        pauses(dice)


@pytest.mark.parametrize("workers", [1, 2, 10])
def test_result_without_a_timeout(pool, dice, libc, stress, workers):
    executor = pool(workers, spin=0)
    for i in range(2000 * stress):
        assert executor.submit(libc.abs, -i).result() == i
        pauses(dice)


@pytest.mark.parametrize("spin", [0, 5e-6, None])
def test_only_the_collector_looks(pool, dice, libc, stress, spin):
    """Nobody waits in result(): each reply has to call the collector."""
    executor = pool(2, spin=spin)
    called = threading.Semaphore(0)
    for i in range(1500 * stress):
        future = executor.submit(libc.abs, -i)
        future.add_done_callback(lambda _: called.release())
        assert called.acquire(timeout=PATIENCE), executor.stats()
        assert future.result(timeout=0) == i
        pauses(dice)


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 10])
def test_bursts(pool, dice, libc, stress, workers, python):
    executor = pool(workers, spin=0, slots=32)
    for _ in range(150 * stress):
        count = dice.choice([1, 2, 3, 11, 33, 100])
        if python:
            futures = [executor.submit(zoo.square, i) for i in range(count)]
            expected = [i * i for i in range(count)]
        else:
            futures = [executor.submit(libc.abs, -i) for i in range(count)]
            expected = list(range(count))
        order = list(range(count))
        dice.shuffle(order)
        for i in order:
            assert futures[i].result(timeout=PATIENCE) == expected[i], executor.stats()
        pauses(dice)


def test_a_long_task_hides_none_behind_it(pool, dice, libc, stress):
    executor = pool(4, spin=0)
    for i in range(60 * stress):
        long = executor.submit(libc.usleep, 30_000)
        short = [executor.submit(libc.abs, -n) for n in range(5)]
        for n, future in enumerate(short):
            assert future.result(timeout=PATIENCE) == n
        if i % 4 == 3:
            assert long.result(timeout=PATIENCE) == 0


def test_one_short_task_behind_endless_ones(pool, libc):
    """All but one worker are taken for good; a single task still gets through."""
    executor = pool(3, spin=0)
    endless = [executor.submit(libc.usleep, 60_000_000) for _ in range(2)]
    until(lambda: all(f.running() for f in endless))
    for i in range(300):
        assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i, executor.stats()
    for worker in executor.stats().workers:
        if worker.state == "busy":
            os.kill(worker.pid, signal.SIGKILL)
    for future in endless:
        future.exception(timeout=PATIENCE)


@pytest.mark.parametrize("workers", [1, 2, 10])
def test_several_threads(pool, dice, libc, stress, workers):
    executor = pool(workers, spin=0)
    wrong = []

    def submit_many(seed):
        import random

        own = random.Random(seed)
        try:
            for i in range(400 * stress):
                if own.random() < 0.8:
                    found, expected = executor.submit(libc.abs, -i).result(timeout=PATIENCE), i
                else:
                    futures = [executor.submit(libc.abs, -n) for n in range(own.randrange(50))]
                    found, expected = [f.result(timeout=PATIENCE) for f in futures], list(range(len(futures)))
                if found != expected:
                    wrong.append((found, expected))
                pauses(own)
        except BaseException as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=submit_many, args=(dice.random(),)) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, (wrong[:3], executor.stats())


def test_first_tasks_of_several_threads(program, stress):
    """One supervisor, one collector, however many are first."""
    p = program(f"""
bad = []
for _ in range({25 * stress}):
    executor = FuloadExecutor(2)
    start = threading.Barrier(6)
    results = []

    def first():
        start.wait()
        results.append(executor.submit(libc.abs, -7).result(timeout=20))

    threads = [threading.Thread(target=first) for _ in range(6)]
    for t in threads: t.start()
    for t in threads: t.join()
    names = until(lambda: len(found := zoo.our_threads()) >= 2 and found)
    if results != [7] * 6 or len(names) != 2:
        bad.append([results, names])
    executor.shutdown()
report(bad=bad)
""")
    assert p.exit(60 * stress) == 0, p.errors()
    assert p.reports()["bad"] == []


def test_submit_from_callbacks(pool, libc, stress):
    executor = pool(2, spin=0)
    ended = threading.Event()
    count = 2000 * stress
    seen = []

    def next_one(future):
        seen.append(future.result(timeout=0))
        if len(seen) < count:
            executor.submit(libc.abs, -len(seen)).add_done_callback(next_one)
        else:
            ended.set()

    executor.submit(libc.abs, 0).add_done_callback(next_one)
    assert ended.wait(PATIENCE * stress), (len(seen), executor.stats())
    assert seen == list(range(count))


def test_result_inside_a_callback(pool, libc):
    """The collector's own thread waits for another task: it collects it."""
    executor = pool(2, spin=0)
    found = []
    for i in range(200):
        first = executor.submit(libc.abs, -i)
        first.add_done_callback(lambda f: found.append(executor.submit(libc.abs, -1000 - f.result()).result(PATIENCE)))
        until(lambda: len(found) == i + 1)
    assert found == list(range(1000, 1200))


@pytest.mark.parametrize("spin", [0, None])
def test_submit_from_signal_handlers(pool, libc, stress, spin):
    """A storm of timers, each submits in the middle of whatever main does."""
    executor = pool(2, spin=spin, slots=64)
    stormy = {}
    numbers = itertools.count()

    def handler(signal_number, frame):
        # Itself interrupted by the next one.
        n = next(numbers)
        if n < 5000:
            stormy[n] = executor.submit(libc.abs, -n)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        due = time.monotonic() + 2 * stress
        i = 0
        while time.monotonic() < due:
            i += 1
            assert executor.submit(libc.abs, -i).result(timeout=PATIENCE) == i
            futures = [executor.submit(libc.abs, -n) for n in range(100)]
            assert [f.result(timeout=PATIENCE) for f in futures] == list(range(100))
            assert executor.submit(zoo.square, i).result(timeout=PATIENCE) == i * i
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stormy
    for n, future in stormy.items():
        assert future.result(timeout=PATIENCE) == n


def test_first_submit_from_a_signal_handler(program, dice, stress):
    """The very first task comes in the middle of the very first submit()."""
    p = program(f"""
import random
dice = random.Random({dice.random()!r})
bad = []

def handler(number, frame):
    stormy.append(executor.submit(libc.abs, -3))

signal.signal(signal.SIGALRM, handler)
for _ in range({60 * stress}):
    executor = FuloadExecutor(2)
    stormy = []
    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, 0.001))
    results = [executor.submit(libc.abs, -4).result(timeout=20)]
    until(lambda: stormy)
    results.append(stormy[0].result(timeout=20))
    names = until(lambda: len(found := zoo.our_threads()) >= 2 and found)
    if results != [4, 3] or len(names) != 2:
        bad.append([results, names])
    executor.shutdown()
report(bad=bad)
""")
    assert p.exit(60 * stress) == 0, p.errors()
    assert p.reports()["bad"] == []


def test_submit_from_finalizers(pool, libc, stress):
    executor = pool(2, spin=0, slots=16)
    futures = {}
    numbers = itertools.count()

    class Last:
        def __init__(self):
            self.me = self

        def __del__(self):
            n = next(numbers)
            futures[n] = executor.submit(libc.abs, -n)

    before = gc.get_threshold()
    gc.set_threshold(7, 2, 2)
    try:
        for i in range(3000 * stress):
            Last()
            future = executor.submit(libc.abs, -i)
            if i % 3 == 0:
                assert future.result(timeout=PATIENCE) == i
    finally:
        gc.set_threshold(*before)
    gc.collect()
    until(lambda: len(futures) == 3000 * stress)
    for n, future in futures.items():
        assert future.result(timeout=PATIENCE) == n


def test_ten_pools_at_once(pool, dice, libc, stress):
    executors = [pool(2, spin=dice.choice([0, None])) for _ in range(10)]
    for _ in range(30 * stress):
        futures = {}
        for i in range(100):
            futures[dice.choice(executors).submit(libc.abs, -i)] = i
        for future in as_completed(futures, timeout=PATIENCE):
            assert future.result() == futures[future]


def test_max_pending_blocks_and_goes_on(pool, libc, stress):
    executor = pool(2, spin=0, max_pending=5)
    futures = [executor.submit(libc.abs, -i) for i in range(3000 * stress)]
    assert [f.result(timeout=PATIENCE) for f in futures] == list(range(len(futures)))


def test_cancelling_races_with_claiming(pool, dice, libc, stress):
    executor = pool(2, spin=0, slots=64)
    for _ in range(60 * stress):
        futures = [executor.submit(libc.abs, -i) for i in range(200)]
        for i in dice.sample(range(200), 100):
            futures[i].cancel()
        for i, future in enumerate(futures):
            if not future.cancelled():
                assert future.result(timeout=PATIENCE) == i
    stats = executor.stats()
    assert stats.submitted == stats.completed + stats.cancelled
    assert stats.unfinished == 0
