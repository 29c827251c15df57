"""The one thread that forks, signals and buries workers, for all pools.

It acts when no caller does: it starts the workers that submit() asks for, sees
them die (by pidfd), and answers Ctrl-C. It runs no code of the user's, so
nothing can hold it up. The kernel ends a worker when the thread that forked it
ends, so this thread lives as long as there is a pool with workers.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from select import EPOLLIN
from typing import TYPE_CHECKING, Any

from . import _core
from ._green import refuse_green_threads, select_with_epoll

if TYPE_CHECKING:
    from ._workers import Crew

# How often, while tasks are unfinished, it looks whether SIGINT still reaches us.
_LOOK_SECONDS = 0.05
_LONGEST_WAIT = 3600.0  # epoll counts milliseconds in an int

# Every crew that there is, recruited or not: a forked child closes what it has
# of them.
crews: weakref.WeakSet[Crew] = weakref.WeakSet()

_lock = threading.RLock()
_current: Supervisor | None = None


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread that takes no signals from the user's threads."""
    refuse_green_threads()  # the program may have been patched after the pool was made
    thread = threading.Thread(target=target, name=name, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


class Supervisor:
    """Owns an epoll of pidfds, of its own wake-ups and of SIGINT."""

    def __init__(self) -> None:
        self.crews: set[Crew] = set()
        self.watched: dict[int, Callable[[], None]] = {}
        self.calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.looking = False
        self.ended = False
        self.interrupted = threading.Condition()  # notified when a SIGINT was acted on
        self.wake = self.interrupts = -1
        self.epoll = select_with_epoll().epoll()

    def start(self) -> None:
        """Make the descriptors and the thread; on an error nothing is left.
        A signal handler may submit in the middle of this: its calls are kept
        until the thread runs."""
        try:
            self.interrupts = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self.watch(self.wake, self._do_calls)
            self.watch(self.interrupts, self._on_interrupt)
            _core.sigint_start(self.interrupts)
            self.thread = start_thread(self._run, "fuload-supervisor")
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        self.ended = True
        self.epoll.close()
        for fd in (self.wake, self.interrupts):
            if fd >= 0:
                os.close(fd)
        self.watched.clear()  # bound methods: a cycle that would keep the thread
        with self.interrupted:
            self.interrupted.notify_all()

    def watch(self, fd: int, act: Callable[[], None]) -> None:
        self.epoll.register(fd, EPOLLIN)
        self.watched[fd] = act

    def unwatch(self, fd: int) -> None:
        del self.watched[fd]
        self.epoll.unregister(fd)

    def call(self, act: Callable[..., None], *args: Any) -> None:
        """Have `act` called in the supervisor's thread, unless that has ended.
        Callable from any thread and from signal handlers; does not wait."""
        with _lock:
            if not self.ended:
                self.calls.append((act, args))
                if self.wake >= 0:
                    os.eventfd_write(self.wake, 1)

    def _run(self) -> None:
        with _lock:
            if self.ended:  # start() has failed, though not before this thread was there
                return
        os.eventfd_write(self.wake, 1)  # for calls that came before it was there
        while not self._over():
            try:
                for fd, _ in self.epoll.poll(self._timeout()):
                    act = self.watched.get(fd)
                    if act is not None:
                        act()
                self._look()
            except Exception:
                _core.say(_core.LOGGER.exception, "the supervisor goes on after an error")
        self._close()

    def _over(self) -> bool:
        global _current
        with _lock:
            if self.crews or self.calls:
                return False
            if _current is self:
                _core.sigint_stop()
                _watch_signal_module(False)
                _current = None
            self.ended = True
            return True

    def _timeout(self) -> float | None:
        deadlines = [crew.deadline for crew in self.crews if crew.deadline is not None]
        if self.looking:
            deadlines.append(time.monotonic() + _LOOK_SECONDS)
        return min(max(0.0, min(deadlines) - time.monotonic()), _LONGEST_WAIT) if deadlines else None

    def _do_calls(self) -> None:
        try:
            os.eventfd_read(self.wake)
        except BlockingIOError:
            pass
        while self.calls:
            act, args = self.calls.popleft()
            act(*args)

    def _on_interrupt(self) -> None:
        try:
            os.eventfd_read(self.interrupts)
        except BlockingIOError:
            return
        count = _core.sigint_seen()
        for crew in list(self.crews):
            if crew.handle_sigint:
                crew.interrupt()
        with self.interrupted:
            _core.sigint_handled(count)
            self.interrupted.notify_all()

    def await_interrupt(self) -> None:
        """Until every SIGINT that was seen has been acted on."""
        with self.interrupted:
            while not self.ended and not _core.sigint_handled():
                self.interrupted.wait()

    def _look(self) -> None:
        """Deadlines, and whether a handler of the user's took SIGINT from us."""
        now = time.monotonic()
        for crew in list(self.crews):
            if crew.deadline is not None and crew.deadline <= now:
                crew.on_deadline()
        if self.looking:
            self.looking = False  # first: who submits meanwhile sets it again
            if any([crew.pool.nudge() for crew in list(self.crews)]):
                self.looking = True
            for crew in list(self.crews):
                crew.look_at_interpreters()
            sigint_check()

    def start_looking(self) -> None:
        self.looking = True


def sigint_check() -> None:
    """Take SIGINT again if somebody has installed a handler over ours, which
    is called after ours from now on."""
    if _current is not None and any(crew.handle_sigint for crew in list(_current.crews)):
        _core.sigint_check()


def lock() -> threading.RLock:
    """Held while threads come and go; nobody blocks for long under it."""
    return _lock


def enlist(crew: Crew) -> Supervisor:
    """The process's supervisor, started if there is none."""
    global _current
    with _lock:
        if _current is not None:
            _current.crews.add(crew)
            return _current
        supervisor = _current = Supervisor()
        supervisor.crews.add(crew)
        try:
            supervisor.start()
            _watch_signal_module(True)
            sigint_check()
        except BaseException:
            if supervisor.ended:
                _current = None
            else:
                supervisor.crews.discard(crew)
                os.eventfd_write(supervisor.wake, 1)
            raise
    return supervisor


_signal_before = signal.signal


@functools.wraps(_signal_before)
def _signal_with_us(signalnum: Any, handler: Any) -> Any:
    before = _signal_before(signalnum, handler)
    if signalnum == signal.SIGINT:
        sigint_check()
    return before


def _watch_signal_module(watch: bool) -> None:
    """While there are pools, a handler that is installed for SIGINT is put
    under ours at once. One that is installed by other means (from C, by a name
    imported earlier) is found by the look that is taken while tasks run."""
    global _signal_before
    if watch and signal.signal is not _signal_with_us:
        _signal_before = signal.signal
        signal.signal = _signal_with_us
    elif not watch and signal.signal is _signal_with_us:
        signal.signal = _signal_before


def dismiss(crew: Crew) -> None:
    """Called in the supervisor's thread when a crew's work is over."""
    with _lock:
        if crew.supervisor is not None:
            crew.supervisor.crews.discard(crew)


def running_thread() -> threading.Thread | None:
    supervisor = _current
    return supervisor.thread if supervisor is not None else None


def _forget_in_child() -> None:
    """After os.fork() in the child: nothing of the parent's is ours."""
    global _current, _lock
    _lock = threading.RLock()
    supervisor, _current = _current, None
    _core.sigint_handled(_core.sigint_seen())
    if supervisor is not None:
        _watch_signal_module(False)
        supervisor.interrupted = threading.Condition()
        supervisor._close()
    for crew in list(crews):
        crew.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)
