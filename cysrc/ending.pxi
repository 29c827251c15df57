# A task's end: the outcome is stored, announced, and callbacks are called.

# A condition could not be taken: until then (as fl_now() counts) others are
# waited for no longer than a millisecond. Under the interpreter's lock.
cdef uint64_t conditions_stuck_until = 0


cdef int wake_sleepers(CoreFuture future) except -1:
    sleepers = future.sleepers
    if sleepers is not None:
        future.sleepers = None
        for lock in sleepers:
            lock.release()
    return 0


cdef int store_end(CoreFuture future, int status) except -1:
    future.status = status
    future.pool = None
    future.views = None
    free(future.again)
    future.again = NULL
    return wake_sleepers(future)


cdef int end_future(CoreFuture future, int status) except -1:
    """Nothing but stores and lock releases: never blocks."""
    cdef Pool pool = future.pool
    store_end(future, status)
    if pool is not None:
        count_end(pool, future, status)
    return 0


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
    store_end(future, status)
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


cdef int tell_waiters(CoreFuture future, int status) except -1:
    for waiter in future.waiters or ():
        if status == CANCELLED:
            waiter.add_cancelled(future)
        elif future.fails() is not None:
            waiter.add_exception(future)
        else:
            waiter.add_result(future)
    return 0


cdef bint take_condition(CoreFuture future) except -1:
    """Take the condition, but do not wait for ever: a thread that a signal
    interrupted in the middle of concurrent.futures.wait keeps those of all
    its futures. Then the future ends without it. False: not taken."""
    global conditions_stuck_until
    if future.condition.acquire(True, 0.001 if fl_now() < conditions_stuck_until else 1.0):
        return True
    conditions_stuck_until = fl_now() + 10000000000
    return False


cdef int announce(CoreFuture future, int status, bint callbacks_here) except -1:
    """End with everything that others have attached."""
    cdef bint held
    if future.condition is None:
        if not future.ended():
            end_future(future, status)
    else:
        try:
            held = take_condition(future)
        except BaseException:  # Ctrl-C while another thread holds it
            if future.status == PENDING and future.pool is not None:
                settle_later(future, future.pool)
            raise
        try:
            if future.ended():
                return 0
            end_future(future, status)
            tell_waiters(future, status)
            if held:
                future.condition.notify_all()
        finally:
            if held:
                future.condition.release()
    if callbacks_here:
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
    cdef bint held
    condition = future._condition
    held = take_condition(future)
    try:
        refuse_by_hand(future)
        future.outcome = outcome
        future._value = value
        end_future(future, FINISHED)
        tell_waiters(future, FINISHED)
        if held:
            condition.notify_all()
    finally:
        if held:
            condition.release()
    call_back(future)
    return 0


cdef bint cancel_by_hand(CoreFuture future) except -1:
    condition = future._condition
    with condition:
        if future.status != PENDING:
            return future.ended() and future.status != FINISHED
        future.status = CANCELLED_UNSAID
        condition.notify_all()
    wake_sleepers(future)
    call_back(future)
    return True
