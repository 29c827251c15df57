# Waiting for a task: polling as long as a wake-up would cost, then asleep.

cdef inline uint64_t due_after(double seconds) noexcept:
    """When these seconds are over, as fl_now() counts; long ago if there are
    none (or no number). What is longer than a life, infinity too, is clamped: a
    conversion that overflows is undefined."""
    return fl_now() + <uint64_t>(min(seconds, 1e9) * 1e9) if seconds > 0 else 1


cdef int watch_future(CoreFuture future, uint64_t due) except -1:
    """Poll for as long as a wake-up would cost, then give up."""
    cdef Pool pool = future.pool
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
        if future.slot >= 0 and fl_word_state(fl_slot_look(fl_slot_at(&pool.region, future.slot))) == FL_DONE:
            pool.take(<uint32_t>future.slot)
            if future.ended():
                return 0
        if fl_now() >= now + KEEP_LOCK_NS:
            break
        fl_pause()
    while not future.ended() and future.pool is not None and not pool.gone() and \
            not fl_poll_contended(&pool.parent.contended_until, now):
        watch_flags(pool, future.slot, until)
        pool.collect()
        PyErr_CheckSignals()
        now = fl_now()
        if now >= until:
            break
    return 0


cdef int sleep_until_woken(CoreFuture future, double seconds) except -1:
    if future.pool is not None and future.pool.collector_thread == get_ident():
        # A callback waits for another task: nobody else would resolve it.
        work(future.pool, 10 if seconds < 0 else min(seconds * 1000, 10))
        return 0
    if future.pool is not None and in_supervisor():
        raise RuntimeError("a finalizer waits for a task in the thread that starts and ends workers, where it "
                           "happened to run: it may shut down a pool, but wait for no task")
    lock = allocate_lock()
    lock.acquire()
    if future.sleepers is None:
        made = []
        if future.sleepers is None:
            future.sleepers = made
    # To make these may have run any code, in which the task ended: the look
    # comes after the lock is where wake() finds it.
    future.sleepers.append(lock)
    try:
        if not future.ended():
            lock.acquire(True, seconds)
    finally:
        if future.sleepers is not None and lock in future.sleepers:
            future.sleepers.remove(lock)
    return 0


cdef int wait_for_end(CoreFuture future, object timeout) except -1:
    """The lock is let go while waiting; signals are handled as they come."""
    cdef Pool pool = future.pool
    cdef uint64_t due = 0
    cdef double left
    if timeout is not None:
        left = PyFloat_AsDouble(timeout)
        due = due_after(left)
    if pool is not None:
        if pool.forks != forks_so_far:
            raise RuntimeError("this future belongs to the process that this one was forked from")
        # One with callbacks the collector resolves, which calls them in the same
        # turn: whoever waits for it does not overtake them.
        if not future.callbacks:
            future.look()
            if not future.ended():
                watch_future(future, due)
        if not future.ended():
            pool.look_after(fl_now())
    while not future.ended():
        if due:
            left = (<double>due - <double>fl_now()) / 1e9
            if left <= 0:
                future.look()
                if future.ended():
                    break
                raise FutureTimeoutError()
        else:
            left = -1
        sleep_until_woken(future, min(left, threading.TIMEOUT_MAX))
    return 0


cdef int wait_for_future(CoreFuture future, object timeout) except -1:
    """Until it is done. What an interrupt leaves is done by then, too."""
    try:
        wait_for_end(future, timeout)
        if future.status != FINISHED:
            # By Ctrl-C? Then that is what the caller hears.
            PyErr_CheckSignals()
    except BaseException:
        see_interrupt_through()
        raise
    return 0
