"""Where workers stand, and that they import from where their parent does."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path

import pytest

import fuload_exec
from fuload_exec import FuloadExecutor

PLANTED = ["_pickle", "_compat_pickle", "copyreg", "_functools", "fuload_exec", "runpy", "encodings", "sitecustomize"]


@pytest.fixture
def shared_folder(tmp_path, monkeypatch):
    """A directory with modules of somebody else's; each says that it ran."""
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('{name} ')\nraise ImportError\n")
    monkeypatch.chdir(folder)
    return folder


def test_nothing_is_imported_from_the_current_directory(shared_folder):
    with FuloadExecutor(1) as executor:
        assert executor.submit(os.getcwd).result() == str(shared_folder)
        assert executor.submit(lambda: [1]).result() == [1]
    assert not (shared_folder / "ran").exists()


ASK = """
import json, sys
from fuload_exec import FuloadExecutor
if __name__ == "__main__":
    with FuloadExecutor(1) as executor:
        print(json.dumps([sys.path, executor.submit(eval, "__import__('sys').path").result(), list(sys.flags),
                          executor.submit(eval, "list(__import__('sys').flags)").result()]))
"""


@pytest.mark.parametrize("how", ["script", "-c", "-", "-m", "-I", "PYTHONPATH"])
def test_a_module_beside_the_program_is_found_where_the_parent_finds_it(python, tmp_path, how):
    """Whether the current directory counts, is as in the parent: as with spawn,
    '' there is the directory of its start here."""
    (tmp_path / "beside.py").write_text("value = 5\n")
    (tmp_path / "program.py").write_text(textwrap.dedent(ASK))
    command = {"-c": ["-c", ASK], "-": ["-"], "-m": ["-m", "program"], "-I": ["-I", "program.py"]}.get(how, ["program.py"])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if how == "PYTHONPATH":
        environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(
        [python, *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment,
        input=ASK if how == "-" else "",
    )
    assert (done.returncode, done.stderr) == (0, "")
    path, theirs, flags, their_flags = json.loads(done.stdout)
    assert theirs == [str(tmp_path) if folder == "" else folder for folder in path]
    assert their_flags == flags
    assert (str(tmp_path) in theirs) == (how != "-I")


def test_a_directory_that_is_gone(libm, tmp_path, monkeypatch):
    """Of a C worker that becomes an interpreter later."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with FuloadExecutor(1) as executor:
        assert executor.submit(libm.fabs, -1.0).result() == 1.0
        monkeypatch.chdir(tmp_path)
        folder.rmdir()
        assert executor.submit(os.getcwd).result() == str(tmp_path)


def test_a_directory_that_goes_after_the_first_task(tmp_path, monkeypatch):
    """Workers that start then are where the program is now."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with FuloadExecutor(1, max_tasks_per_child=1) as executor:
        assert executor.submit(os.getcwd).result() == str(folder)
        monkeypatch.chdir(tmp_path)
        folder.rmdir()
        assert executor.submit(os.getcwd).result() == str(tmp_path)


def test_a_program_that_stands_nowhere(python, tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    program = textwrap.dedent("""
        import os
        from fuload_exec import FuloadExecutor
        os.rmdir(os.getcwd())
        with FuloadExecutor(1) as executor:
            print(executor.submit(abs, -1).result())
    """)
    home = str(Path(fuload_exec.__file__).parent.parent)
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, timeout=60, cwd=folder, env={**os.environ, "PYTHONPATH": home}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
