"""How long from nothing to the first result, and until the pool is gone again?
And until the first Python result, or until ten workers run Python?"""

import pytest
import starts
from tasks import SMALL

_ROUNDS = 9


def bench_start(measure, peer, workers, kind):
    task = SMALL[kind]

    def life_of_a_pool():
        with peer(workers) as pool:
            return pool.one(task)()

    measure(f"start, first result, shutdown, {kind}", f"{peer.name}, {workers} workers", life_of_a_pool)


@pytest.fixture
def servers():
    """Those of multiprocessing end with the benchmark."""
    yield
    starts.stop_servers()


@pytest.mark.parametrize("method", starts.ALL, ids=lambda method: method.name)
@pytest.mark.parametrize("question", starts.QUESTIONS)
def bench_new_pool(benchmark, servers, question, method):
    def prepare():
        start = method()
        start.prepare()
        return (start,), {}

    benchmark.group, benchmark.name = f"new pool of {starts.WORKERS}: {question}", method.name
    benchmark.pedantic(starts.QUESTIONS[question], setup=prepare, teardown=method.close, rounds=_ROUNDS)
