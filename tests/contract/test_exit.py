"""The end of the interpreter while a pool lives: programs of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

FULOAD = """\
from fuload_exec import FuloadExecutor
def make(n=2): return FuloadExecutor(n)
"""
STANDARD = """\
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def make(n=2): return ProcessPoolExecutor(n, multiprocessing.get_context('fork'))
"""
PROLOGUE = """\
import atexit, os, sys, threading, time
from concurrent.futures import as_completed, wait
def say(text):
    os.write(1, f"{text}\\n".encode())
    return text
def say_later(text):
    time.sleep(0.1)
    return say(text)
def loop():
    while True:
        time.sleep(0.01)
"""


@pytest.fixture
def run(python, tmp_path):
    """Runs a program; (what it wrote, line by line and sorted; its errors; its status)."""

    def start(script, executor=FULOAD):
        text = PROLOGUE + executor + "if __name__ == '__main__':\n" + textwrap.indent(textwrap.dedent(script), "    ")
        (tmp_path / "program.py").write_text(text)
        done = subprocess.run([python, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return sorted(done.stdout.split("\n")[:-1]), done.stderr, done.returncode

    return start


both = pytest.mark.parametrize("executor", [FULOAD, STANDARD], ids=["FuloadExecutor", "ProcessPoolExecutor"])


@both
def test_what_runs_and_waits_is_finished(run, executor):
    assert run(
        """
        executor = make(1)
        for i in range(5):
            executor.submit(say_later, i)
    """,
        executor,
    ) == (list("01234"), "", 0)


def test_shutdown_without_waiting_and_then_the_end(run):
    """The standard's pool may hang here (python/cpython#83386)."""
    assert run("""
        executor = make(3)
        for i in range(5):
            executor.submit(say_later, i)
        executor.shutdown(wait=False)
    """) == (list("01234"), "", 0)


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_that_cancels_and_then_the_end(run, wait):
    lines, errors, status = run(f"""
        executor = make(1)
        futures = [executor.submit(say_later, i) for i in range(100)]
        executor.shutdown(wait={wait}, cancel_futures=True)
        assert futures[-1].cancelled()
    """)
    assert len(lines) < 50 and (errors, status) == ("", 0)


@both
def test_a_future_cancelled_right_before_the_shutdown(run, executor):
    assert run(
        """
        executor = make(1)
        executor.submit(int).result()
        executor.submit(int).cancel()
        executor.shutdown(wait=True)
        say("done")
    """,
        executor,
    ) == (["done"], "", 0)


@both
def test_callbacks_of_what_ends_then(run, executor):
    lines, errors, status = run(
        """
        executor = make()
        for i in range(3):
            executor.submit(say_later, i).add_done_callback(lambda f: say("called " + str(f.result())))
    """,
        executor,
    )
    assert (lines, errors, status) == (["0", "1", "2", "called 0", "called 1", "called 2"], "", 0)


@both
def test_threads_that_wait_for_results(run, executor):
    assert run(
        """
        executor = make()
        for i in range(3):
            future = executor.submit(say_later, i)
            threading.Thread(target=lambda future=future: say("got " + str(future.result()))).start()
        threading.Thread(target=lambda futures=[executor.submit(abs, -9)]: say("waited " + str(len(wait(futures).done)))).start()
    """,
        executor,
    ) == (["0", "1", "2", "got 0", "got 1", "got 2", "waited 1"], "", 0)


@both
def test_submitting_after_the_end(run, executor):
    lines, errors, status = run(
        """
        executor = make()
        executor.submit(abs, -1).result()
        @atexit.register
        def last():
            try:
                executor.submit(abs, -1)
            except RuntimeError as error:
                say(str(error))
    """,
        executor,
    )
    assert len(lines) == 1 and lines[0].startswith("cannot schedule new futures after") and (errors, status) == ("", 0)
    if executor is FULOAD:
        assert lines == ["cannot schedule new futures after interpreter shutdown"]


def test_submitting_after_shutdown_and_after_the_end(run):
    """The first reason is the one that is told."""
    assert run("""
        executor = make()
        executor.submit(abs, -1).result()
        executor.shutdown()
        @atexit.register
        def last():
            try:
                executor.submit(abs, -1)
            except RuntimeError as error:
                say(str(error))
    """) == (["cannot schedule new futures after shutdown"], "", 0)


def test_mapping_after_the_end(run):
    lines, errors, status = run("""
        executor = make()
        @atexit.register
        def last():
            for use in (lambda: executor.map(abs, [1]), lambda: make()):
                try:
                    use()
                except RuntimeError as error:
                    say(str(error))
    """)
    assert len(lines) == 2 and "cannot make a FuloadExecutor while the interpreter shuts down" in lines
    assert "cannot schedule new futures after interpreter shutdown" in lines and (errors, status) == ("", 0)


def test_a_thread_that_submits_all_the_time(run):
    """It is refused at some point, whatever it was doing."""
    for _ in range(5):
        lines, errors, status = run("""
            executor = make()
            started = threading.Event()
            def submit():
                futures = []
                try:
                    while True:
                        futures.append(executor.submit(abs, -1))
                        if len(futures) > 100:
                            started.set()
                        if len(futures) > 10000:
                            futures.pop(0).result()
                except RuntimeError as error:
                    say(str(error))
                    say(all(f.result() == 1 for f in futures))
            threading.Thread(target=submit).start()
            started.wait()
        """)
        assert lines == ["True", "cannot schedule new futures after interpreter shutdown"], errors
        assert (errors, status) == ("", 0)


@both
@pytest.mark.parametrize(("ending", "status"), [("sys.exit(3)", 3), ("1 // 0", 1), ("raise KeyboardInterrupt", -2)])
def test_leaving_a_with_block(run, executor, ending, status):
    lines, errors, code = run(
        f"""
        with make(1) as executor:
            for i in range(3):
                executor.submit(say_later, i)
            {ending}
    """,
        executor,
    )
    assert lines == ["0", "1", "2"] and code == status
    assert errors.count("Traceback") == (status != 3)


@both
def test_an_iterator_that_nobody_has_read(run, executor):
    assert run(
        """
        executor = make()
        results = executor.map(say_later, range(3))
    """,
        executor,
    ) == (["0", "1", "2"], "", 0)
    assert run(
        """
        executor = make()
        results = executor.map(say_later, range(3), chunksize=1)
        next(results)
    """,
        executor,
    ) == (["0", "1", "2"], "", 0)


@both
def test_a_broken_pool_at_the_end(run, executor):
    lines, errors, status = run(
        """
        executor = make()
        future = executor.submit(os._exit, 3)
    """,
        executor,
    )
    assert (lines, status) == ([], 0) and "Traceback" not in errors


@both
def test_a_failing_initializer_at_the_end(run, executor):
    lines, errors, status = run(
        """
        executor = type(make())(1, initializer=divmod, initargs=(1, 0))
        future = executor.submit(abs, -1)
    """,
        executor,
    )
    assert (lines, status) == ([], 0) and "ZeroDivisionError" in errors


def test_a_pool_in_a_daemon_thread(run):
    assert run("""
        def use():
            executor = make()
            say(executor.submit(abs, -1).result())
            executor.submit(say_later, "later")
            ready.set()
            loop()
        ready = threading.Event()
        threading.Thread(target=use, daemon=True).start()
        ready.wait()
    """) == (["1", "later"], "", 0)


# -- sub-interpreters ------------------------------------------------------------------

SUB_INTERPRETER = """
import os, sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def in_sub_interpreter(kind, code):
    if sys.version_info >= (3, 13):
        number = interpreters.create(kind)
    else:
        number = interpreters.create(isolated=kind == "isolated")
    code = f"import sys; sys.path[:] = {sys.path!r}\\n" + code
    failure = interpreters.run_string(number, code)
    assert failure is None, failure
    interpreters.destroy(number)

TRY = '''
import os
try:
    from fuload_exec import FuloadExecutor
    FuloadExecutor(1)
except ImportError as error:
    os.write(1, (type(error).__name__ + ": " + str(error) + "\\\\n").encode())
else:
    os.write(1, b"nothing was refused\\\\n")
'''
if __name__ == "__main__":
    if sys.argv[2] == "first":
        in_sub_interpreter(sys.argv[1], TRY)
    from fuload_exec import FuloadExecutor
    with FuloadExecutor(1) as executor:
        assert executor.submit(abs, -1).result() == 1
        if sys.argv[2] == "second":
            in_sub_interpreter(sys.argv[1], TRY)
        assert executor.submit(abs, -1).result() == 1
    os.write(1, b"done\\n")
"""


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_a_sub_interpreter_is_refused_with_a_reason(python, tmp_path, kind, order):
    """And the main interpreter can use the package before and after."""
    (tmp_path / "program.py").write_text(SUB_INTERPRETER)
    done = subprocess.run([python, "program.py", kind, order], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[1] == "done" and done.returncode == 0, (done.stdout, done.stderr, sys.version)
    assert lines[0].startswith("ImportError: fuload_exec cannot be used in a sub-interpreter: ")
    assert "main interpreter" in lines[0]
