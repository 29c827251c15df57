"""A Python worker's interpreter is set up like the parent's: virtual
environment, flags, `site` and all that hangs on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import cloudpickle
import pytest

import fuload_exec

HOME = Path(fuload_exec.__file__).resolve().parent.parent
NEEDED = f"{HOME}\n{Path(cloudpickle.__file__).resolve().parent.parent}\n"

# What setuptools writes for an editable install, shortened.
FINDER = """
import functools, pathlib, sys
from importlib.machinery import PathFinder, ModuleSpec
from importlib.util import spec_from_file_location

MAPPING = {mapping!r}
NAMESPACES = {namespaces!r}
PATH_PLACEHOLDER = "__editable__.{name}.finder.__path_hook__"

class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname in MAPPING:
            place = pathlib.Path(MAPPING[fullname])
            for candidate in (place / "__init__.py", place.with_suffix(".py")):
                if candidate.exists():
                    return spec_from_file_location(fullname, candidate)
        return None

class _EditableNamespaceFinder:
    @classmethod
    def _path_hook(cls, path):
        if path == PATH_PLACEHOLDER:
            return cls
        raise ImportError

    @classmethod
    def find_spec(cls, fullname, target=None):
        if fullname in NAMESPACES:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = NAMESPACES[fullname]
            return spec
        return None

def install():
    if _EditableFinder not in sys.meta_path:
        sys.meta_path.append(_EditableFinder)
    if NAMESPACES:
        sys.path_hooks.append(_EditableNamespaceFinder._path_hook)
        sys.path.append(PATH_PLACEHOLDER)
"""


class Environment:
    """A virtual environment without pip, where this package can be imported."""

    def __init__(self, path: Path, folder: Path, **options) -> None:
        venv.create(path, symlinks=True, with_pip=False, **options)
        self.python = path / "bin" / "python"
        self.folder = folder  # where programs, and what is installed editable, stand
        self.packages = next((path / "lib").glob("python3.*")) / "site-packages"
        (self.packages / "needed.pth").write_text(NEEDED)
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
        self.variables["PYTHONPATH"] = str(HOME)

    def install_editable(self, name: str, modules: dict[str, str], namespaces: dict[str, str] | None = None) -> None:
        namespaces = namespaces or {}
        place = self.folder / f"source of {name}"
        place.mkdir()
        for module, text in {**modules, **namespaces}.items():
            path = (place / module.replace(".", "/")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        finder = f"__editable___{name}_finder"
        (self.packages / f"{finder}.py").write_text(
            FINDER.format(
                name=name,
                mapping={module: str(place / module) for module in modules},
                namespaces={module.partition(".")[0]: [str(place / module.partition(".")[0])] for module in namespaces},
            )
        )
        (self.packages / f"__editable__.{name}.pth").write_text(f"import {finder}; {finder}.install()")

    def run(self, text: str, *flags: str, script: bool = True, **variables: str):
        """What the program prints, from JSON."""
        program = self.folder / "program.py"
        program.write_text(textwrap.dedent(text))
        command = [str(self.python), *flags, *([str(program)] if script else ["-c", textwrap.dedent(text)])]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**self.variables, **variables}, cwd=self.folder
        )
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)


@pytest.fixture
def make_environment(tmp_path):
    def make(**options) -> Environment:
        folder = tmp_path / "folder"
        folder.mkdir()
        return Environment(tmp_path / "environment", folder, **options)

    return make


@pytest.fixture
def environment(make_environment):
    return make_environment()


# Asks the same question here, in a worker, and in a spawned process of the standard library.
ASK = """
import json, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from fuload_exec import FuloadExecutor

{}

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with FuloadExecutor(1) as ours, ProcessPoolExecutor(1, spawn) as standard:
        print(json.dumps([fact(), ours.submit(fact).result(), standard.submit(fact).result()]))
"""

FACTS = """
def fact():
    import builtins, os, site, subprocess, sysconfig, warnings
    return {
        "flags": list(sys.flags), "debug": __debug__, "warnings": sys.warnoptions, "X": sorted(sys._xoptions.items()),
        "arguments": subprocess._args_from_interpreter_flags(),
        "executable": sys.executable, "prefix": [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix],
        "path": sys.path, "scheme": sysconfig.get_path("purelib"),
        "user site": [site.ENABLE_USER_SITE, site.USER_SITE, site.USER_BASE],
        "builtins": [hasattr(builtins, name) for name in ("exit", "quit", "help", "copyright")],
        "environment": sorted((k, v) for k, v in os.environ.items() if k.startswith("PYTHON")),
        "site": "site" in sys.modules, "customized": getattr(sys, "customized", None),
    }
"""


def ask(environment: Environment, fact: str, *flags: str, **variables: str):
    here, ours, standard = environment.run(ASK.format(textwrap.dedent(fact)), *flags, **variables)
    assert standard == here, "the test asks for more than the standard promises"
    assert ours == here
    return here


FLAGS = [
    [],
    ["-I"],
    ["-S"],
    ["-E"],
    ["-s"],
    ["-O"],
    ["-OO"],
    ["-B"],
    ["-bb"],
    ["-W", "ignore::ImportWarning"],
    ["-X", "utf8"],
    ["-X", "dev"],
    ["-S", "-O", "-W", "error::UserWarning"],
]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
def test_flags_and_virtual_environment(environment, editable, flags):
    if editable:
        environment.install_editable("lab", {"lab": "", "other": ""})
    facts = ask(environment, FACTS, *flags)
    assert facts["executable"] == str(environment.python)
    assert facts["site"]


def test_environment_variables(environment, tmp_path):
    environment.install_editable("lab", {"lab": ""})
    (tmp_path / "only_there.py").write_text("value = 5\n")
    path = f"{tmp_path}:{HOME}"
    facts = ask(environment, FACTS, PYTHONPATH=path, PYTHONOPTIMIZE="1", PYTHONWARNINGS="ignore::ImportWarning")
    assert str(tmp_path) in facts["path"]
    assert not facts["debug"]
    fact = "def fact():\n    import only_there\n    return only_there.value\n"
    assert ask(environment, fact, PYTHONPATH=path) == 5


@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
def test_customization(make_environment, tmp_path, name, editable):
    environment = make_environment(system_site_packages=True)
    if editable:
        environment.install_editable("lab", {"lab": ""})
    (environment.packages / f"{name}.py").write_text("import sys\nsys.customized = __name__\n")
    assert ask(environment, FACTS)["customized"] == name


def test_user_site(make_environment, tmp_path):
    environment = make_environment(system_site_packages=True)
    environment.install_editable("lab", {"lab": ""})
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    user_site = tmp_path / "user" / "lib" / version / "site-packages"
    user_site.mkdir(parents=True)
    (user_site / "usercustomize.py").write_text("import sys\nsys.customized = __file__\n")
    facts = ask(environment, FACTS, PYTHONUSERBASE=str(tmp_path / "user"))
    assert facts["user site"][0] is True
    assert str(user_site) in facts["path"]
    assert facts["customized"] == str(user_site / "usercustomize.py")


@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
def test_code_in_pth_files(environment, editable):
    """It may install a finder that comes before all others."""
    if editable:
        environment.install_editable("lab", {"lab": ""})
    (environment.packages / "hook.py").write_text(
        "import sys\n"
        "class Hook:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        sys.customized = [*(getattr(sys, 'customized', None) or []), name]\n"
        "sys.meta_path.insert(0, Hook)\n"
    )
    (environment.packages / "hook.pth").write_text("import hook\n")
    fact = """
    def fact():
        import colorsys
        names = [getattr(finder, "__name__", None) for finder in sys.meta_path]
        return [sys.customized[-1], names.index("Hook") < names.index("BuiltinImporter")]
    """
    assert ask(environment, fact) == ["colorsys", True]


def test_a_package_that_only_an_editable_finder_finds(environment):
    environment.install_editable("lab", {"lab": "def double(x): return 2 * x\n", "bench": "def half(x): return x // 2\n"})
    environment.install_editable("shed", {"shed": "class Tool: pass\n"})
    fact = """
    def fact():
        import bench, lab, shed
        finders = [getattr(finder, "__module__", None) for finder in sys.meta_path]
        return [lab.double(4), bench.half(4), shed.Tool.__module__, finders[-2:]]
    """
    *found, finders = ask(environment, fact)
    assert found == [8, 2, "shed"]
    assert finders == ["__editable___lab_finder", "__editable___shed_finder"]


def test_a_task_of_a_package_that_only_an_editable_finder_finds(environment):
    environment.install_editable("lab", {"lab": "def double(x): return 2 * x\n"})
    assert environment.run("""
        import json, lab
        from fuload_exec import FuloadExecutor
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                print(json.dumps(list(executor.map(lab.double, range(3)))))
    """) == [0, 2, 4]


def test_a_namespace_package_that_only_an_editable_finder_finds(environment):
    environment.install_editable("lab", {"lab": ""}, {"space.tools": "value = 7\n"})
    assert ask(environment, "def fact():\n    import space.tools\n    return space.tools.value\n") == 7


@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
def test_customization_that_only_an_editable_finder_finds(make_environment, name):
    environment = make_environment(system_site_packages=True)
    environment.install_editable("lab", {name: "import sys\nsys.customized = __name__\n"})
    assert ask(environment, FACTS)["customized"] == name


def test_an_editable_install_that_is_taken_away(environment):
    """Workers that start afterwards do without it, as every new interpreter does."""
    environment.install_editable("lab", {"lab": ""})
    assert (
        environment.run("""
        import json, os, sys, sysconfig
        from fuload_exec import FuloadExecutor
        def look():
            try:
                import lab
            except ImportError as error:
                return error.name
        if __name__ == "__main__":
            import lab
            packages = sysconfig.get_path("purelib")
            for name in os.listdir(packages):
                if name.endswith(("__editable__.lab.pth", "lab_finder.py")):
                    os.remove(os.path.join(packages, name))
            with FuloadExecutor(1) as executor:
                print(json.dumps(executor.submit(look).result()))
    """)
        == "lab"
    )


def test_threads_import_at_once_what_only_an_editable_finder_finds(environment):
    environment.install_editable("lab", {f"lab{i}": f"value = {i}\n" for i in range(16)})
    fact = """
    def fact():
        import threading
        barrier = threading.Barrier(16)
        values = []
        def get(i):
            barrier.wait()
            values.append(__import__(f"lab{i}").value)
        threads = [threading.Thread(target=get, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(values)
    """
    assert ask(environment, fact) == list(range(16))


def test_what_nobody_finds(environment):
    environment.install_editable("lab", {"lab": ""})
    fact = """
    def fact():
        import importlib.util
        try:
            import lab.nothing
        except ModuleNotFoundError as error:
            return [str(error), importlib.util.find_spec("nothing"), importlib.util.find_spec("nt")]
    """
    assert ask(environment, fact)[1:] == [None, None]


def test_an_editable_finder_costs_a_worker_nothing_until_it_is_needed(environment):
    environment.install_editable("lab", {"lab": ""})
    assert environment.run(
        """
        import json
        from fuload_exec import FuloadExecutor
        loaded = "'__editable___lab_finder' in __import__('sys').modules"
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                found = [executor.submit(eval, loaded).result()]
                executor.submit(__import__, "lab").exception()
                print(json.dumps([*found, executor.submit(eval, loaded).result(), eval(loaded)]))
    """,
        script=False,
    ) == [False, True, True]


@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
def test_an_interpreter_made_by_a_task_has_site_too(environment, editable):
    if editable:
        environment.install_editable("lab", {"lab": ""})
    fact = """
    def fact():
        import os
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        reading, writing = os.pipe()
        code = f"import os, sys; os.write({writing}, str([sys.flags.no_site, 'site' in sys.modules]).encode())"
        interpreter = interpreters.create()
        interpreters.run_string(interpreter, code)
        interpreters.destroy(interpreter)
        os.close(writing)
        with open(reading) as file:
            return file.read()
    """
    assert ask(environment, fact) == "[0, True]"


def test_a_pool_in_a_task_of_an_interpreter(environment):
    environment.install_editable("lab", {"lab": "def double(x): return 2 * x\n"})
    fact = """
    def inner():
        import lab
        return lab.double(3), list(sys.flags)

    def fact():
        with FuloadExecutor(1) as executor:
            return executor.submit(inner).result()
    """
    assert ask(environment, fact)[0] == 6


def test_a_worker_imports_only_what_a_task_needs(environment):
    """Each of these takes long to import, or what it imports does."""
    slow = {"typing", "functools", "collections", "re", "enum", "types", "contextlib", "traceback", "pickle"}
    imported = environment.run(
        """
        import json
        from fuload_exec import FuloadExecutor
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                print(json.dumps(executor.submit(eval, "[m for m in __import__('sys').modules if 'main' not in m]").result()))
        """,
        "-S",
        script=False,  # which the worker would import
    )
    assert "_pickle" in imported
    assert slow.isdisjoint(imported)


def test_functools_and_pickle_are_whole_in_a_worker(environment):
    fact = """
    class Pair(tuple):
        def __new__(cls, *, first, second):
            return super().__new__(cls, (first, second))

        def __getnewargs_ex__(self):
            return (), {"first": self[0], "second": self[1]}

    def fact():
        import functools, pickle
        copies = [pickle.loads(pickle.dumps(Pair(first=1, second=2), protocol)) for protocol in range(2, 6)]
        return [copies, functools.lru_cache(len)("abc"), functools.__file__, functools.partial is pickle.partial]
    """
    assert ask(environment, fact)[:2] == [[[1, 2]] * 4, 3]
