"""Functions and classes of `__main__`, however the program was started."""

from __future__ import annotations

import subprocess
import textwrap

import pytest

PROGRAM = '''
import os, sys

class Box:
    def __init__(self, value):
        self.value = value

def start(value):
    os.environ["STARTED_WITH"] = str(value)

def double(box):
    return Box(2 * box.value + int(os.environ["STARTED_WITH"]))

def fail(box):
    raise KeyError(box.value)

def where():
    return os.getpid()

def run():
    EXECUTOR
    with executor:
        result = executor.submit(double, Box(21)).result()
        assert type(result) is Box, result
        error = executor.submit(fail, Box("k")).exception()
        assert type(error) is KeyError and error.args == ("k",), error
        assert executor.submit(where).result() != os.getpid()
        print(result.value, [b.value for b in executor.map(double, map(Box, range(3)))])

if __name__ == "__main__":
    run()
'''
FULOAD = """from fuload_exec import FuloadExecutor
    executor = FuloadExecutor(1, initializer=start, initargs=(100,))"""
STANDARD = """import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start, (100,))"""
EXPECTED = "142 [100, 102, 104]\n"


def output(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("executor", [FULOAD, STANDARD], ids=["FuloadExecutor", "ProcessPoolExecutor"])
def test_a_script(python, tmp_path, executor):
    (tmp_path / "program.py").write_text(PROGRAM.replace("EXECUTOR", executor))
    assert output([python, "program.py"], cwd=tmp_path) == EXPECTED


@pytest.mark.parametrize("executor", [FULOAD, STANDARD], ids=["FuloadExecutor", "ProcessPoolExecutor"])
def test_a_module(python, tmp_path, executor):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "program.py").write_text(PROGRAM.replace("EXECUTOR", executor))
    assert output([python, "-m", "package.program"], cwd=tmp_path) == EXPECTED


def test_a_package(python, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "__main__.py").write_text(PROGRAM.replace("EXECUTOR", FULOAD))
    assert output([python, "-m", "package"], cwd=tmp_path) == EXPECTED


def test_a_command(python):
    assert output([python, "-c", PROGRAM.replace("EXECUTOR", FULOAD)]) == EXPECTED


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=repr)
def test_a_program_on_standard_input(python, arguments):
    assert output([python, *arguments], input=PROGRAM.replace("EXECUTOR", FULOAD)) == EXPECTED


def test_a_script_that_changes_its_directory_and_path(python, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "found.py").write_text("def there(): return 'there'\n")
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import os, sys
        from fuload_exec import FuloadExecutor
        sys.path.insert(0, "modules")
        sys.path[0] = os.path.abspath(sys.path[0])
        def here():
            import found
            return os.getcwd(), sys.argv, found.there()
        if __name__ == "__main__":
            os.chdir("/")
            with FuloadExecutor(1) as executor:
                print(executor.submit(here).result())
        """)
    )
    expected = f"{('/', ['program.py', 'one', '--two'], 'there')!r}\n"
    assert output([python, "program.py", "one", "--two"], cwd=tmp_path) == expected


def test_the_program_runs_once_here_and_is_imported_in_workers(python, tmp_path):
    (tmp_path / "program.py").write_text(
        "print(__name__, flush=True)\n"
        "def f(): return __name__\n"
        "if __name__ == '__main__':\n"
        "    from fuload_exec import FuloadExecutor\n"
        "    with FuloadExecutor(1) as executor:\n"
        "        print(executor.submit(f).result(), executor.submit(f).result())\n"
    )
    assert output([python, "program.py"], cwd=tmp_path) == "__main__\n__mp_main__\n__mp_main__ __mp_main__\n"
