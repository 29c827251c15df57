"""How long do 10,000 tasks take, all submitted before the first result is read?"""

from tasks import SMALL

TASKS = 10_000


def bench_throughput(measure, pool, kind):
    measure(
        f"throughput: {TASKS:,} tasks, {kind}",
        f"{pool.name}, {pool.workers} workers",
        pool.burst(SMALL[kind], TASKS),
    )
