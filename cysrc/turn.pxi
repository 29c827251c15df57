# The collector's turn: wait, collect, announce.

cdef int finish_slot(void *pool, uint32_t slot) except -1:
    return (<Pool>pool).finish(slot)


cdef int collect_flagged(Pool pool) except -1:
    fl_collect(&pool.parent, finish_slot)
    if pool.queue.first != NULL and pool.parent.free_count:
        feed(pool)
    return 0


cdef int watch_flags(Pool pool, int32_t slot, uint64_t until) except -1:
    """Poll, without the interpreter's lock, until this slot or any flag
    shows something finished. Then the caller collects."""
    cdef uint32_t generation = pool.parent.generations[slot] if slot >= 0 else 0
    fl_watch_begin(&pool.parent)
    with nogil:
        fl_watch(&pool.parent, slot, generation, until)
    fl_watch_end(&pool.parent)
    pool.unmap_when_through()
    return 0


cdef int announce_deferred(Pool pool) except -1:
    cdef CoreFuture future
    if pool.deferred and pool.crew is not None:
        pool.crew.name_collector()
    while pool.deferred:
        future = pool.deferred.popleft()
        try:
            if future.status == SETTLED:
                announce(future, CANCELLED if future.outcome == HAS_NOTHING else FINISHED, callbacks_here=True)
            else:
                call_back(future)
        except BaseException:
            say(LOGGER.exception, "exception while announcing %r", future)
    return 0


def announce_settled(Pool pool):
    """Futures that have ended and wait for the collector to say so, which may
    be in a callback of somebody's: done at once. Their callbacks stay its."""
    cdef CoreFuture future
    for future in list(pool.deferred):
        if future.status == SETTLED:
            announce(future, CANCELLED if future.outcome == HAS_NOTHING else FINISHED, callbacks_here=False)


def work(Pool pool, int timeout_ms=-1):
    """Wait for something to collect and do it: the collector's whole turn."""
    cdef uint32_t missing
    if pool.gone():
        return
    with nogil:
        missing = fl_collector_wait(&pool.parent, timeout_ms)
    while missing and pool.start_worker():
        missing -= 1
    pool.collect()
    while pool.dead:
        index, pid, exitcode, (complaint, no_interpreter, refuse) = pool.dead.popleft()
        if pid:
            if complaint:
                break_pool(pool, complaint, None)
            pool.no_interpreter = no_interpreter
            try:
                if refuse:
                    refuse_python(pool, no_interpreter)
            finally:
                bury(pool, index, pid, exitcode)
                pool.no_interpreter = None
        elif refuse:
            break_pool(pool, f"no worker can be started: {complaint}", None)
    announce_deferred(pool)
