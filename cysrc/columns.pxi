# A column of a map's chunk: one argument of each call, or each result. Where all
# are floats, or ints of at most 64 bits, it travels as 8 bytes an item.
# The parent and the Python host include this.

def pack_column(list values):
    """("d" or "q", the items' bytes) where all are floats or such ints; else `values`."""
    cdef Py_ssize_t count = PyList_GET_SIZE(values)
    if count and PyFloat_CheckExact(<object>PyList_GET_ITEM(values, 0)):
        return packed_floats(values, count)
    if count and PyLong_CheckExact(<object>PyList_GET_ITEM(values, 0)):
        return packed_ints(values, count)
    return values


cdef object packed_floats(list values, Py_ssize_t count):
    cdef bytes data = PyBytes_FromStringAndSize(NULL, 8 * count)
    cdef double *to = <double *><void *>PyBytes_AS_STRING(data)
    cdef PyObject *item
    cdef Py_ssize_t i
    for i in range(count):
        item = PyList_GET_ITEM(values, i)
        if not PyFloat_CheckExact(<object>item):
            return values
        to[i] = PyFloat_AS_DOUBLE(<object>item)
    return "d", data


cdef object packed_ints(list values, Py_ssize_t count):
    cdef bytes data = PyBytes_FromStringAndSize(NULL, 8 * count)
    cdef long long *to = <long long *><void *>PyBytes_AS_STRING(data)
    cdef PyObject *item
    cdef Py_ssize_t i
    cdef int overflow = 0
    for i in range(count):
        item = PyList_GET_ITEM(values, i)
        if not PyLong_CheckExact(<object>item):
            return values
        to[i] = PyLong_AsLongLongAndOverflow(<object>item, &overflow)
        if overflow:
            return values
    return "q", data


def unpack_column(column):
    """The list that pack_column() was given."""
    cdef list values
    cdef bytes data
    cdef const char *at
    cdef Py_ssize_t i
    cdef bint floats
    if isinstance(column, list):
        return column
    letter, data = column
    floats = letter == "d"
    at = PyBytes_AS_STRING(data)
    values = PyList_New(PyBytes_GET_SIZE(data) // 8)
    for i in range(PyBytes_GET_SIZE(data) // 8):
        item = packed_item(at + 8 * i, floats)
        Py_INCREF(item)
        PyList_SET_ITEM(values, i, item)
    return values


cdef inline object packed_item(const char *at, bint floats):
    cdef double d
    cdef long long number
    if floats:
        memcpy(&d, at, 8)
        return PyFloat_FromDouble(d)
    memcpy(&number, at, 8)
    return PyLong_FromLongLong(number)
