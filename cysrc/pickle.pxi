# Python requests: pickles, large buffers out of band.

cdef dict modules = sys.modules
cdef object registered = None  # cloudpickle's set of modules that go by value, once it is imported


cdef bint is_registered(str module) except -1:
    """Whether cloudpickle.register_pickle_by_value() has been told of it, or of
    a package above it."""
    global registered
    if registered is None:
        cloudpickle = modules.get("cloudpickle.cloudpickle")
        if cloudpickle is None:
            return False
        registered = getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", ())
    if not registered:
        return False
    while module not in registered:
        module, dot, _ = module.rpartition(".")
        if not dot:
            return False
    return True


cdef bint goes_by_name(Pool pool, object fn, str module, tuple path) except -1:
    """Whether workers find under this name what the parent means. What was
    replaced or deleted since, goes by value."""
    if named(modules, module, path) is not fn or is_registered(module):
        return False
    return module != "__main__" or (pool.main is not None and modules.get("__main__") is pool.main)


cdef inline bint describes(Pool pool, Callable c, object fn) except -1:
    """Whether that is what it was when it was described."""
    if c.kind == KIND_PYTHON:
        return c.path is None or goes_by_name(pool, fn, c.module, c.path)
    return not c.declared or (fn.argtypes is c.argtypes and fn.restype is c.restype and fn.errcheck is c.errcheck)


cdef Callable describe_python(Pool pool, object fn):
    """A function, builtin or class that is pickled by its name is named to the
    workers once; None for everything else, whose pickle may hold state."""
    cdef Callable c
    if isinstance(fn, FunctionType):
        pass
    elif type(fn) is BuiltinType:
        if fn.__self__ is not None and not isinstance(fn.__self__, type(sys)):
            return None
        if BuiltinType in pickling.dispatch_table():
            return None
    elif type(fn) is not type:
        return None
    module, name = getattr(fn, "__module__", None), fn.__qualname__
    if type(module) is not str or type(name) is not str:
        return None
    path = tuple(map(sys.intern, name.split(".")))
    if named(modules, module, path) is not fn:
        return None
    pool.ready_for_python()
    if not goes_by_name(pool, fn, module, path):
        return None
    try:
        text = pickle_dumps((module, path, pickle_dumps(fn, 5)), 5)
    except Exception:
        return None
    text = description(FL_DESCRIBE_PYTHON, 0, b"", b"", b"", text)
    if not pool.may_describe(text):
        return None
    c = Callable.__new__(Callable)
    c.kind = KIND_PYTHON
    c.name = name
    # A builtin's module is the same in every worker, whatever is patched here.
    c.module, c.path = module, None if type(fn) is BuiltinType else path
    c.main = pool.main
    c.chunk = is_chunk(fn)
    c.id = pool.describe(text)
    return c


cdef Callable task_callable(Pool pool, Callable described, object fn, tuple args):
    """What messages call a task: a function that is pickled with it, or of a
    chunk of map() the user's."""
    cdef Callable c = Callable.__new__(Callable)
    c.kind = KIND_PYTHON
    c.id = described.id if described is not None else 0
    c.main = pool.main
    c.chunk = is_chunk(fn)
    c.name = pickling.name_of(args[0] if c.chunk and args else fn)
    return c


cdef bint is_chunk(object fn) except -1:
    return isinstance(fn, FunctionType) and hasattr(fn, "__fuload_picklable__")


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
    try:
        if c is None:
            stream, buffers = pickling.dump((fn, args, kwargs), pool.main)
        elif not kwargs and is_plain(args):
            stream, buffers = pickle_dumps(args, 5), None
        else:
            stream, buffers = pickling.dump((args, kwargs) if kwargs else args, pool.main)
    except Exception as error:
        return future.fail_at_once(pool, pickling.explained(error, future.callable.name, parts_of(future.callable, fn, args, kwargs),
                                                             pool.main))
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


cdef list parts_of(Callable c, object fn, tuple args, dict kwargs):
    """What is pickled of a task, and what messages call it."""
    if c.chunk:
        fn, calls = args
        parts = [(f"argument {i + 1}", value) for call in calls for i, value in enumerate(call)]
    else:
        parts = [(f"argument {i + 1}", value) for i, value in enumerate(args)]
    return [("the function", fn), *parts, *((f"argument {key!r}", value) for key, value in kwargs.items())]


cdef uint64_t copy_view(char *to, object view) except? 0:
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_SIMPLE)
    copy_in(to, buffer.buf, <uint64_t>buffer.len)
    part = <uint64_t>buffer.len
    PyBuffer_Release(&buffer)
    return part
