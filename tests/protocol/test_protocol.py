"""The C tests of csrc/protocol, so that pytest covers them: each program is a
test here, each of its cases a line that it prints ("ok name")."""

import fcntl
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAMS = sorted(source.stem for source in HERE.glob("test_*.c"))


def run(*command):
    return subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


@pytest.fixture(scope="module")
def build():
    with open(HERE / "Makefile") as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)  # other processes run tests of this file too
        made = run("make", "build-plain")
    assert made.returncode == 0, made.stdout
    return HERE / "build" / "plain"


@pytest.mark.timeout(900)  # a case that hangs is ended sooner, by check.h
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(build, program):
    done = run(build / program)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines and all(line.startswith("ok ") for line in lines), done.stdout
