# The future: a task's state in this process, without a condition variable
# until somebody asks for one.
#
# All fields are written under the interpreter's lock. `_condition`, `_waiters`
# and `_state` are what concurrent.futures.wait, as_completed and asyncio use: see
# conditions.pxi. While one holds `_condition` it sees no change of `_state`.

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
    cdef FutureCondition condition
    cdef object waiters, callbacks, sleepers

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
            made = FutureCondition()
            if self.condition is None:
                self.condition = made
        return self.condition

    @property
    def _waiters(self):
        if self.waiters is None:
            made = WaiterList()
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
        if self.condition is not None and self.condition.untold is not None:
            return "RUNNING"
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
            return cancel_by_hand(self)
        if self.status != PENDING or pool.gone() or not self.take_from(pool, False):
            return pool.cancel_running and self.terminate()
        announce(self, CANCELLED, callbacks_here=True)
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
        announce(self, CANCELLED, callbacks_here=True)
        return True

    cdef bint take_from(self, Pool pool, bint running) except -1:
        """Out of the queue or its slot, with `running` also from its worker. If
        Ctrl-C comes in the middle of that the collector says that it is cancelled."""
        try:
            return withdraw(pool, self) or (running and condemn(pool, self))
        except BaseException:
            if self.status == PENDING and self.task == NULL and self.slot < 0:
                settle_later(self, pool)
            raise

    # -- waiting ------------------------------------------------------------

    def result(self, timeout=None):
        """The task's value, or its exception raised; waits up to `timeout` seconds."""
        if timeout is not None:
            timeout = waiting_time(timeout)
        if self.status < CANCELLED_UNSAID:
            wait_for_future(self, timeout)
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
            wait_for_future(self, timeout)
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

    def _invoke_callbacks(self):
        call_back(self)

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

    def set_running_or_notify_cancel(self):
        """As in concurrent.futures; only for a future that no pool runs."""
        if self.status == CANCELLED_UNSAID:
            tell(self, mark_ended(self, CANCELLED) or [])
            return False
        if self.pool is None and self.status == PENDING:
            self.status = RUNNING_BY_HAND
            return True
        LOGGER.critical("Future %s in unexpected state: %s", id(self), self._state)
        raise RuntimeError("Future in unexpected state")

    def set_result(self, result):
        """As in concurrent.futures; only for a future that no pool runs."""
        end_by_hand(self, HAS_RESULT, result)

    def set_exception(self, exception):
        """As in concurrent.futures; only for a future that no pool runs."""
        refuse_by_hand(self)
        if isinstance(exception, type):
            exception = exception()
        end_by_hand(self, HAS_EXCEPTION if exception is not None else HAS_RESULT, exception)

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
