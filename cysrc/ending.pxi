# A task's end: the outcome is stored, announced, and callbacks are called.

cdef int wake_sleepers(CoreFuture future) except -1:
    sleepers = future.sleepers
    if sleepers is not None:
        future.sleepers = None
        for lock in sleepers:
            lock.release()
    return 0


cdef int let_go(CoreFuture future) except -1:
    """It has ended: what it kept for its task goes, and result() wakes up."""
    future.pool = None
    future.views = None
    free(future.again)
    future.again = NULL
    return wake_sleepers(future)


cdef int end_future(CoreFuture future, int status) except -1:
    """Ends it and tells the waiters; waits for nobody."""
    cdef Pool pool = future.pool
    cdef list waiters = mark_ended(future, status)
    if waiters is None:
        return 0
    let_go(future)
    if pool is not None:
        count_end(pool, future, status)
    return tell(future, waiters)


cdef int call_back(CoreFuture future) except -1:
    callbacks = future.callbacks
    raised = None
    future.callbacks = None
    for callback in callbacks or ():
        try:
            callback(future)
        except Exception:
            say(LOGGER.exception, "exception calling callback for %r", future)
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised
    return 0


cdef int settle_later(CoreFuture future, Pool pool) except -1:
    """The outcome is set; the collector makes it known."""
    future.status = SETTLED
    pool.defer(future)
    return 0


cdef int end_or_defer(CoreFuture future, int status) except -1:
    cdef Pool pool = future.pool
    if future.condition is not None:
        return settle_later(future, pool)
    future.status = status
    let_go(future)
    # Before it counts as finished: the last one ends the collector.
    if future.callbacks is not None:
        pool.defer(future)
    return count_end(pool, future, status)


cdef int settle(CoreFuture future, int outcome, object value) except -1:
    """The outcome is known. Announce it, or leave that to the collector
    if somebody's code has to run or a condition has to be taken."""
    future.outcome = outcome
    future._value = value
    return end_or_defer(future, FINISHED)


cdef int settle_cancelled(CoreFuture future) except -1:
    """Cancelled by another than cancel()'s caller: as settle()."""
    future.outcome = HAS_NOTHING
    return end_or_defer(future, CANCELLED)


cdef int announce(CoreFuture future, int status, bint callbacks_here) except -1:
    """End with everything that others have attached."""
    try:
        if not future.ended():
            end_future(future, status)
    finally:
        if callbacks_here and future.ended():
            call_back(future)
    return 0


cdef int fail_at_once(CoreFuture future, Pool pool, object error) except -1:
    """The arguments cannot be pickled: the task never leaves this process.
    The traceback becomes text, as it would keep them alive."""
    import traceback
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error.__traceback__ = error.__context__ = None
    error.__cause__ = remote_traceback(f'\n"""\n{text}"""')
    future.outcome = HAS_EXCEPTION
    future._value = error
    future.status = FINISHED
    pool.counts.submitted += 1
    pool.counts.failed += 1
    return 0


cdef int refuse_by_hand(CoreFuture future) except -1:
    if future.pool is not None or future.ended():
        raise InvalidStateError(f"{future._state}: {future!r}")
    return 0


cdef int end_by_hand(CoreFuture future, int outcome, object value) except -1:
    """Only one of the threads that end it does."""
    refuse_by_hand(future)
    future.outcome = outcome
    future._value = value
    try:
        end_future(future, FINISHED)
    finally:
        call_back(future)
    return 0


cdef bint cancel_by_hand(CoreFuture future) except -1:
    if future.status != PENDING:
        return future.ended() and future.status != FINISHED
    future.status = CANCELLED_UNSAID
    wake_sleepers(future)
    notify_sleepers(future.condition)
    call_back(future)
    return True
