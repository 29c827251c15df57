# Payloads of the region as Python objects.

cdef inline bytes copied_bytes(const char *at, uint64_t size):
    made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    fl_copy_fresh(PyBytes_AS_STRING(made), at, size)
    return made


cdef inline object copied_bytearray(const char *at, uint64_t size):
    made = PyByteArray_FromStringAndSize(NULL, <Py_ssize_t>size)
    fl_copy_fresh(PyByteArray_AS_STRING(made), at, size)
    return made
