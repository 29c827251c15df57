# Tasks that wait in the parent, in front of the slots.

cdef struct Place:
    char *at
    int32_t slot       # or -1
    Task *task


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


cdef int drop_task(Pool pool, Task *task) except -1:
    """Out of the queue, and nobody's; its future is still to be told."""
    cdef CoreFuture future = <CoreFuture>task.future
    future.task = NULL
    unlink_task(pool, task)
    free(task)
    Py_DECREF(future)
    return 0
