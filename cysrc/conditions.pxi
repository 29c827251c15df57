# What wait(), as_completed() and their like hold and sleep on, safe to be cut short.
#
# They take the condition of every future, read the states, attach a waiter, give
# the conditions back, and sleep on the waiter's event. A signal handler that
# raises in between leaves some of them taken, and waiters that nobody waits for.
# With the standard library's own locks the next one who tells such a waiter hangs.
# So:
#
# - Nobody here waits for a condition. A future that ends while one is held shows
#   its end to result() and done() at once; its `_state` stays for who holds the
#   condition, and release() tells the waiters.
# - A thread that takes a condition which it has already gives it back with the
#   next release(): what it left taken is not taken for ever.
# - The waiter's event is ours: none of its steps can be cut short half-done.

cdef class FutureCondition:
    """A future's `_condition`. Taken and given back, it needs no threading.Condition;
    who wants to wait() on it gets one then."""
    cdef object lock
    cdef unsigned long owner   # the thread that holds it, or 0; under the interpreter's lock
    cdef CoreFuture untold     # the future, once it has ended while this was held
    cdef object sleepers       # a threading.Condition for wait() and notify()
    cdef bint unnotified       # those are to be notified of the end

    def __cinit__(self):
        self.lock = allocate_lock()

    def acquire(self, blocking=True, timeout=-1):
        """As Lock.acquire(); at once in the thread that holds it."""
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.owner != me:
            if not self.lock.acquire(blocking, timeout):
                return False
            self.owner = me
        return True

    def release(self):
        """Give it back, and tell the waiters if the future has ended meanwhile.
        Nothing in a thread that does not hold it."""
        if self.owner != PyThread_get_thread_ident():
            return
        self.owner = 0
        self.lock.release()
        try:
            if self.untold is not None:
                tell_untold(self)
        finally:
            if self.unnotified:
                notify_sleepers(self)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()

    def _is_owned(self):
        return self.owner == PyThread_get_thread_ident()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        if self.sleepers is None:
            made = threading.Condition(self)
            if self.sleepers is None:
                self.sleepers = made
        return getattr(self.sleepers, name)


cdef class WaiterEvent:
    """threading.Event for a waiter of concurrent.futures."""
    cdef bint happened
    cdef list locks

    def __cinit__(self):
        self.locks = []

    def is_set(self):
        return self.happened

    def set(self):
        self.happened = True
        while self.locks:
            self.locks.pop().release()

    def clear(self):
        self.happened = False

    def wait(self, timeout=None):
        if self.happened:
            return True
        lock = allocate_lock()
        lock.acquire()
        self.locks.append(lock)
        try:
            # To make these may have run any code, set() too: so the look comes here.
            if self.happened:
                return True
            if timeout is None:
                return lock.acquire()
            return lock.acquire(True, timeout) if timeout > 0 else lock.acquire(False)
        finally:
            if lock in self.locks:
                self.locks.remove(lock)


cdef class WaiterList(list):
    """A future's `_waiters`."""

    def append(self, waiter):
        """Attach it. No future of its can have ended yet, as their conditions are
        held, and nobody sleeps on its event."""
        if isinstance(waiter, _Waiter) and type(waiter.event) is threading.Event:
            waiter.event = WaiterEvent()
        list.append(self, waiter)


cdef list waiters_of(CoreFuture future):
    """A copy. To make one may run any code; none runs between the copy and the return."""
    return [waiter for waiter in future.waiters or ()]


cdef list mark_ended(CoreFuture future, int status):
    """Set the state. Returns who is to be told now; who comes later sees the
    state. None if it has ended already, maybe while the copy was made."""
    cdef FutureCondition condition
    cdef list waiters = waiters_of(future)
    if future.status == FINISHED or future.status == CANCELLED:
        return None
    condition = future.condition
    if condition is not None and condition.owner:
        condition.untold = future
        waiters = []
    future.status = status
    return waiters


cdef int tell_waiter(CoreFuture future, object waiter) except -1:
    if future.status == CANCELLED:
        waiter.add_cancelled(future)
    elif future.fails() is not None:
        waiter.add_exception(future)
    else:
        waiter.add_result(future)
    return 0


cdef int tell(CoreFuture future, list waiters) except -1:
    """What one of them raises keeps nothing from the others."""
    raised = None
    for waiter in waiters:
        try:
            tell_waiter(future, waiter)
        except BaseException as error:
            raised = error
    notify_sleepers(future.condition)
    if raised is not None:
        raise raised
    return 0


cdef int notify_sleepers(FutureCondition condition) except -1:
    """Notify who sleeps in the condition's wait(); if it is held, release() does."""
    if condition is None or condition.sleepers is None:
        return 0
    condition.unnotified = True
    if not condition.owner and condition.acquire(False):
        condition.unnotified = False
        try:
            condition.sleepers.notify_all()
        finally:
            condition.release()
    return 0


cdef int tell_untold(FutureCondition condition) except -1:
    """Unless while the copy was made another thread has done it, or has taken the
    condition: then it does that when it gives it back."""
    cdef CoreFuture future = condition.untold
    cdef list waiters = waiters_of(future)
    if condition.untold is not None and not condition.owner:
        condition.untold = None
        tell(future, waiters)
    return 0
