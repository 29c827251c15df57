"""The one thread that forks, signals and buries workers, for all pools.

It acts when no caller does: it starts the workers that submit() asks for, sees
them die (by pidfd), and answers Ctrl-C. It runs no code of the user's, so
nothing can hold it up. The kernel ends a worker when the thread that forked it
ends, so this thread lives as long as there is a pool with workers.

Executors are finalised, and signal handlers submit, in the middle of anything,
and also in this module. So no lock is taken here, and nobody waits for a thread
to start: what several may do at once each prepares for itself, and one step of
the core decides whose counts.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import os
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from . import _core, _refusals
from ._green import refuse_green_threads

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any

    from ._crew import Crew
    from ._process import Worker

# How often, while tasks are unfinished, it looks whether SIGINT still reaches us.
_LOOK_SECONDS = 0.05
# After it, it looks whether its descriptors are still its own, should it not have heard.
_LONGEST_WAIT = 60.0
# How long, after a SIGINT, it sees to it that the main thread hears of it.
_WAKING_SECONDS = 1.0

# Every crew that there is, recruited or not: a forked child closes what it has
# of them.
_crews: set[weakref.ref[Crew]] = set()


class Thread:
    """A daemon thread that takes no signals from the user's threads. It waits
    until it is known whether it is needed, and ends if nobody says so. Nothing of
    `threading` is used to start it: that waits, and takes locks."""

    def __init__(self, name: str) -> None:
        refuse_green_threads()  # the program may have been patched after the pool was made
        self._name = name
        self.ident = self.native_id = 0
        self.start = _core.Start(_begin)

    def run(self, work: Callable[[], None]) -> None:
        self.ident, self.native_id = _thread.get_ident(), _thread.get_native_id()
        _core.thread_begins(self._name)
        try:
            _follow_hooks()
            work()
        finally:
            del work
            # Before 3.13 `threading` keeps what current_thread() has made for us.
            with contextlib.suppress(AttributeError):
                threading._active.pop(self.ident, None)  # type: ignore[attr-defined]

    def show_name(self) -> None:
        """For code of the user's that asks in which thread it is."""
        threading.current_thread().name = self._name

    def is_this(self) -> bool:
        return self.ident == _thread.get_ident()


def _follow_hooks() -> None:
    """Debuggers and coverage see this thread as they see those of `threading`."""
    trace, profile = threading.gettrace(), threading.getprofile()
    if profile is not None:
        sys.setprofile(profile)
    if trace is not None:
        sys.settrace(trace)


def _begin(gate: _core.Gate) -> None:
    work = gate.wait()
    if work is not None:
        thread, act = work
        del work
        thread.run(act)


class Supervisor:
    def __init__(self) -> None:
        self.registry: _core.Registry | None = _core.registry()
        self.roster = _core.Roster(self.registry)
        self.watched: dict[int, Callable[[], None]] = {}
        self.calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.looking = False
        self.mourned: deque[tuple[int, set[Worker]]] = deque()  # by count of SIGINTs: who is still to be reaped
        self.arriving_since: float | None = None
        self.waking_since: float | None = None
        self.failures = 0
        self.thread: Thread | None = None

    def start(self) -> bool:
        """Have the thread and be the process's supervisor; False if there is
        another one by now. On an error nothing is left."""
        self.thread = thread = Thread("fuload-supervisor")
        installed = self.roster.install(self, thread.start, (thread, self._run))
        if installed:
            _wrap_signal()
            _core.sigint_check()
        return installed

    def watch(self, fd: int, act: Callable[[], None]) -> None:
        assert self.registry is not None
        self.registry.watch(fd)
        self.watched[fd] = act

    def unwatch(self, fd: int) -> None:
        assert self.registry is not None
        del self.watched[fd]
        self.registry.unwatch(fd)

    def forget(self, fd: int) -> None:
        """As unwatch(), before its owner closes it."""
        assert self.registry is not None
        del self.watched[fd]
        self.registry.remove(fd)

    def holds(self, fd: int) -> bool:
        """Whether this number still is the file that it was."""
        return self.registry is not None and self.registry.holds(fd)

    def call(self, act: Callable[..., None], *args: Any) -> None:
        """Have `act` called in the supervisor's thread, unless that has ended.
        Callable from any thread, signal handlers and finalizers; does not wait."""
        self.calls.append((act, args))
        registry = self.registry
        if registry is not None:
            registry.ring()

    def _run(self) -> None:
        registry = self.registry
        assert registry is not None
        self.roster.runs()
        reason = ""
        while not reason and not self._over():
            try:
                for fd in registry.wait(self._timeout()):
                    act = self.watched.get(fd)
                    if act is not None:
                        act()
                while self.calls:
                    act, args = self.calls.popleft()
                    act(*args)
                self._answer_pools()
                self._look()
                self.failures = 0
            except Exception as error:
                self.failures += 1
                if self.failures >= 5:
                    reason = f"the supervisor of fuload_exec cannot go on: {error!r}"
                elif not registry.lost:
                    _core.say(_core.LOGGER.exception, "the supervisor goes on after an error")
            if registry.lost:
                reason = _refusals.LOST_DESCRIPTORS
        if reason:
            self._give_up(reason)
        del registry
        self.registry = None
        self.watched.clear()  # bound methods: a cycle that would keep the thread
        self.roster.close()

    def _over(self) -> bool:
        if self.calls or self.roster.members():
            return False
        _unwrap_signal()
        if self.roster.end(self.calls):
            return True
        _wrap_signal()
        _core.sigint_check()
        return False

    def _give_up(self, reason: str) -> None:
        """No pool of this supervisor can go on: their futures fail, their workers end."""
        self.roster.abandon()
        if self.registry is not None:
            self.registry.hang_up()
        _unwrap_signal()
        for crew in self.roster.members():
            try:
                crew.abandon_all(reason)
            except Exception:
                _core.say(_core.LOGGER.exception, "while a pool is given up")
        _core.say(_core.LOGGER.error, reason)

    def lose(self) -> None:
        """Somebody has closed a descriptor."""
        if self.registry is not None:
            self.registry.lose()

    def _timeout(self) -> int:
        """In milliseconds."""
        deadlines = [crew.deadline for crew in self.roster.members()]
        now = time.monotonic()
        if self.looking or self.arriving_since is not None or self.waking_since is not None:
            deadlines.append(now + _LOOK_SECONDS)
        wait = min((due - now for due in deadlines if due is not None), default=_LONGEST_WAIT)
        # Rounded up: it is not to look in vain shortly before.
        return int(min(max(0.0, wait), _LONGEST_WAIT) * 1000 + 0.999)

    def _answer_pools(self) -> None:
        """Do what pools have asked for, and look at them from now on."""
        failure: Exception | None = None
        for crew in self.roster.members():
            if crew.pool.asked():
                self.looking = True
                try:
                    crew.answer()
                except Exception as error:  # the other pools' turn comes first
                    failure = error
        if failure is not None:
            raise failure

    def _answer_interrupt(self) -> None:
        if _core.sigint_acted_on():
            self.arriving_since = None
            return
        now = time.monotonic()
        if _core.sigint_arrives() and now - (self.arriving_since or now) < _LOOK_SECONDS:
            self.arriving_since = self.arriving_since or now
            return
        self.arriving_since = None
        count = _core.sigint_seen()
        ending: set[Worker] = set()
        try:
            for crew in self.roster.members():
                if crew.handle_sigint:
                    ending |= crew.interrupt()
        finally:
            self.mourned.append((count, ending))
            _core.sigint_handled(count)
            self.waking_since = now
            self.roster.wake()

    def _look_for_mourned(self) -> None:
        """Who waits until the workers that a SIGINT has ended are reaped?"""
        alive = {worker for crew in self.roster.members() for worker in list(crew.workers.values())}
        while self.mourned and not self.mourned[0][1] & alive:
            _core.sigint_buried(self.mourned.popleft()[0])
            self.roster.wake()

    def _wake_main_thread(self, now: float) -> None:
        """Python's handlers run between bytecodes: a main thread that was on its way
        into a wait when the signal came sleeps on, and so does one whose signal came to
        another thread. One that runs at all is given the time to. Some looks are
        enough, and it may be waiting for something else since."""
        if self.waking_since is None or now - self.waking_since < _LOOK_SECONDS:
            return
        if not _core.sigint_wakes_main_thread(now - self.waking_since < _WAKING_SECONDS):
            self.waking_since = None

    def _look(self) -> None:
        """SIGINT, deadlines, and whether a handler of the user's took SIGINT from us."""
        self._answer_interrupt()
        now = time.monotonic()
        self._wake_main_thread(now)
        crews = self.roster.members()
        for crew in crews:
            deadline = crew.deadline
            if deadline is not None and deadline <= now:
                crew.on_deadline()
        if self.mourned:
            self._look_for_mourned()
        if self.looking:
            self.looking = False  # first: who submits meanwhile sets it again
            for crew in crews:
                if not crew.holds_descriptors():
                    self.lose()
                    return
                if _core.nudge(crew.pool):
                    self.looking = True
                crew.look_at_interpreters()
            _core.sigint_check()

    def await_end(self) -> None:
        """Until the thread has ended, or other pools need it."""
        self.roster.await_idle()
        if self.roster.ended and self.thread is not None and not self.thread.is_this():
            _core.await_thread(self.thread.native_id)


def enlist(crew: Crew) -> Supervisor:
    """The process's supervisor, started if there is none."""
    while True:
        roster = _core.roster()
        supervisor: Supervisor | None = roster.supervisor if roster is not None else None
        if roster is not None and supervisor is not None and roster.add(crew):
            _core.sigint_check()
            return supervisor
        supervisor = Supervisor()
        supervisor.roster.add(crew)
        if supervisor.start():
            return supervisor


def know(crew: Crew) -> None:
    """It is one of every_crew() as long as it lives."""
    _crews.add(weakref.ref(crew, _crews.discard))


def every_crew() -> list[Crew]:
    return [crew for reference in list(_crews) if (crew := reference()) is not None]


def dismiss(crew: Crew) -> None:
    """Its work is over."""
    roster = _core.roster()
    if roster is not None:
        roster.discard(crew)
        supervisor: Supervisor | None = roster.supervisor
        if supervisor is not None and supervisor.registry is not None:
            supervisor.registry.ring()


def _signal_around(before: Callable[..., Any]) -> Callable[..., Any]:
    """signal.signal with us behind it. Whoever wraps or keeps that may have it for
    ever: it has its predecessor for life."""

    @functools.wraps(before)
    def wrapper(signalnum: Any, handler: Any) -> Any:
        previous = before(signalnum, handler)
        if signalnum == signal.SIGINT:
            _core.sigint_check()
        return previous

    return wrapper


def _is_ours(function: Any) -> bool:
    return getattr(function, "__code__", None) is _OURS


_OURS = _signal_around(signal.signal).__code__


def _wrap_signal() -> None:
    """While there are pools, a handler that is installed for SIGINT is put
    under ours at once. One that is installed by other means (from C, by a name
    imported earlier) is found by the look that is taken while tasks run."""
    if not _is_ours(signal.signal):
        signal.signal = _signal_around(signal.signal)


def _unwrap_signal() -> None:
    if _is_ours(signal.signal):
        signal.signal = signal.signal.__wrapped__  # type: ignore[attr-defined]


def _forget_in_child() -> None:
    """After os.fork() in the child: nothing of the parent's is ours."""
    _core.sigint_forget()
    _unwrap_signal()
    for crew in every_crew():
        crew.forget_in_child()
    roster = _core.roster()
    if roster is not None:
        supervisor: Supervisor | None = roster.supervisor
        if supervisor is not None and supervisor.registry is not None:
            supervisor.registry.close()
            supervisor.registry = None
        roster.close()


os.register_at_fork(after_in_child=_forget_in_child)
