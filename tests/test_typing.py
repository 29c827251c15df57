"""What type checkers see: the package and what users write with it pass
`mypy --strict`, and what they see is what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
USAGE = ROOT / "tests" / "typing" / "usage.py"


def run(*command: str | Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Runs mypy as pyproject.toml has it."""
    cache = tmp_path_factory.mktemp("mypy")
    return lambda *arguments: run("-m", "mypy", f"--cache-dir={cache}", *arguments)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_the_package_and_its_usage_are_typed(mypy, version):
    code, said = mypy("--python-version", version)
    assert code == 0, said


@pytest.mark.timeout(300)
def test_mistakes_are_found_where_they_are(mypy, tmp_path):
    """Without its comments, each line of usage.py that has one is an error."""
    text = USAGE.read_text()
    bare = tmp_path / "bare.py"
    bare.write_text(text.replace("  # type: ignore[", "  # here["))
    code, said = mypy("--no-error-summary", "--hide-error-context", "fuload_exec", bare)
    found = {int(line.split(":")[1]) for line in said.splitlines() if ": error: " in line}
    wanted = {number for number, line in enumerate(text.splitlines(), 1) if "# type: ignore[" in line}
    assert code == 1 and found == wanted and len(wanted) > 20, said


def test_the_usage_runs():
    code, said = run("-W", "error", USAGE)
    assert (code, said) == (0, "")


@pytest.mark.timeout(300)
def test_the_stub_says_what_the_core_has(tmp_path):
    allowed = tmp_path / "allowed"
    # Cython gives an __init__ no signature.
    allowed.write_text(r"fuload_exec\._core\.Pool\.__init__")
    options = ["--ignore-missing-stub", "--ignore-disjoint-bases", f"--allowlist={allowed}", "--mypy-config-file=pyproject.toml"]
    code, said = run("-m", "mypy.stubtest", *options, "fuload_exec._core")
    assert code == 0, said
