"""Mutants of the protocol: each is a small fault that the C tests must catch.

    make mutants                     all of them, two at a time
    python tests/protocol/mutants.py NAME...

A mutant is a copy of csrc and tests/protocol in which one piece of text is
replaced: a look dropped, an order weakened, two stores swapped. The programs
are built from the copy and run; one of them must fail. A mutant that survives
names a line that no test holds in its place. `caught by` says where to look
first; if that passes, all programs are run, as they are shipped and under
ThreadSanitizer.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIST = HERE / "mutants.txt"
SECONDS = 300  # per program
HANGS = 40  # per case


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    caught_by: str  # program, program/case, either followed by ":tsan"


def read(path: Path = LIST) -> list[Mutant]:
    """Blocks of the list: `== name`, `file`, `caught by`, lines with - and +."""
    found = []
    for block in re.split(r"^== ", path.read_text(), flags=re.M)[1:]:
        name, file, caught_by, *lines = block.rstrip().splitlines()
        old = "\n".join(line[1:] for line in lines if line.startswith("-"))
        new = "\n".join(line[1:] for line in lines if line.startswith("+"))
        found.append(Mutant(name.strip(), file.strip(), old, new, caught_by.removeprefix("caught by ").strip()))
    return found


def place(mutant: Mutant) -> re.Pattern[str]:
    """Its text, wherever lines are broken."""
    return re.compile(r"\s*".join(map(re.escape, mutant.old.split())))


def misfit(mutant: Mutant) -> str | None:
    """Why its text cannot be replaced, if so."""
    count = len(place(mutant).findall((ROOT / mutant.file).read_text()))
    if not mutant.old or mutant.old == mutant.new:
        return "it changes nothing"
    return None if count == 1 else f"its text stands {count} times in {mutant.file}"


def copy(folder: Path) -> None:
    for part in ("csrc", "fuload_exec/include"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copytree(HERE, folder / "tests/protocol", ignore=shutil.ignore_patterns("build", "__pycache__"))


def fails(folder: Path, program: str, case: str = "", variant: str = "plain") -> bool:
    """Does it fail, one case or all? A mutant that does not compile is no mutant."""
    tests = folder / "tests/protocol"
    make = ["make", "-s", "-C", str(tests)]
    built = subprocess.run(
        [*make, f"build/{variant}/{program}", f"EXTRA=-Wno-error -DLIMIT_SECONDS={HANGS}"], capture_output=True, text=True
    )
    if built.returncode:
        raise SystemExit(f"{folder}: {program} cannot be built\n{built.stderr}")
    command = [*make, f"run-{variant}", f"PROGRAM={program}", f"CASE={case}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return True
    if variant == "tsan":  # what it reports, and not that it takes long
        return "Error 66" in done.stderr
    return done.returncode != 0


def everything() -> list[tuple[str, str, str]]:
    programs = sorted(path.stem for path in HERE.glob("test_*.c"))
    return [(name, "", "plain") for name in programs] + [(name, "", "tsan") for name in programs if name != "test_steps"]


def target(text: str) -> tuple[str, str, str]:
    where, _, variant = text.partition(":")
    program, _, case = where.partition("/")
    return f"test_{program}", case, variant or "plain"


def hunt(mutant: Mutant) -> str | None:
    """What caught it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        path = folder / mutant.file
        path.write_text(place(mutant).sub(lambda _: mutant.new, path.read_text()))
        for at in [target(text) for text in mutant.caught_by.split(", ")] + everything():
            if fails(folder, *at):
                return ":".join(part for part in at if part)
    return None


def faulty(chosen: list[Mutant]) -> list[str]:
    """What fails without any fault: it would catch everything."""
    wanted = sorted({text for mutant in chosen for text in mutant.caught_by.split(", ")})
    with tempfile.TemporaryDirectory() as name:
        copy(Path(name))
        return [text for text in wanted if fails(Path(name), *target(text))]


def main(names: list[str]) -> int:
    chosen = [m for m in read() if not names or m.name in names]
    survivors = 0
    unfit = [f"{m.name}: {why}" for m in chosen if (why := misfit(m))]
    if unfit or not chosen:
        print("\n".join(unfit) or "no such mutant")
        return 1
    if bad := faulty(chosen):
        print("fails without a mutant: " + ", ".join(bad))
        return 1
    with ThreadPoolExecutor(2) as pool:
        for mutant, by in zip(chosen, pool.map(hunt, chosen)):
            survivors += by is None
            print(f"{'caught' if by else 'SURVIVED'}  {mutant.name}  {by or ''}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
