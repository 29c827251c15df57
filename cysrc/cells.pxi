# Arguments of a C function: a value into its cell.

cdef int refuse_masked(Callable c, Py_ssize_t i, object value) except -1:
    if is_masked(value):
        refuse_mask(value, f"{c.name}(): argument {i + 1}")
    return 0


cdef bint is_numpy_scalar(object value):
    """Its buffer is a copy of the number."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, "generic", ()))


cdef bint is_of_objects(object value):
    """An array of Python objects: its items are addresses."""
    try:
        return bool(getattr(getattr(value, "dtype", None), "hasobject", False)) or \
            "O" in (getattr(value, "format", None) or "")
    except ValueError:  # a memoryview that was released
        return False


cdef bint points_at_items(object argtype, object array):
    """byref(array) is a pointer to the first of its items: ctypes has only the
    array itself as that."""
    return is_kind(argtype, Pointer) and isinstance(array, Array) and \
        issubclass(base_type(type(array)), base_type(argtype._type_))


cdef int as_ctypes_allows(Callable c, Py_ssize_t i, object value) except -1:
    """A pointer says what it points at, and so does what ctypes itself has made."""
    try:
        c.argtypes[i].from_param(value)
    except (TypeError, ctypes.ArgumentError) as error:
        raise refuse(c, i, value, error) from None
    return 0


cdef object pointed_into(object pointer):
    """What a pointer made by cast() or by NumPy points into: a view from there
    to the end, or None if only the address is known."""
    array = getattr(pointer, "_arr", None)
    if array is not None:
        return array
    kept = pointer._objects
    address = ctypes.cast(pointer, void_p).value or 0
    for owner in kept.values() if isinstance(kept, dict) else (kept,):
        if isinstance(owner, bytes):
            # A string of ctypes ends behind the bytes that it was made of.
            start, size = <uintptr_t>PyBytes_AS_STRING(owner), len(owner) + 1
        elif isinstance(owner, CData) and not is_address(type(owner)):
            start, size = ctypes.addressof(owner), ctypes.sizeof(owner)
        else:
            continue
        offset = address - start
        if 0 <= offset < size:
            if isinstance(owner, bytes):
                return owner[offset:]
            return memoryview(owner).cast("B")[offset:] if offset else owner
    return None


cdef object without_addresses(Callable c, Py_ssize_t i, object target, object value):
    """`value`, unless what is pointed at are addresses of this process."""
    if is_address(type(target)):
        raise refuse(c, i, target, "pointers to pointers mean nothing in another process")
    return value


cdef object by_reference(Callable c, Py_ssize_t i, object value):
    """What byref(x[, offset]) points at: a view of the rest of x."""
    target = value._obj
    offset = (ctypes.cast(value, void_p).value or 0) - ctypes.addressof(target)
    if not 0 <= offset <= ctypes.sizeof(target):
        raise refuse(c, i, target, f"byref() with the offset {offset} points out of an object of "
                                   f"{ctypes.sizeof(target)} bytes")
    return memoryview(target).cast("B")[offset:] if offset else target


cdef object as_parameter(object value):
    """As ctypes: what stands for it, and for that."""
    cdef int depth
    for depth in range(8):
        if isinstance(value, CData) or not hasattr(value, "_as_parameter_"):
            break
        value = value._as_parameter_
    return value


cdef int convert_object(Callable c, Py_ssize_t i, object value, char *cell) except -1:
    """Through ctypes: what argtype(value) stores are the cell's bytes."""
    cdef Py_buffer view
    argtype = c.argtypes[i]
    refuse_masked(c, i, value)
    if not isinstance(value, argtype):
        value = as_parameter(value)
    if not isinstance(value, argtype):
        if c.codes[i] == FL_STRUCT:
            raise refuse(c, i, value, "an instance of the structure is allowed")
        try:
            value = argtype(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise refuse(c, i, value, error) from None
        except Exception as error:  # of a method of the value's; in ctypes it is an ArgumentError too
            raise refuse(c, i, value, f"{type(error).__name__}: {error}") from error
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    if c.codes[i] != FL_STRUCT:
        memset(cell, 0, 16 if c.codes[i] == FL_F80 else 8)
    # An instance of a subclass, or one that was resized, is longer.
    memcpy(cell, view.buf, <size_t>min(view.len, <Py_ssize_t>ctypes.sizeof(argtype)))
    PyBuffer_Release(&view)
    return 0


# An address argument is one of these for address_of: None, a number, or an
# object with a buffer.


cdef int convert_scalar(Callable c, Py_ssize_t i, object value, char *cell) except -1:
    cdef double d
    cdef float f
    cdef uint64_t n
    cdef int take = c.take[i]
    if take == TAKE_DOUBLE:
        if not PyFloat_CheckExact(value) and not PyLong_CheckExact(value):
            return convert_object(c, i, value, cell)
        try:
            d = PyFloat_AsDouble(value)
        except OverflowError as error:
            raise refuse(c, i, value, error) from None
        memcpy(cell, &d, 8)
    elif take == TAKE_INT:
        if not PyLong_CheckExact(value):
            return convert_object(c, i, value, cell)
        n = PyLong_AsUnsignedLongLongMask(value)
        memcpy(cell, &n, 8)
    elif take == TAKE_FLOAT:
        if not PyFloat_CheckExact(value):
            return convert_object(c, i, value, cell)
        f = <float>PyFloat_AsDouble(value)
        memset(cell, 0, 8)
        memcpy(cell, &f, 4)
    else:
        return convert_object(c, i, value, cell)
    return 0


cdef object buffer_of(Callable c, Py_ssize_t i, object value, object argtype):
    """What is neither a pointer nor an instance of one."""
    letter = argtype._type_ if is_simple(argtype) else None
    if isinstance(value, str):
        if letter != "Z" and letter != "P":
            raise refuse(c, i, value, "a buffer or None is allowed")
        return value.encode("utf-32-le" if sys.byteorder == "little" else "utf-32-be", "surrogatepass")
    if letter == "P" and isinstance(value, int):
        return value
    if letter == "z" and not isinstance(value, bytes) and not (isinstance(value, Array) and value._type_ is ctypes.c_char):
        raise refuse(c, i, value, "bytes, an array of c_char or None are allowed")
    if letter == "Z" and not (isinstance(value, Array) and value._type_ is ctypes.c_wchar):
        raise refuse(c, i, value, "str, an array of c_wchar or None are allowed")
    if is_kind(argtype, Array) and not isinstance(value, argtype):
        raise refuse(c, i, value, "an instance of the array type is allowed")
    if isinstance(value, Simple) and not is_kind(argtype, Pointer):
        raise refuse(c, i, value, "a buffer or byref(...) is allowed")
    if not PyObject_CheckBuffer(value):
        raise refuse(c, i, value, "a buffer (bytes, bytearray, array, ctypes instance) or None is allowed")
    if is_of_objects(value):
        raise refuse(c, i, value, "Python objects mean nothing in another process")
    if is_numpy_scalar(value):
        raise refuse(c, i, value, "a buffer or None is allowed, and int(...) for an address")
    return without_addresses(c, i, value, value)


cdef object address_of(Callable c, Py_ssize_t i, object value, bint *judged):
    """`judged`: its type is right, or says nothing. Else a buffer's items are
    still to be compared with what the pointer points at."""
    argtype = c.argtypes[i]
    judged[0] = True
    if is_ndpointer(argtype):
        as_ctypes_allows(c, i, value)
        if is_of_objects(value):
            raise refuse(c, i, value, "Python objects mean nothing in another process")
        return value
    if not PyObject_CheckBuffer(value):
        value = as_parameter(value)
    if value is None:
        return None
    if type(value) is ByReference:
        if not points_at_items(argtype, value._obj):
            as_ctypes_allows(c, i, value)
        return without_addresses(c, i, value._obj, by_reference(c, i, value))
    if isinstance(value, CFunction):
        raise refuse(c, i, value, "callbacks cannot cross")
    if isinstance(value, Pointer):
        as_ctypes_allows(c, i, value)
        if not value:
            return None
        # Of anything but a cast only what it is declared to point at is known to be there.
        target = pointed_into(value)
        return target if target is not None else without_addresses(c, i, value.contents, value.contents)
    if is_kind(argtype, Pointer):
        if isinstance(value, void_p) and getattr(value, "_arr", None) is not None:
            value = value._arr  # array.ctypes, which stands for the array
        judged[0] = isinstance(value, CData) and not (
            isinstance(value, Array) and is_simple(base_type(type(value))) and c.items[i] != c's')
        if judged[0]:
            as_ctypes_allows(c, i, value)
    if isinstance(value, (char_p, wchar_p, void_p)):
        target = pointed_into(value)
        if target is not None:
            return target
        value = value.value
        if value is None:
            return None
    return buffer_of(c, i, value, argtype)


cdef int convert_address(Callable c, Py_ssize_t i, object value, char *cell, Views views,
                         Py_ssize_t *placed) except -1:
    """The address cell of one argument; a buffer is held in `views`, its place
    is still to be found."""
    cdef fl_address a
    cdef Py_buffer *view
    cdef bint judged = True
    a.mode = FL_ADDRESS_VALUE
    a.value = 0
    placed[0] = -1
    if not PyBytes_CheckExact(value):
        refuse_masked(c, i, value)
        value = address_of(c, i, value, &judged)
    elif is_kind(c.argtypes[i], Array) or is_ndpointer(c.argtypes[i]) or \
            (is_simple(c.argtypes[i]) and c.argtypes[i]._type_ == "Z"):
        value = address_of(c, i, value, &judged)
    if value is None:
        pass
    elif isinstance(value, int):
        a.value = PyLong_AsUnsignedLongLongMask(value)
    else:
        view = &views.view[views.count]
        judged = judged or fits_again(c, i, value)
        # ctypes' own objects are writable; a string's array as well.
        try:
            PyObject_GetBuffer(value, view, PyBUF_C_CONTIGUOUS if judged else PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, ValueError, TypeError) as error:
            raise refuse(c, i, value, f"a buffer that is C-contiguous is allowed ({error})") from None
        placed[0] = views.count
        views.count += 1
        if not judged:
            check_items(c, i, value, view)
            remember_fitting(c, i, value)
        a.mode = FL_ADDRESS_IN | <uint64_t>view.len << 8
    memcpy(cell, &a, sizeof(a))
    return 0
