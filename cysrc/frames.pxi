# struct fl_pickle, both ways: a stream, and the large buffers that stand beside it.
# The parent and the Python host include this; copy_in() is each one's own.

cdef uint64_t frame_size(bytes stream, list raws) except? 0:
    """The bytes that write_frame() fills. `raws`: the buffers, or None."""
    cdef uint64_t size = sizeof(fl_pickle) + <uint64_t>PyBytes_GET_SIZE(stream)
    if raws is not None:
        size += 8 * <uint64_t>len(raws)
        for raw in raws:
            size = fl_round(size, FL_LINE) + <uint64_t>raw.nbytes
    return size


cdef uint64_t copy_view(char *to, object view, bint *readonly) except? 0:
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_SIMPLE)
    copy_in(to, buffer.buf, <uint64_t>buffer.len)
    part = <uint64_t>buffer.len
    readonly[0] = buffer.readonly
    PyBuffer_Release(&buffer)
    return part


cdef int write_frame(char *to, uint32_t flags, bytes stream, list raws) except -1:
    cdef fl_pickle head
    cdef uint64_t at, part, length
    cdef uint32_t i
    cdef bint readonly = False
    head.buffers = <uint32_t>len(raws) if raws is not None else 0
    head.flags = flags
    head.stream_size = <uint64_t>PyBytes_GET_SIZE(stream)
    memcpy(to, &head, sizeof(head))
    at = sizeof(head) + 8 * <uint64_t>head.buffers
    copy_in(to + at, PyBytes_AS_STRING(stream), head.stream_size)
    at += head.stream_size
    for i in range(head.buffers):
        at = fl_round(at, FL_LINE)
        part = copy_view(to + at, raws[i], &readonly)
        at += part
        length = part | FL_BUFFER_READONLY if readonly else part
        memcpy(to + sizeof(head) + 8 * <uint64_t>i, &length, 8)
    return 0
