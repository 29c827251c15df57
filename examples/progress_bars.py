"""Progress bars: tqdm around map and as_completed, rich fed by callbacks.

python examples/progress_bars.py        (needs tqdm and rich)
"""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import as_completed

from rich.progress import Progress
from tqdm import tqdm

from fuload_exec import FuloadExecutor

COUNT = 300


def digest(n: int) -> str:
    """Some milliseconds of work."""
    return hashlib.pbkdf2_hmac("sha256", b"password", n.to_bytes(4, "big"), 5000).hex()


def main() -> int:
    right = [digest(n) for n in range(COUNT)]
    with FuloadExecutor() as executor:
        # In order, as the results are read.
        in_order = list(tqdm(executor.map(digest, range(COUNT), chunksize=1), total=COUNT, desc="tqdm, map"))

        # In the order in which they end.
        futures = [executor.submit(digest, n) for n in range(COUNT)]
        ended = {future.result() for future in tqdm(as_completed(futures), total=COUNT, desc="tqdm, as_completed")}

        # Nobody loops: each task moves the bar when it ends.
        with Progress() as progress:
            bar = progress.add_task("rich, callbacks", total=COUNT)
            futures = [executor.submit(digest, n) for n in range(COUNT)]
            for future in futures:
                future.add_done_callback(lambda _: progress.advance(bar))
            fed = [future.result() for future in futures]
            executor.shutdown()  # and now all callbacks have been called

    agreed = in_order == fed == right and ended == set(right)
    print("All digests are right." if agreed else "SOME DIGESTS ARE WRONG")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
