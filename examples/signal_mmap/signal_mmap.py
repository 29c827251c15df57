"""Ten C workers read a text in an mmap when SIGUSR1 rings them.

    python examples/signal_mmap/signal_mmap.py                  # a text a line, Ctrl-C ends
    python examples/signal_mmap/signal_mmap.py "first" "second" # these texts

README.md, in this folder, tells where the idea comes from.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fuload_exec import FuloadExecutor

WORKERS = 10

# Seconds that a worker waits for the others of its round.
PATIENCE = 10.0


def main(texts: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="signal_mmap-") as folder:
        announce = compile_library(Path(folder)).announce
        announce.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_double]
        announce.restype = ctypes.c_int
        # spin=0: a worker with nothing to do sleeps at once, until SIGUSR1 comes.
        with FuloadExecutor(WORKERS, spin=0, name="announce") as executor:
            told = Crier(executor, announce, Path(folder)).tell_all(texts or typed_lines())
            if not texts:
                print("No more input; Ctrl-C ends the workers.", flush=True)
                wait_for_interrupt()
    return 0 if told else 1


class Crier:
    """Makes every worker call announce(), once a text."""

    def __init__(self, executor: FuloadExecutor, announce: Callable[..., int], folder: Path) -> None:
        self.executor = executor
        self.announce = announce
        self.folder = folder
        self.rounds = 0

    def tell_all(self, texts: Iterable[str]) -> bool:
        """False if some worker did not come."""
        # Workers start when there is work: a round without a text starts all.
        came = self.call_all(None)
        self.wait_until_asleep()
        print(f"{came} workers sleep: {' '.join(map(str, self.executor.worker_pids))}", flush=True)
        return all(self.tell(text) for text in texts)

    def tell(self, text: str) -> bool:
        rung_before = self.executor.stats().doorbells
        came = self.call_all(os.fsencode(text))
        rung = self.executor.stats().doorbells - rung_before
        print(f"{came} of {WORKERS} workers have read it, {rung} were rung by SIGUSR1", flush=True)
        self.wait_until_asleep()
        return came == WORKERS

    def call_all(self, text: bytes | None) -> int:
        """One call for each worker. None of them returns before all have
        begun, so no worker gets two; how many came."""
        self.rounds += 1
        call = (text, os.fsencode(self.folder / f"round-{self.rounds}"), WORKERS, PATIENCE)
        futures = [self.executor.submit(self.announce, *call) for _ in range(WORKERS)]
        errors = [error for error in (future.result() for future in futures) if error]
        for error in set(errors):
            print(f"announce(): {os.strerror(error)}", file=sys.stderr)
        return WORKERS - len(errors)

    def wait_until_asleep(self) -> None:
        """Only for the show: so that the next text finds all of them asleep."""
        due = time.monotonic() + PATIENCE
        while any(worker.state != "asleep" for worker in self.executor.stats().workers) and time.monotonic() < due:
            time.sleep(0.001)


def compile_library(folder: Path) -> ctypes.CDLL:
    source, library = Path(__file__).with_name("announce.c"), folder / "announce.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        subprocess.run([*compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", library, source], check=True)
    except FileNotFoundError:
        sys.exit(f"The C compiler {compiler[0]} is missing: 'apt-get install gcc libc6-dev' brings one.")
    return ctypes.CDLL(str(library))


def typed_lines() -> Iterator[str]:
    """Line by line, as they are typed."""
    print(f"Type a text: each of {WORKERS} workers prints what it reads. Ctrl-C ends them all.", flush=True)
    return (line.rstrip("\n") for line in sys.stdin)


def wait_for_interrupt() -> None:
    while True:
        signal.pause()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nInterrupted: the workers have left.", flush=True)
        sys.exit(128 + signal.SIGINT)
