"""The workers of one pool: started, signalled, reaped. Every fork, exec, wait
and signal of the parent stands here, but for SIGUSR1, which the core sends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque

from . import _core, _errors, _supervisor
from ._descriptors import Lender

_INTERRUPT_GRACE = 0.5
_LEAVE_GRACE = 10.0
_ATTACH_GRACE = 5.0
_QUOTED_LINES = 5


class Worker:
    def __init__(self, process: subprocess.Popen[bytes], pidfd: int, errors: int | None, order: int) -> None:
        self.process = process
        self.order = order
        self.pidfd = pidfd
        self.pid = process.pid
        self.errors = errors  # what a worker program writes to stderr before it has attached

    def last_words(self) -> str:
        if self.errors is None:
            return ""
        size = os.fstat(self.errors).st_size
        text = os.pread(self.errors, 4096, max(0, size - 4096)).decode("utf-8", "replace")
        lines = text.strip().splitlines()[-_QUOTED_LINES:]
        return "; the last lines of its standard error:\n" + "\n".join(lines) if lines else ""

    def close(self) -> None:
        os.close(self.pidfd)
        if self.errors is not None:
            os.close(self.errors)


def _look_at_deadlines() -> None:
    """The supervisor does so after every call."""


class Crew:
    """From "starting" on all runs in the supervisor's thread."""

    def __init__(
        self,
        pool: _core.Pool,
        command: list[str],
        program: str,
        env: dict[str, str],
        handle_sigint: bool,
        own_program: bool,
    ) -> None:
        self.pool = pool
        self.command = command
        self.program = program
        self.env = env
        self.handle_sigint = handle_sigint
        self.own_program = own_program  # of the user's: it may be no worker at all
        self.ever_attached = not own_program
        self.attaching: dict[int, float] = {}  # until when
        self.workers: dict[int, Worker] = {}
        self.wanted: deque[int] = deque()
        self.orders: dict[int, int] = {}  # how often each index was started: which worker of that index is meant
        self.doomed: dict[Worker, float] = {}  # when they are killed, unless they leave
        self.supervisor: _supervisor.Supervisor | None = None
        self.collector: threading.Thread | None = None
        self.over = False
        self.recruited = False
        self.finished = threading.Event()
        self.leaving = False
        self.lender = Lender()
        pool.crew = self
        _supervisor.crews.add(self)
        try:
            self.lender.open()
        except BaseException:
            self.abandon()
            raise

    # -- from any thread ------------------------------------------------------

    def start(self) -> None:
        """The pool has put the index of a worker into `wanted`."""
        self._recruit()
        if self.supervisor is not None:
            self.supervisor.call(self._start_wanted)

    def _recruit(self) -> None:
        """Have the two threads, once; they look at `wanted` when they start.
        A signal handler that submits in the middle of this finds `recruited`
        set and leaves the rest to the code that it interrupted."""
        with _supervisor.lock():
            if self.over:  # shut down in the middle of a submit(), whose task is cancelled
                while self.wanted:
                    self.pool.worker_not_wanted(self.wanted.popleft())
            if self.recruited or self.over:
                return
            self.recruited = True
            try:
                self.supervisor = _supervisor.enlist(self)
                self.collector = _supervisor.start_thread(self._collect, f"fuload-collector-{self.pool.name}")
            except BaseException:
                # No descriptors, no threads, or no stack, so nothing that needs a
                # frame is called here: the next submit may try again.
                self.recruited = False
                supervisor, self.supervisor = self.supervisor, None
                while self.wanted:
                    self.pool.worker_not_wanted(self.wanted.popleft())
                if supervisor is not None:
                    supervisor.crews.discard(self)
                    os.eventfd_write(supervisor.wake, 1)
                raise
            self.supervisor.call(self._watch_lender)
            self.supervisor.call(self._start_wanted)
            if self.pool.closing:  # meanwhile: close() has left it to us
                self.supervisor.call(self._check)

    def kill(self, index: int, order: int) -> None:
        """Its task was condemned: end this worker, and no later one of that index.
        It may run a task before the supervisor has it in its books: only there
        is it looked up."""
        if self.supervisor is not None:
            self.supervisor.call(self._kill, index, order)

    def look_sooner(self) -> None:
        """A task may be past its timeout before the next look."""
        if self.supervisor is not None:
            self.supervisor.call(_look_at_deadlines)

    def end_all(self, number: int) -> None:
        """Send this signal to the workers that live now."""
        self.pool.force()
        if self.supervisor is not None:
            self.supervisor.call(self._send_all, number)

    def check(self) -> None:
        """Perhaps the last task has ended, or the pool is broken."""
        with _supervisor.lock():
            if self.over:
                return
            if not self.recruited:
                # There is no thread that would; whoever is about to have them
                # has a task, and looks afterwards.
                if self.pool.closing and not self.pool.unfinished:
                    self._finish()
                return
        if self.supervisor is not None:
            self.supervisor.call(self._check)

    def busy(self) -> None:
        """Tasks were submitted after a pause."""
        _supervisor.sigint_check()
        supervisor = self.supervisor
        if supervisor is not None and not supervisor.looking:
            supervisor.call(supervisor.start_looking)

    def await_interrupt(self) -> None:
        """A SIGINT came and was not acted on yet: what is submitted now must
        not be cancelled by it."""
        if self.supervisor is not None and self.handle_sigint:
            self.supervisor.await_interrupt()

    def close(self) -> None:
        """No more tasks will come: end when those submitted have ended."""
        self.pool.closing = True
        self.pool.wake_blocked()
        self.check()

    def pids(self) -> list[int]:
        # One that serves already may not be in our books yet, and the other way round.
        return sorted({worker.pid for worker in list(self.workers.values())} | self.pool.pids())

    def join(self) -> None:
        """Wait until every worker is reaped and the threads have ended."""
        me = threading.current_thread()
        if me is self.collector:
            return
        self.finished.wait()
        if self.collector is not None:
            self.collector.join()
        if self.supervisor is not None and not self.supervisor.crews and me is not self.supervisor.thread:
            self.supervisor.thread.join()

    # -- the collector's thread -----------------------------------------------------

    def _collect(self) -> None:
        with _supervisor.lock():
            if self.collector is not threading.current_thread():
                return  # recruiting has failed, though not before this thread was there
        self.pool.collector_runs()
        while not self.over:
            try:
                self.pool.work()
            except BaseException:
                _core.LOGGER.exception("the collector goes on after an error")
        self.pool.work(0)  # callbacks of what ended last
        self._finish()

    def _finish(self) -> None:
        self.over = True
        self.pool.crew = None
        self.pool.close()
        self.lender.close()
        self.finished.set()

    def abandon(self) -> None:
        """The executor could not be made: leave nothing. No thread was started."""
        self._finish()

    def _watch_lender(self) -> None:
        assert self.supervisor is not None
        if not self.over:
            self.supervisor.watch(self.lender.fd, self.lender.serve)

    # -- starting ----------------------------------------------------------------------

    def _start_wanted(self) -> None:
        while self.wanted:
            index = self.wanted.popleft()
            if self.leaving:
                self.pool.worker_not_wanted(index)
                continue
            self.orders[index] = self.orders.get(index, 0) + 1
            try:
                self._start(index)
            except Exception as error:
                self.pool.worker_not_started(index, error)

    def _start(self, index: int) -> None:
        assert self.supervisor is not None
        errors = self._error_file() if not self.ever_attached else None
        try:
            process = self._spawn(index, errors)
        except BaseException:
            if errors is not None:
                os.close(errors)
            raise
        with contextlib.ExitStack() as opened:
            try:
                pidfd = os.pidfd_open(process.pid)
                opened.callback(os.close, pidfd)
                shared = os.dup(pidfd)
                opened.callback(os.close, shared)
                self.supervisor.watch(pidfd, lambda: self._on_death(index))
            except OSError:
                # No descriptor to watch it by, and it may have begun a task: it
                # is ended here, and buried like one that died.
                process.kill()
                process.wait()
                if errors is not None:
                    os.close(errors)
                self.pool.worker_ended(index)
                self.pool.worker_reaped(index, process.pid, process.returncode)
                return
            opened.pop_all()
        self.workers[index] = Worker(process, pidfd, errors, self.orders[index])
        if errors is not None:
            self.attaching[index] = time.monotonic() + _ATTACH_GRACE
        self.pool.worker_started(index, process.pid, shared)

    @staticmethod
    def _error_file() -> int | None:
        """Where a worker program's standard error goes until it has attached;
        none if this process has no standard error that it could go to later."""
        try:
            os.fstat(2)
        except OSError:
            return None
        return os.memfd_create("fuload-stderr", os.MFD_CLOEXEC)

    def _spawn(self, index: int, errors: int | None) -> subprocess.Popen[bytes]:
        region, bell = self.pool.descriptors()
        real = -1 if errors is None else os.dup(2)
        try:
            return subprocess.Popen(
                self.command,
                executable=self.program,
                stdin=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[fd for fd in (region, bell, self.lender.far, real) if fd >= 0],
                env={
                    **os.environ,
                    **self.env,
                    "FULOAD_WORKER": f"{self.pool.protocol_version()}:{region}:{bell}:{index}:{real}",
                },
            )
        finally:
            if real >= 0:
                os.close(real)

    # -- signalling and reaping ---------------------------------------------------------

    def _kill(self, index: int, order: int) -> None:
        worker = self.workers.get(index)
        if worker is not None and worker.order == order:
            self._send(worker, signal.SIGKILL)

    def _send(self, worker: Worker, number: int) -> None:
        """Only while it is not reaped: its pidfd is open until then."""
        if worker in self.workers.values():
            try:
                signal.pidfd_send_signal(worker.pidfd, number)
            except ProcessLookupError:
                pass

    def _on_death(self, index: int) -> None:
        assert self.supervisor is not None
        worker = self.workers[index]
        self.ever_attached = self.ever_attached or self.pool.worker_attached(index)
        self.pool.worker_ended(index)
        exitcode = self._reap(worker)
        self.supervisor.unwatch(worker.pidfd)
        del self.workers[index]
        self.doomed.pop(worker, None)
        late = self.attaching.pop(index, 1.0) == 0.0
        complaint = None if self.ever_attached else self._complaint(worker, exitcode, late)
        worker.close()
        self.pool.worker_reaped(index, worker.pid, exitcode, complaint)
        self._check()

    def _complaint(self, worker: Worker, exitcode: int | None, late: bool) -> str:
        program = " ".join(self.command)
        if late:
            said = f"did not attach within {_ATTACH_GRACE:g} seconds: is it a program that calls fuload_worker_main?"
        else:
            said = f"ended {_errors._describe_exit(exitcode)} before it had attached"
        return f"the worker program {program!r} {said}{worker.last_words()}"

    @staticmethod
    def _reap(worker: Worker) -> int | None:
        """Its exit code, negative for a signal; None if somebody else has it."""
        try:
            result = os.waitid(os.P_PIDFD, worker.pidfd, os.WEXITED)
        except ChildProcessError:
            result = None
        if result is None:
            exitcode = None
        elif result.si_code == os.CLD_EXITED:
            exitcode = result.si_status
        else:
            exitcode = -result.si_status
        worker.process.returncode = exitcode if exitcode is not None else 0
        return exitcode

    def _send_all(self, number: int) -> None:
        for worker in list(self.workers.values()):
            self._send(worker, number)

    def interrupt(self) -> None:
        """Ctrl-C: cancel everything, then the workers leave or are killed."""
        while self.wanted:
            self.pool.worker_not_wanted(self.wanted.popleft())
        self.pool.interrupt()
        # A C worker has no handler for SIGINT that could cut a task's sleep short.
        for index, worker in list(self.workers.items()):
            self._send(worker, signal.SIGINT if self.pool.runs_python(index) else signal.SIGTERM)
        self._doom(_INTERRUPT_GRACE)

    def _doom(self, grace: float) -> None:
        """The workers of now are killed if they are still there then."""
        due = time.monotonic() + grace
        for worker in self.workers.values():
            self.doomed[worker] = min(due, self.doomed.get(worker, due))

    @property
    def deadline(self) -> float | None:
        look_at = self.pool.look_at_ns / 1e9
        return min(filter(None, [look_at, *self.doomed.values(), *self.attaching.values()]), default=None)

    def on_deadline(self) -> None:
        now = time.monotonic()
        if 0 < self.pool.look_at_ns / 1e9 <= now:
            self.pool.end_overdue()
        for index in [i for i, due in self.attaching.items() if due and due <= now]:
            if self.pool.worker_attached(index):
                self.ever_attached = True
                del self.attaching[index]
            else:
                self.attaching[index] = 0.0  # late: its burial says so
                self._send(self.workers[index], signal.SIGKILL)
        for worker in [w for w, due in self.doomed.items() if due <= now]:
            del self.doomed[worker]
            self._send(worker, signal.SIGKILL)

    def _check(self) -> None:
        pool = self.pool
        if self.over:
            return
        if pool.broken is not None:
            self._send_all(signal.SIGKILL)
        if not pool.closing or pool.unfinished:
            return
        if not self.leaving:
            self.leaving = True
            pool.leave()
            self._doom(_LEAVE_GRACE)
        self._start_wanted()  # which takes them back now
        if not self.workers:
            if self.supervisor is not None and self.lender.fd in self.supervisor.watched:
                self.supervisor.unwatch(self.lender.fd)
            self.over = True
            _supervisor.dismiss(self)
            pool.kick()

    def forget_in_child(self) -> None:
        for worker in self.workers.values():
            worker.close()
            worker.process.returncode = 0
        self.workers.clear()
        self.supervisor = None
        self.collector = None
        self.over = True
        self.pool.forget_in_child()
        self.lender.close()
        self.finished.set()
