# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, auto_pickle=False
"""The Python host: the same loop as in fuload-worker, with Python tasks called.

`main()` is what the interpreter runs after a worker has become Python. It
serves until the worker is told to leave. The interpreter's lock is held while
Python runs and let go while the loop waits or runs C.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact, PyLong_FromLongLong
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from protocol cimport *

include "copies.pxi"
include "names.pxi"


cdef inline void copy_in(char *to, const void *data, uint64_t size) noexcept:
    """Under the interpreter's lock: no thread of the task's writes meanwhile."""
    fl_copy(to, data, size)


include "frames.pxi"
include "columns.pxi"


def _import_pickler():
    """_pickle asks functools for `partial` alone, which is written in C; the
    rest of functools, and collections with it, would take longer to import
    than everything else here."""
    import sys
    modules = sys.modules
    if "functools" in modules:
        import _pickle
    else:
        import _functools
        modules["functools"] = _functools
        try:
            import _pickle
        finally:
            del modules["functools"]
    return _pickle.loads


pickle_loads = _import_pickler()

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)
    Py_ssize_t Py_REFCNT(PyObject *o)

cdef extern from *:
    """
    extern const PyConfig *_Py_GetConfig(void) __attribute__((weak));

    /* As if -S had not been given: `site` looks at sys.flags, and the
     * interpreters that a task makes are configured like this one. */
    static void fl_take_back_S(PyObject *flags, Py_ssize_t no_site)
    {
        PyStructSequence_SetItem(flags, no_site, PyLong_FromLong(0)); /* the 1 that was there lives for ever */
        if (_Py_GetConfig)
            ((PyConfig *)_Py_GetConfig())->site_import = 1;
    }
    """
    void fl_take_back_S(object flags, Py_ssize_t no_site)

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *at, size_t length, int protection, int flags, int fd, long offset)
    void *mremap(void *at, size_t old, size_t new, int flags, ...)
    int munmap(void *at, size_t length)
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MREMAP_MAYMOVE, MREMAP_FIXED
    void *MAP_FAILED

cdef extern from "worker/worker.h":
    ctypedef struct fl_call "struct fl_call":
        fl_slot *slot
        uint32_t index
        const char *request
        uint64_t request_size
        char *reply
        uint64_t reply_size
    ctypedef struct fl_host "struct fl_host":
        void *context
        void (*call_python)(fl_worker *w) noexcept
        void (*leave_python)(void *context) noexcept
        void (*enter_python)(void *context) noexcept
        bint python_tasks_see_signals
    ctypedef struct fl_worker "struct fl_worker":
        fl_region region
        fl_call call
        fl_host host
        uint32_t index
        int interrupted
        int in_python_task
        bint last_task
    void fl_leave_if_forked(fl_worker *w)
    void fl_call_starts(fl_worker *w)
    fl_mapping *fl_request_mapping(fl_worker *w)
    const char *fl_attach(fl_worker *w)
    void fl_signals_wake(fl_worker *w)
    char *fl_reply_reserve(fl_worker *w, uint64_t size)
    void fl_reply_send(fl_worker *w, int kind)
    void fl_reply_scalar(fl_worker *w, int kind, uint64_t scalar)
    void fl_reply_bytes(fl_worker *w, int kind, const void *data, uint64_t size)
    int fl_serve(fl_worker *w, int32_t resume)
    void fl_say_python_starts()
    void fl_libraries_close()


cdef fl_worker worker
cdef PyThreadState *thread_state = NULL
cdef dict functions = {}      # description id -> (module, path, pickle)
cdef dict modules             # sys.modules
cdef bint is_set_up = False
cdef str failed_setup = None   # why it failed: no task is run then
_pickling = None              # fuload_exec._pickling, imported when first needed


cdef void leave_python(void *context) noexcept:
    global thread_state
    thread_state = PyEval_SaveThread()


cdef void enter_python(void *context) noexcept:
    PyEval_RestoreThread(thread_state)


# -- arguments that stand in the window ----------------------------------------

@cython.final
cdef class Kept:
    """Pages that outlive their task, given back with the last view of them."""
    cdef char *at
    cdef size_t size

    def __dealloc__(self):
        if self.at != NULL:
            munmap(self.at, self.size)


@cython.final
cdef class View:
    """A buffer of a request, where it stands: no copy."""
    cdef char *at
    cdef uint64_t size
    cdef bint readonly
    cdef Kept kept

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.at, <Py_ssize_t>self.size, self.readonly, flags)


cdef int keep_escaped(list views, Kept kept) except -1:
    """If the task has let a view escape: private pages with the same content
    at the same address, before the slot goes back. The worker maps the window
    somewhere else next time. Without memory for them the next task's request
    would stand in what this one has kept, so then there is no next task."""
    cdef fl_mapping *m = fl_request_mapping(&worker)
    cdef bint escaped = False
    cdef void *copy
    cdef size_t size
    for i in range(PyList_GET_SIZE(views)):
        # One reference is the list's own.
        if Py_REFCNT(<PyObject *>PyList_GET_ITEM(views, i)) > 1:
            escaped = True
    if not escaped:
        return 0
    worker.last_task = True
    size = m.size
    copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if copy == MAP_FAILED:
        raise MemoryError("no memory to keep an argument that outlives its task")
    fl_copy(copy, m.at, worker.call.request_size)
    if mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, m.at) == MAP_FAILED:
        munmap(copy, size)
        raise MemoryError("no memory to keep an argument that outlives its task")
    kept.at = m.at
    kept.size = size
    m.at = NULL
    m.size = 0
    worker.region.windows -= 1
    worker.last_task = False
    return 0


cdef object load(list views, Kept kept):
    """The request's pickle; large buffers become views, small ones copies."""
    cdef fl_pickle head
    cdef const char *at = worker.call.request
    cdef uint64_t size = worker.call.request_size, offset = 0, part = 0
    cdef bint readonly = False
    cdef uint32_t i
    cdef View view
    cdef bint in_window = size > worker.region.plan.slot_size
    if not fl_pickle_head(at, size, &head, &offset):
        raise ValueError("the request holds no pickle")
    stream = copied_bytes(at + offset, head.stream_size)
    if not head.buffers:
        return pickle_loads(stream)
    offset += head.stream_size
    buffers = []
    for i in range(head.buffers):
        if not fl_pickle_buffer(at, size, i, &offset, &part, &readonly):
            raise ValueError("the request holds no pickle")
        if in_window and not head.flags & FL_PICKLE_COPIES:
            view = View.__new__(View)
            view.at = <char *>at + offset
            view.size = part
            view.readonly = readonly
            view.kept = kept
            views.append(view)
            buffers.append(view)
        elif readonly:
            buffers.append(copied_bytes(at + offset, part))
        else:
            buffers.append(copied_bytearray(at + offset, part))
        offset += part
    return pickle_loads(stream, buffers=buffers)


cdef object described_function(uint32_t number):
    """Looked up under its name each time, as pickle would: a task may have
    reloaded its module, or put another in its place."""
    names = functions.get(number)
    if names is None:
        body = described(number, FL_DESCRIBE_PYTHON)
        if body is None:
            raise ValueError(f"the request names no callable ({number})")
        names = functions[number] = pickle_loads(body)
    module, path, text = names
    fn = named(modules, module, path)
    return fn if fn is not None else pickle_loads(text)


cdef bytes described(uint32_t number, uint32_t kind):
    """What a description of this kind holds, or None."""
    cdef const fl_description *d = fl_description_map(&worker.region, number)
    if d == NULL:
        return None
    try:
        if d.kind == kind:
            return PyBytes_FromStringAndSize(fl_description_body(d), <Py_ssize_t>d.body_size)
        return None
    finally:
        fl_description_unmap(&worker.region, number, d)


# -- replies: prepared here, sent when nothing of the task is left ------------------


include "host_reply.pxi"


cdef int set_up() except -1:
    """Before the first task; what goes wrong stands in failed_setup."""
    global is_set_up, failed_setup
    if is_set_up:
        return 0
    is_set_up = True
    try:
        prepared = described(worker.region.header.setup_function, FL_DESCRIBE_SETUP)
        if prepared is None:
            return 0
        from fuload_exec._in_worker.setup import prepare
        prepare(prepared, worker.index)
    except BaseException as error:
        if type(error).__name__ == "MainNotImported":
            failed_setup = f"{error}\0"
        else:
            failed_setup = f"the initializer failed: {one_line(error)}\0{traceback_text(error)}"
            from fuload_exec._in_worker.setup import tell_failure
            tell_failure(error)
    return 0


cdef int run_task(list views, Kept kept) except -1:
    """Run the request and prepare its reply; nothing of the task is left in
    this frame afterwards."""
    cdef fl_pickle head
    value = kwargs = None
    try:
        if worker.call.slot.request_kind == FL_CALL_PYTHON:
            fn = described_function(worker.call.slot.function)
            args = load(views, kept)
            memcpy(&head, worker.call.request, sizeof(head))
            if head.flags & FL_PICKLE_KEYWORDS:
                args, kwargs = args
        else:
            fn, args, kwargs = load(views, kept)
    except BaseException as error:
        reply_error(FL_REPLY_NOT_REBUILT, error)
        return 0
    try:
        # Imports that the arguments bring in are not the task's own time: with
        # a timeout shorter than these it would fail in each new worker.
        fl_call_starts(&worker)
        worker.in_python_task = True
        value = fn(*args, **kwargs) if kwargs else fn(*args)
        worker.in_python_task = False
        try:
            reply_value(value)
        except Exception as error:
            if not hasattr(fn, "__fuload_picklable__"):
                raise pickling().explained(error, pickling().name_of(fn), [("the result", value)])
            reply_value(fn.__fuload_picklable__(value, args[0]))
    except BaseException as error:
        worker.in_python_task = False
        fn = args = kwargs = value = None
        reply_error(FL_REPLY_RAISED, error)
    return 0


cdef void call_python(fl_worker *w) noexcept:
    global reply_kind
    cdef list views = []
    cdef Kept kept = Kept.__new__(Kept)
    reply_kind = FL_REPLY_UNSET
    try:
        set_up()
        if failed_setup is None:
            run_task(views, kept)
        else:
            reply_text(FL_REPLY_SETUP_FAILED, failed_setup)
        if views:
            keep_escaped(views, kept)
    except BaseException as error:
        refuse(error)
    fl_reply_send(w, reply_kind)


cdef void refuse(object error) noexcept:
    """Something is sent in any case: else the future would never end."""
    global reply_kind
    cdef const char *plain = "the worker could not run the task"
    try:
        reply_text(FL_REPLY_REFUSED, f"the worker could not run the task: {type(error).__name__}: {said(error)}")
    except BaseException:
        # No memory, or an exception that cannot be turned into text.
        worker.call.reply_size = 0
        if fl_reply_reserve(&worker, strlen(plain)) != NULL:
            memcpy(worker.call.reply, plain, strlen(plain))
            worker.call.reply_size = strlen(plain)
        reply_kind = FL_REPLY_REFUSED


cdef int leave_removed_directory() except -1:
    """A look for what a module does not have fails in Python 3.13.0 with a
    SystemError where the current directory is gone. See _in_worker/setup.py for where
    the worker goes then."""
    import posix
    try:
        posix.getcwd()
    except OSError:
        posix.chdir("/")
    return 0


cdef int run_site(tuple finders) except -1:
    """What -S has left out, with the same sys.path as at the interpreter's start."""
    import sys
    from fuload_exec._in_worker.site import run
    fl_take_back_S(sys.flags, type(sys.flags).__match_args__.index("no_site"))
    run(finders)
    return 0


def main(site=False, finders=()):
    """Serve as a worker until told to leave; only a fuload worker calls it.
    `site`: it is still to be imported (see _in_worker/site.py)."""
    cdef const char *why
    cdef uint64_t resume
    cdef int code
    global modules
    fl_say_python_starts()
    leave_removed_directory()
    if site:
        run_site(finders)
    import os
    import sys
    modules = sys.modules
    memset(&worker, 0, sizeof(worker))
    worker.host.call_python = call_python
    worker.host.leave_python = leave_python
    worker.host.enter_python = enter_python
    worker.host.python_tasks_see_signals = True
    why = fl_attach(&worker)
    if why != NULL:
        sys.exit(f"fuload_exec: cannot serve: {why.decode()}")
    os.environ.pop("FULOAD_WORKER", None)
    fl_store(&worker.region.blocks[worker.index].python, FL_PYTHON_SERVES)
    fl_signals_wake(&worker)
    resume = fl_load(&worker.region.blocks[worker.index].slot)
    if not resume:  # started as an interpreter: no task waits meanwhile
        set_up()
    code = fl_serve(&worker, <int32_t>min(resume, <uint64_t>FL_MAX_SLOTS + 1) - 1)
    fl_libraries_close()
    try:
        # After the parent's SIGINT: Python's own handler has still to have its say.
        PyErr_CheckSignals()
    except KeyboardInterrupt:
        pass
    sys.exit(code)
