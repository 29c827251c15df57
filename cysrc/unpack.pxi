# Replies into values, when somebody looks at them for the first time.

cdef object native_scalar(int code, uint64_t bits):
    cdef double d
    cdef float f
    if code == FL_F64:
        memcpy(&d, &bits, 8)
        return d
    if code == FL_I32:
        return <int32_t>bits
    if code == FL_I64:
        return <long long>bits
    if code == FL_U32:
        return <uint32_t>bits
    if code == FL_U64:
        return bits
    if code == FL_F32:
        memcpy(&f, &bits, 4)
        return <double>f
    if code == FL_I8:
        return <signed char>bits
    if code == FL_U8:
        return <unsigned char>bits
    if code == FL_I16:
        return <short>bits
    if code == FL_U16:
        return <unsigned short>bits
    return None


cdef object native_value(CoreFuture f):
    """The result as ctypes would give it."""
    cdef Callable c = f.callable
    if not c.use_errno:
        return checked_value(f)
    # For an errcheck that asks ctypes.get_errno().
    before = ctypes.set_errno(f.code)
    try:
        return checked_value(f)
    finally:
        ctypes.set_errno(before)


cdef object checked_value(CoreFuture f):
    cdef Callable c = f.callable
    value = native_plain(c, f.scalar, f._value)
    if c.errcheck is not None:
        function, args = f.arguments
        checked = c.errcheck(value, function, args)
        # As in ctypes: its arguments back mean that it has nothing to say.
        return value if checked is args else checked
    return value


cdef object native_plain(Callable c, uint64_t bits, bytes data):
    cdef int code = c.result_code
    restype = c.convert
    if restype is None:
        return native_scalar(code, bits)
    if code == FL_STRUCT or code == FL_F80 or (code == FL_POINTEE and bits):
        pointee = restype if code != FL_POINTEE or is_ndpointer(restype) else restype._type_
        if not is_ndpointer(pointee) and len(data or b"") < ctypes.sizeof(pointee):
            raise wrong_result(c)
    if code == FL_STRUCT:
        return restype.from_buffer_copy(data)
    if code == FL_POINTEE:
        return returned_pointee(restype, data if bits else None)
    if not is_simple(restype):
        return restype(native_scalar(code, bits))
    if code == FL_STRING:
        value = (data or b"") if bits else None
    elif code == FL_WIDE_STRING:
        value = (data or b"").decode("utf-32-le" if sys.byteorder == "little" else "utf-32-be", "surrogatepass") if bits else None
    else:
        raw = data if code == FL_F80 else PyBytes_FromStringAndSize(<char *>&bits, 8)
        result = restype.from_buffer_copy(raw)
        # ctypes unpacks its own simple types and leaves subclasses as they are.
        return result.value if restype.__base__ is Simple else result
    return value if restype.__base__ is Simple else restype(value)


cdef object returned_pointee(object restype, bytes data):
    """A copy of what the pointer pointed at in the worker, and a pointer to it."""
    if is_ndpointer(restype):
        if data is None:
            return None
        import numpy
        return numpy.frombuffer(bytearray(data), dtype=restype._dtype_).reshape(restype._shape_)
    return restype(restype._type_.from_buffer_copy(data)) if data is not None else restype()


cdef object load_pickle(object payload, object main):
    """payload: (stream, buffers). The worker's __mp_main__ is `main` here,
    whatever a launcher has put in the place of __main__ and when."""
    stream, buffers = payload
    if main is not None and modules.get("__mp_main__") is not main and (<bytes>stream).find(b"__mp_main__") >= 0:
        return pickling.load_with_main(stream, buffers, main)
    return pickle_loads(stream, buffers=buffers) if buffers else pickle_loads(stream)


class _Raised(Exception):
    """Carries an exception that the worker sent, to tell it from one that
    unpacking raised."""


cdef object plain_value(CoreFuture f):
    """Of a Python task, without a pickle."""
    cdef int kind = f.kind
    cdef double d
    if kind == FL_REPLY_NONE:
        return None
    if kind == FL_REPLY_FLOAT:
        memcpy(&d, &f.scalar, 8)
        return d
    if kind == FL_REPLY_INT:
        return <long long>f.scalar
    if kind == FL_REPLY_TRUE or kind == FL_REPLY_FALSE:
        return kind == FL_REPLY_TRUE
    if f._value is not None:
        return f._value
    return b"" if kind == FL_REPLY_OBJECT_BYTES else bytearray() if kind == FL_REPLY_OBJECT_BYTEARRAY else ""


cdef object unpack_reply(CoreFuture f):
    """The value; raises _Raised for an exception of the task, and others for
    what went wrong on the way."""
    cdef int kind = f.kind
    if f.outcome == HAS_CRASH:
        exitcode = <int32_t>f.code if f.scalar else None
        request, why = f._value
        crash = error_class("WorkerCrashed")(f.pid, exitcode, describe_task(f.callable, request, f.count), why)
        # As in Python 3.15's pool, in its words.
        crash.__cause__ = remote_traceback(f"\n'''\nProcess {f.pid} terminated abruptly with exit code "
                                           f"{exitcode}\n'''")
        raise _Raised(crash)
    if f.outcome == HAS_TIMEOUT:
        raise _Raised(error_class("TaskTimeout")(
            f"{describe_task(f.callable, f._value, f.count)} ran longer than {f.limit_ns / 1e9:g} s; "
            f"its worker {f.pid} was killed"))
    if kind == FL_REPLY_SCALAR or kind == FL_REPLY_RETURNED:
        return native_value(f)
    if FL_REPLY_NONE <= kind <= FL_REPLY_OBJECT_TEXT:
        return plain_value(f)
    if kind == FL_REPLY_PICKLE:
        try:
            return load_pickle(f._value, f.callable.main)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise error_class("UnpickleError")(f"the result of {f.callable.name}() cannot be rebuilt in this process: "
                                        f"{type(error).__name__}: {error}") from error
    if kind == FL_REPLY_RAISED or kind == FL_REPLY_NOT_REBUILT:
        raise _Raised(remote_exception(f, kind == FL_REPLY_NOT_REBUILT))
    if kind == FL_REPLY_BYTES and f.callable.kind == KIND_TASK:
        return f._value
    if kind == FL_REPLY_BYTES and f.count:
        return map_results(f) if f._value is not None else None
    if kind == FL_REPLY_BYTES:
        f.scalar = 1  # not a null pointer
        return native_value(f)
    if kind == FL_REPLY_STATUS:
        raise _Raised(error_class("NativeTaskError")(f.code, (f._value or b"").decode("utf-8", "replace")))
    if kind == FL_REPLY_NO_LIBRARY:
        raise _Raised(error_class("LibraryLoadError")((f._value or b"").decode("utf-8", "replace")))
    if kind == FL_REPLY_REFUSED:
        raise _Raised(RuntimeError((f._value or b"").decode("utf-8", "replace")))
    if kind == FL_REPLY_TOO_LARGE:
        raise _Raised(f._value)
    if kind == FL_REPLY_NO_REQUEST or kind == FL_REPLY_NO_ROOM:
        raise _Raised(_refusals.refused(f"{f.callable.name}(): mmap of {f.scalar} bytes in the worker, for the "
                                      f"{'arguments' if kind == FL_REPLY_NO_REQUEST else 'result'}", f.code))
    raise _Raised(error_class("SlotCorrupted")(f"a reply of the unknown kind {kind} to {f.callable.name}()"))


cdef object remote_exception(CoreFuture f, bint not_rebuilt):
    error = rebuilt(load_pickle(f._value, None), f.callable.name, f.callable.main)
    if not_rebuilt:
        outer = error_class("UnpickleError")(f"the arguments of {f.callable.name}() cannot be rebuilt in the worker: "
                                      f"{type(error).__name__}: {error}{pickling.advice_on_main(error)}")
        outer.__cause__ = error
        if type(error) is RuntimeError and "__main__" in str(error):
            error.__cause__ = None  # a program without a guard: no line of the worker's says more
        return outer
    return error


cdef object rebuilt(object packed, str name, object main):
    """The worker's exception with the worker's traceback as its cause."""
    data, text, said = packed
    cause = remote_traceback(f'\n"""\n{text}"""')
    try:
        error = load_pickle((data, None), main)
        if not isinstance(error, BaseException):
            raise TypeError(f"it was pickled as {type(error).__name__}, which is no exception")
    except BaseException as failure:
        if isinstance(failure, KeyboardInterrupt):
            raise
        unknown = error_class("UnpickleError")(f"{name}() raised {said}; this exception cannot be rebuilt in this process: "
                                        f"{type(failure).__name__}: {failure}")
        unknown.__cause__ = failure
        # What went wrong in the worker is told all the same.
        failure.__cause__ = failure.__cause__ or cause
        return unknown
    error.__cause__ = cause
    return error


def exception_of_map(future, packed):
    """The exception that a call of a chunk has raised, as _pickling.packed() sent it."""
    if isinstance(future, CoreFuture) and (<CoreFuture>future).callable is not None:
        return rebuilt(packed, (<CoreFuture>future).callable.name, (<CoreFuture>future).callable.main)
    return rebuilt(packed, "the function", None)


cdef str shorten(object value):
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


cdef str describe_task(Callable c, object request, uint64_t count):
    """Name and first arguments of a task that took its worker along."""
    cdef list parts = []
    calls = 1
    if c.kind == KIND_NATIVE and count:
        return f"{c.name}({count} call{'s' if count != 1 else ''})"
    if request is None:
        return f"{c.name}(...)"
    try:
        if c.kind == KIND_NATIVE:
            parts = native_arguments(c, request)
        elif c.kind == KIND_TASK:
            parts = [shorten(request)]
        else:
            parts, calls = python_arguments(c, request)
    except Exception:
        return f"{c.name}(...)"
    if len(parts) > 4:
        parts[4:] = ["..."]
    more = f", the first of {calls} calls" if calls > 1 else ""
    return f"{c.name}({', '.join(parts)}){more}"


cdef list native_arguments(Callable c, bytes request):
    cdef fl_address a
    cdef uint64_t bits
    parts = []
    for i in range(c.count):
        cell = request[c.at[i]:]
        if c.codes[i] == FL_ADDRESS:
            memcpy(&a, PyBytes_AS_STRING(cell), sizeof(a))
            if a.mode & 0xff == FL_ADDRESS_VALUE:
                parts.append(hex(a.value) if a.value else "None")
            else:
                parts.append(shorten(request[a.value:a.value + min(a.mode >> 8, <uint64_t>40)]))
        elif c.codes[i] == FL_STRUCT:
            parts.append(f"<{type_name(c.argtypes[i])}>")
        elif c.codes[i] == FL_F80:
            parts.append(shorten(ctypes.c_longdouble.from_buffer_copy(cell[:16]).value))
        else:
            memcpy(&bits, PyBytes_AS_STRING(cell), 8)
            parts.append(shorten(native_scalar(c.codes[i], bits)))
    return parts


cdef tuple python_arguments(Callable c, bytes request):
    """The first call's, and how many calls there are."""
    cdef uint64_t stream_at = 0, length
    cdef uint32_t i
    cdef fl_pickle head
    cdef list sizes = []
    # Of a long one it is the beginning, which holds no buffers.
    if not fl_pickle_head(PyBytes_AS_STRING(request), len(request), &head, &stream_at):
        return ["..."], 1
    for i in range(head.buffers):
        memcpy(&length, PyBytes_AS_STRING(request) + sizeof(head) + 8 * i, 8)
        sizes.append(length & ~FL_BUFFER_READONLY)
    value = glance(request[stream_at:stream_at + head.stream_size], sizes)
    if c.id == 0:
        value = value[1:]
    elif not head.flags & FL_PICKLE_KEYWORDS:
        value = (value, {})
    args, kwargs = value
    calls = 1
    if c.chunk:
        columns = [unpack_column(column) for column in args[1]]
        args, calls = [column[0] for column in columns], len(columns[0])
    return [shorten(a) for a in args] + [f"{k}={shorten(v)}" for k, v in kwargs.items()], calls


cdef object map_results(CoreFuture f):
    """The results of a chunk as Python scalars, or as a column of them that is packed."""
    cdef Callable c = f.callable
    cdef uint64_t bits, size = fl_item_size(c.result_code), i
    cdef bytes data = f._value
    cdef Py_ssize_t k
    if c.result_code == FL_VOID:
        return [None] * <Py_ssize_t>f.count
    if <uint64_t>len(data) != size * f.count:
        raise error_class("SlotCorrupted")(f"the results of {c.name}() are not as many as the calls")
    if c.convert is None and (c.result_code == FL_F64 or c.result_code == FL_I64):
        return "d" if c.result_code == FL_F64 else "q", data
    if c.result_code == FL_F80:
        return [native_plain(c, 0, data[16 * k:16 * k + 16]) for k in range(<Py_ssize_t>f.count)]
    found = []
    for i in range(f.count):
        bits = 0
        memcpy(&bits, PyBytes_AS_STRING(data) + size * i, size)
        found.append(native_plain(c, bits, None))
    return found
