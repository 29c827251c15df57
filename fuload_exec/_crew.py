"""The workers of one pool: wanted, doomed, buried."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable

from . import _core, _refusals, _supervisor
from ._lender import Lender
from ._process import Worker, environment, error_file, free_descriptors, headroom

_INTERRUPT_GRACE = 0.1
_LEAVE_GRACE = 10.0
_ATTACH_GRACE = 5.0
_INTERPRETER_GRACE = 8.0
_ORDER_GRACE = 5.0
_START_PATIENCE = 10.0
_AT_ONCE = 16  # workers that are started in one go
_FAILED_INTERPRETERS = 3  # in a row, and none has ever started: no more are tried
_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.EINTR, errno.ETXTBSY}


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
        self.failing_since = 0.0  # no worker could be started since, or 0
        self.start_again = 0.0  # when that is tried again
        self.failed_interpreters = 0  # in a row; negative once one has started
        self.ready_made = not own_program  # whether workers may be started as interpreters
        self.looked_at = 0.0  # when it was looked for silent interpreters
        self.ordered: dict[Worker, tuple[float, str]] = {}  # told to end where signals are refused: until when, and why
        self.workers: dict[int, Worker] = {}
        self.doomed: dict[Worker, float] = {}  # when they are killed, unless they leave
        self.over = False
        self.finished = _core.Moment()
        self.given_up = _core.Moment()
        self.leaving = False
        self.lender = Lender()
        pool.crew = self
        _supervisor.know(self)
        try:
            self.lender.open()
        except BaseException:
            self.abandon()
            raise

    # -- from any thread ------------------------------------------------------

    def recruit(self) -> None:
        """Have the two threads, before the first task is published. Another thread
        may be at it too, or be interrupted in the middle of it by a signal handler
        that submits: each has a collector of its own, and one of them counts. On an
        error (no threads, no stack) nothing has happened: the next submit() may try
        again."""
        if "team" not in self.__dict__:
            collector = _supervisor.Thread(f"fuload-collector-{self.pool.name}")
            mine = _supervisor.enlist(self), collector
            needed = _core.decide(self.__dict__, "team", mine, collector.start, (collector, self._collect))
            if not needed and self.over:
                _supervisor.dismiss(self)
        self.pool.recruited = True

    @property
    def _team(self) -> tuple[_supervisor.Supervisor, _supervisor.Thread] | None:
        """Supervisor and collector, once they are there. (What "team" is is decided
        once, in one step: empty if the pool ends without.)"""
        return self.__dict__.get("team") or None

    @property
    def supervisor(self) -> _supervisor.Supervisor | None:
        team = self._team
        return team[0] if team is not None else None

    def end_all(self, number: int) -> None:
        """Send this signal to the workers that live now."""
        self.pool.force()
        if self.supervisor is not None:
            self.supervisor.call(self._send_all, number)

    def check(self) -> None:
        """Perhaps the last task has ended, or the pool is broken."""
        if self.over:
            return
        if self._team is None and self.pool.closing and not self.pool.unfinished:
            self.__dict__.setdefault("team", ())
            if self._team is None:
                self._finish()  # there is no thread that would; once more if Ctrl-C cut it short
                return
        self.pool.ask()

    def await_interrupt(self) -> None:
        """A SIGINT came and was not acted on yet: what is submitted now must
        not be cancelled by it, though this be the first task of a pool that the
        supervisor does not know yet."""
        roster = _core.roster()
        if roster is not None and self.handle_sigint:
            roster.await_interrupt()

    def announce(self) -> None:
        """Who waits for what an interrupt has cancelled hears of it now."""
        if self.handle_sigint:
            _core.announce_settled(self.pool)

    def close(self) -> None:
        """No more tasks will come: end when those submitted have ended. A
        finalizer calls it in the middle of anything: it takes no lock."""
        self.pool.closing = True
        self.pool.wake_blocked()
        self.check()

    def pids(self) -> list[int]:
        return sorted(_core.pids(self.pool))

    def join(self) -> None:
        """Wait until every worker is reaped and the threads have ended; the
        supervisor only if it has no other pool. Not in one of these threads, where
        callbacks and finalizers run: they are what would end."""
        team = self._team
        if (team is not None and team[1].is_this()) or _core.in_supervisor():
            return
        while not self.finished.wait():
            pass
        team = self._team
        if team is not None:
            _core.await_thread(team[1].native_id)
            team[0].await_end()

    # -- the collector's thread -----------------------------------------------------

    def _collect(self) -> None:
        self.pool.collector_runs()
        while not self.over:
            try:
                _core.work(self.pool)
            except BaseException:
                _core.say(_core.LOGGER.exception, "the collector goes on after an error")
            if self.pool.lost and not self.over:
                # Nobody can call us any more; the supervisor ends this pool.
                assert self.supervisor is not None
                self.supervisor.call(self.supervisor.lose)
                self.given_up.wait()
        try:
            _core.work(self.pool, 0)  # callbacks of what ended last
        finally:
            self._finish()

    def name_collector(self) -> None:
        """Code of the user's is about to be called."""
        team = self._team
        if team is not None and team[1].is_this():
            team[1].show_name()

    def _finish(self) -> None:
        self.over = True
        try:
            self.pool.crew = None
            self.pool.close()
            self.lender.close()
            _supervisor.dismiss(self)  # it may have been enlisted, and recruited no further
        finally:
            self.finished.happen()

    def abandon(self) -> None:
        """The executor could not be made: leave nothing. No thread was started."""
        self._finish()

    def answer(self) -> None:
        """The pool has asked for something."""
        assert self.supervisor is not None
        if self.over:
            _supervisor.dismiss(self)
            return
        if self.lender.fd not in self.supervisor.watched:
            self.supervisor.watch(self.lender.fd, self._lend)
        for index in _core.take_doomed(self.pool):
            if index in self.workers:
                self._send(self.workers[index], signal.SIGKILL)
        self._start_wanted()
        self._check()

    def _lend(self) -> None:
        if self.lender.whole():
            self.lender.serve()
        elif self.supervisor is not None:
            self.supervisor.lose()

    def holds_descriptors(self) -> bool:
        """Whether nobody has closed one of this pool's."""
        return self.over or (self.pool.holds_descriptors() and self.lender.whole())

    # -- starting ----------------------------------------------------------------------

    def _start_wanted(self) -> None:
        if self.leaving:
            _core.want_nobody(self.pool)
        if self.pool.wanted and self.supervisor is not None and not self.holds_descriptors():
            self.supervisor.lose()  # a worker would inherit somebody else's
            return
        while self.pool.wanted and not self.over and self.start_again <= time.monotonic():
            self._start(_core.take_wanted(self.pool, _AT_ONCE))

    def _start(self, indexes: list[int]) -> None:
        started = 0
        try:
            room = self._room(len(indexes))
            if room <= 0:
                raise _refusals.refused("more workers", errno.EMFILE)
            started, failure = self._start_some(indexes[:room])
            if failure is not None:
                raise failure
        except Exception as error:
            self._not_started(indexes[started:], error)
        else:
            self.failing_since = 0.0
            _core.want_again(self.pool, indexes[started:])

    def _room(self, wanted: int) -> int:
        """How many workers may be started: some descriptors are left to the
        program, as long as one worker lives."""
        each = 1 if self.ever_attached else 3
        room = (free_descriptors() - headroom()) // each
        return min(wanted, room if self.workers else max(room, 1))

    def _start_some(self, indexes: list[int]) -> tuple[int, Exception | None]:
        """How many were started, and why no more were. Once a worker serves as an
        interpreter the others are started as such: no task has to wait for them."""
        begun = 0
        command = _core.interpreter_command(self.pool)
        if command and self.ready_made and any(_core.runs_python(self.pool, index) for index in self.workers):
            begun, failure = self._start_program(indexes, command[0], command, True)
            if failure is None:
                return begun, None
            # It is gone, say: who claims a Python task tells why.
        program, argv = os.fsencode(self.program), [os.fsencode(part) for part in self.command]
        started, failure = self._start_program(indexes[begun:], program, argv, False)
        return begun + started, failure

    def _start_program(
        self, indexes: list[int], program: bytes, argv: list[bytes], interpreters: bool
    ) -> tuple[int, Exception | None]:
        version, region, bell, alarm = self.pool.descriptors()
        prefix = f"{version}:{region}:{bell}:{alarm}:{self.lender.far}"
        env = {**environment(), **{os.fsencode(name): os.fsencode(value) for name, value in self.env.items()}}
        env.pop(b"FULOAD_WORKER", None)
        places: list[tuple[int, bytes, int, int]] = []
        started: list[tuple[int, int]] = []
        failure: Exception | None = None
        try:
            for index in indexes:
                errors, real = (-1, -1) if self.ever_attached else error_file()
                places.append((index, f"FULOAD_WORKER={prefix}:{index}:{real}".encode(), errors, real))
            started, failed = _core.start_workers(
                self.pool,
                program,
                argv,
                [name + b"=" + value for name, value in env.items()],
                [region, bell, alarm, self.lender.far],
                places,
                interpreters,
            )
            if failed is not None:
                failure = _refusals.refused(failed[1], failed[0])
        finally:
            for number, (_, _, errors, real) in enumerate(places):
                if real >= 0:
                    os.close(real)
                if errors >= 0 and number >= len(started):
                    os.close(errors)
        for (index, _, errors, _), (pid, pidfd) in zip(places, started):
            self._enrol(index, Worker(pid, pidfd, errors))
        return len(started), failure

    def _enrol(self, index: int, worker: Worker) -> None:
        assert self.supervisor is not None
        self.workers[index] = worker
        if worker.errors >= 0:
            self.attaching[index] = time.monotonic() + _ATTACH_GRACE
        try:
            if _core.worker_started(self.pool, index, worker.pid, worker.pidfd):
                self.supervisor.watch(worker.pidfd, lambda: self._on_death(index))
        except OSError:
            # Its end cannot be seen, and it may have begun a task: it is ended
            # here, and buried like one that died.
            try:
                worker.send(signal.SIGKILL)
            except ProcessLookupError:
                pass
            except OSError as error:
                self._order_end(worker, f"pidfd_send_signal: {error}")
            self._on_death(index, wait=True)

    def _not_started(self, indexes: list[int], error: Exception) -> None:
        """What will pass is tried again for a while, unless others do the work."""
        passing = error.errno in _TRANSIENT if isinstance(error, OSError) else isinstance(error, (MemoryError, RuntimeError))
        now = time.monotonic()
        self.failing_since = self.failing_since or now
        waited = now - self.failing_since
        if passing and not self.workers and waited < _START_PATIENCE:
            _core.want_again(self.pool, indexes)
            self.start_again = now + min(0.02 + waited / 4, 0.5)
            return
        self.failing_since = 0.0
        said = str(error) + (f", for {_START_PATIENCE:g} seconds" if passing and not self.workers else "")
        for index in indexes:
            _core.worker_not_started(self.pool, index, said)

    # -- signalling and reaping ---------------------------------------------------------

    def _send(self, worker: Worker, number: int) -> None:
        """Only while it is not reaped: its pidfd is open until then. Where
        signals are refused (this process or the worker has changed its user, a
        sandbox) it is told to end by other means, at once or after its grace."""
        if worker not in self.workers.values():
            return
        if self.supervisor is not None and not self.supervisor.holds(worker.pidfd):
            self.supervisor.lose()
            return
        try:
            worker.send(number)
        except ProcessLookupError:
            pass
        except OSError as error:
            if number == signal.SIGKILL:
                self._order_end(worker, f"pidfd_send_signal: {error}")
            else:
                self._doom(_INTERRUPT_GRACE, [worker])

    def _order_end(self, worker: Worker, why: str) -> None:
        index = next(i for i, w in self.workers.items() if w is worker)
        _core.order_end(self.pool, index)
        self.ordered.setdefault(worker, (time.monotonic() + _ORDER_GRACE, why))

    def _give_up(self, worker: Worker, why: str) -> None:
        """It neither obeys nor can it be killed, so it is stopped. It ends itself
        as soon as it goes on, or this process ends; nobody waits for that."""
        assert self.supervisor is not None
        index = next(i for i, w in self.workers.items() if w is worker)
        said = f"worker {worker.pid} does not end, and the system refuses to kill it ({why})"
        _core.say(_core.LOGGER.error, "fuload-exec: %s; it is left behind", said)
        self.supervisor.unwatch(worker.pidfd)
        del self.workers[index]
        self._forget(index, worker)
        _core.worker_left_behind(self.pool, said)
        self._check()

    def _forget(self, index: int, worker: Worker) -> None:
        worker.close()
        self.doomed.pop(worker, None)
        self.ordered.pop(worker, None)
        self.attaching.pop(index, None)

    def _on_death(self, index: int, wait: bool = False) -> None:
        assert self.supervisor is not None
        worker = self.workers.get(index)
        exited = worker is not None and worker.await_exit(wait)
        if worker is None or not exited:
            return  # the event was that of a descriptor that had this number before
        self.ever_attached = self.ever_attached or _core.worker_attached(self.pool, index)
        silent = index in _core.silent_interpreters(self.pool)
        _core.worker_ended(self.pool, index)
        exitcode = worker.reap()
        if worker.pidfd in self.supervisor.watched:
            self.supervisor.unwatch(worker.pidfd)
        del self.workers[index]
        late = self.attaching.get(index) == 0.0
        complaint = None if self.ever_attached else self._complaint(worker, exitcode, late)
        self._forget(index, worker)
        if silent:
            self._bury_interpreter(index, worker, exitcode)
        else:
            _core.worker_reaped(self.pool, index, worker.pid, exitcode, complaint)
        self._check()

    def _bury_interpreter(self, index: int, worker: Worker, exitcode: int | None) -> None:
        """What was exec'ed for Python tasks has ended before it was heard of."""
        program = os.fsdecode(b"".join(_core.interpreter_command(self.pool)[:1]))
        self.ready_made = self.ready_made and _core.worker_attached(self.pool, index)
        if worker.late:
            said = f"did not start within {_INTERPRETER_GRACE:g} seconds: is it a Python interpreter?"
        else:
            said = f"ended {_refusals.describe_exit(exitcode)} before it had started as a Python interpreter"
        refuse = False
        if self.failed_interpreters >= 0 and (worker.late or exitcode is None or exitcode >= 0):
            self.failed_interpreters += 1
            refuse = worker.late or self.failed_interpreters >= _FAILED_INTERPRETERS
        _core.worker_reaped(self.pool, index, worker.pid, exitcode, None, f"the program {program!r} {said}", refuse)

    def look_at_interpreters(self) -> None:
        """Is there one that is none? Called often while there are tasks: what
        counts is the time that is seen to pass, and that it could run."""
        now = time.monotonic()
        passed = min(now - self.looked_at, 0.2)
        self.looked_at = now
        silent = _core.silent_interpreters(self.pool)
        if self.failed_interpreters >= 0 and any(_core.runs_python(self.pool, index) for index in self.workers):
            self.failed_interpreters = -1
        for index in silent:
            worker = self.workers.get(index)
            if worker is None or worker.late:
                continue
            worker.silent += passed
            if worker.silent >= _INTERPRETER_GRACE and worker.silent - worker.waited_for_cpu() >= _INTERPRETER_GRACE:
                worker.late = True
                self._send(worker, signal.SIGKILL)

    def _complaint(self, worker: Worker, exitcode: int | None, late: bool) -> str:
        program = " ".join(self.command)
        if late:
            said = f"did not attach within {_ATTACH_GRACE:g} seconds: is it a program that calls fuload_worker_main?"
        else:
            said = f"ended {_refusals.describe_exit(exitcode)} before it had attached"
        return f"the worker program {program!r} {said}{worker.last_words()}"

    def _send_all(self, number: int) -> None:
        for worker in list(self.workers.values()):
            self._send(worker, number)

    def interrupt(self) -> set[Worker]:
        """Ctrl-C: cancel everything, then the workers leave or are killed. Who
        they are."""
        _core.want_nobody(self.pool)
        self.failing_since = 0.0
        _core.interrupt(self.pool)
        # A C worker has no handler for SIGINT that could cut a task's sleep short.
        for index, worker in list(self.workers.items()):
            self._send(worker, signal.SIGINT if _core.runs_python(self.pool, index) else signal.SIGTERM)
        self._doom(_INTERRUPT_GRACE)
        return set(self.workers.values())

    def abandon_all(self, reason: str) -> None:
        """The supervisor cannot go on. What it knew its workers by may be
        somebody else's now; a child that nobody has reaped still has its pid."""
        for worker in self.workers.values():
            worker.end_by_pid()
            worker.close()
        self.workers.clear()
        self.pool.abandon(reason)
        _core.announce_settled(self.pool)
        self.over = True
        self.given_up.happen()

    def _doom(self, grace: float, workers: Iterable[Worker] | None = None) -> None:
        """These, or all workers of now, are killed if they are still there then."""
        due = time.monotonic() + grace
        for worker in self.workers.values() if workers is None else workers:
            self.doomed[worker] = min(due, self.doomed.get(worker, due))

    @property
    def deadline(self) -> float | None:
        look_at = self.pool.look_at_ns / 1e9
        start = self.start_again if self.pool.wanted else 0.0
        ordered = [due for due, _ in self.ordered.values()]
        return min(filter(None, [look_at, start, *self.doomed.values(), *self.attaching.values(), *ordered]), default=None)

    def on_deadline(self) -> None:
        now = time.monotonic()
        if 0 < self.pool.look_at_ns / 1e9 <= now:
            _core.end_overdue(self.pool)
        for index in [i for i, due in self.attaching.items() if due and due <= now]:
            if _core.worker_attached(self.pool, index):
                self.ever_attached = True
                del self.attaching[index]
            else:
                self.attaching[index] = 0.0  # late: its burial says so
                self._send(self.workers[index], signal.SIGKILL)
        for worker in [w for w, due in self.doomed.items() if due <= now]:
            del self.doomed[worker]
            self._send(worker, signal.SIGKILL)
        for worker, why in [(w, why) for w, (due, why) in self.ordered.items() if due <= now]:
            self._give_up(worker, why)
        if self.pool.wanted:
            self._start_wanted()

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
                self.supervisor.forget(self.lender.fd)
            self.over = True
            _supervisor.dismiss(self)
            pool.kick()

    def forget_in_child(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()
        self.__dict__["team"] = ()
        self.over = True
        self.pool.forget_in_child()
        self.lender.close()
        self.finished.happen()
