"""python -m fuload_exec cc | config, and get_include()."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from toolbox import HERE, PATIENCE, cc, command

from fuload_exec import NativeTask, get_include

C = "#include <fuload.h>\nFULOAD_TASK(answer) { return fuload_reply(task, ANSWER, 2); }\n"
CPP = """
#include <fuload.h>
#include <string>
#include <vector>
FULOAD_TASK(answer) {
    std::vector<std::string> words{ANSWER};
    return fuload_reply(task, words[0].data(), words[0].size());
}
"""


@pytest.mark.parametrize(("suffix", "text"), [(".c", C), (".cpp", CPP), (".cc", CPP), (".cxx", CPP)])
def test_cc_compiles_c_and_cplusplus(pool, tmp_path, suffix, text):
    source, output = tmp_path / f"tasks{suffix}", tmp_path / "tasks.so"
    source.write_text(text)
    done = cc(source, "-o", output, '-DANSWER="42"', "-O3", "-Wall")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert pool(1).submit(NativeTask(output, "answer"), b"").result(timeout=PATIENCE) == b"42"


def test_cc_takes_several_sources_and_libraries(pool, tmp_path):
    (tmp_path / "one.c").write_text(C.replace("ANSWER, 2", "text(), 2").replace("FULOAD", "const char *text(void);\nFULOAD", 1))
    (tmp_path / "two.c").write_text('#include <math.h>\nconst char *text(void) { return lround(cos(0)) == 1 ? "ok" : "no"; }\n')
    done = cc(tmp_path / "one.c", tmp_path / "two.c", "-o", tmp_path / "tasks.so", "-lm")
    assert done.returncode == 0, done.stderr
    assert pool(1).submit(NativeTask(tmp_path / "tasks.so", "answer"), b"").result(timeout=PATIENCE) == b"ok"


def test_cc_shows_what_the_compiler_says(tmp_path):
    (tmp_path / "tasks.c").write_text("#include <fuload.h>\nFULOAD_TASK(broken) { return nonsense; }\n")
    done = cc(tmp_path / "tasks.c", "-o", tmp_path / "tasks.so")
    assert done.returncode != 0
    assert "nonsense" in done.stderr
    assert not (tmp_path / "tasks.so").exists()


def test_cc_without_an_output(tmp_path):
    done = cc(HERE / "tasks.c")
    assert (done.returncode, done.stderr) == (2, "fuload_exec: cc needs -o PLUGIN.so\n")


@pytest.mark.parametrize("source", ["tasks.c", "tasks.cpp"])
def test_cc_without_a_compiler_says_so_in_one_sentence(tmp_path, source):
    done = cc(source, "-o", tmp_path / "x.so", env={"CC": "no-such-cc", "CXX": "no-such-cc"})
    assert done.returncode == 2
    assert "no-such-cc" in done.stderr and "apt-get install gcc" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_cc_uses_the_compiler_of_the_environment(tmp_path):
    log = tmp_path / "log"
    fake = tmp_path / "my cc"
    fake.write_text(f'#!/bin/sh\necho "$@" > "{log}"\nexec cc "$@"\n')
    fake.chmod(0o755)
    done = cc(HERE / "tasks.c", "-o", tmp_path / "x.so", env={"CC": f"'{fake}' -DEXTRA"})
    assert done.returncode == 0, done.stderr
    assert log.read_text().startswith("-DEXTRA")


@pytest.mark.parametrize("option", ["--cflags", "--includes", "--libs"])
def test_config_prints_flags(option):
    done = command("config", option)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"--cflags": get_include(), "--includes": get_include(), "--libs": "-lfuload_worker"}[option] in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_config_flags_build_a_plugin_and_a_worker_program(pool, tmp_path):
    """As in a Makefile: through the shell."""
    run = f"{sys.executable} -m fuload_exec config"
    script = f"cc -shared {HERE}/tasks.c -o tasks.so $({run} --cflags) && cc {HERE}/worker.c -o worker $({run} --includes) $({run} --libs)"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    executor = pool(1, worker=tmp_path / "worker")
    assert executor.submit(NativeTask(None, "echo"), b"x").result(timeout=PATIENCE) == b"x"
    assert executor.submit(NativeTask(tmp_path / "tasks.so", "upper"), b"x").result(timeout=PATIENCE) == b"X"


def environment():
    """The package is found from any directory."""
    import fuload_exec

    place = os.path.dirname(os.path.dirname(fuload_exec.__file__))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))}


@pytest.mark.parametrize("arguments", [["config"], ["config", "--flags"], ["config", "--libs", "x"], ["frobnicate"]])
def test_mistakes_are_told(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("fuload_exec: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["-h"], 0), (["help"], 0)])
def test_usage(arguments, code):
    done = command(*arguments)
    assert done.returncode == code
    assert done.stdout.startswith("usage: python -m fuload_exec")


def test_get_include():
    assert os.path.isfile(os.path.join(get_include(), "fuload.h"))


def test_cc_with_the_product_in_one_word(tmp_path):
    (tmp_path / "my.c").write_text(C)
    done = cc(tmp_path / "my.c", f"-o{tmp_path / 'my.so'}", '-DANSWER="42"')
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "my.so").exists()


@pytest.mark.parametrize("line", [["--help"], ["cc", "--help"], ["config", "-h"], ["help"]], ids=" ".join)
def test_help(line):
    done = command(*line)
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m fuload_exec cc")
