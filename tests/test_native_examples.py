"""The examples of C tasks, and those of docs/native.md, run as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from support.programs import ROOT, run_script

EXAMPLES = ROOT / "examples"
TUTORIAL = ROOT / "docs" / "native.md"


def shown(script: str, *arguments: str) -> str:
    done = run_script(EXAMPLES / script, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def test_word_count():
    assert shown("word_count/word_count.py").endswith("Python counts the same.\n")


def test_word_count_of_named_files(tmp_path):
    (tmp_path / "text").write_text("some words,\tand\n\n two more")
    assert "5 words in 1 files" in shown("word_count/word_count.py", str(tmp_path / "text"))


def test_monte_carlo():
    text = shown("monte_carlo/monte_carlo.py", "10")
    assert "10,000,000 points: pi is about 3.1" in text
    shares = [int(n.replace(",", "")) for n in re.findall(r"threw ([\d,]+) of them", text)]
    assert sum(shares) == 10_000_000


def test_sqlite_worker():
    done = run_script(EXAMPLES / "sqlite_worker/sqlite_worker.py")
    if "apt-get install libsqlite3-dev" in done.stderr:
        pytest.skip("libsqlite3's header is not installed")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "the sum of all squares is 333283335000" in done.stdout
    assert "['8', '64']" in done.stdout
    assert "SQLite's error 1: " in done.stdout


def test_sqlite_worker_says_what_is_missing(tmp_path):
    """A compiler that has no sqlite3.h."""
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *-E*) exit 1;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    done = run_script(EXAMPLES / "sqlite_worker/sqlite_worker.py", CC=str(compiler))
    assert done.returncode == 1
    assert done.stderr == "SQLite's header is missing: 'apt-get install libsqlite3-dev' brings it.\n"


def test_cpp_plugin():
    text = shown("cpp_plugin/anagrams.py")
    assert "['listen silent enlist']" in text
    assert "there are no anagrams in it (status 1)" in text


def test_cython_plugin():
    text = shown("cython_plugin/primes.py")
    assert "78,498 primes below 1,000,000" in text
    assert "0 of the workers ran an interpreter" in text


def test_zlib_openssl():
    assert re.findall(r"^(\w+): 64 blocks, 16.8 MB, as Python has it$", shown("zlib_openssl.py"), re.M) == [
        "crc32",
        "sha256",
        "compress",
    ]


# -- the tutorial ---------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TUTORIAL.read_text(), re.M | re.S)


def files() -> dict[str, str]:
    """C blocks begin with the name of their file."""
    found = {}
    for text in blocks("c"):
        name = re.match(r"/\* (\S+\.c)\b", text)
        assert name, f"a C block without a file name: {text[:60]}"
        found[name.group(1)] = text
    return found


def test_the_tutorial_runs(tmp_path):
    """All Python blocks are one program, run from top to bottom where the
    shell blocks have built what it uses; `# ->` says what a line prints."""
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    # The tutorial says "python"; here it is the interpreter of the tests.
    shell = "set -e\n" + "".join(blocks("sh")).replace("python ", f"{sys.executable} ")
    place = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    built = subprocess.run(
        ["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": place}
    )
    assert built.returncode == 0, built.stderr
    program = "\n".join(blocks("python"))
    (tmp_path / "tutorial.py").write_text(program)
    done = run_script(tmp_path / "tutorial.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = re.findall(r"# -> (.*)$", program, re.M)
    assert len(expected) > 10
    assert done.stdout.splitlines() == expected


def test_the_tutorial_names_no_private_thing():
    assert not re.search(r"fuload_exec\._|\bexecutor\._", TUTORIAL.read_text())
