# A slot that holds what nobody can have written: its task fails, and the worker that
# may still write there is ended.

cdef int end_worker_of(Pool pool, uint32_t slot, uint32_t owner) except -1:
    """This worker may still write into a slot whose task has ended: the slot is
    given back at its burial. At once if there is no such worker."""
    if not fl_slots_lives(&pool.parent, owner) or pool.bell.pidfds[owner - 1] < 0:
        pool.strays = True
        cool_down(pool, slot)
        return free_slot(pool, slot)
    fl_slots_condemn_corrupted(&pool.parent, slot, owner - 1)
    return pool.kill(owner - 1)


cdef int corrupted(Pool pool, uint32_t slot, uint64_t word) except -1:
    """What stands there no worker wrote: this task fails, and the worker
    that should have run it, if one can be told, is ended."""
    cdef CoreFuture future = <CoreFuture>pool.futures[slot]
    cdef fl_slot *s = fl_slot_at(&pool.region, slot)
    cdef uint32_t owner = fl_slots_runner(&pool.parent, slot, word)
    error = _errors.SlotCorrupted(
        f"slot {slot} of {future.callable.name}() holds what no worker can have written "
        f"(word {word:#018x}, reply kind {s.reply_kind}, reply size {s.reply_size})")
    if pool.abandoned is not None:  # its worker was ended, and nobody buries it
        error = BrokenProcessPool(pool.abandoned)
    pool.futures[slot] = NULL
    future.slot = -1
    try:
        end_worker_of(pool, slot, owner)
    finally:
        settle(future, HAS_EXCEPTION, error)
        Py_DECREF(future)
    return 0
