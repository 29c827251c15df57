"""The examples run as a user runs them: as programs, and in a terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
QUICKSTART = EXAMPLES / "quickstart.py"
SIGNAL_MMAP = EXAMPLES / "signal_mmap" / "signal_mmap.py"

CTRL_C = "\x03"
CTRL_D = "\x04"

# Generous: a test fails by what it sees, not because the machine is slow.
SECONDS = 60.0


class Terminal:
    """A program in a session of its own, with a pty as its controlling terminal."""

    def __init__(self, *command: str | Path) -> None:
        self.master, slave = os.openpty()
        # The leader of a session gets the first terminal that it opens.
        shell = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(slave), *map(str, command)]
        self.process = subprocess.Popen(shell, start_new_session=True)
        self.shown = ""
        self.wait_for(lambda: self.is_open_in_program(slave))
        os.close(slave)

    def is_open_in_program(self, slave: int) -> bool:
        """Only then may the last other descriptor of the terminal be closed."""
        try:
            return os.readlink(f"/proc/{self.process.pid}/fd/2") == os.ttyname(slave)
        except FileNotFoundError:
            return True

    @staticmethod
    def wait_for(condition: Callable[[], bool]) -> None:
        due = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < due
            time.sleep(0.01)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, pattern: str) -> str:
        """What is shown up to the first match from here on; fails if it does not come."""
        due = time.monotonic() + SECONDS
        while not (match := re.search(pattern, self.shown)):
            assert self.read_some(due), f"{pattern!r} did not come: {self.shown}"
        text, self.shown = self.shown[: match.end()], self.shown[match.end() :]
        return text

    def read_all(self) -> str:
        due = time.monotonic() + SECONDS
        while self.read_some(due):
            pass
        return self.shown

    def read_some(self, due: float) -> bool:
        """False at the end: nobody has the terminal open any more."""
        ready, _, _ = select.select([self.master], [], [], max(0.0, due - time.monotonic()))
        assert ready, f"nothing more came: {self.shown}"
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def exit_code(self) -> int:
        return self.process.wait(SECONDS)

    def processes(self) -> list[int]:
        """All of the session, whoever their parent is by now; zombies do not count."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                _, _, rest = (entry / "stat").read_text().rpartition(") ")
            except (OSError, ValueError):
                continue
            state, _, _, session = rest.split()[:4]
            if int(session) == self.process.pid and state not in "ZX":
                found.append(int(entry.name))
        return found

    def close(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Makes terminals; ends all that runs in them."""
    opened: list[Terminal] = []

    def open_terminal(*command: str | Path) -> Terminal:
        opened.append(Terminal(sys.executable, *command))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1.5 * SECONDS
    )


def assert_interrupted(terminal: Terminal) -> None:
    """It has ended by itself, at once, without a traceback and with nobody left."""
    shown = terminal.read_all()
    assert terminal.exit_code() == 128 + signal.SIGINT, shown
    assert "Interrupted" in shown.splitlines()[-1]
    assert "Traceback" not in shown
    assert "Error" not in shown
    terminal.wait_for(lambda: not terminal.processes())


def readers(shown: str, text: str) -> list[int]:
    return [int(pid) for pid in re.findall(rf"^(\d+): {re.escape(text)}$", shown, re.MULTILINE)]


# -- quickstart ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quickstart() -> subprocess.CompletedProcess[str]:
    return run(QUICKSTART)


def test_quickstart_agrees_everywhere(quickstart):
    assert quickstart.returncode == 0, quickstart.stdout + quickstart.stderr
    assert quickstart.stderr == ""
    agreed = re.findall(r"(\S+) workers and this process agree on (\d+) of (\d+) files", quickstart.stdout)
    assert [who for who, _, _ in agreed] == ["C", "Python"]
    assert all(int(right) == int(files) > 100 for _, right, files in agreed)
    assert "DISAGREE" not in quickstart.stdout
    assert quickstart.stdout.endswith("Everything agreed.\n")


def test_quickstart_survives_a_crash(quickstart):
    assert re.search(r"WorkerCrashed: worker \d+ died by SIGSEGV .* while it ran strlen\(0xbad\)", quickstart.stdout)
    assert "strlen(b'still here') is 10" in quickstart.stdout


@pytest.mark.parametrize("title", ["C function, C workers", "Python function, Python workers", "this process alone"])
def test_quickstart_shows_progress(quickstart, title):
    assert len(re.findall(rf"{title}: \d+ of \d+ files", quickstart.stdout)) >= 4


def test_quickstart_compares_the_executors(quickstart):
    row = re.compile(r"^  (\w+Executor) +(C function|Python callable) +([\d,]+) +([\d,.]+)$", re.MULTILINE)
    assert [found.group(1, 2) for found in row.finditer(quickstart.stdout)] == [
        ("FuloadExecutor", "C function"),
        ("FuloadExecutor", "Python callable"),
        ("ProcessPoolExecutor", "Python callable"),
        ("ThreadPoolExecutor", "C function"),
        ("ThreadPoolExecutor", "Python callable"),
    ]


@pytest.mark.parametrize(
    "moment",
    [
        "C function, C workers",
        r"C function, C workers: \d+ files in",
        r"Python function, Python workers: \d+ files in",
        "WorkerCrashed",
        "tasks a second",
        r"FuloadExecutor +Python callable",
    ],
)
def test_quickstart_ends_at_ctrl_c(terminal, moment):
    program = terminal(QUICKSTART)
    program.read_until(moment)
    program.type(CTRL_C)
    assert_interrupted(program)


# -- signal_mmap ---------------------------------------------------------------------------


def test_ten_workers_read_each_text_and_ctrl_c_ends_them(terminal):
    program = terminal(SIGNAL_MMAP)
    program.read_until("10 workers sleep")
    for text in ("the first text", "and another"):
        program.type(f"{text}\n")
        shown = program.read_until("10 of 10 workers have read it, 10 were rung by SIGUSR1")
        assert len(readers(shown, text)) == len(set(readers(shown, text))) == 10
    assert len(program.processes()) == 11
    program.type(CTRL_C)
    assert_interrupted(program)


def test_without_more_input_the_workers_wait_for_ctrl_c(terminal):
    program = terminal(SIGNAL_MMAP)
    program.read_until("10 workers sleep")
    program.type(CTRL_D)
    program.read_until("No more input")
    assert len(program.processes()) == 11
    program.type(CTRL_C)
    assert_interrupted(program)


def test_the_texts_may_be_arguments():
    done = run(SIGNAL_MMAP, "one", "two", "three")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("one", "two", "three"):
        assert len(set(readers(done.stdout, text))) == 10
