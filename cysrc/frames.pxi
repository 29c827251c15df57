# struct fl_pickle: a stream, and the large buffers that stand beside it.

cdef object not_a_pickle():
    return _errors.SlotCorrupted("a reply's pickle does not fit into the reply")


cdef object copy_pickle(char *at, uint64_t size):
    """(stream, buffers) out of a reply. Every length is read once, checked and
    then used: a worker gone wild may be writing there."""
    cdef fl_pickle head
    cdef uint64_t part, length, offset
    cdef uint32_t i
    if size < sizeof(head):
        raise not_a_pickle()
    memcpy(&head, at, sizeof(head))
    offset = sizeof(head) + 8 * <uint64_t>head.buffers
    if head.buffers > FL_MAX_BUFFERS or offset > size or head.stream_size > size - offset:
        raise not_a_pickle()
    stream = copied_bytes(at + offset, head.stream_size)
    if not head.buffers:
        return (stream, None)
    buffers = []
    offset += head.stream_size
    for i in range(head.buffers):
        memcpy(&length, at + sizeof(head) + 8 * i, 8)
        part = length & ~FL_BUFFER_READONLY
        offset = fl_round(offset, FL_LINE)
        if offset > size or part > size - offset:
            raise not_a_pickle()
        if length & FL_BUFFER_READONLY:
            buffers.append(copied_bytes(at + offset, part))
        else:
            buffers.append(copied_bytearray(at + offset, part))
        offset += part
    return (stream, buffers)
