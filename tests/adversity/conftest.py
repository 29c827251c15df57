"""Programs of their own in sessions of their own."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path

import pytest
from procfs import Watched
from programs import PROLOGUE
from support.waiting import until

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def stress() -> int:
    """FULOAD_STRESS=N makes the long tests N times as long."""
    return max(1, int(os.environ.get("FULOAD_STRESS", "1")))


def pytest_collection_modifyitems(items):
    factor = max(1, int(os.environ.get("FULOAD_STRESS", "1")))
    if factor > 1:
        for item in items:
            if "/adversity/" in str(item.path):
                item.add_marker(pytest.mark.timeout(120 * factor))


class Program:
    """A Python program, leader of a session of its own."""

    def __init__(self, script, folder, *, terminal=False, env=None, before=""):
        self.path = folder / "program.py"
        script = textwrap.dedent(script)
        if "__main__" not in script:  # workers import it
            script = 'if __name__ == "__main__":\n' + textwrap.indent(script, "    ") + "\n    pass\n"
        self.path.write_text(before + PROLOGUE + script)
        self.report = folder / "report"
        self.watched = {}
        self.master = None
        self.stderr = folder / "stderr"
        environment = {
            **os.environ,
            "REPORT": str(self.report),
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
            **(env or {}),
        }
        with open(self.stderr, "wb") as stderr:
            if terminal:
                self.master, slave = os.openpty()

                def own_terminal():
                    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
                    signal.signal(signal.SIGINT, signal.default_int_handler)

                self.process = subprocess.Popen(
                    [sys.executable, str(self.path)],
                    stdin=slave,
                    stdout=slave,
                    stderr=stderr,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=own_terminal,
                )
                os.close(slave)
            else:
                self.process = subprocess.Popen(
                    [sys.executable, str(self.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    env=environment,
                    start_new_session=True,
                )

    def reports(self):
        """All that was reported so far, as one dict."""
        found = {}
        if self.report.exists():
            for line in self.report.read_text().splitlines():
                try:
                    found.update(json.loads(line))
                except json.JSONDecodeError:
                    pass
        return found

    def expect(self, key, seconds=30.0):
        """What the program reports under this name."""
        due = time.monotonic() + seconds
        while key not in (found := self.reports()):
            if self.process.poll() is not None and key not in (found := self.reports()):
                pytest.fail(f"ended with {self.process.returncode} before {key!r}; {found}; {self.errors()}")
            if time.monotonic() > due:
                pytest.fail(f"no {key!r} after {seconds} s; {self.reports()}; {self.errors()}")
            time.sleep(0.002)
        return found[key]

    def expect_pids(self, key="pids"):
        """Pids that the program reports; they are watched from now on."""
        pids = self.expect(key)
        for pid in pids:
            self.watched[pid] = Watched(pid)
        return pids

    def ctrl_c(self):
        os.write(self.master, b"\x03")

    def exit(self, seconds=15.0):
        """Its exit status, as soon as it ends."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"does not end; {self.reports()}; {self.errors()}")

    def errors(self):
        return self.stderr.read_text(errors="replace")

    def all_gone(self, seconds=10.0):
        try:
            until(lambda: all(w.gone() for w in self.watched.values()), seconds)
        except TimeoutError:
            pytest.fail(f"still alive: {[p for p, w in self.watched.items() if not w.gone()]}")

    def end(self):
        for watched in self.watched.values():
            watched.send(signal.SIGKILL)
            watched.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.master is not None:
            os.close(self.master)


@pytest.fixture
def program(tmp_path):
    """Starts a Program; afterwards it and its workers are gone."""
    started = []

    def start(script, **options):
        folder = tmp_path / f"program{len(started)}"
        folder.mkdir()
        started.append(Program(script, folder, **options))
        return started[-1]

    yield start
    for p in started:
        p.end()
