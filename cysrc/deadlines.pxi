# Timeouts: what is overdue, and when to look next.

cdef object request_of(Pool pool, uint32_t slot, CoreFuture future):
    """For messages: the request, if it is short; of a long one for Python the
    beginning, if its window is mapped."""
    cdef uint64_t size = fl_slot_at(&pool.region, slot).request_size
    cdef fl_mapping *m = &pool.windows.maps[2 * slot + <int>FL_REQUEST]
    if size > pool.region.plan.slot_size:
        if m.at == NULL or not fl_request_python(future.asked):
            return None
        return PyBytes_FromStringAndSize(m.at, <Py_ssize_t>min(m.size, pool.region.plan.slot_size))
    return PyBytes_FromStringAndSize(fl_slot_area(&pool.region, slot, FL_REQUEST), <Py_ssize_t>size)


cdef int time_out(Pool pool, CoreFuture future, uint64_t began, uint64_t now) except -1:
    """Ended, unless it has finished this very moment."""
    cdef uint32_t slot = <uint32_t>future.slot, worker
    request = request_of(pool, slot, future)
    if not condemn_slot(pool, future, &worker):
        return 0
    pool.kill(worker)
    future.pid = pool.parent.seats[worker].pid
    future.started_ns = began
    future.finished_ns = now
    return settle(future, HAS_TIMEOUT, request)


cdef int look_for_overdue(Pool pool) except -1:
    cdef CoreFuture future
    cdef fl_deadlines look = fl_deadlines_begin(fl_now())
    cdef fl_limit limit
    cdef uint64_t due
    cdef uint32_t slot
    for slot in range(pool.region.plan.slots):
        if pool.futures[slot] == NULL:
            continue
        future = <CoreFuture>pool.futures[slot]
        if not future.limit_ns:
            continue
        limit.limit_ns = future.limit_ns
        limit.submitted_ns = future.submitted_ns
        limit.began_ns = future.started_ns
        if fl_deadlines_see(&look, &pool.parent, slot, &limit):
            time_out(pool, future, limit.began_ns, look.now)
        else:
            future.started_ns = limit.began_ns
    due = fl_deadlines_next(&look, pool.limits.count, pool.limits.least_ns)
    if due and (not pool.limits.look_at_ns or due < pool.limits.look_at_ns):
        pool.limits.look_at_ns = due
    return 0


def end_overdue(Pool pool):
    """The supervisor's look: end what runs longer than it may, and say when
    to look again: when the next of those that run is due, and for those
    that may have begun just now, after their whole timeout. Other threads
    may submit in the middle of this, into slots that were looked at before."""
    pool.limits.look_at_ns = 0
    if pool.gone() or not pool.limits.count:
        return
    pool.enter_region()
    try:
        look_for_overdue(pool)
    finally:
        pool.leave_region()
