# Taking tasks back: those that wait, and those that run.

cdef bint withdraw(Pool pool, CoreFuture future) except -1:
    """Take back a task that no worker has. The future is still to be announced."""
    cdef Task *task = future.task
    cdef uint32_t slot
    if task != NULL:
        drop_task(pool, task)
        return True
    if future.slot < 0:
        return False
    slot = <uint32_t>future.slot
    if not fl_slots_cancel(&pool.parent, slot):
        return False
    future.slot = -1
    Py_DECREF(future)
    free_slot(pool, slot)
    if pool.queue.first != NULL:
        feed(pool)
    return True


cdef bint condemn_slot(Pool pool, CoreFuture future, uint32_t *worker) except -1:
    """The slot is given back when the worker is buried: until then it may
    still write there. False also where no worker runs it who says that he does:
    then the word is forged, and the next look at the slot says so."""
    if future.slot < 0 or not fl_slots_condemn(&pool.parent, <uint32_t>future.slot, worker):
        return False
    future.slot = -1
    Py_DECREF(future)
    return True


cdef bint condemn(Pool pool, CoreFuture future) except -1:
    """End a task that runs, and its worker."""
    cdef uint32_t worker
    if future.slot < 0:
        return False
    if not condemn_slot(pool, future, &worker):
        return False
    pool.kill(worker)
    return True


cdef list find_all(Pool pool, bint running, set spared):
    cdef CoreFuture future
    cdef uint32_t slot, worker
    cdef list found = []
    while pool.queue.first != NULL:
        future = <CoreFuture>pool.queue.first.future
        withdraw(pool, future)
        found.append(future)
    for slot in range(pool.region.plan.slots):
        pool.finish(slot)
        if pool.futures[slot] != NULL and (spared is None or slot not in spared):
            future = <CoreFuture>pool.futures[slot]
            if withdraw(pool, future) or (running and condemn_slot(pool, future, &worker)):
                found.append(future)
            elif running and pool.futures[slot] != NULL:
                pool.finish(slot)  # it has just ended,
                if pool.futures[slot] != NULL:  # or no worker has it who says that it has
                    corrupted(pool, slot, fl_slot_look(fl_slot_at(&pool.region, slot)))
    return found


cdef list withdraw_all(Pool pool, bint running, set spared=None):
    """Take back what waits, but for these slots, and with `running` condemn
    what runs. The futures are still to be announced."""
    pool.enter_region()
    try:
        return find_all(pool, running, spared)
    finally:
        pool.leave_region()


cdef set being_fetched(Pool pool):
    """Slots of the tasks that workers are coming for: as many of the oldest
    as there are workers that start, were called, or poll."""
    cdef fl_census c
    cdef uint32_t slot
    cdef list ready = []
    if pool.paused:
        return set()
    for slot in range(pool.region.plan.slots):
        if pool.futures[slot] != NULL and \
                fl_word_state(fl_slot_look(fl_slot_at(&pool.region, slot))) == FL_READY:
            ready.append(((<CoreFuture>pool.futures[slot]).submitted_ns, slot))
    fl_bell_count(&pool.region, &c)
    ready.sort()
    return {of for _, of in ready[:c.starting + c.called + c.polling]}


def cancel_all(Pool pool, bint begun=False):
    """Cancel what no worker has begun, or with `begun` what none runs yet;
    shutdown() calls it, and callbacks are called here, as cancel() does."""
    cdef CoreFuture future
    raised = None
    if not pool.gone():
        for future in withdraw_all(pool, False, None if begun else being_fetched(pool)):
            try:
                announce(future, CANCELLED, callbacks_here=True)
            except BaseException as error:  # Ctrl-C in a callback: the others end all the same
                raised = error
    if raised is not None:
        raise raised


def interrupt(Pool pool):
    """After SIGINT: cancel everything. Until the workers that live now
    are buried nothing is published, so that none of them takes a new task
    with it."""
    cdef CoreFuture future
    if pool.gone():
        return
    pool.paused = pool.parent.started > 0
    for future in withdraw_all(pool, True):
        settle_cancelled(future)
