# The supervisor's look: what no worker may have written to hang us.

cdef bint signal_worker(Pool pool, uint32_t index) noexcept:
    """Call a worker that has no task, whatever its word says that it does."""
    if fl_bell_call(&pool.region, index, 0) or pool.parent.seats[index].serves or worker_attached(pool, index):
        return ring_pidfd(pool.bell.registry, pool.bell.pidfds[index], pool.bell.alarm)
    return False


cdef int rouse(Pool pool) except -1:
    """Tasks are ready and nobody claims them: signal every worker that has
    none, whatever it says that it does, and start what is missing. One that
    does not come runs something else, if memory was overwritten: it is ended."""
    cdef uint32_t i
    cdef fl_seat *seat
    for i in range(pool.region.plan.workers):
        seat = &pool.parent.seats[i]
        if seat.seen == pool.looks.audits or fl_load(&pool.region.states[i]) != seat.called:
            seat.deaf = 0
        elif pool.looks.strays:
            seat.deaf += 1
            if seat.deaf >= <uint32_t>(DEAF_LOOKS if seat.serves else STARTING_LOOKS) and pool.bell.pidfds[i] >= 0:
                pool.kill(i)
        if seat.seen != pool.looks.audits:
            signal_worker(pool, i)
            seat.called = fl_load(&pool.region.states[i])
    fl_collector_watch_ring(&pool.parent)
    return 0


cdef int audit(Pool pool, bint progress) except -1:
    """Is what every unfinished task's slot says possible, and will somebody
    come for it? What is wrong is set right or fails, here and now."""
    cdef CoreFuture future
    cdef uint64_t word
    cdef uint32_t slot, i, ready = 0
    pool.looks.audits += 1
    for slot in range(pool.region.plan.slots):
        if pool.parent.condemned[slot] and not pool.paused and pool.bell.pidfds[pool.parent.condemned[slot] - 1] >= 0:
            pool.kill(pool.parent.condemned[slot] - 1)
        if pool.futures[slot] == NULL:
            continue
        word = fl_slot_look(fl_slot_at(&pool.region, slot))
        if not fl_slots_valid(&pool.parent, slot, word) or fl_slots_forged(&pool.parent, slot, word):
            corrupted(pool, slot, word)
        elif fl_word_state(word) == FL_DONE:
            pool.finish(slot)  # its flag may be lost
        elif fl_word_state(word) == FL_READY:
            ready += 1
        else:
            pool.parent.seats[fl_word_owner(word) - 1].seen = pool.looks.audits
            pool.parent.seats[fl_word_owner(word) - 1].serves = True
            future = <CoreFuture>pool.futures[slot]
            if future.limit_ns and not future.started_ns:
                future.started_ns = fl_slot_began(fl_slot_at(&pool.region, slot))
    for i in range(pool.region.plan.workers):
        if not pool.parent.seats[i].taken and fl_load(&pool.region.states[i]) != FL_GONE:
            fl_store(&pool.region.states[i], fl_state_word(FL_GONE, 0, 0))
    if ready and not pool.paused:
        if fl_ring_mend(&pool.region, pool.parent.generations, <void **>pool.futures):
            progress = False
        if pool.looks.seen_ready and not progress:
            rouse(pool)
    pool.looks.seen_ready = ready != 0
    if pool.queue.first != NULL and pool.parent.free_count:
        feed(pool)
    return 0


def nudge(Pool pool):
    """The supervisor's look, twenty times a second; returns whether to look
    again. A worker that was stopped between calling the collector and writing
    the eventfd must not keep everybody from it, nor must a task that has
    written over the words by which workers and collector find each other, or
    over the ring. All slots are looked at only where nothing has ended since
    the last look, or once a second."""
    cdef bint again
    if pool.gone():
        return False
    again = pool.looks.wanted = pool.counts.unfinished != 0
    if not again or pool.broken is not None:
        return again
    pool.enter_region()
    try:
        if not intact(pool):
            return again
        fl_collector_nudge(&pool.parent)
        pool.looks.without_audit += 1
        if pool.counts.finished == pool.looks.seen_finished or pool.looks.without_audit >= 20:
            audit(pool, pool.counts.finished != pool.looks.seen_finished)
            pool.looks.without_audit = 0
        pool.looks.seen_finished = pool.counts.finished
    finally:
        pool.leave_region()
    return again
