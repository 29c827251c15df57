"""The examples with asyncio, Dask, tqdm, rich and joblib, and those of
docs/migrating.md, run as a user runs them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.programs import ROOT, run_script

MIGRATING = ROOT / "docs" / "migrating.md"


def run(script: Path) -> subprocess.CompletedProcess[str]:
    done = run_script(script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "exception" not in done.stderr, done.stderr
    return done


def test_asyncio_service():
    done = run(ROOT / "examples/asyncio_service.py")
    assert done.stderr == ""
    assert "one client:     168 primes below 1,000\n" in done.stdout
    assert "impatient one:  no answer, I hang up\n" in done.stdout
    assert "greedy one:     the primes below 1e+15 would take more than 5 seconds\n" in done.stdout
    assert done.stdout.endswith("2 tasks were stopped while they ran; the pool served on\n")


def test_dask_scheduler():
    done = run(ROOT / "examples/dask_scheduler.py")
    assert done.stderr == ""
    assert re.findall(r"^  (\w+Executor) +[\d.]+ s +[\d.]+ s$", done.stdout, re.M) == [
        "FuloadExecutor",
        "ProcessPoolExecutor",
    ]
    assert done.stdout.endswith("a lambda too: 42\nBoth agree.\n")


def test_progress_bars():
    done = run(ROOT / "examples/progress_bars.py")
    assert done.stdout.endswith("All digests are right.\n")
    for bar in ("tqdm, map", "tqdm, as_completed"):
        assert re.search(rf"{bar}: 100%.* 300/300 ", done.stderr)
    assert re.search("rich, callbacks .* 100%", done.stdout)


def test_joblib_backend():
    done = run(ROOT / "examples/joblib_backend.py")
    assert done.stderr == ""
    assert done.stdout.endswith("the longest way to 1 starts at 17,647: 278 steps.\n")


# -- docs/migrating.md -----------------------------------------------------------------------


def blocks() -> list[str]:
    """Our side. What is written for the other pool is in blocks `python before`."""
    return re.findall(r"^```python\n(.*?)^```$", MIGRATING.read_text(), re.M | re.S)


def test_migrating_runs(tmp_path):
    """All blocks are one program; `# ->` says what a line prints."""
    (tmp_path / "migrating.py").write_text("\n".join(blocks()))
    done = run(tmp_path / "migrating.py")
    expected = re.findall(r"# -> (.*)$", "\n".join(blocks()), re.M)
    assert len(expected) > 10
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("library", ["ProcessPoolExecutor", "multiprocessing.Pool", "joblib", "loky", "pebble"])
def test_migrating_tells_of(library):
    sections = re.split(r"^## From ", MIGRATING.read_text(), flags=re.M)[1:]
    (section,) = [text for text in sections if text.partition("\n")[0].endswith(library)]
    assert "```python\n" in section and "```python before\n" in section and "**Not here**" in section


def test_migrating_names_no_private_thing():
    assert not re.search(r"fuload_exec\._|\bexecutor\._", MIGRATING.read_text())
