"""Functions and classes of `__main__`, however the program was started."""

from __future__ import annotations

import subprocess
import textwrap
import zipfile

import pytest
from support.ids import shown

PROGRAM = """
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
"""
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


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=shown)
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


def test_a_zip_archive(python, tmp_path):
    with zipfile.ZipFile(tmp_path / "program.pyz", "w") as archive:
        archive.writestr("__main__.py", PROGRAM.replace("EXECUTOR", FULOAD))
    assert output([python, "program.pyz"], cwd=tmp_path) == EXPECTED


def test_a_directory(python, tmp_path):
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__main__.py").write_text(PROGRAM.replace("EXECUTOR", FULOAD))
    assert output([python, "program"], cwd=tmp_path) == EXPECTED


# -- interactive --------------------------------------------------------------------------

# Each entry is what somebody types, or a cell of a notebook.
SESSION = [
    "import os, sys\nfrom fuload_exec import FuloadExecutor",
    "executor = FuloadExecutor(1)",
    "class Box:\n    made = 0\n    def __init__(self, value):\n        self.value = value",
    "class Heavy(Box):\n    def weight(self):\n        return OFFSET + self.value",
    "class Refused(Exception):\n    pass",
    "OFFSET = 100",
    "def double(box):\n    return type(box)(2 * box.value)",
    "def refuse(box):\n    raise Refused(box)",
    "result = executor.submit(double, Heavy(21)).result()",
    "print(type(result) is Heavy, result.weight(), result.value)",
    "print(executor.submit(result.weight).result(), executor.submit(Heavy.weight, result).result())",
    "OFFSET = 200",
    "print(executor.submit(lambda x: x + OFFSET, 1).result(), executor.submit(lambda: lambda: OFFSET).result()())",
    "error = executor.submit(refuse, Box('no')).exception()",
    "print(type(error) is Refused, type(error.args[0]) is Box, error.args[0].value)",
    "made = executor.submit(lambda: [Box, Box(1), lambda x: x + OFFSET]).result()",
    "print(made[0] is Box, type(made[1]) is Box, made[2](1))",
    "old = Box",
    "class Box:\n    made = 1\n    def __init__(self, value):\n        self.value = value",
    "answer = executor.submit(double, Box(4)).result()",
    "print(type(answer) is Box, type(answer) is not old, answer.made)",
    "print([type(b) is Box for b in executor.map(double, [Box(1), Box(2)])])",
    "executor.shutdown()",
]
SAID = [
    "True 142 42", "142 142", "201 200", "True True no", "True True 201", "True True 1", "[True, True]",
]  # fmt: skip


def test_an_interactive_interpreter(python):
    typed = "\n\n".join(SESSION) + "\n\n"
    done = subprocess.run([python, "-i", "-q"], input=typed, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr
    assert done.stdout.splitlines() == SAID


def test_a_notebook(python, tmp_path):
    """As its kernel does it: a module made by hand takes the place of __main__,
    which has a file, and runs the cells."""
    (tmp_path / "kernel.py").write_text(
        "import sys, types\n"
        "notebook = sys.modules['__main__'] = types.ModuleType('__main__')\n"
        f"for number, cell in enumerate({SESSION!r}):\n"
        "    exec(compile(cell, f'<ipython-input-{number}>', 'exec'), notebook.__dict__)\n"
    )
    assert output([python, "kernel.py"], cwd=tmp_path).splitlines() == SAID


def test_after_a_script_the_interpreter_is_interactive(python, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM.replace("EXECUTOR", FULOAD))
    typed = (
        "run()\nclass Box:\n    pass\n\nfrom fuload_exec import FuloadExecutor\n"
        "print(type(FuloadExecutor(1).submit(lambda: Box()).result()) is Box)\n"
    )
    done = subprocess.run([python, "-i", "-q", "program.py"], input=typed, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "Error" not in done.stderr and done.stdout == EXPECTED * 2 + "True\n", done.stderr


# -- what is imported, and when ---------------------------------------------------------------


def test_what_a_program_sets_up_is_there_for_functions_of_other_modules(python, tmp_path):
    """As with spawn: imported once in each worker, before its initializer. A
    nested pool imports it too."""
    (tmp_path / "module.py").write_text(
        "import sys\n"
        "from fuload_exec import FuloadExecutor\n"
        "registry = []\n"
        "def begin(): registry.append('begun')\n"
        "def look(depth):\n"
        "    assert sys.modules['__main__'].__file__.endswith('program.py')\n"
        "    if not depth:\n"
        "        return registry\n"
        "    with FuloadExecutor(1) as executor:\n"
        "        return registry + executor.submit(look, depth - 1).result()\n"
    )
    (tmp_path / "program.py").write_text(
        "import module, sys\n"
        "from fuload_exec import FuloadExecutor\n"
        "module.registry.append(__name__)\n"
        "if __name__ == '__main__':\n"
        "    with FuloadExecutor(1, initializer=module.begin) as executor:\n"
        "        for _ in range(2):\n"
        "            print(executor.submit(module.look, 1).result())\n"
    )
    assert output([python, "program.py"], cwd=tmp_path) == "['__mp_main__', 'begun', '__mp_main__']\n" * 2


def test_c_functions_need_no_import_of_the_program(python, tmp_path):
    (tmp_path / "program.py").write_text(
        "print('run', flush=True)\n"
        "import ctypes\n"
        "from fuload_exec import FuloadExecutor\n"
        "libm = ctypes.CDLL('libm.so.6')\n"
        "libm.fabs.argtypes, libm.fabs.restype = [ctypes.c_double], ctypes.c_double\n"
        "with FuloadExecutor(1) as executor:\n"
        "    print(executor.submit(libm.fabs, -1.0).result())\n"
    )
    assert output([python, "program.py"], cwd=tmp_path) == "run\n1.0\n"


def test_a_program_without_a_guard(python, tmp_path):
    """No bomb: the worker refuses to submit, and the error says what to do.
    What needs nothing of the program works."""
    (tmp_path / "program.py").write_text(
        "import os\n"
        "from fuload_exec import FuloadExecutor\n"
        "with open('runs', 'a') as runs:\n"
        "    runs.write('run\\n')\n"
        "def f(): return 1\n"
        "with FuloadExecutor(1) as executor:\n"
        "    print(executor.submit(abs, -1).result(), executor.submit(lambda: 2).result())\n"
        "    error = executor.submit(f).exception()\n"
        "    print(type(error).__name__, type(error.__cause__).__name__)\n"
        "    print(\"if __name__ == '__main__'\" in str(error))\n"
        "    print(executor.submit(abs, -1).result())\n"
    )
    assert output([python, "program.py"], cwd=tmp_path) == "1 2\nUnpickleError RuntimeError\nTrue\n1\n"
    assert (tmp_path / "runs").read_text() == "run\n" * 2


def test_the_error_of_a_program_without_a_guard_is_short(python, tmp_path):
    (tmp_path / "program.py").write_text(
        "from fuload_exec import FuloadExecutor\n"
        "def f(n): return n\n"
        "with FuloadExecutor(2) as executor:\n"
        "    print(list(executor.map(f, range(4))))\n"
    )
    done = subprocess.run([python, "program.py"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    *traceback, said = done.stderr.strip().splitlines()
    assert "UnpickleError: the arguments of f() cannot be rebuilt in the worker: RuntimeError: " in said
    assert said.endswith("under \"if __name__ == '__main__':\"") and len(traceback) < 20, done.stderr


def test_a_program_without_a_guard_that_starts_processes(python, tmp_path):
    """The refusal is multiprocessing's own then, as in a spawned child."""
    (tmp_path / "program.py").write_text(
        "import multiprocessing\n"
        "from fuload_exec import FuloadExecutor\n"
        "def f(): return 1\n"
        "child = multiprocessing.get_context('spawn').Process(target=abs, args=(1,))\n"
        "if multiprocessing.parent_process():\n"
        "    child.start()\n"
        "with FuloadExecutor(1) as executor:\n"
        "    error = executor.submit(f).exception()\n"
        "    print(type(error.__cause__).__name__, 'freeze_support()' in str(error))\n"
    )
    assert output([python, "program.py"], cwd=tmp_path) == "RuntimeError True\n"


def test_a_function_below_the_guard(python, tmp_path):
    """The error says what to do."""
    (tmp_path / "program.py").write_text(
        "from fuload_exec import FuloadExecutor\n"
        "if __name__ == '__main__':\n"
        "    def f(n): return n\n"
        "    class Box: pass\n"
        "    with FuloadExecutor(1) as executor:\n"
        "        for future in (executor.submit(f, 1), executor.submit(id, Box())):\n"
        "            try:\n"
        "                print(future.result() and 'there')\n"
        "            except Exception as error:\n"
        "                print(type(error).__name__, error)\n"
    )
    for line in output([python, "program.py"], cwd=tmp_path).splitlines():
        assert line == "there" or line.startswith("UnpickleError ") and "under \"if __name__ == '__main__':\"" in line


def test_a_pool_at_the_top_level_of_a_program(python, tmp_path):
    """Making it is harmless, as with the standard's; in workers it can be used
    once the program is imported."""
    (tmp_path / "program.py").write_text(
        "from fuload_exec import FuloadExecutor\n"
        "executor = FuloadExecutor(1)\n"
        "def f(n): return executor.submit(f, n - 1).result() + 1 if n else 0\n"
        "if __name__ == '__main__':\n"
        "    print(f(2))\n"
    )
    assert output([python, "program.py"], cwd=tmp_path) == "2\n"


def test_a_program_that_cannot_be_imported(python, tmp_path):
    """The error shows where, in the program's own lines."""
    (tmp_path / "program.py").write_text(
        "from fuload_exec import FuloadExecutor\n"
        "def choose():\n"
        "    raise SystemExit('only as a program') if __name__ != '__main__' else 0\n"
        "if __name__ != '__main__':\n"
        "    choose()\n"
        "with FuloadExecutor(2) as executor:\n"
        "    errors = [executor.submit(abs, -n).exception() for n in range(1)]\n"
        "    for error in errors:\n"
        "        print(type(error).__name__, error)\n"
        "    try:\n"
        "        executor.submit(abs, -1)\n"
        "    except Exception as again:\n"
        "        print(type(again).__name__)\n"
    )
    said = output([python, "program.py"], cwd=tmp_path)
    assert said.startswith("BrokenProcessPool workers cannot import the main module ")
    assert "SystemExit: only as a program" in said and "line 5, in <module>" in said and "line 3, in choose" in said
    assert "runpy" not in said and "spawn" not in said and said.endswith("\nBrokenProcessPool\n")


def test_a_program_that_came_through_a_pipe(python, tmp_path):
    """What was read from it is gone, so all of it goes by value."""
    (tmp_path / "program.py").write_text(PROGRAM.replace("EXECUTOR", FULOAD))
    command = f"exec {python} <(cat program.py)"
    assert output(["bash", "-c", command], cwd=tmp_path) == EXPECTED


LAUNCHERS = {
    # What a launcher does: multiprocessing is there already when the script gets a __main__ of its own.
    "by hand": (
        "import multiprocessing, sys, types\n"
        "main = types.ModuleType('__main__')\n"
        "main.__file__, main.__builtins__ = 'program.py', __builtins__\n"
        "sys.modules['__main__'] = main\n"
        "exec(compile(open('program.py').read(), 'program.py', 'exec'), main.__dict__)\n"
    ),
    "runpy": "import multiprocessing, runpy\nrunpy.run_path('program.py', run_name='__main__')\n",
    "another pool": (
        "import runpy\n"
        "from fuload_exec import FuloadExecutor\n"
        "if __name__ == '__main__':\n"
        "    with FuloadExecutor(1) as executor:\n"
        "        executor.submit(abs, -1).result()\n"
        "    runpy.run_path('program.py', run_name='__main__')\n"
    ),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_that_puts_another_main_module_in_place(python, tmp_path, launcher):
    (tmp_path / "launcher.py").write_text(LAUNCHERS[launcher])
    (tmp_path / "program.py").write_text(PROGRAM.replace("EXECUTOR", FULOAD))
    assert output([python, "launcher.py"], cwd=tmp_path) == EXPECTED


@pytest.mark.parametrize("launcher", ["cProfile", "trace --count -C counts --ignore-dir /", "pdb -c continue -c quit"])
def test_profilers_and_debuggers(python, tmp_path, launcher):
    (tmp_path / "program.py").write_text(PROGRAM.replace("EXECUTOR", FULOAD))
    command = [python, "-m", *launcher.split(), "program.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert EXPECTED in done.stdout, done.stderr


def test_a_main_module_that_is_replaced_while_tasks_run(python, tmp_path):
    """Results are the classes of the program that started them."""
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import sys, types
        from fuload_exec import FuloadExecutor

        class Box:
            def __init__(self, value):
                self.value = value

        class Broken(Exception):
            pass

        def put(value):
            return Box(value)

        def refuse(value):
            raise Broken(Box(value))

        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                futures = executor.submit(put, 1), executor.submit(refuse, 2)
                boxes = executor.map(put, range(3), chunksize=2)
                errors = executor.map(refuse, range(3), chunksize=2)
                other = sys.modules["__main__"] = sys.modules["__mp_main__"] = types.ModuleType("__main__")
                other.Box = other.Broken = None
                assert type(futures[0].result()) is Box
                error = futures[1].exception()
                assert type(error) is Broken and type(error.args[0]) is Box
                assert [type(box) for box in boxes] == [Box] * 3
                try:
                    next(errors)
                except Broken as error:
                    print(type(error.args[0]) is Box)
    """)
    )
    assert output([python, "program.py"], cwd=tmp_path) == "True\n"


@pytest.mark.parametrize("need_main_first", [False, True])
def test_a_module_with_relative_imports_below_pools_below_pools(python, tmp_path, need_main_first):
    """Every kind of child finds the same __main__, imported by its name."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text(
        "import multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from fuload_exec import FuloadExecutor\n"
        "def down(kinds, f):\n"
        "    if not kinds: return f()\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    with {'f': FuloadExecutor, 's': ProcessPoolExecutor}[kinds[0]](1, context) as executor:\n"
        "        return executor.submit(down, kinds[1:], f).result()\n"
        "def import_below(kinds):\n"
        "    import sys\n"
        "    return down(kinds, sys.modules['__main__'].here)\n"
    )
    (package / "program.py").write_text(
        "from . import helper\n"
        "def here(): return __name__, __package__, __spec__ and __spec__.name\n"
        "if __name__ == '__main__':\n"
        "    for kinds in ('fsf', 'ff', 'sf'):\n"
        f"        if {need_main_first}:\n"
        "            print(helper.down(kinds, here))\n"
        "        else:\n"
        "            print(helper.down(kinds[:1], __import__('functools').partial(helper.import_below, kinds[1:])))\n"
    )
    assert output([python, "-m", "package.program"], cwd=tmp_path) == "('__mp_main__', 'package', 'package.program')\n" * 3


def test_classes_and_errors_of_a_program_are_its_own_again(python, tmp_path):
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import dataclasses, enum
        from concurrent.futures import ProcessPoolExecutor
        from fuload_exec import FuloadExecutor

        class Colour(enum.Enum):
            RED = 1

        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int
            colour: Colour

        class Lost(LookupError):
            def __init__(self, point):
                super().__init__(point)
                self.point = point

        def lose(point):
            raise Lost(point)

        def same(value):
            return value

        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                for wrap in (lambda f: f, lambda f: lambda value: f(value)):  # by reference, by value
                    point = executor.submit(wrap(same), Point(1, Colour.RED)).result()
                    assert type(point) is Point and point.colour is Colour.RED and point == Point(1, Colour.RED)
                    assert executor.submit(wrap(same), Point).result() is Point
                    error = executor.submit(wrap(lose), point).exception()
                    assert type(error) is Lost and error.point == point
            print("good")
        """)
    )
    assert output([python, "program.py"], cwd=tmp_path) == "good\n"
