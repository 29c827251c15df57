# Tasks that wait in the parent, in front of the slots.

cdef struct Task:
    # A task that waits in the parent, or may be tried again. Its request follows the struct.
    Task *before
    Task *after
    PyObject *future   # a strong reference
    uint32_t function
    uint16_t kind
    uint64_t size


cdef struct Queue:
    Task *first
    Task *last
    uint64_t length


cdef inline char *task_bytes(Task *t) noexcept nogil:
    return <char *>(t + 1)


cdef Task *copy_request(Place *place, uint64_t size) except NULL:
    """For another try (what stands in the slot its task may change), or for the queue."""
    cdef Task *task = <Task *>malloc(sizeof(Task) + size)
    if task == NULL:
        raise MemoryError(f"no memory for a copy of a request of {size} bytes")
    task.size = size
    copy_in(task_bytes(task), place.at, size)
    return task


cdef void describe_request(Task *task, CoreFuture future, uint32_t function, uint16_t kind) noexcept:
    task.future = <PyObject *>future
    task.function = function
    task.kind = kind


cdef void push_first(Pool pool, Task *task) noexcept:
    """To the front of the queue."""
    task.before = NULL
    task.after = pool.queue.first
    if pool.queue.first != NULL:
        pool.queue.first.before = task
    else:
        pool.queue.last = task
    pool.queue.first = task
    pool.queue.length += 1


cdef void unlink_task(Pool pool, Task *task) noexcept:
    if task.before != NULL:
        task.before.after = task.after
    else:
        pool.queue.first = task.after
    if task.after != NULL:
        task.after.before = task.before
    else:
        pool.queue.last = task.before
    pool.queue.length -= 1


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
                withdraw(pool, future)
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
