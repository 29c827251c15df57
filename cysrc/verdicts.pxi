# A slot that holds what nobody can have written: its task fails, and the worker that
# may still write there is ended.

cdef object break_pool(Pool pool, str reason, object text, object kind=None):
    """No task of this pool can be run any more, as in the standard library."""
    cdef CoreFuture future
    if kind is None:
        kind = error_class("BrokenProcessPool")
    error = kind(reason)
    if text:
        error.__cause__ = remote_traceback(f'\n"""\n{text}"""')
    if pool.broken is None:
        pool.broken = error
    for future in withdraw_all(pool, True):
        own = kind(reason)
        own.__cause__ = error.__cause__
        settle(future, HAS_EXCEPTION, own)
    while pool.blocked:
        pool.blocked.popleft().release()
    pool.ask()
    return error


cdef int setup_failed(Pool pool, CoreFuture future) except -1:
    """The reply says what happened and, if the initializer raised, its traceback."""
    reason, _, text = (future._value or b"").decode("utf-8", "replace").partition("\0")
    if text:
        reason = "A process in the process pool was terminated abruptly while the future was running or pending: " \
            + reason
    error = None
    try:
        if text:
            say(LOGGER.critical, "Exception in initializer:\n%s", text)
    finally:  # a signal handler may have raised
        try:
            error = break_pool(pool, reason, text)
        finally:
            settle(future, HAS_EXCEPTION, error or error_class("BrokenProcessPool")(reason))
    return 0


cdef bint intact(Pool pool) except -1:
    """Is there still a region? A task can punch a hole into its file, or map
    it once more and write over what the others map read-only."""
    if fl_region_intact(&pool.region):
        return True
    if pool.broken is None:
        break_pool(pool, "the pool's memory was destroyed: its file holds zeros or something else where "
                   "its header stood (has a task written to it, or punched a hole into it?)", None,
                   error_class("SlotCorrupted"))
    return False


cdef int end_worker_of(Pool pool, uint32_t slot, uint32_t owner) except -1:
    """This worker may still write into a slot whose task has ended: the slot is
    given back at its burial. At once if there is no such worker."""
    if not fl_slots_lives(&pool.parent, owner) or pool.bell.pidfds[owner - 1] < 0:
        pool.looks.strays = True
        cool_down(pool, slot)
        return free_slot(pool, slot)
    fl_slots_condemn_corrupted(&pool.parent, slot, owner - 1)
    pool.kill(owner - 1)
    return 0


cdef int corrupted(Pool pool, uint32_t slot, uint64_t word) except -1:
    """What stands there no worker wrote: this task fails, and the worker
    that should have run it, if one can be told, is ended."""
    cdef CoreFuture future = <CoreFuture>pool.futures[slot]
    cdef fl_slot *s = fl_slot_at(&pool.region, slot)
    cdef uint32_t owner = fl_slots_runner(&pool.parent, slot, word)
    error = error_class("SlotCorrupted")(
        f"slot {slot} of {future.callable.name}() holds what no worker can have written "
        f"(word {word:#018x}, reply kind {s.reply_kind}, reply size {s.reply_size})")
    if pool.abandoned is not None:  # its worker was ended, and nobody buries it
        error = error_class("BrokenProcessPool")(pool.abandoned)
    pool.futures[slot] = NULL
    future.slot = -1
    try:
        end_worker_of(pool, slot, owner)
    finally:
        settle(future, HAS_EXCEPTION, error)
        Py_DECREF(future)
    return 0
