"""Surroundings that a program did not choose."""

from __future__ import annotations

import os
import resource

import pytest
from programs import PROLOGUE

WORK = """
executor = FuloadExecutor(2)
results = [executor.submit(libc.abs, -3).result(timeout=20), executor.submit(zoo.square, 3).result(timeout=20)]
results.append(executor.submit(len, b"x" * 1_000_000).result(timeout=20))
executor.shutdown()
report(results=results)
"""


def check_works(p):
    assert p.exit() == 0, p.errors()
    assert p.reports()["results"] == [3, 9, 1_000_000]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_streams(program, closed):
    p = program("".join(f"os.close({n})\n" for n in closed) + WORK)
    check_works(p)


def test_closed_standard_streams_from_the_start(program):
    """Whoever opens something first gets their numbers."""
    p = program(
        """
pid = os.fork()
if not pid:
    os.closerange(0, 3)
    os.execv(sys.executable, [sys.executable, FOLDER + "/inner.py"])
until(lambda: os.path.exists(FOLDER + "/inner.py"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        before="import os, sys, time\nwhile not os.path.exists(os.path.dirname(os.path.abspath(__file__)) + '/inner.py'): time.sleep(0.001)\n",
    )

    inner = p.path.parent / "inner"
    inner.write_text(PROLOGUE + WORK)
    inner.rename(p.path.parent / "inner.py")
    check_works(p)


def test_output_of_tasks_with_closed_streams(program):
    p = program("""
os.closerange(0, 3)
executor = FuloadExecutor(1)
puts = ctypes.CDLL(None).puts
puts.argtypes, puts.restype = [ctypes.c_char_p], ctypes.c_int
for i in range(100):
    executor.submit(puts, b"to nobody" * 100).result(timeout=20)
executor.submit(print, "to nobody").exception(timeout=20)
results = [executor.submit(libc.abs, -3).result(timeout=20), executor.submit(zoo.square, 3).result(timeout=20)]
results.append(executor.submit(len, b"x" * 1_000_000).result(timeout=20))
executor.shutdown()
report(results=results)
""")
    check_works(p)


def test_working_directory_removed(program):
    p = program(
        """
place = FOLDER + "/place"
os.mkdir(place)
os.chdir(place)
os.rmdir(place)
"""
        + WORK
    )
    check_works(p)


@pytest.mark.parametrize("unset", [["HOME"], ["PATH"], ["HOME", "PATH", "LANG", "LC_ALL", "TMPDIR", "USER"]])
def test_environment_variables_unset(program, unset):
    p = program("".join(f"os.environ.pop({name!r}, None)\n" for name in unset) + WORK)
    check_works(p)


def test_path_without_python(program, tmp_path):
    p = program(WORK, env={"PATH": str(tmp_path)})
    check_works(p)


def test_environment_cleared(program):
    p = program(
        "report_to = os.environ['REPORT']\nos.environ.clear()\n"
        + WORK.replace("report(", "os.environ['REPORT'] = report_to\nreport(")
    )
    check_works(p)


@pytest.mark.parametrize("mask", ["signal.SIGUSR1", "signal.SIGINT", "*signal.valid_signals()"])
def test_signals_blocked_in_the_parent(program, mask):
    p = program(
        f"signal.pthread_sigmask(signal.SIG_BLOCK, {{{mask}}})\n" + WORK.replace("FuloadExecutor(2)", "FuloadExecutor(2, spin=0)")
    )
    check_works(p)


@pytest.mark.parametrize("ignored", ["SIGUSR1", "SIGCHLD", "SIGPIPE", "SIGINT"])
def test_signals_ignored_in_the_parent(program, ignored):
    """With SIGCHLD ignored the kernel reaps children: there are no exit codes."""
    p = program(f"signal.signal(signal.{ignored}, signal.SIG_IGN)\n" + WORK)
    check_works(p)


def test_sigchld_ignored_and_a_worker_dies(program):
    p = program("""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
executor = FuloadExecutor(1)
for i in range(3):
    error = executor.submit(os._exit, 3).exception(timeout=20)
    assert isinstance(error, WorkerCrashed) and error.exitcode in (None, 3), error
    assert executor.submit(libc.abs, -i).result(timeout=20) == i
executor.shutdown()
report(ok=True)
""")
    assert p.exit() == 0, p.errors()
    assert p.reports() == {"ok": True}


@pytest.mark.parametrize("python", [False, True])
def test_few_descriptors(program, python):
    """At every limit it works or says clearly why not; nothing is left of the
    attempt, and with a higher limit the next pool works."""
    task = "zoo.square, 3" if python else "libc.abs, -9"
    p = program(f"""
import gc, resource, warnings
from fuload_exec import _crew
_crew._START_PATIENCE = 0.5
warnings.simplefilter("error")
def open_now():
    return sorted(os.listdir("/proc/self/fd"))
def children():
    found = []
    for t in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{{t}}/children") as f:
                found += f.read().split()
        except OSError:
            pass
    return found
with FuloadExecutor(2) as executor:
    assert executor.submit({task}).result(timeout=20) == 9
gc.collect()
before = open_now()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
outcomes = {{}}
bad = []
for more in range(1, 40):
    held = []
    executor = None
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + more, hard))
    try:
        executor = FuloadExecutor(2)
        outcomes[more] = executor.submit({task}).result(timeout=20)
    except OSError as error:
        # TimeoutError is an OSError.
        outcomes[more] = "hangs" if isinstance(error, TimeoutError) else "OSError"
        if not str(error):
            bad.append(f"{{more}}: no words")
    except Exception as error:
        outcomes[more] = type(error).__name__
        if "Too many open files" not in str(error):
            bad.append(f"{{more}}: {{error!r}}")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if executor is not None:
        if outcomes[more] == "hangs":
            bad.append(f"{{more}}: hangs, {{executor.stats()}}")
            break
        closer = threading.Thread(target=executor.shutdown, daemon=True)
        closer.start()
        closer.join(15)
        if closer.is_alive():
            bad.append(f"{{more}}: shutdown hangs, {{executor.stats()}}")
            break
    error = executor = None
    try:
        until(lambda: gc.collect() + 1 and open_now() == before and not children() and threading.active_count() == 1, 2)
    except TimeoutError:
        names = [os.readlink("/proc/self/fd/" + n) for n in open_now() if n not in before and os.path.exists("/proc/self/fd/" + n)]
        bad.append(f"{{more}}: left behind {{names}}, children {{children()}}, threads {{threading.enumerate()}}")
        before = open_now()
    with FuloadExecutor(2) as executor:
        if executor.submit({task}).result(timeout=20) != 9:
            bad.append(f"{{more}}: the next pool does not work")
report(outcomes=outcomes, bad=bad)
""")
    outcomes = p.expect("outcomes", 60)
    assert p.reports()["bad"] == [], (outcomes, p.errors())
    assert outcomes["39"] == 9
    assert outcomes["1"] == "OSError"
    p.exit()


def test_a_worker_that_cannot_be_watched_is_ended(program):
    """The system lets it be started and not be watched (fs.epoll.max_user_watches):
    it may have begun a task meanwhile."""
    p = program("""
import errno
from fuload_exec._supervisor import Supervisor
watch, unwatched, futures = Supervisor.watch, [], []
def fail_twice(self, fd, act):
    if len(unwatched) == 2 or os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:[pidfd]":
        return watch(self, fd, act)
    if not unwatched:
        until(lambda: futures and futures[0].running())
    with open(f"/proc/self/fdinfo/{fd}") as info:
        unwatched.append(next(int(line.split()[1]) for line in info if line.startswith("Pid:")))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
Supervisor.watch = fail_twice
with FuloadExecutor(2) as executor:
    # The second worker may begin the other one before it is ended too.
    futures += [executor.submit(libc.usleep, 90_000_000), executor.options(max_retries=5).submit(libc.abs, -3)]
    crash = futures[0].exception(timeout=20)
    report(result=futures[1].result(timeout=20), crash=[type(crash).__name__, crash.exitcode, crash.pid in unwatched],
           serves=until(lambda: len(unwatched) == 2 and not set(executor.worker_pids) & set(unwatched)))
report(gone=not any(os.path.exists(f"/proc/{pid}") for pid in unwatched))
""")
    assert p.expect("result", 60) == 3
    assert p.expect("gone", 60) is True
    assert p.reports()["crash"] == ["WorkerCrashed", -9, True] and p.reports()["serves"] is True
    p.exit()


def test_workers_that_cannot_be_registered_are_ended(program):
    """As above, a step earlier. All that are started in one go are in the books."""
    p = program("""
import errno
from fuload_exec import _core
unregistered, worker_started = [], _core.worker_started
def failing_twice(pool, index, pid, pidfd):
    if len(unregistered) < 2:
        unregistered.append(pid)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return worker_started(pool, index, pid, pidfd)
_core.worker_started = failing_twice
with FuloadExecutor(4, max_retries=5) as executor:
    futures = [executor.submit(libc.usleep, 10_000) for _ in range(20)]
    report(results=[future.result(timeout=20) for future in futures],
           serves=until(lambda: len(unregistered) == 2 and not set(executor.worker_pids) & set(unregistered)))
report(closed="pidfd" not in str([os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1]]))
report(gone=len(unregistered) == 2 and not any(os.path.exists(f"/proc/{pid}") for pid in unregistered))
""")
    assert p.expect("results", 60) == [0] * 20
    assert p.expect("closed", 60) is True
    assert p.expect("gone", 60) is True
    assert p.reports()["serves"] is True
    assert p.exit() == 0, p.errors()


def test_few_descriptors_while_workers_are_replaced(program):
    """The limit is reached later: the pool may break, and says why; it does not hang."""
    p = program("""
import resource
executor = FuloadExecutor(2)
assert executor.submit(libc.abs, -1).result(timeout=20) == 1
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
fatal = executor.submit(libc.usleep, 90_000_000)
until(fatal.running)
os.kill(until(lambda: executor.worker_pids)[0], signal.SIGKILL)
behind = [executor.submit(libc.abs, -i) for i in range(20)]
outcomes = []
for future in [fatal, *behind]:
    try:
        outcomes.append(future.result(timeout=15))
    except TimeoutError:
        outcomes.append("hangs")
    except Exception as error:
        outcomes.append(type(error).__name__)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
report(outcomes=outcomes)
executor.shutdown()
""")
    outcomes = p.expect("outcomes", 60)
    assert "hangs" not in outcomes, outcomes
    assert p.exit() == 0, p.errors()


def test_no_more_processes(program):
    """RLIMIT_NPROC counts only for those who are not root: elsewhere the worker cannot be forked."""
    p = program("""
import resource
if os.getuid() == 0:
    os.setresuid(65534, 65534, 65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
outcome = "?"
try:
    executor = FuloadExecutor(2)
    executor.submit(libc.abs, -1).result(timeout=15)
    outcome = "works"
except TimeoutError:
    outcome = "hangs"
except Exception as error:
    outcome = f"{type(error).__name__}: {error}"
report_fd = outcome
os.write(1, outcome.encode())
os._exit(0)
""")
    p.exit()
    text = p.errors()
    assert text and "hangs" not in text and "works" not in text, text


def test_little_address_space_is_said_clearly(program):
    p = program("""
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    executor = FuloadExecutor(2, slots=1024, slot_size=1 << 20)
    outcome = executor.submit(libc.abs, -3).result(timeout=15)
except (OSError, MemoryError) as error:
    outcome = "said" if not isinstance(error, TimeoutError) else "hangs"
report(outcome=outcome)
""")
    assert p.exit() == 0, p.errors()
    assert p.reports()["outcome"] in ("said", 3)


def test_limits_of_this_process_are_sane():
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    assert os.path.exists("/proc/self/fd")
