"""Functions that workers find by their name are named to a pool once; what
their name does not lead to any more goes by value."""

from __future__ import annotations

import copyreg
import functools
import gc
import importlib
import math
import subprocess
import sys
import textwrap
import types

import cloudpickle
import pytest
from functions_by_name_tasks import Tools, decorated, double, floor, twice

from fuload_exec import FuloadExecutor, PayloadTooLarge

# A request that holds more than a few plain arguments does not fit.
LITTLE = 60


@pytest.fixture
def make_module(tmp_path, monkeypatch):
    """A function that writes a module, which workers can import, and imports it."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def make(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield make
    for name in names:
        sys.modules.pop(name, None)


def test_a_function_is_named_once():
    with FuloadExecutor(1, max_payload=LITTLE) as executor:
        for n in range(100):
            assert executor.submit(double, n).result() == 2 * n


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (decorated, (1,), ("traced", 1)),
        (Tools.static, (1,), ("static", 1)),
        (Tools.plain, (None, 1), ("NoneType", 1)),
        (Tools.Inner.plain, (None, 1), ("inner", 1)),
        (math.sqrt, (4,), 2.0),
        (len, ("abc",), 3),
        (int, ("12",), 12),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_a_name_leads_to_is_named_once(function, args, result):
    with FuloadExecutor(1, max_payload=LITTLE) as executor:
        assert [f.result() for f in [executor.submit(function, *args) for _ in range(10)]] == [result] * 10


def test_what_has_state_is_pickled_with_each_task():
    def nested(x):
        return x

    with FuloadExecutor(1, max_payload=LITTLE) as executor:
        for function in (nested, lambda x: x, functools.partial(double), Tools().plain, Tools.of_class):
            for n in range(3):
                with pytest.raises(PayloadTooLarge):
                    executor.submit(function, n)


def test_the_values_around_a_nested_function_are_those_of_its_submission():
    count = 0

    def nested(x, *, scale=1):
        return count + scale * x

    with FuloadExecutor(1) as executor:
        for count in range(5):
            assert executor.submit(nested, 1).result() == count + 1
        nested.__kwdefaults__ = {"scale": 10}
        assert executor.submit(nested, 1).result() == 14
        nested.__code__ = (lambda x, *, scale: (count, scale, x)).__code__
        assert executor.submit(nested, 1).result() == (4, 10, 1)


def test_redefined_under_its_name(make_module):
    """The standard's semantics: by name is what the worker has imported under
    it; an old function, to which no name leads, goes by value."""
    module = make_module("plant", "def grow(): return 'first'\n")
    first = module.grow
    with FuloadExecutor(1) as executor:
        assert executor.submit(first).result() == "first"
        exec("def grow(): return 'second'", module.__dict__)
        assert executor.submit(module.grow).result() == "first"  # the worker's own
        assert executor.submit(first).result() == "first"
        module.grow = lambda: "third"
        assert executor.submit(module.grow).result() == "third"
        assert executor.submit(first).result() == "first"


def test_two_functions_of_one_name(make_module):
    module = make_module(
        "twins",
        """
        def make(n):
            def twin(): return n
            twin.__qualname__ = "twin"
            return twin
        one, other = make(1), make(2)
        twin = one
    """,
    )
    with FuloadExecutor(1) as executor:
        for _ in range(3):
            assert [executor.submit(f).result() for f in (module.one, module.other)] == [1, 2]
        module.twin = module.other  # in the worker it still is the first
        assert executor.submit(module.one).result() == 1


def test_a_class_that_was_replaced(make_module):
    module = make_module("shop", "class Box:\n    def __init__(self): self.made = 'first'\n")
    old = module.Box
    with FuloadExecutor(1) as executor:
        assert executor.submit(old).result().made == "first"
        module.Box = type("Box", (), {"__module__": "shop", "made": "second"})
        assert type(executor.submit(old).result()) is old
        module.Box = old
        assert executor.submit(old).result().made == "first"


@pytest.mark.parametrize("how", ["del module.f", "del sys.modules['short_lived']", "sys.modules['short_lived'] = None"])
def test_deleted_since(make_module, how):
    module = make_module("short_lived", "def f(): return __name__\n")
    with FuloadExecutor(1) as executor:
        f = module.f
        assert executor.submit(f).result() == "short_lived"
        exec(how, {"module": module, "sys": sys})
        assert executor.submit(f).result() == "short_lived"


def test_reloaded_here(make_module, tmp_path):
    """A worker keeps what it has imported; one that imports it afterwards has
    the new one. The old function goes by value."""
    module = make_module("tide", "def level(): return 'low'\n")
    old = module.level
    with FuloadExecutor(1) as executor:
        assert executor.submit(old).result() == "low"
        (tmp_path / "tide.py").write_text("def level(): return 'quite high'\n")
        importlib.reload(module)
        assert executor.submit(module.level).result() == "low"
        assert executor.submit(old).result() == "low"
    with FuloadExecutor(1) as executor:
        assert executor.submit(module.level).result() == "quite high"
        assert executor.submit(old).result() == "low"


def test_reloaded_in_the_worker(make_module, tmp_path):
    """As with the standard's pool, the next task runs the new one."""
    module = make_module(
        "moon",
        """
        import importlib, sys
        def phase(): return 'new'
        def again(): importlib.reload(sys.modules[__name__])
    """,
    )
    with FuloadExecutor(1) as executor:
        assert executor.submit(module.phase).result() == "new"
        (tmp_path / "moon.py").write_text("def phase(): return 'quite full'\n")
        assert executor.submit(module.again).result() is None
        assert executor.submit(module.phase).result() == "quite full"


def test_globals_are_those_of_the_worker(make_module):
    module = make_module("counter", "n = 0\ndef count():\n    global n\n    n += 1\n    return n\n")
    with FuloadExecutor(1) as executor:
        module.n = 100
        assert [executor.submit(module.count).result() for _ in range(3)] == [1, 2, 3]
    assert module.n == 100


def test_a_name_that_a_module_makes_on_demand(make_module):
    module = make_module(
        "lazy",
        "def __getattr__(name):\n    if name == 'made': return f\n    raise AttributeError(name)\n"
        "def f(): return 5\nf.__qualname__ = 'made'\n",
    )
    with FuloadExecutor(1) as executor:
        assert [executor.submit(module.f).result() for _ in range(3)] == [5] * 3


def test_reducers_of_builtin_functions_are_used(monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, types.BuiltinFunctionType, lambda f: (floor, ()))
    with FuloadExecutor(1) as executor:
        assert executor.submit(math.ceil, 1.5).result() == 1


def test_a_function_of_a_program_that_changes_its_main_module(python, tmp_path):
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import sys, types
        from fuload_exec import FuloadExecutor

        def where():
            return "program", __name__

        if __name__ == "__main__":
            main = sys.modules["__main__"]
            with FuloadExecutor(1) as executor:
                print(executor.submit(where).result())
                other = sys.modules["__main__"] = types.ModuleType("__main__")
                exec("def where(): return 'other', __name__", other.__dict__)
                print(executor.submit(where).result(), executor.submit(other.where).result())
                sys.modules["__main__"] = main
                print(executor.submit(where).result())
    """)
    )
    done = subprocess.run([python, "program.py"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "('program', '__mp_main__')",
        "('program', '__main__') ('other', '__main__')",
        "('program', '__mp_main__')",
    ]


@pytest.mark.stress
def test_more_functions_than_a_pool_can_name(make_module, libm):
    """Those beyond are pickled with each task."""
    module = make_module(
        "many", "def make(name): exec(f'def {name}(x): return x, {name!r}', globals())\nfor n in range(50_000): make(f'f{n}')\n"
    )
    functions = [getattr(module, f"f{n}") for n in range(50_000)]
    with FuloadExecutor(1, slots=64) as executor:
        futures = [executor.submit(f, n) for n, f in enumerate(functions)]
        assert [f.result() for f in futures] == [(n, f"f{n}") for n in range(50_000)]
        assert executor.submit(libm.cos, 0.0).result() == 1.0


@pytest.mark.stress
def test_functions_that_are_made_again_and_again_are_not_kept(make_module):
    module = make_module("fresh", "def make():\n    exec('def f(x): return x', globals())\n    return f\nmake()\n")
    with FuloadExecutor(1) as executor:
        for n in range(200):
            assert executor.submit(module.make(), n).result() == n
        gc.collect()
        kept = [f for f in gc.get_objects() if isinstance(f, types.FunctionType) and f.__module__ == "fresh"]
        assert {f.__name__ for f in kept} == {"make", "f"} and len(kept) == 2


# -- by value, because the program says so --------------------------------------------------

REGISTERED = """
    K = 7
    class Number:
        def __init__(self, n): self.n = n
        def times(self, n): return Number(self.n * n * K)
    def times(n): return n * K
"""


@pytest.fixture
def hidden_module():
    """A module that no worker can import."""
    module = types.ModuleType("hidden_module")
    exec(textwrap.dedent(REGISTERED), module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]
    if module.__name__ in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(module)


def test_a_module_registered_by_value(hidden_module):
    cloudpickle.register_pickle_by_value(hidden_module)
    with FuloadExecutor(1) as executor:
        assert executor.submit(hidden_module.times, 6).result() == 42
        assert list(executor.map(hidden_module.times, range(3))) == [0, 7, 14]
        result = executor.submit(hidden_module.Number(2).times, 3).result()
        assert type(result) is hidden_module.Number and result.n == 42
        assert executor.submit(twice, hidden_module.times, 1).result() == 49
        assert executor.submit(sorted, [2, 1], key=hidden_module.times).result() == [1, 2]


def test_registered_after_the_first_task(make_module):
    module = make_module("settled", REGISTERED)
    with FuloadExecutor(1) as executor:
        assert executor.submit(module.times, 6).result() == 42
        module.K = 8  # seen by what goes by value
        assert executor.submit(module.times, 6).result() == 42
        cloudpickle.register_pickle_by_value(module)
        try:
            assert executor.submit(module.times, 6).result() == 48
            assert executor.submit(twice, module.times, 1).result() == 64
            assert executor.submit(module.Number, 5).result().n == 5
        finally:
            cloudpickle.unregister_pickle_by_value(module)
        assert executor.submit(module.times, 6).result() == 42


def test_a_package_registered_by_value():
    package, module = types.ModuleType("hidden_package"), types.ModuleType("hidden_package.module")
    exec(textwrap.dedent(REGISTERED), module.__dict__)
    sys.modules.update({"hidden_package": package, "hidden_package.module": module})
    cloudpickle.register_pickle_by_value(package)
    try:
        with FuloadExecutor(1, initializer=module.times, initargs=(1,)) as executor:
            assert executor.submit(module.times, 6).result() == 42
            assert executor.submit(module.Number(2).times, 3).result().n == 42
    finally:
        cloudpickle.unregister_pickle_by_value(package)
        del sys.modules["hidden_package"], sys.modules["hidden_package.module"]
