# What can be submitted, described once per pool.

cdef enum:
    MOST_EQUALS = 4096         # NativeFunctions and NativeTasks that are found by equality


@cython.final
cdef class Catalogue:
    """What a pool has described to its workers, and how it is found again."""
    cdef dict known                # id(function) -> Callable
    cdef dict equals               # (class, value) of a NativeFunction or NativeTask -> Callable
    cdef dict described            # description bytes -> id
    cdef uint32_t next_function
    cdef uint64_t descriptions_end
    cdef object main               # the __main__ that workers import; None: what is of it goes by value
    cdef list host                 # the interpreter's argv, bytes; none before the first Python task

    def __cinit__(self):
        self.known, self.equals, self.described = {}, {}, {}
        self.next_function = 1
        self.host = []


cdef bytes description(uint32_t kind, uint32_t arguments, bytes types, bytes library, bytes name, bytes body,
                       uint32_t flags=0):
    cdef fl_description d
    memset(&d, 0, sizeof(d))
    d.kind = kind
    d.arguments = arguments
    d.flags = flags
    d.types_size = <uint32_t>len(types)
    d.library_size = <uint32_t>len(library)
    d.name_size = <uint32_t>len(name)
    d.body_size = len(body)
    return PyBytes_FromStringAndSize(<char *>&d, sizeof(d)) + types + library + name + body


cdef Callable describe_native(Pool pool, object fn):
    """A function object of a ctypes.CDLL."""
    cdef Callable c = describe_function(pool, fn, fn.argtypes, fn.restype, fn.errcheck, (type(fn)._flags_ & 8) != 0)
    c.declared = True
    c.overridden = overrides(type(fn))
    return c


cdef Callable describe_function(Pool pool, object fn, object argtypes, object restype, object errcheck,
                                bint use_errno):
    path, name, file = found_in_library(fn)
    cdef Callable c = native_callable(argtypes, restype, errcheck, name, use_errno)
    c.id = describe(pool, description(FL_DESCRIBE_FUNCTION, <uint32_t>c.count, c.types, path + b"\0",
                                      name.encode() + b"\0", file, FL_USES_ERRNO if use_errno else 0))
    return c


def native_function(Pool pool, fn, argtypes, restype, use_errno):
    """For NativeFunction: the description of the ctypes function that it stands for."""
    return describe_function(pool, fn, argtypes, restype, None, use_errno)


def native_task(Pool pool, path, str name):
    """For NativeTask: the description of a plug-in's task."""
    cdef Callable c = Callable.__new__(Callable)
    c.kind = KIND_TASK
    c.name = name
    c.id = describe(pool, description(FL_DESCRIBE_TASK, 0, b"", os.fsencode(path or "") + b"\0",
                                      name.encode() + b"\0", b""))
    return c


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
    return module != "__main__" or (pool.catalogue.main is not None and modules.get("__main__") is pool.catalogue.main)


cdef inline bint describes(Pool pool, Callable c, object fn) except -1:
    """Whether that is what it was when it was described."""
    if c.kind == KIND_PYTHON:
        return c.path is None or goes_by_name(pool, fn, c.module, c.path)
    if not c.declared:
        return True
    if c.overridden:
        return fn.argtypes is c.argtypes and fn.restype is c.restype and fn.errcheck is c.errcheck
    return fl_attribute_is(fn, argtypes_of, c.argtypes) and fl_attribute_is(fn, restype_of, c.restype) and \
        fl_attribute_is(fn, errcheck_of, c.errcheck)


cdef bint is_chunk(object fn) except -1:
    return isinstance(fn, FunctionType) and hasattr(fn, "__fuload_picklable__")


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
    ready_for_python(pool)
    if not goes_by_name(pool, fn, module, path):
        return None
    try:
        text = pickle_dumps((module, path, pickle_dumps(fn, 5)), 5)
    except Exception:
        return None
    text = description(FL_DESCRIBE_PYTHON, 0, b"", b"", b"", text)
    if not may_describe(pool, text):
        return None
    c = Callable.__new__(Callable)
    c.kind = KIND_PYTHON
    c.name = name
    # A builtin's module is the same in every worker, whatever is patched here.
    c.module, c.path = module, None if type(fn) is BuiltinType else path
    c.main = pool.catalogue.main
    c.chunk = is_chunk(fn)
    c.id = describe(pool, text)
    return c


cdef Callable task_callable(Pool pool, Callable described, object fn, tuple args):
    """What messages call a task: a function that is pickled with it, or of a
    chunk of map() the user's."""
    cdef Callable c = Callable.__new__(Callable)
    c.kind = KIND_PYTHON
    c.id = described.id if described is not None else 0
    c.main = pool.catalogue.main
    c.chunk = is_chunk(fn)
    c.name = pickling.name_of(args[0] if c.chunk and args else fn)
    return c


cdef uint32_t describe(Pool pool, bytes text) except 0:
    """The number under which workers find this description."""
    known = pool.catalogue.described.get(text)
    if known is not None:
        return known
    still_open(pool)
    return append_description(pool, text)


cdef uint32_t append_description(Pool pool, bytes text) except 0:
    cdef uint32_t number = pool.catalogue.next_function
    cdef uint64_t start, size = len(text)
    cdef char *at
    if number >= pool.region.plan.functions:
        raise RuntimeError(f"a pool can name {pool.region.plan.functions - 1} different functions, these are used "
                           f"up{because_of_files(pool)}")
    if size > description_room(pool):
        raise RuntimeError(f"the pool has {description_room(pool)} bytes left to describe functions and an "
                           f"initializer, this one takes {size}{because_of_files(pool)}")
    start = pool.catalogue.descriptions_end // FL_GRAIN * FL_GRAIN
    pool.own_region()
    at = <char *>mmap(NULL, pool.catalogue.descriptions_end - start + size, PROT_READ | PROT_WRITE, MAP_SHARED,
                      pool.region.fd, <long>start)
    if at == <char *>MAP_FAILED:
        raise _refusals.refused(f"mmap of {size} bytes for a description", errno)
    memcpy(at + (pool.catalogue.descriptions_end - start), PyBytes_AS_STRING(text), size)
    munmap(at, pool.catalogue.descriptions_end - start + size)
    pool.region.functions[number].at = pool.catalogue.descriptions_end
    pool.region.functions[number].length = size
    pool.catalogue.descriptions_end = fl_round(pool.catalogue.descriptions_end + size, FL_LINE)
    pool.catalogue.next_function = number + 1
    if size < 1 << 16:
        pool.catalogue.described[text] = number
    return number


cdef uint64_t description_room(Pool pool) noexcept:
    return pool.region.plan.descriptions_at + pool.region.plan.descriptions_size - pool.catalogue.descriptions_end


cdef str because_of_files(Pool pool):
    return f" (RLIMIT_FSIZE, ulimit -f, leaves no more: it is {pool.payload.file_limit})" if pool.payload.file_limit else ""


cdef bint may_describe(Pool pool, bytes text) except -1:
    """A Python function; it can be pickled with each task. The last quarter is
    for C functions, which cannot."""
    return text in pool.catalogue.described or (
        pool.catalogue.next_function < pool.region.plan.functions - pool.region.plan.functions // 4 and
        pool.region.plan.descriptions_size // 4 + <uint64_t>len(text) < description_room(pool))


cdef int ready_for_python(Pool pool) except -1:
    """Before the first Python task: say which interpreter and what set-up."""
    cdef uint32_t set_up, interpreter
    if pool.setup is not None:
        host, prepared, pool.catalogue.main = pool.setup()
        pool.catalogue.host = host.split(b"\0")
        pool.catalogue.host.pop()  # each is ended by a zero
        set_up = describe(pool, description(FL_DESCRIBE_SETUP, 0, b"", b"", b"", prepared))
        interpreter = describe(pool, description(FL_DESCRIBE_HOST, 0, b"", b"", b"", host))
        still_open(pool)  # other threads ran meanwhile
        pool.region.header.setup_function, pool.region.header.host_function = set_up, interpreter
        pool.setup = None
    return 0


cdef int refuse_python(Pool pool, str why) except -1:
    """The interpreter is none: no worker execs it any more."""
    if pool.gone():
        return 0
    pool.region.header.host_function = 0
    text = description(FL_DESCRIBE_NO_HOST, 0, b"", b"", b"", why.encode("utf-8", "backslashreplace"))
    pool.region.header.host_function = pool.catalogue.described.get(text) or append_description(pool, text)
    return 0


cdef int remember(Pool pool, object fn, Callable c) except -1:
    known, key = pool.catalogue.known, <uintptr_t><PyObject *>fn
    c.reference = weakref.ref(fn, lambda _: known.pop(key, None))
    known[key] = c
    return 0


cdef Callable describe_anew(Pool pool, object fn):
    cdef Callable c
    if isinstance(fn, CFunction):
        c = describe_native(pool, fn)
    elif hasattr(type(fn), "__fuload_describe__"):
        # Copies that pickle makes are equal, and new each time.
        value = type(fn), fn._key()
        c = pool.catalogue.equals.get(value)
        if c is not None:
            return c
        c = fn.__fuload_describe__(pool)
        if len(pool.catalogue.equals) >= MOST_EQUALS:
            del pool.catalogue.equals[next(iter(pool.catalogue.equals))]
        pool.catalogue.equals[value] = c
    else:
        c = describe_python(pool, fn)
    if c is None:
        refuse_foreign(fn)
        return None
    remember(pool, fn, c)
    return c


cdef Callable find(Pool pool, object fn):
    """The callable's description, made at its first use; None if it has
    to be pickled with each task."""
    cdef Callable c = <Callable>pool.catalogue.known.get(<uintptr_t><PyObject *>fn)
    if c is not None and describes(pool, c, fn):
        return c
    return describe_anew(pool, fn)
