# Where each task enters.

cdef object empty_tuple = ()
ctypedef object (*new_function)(PyTypeObject *, PyObject *, PyObject *)


cdef class Submitter:
    """The part of FuloadExecutor that every task goes through."""
    cdef public Pool _pool
    cdef PyTypeObject *future_class
    cdef object future_type
    cdef uint64_t limit_ns
    cdef uint32_t retries

    def _bind(self, Pool pool, future_type, timeout, uint32_t max_retries):
        """Submit to this pool, with these options."""
        self._pool = pool
        self.future_type = future_type
        self.future_class = <PyTypeObject *>future_type
        self.limit_ns = max(<uint64_t>1, <uint64_t>(<double>timeout * 1e9)) if timeout is not None else 0
        self.retries = max_retries

    cdef CoreFuture new_future(self):
        """An instance without its __init__."""
        cdef PyTypeObject *cls = self.future_class
        cdef CoreFuture future = <CoreFuture>(<new_function>cls.tp_new)(cls, <PyObject *>empty_tuple, NULL)
        future.limit_ns = self.limit_ns
        future.retries = self.retries
        return future

    def submit(self, fn, /, *args, **kwargs):
        """Schedule fn(*args, **kwargs) and return a FuloadFuture.

        `fn` is any picklable callable, a ctypes function with argtypes, a
        NativeFunction or a NativeTask.
        """
        try:
            return self._pool.submit(self, fn, args, kwargs)
        except BaseException:
            see_interrupt_through()
            raise
