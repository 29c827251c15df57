"""How long from nothing to the first result, and until the pool is gone again?"""

from tasks import SMALL


def bench_start(measure, peer, workers, kind):
    task = SMALL[kind]

    def life_of_a_pool():
        with peer(workers) as pool:
            return pool.one(task)()

    measure(f"start, first result, shutdown, {kind}", f"{peer.name}, {workers} workers", life_of_a_pool)
