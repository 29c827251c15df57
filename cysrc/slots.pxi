# Places for tasks: a slot, or the queue in front of the slots.
#
# A task has a place: a slot, or (more tasks than slots) a packed piece of
# memory in the queue. `reserve` gives one, the caller writes the request
# there, `commit` publishes or enqueues it. What runs Python code comes before
# the place is taken. A long copy lets other threads run, so commit() may still
# refuse the task; from there on all is C, and nothing can cut it short.

cdef int reserve(Pool pool, uint64_t size, Place *place) except -1:
    cdef Task *task
    cdef uint32_t slot
    cdef uint64_t touched
    cdef int number
    still_open(pool)  # pickling runs code of the user's, and other threads
    if size > pool.payload.most:
        raise too_large(pool, "the request", size)
    if not pool.recruited:
        pool.crew.recruit()
        still_open(pool)
    if not pool.parent.free_count and (pool.queue.length & 31) == 0:
        pool.collect()
    if pool.parent.free_count and pool.queue.first == NULL and not pool.paused:
        slot = fl_slots_next(&pool.parent)
        touched = pool.windows.warm[2 * slot]
        place.at = request_area(pool, slot, size)
        fl_slots_take(&pool.parent)
        pool.enter_region()
        place.slot = <int32_t>slot
        place.task = NULL
        if size >= SMALL_COPY and size > touched:
            with nogil:
                number = provide(pool, slot, touched, size)
            if number:
                give_back(pool, place)
                raise no_pages(size, number)
        return 0
    task = <Task *>malloc(sizeof(Task) + size)
    if task == NULL:
        raise MemoryError(f"no memory for a request of {size} bytes that waits for a slot")
    task.size = size
    pool.enter_region()
    place.at = task_bytes(task)
    place.slot = -1
    place.task = task
    return 0


cdef int provide(Pool pool, uint32_t slot, uint64_t touched, uint64_t size) noexcept nogil:
    """Pages for a long request that its window does not have yet; 0, or errno.
    Where the system promises no more memory than it has (vm.overcommit_memory=2),
    the want of it is an error here; while the request is copied it would be SIGBUS."""
    if size < SMALL_COPY or size <= touched or not pool.holds_region() or \
            fallocate(pool.region.fd, FALLOC_FL_KEEP_SIZE,
                      <long>(fl_window_at(&pool.region, slot, FL_REQUEST) + touched), <long>(size - touched)) == 0:
        return 0
    return errno if errno == ENOSPC or errno == ENOMEM else 0


cdef object no_pages(uint64_t size, int number):
    return MemoryError(f"no memory for a request of {size} bytes (fallocate: {os.strerror(number)})")


cdef char *request_area(Pool pool, uint32_t slot, uint64_t size) except NULL:
    if size <= pool.region.plan.slot_size:
        return fl_slot_area(&pool.region, slot, FL_REQUEST)
    return map_window(pool, slot, FL_REQUEST, size)


cdef int commit(Pool pool, Place *place, CoreFuture future, uint32_t function, uint16_t kind,
                uint64_t size) except -1:
    """The request is written: publish it, or put it at the end of the queue."""
    try:
        prepare(pool, place, future, function, kind, size)
    except BaseException:
        give_back(pool, place)
        raise
    hand_over(pool, place, future, function, kind, size)
    pool.leave_region()
    return 0


cdef void hand_over(Pool pool, Place *place, CoreFuture future, uint32_t function, uint16_t kind,
                    uint64_t size) noexcept:
    """No other thread and no signal handler runs in here."""
    cdef Task *task = place.task
    future.submitted_ns = fl_now()
    future.pool = pool
    Py_INCREF(future)
    count_begin(pool, future)
    if future.limit_ns:
        limit(pool, future)
    pool.look_after(future.submitted_ns)
    if task == NULL:
        publish(pool, <uint32_t>place.slot, <PyObject *>future, function, kind, size)
        fl_announce(&pool.parent, 1)
        return
    describe_request(task, future, function, kind)
    task.after = NULL
    task.before = pool.queue.last
    if pool.queue.last != NULL:
        pool.queue.last.after = task
    else:
        pool.queue.first = task
    pool.queue.last = task
    future.task = task
    pool.queue.length += 1
    if pool.parent.free_count:
        pool.kick()  # who put the others into the queue may not come back for them


cdef int prepare(Pool pool, Place *place, CoreFuture future, uint32_t function, uint16_t kind,
                 uint64_t size) except -1:
    """All that may fail, or let other threads run; afterwards the pool is known to
    take the task still."""
    if place.task == NULL and future.retries:
        future.again = copy_request(place, size)
        describe_request(future.again, future, function, kind)
    still_open(pool)
    if pool.paused and place.task == NULL:
        # A worker that is about to die must not claim it: it waits in the queue.
        place.task = future.again if future.again != NULL else copy_request(place, size)
        future.again = NULL
        free_slot(pool, <uint32_t>place.slot)
    return 0


cdef void give_back(Pool pool, Place *place) noexcept:
    """submit() raises: the place is free again."""
    if place.task != NULL:
        free(place.task)
    elif not pool.gone():
        free_slot(pool, <uint32_t>place.slot)
        if pool.queue.first != NULL:
            pool.kick()
    pool.leave_region()


cdef void publish(Pool pool, uint32_t slot, PyObject *future, uint32_t function, uint16_t kind,
                  uint64_t size) noexcept:
    """The request stands in the slot; the reference to the future is taken over."""
    cdef fl_slot *s = fl_slot_at(&pool.region, slot)
    s.function = function
    s.request_kind = kind
    s.request_size = size
    s.started_ns = 0
    s.reply_kind = FL_REPLY_UNSET  # a word that is made to say "done" is no reply
    (<CoreFuture>future).slot = <int32_t>slot
    (<CoreFuture>future).asked = kind
    fl_slots_publish(&pool.parent, slot, future)
    if pool.region.windows > FL_MOST_WINDOWS:
        shed(pool, slot)


cdef int feed(Pool pool) except -1:
    """From the queue into free slots."""
    cdef Task *task
    cdef CoreFuture future
    cdef uint32_t slot, count = 0
    cdef uint64_t touched
    cdef int number
    cdef char *at
    while pool.parent.free_count and pool.queue.first != NULL and not pool.paused:
        task = pool.queue.first
        future = <CoreFuture>task.future
        slot = fl_slots_next(&pool.parent)
        touched = pool.windows.warm[2 * slot]
        try:
            at = request_area(pool, slot, task.size)
            number = provide(pool, slot, touched, task.size)
            if number:
                raise no_pages(task.size, number)
        except (OSError, MemoryError) as error:
            # To make the error other threads have run, which may have seen to it.
            if future.task == task:
                drop_task(pool, task)
                settle(future, HAS_EXCEPTION, error)
            continue
        fl_copy(at, task_bytes(task), task.size)
        fl_slots_take(&pool.parent)
        unlink_task(pool, task)
        future.task = NULL
        publish(pool, slot, task.future, task.function, task.kind, task.size)
        if future.retries:
            future.again = task
        else:
            free(task)
        count += 1
    if count:
        fl_announce(&pool.parent, count)
    return 0
