# What map() returns: an iterator that a loop reads at the speed of C.

@cython.final
cdef class MapResults:
    """One result after the other, out of columns of them. None lives longer here
    than until it is asked for."""
    cdef object columns         # an iterator of columns; it raises what a call has raised
    cdef list values            # the column that is read, if it is not packed
    cdef bytes packed
    cdef bint floats
    cdef Py_ssize_t at, count   # in it
    cdef object __weakref__

    def __init__(self, columns):
        self.columns = columns

    def __iter__(self):
        return self

    def __next__(self):
        cdef Py_ssize_t at
        while self.at >= self.count:
            self.read_next()
        at = self.at
        self.at += 1
        if self.packed is not None:
            return packed_item(PyBytes_AS_STRING(self.packed) + 8 * at, self.floats)
        return taken_out(self.values, at)

    cdef int read_next(self) except -1:
        self.at = self.count = 0
        self.values = self.packed = None
        column = next(self.columns)
        if isinstance(column, list):
            self.values = column
            self.count = PyList_GET_SIZE(column)
        else:
            letter, self.packed = column
            self.floats = letter == "d"
            self.count = PyBytes_GET_SIZE(self.packed) // 8
        return 0

    def close(self):
        """What is not finished is cancelled, as a generator's close() would."""
        # They go last: their finalizers may read this iterator.
        cdef list values = self.values
        self.at = self.count = 0
        self.values = self.packed = None
        self.columns.close()


cdef object taken_out(list values, Py_ssize_t at):
    item = <object>PyList_GET_ITEM(values, at)
    values[at] = None
    return item
