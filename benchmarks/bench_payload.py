"""How long do 8 MiB take: a NumPy array there and back for a Python callable,
and bytes that a C function reads? Threads copy nothing; their row is the work
itself."""

from tasks import LARGE

GROUPS = {
    "C": "8 MiB of bytes to zlib's crc32, C",
    "Python": "8 MiB NumPy array there and back, Python",
}


def bench_payload(measure, pool, kind):
    task = LARGE[kind]
    # The first ones touch fresh pages, on every path that there is.
    pool.warm_up(task)
    measure(GROUPS[kind], f"{pool.name}, {pool.workers} workers", pool.one(task))
