# What a Python worker replies: a value, an exception, or why it cannot.

cdef int reply_kind = FL_REPLY_UNSET


cdef void reply_scalar(int kind, uint64_t scalar) noexcept:
    global reply_kind
    fl_leave_if_forked(&worker)
    reply_kind = kind
    worker.call.reply_size = 0
    worker.call.slot.reply_scalar = scalar


cdef int reply_text(int kind, str message) except -1:
    global reply_kind
    cdef char *to
    text = message.encode("utf-8", "backslashreplace")
    to = fl_reply_reserve(&worker, <uint64_t>PyBytes_GET_SIZE(text))
    if to != NULL:
        memcpy(to, PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text))
        worker.call.reply_size = <uint64_t>PyBytes_GET_SIZE(text)
    reply_kind = kind
    return 0


cdef object pickling():
    global _pickling
    if _pickling is None:
        from fuload_exec import _pickling as module
        _pickling = module
    return _pickling


cdef int reply_pickle(int kind, object value) except -1:
    global reply_kind
    cdef uint64_t size
    cdef char *to
    cdef list raws
    stream, buffers = pickling().dump(value)
    raws = [b.raw() for b in buffers] if buffers else None
    size = frame_size(stream, raws)
    worker.call.reply_size = 0
    to = fl_reply_reserve(&worker, size)
    if to != NULL:
        write_frame(to, 0, stream, raws)
        worker.call.reply_size = size
    reply_kind = kind
    return 0


cdef int reply_raw(int kind, const char *at, Py_ssize_t size) except -1:
    """Bytes that are the value: no stream is made of them."""
    global reply_kind
    cdef char *to
    worker.call.reply_size = 0
    to = fl_reply_reserve(&worker, <uint64_t>size)
    if to != NULL:
        copy_in(to, at, <uint64_t>size)
        worker.call.reply_size = <uint64_t>size
    reply_kind = kind
    return 0


cdef int reply_text_object(str value) except -1:
    cdef Py_ssize_t size
    cdef const char *at
    try:
        at = PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError:  # half of a surrogate pair
        return reply_pickle(FL_REPLY_PICKLE, value)
    return reply_raw(FL_REPLY_OBJECT_TEXT, at, size)


cdef int reply_bytearray(object value) except -1:
    """The buffer is held: another thread of the task's may want to resize it."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(value, &buffer, PyBUF_SIMPLE)
    try:
        return reply_raw(FL_REPLY_OBJECT_BYTEARRAY, <const char *>buffer.buf, buffer.len)
    finally:
        PyBuffer_Release(&buffer)


cdef int reply_value(object value) except -1:
    cdef int overflow = 0
    cdef long long number
    cdef double d
    cdef uint64_t bits
    if value is None:
        reply_scalar(FL_REPLY_NONE, 0)
    elif value is True or value is False:
        reply_scalar(FL_REPLY_TRUE if value is True else FL_REPLY_FALSE, 0)
    elif PyFloat_CheckExact(value):
        d = PyFloat_AS_DOUBLE(value)
        memcpy(&bits, &d, 8)
        reply_scalar(FL_REPLY_FLOAT, bits)
    elif PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            reply_pickle(FL_REPLY_PICKLE, value)
        else:
            reply_scalar(FL_REPLY_INT, <uint64_t>number)
    elif type(value) is str:
        reply_text_object(value)
    elif type(value) is bytes:
        reply_raw(FL_REPLY_OBJECT_BYTES, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    elif type(value) is bytearray:
        reply_bytearray(value)
    else:
        reply_pickle(FL_REPLY_PICKLE, value)
    return 0


cdef str traceback_text(object error):
    import traceback
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


cdef str said(object error):
    try:
        return str(error)
    except Exception:
        return type(error).__name__


cdef str one_line(object error):
    return f"{type(error).__qualname__}: {said(error)}"


cdef int reply_error(int kind, object error) except -1:
    reply_pickle(kind, pickling().packed(error))
    return 0


# -- a task --------------------------------------------------------------------------
