# What a native call returned, out of the reply and into the caller's buffers.

cdef object not_a_pickle():
    return error_class("SlotCorrupted")("a reply's pickle does not fit into the reply")


cdef object copy_pickle(char *at, uint64_t size):
    """(stream, buffers) out of a reply."""
    cdef fl_pickle head
    cdef uint64_t part = 0, offset = 0
    cdef bint readonly = False
    cdef uint32_t i
    if not fl_pickle_head(at, size, &head, &offset):
        raise not_a_pickle()
    stream = copied_bytes(at + offset, head.stream_size)
    if not head.buffers:
        return (stream, None)
    buffers = []
    offset += head.stream_size
    for i in range(head.buffers):
        if not fl_pickle_buffer(at, size, i, &offset, &part, &readonly):
            raise not_a_pickle()
        buffers.append(copied_bytes(at + offset, part) if readonly else copied_bytearray(at + offset, part))
        offset += part
    return (stream, buffers)


cdef str copied_text(const char *at, uint64_t size):
    """UTF-8 as a str. It is copied first, then looked at: who wrote it may be writing yet."""
    cdef char *copy
    cdef uint64_t i, eight, high = 0
    made = PyUnicode_New(<Py_ssize_t>size, 127)
    copy = <char *>PyUnicode_DATA(made)
    fl_copy_fresh(copy, at, size)
    for i in range(size // 8):  # the compiler does not see by itself that this can be had at once
        memcpy(&eight, copy + 8 * i, 8)
        high |= eight
    for i in range(size // 8 * 8, size):
        high |= <uint8_t>copy[i]
    if not high & <uint64_t>0x8080808080808080:
        return made
    return PyUnicode_DecodeUTF8(copy, <Py_ssize_t>size, "strict")


cdef object wrong_result(Callable c):
    return error_class("SlotCorrupted")(f"a reply to {c.name}() does not hold what the call was to return")


cdef int check_returned(CoreFuture future) except -1:
    """Buffers that the call writes to come back in RETURNED and in nothing else, and
    only what is no number comes as bytes."""
    cdef bint returned = future.views is not None and future.views.extent.size != 0
    cdef Callable c = future.callable
    if future.kind == FL_REPLY_RETURNED if not returned else future.kind in (FL_REPLY_SCALAR, FL_REPLY_BYTES):
        raise wrong_result(c)
    if future.kind == FL_REPLY_BYTES and c.result_code not in (FL_STRUCT, FL_STRING, FL_WIDE_STRING, FL_POINTEE, FL_F80):
        raise wrong_result(c)
    return 0


cdef int copy_returned(CoreFuture future, char *at, uint64_t size) except -1:
    """What a native call returned: buffers go back to where they came from."""
    cdef fl_returned head
    cdef Views views = future.views
    cdef uint64_t offset = sizeof(head)
    cdef int i
    memcpy(&head, at, sizeof(head))
    if views is not None:
        offset += views.extent.size
    offset = fl_round(offset, FL_BUFFER_ALIGN)
    # All must be there before anything is written.
    if offset > size or head.size != size - offset:
        raise wrong_result(future.callable)
    if head.size:
        future._value = copied_bytes(at + offset, head.size)
    future.scalar = head.scalar
    if views is not None:
        for i in range(views.count):
            if not views.view[i].readonly and views.view[i].len:
                fl_copy(views.view[i].buf, at + sizeof(head) + (views.at[i] - views.extent.at),
                        <size_t>views.view[i].len)
    return 0


cdef int take_reply(Pool pool, CoreFuture future, fl_reply *reply, uint32_t slot) except -1:
    """The reply out of the slot; nothing is unpickled yet."""
    cdef uint64_t size = reply.size
    cdef char *at
    pool.counts.finished += 1
    future.kind = <uint8_t>reply.kind
    future.scalar = reply.scalar
    future.code = reply.status
    future.started_ns = reply.started_ns
    future.finished_ns = reply.finished_ns
    future.slot = -1
    if future.asked == FL_CALL_FUNCTION and (future.kind != FL_REPLY_SCALAR or future.views is not None):
        check_returned(future)
    if future.finished_ns >= future.started_ns >= future.submitted_ns:
        pool.counts.run_ns += future.finished_ns - future.started_ns
        pool.counts.wait_ns += future.started_ns - future.submitted_ns
    if future.kind == FL_REPLY_TOO_LARGE:
        future._value = too_large(pool, f"the result of {future.callable.name}()", future.scalar)
    if future.kind < FL_REPLY_RETURNED:
        return 0
    if future.scalar and fl_reply_sized(future.kind):
        warm_up(pool, slot, FL_REPLY, min(future.scalar, pool.region.plan.half_size))
    if size == 0 and future.kind != FL_REPLY_BYTES:
        return 0
    if size <= pool.region.plan.slot_size:
        at = fl_slot_area(&pool.region, slot, FL_REPLY)
    else:
        at = map_window(pool, slot, FL_REPLY, size)
    if fl_reply_pickled(future.kind):
        future._value = copy_pickle(at, size)
    elif future.kind == FL_REPLY_RETURNED:
        copy_returned(future, at, size)
    elif future.kind == FL_REPLY_OBJECT_BYTEARRAY:
        future._value = copied_bytearray(at, size)
    elif future.kind == FL_REPLY_OBJECT_TEXT:
        try:
            future._value = copied_text(at, size)
        except UnicodeDecodeError:
            raise error_class("SlotCorrupted")(f"the result of {future.callable.name}() is no text") from None
    elif future.kind == FL_REPLY_BYTES and future.count and future.views is not None:
        if <uint64_t>future.views.view[0].len != size:
            raise error_class("SlotCorrupted")("the results of a map are not as many as the calls")
        fl_copy(future.views.view[0].buf, at, size)
    else:
        future._value = copied_bytes(at, size)
    return 0


cdef int end_with_reply(Pool pool, CoreFuture future, uint32_t slot, uint32_t owner, fl_reply *reply) except -1:
    """The worker with this index + 1 has run its task. A reply that is not taken
    whole (no memory, or forged inside) is the task's error."""
    cdef fl_seat *seat = &pool.parent.seats[owner - 1]
    seat.serves = True
    future.pid = seat.pid
    if fl_reply_serves(reply.kind):
        seat.python = True
    try:
        take_reply(pool, future, reply, slot)
    except Exception as error:
        try:
            if type(error) is error_class("SlotCorrupted"):
                end_worker_of(pool, slot, owner)
            else:
                free_slot(pool, slot)
        finally:
            settle(future, HAS_EXCEPTION, error)
    else:
        free_slot(pool, slot)
        if future.kind == FL_REPLY_SETUP_FAILED:
            setup_failed(pool, future)
        else:
            settle(future, HAS_REPLY, future._value)
    return 0
