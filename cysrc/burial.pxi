# Workers that are dead, or will never be: what becomes of their tasks.

cdef enum:
    ABORTED = -6  # exit code of a worker that SIGABRT ended, its own too


cdef int resume(Pool pool) except -1:
    """The last of the workers that an interrupt ended is buried."""
    if pool.paused:
        pool.paused = False
        feed(pool)
    return 0


cdef int not_wanted(Pool pool, uint32_t index) except -1:
    fl_store(&pool.region.states[index], fl_state_word(FL_GONE, 0, 0))
    pool.parent.seats[index].taken = False
    pool.parent.started -= 1
    if not pool.parent.started:
        resume(pool)
    return 0


cdef bint becomes_python(Pool pool, uint32_t index) noexcept:
    cdef uint32_t slot
    cdef uint64_t word
    for slot in range(pool.region.plan.slots):
        if pool.futures[slot] != NULL and fl_request_python((<CoreFuture>pool.futures[slot]).asked):
            word = fl_slot_look(fl_slot_at(&pool.region, slot))
            if fl_word_owner(word) == index + 1 and fl_word_state(word) == FL_RUNNING:
                return True
    return False


cdef int judge(Pool pool, uint64_t done, object exitcode) except -1:
    """Five in a row that finished nothing: the pool is broken. Those that
    were killed for their task, or whose task is tried again, do not count."""
    if done or pool.counts.finished != pool.counts.finished_at_death:
        pool.counts.deaths_in_a_row = 0
    pool.counts.finished_at_death = pool.counts.finished
    if done:
        return 0
    pool.counts.deaths_in_a_row += 1
    if pool.counts.deaths_in_a_row >= 5:
        break_pool(pool, f"{pool.counts.deaths_in_a_row} workers in a row died before they finished a task "
                   f"(the last one {_refusals.describe_exit(exitcode)})", None)
    return 0


cdef bint crash(Pool pool, uint32_t slot, int pid, object exitcode) except -1:
    """The worker died with this task: try it again (True), or fail it."""
    cdef CoreFuture future = <CoreFuture>pool.futures[slot]
    cdef fl_slot *s = fl_slot_at(&pool.region, slot)
    cdef Task *task = future.again
    pool.futures[slot] = NULL
    future.slot = -1
    request = request_of(pool, slot, future)
    cool_down(pool, slot)  # before anybody hears of it, and needs memory
    if future.retries and task != NULL and pool.broken is None and not pool.forced and \
            not pool.no_interpreter:
        free_slot(pool, slot)
        future.retries -= 1
        future.again = NULL
        future.task = task
        future.started_ns = 0
        pool.counts.retried += 1
        push_first(pool, task)
        return True
    future.pid = <uint32_t>pid
    future.started_ns = fl_slot_began(s)
    future.scalar = exitcode is not None
    future.code = exitcode if exitcode is not None else 0
    free_slot(pool, slot)
    settle(future, HAS_CRASH, (request, pool.no_interpreter or ""))
    Py_DECREF(future)
    return False


cdef int bury(Pool pool, uint32_t index, int pid, object exitcode) except -1:
    """A worker is dead: keep what it finished, fail what it ran, free what
    was condemned, ring those that it called and could not signal."""
    cdef fl_death death
    cdef fl_verdict verdict
    cdef uint64_t word
    cdef uint32_t slot
    cdef int32_t waited
    cdef bint crashed = False, expected = fl_burial_expected(&pool.parent, index)
    cdef uint64_t done = fl_load(&pool.region.blocks[index].tasks_done)
    intact(pool)
    death.worker = index
    death.suspicious = exitcode == ABORTED
    for slot in range(pool.region.plan.slots):
        if pool.futures[slot] == NULL:
            continue
        death.blameless = exitcode == FL_EXIT_DESCRIPTORS and pool.broken is None and not pool.forced
        verdict = fl_burial_judge(&pool.parent, &death, slot, &word)
        if verdict == FL_WILD:
            corrupted(pool, slot, word)
        elif verdict == FL_KEPT:
            pool.finish(slot)
        elif verdict == FL_AGAIN:
            (<CoreFuture>pool.futures[slot]).started_ns = 0
        elif verdict == FL_CRASHED:
            expected = crash(pool, slot, pid, exitcode) or expected
            crashed = True
    # Now those that were condemned, the corrupted ones of this burial too.
    waited = fl_burial_condemned(&pool.parent, index, 0)
    while waited >= 0:
        cool_down(pool, <uint32_t>waited)
        free_slot(pool, <uint32_t>waited)
        waited = fl_burial_condemned(&pool.parent, index, <uint32_t>waited + 1)
    release_ours(pool.bell.registry, pool.bell.pidfds[index], True)
    pool.bell.pidfds[index] = -1
    drop_newborn(pool, index)
    fl_burial_end(&pool.parent, index)
    if pool.closing and not pool.counts.unfinished:
        return 0
    if pool.paused:
        if not pool.parent.started:
            resume(pool)
        return 0
    if not expected and not pool.no_interpreter:
        judge(pool, done, exitcode)
    if pool.broken is None:
        if exitcode != 0 or crashed:
            pool.start_worker()
        if pool.queue.first != NULL:
            feed(pool)
        fl_announce(&pool.parent, 1)
    return 0
