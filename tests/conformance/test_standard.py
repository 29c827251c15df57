"""CPython's own tests of process pools, run with FuloadExecutor (see suite.py);
those that are not run stand in departures.py.

FULOAD_FLAVOURS names the flavours, "Spawn" by default: workers are fresh
programs in all of them, and only what else the tests make of their context differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from departures import DEPARTURES, of_this_version
from suite import is_there

SUITE = str(Path(__file__).with_name("suite.py"))
FLAVOURS = tuple(os.environ.get("FULOAD_FLAVOURS", "Spawn").split())

pytestmark = pytest.mark.skipif(not is_there(), reason="this interpreter comes without its tests")


def names() -> list[str]:
    if not is_there():
        return ["no.such.Test.test"]
    listed = subprocess.run([sys.executable, SUITE, "--list", *FLAVOURS], stdout=subprocess.PIPE, check=True)
    found: list[str] = json.loads(listed.stdout)
    return found


def short(name: str) -> str:
    """Class and method."""
    return ".".join(name.split(".")[-2:])


NAMES = names()
LEFT_OUT = of_this_version(FLAVOURS)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A function that gives a test's result; a class is run at once, in a
    process of its own."""
    found: dict[str, dict[str, str]] = {}
    ran = {}

    def result(name: str) -> dict[str, str]:
        of_class = name.rpartition(".")[0]
        if of_class not in ran:
            wanted = [n for n in NAMES if n.rpartition(".")[0] == of_class and short(n) not in LEFT_OUT]
            folder = tmp_path_factory.mktemp("suite")
            with open(folder / "stderr", "wb") as stderr:
                process = subprocess.run(
                    [sys.executable, SUITE, *wanted], stdout=subprocess.PIPE, stderr=stderr, cwd=folder, timeout=500
                )
            ran[of_class] = f"exit status {process.returncode}; {(folder / 'stderr').read_text()[-4000:]}"
            for line in process.stdout.decode().splitlines():
                if line.startswith('{"test":'):
                    said = json.loads(line)
                    found[said["test"]] = said
        assert name in found, f"it has not ended: {ran[of_class]}"
        return found[name]

    return result


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    # A class runs in one program, so its tests belong to one process.
    [pytest.param(name, marks=pytest.mark.xdist_group(name.rpartition(".")[0])) for name in NAMES if short(name) not in LEFT_OUT],
    ids=short,
)
def test_standard(results, name):
    said = results(name)
    if said["skipped"]:
        pytest.skip(f"CPython: {said['skipped']}")
    assert not said["failed"], said["failed"]


def test_what_is_left_out_is_there_and_names_what_it_is_left_out_for():
    there = {short(name) for name in NAMES}
    assert set(LEFT_OUT) <= there
    texts = subprocess.run([sys.executable, SUITE, "--texts", *FLAVOURS], stdout=subprocess.PIPE, check=True)
    texts = {short(name): text for name, text in json.loads(texts.stdout).items()}
    for name, departure in LEFT_OUT.items():
        assert departure.names in texts[name], f"{name} does not name {departure.names}"
    assert len({(d.test, d.flavour) for d in DEPARTURES}) == len(DEPARTURES)
