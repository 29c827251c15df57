# Python requests: pickles, large buffers out of band.

cdef Callable describe_python(Pool pool, object fn):
    """A function, builtin or class that is pickled by its name is sent once;
    None for everything else, whose pickle may hold state."""
    cdef Callable c
    if isinstance(fn, FunctionType):
        pass
    elif type(fn) is BuiltinType:
        if fn.__self__ is not None and not isinstance(fn.__self__, type(sys)):
            return None
    elif type(fn) is not type:
        return None
    module = getattr(fn, "__module__", None)
    if module == "__main__" and not pickling.main_can_be_imported():
        return None
    try:
        text = pickle_dumps(fn, 5)
    except Exception:
        return None
    pool.ready_for_python()
    c = Callable.__new__(Callable)
    c.kind = KIND_PYTHON
    c.name = getattr(fn, "__qualname__", type(fn).__name__)
    c.id = pool.describe(description(FL_DESCRIBE_PYTHON, 0, b"", b"", b"", text))
    return c


cdef Callable named_callable(Pool pool, object fn):
    """What messages call a function that is pickled with each task."""
    cdef Callable c = Callable.__new__(Callable)
    c.kind = KIND_PYTHON
    name = getattr(fn, "__qualname__", None)
    c.name = name if isinstance(name, str) else type(fn).__name__
    return c


cdef bint is_plain(tuple args) noexcept:
    """Nothing in it has buffers, reducers or code of its own."""
    cdef Py_ssize_t i
    cdef PyTypeObject *kind
    for i in range(PyTuple_GET_SIZE(args)):
        kind = Py_TYPE(PyTuple_GET_ITEM(args, i))
        if kind is not <PyTypeObject *>int and kind is not <PyTypeObject *>float and \
                kind is not <PyTypeObject *>str and kind is not <PyTypeObject *>bytes:
            return False
    return True


cdef int submit_python(Pool pool, Callable c, CoreFuture future, object fn, tuple args, dict kwargs) except -1:
    cdef fl_pickle head
    cdef Place place
    cdef Views views = None
    cdef uint64_t size, at, part
    cdef Py_ssize_t i, count
    cdef bytes stream
    if c is None:
        pool.ready_for_python()
    try:
        if c is None:
            stream, buffers = pickling.dump((fn, args, kwargs))
        elif not kwargs and is_plain(args):
            stream, buffers = pickle_dumps(args, 5), None
        else:
            stream, buffers = pickling.dump((args, kwargs) if kwargs else args)
    except Exception as error:
        return future.fail_at_once(pool, error)
    head.buffers = 0
    head.flags = FL_PICKLE_KEYWORDS if kwargs else 0
    head.stream_size = <uint64_t>PyBytes_GET_SIZE(stream)
    if not buffers:
        size = sizeof(head) + head.stream_size
        reserve(pool, size, &place)
        memcpy(place.at, &head, sizeof(head))
        copy_in(place.at + sizeof(head), PyBytes_AS_STRING(stream), head.stream_size)
        return commit(pool, &place, future, c.id if c is not None else 0,
                      FL_CALL_PYTHON if c is not None else FL_CALL_PICKLED, size)
    count = len(buffers)
    head.buffers = <uint32_t>count
    raws = [b.raw() for b in buffers]
    size = sizeof(head) + 8 * <uint64_t>count + head.stream_size
    for raw in raws:
        size = fl_round(size, FL_LINE) + <uint64_t>raw.nbytes
    reserve(pool, size, &place)
    memcpy(place.at, &head, sizeof(head))
    at = sizeof(head) + 8 * <uint64_t>count
    copy_in(place.at + at, PyBytes_AS_STRING(stream), head.stream_size)
    at += head.stream_size
    for i in range(count):
        at = fl_round(at, FL_LINE)
        part = copy_view(place.at + at, raws[i])
        at += part
        if raws[i].readonly:
            part |= FL_BUFFER_READONLY
        memcpy(place.at + sizeof(head) + 8 * i, &part, 8)
    return commit(pool, &place, future, c.id if c is not None else 0,
                  FL_CALL_PYTHON if c is not None else FL_CALL_PICKLED, size)


cdef uint64_t copy_view(char *to, object view) except? 0:
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_SIMPLE)
    copy_in(to, buffer.buf, <uint64_t>buffer.len)
    part = <uint64_t>buffer.len
    PyBuffer_Release(&buffer)
    return part
