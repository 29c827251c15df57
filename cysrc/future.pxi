# The future: a task's state in this process, without a condition variable
# until somebody asks for one.
#
# All fields are written under the interpreter's lock. `_condition`, `_waiters`
# and `_state` are what concurrent.futures.wait, as_completed and asyncio use;
# once `_condition` exists, the state changes only while it is held, as they
# expect.

cdef enum Status:
    PENDING            # in the queue, in a slot, or a future of the user's own
    RUNNING_BY_HAND    # set_running_or_notify_cancel() was called
    SETTLED            # outcome known, waits for the collector to announce it
    CANCELLED_UNSAID   # cancel() of a user's own future
    CANCELLED
    FINISHED

cdef enum Outcome:
    HAS_NOTHING
    HAS_RESULT         # _value is it
    HAS_EXCEPTION      # _value is it
    HAS_REPLY          # kind, scalar and _value are raw, nobody has looked yet
    HAS_CRASH          # _value is (the request, what is known of why), scalar and code are the exit code
    HAS_TIMEOUT        # _value is the request

cdef class Pool
cdef class Submitter

# Until then conditions are not waited for long; under the interpreter's lock.
cdef uint64_t impatient_before = 0


cdef inline uint64_t due_after(double seconds) noexcept:
    """When so many seconds are over, as fl_now() counts; long ago if there are
    none (or no number). What is longer than a life, infinity too, is clamped: a
    conversion that overflows is undefined."""
    return fl_now() + <uint64_t>(min(seconds, 1e9) * 1e9) if seconds > 0 else 1


cdef object waiting_time(object timeout):
    """What result() and exception() are given, checked."""
    if PyFloat_CheckExact(timeout):
        return timeout
    from . import _parameters
    return _parameters.waiting_time(timeout)


cdef class CoreFuture:
    """What FuloadFuture inherits before concurrent.futures.Future."""
    cdef Pool pool          # while unfinished
    cdef Callable callable
    cdef Task *task         # its place in the queue, or NULL
    cdef Task *again        # its request, kept as long as it may be tried again
    cdef uint32_t retries   # how often that may be
    cdef uint64_t limit_ns  # how long it may run, or 0
    cdef int32_t slot       # its slot, or -1
    cdef uint8_t status
    cdef uint8_t outcome
    cdef uint8_t kind       # HAS_REPLY: the fl_reply_kind
    cdef uint16_t asked     # once it is in a slot: the request's kind
    cdef int32_t code       # a plug-in's status
    cdef uint32_t pid
    cdef uint64_t scalar
    cdef uint64_t submitted_ns, started_ns, finished_ns
    cdef object _value
    cdef Views views        # buffers that the call writes to
    cdef object arguments   # for errcheck
    cdef uint64_t count     # calls of a map in one task, or 0
    cdef object condition, waiters, callbacks, sleepers

    def __cinit__(self, *args, **kwargs):
        self.slot = -1

    def __init__(self):
        """A future of the user's own, as concurrent.futures.Future()."""

    def __dealloc__(self):
        free(self.again)

    __class_getitem__ = classmethod(GenericAlias)

    # -- what concurrent.futures reads ------------------------------------

    # To make one lets other threads run, or (a list, up to 3.11) a collection
    # with any code: what was made meanwhile stays.

    @property
    def _condition(self):
        if self.condition is None:
            made = threading.Condition()
            if self.condition is None:
                self.condition = made
        return self.condition

    @property
    def _waiters(self):
        if self.waiters is None:
            made = []
            if self.waiters is None:
                self.waiters = made
        return self.waiters

    @property
    def _done_callbacks(self):
        if self.callbacks is None:
            made = []
            if self.callbacks is None:
                self.callbacks = made
        return self.callbacks

    @property
    def _state(self):
        if self.status == FINISHED:
            return "FINISHED"
        if self.status == CANCELLED:
            return "CANCELLED_AND_NOTIFIED"
        if self.status == CANCELLED_UNSAID:
            return "CANCELLED"
        return "RUNNING" if self.runs() else "PENDING"

    @property
    def _result(self):
        return self.value() if self.status == FINISHED and self.fails() is None else None

    @property
    def _exception(self):
        return self.fails() if self.status == FINISHED else None

    def __repr__(self):
        state = {"CANCELLED_AND_NOTIFIED": "cancelled"}.get(self._state, self._state.lower())
        task = f" of {self.callable.name}" if self.callable is not None else ""
        if self.status != FINISHED:
            return f"<{type(self).__name__}{task} at {id(self):#x} state={state}>"
        error = self.fails()
        kind = f"raised {type(error).__name__}" if error is not None else f"returned {type(self.value()).__name__}"
        return f"<{type(self).__name__}{task} at {id(self):#x} state={state} {kind}>"

    # -- state --------------------------------------------------------------

    cdef bint runs(self):
        cdef uint32_t state
        if self.status == RUNNING_BY_HAND or self.status == SETTLED:
            return True
        if self.status != PENDING or self.slot < 0 or self.pool is None or self.pool.gone():
            return False
        state = fl_word_state(fl_slot_look(fl_slot_at(&self.pool.region, self.slot)))
        return state == FL_RUNNING or state == FL_DONE

    cdef bint ended(self):
        return self.status >= CANCELLED_UNSAID

    cdef void look(self):
        """Take the reply if it is there: done() is true as soon as can be."""
        if self.status == PENDING and self.slot >= 0 and self.pool is not None and not self.pool.gone():
            self.pool.take(<uint32_t>self.slot)

    def cancelled(self):
        """Whether the task was cancelled."""
        return self.status == CANCELLED or self.status == CANCELLED_UNSAID

    def running(self):
        """Whether a worker runs the task now."""
        self.look()
        return self.runs()

    def done(self):
        """Whether the task was cancelled or has ended."""
        self.look()
        return self.ended()

    def cancel(self):
        """Cancel the task unless it runs or has run; whether it is cancelled."""
        cdef Pool pool = self.pool
        if self.ended():
            return self.status != FINISHED
        if pool is None:
            return self.cancel_by_hand()
        if self.status != PENDING or pool.gone() or not self.take_from(pool, False):
            return pool.cancel_running and self.terminate()
        self.announce(CANCELLED, callbacks_here=True)
        return True

    cdef bint cancel_by_hand(self) except -1:
        condition = self._condition
        with condition:
            if self.status != PENDING:
                return self.ended() and self.status != FINISHED
            self.status = CANCELLED_UNSAID
            condition.notify_all()
        self.wake()
        self.call_back()
        return True

    def terminate(self):
        """Cancel the task even while it runs: its worker is killed and
        replaced. Returns whether the task is cancelled; a task that has just
        finished keeps its result.

        >>> import time, fuload_exec
        >>> with fuload_exec.FuloadExecutor(1) as executor:
        ...     future = executor.submit(time.sleep, 60)
        ...     future.terminate()
        True
        """
        cdef Pool pool = self.pool
        if self.ended():
            return self.status != FINISHED
        if pool is None or pool.gone() or self.status != PENDING:
            return False
        if not self.take_from(pool, True):
            self.look()
            return self.ended() and self.status != FINISHED
        self.announce(CANCELLED, callbacks_here=True)
        return True

    cdef bint take_from(self, Pool pool, bint running) except -1:
        """Out of the queue or its slot, with `running` also from its worker. If
        Ctrl-C comes in the middle of that the collector says that it is cancelled."""
        try:
            return pool.withdraw(self) or (running and pool.condemn(self))
        except BaseException:
            if self.status == PENDING and self.task == NULL and self.slot < 0:
                self.settle_later(pool)
            raise

    cdef int settle_later(self, Pool pool) except -1:
        """The outcome is set; the collector makes it known."""
        self.status = SETTLED
        pool.defer(self)
        return 0

    # -- waiting ------------------------------------------------------------

    cdef int wait(self, object timeout) except -1:
        """Until it is done. What an interrupt leaves is done by then, too."""
        try:
            self.wait_for_end(timeout)
            if self.status != FINISHED:
                # By Ctrl-C? Then that is what the caller hears.
                PyErr_CheckSignals()
        except BaseException:
            see_interrupt_through()
            raise
        return 0

    cdef int wait_for_end(self, object timeout) except -1:
        """The lock is let go while waiting; signals are handled as they come."""
        cdef Pool pool = self.pool
        cdef uint64_t due = 0
        cdef double left
        if timeout is not None:
            left = PyFloat_AsDouble(timeout)
            due = due_after(left)
        if pool is not None:
            if pool.forks != fuload_forks:
                raise RuntimeError("this future belongs to the process that this one was forked from")
            # One with callbacks the collector resolves, which calls them in the same
            # turn: whoever waits for it does not overtake them.
            if not self.callbacks:
                self.look()
                if not self.ended():
                    self.watch(due)
            if not self.ended():
                pool.look_after(fl_now())
        while not self.ended():
            if due:
                left = (<double>due - <double>fl_now()) / 1e9
                if left <= 0:
                    self.look()
                    if self.ended():
                        break
                    raise FutureTimeoutError()
            else:
                left = -1
            self.sleep(min(left, threading.TIMEOUT_MAX))
        return 0

    cdef int sleep(self, double seconds) except -1:
        if self.pool is not None and self.pool.collector_thread == get_ident():
            # A callback waits for another task: nobody else would resolve it.
            self.pool.work(10 if seconds < 0 else min(seconds * 1000, 10))
            return 0
        if self.pool is not None and in_supervisor():
            raise RuntimeError("a finalizer waits for a task in the thread that starts and ends workers, where it "
                               "happened to run: it may shut down a pool, but wait for no task")
        lock = allocate_lock()
        lock.acquire()
        if self.sleepers is None:
            made = []
            if self.sleepers is None:
                self.sleepers = made
        # To make these may have run any code, in which the task ended: the look
        # comes after the lock is where wake() finds it.
        self.sleepers.append(lock)
        try:
            if not self.ended():
                lock.acquire(True, seconds)
        finally:
            if self.sleepers is not None and lock in self.sleepers:
                self.sleepers.remove(lock)
        return 0

    cdef int watch(self, uint64_t due) except -1:
        """Poll for as long as a wake-up would cost, then give up."""
        cdef Pool pool = self.pool
        cdef uint64_t now, until
        cdef int i
        if pool is None or not pool.parent_spin_ns or pool.gone():
            return 0
        now = fl_now()
        until = now + pool.parent_spin_ns
        if due and due < until:
            until = due
        # At first without letting go of the lock: most small tasks are back
        # before that would pay.
        for i in range(40):
            if self.slot >= 0 and fl_word_state(fl_slot_look(fl_slot_at(&pool.region, self.slot))) == FL_DONE:
                pool.take(<uint32_t>self.slot)
                if self.ended():
                    return 0
            if fl_now() >= now + HOLD_NS:
                break
            fl_pause()
        while not self.ended() and self.pool is not None and not pool.gone() and \
                not fl_poll_contended(&pool.parent.contended_until, now):
            pool.watch_flags(self.slot, until)
            pool.collect()
            PyErr_CheckSignals()
            now = fl_now()
            if now >= until:
                break
        return 0

    def result(self, timeout=None):
        """The task's value, or its exception raised; waits up to `timeout` seconds."""
        if timeout is not None:
            timeout = waiting_time(timeout)
        if self.status < CANCELLED_UNSAID:
            self.wait(timeout)
        if self.status != FINISHED:
            raise CancelledError()
        if self.outcome == HAS_REPLY and self.kind == FL_REPLY_SCALAR and self.callable.fast_result:
            return native_scalar(self.callable.result_code, self.scalar)
        error = self.fails()
        if error is not None:
            try:
                raise error
            finally:
                # The traceback of the exception names this frame.
                self = error = None
        return self.value()

    def exception(self, timeout=None):
        """The task's exception, or None; waits up to `timeout` seconds."""
        if timeout is not None:
            timeout = waiting_time(timeout)
        if self.status < CANCELLED_UNSAID:
            self.wait(timeout)
        if self.status != FINISHED:
            raise CancelledError()
        return self.fails()

    cdef object fails(self):
        if HAS_REPLY <= self.outcome <= HAS_TIMEOUT:
            self.unpack()
        return self._value if self.outcome == HAS_EXCEPTION else None

    cdef object value(self):
        if self.outcome == HAS_REPLY:
            self.unpack()
        return self._value if self.outcome == HAS_RESULT else None

    cdef int unpack(self) except -1:
        """Look at the reply for the first time."""
        cdef object value
        try:
            value = unpack_reply(self)
            outcome = HAS_RESULT
        except BaseException as error:
            # Code of the user's may have been interrupted: then the reply stays.
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise
            value = error.args[0] if type(error) is _Raised else error
            outcome = HAS_EXCEPTION
        if HAS_REPLY <= self.outcome <= HAS_TIMEOUT:
            self._value = value
            self.outcome = outcome
        return 0

    # -- the end --------------------------------------------------------------

    cdef int fail_at_once(self, Pool pool, object error) except -1:
        """The arguments cannot be pickled: the task never leaves this process.
        The traceback becomes text, as it would keep them alive."""
        import traceback
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        error.__traceback__ = error.__context__ = None
        error.__cause__ = _RemoteTraceback(f'\n"""\n{text}"""')
        self.outcome = HAS_EXCEPTION
        self._value = error
        self.status = FINISHED
        pool.submitted += 1
        pool.failed += 1
        return 0

    cdef int settle(self, int outcome, object value) except -1:
        """The outcome is known. Announce it, or leave that to the collector
        if somebody's code has to run or a condition has to be taken."""
        self.outcome = outcome
        self._value = value
        return self.end_or_defer(FINISHED)

    cdef int settle_cancelled(self) except -1:
        """Cancelled by another than cancel()'s caller: as settle()."""
        self.outcome = HAS_NOTHING
        return self.end_or_defer(CANCELLED)

    cdef int end_or_defer(self, int status) except -1:
        cdef Pool pool = self.pool
        if self.condition is not None:
            return self.settle_later(pool)
        self.store_end(status)
        # Before it counts as finished: the last one ends the collector.
        if self.callbacks is not None:
            pool.defer(self)
        return pool.count_end(self, status)

    cdef int end(self, int status) except -1:
        """Nothing but stores and lock releases: never blocks."""
        cdef Pool pool = self.pool
        self.store_end(status)
        if pool is not None:
            pool.count_end(self, status)
        return 0

    cdef int store_end(self, int status) except -1:
        self.status = status
        self.pool = None
        self.views = None
        free(self.again)
        self.again = NULL
        return self.wake()

    cdef int wake(self) except -1:
        sleepers = self.sleepers
        if sleepers is not None:
            self.sleepers = None
            for lock in sleepers:
                lock.release()
        return 0

    cdef int announce(self, int status, bint callbacks_here) except -1:
        """End with everything that others have attached."""
        cdef bint held
        if self.condition is None:
            if not self.ended():
                self.end(status)
        else:
            try:
                held = self.take_condition()
            except BaseException:  # Ctrl-C while another thread holds it
                if self.status == PENDING and self.pool is not None:
                    self.settle_later(self.pool)
                raise
            try:
                if self.ended():
                    return 0
                self.end(status)
                self.tell_waiters(status)
                if held:
                    self.condition.notify_all()
            finally:
                if held:
                    self.condition.release()
        if callbacks_here:
            self.call_back()
        return 0

    cdef bint take_condition(self) except -1:
        """Take the condition, but do not wait for ever: a thread that a signal
        interrupted in the middle of concurrent.futures.wait keeps those of all
        its futures. Then the future ends without it. False: not taken."""
        global impatient_before
        if self.condition.acquire(True, 0.001 if fl_now() < impatient_before else 1.0):
            return True
        impatient_before = fl_now() + 10000000000
        return False

    cdef int tell_waiters(self, int status) except -1:
        for waiter in self.waiters or ():
            if status == CANCELLED:
                waiter.add_cancelled(self)
            elif self.fails() is not None:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)
        return 0

    cdef int call_back(self) except -1:
        callbacks = self.callbacks
        raised = None
        self.callbacks = None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception:
                say(LOGGER.exception, "exception calling callback for %r", self)
            except BaseException as error:
                raised = error
        if raised is not None:
            raise raised
        return 0

    def _invoke_callbacks(self):
        self.call_back()

    def add_done_callback(self, fn):
        """Call fn(self) when the task has ended, in a thread of this process;
        at once if it is known that it has. (It is not looked here: callbacks that
        submit the next task would then call each other, deeper and deeper.)"""
        callbacks = self._done_callbacks
        if not self.ended():  # and nothing runs before it is appended
            callbacks.append(fn)
            return
        try:
            fn(self)
        except Exception:
            say(LOGGER.exception, "exception calling callback for %r", self)

    # -- for futures that the user makes and resolves --------------------------

    cdef int refuse_by_hand(self) except -1:
        if self.pool is not None or self.ended():
            raise InvalidStateError(f"{self._state}: {self!r}")
        return 0

    cdef int end_by_hand(self, int outcome, object value) except -1:
        """Only one of the threads that end it does."""
        cdef bint held
        condition = self._condition
        held = self.take_condition()
        try:
            self.refuse_by_hand()
            self.outcome = outcome
            self._value = value
            self.end(FINISHED)
            self.tell_waiters(FINISHED)
            if held:
                condition.notify_all()
        finally:
            if held:
                condition.release()
        self.call_back()
        return 0

    def set_running_or_notify_cancel(self):
        """As in concurrent.futures; only for a future that no pool runs."""
        condition = self._condition
        with condition:
            if self.status == CANCELLED_UNSAID:
                self.status = CANCELLED
                self.tell_waiters(CANCELLED)
                condition.notify_all()
                return False
            if self.pool is None and self.status == PENDING:
                self.status = RUNNING_BY_HAND
                return True
        LOGGER.critical("Future %s in unexpected state: %s", id(self), self._state)
        raise RuntimeError("Future in unexpected state")

    def set_result(self, result):
        """As in concurrent.futures; only for a future that no pool runs."""
        self.end_by_hand(HAS_RESULT, result)

    def set_exception(self, exception):
        """As in concurrent.futures; only for a future that no pool runs."""
        self.refuse_by_hand()
        if isinstance(exception, type):
            exception = exception()
        self.end_by_hand(HAS_EXCEPTION if exception is not None else HAS_RESULT, exception)

    # -- what only this pool knows -----------------------------------------------

    @property
    def worker_pid(self):
        """Process id of the worker that ran the task, or None so far."""
        return self.pid or None

    @property
    def errno(self):
        """errno as the C function left it, if its library was loaded with
        use_errno=True; else None, or as long as it has not ended."""
        if self.status != FINISHED or self.callable is None or not self.callable.use_errno or \
                self.outcome >= HAS_CRASH:
            return None
        return self.code

    @property
    def timing(self):
        """(seconds queued, seconds running), each None as long as unknown."""
        if not self.started_ns or self.started_ns < self.submitted_ns:
            return (None, None)
        queued = (self.started_ns - self.submitted_ns) / 1e9
        if self.finished_ns < self.started_ns:
            return (queued, None)
        return (queued, (self.finished_ns - self.started_ns) / 1e9)


class _Raised(Exception):
    """Carries an exception that the worker sent, to tell it from one that
    unpacking raised."""


include "unpack.pxi"
