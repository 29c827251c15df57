"""Programs that have not imported multiprocessing when their first Python task is
submitted: workers do not either, and one that does so later says what a spawned
child says."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROLOGUE = """
import os, sys
from fuload_exec import FuloadExecutor

def imported():
    return [name for name in ("multiprocessing", "subprocess", "pickle", "socket") if name in sys.modules]

def process():
    import multiprocessing as mp
    own = mp.current_process()
    return own.name, bytes(own.authkey), mp.parent_process().pid, mp.get_start_method()

def send(end, text):
    end.sendall(text)
    end.close()
"""


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage.py would import it

    def output(text: str) -> list[str]:
        (tmp_path / "program.py").write_text(PROLOGUE + textwrap.dedent(text))
        done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return output


def test_nobody_imports_it_for_a_script(output):
    text = """
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                print(executor.submit(imported).result(), imported())
    """
    assert output(text) == ["[] []"]


@pytest.mark.parametrize("first", ["worker", "parent"])
def test_a_worker_that_imports_it_agrees_with_its_parent(output, first):
    text = f"""
        if __name__ == "__main__":
            with FuloadExecutor(2) as executor:
                print(executor.submit(imported).result(), imported())
                if {first!r} == "parent":
                    import multiprocessing
                told = executor.submit(process).result()
                import multiprocessing as mp
                print(told[0] in ("FuloadProcess-1", "FuloadProcess-2"), told[1] == bytes(mp.current_process().authkey),
                      told[2] == os.getpid(), told[3], mp.Process().name)
    """
    assert output(text) == ["[] []", "True True True spawn Process-3"]


def test_a_worker_whose_parent_cannot_be_asked(output):
    """A task has closed the way to it."""
    text = """
        def close_sockets():
            for fd in os.listdir("/proc/self/fd"):
                path = f"/proc/self/fd/{fd}"
                if os.path.lexists(path) and os.readlink(path).startswith("socket:"):
                    os.close(int(fd))
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                executor.submit(abs, 1).result()
                executor.submit(close_sockets).result()
                name, key, parent, method = executor.submit(process).result()
                print(name, len(key), parent == os.getpid(), method)
    """
    assert output(text) == ["FuloadProcess-1 32 True spawn"]


def test_a_socket_is_passed_all_the_same(output):
    text = """
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                executor.submit(abs, 1).result()
                import socket
                mine, other = socket.socketpair()
                executor.submit(send, other, b"hello").result()
                other.close()
                print(mine.recv(100), mine.recv(100))
    """
    assert output(text) == ["b'hello' b''"]


def test_reducers_that_are_registered_later(output):
    text = """
        class Number:
            def __init__(self, value):
                self.value = value
        def value(number):
            return number.value
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                print(executor.submit(value, Number(1)).result())
                from multiprocessing.reduction import ForkingPickler
                ForkingPickler.register(Number, lambda n: (Number, (n.value + 100,)))
                print(executor.submit(value, Number(1)).result())
    """
    assert output(text) == ["1", "101"]


def test_the_directory_is_that_of_the_start(output, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "beside.py").write_text("def here(): return 'beside the program'\n")
    text = """
        if __name__ == "__main__":
            sys.path[0] = ""
            import beside
            os.chdir("other")
            with FuloadExecutor(1) as executor:
                print(executor.submit(beside.here).result(), executor.submit(os.getcwd).result() == os.getcwd())
    """
    assert output(text) == ["beside the program True"]
