# Requests: arguments into a place, which is then published or queued.

cdef enum:
    LARGE_ARGUMENT = 1 << 16   # bytes, or characters, that are worth a buffer of their own

cdef int submit_native(Pool pool, Callable c, CoreFuture future, tuple args, dict kwargs) except -1:
    cdef char cells[CELLS_SIZE]
    cdef Place place
    cdef Py_ssize_t i
    if kwargs:
        raise TypeError(f"{c.name}() is a C function and takes no keyword arguments, got {', '.join(kwargs)}")
    if PyTuple_GET_SIZE(args) != c.count:
        raise TypeError(f"{c.name}() takes {c.count} argument{'s' if c.count != 1 else ''} "
                        f"({PyTuple_GET_SIZE(args)} given); variadic calls are not supported")
    if c.errcheck is not None:
        future.arguments = c.reference(), args
    if c.addresses:
        return submit_addresses(pool, c, future, args)
    for i in range(c.count):
        convert_scalar(c, i, <object>PyTuple_GET_ITEM(args, i), cells + c.at[i])
    reserve(pool, c.cells, &place)
    memcpy(place.at, cells, c.cells)
    return commit(pool, &place, future, c.id, FL_CALL_FUNCTION, c.cells)


cdef int submit_addresses(Pool pool, Callable c, CoreFuture future, tuple args) except -1:
    cdef char cells[CELLS_SIZE]
    cdef Py_ssize_t placed[64]
    cdef bint inout[64]
    cdef fl_address a
    cdef Place place
    cdef Views views = Views.__new__(Views)
    cdef uint64_t end
    cdef Py_ssize_t i
    for i in range(c.count):
        placed[i] = -1
        if c.take[i] == TAKE_ADDRESS:
            convert_address(c, i, args[i], cells + c.at[i], views, &placed[i])
        else:
            convert_scalar(c, i, args[i], cells + c.at[i])
    end = place_buffers(views, c.cells, inout)
    for i in range(c.count):
        if placed[i] >= 0:
            memcpy(&a, cells + c.at[i], sizeof(a))
            a.value = views.at[placed[i]]
            if inout[placed[i]]:
                a.mode = a.mode & ~<uint64_t>0xff | FL_ADDRESS_INOUT
            memcpy(cells + c.at[i], &a, sizeof(a))
    reserve(pool, end, &place)
    memcpy(place.at, cells, c.cells)
    # Zeros first: behind a buffer there may be more of one that overlaps it.
    for i in range(views.count):
        memset(place.at + views.at[i] + <uint64_t>views.view[i].len, 0, FL_BUFFER_ZEROS)
    for i in range(views.count):
        copy_in(place.at + views.at[i], views.view[i].buf, <uint64_t>views.view[i].len)
    if views.extent.size:
        future.views = views
    return commit(pool, &place, future, c.id, FL_CALL_FUNCTION, end)


cdef int submit_bytes(Pool pool, Callable c, CoreFuture future, tuple args, dict kwargs) except -1:
    """A plug-in's task: one buffer, or nothing."""
    cdef Place place
    cdef Views views = Views.__new__(Views)
    cdef Py_buffer *view = &views.view[0]
    if kwargs or len(args) != 1:
        raise TypeError(f"{c.name}() is a plug-in's task and takes one buffer")
    if is_masked(args[0]):
        refuse_mask(args[0], f"{c.name}(): its argument")
    try:
        PyObject_GetBuffer(args[0], view, PyBUF_C_CONTIGUOUS)
    except (TypeError, BufferError, ValueError) as error:
        raise TypeError(f"{c.name}() takes a C-contiguous buffer (bytes, bytearray, memoryview, array), "
                        f"got {type(args[0]).__name__} ({error})") from None
    views.count = 1
    reserve(pool, <uint64_t>view.len, &place)
    copy_in(place.at, view.buf, <uint64_t>view.len)
    return commit(pool, &place, future, c.id, FL_CALL_TASK, <uint64_t>view.len)


# -- where a ctypes function comes from --------------------------------------


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


cdef bint has_large(tuple args):
    """Bytes or a text that would better not be copied into a stream."""
    for value in args:
        kind = type(value)
        if kind is bytes and PyBytes_GET_SIZE(value) >= LARGE_ARGUMENT or \
                kind is str and PyUnicode_GET_LENGTH(value) >= LARGE_ARGUMENT or \
                kind is bytearray and len(<bytearray>value) >= LARGE_ARGUMENT:
            return True
    return False


class _Text:
    """A str that is pickled as a buffer of UTF-8. It must live as long as the buffer:
    ASCII is not copied for it."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        cdef Py_ssize_t size
        cdef const char *at
        if self.text.isascii():
            at = PyUnicode_AsUTF8AndSize(self.text, &size)
            encoded = PyMemoryView_FromMemory(<char *>at, size, PyBUF_READ)
        else:
            encoded = self.text.encode("utf-8", "surrogatepass")
        return str, (PickleBuffer(encoded), "utf-8", "surrogatepass")


cdef tuple with_buffers(tuple args):
    """The arguments with large bytes, bytearrays and texts as buffers, which are copied
    into the slot and nowhere else; None if something else may refer to one of them."""
    cdef list made = [], arrays = []
    for value in args:
        kind = type(value)
        if kind is bytes or kind is bytearray:
            if kind is bytearray:
                for other in arrays:
                    if other is value:
                        return None
                arrays.append(value)
            if len(value) >= LARGE_ARGUMENT:
                value = PickleBuffer(value)
        elif kind is str:
            if len(<str>value) >= LARGE_ARGUMENT:
                value = _Text(value)
        elif kind is not int and kind is not float and kind is not bool and value is not None:
            return None
        made.append(value)
    return tuple(made)


cdef bint holds_bytes(tuple args):
    """Texts are decoded where they stand."""
    for value in args:
        if type(value) is PickleBuffer:
            return True
    return False


cdef list parts_of(Callable c, object fn, tuple args, dict kwargs):
    """What is pickled of a task, and what messages call it."""
    if c.chunk:
        fn, columns = args
        parts = [(f"argument {i + 1}", value) for i, column in enumerate(columns) for value in unpack_column(column)]
    else:
        parts = [(f"argument {i + 1}", value) for i, value in enumerate(args)]
    return [("the function", fn), *parts, *((f"argument {key!r}", value) for key, value in kwargs.items())]


cdef int submit_python(Pool pool, Callable c, CoreFuture future, object fn, tuple args, dict kwargs) except -1:
    cdef Place place
    cdef uint64_t size
    cdef uint32_t flags = FL_PICKLE_KEYWORDS if kwargs else 0
    cdef bytes stream
    cdef list raws
    try:
        plain = with_buffers(args) if c is not None and not kwargs and has_large(args) else None
        if plain is not None:
            buffers = []
            stream = pickle_dumps(plain, 5, buffer_callback=buffers.append)
            if holds_bytes(plain):
                flags |= FL_PICKLE_COPIES
        elif c is None:
            stream, buffers = pickling.dump((fn, args, kwargs), pool.catalogue.main)
        elif not kwargs and is_plain(args):
            stream, buffers = pickle_dumps(args, 5), None
        else:
            stream, buffers = pickling.dump((args, kwargs) if kwargs else args, pool.catalogue.main)
    except Exception as error:
        parts = parts_of(future.callable, fn, args, kwargs)
        return fail_at_once(future, pool, pickling.explained(error, future.callable.name, parts, pool.catalogue.main))
    raws = [b.raw() for b in buffers] if buffers else None
    size = frame_size(stream, raws)
    reserve(pool, size, &place)
    write_frame(place.at, flags, stream, raws)
    return commit(pool, &place, future, c.id if c is not None else 0,
                  FL_CALL_PYTHON if c is not None else FL_CALL_PICKLED, size)


cdef int submit_call(Pool pool, CoreFuture future, object fn, tuple args, dict kwargs) except -1:
    """Whatever fn is."""
    cdef Callable c = find(pool, fn)
    if c is not None and c.kind == KIND_NATIVE:
        future.callable = c
        return submit_native(pool, c, future, args, kwargs)
    if c is not None and c.kind == KIND_TASK:
        future.callable = c
        return submit_bytes(pool, c, future, args, kwargs)
    ready_for_python(pool)
    future.callable = c if c is not None and not c.chunk else task_callable(pool, c, fn, args)
    return submit_python(pool, c, future, fn, args, kwargs)
