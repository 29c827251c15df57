"""How long does map take for 10,000 items, one item a task and in chunks?"""

import peers
import pytest
from tasks import KINDS, SMALL

ITEMS = 10_000


def _variants():
    """FuloadExecutor chooses its chunks itself; threads have no chunks."""
    for kind in KINDS:
        yield kind, peers.Fuload, "chosen"
        if kind == "Python":
            yield kind, peers.Fuload, "1"
        for peer in peers.OTHERS:
            yield kind, peer, "1"
            if peer.chunks_calls:
                yield kind, peer, "sensible"


def _chunksize(chunks, workers):
    """Sensible is what multiprocessing.Pool.map chooses: four chunks per worker."""
    return {"chosen": None, "1": 1, "sensible": -(-ITEMS // (4 * workers))}[chunks]


@pytest.mark.parametrize("kind, peer, chunks", list(_variants()))
def bench_map(measure, pool, kind, chunks):
    chunksize = _chunksize(chunks, pool.workers)
    measure(
        f"map: {ITEMS:,} items, {kind}",
        f"{pool.name}, {pool.workers} workers, chunksize={chunksize}",
        pool.mapped(SMALL[kind], ITEMS, chunksize),
    )
