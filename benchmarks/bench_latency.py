"""How long does one task take, from submit to result?"""

from tasks import SMALL


def bench_latency(measure, pool, kind):
    measure(
        f"latency of one task, {kind}",
        f"{pool.name}, {pool.workers} workers",
        pool.one(SMALL[kind]),
        seconds=0.5,
    )
