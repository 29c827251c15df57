"""Tasks that do harm, and what the programs of these tests say to them.

Workers import this module: it is light, and imports nothing of the package.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time

from support.tasks import die_once as die_once
from support.tasks import square as square
from support.waiting import until as until


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def spin_for(seconds):
    due = time.perf_counter() + seconds
    while time.perf_counter() < due:
        pass
    return os.getpid()


def fail(x):
    raise ValueError(x)


# -- death by the task's own hand -----------------------------------------------


def die_by_signal(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def segfault():
    ctypes.string_at(0)


# -- announced: the file holds the pid as soon as the task runs ----------------------


def announce(path):
    with open(path + ".new", "w") as f:
        f.write(str(os.getpid()))
    os.rename(path + ".new", path)


def announce_and_sleep(path, seconds):
    announce(path)
    time.sleep(seconds)


def ignore_interrupts(path, seconds):
    announce(path)
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        try:
            time.sleep(max(0, due - time.monotonic()))
        except KeyboardInterrupt:
            pass


def block_all_signals(path, seconds):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    announce(path)
    time.sleep(seconds)


# -- forks, descriptors ------------------------------------------------------------


def fork_and_return(how):
    """(this worker's pid, the child's wait status); the child goes on as `how` says."""
    pid = os.fork()
    if not pid:
        if how == "returns":
            return "from the child"
        if how == "raises":
            raise RuntimeError("from the child")
        if how == "exits":
            sys.exit(3)
        if how == "returns later":
            time.sleep(0.05)
            return "from the child"
        os._exit(5)
    due = time.monotonic() + 20
    while time.monotonic() < due:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.getpid(), status
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return os.getpid(), None


def fork_a_sleeper(path):
    """A child that keeps everything that this worker has; its pid is in the file."""
    pid = os.fork()
    if not pid:
        announce(path)
        time.sleep(60)
        os._exit(0)
    while not os.path.exists(path):
        time.sleep(0.001)
    return os.getpid()


def start_a_sleeper():
    return subprocess.Popen(["sleep", "60"], close_fds=False).pid


def close_descriptors():
    os.closerange(3, 4096)
    return os.getpid()


def close_descriptors_and_reuse(path):
    """What has the numbers now takes writes, and is neither pipe nor eventfd."""
    numbers = [int(n) for n in os.listdir("/proc/self/fd") if int(n) > 2]
    other = os.open(path, os.O_CREAT | os.O_RDWR)
    for n in numbers:
        if n != other:
            os.dup2(other, n)
    return os.getpid()


# -- signals ---------------------------------------------------------------------


def ignore_sigusr1():
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def default_sigusr1():
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def handle_sigusr1():
    signal.signal(signal.SIGUSR1, lambda number, frame: None)


def register_faulthandler():
    faulthandler.register(signal.SIGUSR1, file=open(os.devnull, "w"), chain=False)


def block_sigusr1():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


def block_everything():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def unblock_everything():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def raise_sigusr1():
    os.kill(os.getpid(), signal.SIGUSR1)


def start_threads():
    for _ in range(4):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def use_an_alarm():
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)


def mask():
    return sorted(int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def masks_of_a_program():
    """(blocked, ignored) of a program that this task starts, as bit sets."""
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields["SigBlk"], 16), int(fields["SigIgn"], 16)


# -- programs of the tests ---------------------------------------------------------


def report(**what):
    """One line for the test that runs this program."""
    line = json.dumps(what) + "\n"
    fd = os.open(os.environ["REPORT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


def our_threads():
    """Names of the threads of pools in this process, as the system has them."""
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                names.append(file.read().strip())
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            pass
    return sorted(name for name in names if name.startswith("fuload-"))


# -- a pool of one's own -------------------------------------------------------------


def sleep_in_a_nested_pool(path, seconds):
    """The file holds the pids of its two workers."""
    from fuload_exec import FuloadExecutor

    with FuloadExecutor(2) as executor:
        futures = [executor.submit(time.sleep, seconds) for _ in range(2)]
        until(lambda: all(f.running() for f in futures) and len(executor.worker_pids) == 2)
        with open(path + ".new", "w") as f:
            f.write(" ".join(map(str, executor.worker_pids)))
        os.rename(path + ".new", path)
        for future in futures:
            future.result()
