"""A worker is to `multiprocessing` what a spawned child is.

Each test is a program of its own: the resource tracker, the forkserver and the
start method belong to a process. Nothing may appear on its standard error: that
is where the tracker complains of leaks. What the standard's pool promises too
is run on it, with a 'spawn' context unless the program names another.
"""

from __future__ import annotations

import subprocess
import textwrap

import pytest

PROLOGUE = """
import multiprocessing as mp, os, sys
from concurrent.futures import ProcessPoolExecutor
from fuload_exec import FuloadExecutor

STANDARD = {standard}

def pool(workers=1, method="spawn", **options):
    kind = ProcessPoolExecutor if STANDARD else FuloadExecutor
    return kind(workers, mp_context=mp.get_context(method), **options)

STATE = []
def keep(*args):
    STATE[:] = args

def state(i=0):
    return STATE[i]

def same(value):
    return value

def die():
    os._exit(3)
"""


class Programs:
    def __init__(self, python, folder):
        self.python = python
        self.folder = folder

    def run(self, text, standard=False, arguments=(), stderr="", command=None, **options):
        """Standard output of a program, which must end well."""
        (self.folder / "program.py").write_text(PROLOGUE.format(standard=standard) + textwrap.dedent(text))
        command = command or [self.python, *arguments, "program.py"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=100, **options)
        assert done.returncode == 0, done.stderr
        if stderr is not None:
            assert done.stderr == stderr
        return done.stdout


@pytest.fixture
def programs(python, tmp_path):
    return Programs(python, tmp_path)


both = pytest.mark.parametrize("standard", [False, True], ids=["FuloadExecutor", "ProcessPoolExecutor"])
methods = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
shareable = pytest.mark.parametrize("method", ["spawn", "forkserver"])


# -- pools made in children ------------------------------------------------------------

CHILD = """
    import ctypes
    def square(x):
        return x * x
    def work(answers, depth):
        libc = ctypes.CDLL("libc.so.6")
        libc.abs.argtypes, libc.abs.restype = [ctypes.c_int], ctypes.c_int
        with FuloadExecutor(2) as executor:
            answers.put((executor.submit(libc.abs, -4).result(), list(executor.map(square, range(5))),
                         executor.submit(os.getppid).result() == os.getpid()))
    if __name__ == "__main__":
        DO_FIRST
        context = mp.get_context(METHOD)
        answers = context.SimpleQueue()
        for daemon in (False, True):
            child = context.Process(target=work, args=(answers, 0), daemon=daemon)
            child.start()
            print(answers.get())
            child.join()
            print(child.exitcode)
"""


@methods
@pytest.mark.parametrize("first", ["pass", "FuloadExecutor(2).submit(square, 1).result()"], ids=["fresh", "parent's too"])
def test_a_pool_in_a_child(programs, method, first):
    """In a daemonic one too: workers end with their parent, which is why
    multiprocessing allows those no children of their own."""
    text = CHILD.replace("METHOD", repr(method)).replace("DO_FIRST", first)
    assert programs.run(text) == "(4, [0, 1, 4, 9, 16], True)\n0\n" * 2


def test_a_child_that_leaves_its_pool_open(programs):
    """Work that is pending at the end of a child's target is finished, as at the end of a program."""
    out = programs.run("""
        def note(i):
            with open("notes", "a") as notes:
                notes.write(f"{i}\\n")
        def target():
            executor = FuloadExecutor(1)
            for i in range(20):
                executor.submit(note, i)
        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                child = mp.get_context(method).Process(target=target)
                child.start()
                child.join()
                print(child.exitcode, open("notes").read().split() == [str(i) for i in range(20)])
                os.unlink("notes")
    """)
    assert out == "0 True\n" * 3


NESTED = """
    def down(kinds):
        if not kinds:
            return [os.getpid()]
        with POOLS[kinds[0]](1) as executor:
            return [os.getpid()] + executor.submit(down, kinds[1:]).result()
    def standard(method):
        return lambda workers: ProcessPoolExecutor(workers, mp_context=mp.get_context(method))
    POOLS = {"fuload": FuloadExecutor, **{m: standard(m) for m in ("fork", "spawn", "forkserver")}}
    if __name__ == "__main__":
        pids = down(KINDS)
        print(len(set(pids)))
"""


@pytest.mark.parametrize(
    "kinds",
    [
        ["fuload", "fuload", "fuload", "fuload"],
        ["fork", "fuload"],
        ["spawn", "fuload"],
        ["forkserver", "fuload"],
        ["fuload", "fork"],
        ["fuload", "spawn"],
        ["fuload", "forkserver"],
        ["fuload", "spawn", "fuload", "forkserver", "fuload"],
    ],
    ids="-".join,
)
def test_pools_within_pools(programs, kinds):
    # Python 3.12 and later warn of a fork in a process with threads, as every pool has.
    out = programs.run(NESTED.replace("KINDS", repr(kinds)), arguments=["-W", "ignore::DeprecationWarning"])
    assert out == f"{len(kinds) + 1}\n"


# -- who a worker is -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "standard"),
    [("fork", False), ("spawn", False), ("forkserver", False), ("spawn", True), ("forkserver", True)],
)
def test_who_a_worker_is(programs, method, standard):
    out = programs.run(
        """
        from multiprocessing.process import BaseProcess
        def who():
            me, parent = mp.current_process(), mp.parent_process()
            assert isinstance(me, BaseProcess) and me.is_alive() and me.exitcode is None
            assert me.pid == me.ident == os.getpid() and "started" in repr(me)
            assert me.name == f"{type(me).__name__}-" + ":".join(map(str, me._identity)), me.name
            assert parent.pid == parent.ident and parent.is_alive()
            assert mp.active_children() == []
            return me._identity, me.daemon, bytes(me.authkey), parent.name, parent.pid, mp.get_start_method()
        if __name__ == "__main__":
            mp.current_process().name = "Nestor"
            next_child = mp.Process()._identity[0] + 1
            with pool(1, METHOD) as executor:
                identity, *rest = executor.submit(who).result()
            assert identity == (next_child,), identity
            print(rest == [False, bytes(mp.current_process().authkey), "Nestor", os.getpid(), METHOD], rest[2:])
        """.replace("METHOD", repr(method)),
        standard,
    )
    assert out.startswith("True"), out


def test_workers_have_names_of_their_own_and_replacements_inherit_them(programs):
    out = programs.run("""
        def meet():
            STATE[0].wait(60)
            return mp.current_process().name
        def names(executor):
            return sorted(f.result() for f in [executor.submit(meet) for _ in range(3)])
        def nested():
            with FuloadExecutor(1) as executor:
                return executor.submit(name).result()
        def name():
            return mp.current_process().name, mp.parent_process().name
        if __name__ == "__main__":
            for _ in range(2):
                with pool(3, initializer=keep, initargs=(mp.get_context("spawn").Barrier(3),)) as executor:
                    first = names(executor)
                    executor.submit(die).exception()
                    print(first == names(executor), first)
            with pool() as executor:
                print(executor.submit(nested).result())
    """)
    assert out == (
        "True ['FuloadProcess-1', 'FuloadProcess-2', 'FuloadProcess-3']\n"
        "True ['FuloadProcess-4', 'FuloadProcess-5', 'FuloadProcess-6']\n"
        "('FuloadProcess-7:1', 'FuloadProcess-7')\n"
    )


def test_workers_of_a_daemonic_process(programs):
    """They are daemonic as well, so a task starts no processes that nobody would
    end; a pool it may have."""
    out = programs.run("""
        def start():
            mp.Process(target=print).start()
        def nested():
            with FuloadExecutor(1) as executor:
                return executor.submit(abs, -3).result()
        def child():
            with FuloadExecutor(1) as executor:
                print(executor.submit(start).exception(), executor.submit(nested).result(), flush=True)
        if __name__ == "__main__":
            process = mp.get_context("spawn").Process(target=child, daemon=True)
            process.start()
            process.join()
    """)
    assert out == "daemonic processes are not allowed to have children 3\n"


@methods
def test_a_task_may_start_processes(programs, method):
    out = programs.run(
        """
        def child(answers):
            answers.put((mp.current_process()._identity, mp.parent_process().pid))
        def start():
            context = mp.get_context(METHOD)
            answers = context.SimpleQueue()
            process = context.Process(target=child, args=(answers,))
            process.start()
            answer = answers.get()
            process.join()
            assert answer == (mp.current_process()._identity + (1,), os.getpid()), answer
            return process.exitcode
        if __name__ == "__main__":
            with pool() as executor:
                print(executor.submit(start).result())
        """.replace("METHOD", repr(method)),
        arguments=["-W", "ignore::DeprecationWarning"],
    )
    assert out == "0\n"


def test_the_start_method(programs):
    out = programs.run("""
        def method():
            return mp.get_start_method()
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                print(executor.submit(method).result())
            with FuloadExecutor(1, mp) as executor:
                print(executor.submit(method).result())
            mp.set_start_method("forkserver")  # an error if the pool had settled it
            with FuloadExecutor(1, mp) as executor:
                print(executor.submit(method).result())
    """)
    assert out == "spawn\nspawn\nforkserver\n"


def test_multiprocessing_is_not_imported_for_those_who_do_not_use_it(programs, monkeypatch):
    """No script's main module here: workers would import it, and what it imports."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage.py would import it
    out = programs.run(
        """
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                executor.submit(sorted, [3, 1]).result()
                names = executor.submit(eval, "[m for m in __import__('sys').modules if 'main' not in m]").result()
                print([n for n in names if n.split(".")[0] in ("multiprocessing", "socket", "_socket", "subprocess")])
    """,
        command=[programs.python, "-c", "exec(open('program.py').read())"],
    )
    assert out == "[]\n"


def test_looking_for_multiprocessing_is_not_importing_it(programs):
    out = programs.run("""
        if __name__ == "__main__":
            with FuloadExecutor(1) as executor:
                look = ("(lambda util: [util.find_spec('multiprocessing').origin, util.find_spec('multiprocessing')"
                        ".loader.is_package('multiprocessing')])(__import__('importlib.util').util)")
                origin, package = executor.submit(eval, look).result()
                name = executor.submit(eval, "__import__('multiprocessing').current_process().name").result()
                left = executor.submit(eval, "type(__import__('multiprocessing').__loader__).__name__, "
                                       "__import__('multiprocessing').__spec__.loader.__class__.__name__").result()
            print(origin == mp.__spec__.origin, package, name, left)
    """)
    assert out == "True True FuloadProcess-1 ('SourceFileLoader', 'SourceFileLoader')\n"


@both
def test_the_log_to_standard_error(programs, standard):
    """A spawned child says the same at the same level."""
    text = """
        import logging
        from multiprocessing import util
        def task():
            util.info("from a task")
            util.debug("too fine")
            return mp.get_logger().level, len(mp.get_logger().handlers)
        if __name__ == "__main__":
            mp.log_to_stderr(logging.INFO)
            with pool() as executor:
                print(executor.submit(task).result())
    """
    name = "SpawnProcess" if standard else "FuloadProcess"
    (programs.folder / "stderr").touch()
    done = subprocess.run(
        [programs.python, "program.py"], cwd=_written(programs, text, standard), capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "(20, 1)\n"
    lines = done.stderr.splitlines()
    for said in ("child process calling self.run()", "from a task", "process shutting down"):
        assert f"[INFO/{name}-1] {said}" in lines
    assert "too fine" not in done.stderr and "Traceback" not in done.stderr


def _written(programs, text, standard):
    (programs.folder / "program.py").write_text(PROLOGUE.format(standard=standard) + textwrap.dedent(text))
    return programs.folder


@both
def test_options_of_the_interpreter(programs, standard):
    text = """
        import warnings
        def options():
            return tuple(sys.flags), sys._xoptions, sys.warnoptions, [f[0] for f in warnings.filters], __debug__
        if __name__ == "__main__":
            with pool() as executor:
                theirs = executor.submit(options).result()
            flags, *rest = options()
            print(theirs[1:] == tuple(rest), [n for n, a, b in zip(dir(sys.flags), theirs[0], flags) if a != b])
    """
    arguments = ["-O", "-X", "utf8", "-X", "tracemalloc=2", "-W", "error::UserWarning", "-B", "-s"]
    assert programs.run(text, standard, arguments) == "True []\n"


@both
def test_the_interpreter_can_be_named(programs, standard):
    wrapper = programs.folder / "interpreter"
    wrapper.write_text(f'#!/bin/sh\nTHROUGH=wrapper\nexport THROUGH\nexec {programs.python} "$@"\n')
    wrapper.chmod(0o755)
    out = programs.run(
        f"""
        if __name__ == "__main__":
            mp.set_executable({str(wrapper)!r})
            with pool() as executor:
                print(executor.submit(os.getenv, "THROUGH").result(), executor.submit(same, 1).result())
        """,
        standard,
    )
    assert out == "wrapper 1\n"


def test_a_frozen_program(programs):
    out = programs.run("""
        import ctypes
        libc = ctypes.CDLL("libc.so.6")
        libc.abs.argtypes, libc.abs.restype = [ctypes.c_int], ctypes.c_int
        if __name__ == "__main__":
            mp.freeze_support()
            sys.frozen = True
            with FuloadExecutor(1) as executor:
                try:
                    executor.submit(same, 1)
                except RuntimeError as error:
                    print("frozen program" in str(error) and "multiprocessing.set_executable()" in str(error))
                print(executor.submit(libc.abs, -3).result())
            interpreter, sys.executable = sys.executable, "/opt/program"
            mp.set_executable(interpreter)
            with FuloadExecutor(1) as executor:
                print(executor.submit(abs, -2).result())
    """)
    assert out == "True\n3\n2\n"


# -- what is given to the initializer --------------------------------------------------------

GIVEN = """
    import socket, threading
    from multiprocessing import shared_memory

    def make(context, server):
        here, there = context.Pipe()
        near, far = socket.socketpair()
        mine = dict(
            lock=context.Lock(), rlock=context.RLock(), semaphore=context.Semaphore(2), event=context.Event(),
            condition=context.Condition(), barrier=context.Barrier(2), queue=context.Queue(),
            simple=context.SimpleQueue(), joinable=context.JoinableQueue(), value=context.Value("i", 0),
            array=context.Array("d", 3), raw=context.RawValue("i", 0), raw_array=context.RawArray("i", 4),
            dictionary=server.dict(), memory=shared_memory.SharedMemory(create=True, size=16),
            shareable=shared_memory.ShareableList([1, "two"]),
        )
        return {**mine, "pipe": there, "socket": far}, {**mine, "pipe": here, "socket": near}

    def use(meet):
        g = STATE[0]
        if meet:
            g["barrier"].wait(60)  # so each worker does it once
        with g["lock"], g["rlock"], g["rlock"], g["semaphore"]:
            g["raw"].value += 1
            g["array"][1] += 0.5
            g["memory"].buf[0] += 1
            g["shareable"][0] += 1
        with g["value"].get_lock():
            g["value"].value += 1
        g["raw_array"][3] = os.getpid()
        g["event"].set()
        with g["condition"]:
            g["condition"].notify_all()
        for name in ("queue", "simple", "joinable"):
            g[name].put(os.getpid())
        for name in ("queue", "joinable"):  # a thread sends it, which the next task may end with its process
            g[name].close()
            g[name].join_thread()
        g["dictionary"][os.getpid()] = "here"
        with g["lock"]:
            g["pipe"].send(os.getpid())
            g["socket"].send(b"x")
        return os.getpid()

    def check(mine, pids):
        n = len(pids)
        assert mine["value"].value == mine["raw"].value == mine["memory"].buf[0] == n
        assert list(mine["array"]) == [0, n / 2, 0] and mine["raw_array"][3] in pids
        assert mine["event"].is_set() and list(mine["shareable"]) == [1 + n, "two"]
        for name in ("queue", "simple", "joinable"):
            assert sorted(mine[name].get() for _ in pids) == sorted(pids), name
        assert sorted(mine["pipe"].recv() for _ in pids) == sorted(pids)
        assert b"".join(mine["socket"].recv(1) for _ in pids) == b"x" * n
        assert set(mine["dictionary"].keys()) == set(pids)

    def clean(given, mine):
        mine["memory"].close(), mine["memory"].unlink()
        mine["shareable"].shm.close(), mine["shareable"].shm.unlink()
        mine["socket"].close(), given["socket"].close()
"""


@both
@shareable
def test_everything_that_a_spawned_process_can_be_given(programs, method, standard):
    text = """
    if __name__ == "__main__":
        context = mp.get_context(METHOD)
        with context.Manager() as server:
            given, mine = make(context, server)
            with pool(2, METHOD, initializer=keep, initargs=(given,)) as executor:
                check(mine, [f.result() for f in [executor.submit(use, True), executor.submit(use, True)]])
            clean(given, mine)
        print("good")
    """
    assert programs.run(GIVEN + text.replace("METHOD", repr(method)), standard) == "good\n"


def test_workers_that_come_later_get_the_same(programs):
    """The first worker runs C before it becomes an interpreter, the others take
    the places of dead ones. Nobody but the pool holds what was given."""
    out = programs.run(
        GIVEN
        + """
    import ctypes, gc
    libc = ctypes.CDLL("libc.so.6")
    libc.abs.argtypes, libc.abs.restype = [ctypes.c_int], ctypes.c_int

    def send(text):
        STATE[2].send(text)

    def locked():
        with STATE[0]:
            return STATE[1].value

    if __name__ == "__main__":
        context = mp.get_context("spawn")
        with context.Manager() as server:
            given, mine = make(context, server)
            with pool(1, initializer=keep, initargs=(given,)) as executor:
                assert executor.submit(libc.abs, -1).result() == 1
                pids = []
                for _ in range(4):
                    pids.append(executor.submit(use, False).result())
                    executor.submit(die).exception()
                assert len(set(pids)) == 4
                check(mine, pids)
            clean(given, mine)
        lock, ours, theirs = context.Lock(), *context.Pipe()
        with pool(1, initializer=keep, initargs=(lock, context.Value("i", 5), theirs)) as executor:
            executor.submit(repr, 1).result()
            theirs.close()
            del lock
            for _ in range(3):
                gc.collect()
                print(executor.submit(repr, 1).result(), end=" ")
                executor.submit(die).exception()
            executor.submit(send, "end").result()
            print(ours.recv(), executor.submit(locked).result())
        try:
            ours.recv()
        except EOFError:
            print("nobody holds the other end")
    """
    )
    assert out == "1 1 1 end 5\nnobody holds the other end\n"


@both
def test_the_initializer_itself_may_hold_a_lock(programs, standard):
    out = programs.run(
        """
        import functools
        class Service:
            def __init__(self, lock, counter):
                self.lock, self.counter = lock, counter
            def start(self):
                with self.lock:
                    self.counter.value += 1
        def start(lock, service):
            service.start()
        if __name__ == "__main__":
            context = mp.get_context("spawn")
            service = Service(context.Lock(), context.Value("i", 0))
            for initializer in (service.start, functools.partial(start, service.lock, service)):
                with pool(1, initializer=initializer) as executor:
                    executor.submit(same, 1).result()
            print(service.counter.value)
        """,
        standard,
    )
    assert out == "2\n"


def test_initializers_by_value_may_hold_locks(programs):
    """A closure over a lock, and everything of a program that workers cannot import."""
    text = """
    def run():
        context = mp.get_context("spawn")
        lock, value = context.Lock(), context.Value("i", 0)
        here, there = context.Pipe()
        def initialize(number):
            with lock:
                value.value += number
            there.send(number)
        with pool(1, initializer=initialize, initargs=(3,)) as executor:
            assert executor.submit(lambda: 1).result() == 1
        print(value.value, here.recv())
    if __name__ == "__main__":
        run()
    """
    assert programs.run(text) == "3 3\n"
    command = [programs.python, "-c", PROLOGUE.format(standard=False) + textwrap.dedent(text)]
    assert programs.run("", command=command) == "3 3\n"


FORKED = {
    "Lock": "context.Lock()", "RLock": "context.RLock()", "Event": "context.Event()", "Queue": "context.Queue()",
    "Condition": "context.Condition()", "Value": "context.Value('i', 0)", "Array": "[context.Array('i', 2)]",
    "SimpleQueue": "{'q': context.SimpleQueue()}",
}  # fmt: skip


@pytest.mark.parametrize("kind", FORKED)
def test_things_of_a_fork_context_are_refused(programs, kind):
    out = programs.run(
        """
        import ctypes
        libc = ctypes.CDLL("libc.so.6")
        libc.abs.argtypes, libc.abs.restype = [ctypes.c_int], ctypes.c_int
        if __name__ == "__main__":
            context = mp.get_context("fork")
            before = os.listdir("/proc/self/fd")
            for initializer in (keep, lambda *args: None):
                here, there = context.Pipe()
                with pool(2, "fork", initializer=initializer, initargs=(there, GIVEN)) as executor:
                    for _ in range(2):
                        try:
                            executor.submit(same, 1)
                        except RuntimeError as error:
                            text = str(error)
                            assert text.startswith("initargs hold a") and "'fork' context" in text, text
                            print("'spawn'" in text, end=" ")
                    print(executor.submit(libc.abs, -1).result(), end=" ")
                here.close(), there.close()
        """.replace("GIVEN", FORKED[kind])
    )
    assert out == "True True 1 " * 2


@both
def test_what_needs_no_lock_may_be_of_any_context(programs, standard):
    out = programs.run(
        """
        def use():
            STATE[0].send(STATE[1].value)
        if __name__ == "__main__":
            context = mp.get_context("fork")
            here, there = context.Pipe()
            with pool(1, initializer=keep, initargs=(there, context.RawValue("i", 8))) as executor:
                executor.submit(use).result()
                print(here.recv())
        """,
        standard,
    )
    assert out == "8\n"


def test_a_pool_with_closed_standard_streams(programs):
    text = """
        def use():
            STATE[0].send(STATE[1].value)
        if __name__ == "__main__":
            context = mp.get_context("spawn")
            here, there = context.Pipe()
            with pool(2, initializer=keep, initargs=(there, context.Value("i", 8))) as executor:
                executor.submit(use).result()
                open("answer", "w").write(str(here.recv()))
    """
    command = ["sh", "-c", f"exec {programs.python} program.py <&- >&- 2>&-"]
    programs.run(text, command=command)
    assert (programs.folder / "answer").read_text() == "8"


# -- one resource tracker --------------------------------------------------------------------


@both
def test_shared_memory_outlives_the_workers_that_used_it(programs, standard):
    """Also what a worker has made; the parent's tracker may not be running yet then."""
    out = programs.run(
        """
        from multiprocessing import shared_memory
        def make():
            memory = shared_memory.SharedMemory(create=True, size=100)
            memory.buf[0] = 7
            memory.close()
            return memory.name
        def read(memory):
            return memory.buf[0]
        def attach(name):
            memory = shared_memory.SharedMemory(name)
            memory.buf[1] = 8
            memory.close()
        if __name__ == "__main__":
            with pool() as executor:
                name = executor.submit(make).result()
                executor.submit(attach, name).result()
            with pool() as executor:
                memory = shared_memory.SharedMemory(name)
                print(memory.buf[0], memory.buf[1], executor.submit(read, memory).result())
            print(memory.buf[0])
            memory.close()
            memory.unlink()
            print(os.path.exists("/dev/shm/" + name))
        """,
        standard,
    )
    assert out == "7 8 7\n7\nFalse\n"


TRACKER = """
    from multiprocessing import resource_tracker
    def tracker():
        return os.fstat(resource_tracker._resource_tracker.getfd()).st_ino
    def deep():
        with pool() as executor:
            return executor.submit(tracker).result()
    def forked():
        pipe = mp.get_context("fork").SimpleQueue()
        child = mp.get_context("fork").Process(target=lambda: pipe.put(tracker()))
        child.start()
        answer = pipe.get()
        child.join()
        return answer
    if __name__ == "__main__":
        with pool(2) as executor:
            first = executor.submit(sorted, [2, 1]).result()
            used = [executor.submit(f).result() for f in (deep, forked, tracker, deep)]
            print(len({*used, tracker()}))
"""


def test_there_is_one_tracker_for_all(programs):
    assert programs.run(TRACKER, arguments=["-W", "ignore::DeprecationWarning"]) == "1\n"


@both
def test_there_is_one_tracker_when_the_parent_had_it_first(programs, standard):
    text = TRACKER.replace("with pool(2)", "tracker()\n        with pool(2)").replace("forked, ", "")
    assert programs.run(text, standard) == "1\n"


def test_a_task_that_closes_everything_can_ask_for_nothing(programs):
    """And does not write to a file that has taken the number of what it closed."""
    out = programs.run("""
        import socket, stat
        from multiprocessing import resource_tracker
        def spoil():
            for fd in map(int, os.listdir("/proc/self/fd")):
                try:
                    if stat.S_ISSOCK(os.fstat(fd).st_mode):
                        os.close(fd)
                except OSError:
                    pass  # the one by which the list was made
            pairs = [socket.socketpair() for _ in range(8)]
            for pair in pairs:
                for end in pair:
                    end.setblocking(False)
            inode = os.fstat(resource_tracker._resource_tracker.getfd()).st_ino
            heard = 0
            for pair in pairs:
                for end in pair:
                    try:
                        heard += len(end.recv(99))
                    except BlockingIOError:
                        pass
            resource_tracker._resource_tracker._stop()
            return inode, heard
        if __name__ == "__main__":
            mine = os.fstat(resource_tracker._resource_tracker.getfd()).st_ino
            with FuloadExecutor(1) as executor:
                inode, heard = executor.submit(spoil).result()
                print(inode != mine, heard)
    """)
    assert out == "True 0\n"


# -- what is given to tasks -------------------------------------------------------------------


@both
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_tasks_are_not_given_locks(programs, method, standard):
    out = programs.run(
        """
        def give():
            return mp.get_context("spawn").Lock()
        if __name__ == "__main__":
            context = mp.get_context(METHOD)
            things = [context.Lock(), context.RLock(), context.Semaphore(), context.Event(), context.Condition(),
                      context.Queue(), context.SimpleQueue(), context.Value("i", 0), context.Array("i", 2),
                      context.RawValue("i", 0)]
            with pool() as executor:
                futures = [executor.submit(same, thing) for thing in things]
                futures += [executor.submit(same, value=[thing]) for thing in things]
                futures += [executor.submit(give)]
                for future in futures:
                    error = future.exception()
                    assert type(error) is RuntimeError, repr(error)
                    assert "should only be shared between processes through inheritance" in str(error)
                print(executor.submit(same, 1).result())
        """.replace("METHOD", repr(method)),
        standard,
    )
    assert out == "1\n"


@both
def test_connections_and_sockets_can_be_given_to_tasks(programs, standard):
    out = programs.run(
        """
        import socket
        def say(connection, text):
            connection.send(text)
            connection.close()
        def shout(end):
            with end:
                end.sendall(b"shout")
        def both(things, *, more):
            say(things[0], "one")
            shout(more["s"])
        if __name__ == "__main__":
            with pool(2) as executor:
                for _ in range(3):
                    here, there = mp.Pipe()
                    near, far = socket.socketpair()
                    executor.submit(say, there, "said").result()
                    executor.submit(shout, far).result()
                    executor.submit(both, [there], more={"s": far}).result()
                    print(here.recv(), here.recv(), near.recv(99))
                    near.close(), far.close()
        """,
        standard,
    )
    assert out == "said one b'shoutshout'\n" * 3


def test_connections_and_sockets_can_be_given_back(programs):
    out = programs.run("""
        import socket
        def give():
            here, there = mp.Pipe()
            near, far = socket.socketpair()
            there.send("from the worker")
            far.send(b"too")
            return here, near
        if __name__ == "__main__":
            with pool() as executor:
                connection, near = executor.submit(give).result()
                print(connection.recv(), near.recv(99))
                near.close()
    """)
    assert out == "from the worker b'too'\n"


def test_a_crash_with_a_connection_among_the_arguments(programs):
    """The message shows arguments, which must not fetch the descriptor again."""
    out = programs.run("""
        def crash(connection):
            os._exit(5)
        if __name__ == "__main__":
            with pool() as executor:
                here, there = mp.Pipe()
                error = executor.submit(crash, there).exception()
                print(type(error).__name__, error.exitcode, "ran crash(" in str(error))
                print(executor.submit(same, 1).result())
    """)
    assert out == "WorkerCrashed 5 True\n1\n"


@both
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_proxies_can_be_given_to_tasks_and_back(programs, method, standard):
    out = programs.run(
        """
        def fill(proxy, key):
            proxy[key] = mp.current_process().pid
            return proxy
        if __name__ == "__main__":
            with mp.get_context(METHOD).Manager() as server, pool(2) as executor:
                shared, queue, lock = server.dict(), server.Queue(), server.Lock()
                answers = [f.result() for f in [executor.submit(fill, shared, key) for key in "abc"]]
                executor.submit(queue.put, "queued").result()
                executor.submit(lock.acquire).result()
                print(sorted(shared.keys()), [dict(a) == dict(shared) for a in answers], queue.get(), lock.acquire(False))
        """.replace("METHOD", repr(method)),
        standard,
    )
    assert out == "['a', 'b', 'c'] [True, True, True] queued False\n"


@both
def test_tasks_may_use_listeners_and_clients(programs, standard):
    """They know one another by the authentication key."""
    out = programs.run(
        """
        from multiprocessing.connection import Client, Listener
        def call(address):
            with Client(address, authkey=mp.current_process().authkey) as connection:
                return connection.recv()
        if __name__ == "__main__":
            with Listener(authkey=mp.current_process().authkey) as listener, pool() as executor:
                future = executor.submit(call, listener.address)
                with listener.accept() as connection:
                    connection.send("welcome")
                print(future.result())
        """,
        standard,
    )
    assert out == "welcome\n"


# -- reducers of one's own ---------------------------------------------------------------------

REDUCERS = """
    import copyreg, threading
    from multiprocessing.reduction import ForkingPickler

    class Handle:
        def __init__(self, name):
            self.name, self.lock = name, threading.Lock()

    class Stamped(list):
        pass

    def reduce_handle(handle):
        return Handle, (handle.name + "!",)

    def reduce_stamped(stamped):
        return rebuild_stamped, (os.getpid(), list(stamped))

    def rebuild_stamped(pid, values):
        result = Stamped(values)
        result.pid = pid
        return result

    def name(handle):
        return handle.name

    def pids(stamped):
        return stamped.pid, os.getpid()
"""


@both
@pytest.mark.parametrize("register", ["ForkingPickler.register", "copyreg.pickle"])
def test_registered_reducers_both_ways(programs, standard, register):
    """For what pickle refuses and for what it would do in another way, also if
    they are registered when the pool has long been used."""
    out = programs.run(
        REDUCERS
        + """
    if __name__ == "__main__":
        import numpy
        with pool() as executor:
            executor.submit(same, [1, 2]).result()
            REGISTER(Handle, reduce_handle)
            print(executor.submit(name, Handle("a")).result(), executor.submit(name, handle=Handle("b")).result())
            REGISTER(Stamped, reduce_stamped)
            pid, theirs = executor.submit(pids, Stamped()).result()
            print(pid == os.getpid(), executor.submit(same, {"k": [Stamped([4])]}).result())
            big = numpy.arange(300_000.0)
            assert (executor.submit(same, [Stamped(), big]).result()[1] == big).all()
        REGISTER(Handle, lambda handle: (Handle, (handle.name + "?",)))
        with pool() as executor:
            print(executor.submit(name, Handle("a")).result())
    """.replace("REGISTER", register),
        standard,
    )
    assert out == "a! b!\nTrue {'k': [[4]]}\na?\n"


@both
@pytest.mark.parametrize("register", ["ForkingPickler.register", "copyreg.pickle"])
def test_a_worker_uses_the_reducers_that_its_imports_registered(programs, standard, register):
    out = programs.run(
        REDUCERS
        + """
    REGISTER(Handle, reduce_handle)
    REGISTER(Stamped, reduce_stamped)
    def make():
        return Handle("c"), Stamped([5]), os.getpid()
    if __name__ == "__main__":
        with pool() as executor:
            handle, stamped, pid = executor.submit(make).result()
            print(handle.name, stamped, stamped.pid == pid)
            print(executor.submit(same, Handle("d")).result().name)
    """.replace("REGISTER", register),
        standard,
    )
    assert out == "c! [5] True\nd!!\n"


def test_reducers_are_used_for_what_goes_by_value(programs):
    out = programs.run(
        REDUCERS
        + """
    ForkingPickler.register(Handle, reduce_handle)
    ForkingPickler.register(memoryview, lambda view: (bytes, (view.tobytes(),)))
    def called():
        return STATE[0](), STATE[1].name
    if __name__ == "__main__":
        handle = Handle("e")
        with pool(initializer=keep, initargs=(lambda: handle.name, Handle("f"))) as executor:
            print(executor.submit(lambda: handle.name).result())
            print(executor.submit(lambda other: other.name, Handle("g")).result())
            print(executor.submit(lambda view: view, memoryview(b"h")).result())
            print(executor.submit(called).result())
    """
    )
    assert out == "e!\ng!\nb'h'\n('e!', 'f!')\n"


def test_a_registered_reducer_of_a_type_that_multiprocessing_knows(programs):
    out = programs.run("""
        import functools
        from multiprocessing.reduction import ForkingPickler
        def reduce_partial(p):
            return same, ("reduced",)
        if __name__ == "__main__":
            with pool() as executor:
                print(executor.submit(same, functools.partial(abs, -1)).result()())
                ForkingPickler.register(functools.partial, reduce_partial)
                print(executor.submit(same, functools.partial(abs, -1)).result())
    """)
    assert out == "1\nreduced\n"
