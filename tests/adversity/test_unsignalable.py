"""Where the system refuses to signal the workers: the program has changed its
user, or runs in a sandbox. Everything works on, by other means."""

from __future__ import annotations

import os
import platform

import pytest

REFUSING = """
import struct
libc.prctl.restype = ctypes.c_int
def refuse(number, error):
    code = b"".join(struct.pack("HBBI", *i) for i in
                    ((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7FFF0000)))
    text = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(text)), 16)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(head)), 0, 0) == 0
def change_user():
    os.setgid(65534)
    os.setuid(65534)
written = os.open(os.environ["REPORT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def report(**what):  # the other user, too
    os.write(written, (json.dumps(what) + "\\n").encode())
SEND, OPEN, EPERM, ENOSYS = 424, 434, 1, 38
"""
WAYS = {
    "another user": "change_user()",
    "no signals": "refuse(SEND, EPERM)",
    "no such call": "refuse(SEND, ENOSYS)",
    "no pidfds": "refuse(OPEN, EPERM)",
    "neither": "refuse(SEND, EPERM); refuse(OPEN, ENOSYS)",
}
MACHINES = {"x86_64", "aarch64"}  # both have these calls under these numbers


@pytest.fixture(params=WAYS)
def refusing(request, program):
    """Starts a program that does `body` with WAY() to call."""
    if request.param == "another user" and os.getuid() != 0:
        pytest.skip("only root changes its user")
    assert platform.machine() in MACHINES

    def start(body):
        lines = "\n".join("    " + line for line in body.strip().splitlines())
        text = f"{REFUSING}\ndef WAY():\n    {WAYS[request.param]}\n\ndef main():\n{lines}\n"
        return program(text + '\nif __name__ == "__main__":\n    main()\n')

    return start


@pytest.mark.parametrize("when", ["before", "after"])
def test_tasks_of_all_kinds(refusing, when):
    p = refusing(f"""
if {when == "before"}:
    WAY()
readable = {when == "after"} or os.access(os.__file__, os.R_OK)
python = (pow, 2, 3) if readable else (libc.abs, -8)
with FuloadExecutor(3, spin=0) as executor:
    for _ in range(3):
        executor.submit(libc.abs, -1).result(timeout=20)
        executor.submit(*python).result(timeout=20)
    if {when == "after"}:  # interpreters that are all there already
        while not all(w.python for w in executor.stats().workers):
            list(executor.map(time.sleep, [0.05] * 3, timeout=20))
    if {when == "after"}:
        WAY()
    asleep = lambda: all(w.state == "asleep" for w in executor.stats().workers)
    results = []
    for _ in range(3):
        until(asleep)
        results.append(executor.submit(libc.abs, -3).result(timeout=20))
        until(asleep)
        results.append(executor.submit(*python).result(timeout=20))
    results.append(sum(executor.map(libc.abs, range(-500, 0), timeout=20)))
    report(results=results)
    error = executor.options(timeout=0.1).submit(libc.usleep, 60_000_000).exception(timeout=20)
    report(timeout=type(error).__name__)
    # New workers are the new user's, who may not be let to the interpreter.
    slow = (time.sleep, 60) if os.access(os.__file__, os.R_OK) else (libc.usleep, 60_000_000)
    task = executor.submit(*slow)
    until(task.running)
    report(terminated=task.terminate(), left=executor.submit(libc.abs, -16).result(timeout=20))
    tasks = [executor.submit(libc.usleep, 60_000_000), executor.submit(*slow)]
    until(lambda: all(task.running() for task in tasks))
    try:
        signal.raise_signal(signal.SIGINT)
        for task in tasks:
            task.exception(timeout=20)
    except (KeyboardInterrupt, CancelledError):
        pass
    wait(tasks, timeout=20)
    report(cancelled=[task.cancelled() for task in tasks])
    report(after=executor.submit(libc.abs, -5).result(timeout=20))
report(shut=True)
""")
    assert p.expect("shut", 100) is True
    found = p.reports()
    assert found["results"] == [3, 8] * 3 + [500 * 501 // 2]
    assert (found["timeout"], found["terminated"], found["left"]) == ("TaskTimeout", True, 16)
    assert found["cancelled"] == [True, True] and found["after"] == 5
    assert p.exit() == 0, p.errors()


def test_workers_end_with_the_program(refusing):
    p = refusing("""
executor = FuloadExecutor(2)
executor.submit(libc.usleep, 60_000_000)
task = executor.submit(time.sleep, 60)
until(task.running)
until(lambda: len(executor.worker_pids) == 2)
WAY()
report(pids=executor.worker_pids)
signal.pause()
""")
    p.expect_pids()
    p.process.kill()
    p.all_gone()


def test_a_stopped_worker_that_cannot_be_killed(program):
    """The pool breaks, and says why; nobody waits for that worker. It ends when
    it goes on."""
    p = program(
        REFUSING
        + """
from fuload_exec import _crew
_crew._ORDER_GRACE = 0.3
libc.raise_ = libc["raise"]
libc.raise_.argtypes, libc.raise_.restype = [ctypes.c_int], ctypes.c_int
def main():
    refuse(SEND, EPERM)  # for this thread and those that it starts
    executor = FuloadExecutor(1)
    executor.submit(libc.abs, -1).result(timeout=20)
    (pid,) = executor.worker_pids
    future = executor.submit(libc.raise_, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    executor.kill_workers()
    error = future.exception(timeout=20)
    executor.shutdown()
    os.kill(pid, signal.SIGCONT)
    status = os.waitpid(pid, 0)[1]
    report(error=[type(error).__name__, str(error)], status=os.waitstatus_to_exitcode(status))
if __name__ == "__main__":
    main()
"""
    )
    name, text = p.expect("error", 60)
    assert name == "BrokenProcessPool" and "pidfd_send_signal" in text and "Operation not permitted" in text
    assert p.reports()["status"] == -9
    assert "is left behind" in p.errors()
    assert p.exit() == 0, p.errors()
