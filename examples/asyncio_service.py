"""A service that computes for its clients, in workers, and stops computing when
nobody waits any more: a client that has hung up, a request that takes too long.

    python examples/asyncio_service.py

Each client sends a number and gets the number of primes below it. With
cancel_running=True a cancelled await stops the worker that computes for it.
"""

from __future__ import annotations

import asyncio
import functools
import sys

from fuload_exec import FuloadExecutor

LIMIT = 5.0  # seconds that a request may take
NEVER = 10**15


def primes_below(n: int) -> int:
    return sum(all(k % d for d in range(2, int(k**0.5) + 1)) for k in range(2, n))


async def serve(executor: FuloadExecutor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client: its request, then the answer, unless it hangs up before."""
    n = int(await reader.readline())
    answer = asyncio.ensure_future(compute(executor, n))
    hung_up = asyncio.ensure_future(reader.read())
    await asyncio.wait({answer, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    if answer.done():
        writer.write(answer.result().encode() + b"\n")
    else:
        answer.cancel()
        print(f"  (the client who asked for {n:.0e} has hung up: its worker is stopped)")
    hung_up.cancel()
    await asyncio.gather(answer, hung_up, return_exceptions=True)
    writer.close()


async def compute(executor: FuloadExecutor, n: int) -> str:
    work = asyncio.get_running_loop().run_in_executor(executor, primes_below, n)
    try:
        return f"{await asyncio.wait_for(work, LIMIT):,} primes below {n:,}"
    except asyncio.TimeoutError:
        return f"the primes below {n:.0e} would take more than {LIMIT:g} seconds"


async def ask(address: tuple[str, int], n: int, patience: float | None = None) -> str:
    """What a client does; it hangs up after `patience` seconds."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{n}\n".encode())
    try:
        return (await asyncio.wait_for(reader.readline(), patience)).decode().strip()
    except asyncio.TimeoutError:
        return "no answer, I hang up"
    finally:
        writer.close()


async def run() -> int:
    with FuloadExecutor(2, cancel_running=True) as executor:
        # The interpreters start before the first client comes.
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(executor, primes_below, 1000) for _ in range(20)))
        server = await asyncio.start_server(functools.partial(serve, executor), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]

        print(f"one client:     {await ask(address, 1000)}")
        print(f"impatient one:  {await ask(address, NEVER, patience=0.2)}")
        print(f"greedy one:     {await ask(address, NEVER)}")
        many = await asyncio.gather(*(ask(address, 10 * n) for n in range(1, 51)))
        print(f"then 50 at once: {many[0]} ... {many[-1]}")

        server.close()
        await server.wait_closed()
        cancelled = executor.stats().cancelled
        print(f"{cancelled} tasks were stopped while they ran; the pool served on")
    return 0 if cancelled == 2 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
