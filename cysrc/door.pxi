# Who may submit: open, full, or turned away.

cdef int still_open(Pool pool) except -1:
    if pool.closing or pool.broken is not None or pool.forks != forks_so_far:
        turn_away(pool)
    return 0


cdef int admit(Pool pool) except -1:
    """May another task be submitted? Waits for room, or raises."""
    still_open(pool)
    if sigints_seen != sigints_handled:
        pool.crew.await_interrupt()
    if pool.max_pending and pool.counts.unfinished >= pool.max_pending:
        wait_for_room(pool)
    return 0


cdef int turn_away(Pool pool) except -1:
    if pool.premature is not None:
        if not pool.premature():
            pool.premature = pool.broken = None
            return still_open(pool)
    if pool.broken is not None:
        # One of its own for each: a shared one would collect tracebacks.
        error = type(pool.broken)(*pool.broken.args)
        error.__cause__ = pool.broken.__cause__
        raise error
    if pool.forks != forks_so_far:
        raise RuntimeError(f"this executor belongs to process {pool.owner}, which this process was forked "
                           f"from: make one of its own")
    raise RuntimeError(f"cannot schedule new futures after {'interpreter ' if pool.exiting else ''}shutdown")


cdef bint full(Pool pool) noexcept:
    return pool.counts.unfinished >= pool.max_pending and not pool.closing and pool.broken is None


cdef int wait_for_room(Pool pool) except -1:
    while full(pool):
        pool.collect()
        if not full(pool) or pool.collector_thread == get_ident() or in_supervisor():
            break
        lock = allocate_lock()
        lock.acquire()
        pool.blocked.append(lock)
        try:
            # Only now the look that counts: to make the lock may have run
            # any code, in which the last task ended and woke nobody.
            if full(pool):
                lock.acquire()
        finally:
            if lock in pool.blocked:  # not woken
                pool.blocked.remove(lock)
    return still_open(pool)


cdef int pass_room_on(Pool pool) except -1:
    """Who leaves submit() and leaves room wakes the next of the threads that
    wait there: the one that was woken may have found no use for it."""
    if pool.blocked and pool.counts.unfinished < pool.max_pending:
        wake_next_blocked(pool)
    return 0


cdef int wake_next_blocked(Pool pool) except -1:
    """There may be room for one of the threads that wait in submit()."""
    if pool.blocked:
        pool.blocked.popleft().release()
    return 0
