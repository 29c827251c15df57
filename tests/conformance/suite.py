"""CPython's own test_concurrent_futures, as it lies on disk, with FuloadExecutor
in the place of ProcessPoolExecutor.

    python suite.py --list [FLAVOUR ...]    the names of the tests, a JSON list
    python suite.py --texts [FLAVOUR ...]   the same with their source texts
    python suite.py TEST ...                runs them; a JSON line for each

Its tests for pools of processes exist once for each of the FLAVOURS, which are
contexts of multiprocessing.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
import time
import traceback
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUITE = "test.test_concurrent_futures"
FLAVOURS = ("Spawn", "Fork", "Forkserver")
HERE = Path(__file__).resolve().parent
PATHS = [str(HERE), str(HERE.parents[1])]


def is_there() -> bool:
    """Whether this interpreter ships its tests."""
    try:
        return importlib.util.find_spec(SUITE) is not None
    except ModuleNotFoundError:
        return False


def modules() -> list[str]:
    """One up to 3.11, a package of several from 3.12 on."""
    spec = importlib.util.find_spec(SUITE)
    assert spec is not None
    if spec.submodule_search_locations is None:
        return [SUITE]
    (folder,) = spec.submodule_search_locations
    return sorted(f"{SUITE}.{path.stem}" for path in Path(folder).glob("test_*.py"))


def substitute() -> None:
    """Here, and in the programs that the tests start."""
    sys.path[:0] = PATHS
    importlib.import_module("substitute")
    from test import support
    from test.support import script_helper

    support.verbose = 0
    run = script_helper.assert_python_ok

    def assert_python_ok(*args: str, **env: Any) -> Any:
        at = args.index("-c") + 1
        # The suite writes the class's name into the program.
        code = args[at].replace("import FuloadExecutor", "import ProcessPoolExecutor as FuloadExecutor")
        code = f"import sys; sys.path[:0] = {PATHS!r}; import substitute\n{code}"
        return run(*args[:at], code, *args[at + 1 :], **env)

    script_helper.assert_python_ok = assert_python_ok


def flavour(test: Any) -> str:
    """Of a test for pools of processes; "" of others."""
    from fuload_exec import FuloadExecutor

    if getattr(test, "executor_type", None) is FuloadExecutor:
        return str(test.ctx).capitalize()
    if type(test).__name__ == "FailingInitializerResourcesTest":  # runs tests of those classes
        return test.id().rpartition("_")[2].capitalize()
    return ""


def tests(flavours: tuple[str, ...]) -> Iterator[unittest.TestCase]:
    for name in modules():
        waiting: list[Any] = [unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name))]
        while waiting:
            test = waiting.pop(0)
            if isinstance(test, unittest.TestSuite):
                waiting = [*test, *waiting]
            elif flavour(test) in flavours:
                yield test


class Report(unittest.TestResult):
    """What became of each test."""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.said: list[str] = []
        self.skipped_because = ""
        self.began = time.monotonic()

    def addError(self, test: Any, error: Any) -> None:
        super().addError(test, error)
        self._keep(error)

    def addFailure(self, test: Any, error: Any) -> None:
        super().addFailure(test, error)
        self._keep(error)

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._keep(error)

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self.skipped_because = reason

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.said.append("unexpected success")

    def _keep(self, error: Any) -> None:
        self.said.append("".join(traceback.format_exception(*error)))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        said = {
            "test": test.id(),
            "failed": "\n".join(self.said),
            "skipped": self.skipped_because,
            "seconds": round(time.monotonic() - self.began, 2),
        }
        # On a line of its own, whatever the test has written.
        print("\n" + json.dumps(said), file=sys.__stdout__, flush=True)


def main() -> None:
    substitute()
    if sys.argv[1] in ("--list", "--texts"):
        chosen = list(tests(tuple(sys.argv[2:]) or FLAVOURS))
        if sys.argv[1] == "--list":
            print(json.dumps([test.id() for test in chosen]))
        else:
            print(json.dumps({test.id(): text_of(test) for test in chosen}))
        return
    suite = unittest.TestSuite(test for test in tests(FLAVOURS) if test.id() in sys.argv[1:])
    result = Report()
    suite.run(result)
    sys.exit(result.testsRun != len(sys.argv) - 1)


def text_of(test: Any) -> str:
    """The test's own, and that of the class that prepares it."""
    method = getattr(test, test.id().rpartition(".")[2])
    return inspect.getsource(method) + inspect.getsource(type(test).setUp)


if __name__ == "__main__":  # forkserver imports this file
    main()
