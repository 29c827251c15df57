"""Which lines the tests run, of Python, Cython and C, in one report.

    make coverage                    the whole suite
    python tests/measure_coverage.py -m "not program and not build and not stress"
                                     what pytest is given

All is built anew in build/coverage, with gcov's counters; Cython says in its C which
lines of its sources it comes from, so these are counted too. Python is counted by
coverage.py, also in the processes that tests start. A process that a signal ends
writes no counts, nor does the C of one that Python code ends by os._exit(): what
only such ones run shows as not run.

Writes build/coverage/report.txt: per file its share, how many lines it has, and
those that nothing ran.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "coverage"
TREE = PLACE / "tree"
# The child that starts a worker shares its parent's memory: gcov's execve() would end the counting there.
COUNTED = "-O1 -g --coverage -fprofile-update=atomic -fno-builtin-execve -include {place}/counted.h"
# Counts are written where C leaves past atexit(), and before Python ends itself by SIGINT,
# once for each program or library; the rest, if there is any, at its end.
HEADER = """
#pragma once
#define _FILE_OFFSET_BITS 64  /* as Python.h, which comes first otherwise */
#include <unistd.h>
extern void __gcov_dump(void);
extern void __gcov_reset(void);
extern int Py_AtExit(void (*)(void)) __attribute__((weak));
__attribute__((weak, visibility("hidden"))) int counted_once;

static void write_counts(void)
{
    __gcov_dump();
    __gcov_reset();
}

__attribute__((constructor)) static void count_at_exit(void)
{
    if (Py_AtExit && !counted_once++)
        Py_AtExit(write_counts);
}

#define _exit(code) (write_counts(), _exit(code))
"""
SETTINGS = """
[run]
source_pkgs = fuload_exec
parallel = true
patch = subprocess
sigterm = true
data_file = {place}/python
"""
NO_TESTS = 5  # pytest says so where all are deselected
Counts = dict[str, dict[int, int]]  # by file and line


def copy_tree() -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    ignored = shutil.ignore_patterns("build", "*.so", "*.o", "*.a", "__pycache__", "_core.c", "_host.c", ".*", "bin", "lib")
    shutil.copytree(ROOT, TREE, ignore=ignored)
    (PLACE / "settings").write_text(SETTINGS.format(place=PLACE))
    (PLACE / "counted.h").write_text(HEADER)


def run(*command: str, **environment: str) -> int:
    """The programs that tests start find this tree, too, and not what is installed."""
    return subprocess.run(command, cwd=TREE, env={**os.environ, "PYTHONPATH": str(TREE), **environment}).returncode


def count_file(path: Path, arguments: list[str]) -> bool:
    """Whether its tests failed. Each file has a process: one that hangs at its end takes no other's counts along."""
    counted = {"COVERAGE_RCFILE": str(PLACE / "settings"), "COVERAGE_FILE": str(PLACE / "python")}
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-o", "timeout=600", *arguments, str(path)]
    code = run(*command, **counted)
    return code not in {0, NO_TESTS}


def count_all(arguments: list[str]) -> int:
    if run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", CFLAGS=COUNTED.format(place=PLACE), LDFLAGS="--coverage"):
        raise SystemExit("the tree with counters cannot be built")
    libraries = TREE / "fuload_exec" / "lib" / "libraries"  # for worker programs of the tests
    libraries.write_text(libraries.read_text() + " --coverage")
    with ThreadPoolExecutor(2) as pool:
        failed = sum(pool.map(lambda path: count_file(path, arguments), sorted((TREE / "tests").rglob("test_*.py"))))
    run("make", "-s", "-C", "tests/protocol", "plain", "EXTRA=--coverage -fprofile-update=atomic")
    return int(failed > 0)


def counts_of_python() -> Counts:
    settings = f"--rcfile={PLACE / 'settings'}"
    run(sys.executable, "-m", "coverage", "combine", "-q", settings)
    run(sys.executable, "-m", "coverage", "json", "-q", settings, "-o", str(PLACE / "python.json"))
    files = json.loads((PLACE / "python.json").read_text())["files"]
    return {
        name: dict.fromkeys(found["executed_lines"], 1) | dict.fromkeys(found["missing_lines"], 0)
        for name, found in files.items()
        if not (name.startswith("..") or os.path.isabs(name))  # installed from the checkout, but not run
    }


def counts_of_c() -> Counts:
    counts: Counts = {}
    for data in sorted(TREE.rglob("*.gcda")):
        done = subprocess.run(["gcov", "--json-format", "--stdout", data.name], cwd=data.parent, capture_output=True, check=True)
        found = json.loads(done.stdout)
        for file in found["files"]:
            name = os.path.relpath(os.path.join(found["current_working_directory"], file["file"]), TREE)
            lines = counts.setdefault(name, {}) if name.startswith(("csrc/", "cysrc/")) else {}
            for line in file["lines"]:
                lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
    for module in ("_core", "_host"):
        counts |= counts_of_cython(TREE / "cysrc" / f"{module}.c", counts.pop(f"cysrc/{module}.c", {}))
    return counts


def counts_of_cython(path: Path, generated: dict[int, int]) -> Counts:
    """By what stands above each piece of the C: the file and line that it was made of."""
    counts: Counts = {}
    place = None
    for number, text in enumerate(path.read_text().splitlines(), 1):
        named = re.match(r'\s*/\* "(cysrc/\w+\.p\w+)":(\d+)$', text)
        if named:
            place = counts.setdefault(named[1], {}), int(named[2])
        elif text.startswith("}"):
            place = None
        elif place and number in generated:
            lines, line = place
            lines[line] = max(lines.get(line, 0), generated[number])
    return counts


def spans(numbers: list[int]) -> str:
    """1-3, 7"""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in found)


def report() -> str:
    text, all_run, all_lines = [], 0, 0
    for name, lines in sorted({**counts_of_python(), **counts_of_c()}.items()):
        missing = sorted(number for number, count in lines.items() if not count)
        if lines:
            text.append(f"{100 - 100 * len(missing) / len(lines):5.1f} %  {len(lines):5}  {name}  {spans(missing)}".rstrip())
        all_run, all_lines = all_run + len(lines) - len(missing), all_lines + len(lines)
    text.append(f"{100 * all_run / all_lines:5.1f} %  {all_lines:5}  all")
    return "\n".join(text) + "\n"


def main() -> int:
    copy_tree()
    failed = count_all(sys.argv[1:])
    text = report()
    (PLACE / "report.txt").write_text(text)
    print(text)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
