# Native requests: cells, and the buffers behind them.

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
    cdef fl_address a
    cdef Place place
    cdef Views views = Views.__new__(Views)
    cdef uint64_t end = c.cells
    cdef Py_ssize_t i
    for i in range(c.count):
        if c.take[i] == TAKE_ADDRESS:
            end = convert_address(c, i, args[i], cells + c.at[i], end, views, &placed[i])
        else:
            placed[i] = -1
            convert_scalar(c, i, args[i], cells + c.at[i])
    reserve(pool, end, &place)
    memcpy(place.at, cells, c.cells)
    for i in range(c.count):
        if placed[i] >= 0:
            memcpy(&a, cells + c.at[i], sizeof(a))
            copy_in(place.at + a.value, views.view[placed[i]].buf, <uint64_t>views.view[placed[i]].len)
            memset(place.at + a.value + <uint64_t>views.view[placed[i]].len, 0, 4)
    if views.any_inout:
        future.views = views
    return commit(pool, &place, future, c.id, FL_CALL_FUNCTION, end)


cdef void copy_in(char *to, const void *data, uint64_t size) noexcept:
    """A long copy lets other threads run. The place is the caller's alone."""
    if size < SMALL_COPY:
        fl_copy(to, data, size)
    else:
        with nogil:
            fl_copy(to, data, size)


cdef int submit_bytes(Pool pool, Callable c, CoreFuture future, tuple args, dict kwargs) except -1:
    """A plug-in's task: one buffer, or nothing."""
    cdef Place place
    cdef Views views = Views.__new__(Views)
    cdef Py_buffer *view = &views.view[0]
    if kwargs or len(args) != 1:
        raise TypeError(f"{c.name}() is a plug-in's task and takes one buffer")
    try:
        PyObject_GetBuffer(args[0], view, PyBUF_C_CONTIGUOUS)
    except TypeError:
        raise TypeError(f"{c.name}() takes a buffer (bytes, bytearray, memoryview, array), "
                        f"got {type(args[0]).__name__}") from None
    views.count = 1
    reserve(pool, <uint64_t>view.len, &place)
    copy_in(place.at, view.buf, <uint64_t>view.len)
    return commit(pool, &place, future, c.id, FL_CALL_TASK, <uint64_t>view.len)


# -- where a ctypes function comes from --------------------------------------

cdef extern from "<dlfcn.h>" nogil:
    ctypedef struct Dl_info:
        const char *dli_fname
    void *dlopen(const char *path, int flags)
    void *dlsym(void *handle, const char *name)
    char *dlerror()
    int dlclose(void *handle)
    int dlinfo(void *handle, int request, void *info)
    int dladdr(const void *address, Dl_info *info)
    int RTLD_DI_LINKMAP, RTLD_DI_ORIGIN, RTLD_LAZY, RTLD_NOLOAD

cdef extern from "<link.h>" nogil:
    struct link_map:
        const char *l_name


cdef extern from "<limits.h>":
    int PATH_MAX


cdef object library_path(void *handle, void *address, str name):
    """The file that holds the function: the one that is open here, not what a
    second search would find."""
    cdef link_map *map = NULL
    cdef Dl_info found
    cdef char origin[4096 + 1]
    cdef bytes path = b""
    if dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 and map != NULL and map.l_name != NULL:
        path = map.l_name
    if path and not path.startswith(b"/") and dlinfo(handle, RTLD_DI_ORIGIN, origin) == 0:
        path = os.path.join(<bytes>origin, os.path.basename(path))
    if not path:
        # The main program's handle searches all libraries that are loaded.
        if dladdr(address, &found) == 0 or found.dli_fname == NULL:
            raise TypeError(f"{name}(): the library that holds it cannot be told")
        path = os.path.abspath(found.dli_fname)
        if not is_library(path):
            raise TypeError(f"{name}() is part of this program itself ({os.fsdecode(path)}), not of a shared library "
                            f"that a worker could open")
    return path


cdef bint is_library(bytes path):
    """Not the main program: it would be open as a library already."""
    cdef void *handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD)
    if handle == NULL:
        return False
    dlclose(handle)
    return True


cdef tuple found_in_library(object fn):
    """(path, name) of a ctypes function; TypeError if no worker can find it."""
    cdef void *address = (<void **><uintptr_t>ctypes.addressof(fn))[0]
    name = getattr(fn, "__name__", None)
    objects = getattr(fn, "_objects", None)
    library = objects.get("0") if isinstance(objects, dict) else None
    if not isinstance(name, str) or not isinstance(library, ctypes.CDLL):
        raise TypeError(f"{name or 'this function'}() was made from an address or a Python callable, not taken from a "
                        f"library: only functions of a ctypes.CDLL can be called in a worker")
    if type(fn)._flags_ & 4:
        raise TypeError(f"{name}() belongs to a ctypes.PyDLL: it needs the interpreter's lock, and workers for C "
                        f"functions have no interpreter")
    handle = <void *><uintptr_t>library._handle
    if dlsym(handle, name.encode()) != address:
        raise TypeError(f"{name}() is no symbol of {library._name} under that name")
    return library_path(handle, address, name), name


cdef Callable describe_native(Pool pool, object fn):
    """A function object of a ctypes.CDLL."""
    path, name = found_in_library(fn)
    return describe_function(pool, fn.argtypes, fn.restype, fn.errcheck, path, name, (type(fn)._flags_ & 8) != 0)


cdef Callable describe_function(Pool pool, object argtypes, object restype, object errcheck, bytes path, str name,
                                bint use_errno):
    cdef Callable c = native_callable(argtypes, restype, errcheck, name, use_errno)
    c.id = pool.describe(description(FL_DESCRIBE_FUNCTION, <uint32_t>c.count, c.types, path + b"\0",
                                     name.encode() + b"\0", b"", FL_USES_ERRNO if use_errno else 0))
    return c


def native_function(Pool pool, argtypes, restype, path, str name, use_errno):
    """For NativeFunction: the description of a function named by its file."""
    return describe_function(pool, argtypes, restype, None, os.fsencode(path), name, use_errno)


def native_task(Pool pool, path, str name):
    """For NativeTask: the description of a plug-in's task."""
    cdef Callable c = Callable.__new__(Callable)
    c.kind = KIND_TASK
    c.name = name
    c.id = pool.describe(description(FL_DESCRIBE_TASK, 0, b"", os.fsencode(path or "") + b"\0",
                                     name.encode() + b"\0", b""))
    return c


def function_library(fn):
    """(path, name) of a ctypes function; TypeError if a worker cannot find it."""
    path, name = found_in_library(fn)
    return os.fsdecode(path), name
