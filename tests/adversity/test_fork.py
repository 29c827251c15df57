"""os.fork() in the parent: the child's copy is inert, the parent's goes on."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

import pytest
import zoo
from support.waiting import until

from fuload_exec import FuloadExecutor


def in_child(do):
    """Exit status of a forked child that runs `do`; 99 and a traceback if it raises."""
    pid = os.fork()
    if not pid:
        code = 99
        try:
            code = do() or 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    due = time.monotonic() + 30
    while time.monotonic() < due:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    pytest.fail("the child hangs")


def test_the_childs_copy_is_inert(pool, libc):
    executor = pool(2)
    futures = [executor.submit(libc.usleep, 1000) for _ in range(200)]
    until(futures[3].done)

    def child():
        try:
            executor.submit(libc.abs, -1)
        except RuntimeError as error:
            assert "fork" in str(error) or "process" in str(error)
        else:
            return 1
        executor.stats()
        repr(executor)
        repr(futures[-1])
        futures[-1].done()
        futures[-1].cancel()
        assert executor.worker_pids == []
        executor.shutdown(wait=False)
        executor.shutdown(wait=True, cancel_futures=True)
        with executor:
            pass
        return 0

    assert in_child(child) == 0
    assert [f.result(timeout=30) for f in futures] == [0] * 200
    assert executor.submit(libc.abs, -1).result(timeout=30) == 1
    assert executor.stats().cancelled == 0


@pytest.mark.parametrize("python", [False, True])
def test_the_child_makes_a_pool_of_its_own(pool, libc, python):
    executor = pool(2)
    task, argument = (zoo.square, 3) if python else (libc.abs, -9)
    futures = [executor.submit(task, argument) for _ in range(100)]

    def child():
        with FuloadExecutor(2) as own:
            mine = [own.submit(task, argument) for _ in range(100)]
            assert [f.result(timeout=20) for f in mine] == [9] * 100
            assert own.submit(os._exit, 1).exception(timeout=20) is not None
            assert own.submit(task, argument).result(timeout=20) == 9
        assert own.worker_pids == []
        return 0

    for _ in range(3):
        assert in_child(child) == 0
        assert executor.submit(task, argument).result(timeout=30) == 9
    assert [f.result(timeout=30) for f in futures] == [9] * 100


def test_forks_while_tasks_run(pool, dice, libc, stress):
    executor = pool(2, spin=0)
    for _ in range(30 * stress):
        futures = [executor.submit(libc.abs, -i) for i in range(300)]
        zoo.spin_for(dice.uniform(0, 0.001))
        assert in_child(lambda: 0) == 0
        assert [f.result(timeout=30) for f in futures] == list(range(300))


def what_is_held():
    """Of pools, in this process: 0 if nothing."""
    with open("/proc/self/maps") as f:
        if "memfd:fuload" in f.read():
            return 1
    for n in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{n}")
        except FileNotFoundError:
            continue
        if "memfd:fuload" in name or "pidfd" in name:
            return 2
    return 0


def test_child_holds_nothing_of_the_pool(pool, libc):
    executor = pool(2)
    executor.submit(libc.abs, -1).result(timeout=30)
    until(lambda: executor.worker_pids)
    assert in_child(what_is_held) == 0


def test_child_holds_nothing_of_a_worker_that_is_being_started(libc, stress):
    for _ in range(20 * stress):
        with FuloadExecutor(3, spin=0) as executor:
            futures = [executor.submit(libc.usleep, 10) for _ in range(30)]
            while not futures[-1].done():
                assert in_child(what_is_held) == 0


HELD = """
def held():
    names = []
    for n in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{n}").split(":")[0])
        except FileNotFoundError:
            pass
    with open("/proc/self/maps") as maps:
        mapped = sum("memfd:" in line for line in maps)
    return sorted(n for n in names if not n.startswith("/")), mapped

def in_child(do):
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(readable)
        os.write(writable, json.dumps(do()).encode())
        os._exit(0)
    os.close(writable)
    with open(readable) as said:
        found = json.loads(said.read())
    os.waitpid(pid, 0)
    return found
"""


def test_child_has_no_window(program):
    """Neither of what waits, runs or is finished: it could write there, and
    would keep the pages as long as it lives."""
    p = program(
        HELD
        + """
executor = FuloadExecutor(2, slots=8)
data = bytes(3_000_000)
libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None
executor.submit(libc.memset, bytearray(data), 1, 1).result(timeout=20)
gate = os.path.join(FOLDER, "gate")
os.mkfifo(gate)
libc.open.argtypes, libc.open.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_int
waiting = [executor.submit(libc.open, gate.encode(), os.O_RDONLY) for _ in range(2)]
buffers = [bytearray(data) for _ in range(3)]
futures = [executor.submit(libc.memset, b, 1, len(b)) for b in buffers]
assert held()[1] >= 4
report(child=in_child(held))
open(gate, "w").close()
for f in futures:
    f.result(timeout=20)
report(ones=sum(b.count(1) for b in buffers))
executor.shutdown()
"""
    )
    assert p.exit(40) == 0, p.errors()
    names, mapped = p.reports()["child"]
    assert mapped == 0 and "anon_inode" not in names and names.count("socket") == 0, names
    assert p.reports()["ones"] == 9_000_000


def test_memory_of_a_pool_is_given_back_though_a_child_lives(program):
    p = program(
        HELD
        + """
executor = FuloadExecutor(1)
region = next(f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd") if "memfd:fuload" in os.readlink(f"/proc/self/fd/{n}"))
libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None
executor.submit(libc.memset, bytes(30_000_000), 0, 0).result(timeout=20)
assert os.stat(region).st_blocks * 512 >= 30_000_000
inode = str(os.stat(region).st_ino)
readable, writable = os.pipe()
forked, lives = os.pipe()
pid = os.fork()
if not pid:
    os.write(lives, b"x")  # what runs in a child first has run
    os.read(readable, 1)
    os._exit(0)
os.read(forked, 1)
executor.shutdown()
holders = []
for process in ("self", str(pid)):
    with open(f"/proc/{process}/maps") as maps:
        holders += [line for line in maps if "memfd:" in line and line.split()[4] == inode]
holders += [fd for fd in os.listdir("/proc/self/fd") if fd == region.rsplit("/", 1)[1]]
holders += [fd for fd in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/memfd:")]
report(holders=holders)
os.write(writable, b"x")
os.waitpid(pid, 0)
"""
    )
    assert p.exit(40) == 0, p.errors()
    assert p.reports()["holders"] == []


def test_child_holds_no_descriptor_of_a_pool_that_was_never_used(program):
    """A server makes its pool before it forks, and uses it later, or never."""
    p = program(
        HELD
        + """
before = held()
first, second = FuloadExecutor(1), FuloadExecutor(2)
assert held() != before
report(before=in_child(lambda: None) or before, child=in_child(held))
report(results=[e.submit(libc.abs, -7).result(timeout=20) for e in (first, second)])
first.shutdown()
second.shutdown()
"""
    )
    assert p.exit(40) == 0, p.errors()
    names, mapped = p.reports()["child"]
    # The test's own pipe to the child.
    assert sorted(n for n in names if n != "pipe") == sorted(n for n in p.reports()["before"][0] if n != "pipe")
    assert mapped == 0 and p.reports()["results"] == [7, 7]


def test_child_of_a_fork_in_the_middle_of_a_constructor(program):
    """Every line of Python in it is a place where another thread may fork."""
    p = program(
        HELD
        + """
FuloadExecutor(1).shutdown()
before, found, places = held(), [], 0

def fork_here(frame, event, argument):
    global places
    if "fuload_exec" in frame.f_code.co_filename:
        sys.settrace(None)
        names, mapped = in_child(held)
        places += 1
        if mapped or [n for n in names if n != "pipe"] != [n for n in before[0] if n != "pipe"]:
            found.append((frame.f_code.co_name, frame.f_lineno, names, mapped))
        sys.settrace(fork_here)
    return fork_here

sys.settrace(fork_here)
executor = FuloadExecutor(1)
sys.settrace(None)
report(found=found, places=places, result=executor.submit(libc.abs, -7).result(timeout=20))
executor.shutdown()
"""
    )
    assert p.exit(60) == 0, p.errors()
    assert p.reports()["found"] == [] and p.reports()["places"] > 20 and p.reports()["result"] == 7


def test_child_exits_as_a_program_does(program):
    """Exit handlers run in the child, too; the parent's pool must not mind."""
    p = program("""
executor = FuloadExecutor(2)
futures = [executor.submit(libc.usleep, 2000) for _ in range(200)]
until(futures[2].done)
pid = os.fork()
if not pid:
    sys.exit(0)
report(child=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
report(results=sum(f.result(timeout=20) for f in futures), failed=executor.stats().failed)
pid = os.fork()
if not pid:
    del executor, futures
    import gc
    gc.collect()
    with FuloadExecutor(1) as own:
        assert own.submit(zoo.square, 4).result(timeout=20) == 16
    leaked = FuloadExecutor(1)
    leaked.submit(libc.abs, -1)
    sys.exit(0)
report(second=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
report(again=executor.submit(libc.abs, -4).result(timeout=20))
""")
    assert p.exit(40) == 0, p.errors()
    assert p.reports() == {"child": 0, "results": 0, "failed": 0, "second": 0, "again": 4}
    assert p.errors() == ""


def test_ctrl_c_after_a_fork_stays_at_home(program):
    """SIGINT to the child does nothing to the parent's pool, and the other way round."""
    p = program("""
executor = FuloadExecutor(2)
long = executor.submit(libc.usleep, 600_000)
until(long.running)
pid = os.fork()
if not pid:
    try:
        report(sleeps=True)
        time.sleep(90)
    except KeyboardInterrupt:
        os._exit(0)
    os._exit(1)
until(lambda: "sleeps" in open(os.environ["REPORT"]).read() if os.path.exists(os.environ["REPORT"]) else False)
os.kill(pid, signal.SIGINT)
report(child=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
report(result=long.result(timeout=20))
""")
    assert p.exit() == 0, p.errors()
    assert p.reports()["child"] == 0
    assert p.reports()["result"] == 0


def test_programs_of_the_parent(pool, libc):
    executor = pool(2)
    futures = [executor.submit(libc.usleep, 500) for _ in range(400)]
    for i in range(15):
        assert subprocess.run([sys.executable, "-S", "-c", f"print({i})"], capture_output=True).stdout == b"%d\n" % i
    listing = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False).stdout
    assert "memfd" not in listing and "eventfd" not in listing and "pidfd" not in listing, listing
    assert [f.result(timeout=30) for f in futures] == [0] * 400


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_of_the_parent(program, method):
    p = program(f"""
import multiprocessing
if __name__ == "__main__":
    executor = FuloadExecutor(2)
    futures = [executor.submit(libc.usleep, 500) for _ in range(400)]
    context = multiprocessing.get_context({method!r})
    with context.Pool(2) as other:
        report(squares=other.map(zoo.square, range(20)))
    process = context.Process(target=zoo.square, args=(3,))
    process.start()
    process.join()
    report(code=process.exitcode, results=sum(f.result(timeout=20) for f in futures), failed=executor.stats().failed)
""")
    assert p.exit(40) == 0, p.errors()
    assert p.reports() == {"squares": [i * i for i in range(20)], "code": 0, "results": 0, "failed": 0}
    assert p.errors() == ""


def test_a_pool_in_a_process_of_multiprocessing():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=use_a_pool, args=(queue,))
    process.start()
    assert queue.get() == [0, 1, 4, 9]
    process.join(30)
    assert process.exitcode == 0
    process.close()
    queue.close()


def use_a_pool(queue):
    with FuloadExecutor(2) as executor:
        queue.put([f.result(timeout=20) for f in [executor.submit(zoo.square, i) for i in range(4)]])
