# What can be submitted, described once a pool.

cdef enum:
    KIND_NATIVE = 1
    KIND_TASK
    KIND_PYTHON

# How an argument is converted.
cdef enum:
    TAKE_DOUBLE = 1   # a float on its fast path
    TAKE_FLOAT
    TAKE_INT          # an int of up to 64 bits
    TAKE_OBJECT       # through ctypes itself: argtype(value), then its bytes
    TAKE_ADDRESS      # a buffer, a number or None; see address_of

@cython.final
cdef class Callable:
    """A function as the workers know it: its number, and how its arguments
    and its result are converted."""
    cdef uint32_t id
    cdef int kind
    cdef str name
    # Native: what the description was made from, so that a change is noticed.
    cdef object argtypes, restype, errcheck
    cdef Py_ssize_t count
    cdef bint declared     # by a ctypes function, whose argtypes and restype may be set anew
    cdef bint addresses, use_errno, fast_result
    cdef uint32_t cells
    cdef uint8_t take[64]
    cdef uint8_t codes[64]
    cdef uint16_t at[64]
    # What a typed pointer points at: the kind of its items, see item_kind(), and
    # their size. 0: anything.
    cdef uint8_t items[64]
    cdef Py_ssize_t item_size[64]
    cdef list fitting      # an argument's type and dtype that were found to fit, or None
    cdef uint8_t result_code
    cdef object reference  # the weak reference that ends this entry
    cdef object convert    # result: a ctypes type that plain bits are not enough for
    cdef bytes types       # native: as in the description
    # Python: where it is found by name, in the parent as in the workers.
    cdef str module
    cdef tuple path
    cdef bint chunk        # of map(): the first argument is the user's function
    cdef object main       # what workers have imported as __main__


cdef object FunctionType = _FunctionType  # of a lambda here it would be Cython's own type
cdef object BuiltinType = type(len)
cdef object CFunction = ctypes._CFuncPtr
cdef object Simple = ctypes._SimpleCData
cdef object Pointer = ctypes._Pointer
cdef object Array = ctypes.Array
cdef object CData = Simple.__base__
cdef object Structure = ctypes.Structure
cdef object Union = ctypes.Union
cdef object ByReference = type(ctypes.byref(ctypes.c_int()))
cdef object void_p = ctypes.c_void_p
cdef object char_p = ctypes.c_char_p
cdef object wchar_p = ctypes.c_wchar_p

# ctypes' letters on the wire: letter -> (fl_type, take)
cdef dict letters = {}
def _fill_letters():
    ints = {1: (FL_I8, FL_U8), 2: (FL_I16, FL_U16), 4: (FL_I32, FL_U32), 8: (FL_I64, FL_U64)}
    for ctype in (ctypes.c_byte, ctypes.c_short, ctypes.c_int, ctypes.c_long, ctypes.c_longlong):
        letters[ctype._type_] = (ints[ctypes.sizeof(ctype)][0], TAKE_INT)
    for ctype in (ctypes.c_ubyte, ctypes.c_ushort, ctypes.c_uint, ctypes.c_ulong, ctypes.c_ulonglong):
        letters[ctype._type_] = (ints[ctypes.sizeof(ctype)][1], TAKE_INT)
    letters["?"] = (FL_U8, TAKE_OBJECT)
    letters["v"] = (FL_I16, TAKE_OBJECT)  # wintypes.VARIANT_BOOL
    letters["c"] = (FL_U8, TAKE_OBJECT)
    letters["u"] = (FL_U32, TAKE_OBJECT)
    letters["f"] = (FL_F32, TAKE_FLOAT)
    letters["d"] = (FL_F64, TAKE_DOUBLE)
    letters["g"] = (FL_F80, TAKE_OBJECT)
    for letter in "zZP":
        letters[letter] = (FL_ADDRESS, TAKE_ADDRESS)
_fill_letters()


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


cdef str type_name(object argtype):
    return getattr(argtype, "__name__", None) or repr(argtype)


cdef bint is_simple(object argtype):
    return isinstance(argtype, type) and issubclass(argtype, Simple)


cdef bint is_plain_simple(object argtype):
    """A subclass converts in ways of its own (its __init__, its from_param), and
    one of the other byte order swaps."""
    return argtype.__base__ is Simple and getattr(argtype, f"__ctype_{native_order}__", argtype) is argtype


cdef str native_order = "le" if sys.byteorder == "little" else "be"


cdef bint is_kind(object argtype, object base):
    return isinstance(argtype, type) and issubclass(argtype, base)


cdef bint is_ndpointer(object argtype):
    """numpy.ctypeslib.ndpointer makes classes that check arrays."""
    return isinstance(argtype, type) and hasattr(argtype, "_dtype_") and hasattr(argtype, "_ndim_")


cdef bint is_address(object ctype):
    """Its instances are addresses of this process, or are made of them."""
    return is_kind(base_type(ctype), (Pointer, CFunction, char_p, wchar_p, void_p, ctypes.py_object))


cdef list struct_types(object structure, str where, int depth):
    """Types of the members of a structure passed by value, arrays unrolled."""
    types = []
    if getattr(structure, "_pack_", 0):
        raise TypeError(f"{where} is a packed structure, which cannot be passed by value")
    if getattr(structure, "_align_", 0):
        raise TypeError(f"{where} is a structure with _align_, which cannot be passed by value")
    if depth > FL_MAX_DEPTH:
        raise TypeError(f"{where} has structures nested deeper than {FL_MAX_DEPTH}, which cannot be passed by value")
    for klass in reversed(structure.__mro__):
        for field in klass.__dict__.get("_fields_", ()):
            if len(field) == 3:
                raise TypeError(f"{where} has bit fields and cannot be passed by value")
            types += member_types(field[1], where, depth)
    return types


cdef list member_types(object member, str where, int depth):
    if is_kind(member, Array):
        return member_types(member._type_, where, depth) * member._length_
    if is_kind(member, Structure):
        return [struct_type(member, where, depth + 1)]
    if is_simple(member) and member._type_ in letters:
        return [bytes([letters[member._type_][0]])]
    if is_kind(member, (Pointer, CFunction)):
        return [bytes([FL_ADDRESS])]
    raise TypeError(f"{where} has a member of the type {type_name(member)}, which cannot be passed by value")


cdef bytes struct_type(object structure, str where, int depth=0):
    types = struct_types(structure, where, depth)
    if not types:
        raise TypeError(f"{where} is a structure that has no members, or holds one: it cannot be passed by value")
    if len(types) > 255 or ctypes.sizeof(structure) > 65535:
        raise TypeError(f"{where} is too large a structure to be passed by value (up to 255 members, 64 KiB)")
    size = ctypes.sizeof(structure)
    return bytes([FL_STRUCT]) + size.to_bytes(2, sys.byteorder) + bytes([len(types)]) + b"".join(types)


cdef bytes set_argument(Callable c, Py_ssize_t i, object argtype):
    """Codes of one argument type, and its type for the workers; TypeError for
    what cannot cross."""
    where = f"{c.name}(): argument {i + 1} ({type_name(argtype)})"
    if is_simple(argtype) and argtype._type_ in letters:
        c.codes[i], c.take[i] = letters[argtype._type_]
        if not is_plain_simple(argtype) and c.take[i] != TAKE_ADDRESS:
            c.take[i] = TAKE_OBJECT
        return bytes([c.codes[i]])
    if is_kind(argtype, Structure):
        c.codes[i], c.take[i] = FL_STRUCT, TAKE_OBJECT
        return struct_type(argtype, where)
    if is_kind(argtype, Union):
        raise TypeError(f"{where} is a union, which cannot be passed by value; a pointer to it can")
    if is_kind(argtype, CFunction):
        raise TypeError(f"{where} is a callback, and this process's functions cannot be called in a worker")
    if is_kind(argtype, (Pointer, Array)) and is_address(argtype._type_):
        raise TypeError(f"{where} is a pointer to pointers, which mean nothing in another process")
    if is_kind(argtype, (Pointer, Array)) or is_ndpointer(argtype):
        c.codes[i], c.take[i] = FL_ADDRESS, TAKE_ADDRESS
        if is_kind(argtype, Pointer):
            set_items(c, i, argtype._type_)
        return bytes([FL_ADDRESS])
    raise TypeError(f"{where} cannot be passed to a worker; scalars, structures, strings, arrays and pointers can")


cdef enum:
    SWAPPED = 0x80  # in Callable.items: of the other byte order

cdef str ITEM_KINDS = "bcB?:b vhilqn:i HILQNP:u efdg:f uw:w"
cdef uint8_t item_kinds[128]
def _fill_item_kinds():
    for group in ITEM_KINDS.split():
        names, _, kind = group.partition(":")
        for letter in names:
            item_kinds[<int>ord(letter)] = <uint8_t>ord(kind)
_fill_item_kinds()


cdef int set_items(Callable c, Py_ssize_t i, object pointee) except -1:
    """What a buffer for this pointer must hold: items of a kind (bytes are one,
    whatever their sign), or structures."""
    c.item_size[i] = ctypes.sizeof(pointee)
    item = base_type(pointee)
    if is_simple(item) and item._type_ in letters:
        c.items[i] = item_kinds[<int>ord(item._type_)]
        c.item_size[i] = ctypes.sizeof(item)
        if getattr(item, f"__ctype_{native_order}__", item) is not item:
            c.items[i] |= SWAPPED
    else:
        c.items[i] = c's'
    return 0


cdef object base_type(object ctype):
    while is_kind(ctype, Array):
        ctype = ctype._type_
    return ctype


cdef bytes set_result(Callable c, object restype):
    """How the result comes back, and its type for the workers."""
    where = f"{c.name}(): the result type {type_name(restype)}"
    c.convert = restype
    if restype is None:
        c.result_code = FL_VOID
    elif is_ndpointer(restype):
        if getattr(restype, "_shape_", None) is None or getattr(restype, "_dtype_", None) is None:
            raise TypeError(f"{where} has no shape and dtype, so nobody knows how much comes back")
        if restype._dtype_.hasobject:
            raise TypeError(f"{where} is an array of Python objects, which mean nothing in another process")
        return pointee(c, ndpointer_size(restype), where)
    elif is_simple(restype) and restype._type_ in letters:
        c.result_code = letters[restype._type_][0]
        if restype._type_ in "zZ":
            c.result_code = FL_STRING if restype._type_ == "z" else FL_WIDE_STRING
        elif restype._type_ == "P":
            c.result_code = FL_U64
        if is_plain_simple(restype) and restype._type_ not in "?vcugzZP":
            c.convert = None
    elif is_kind(restype, Structure):
        c.result_code = FL_STRUCT
        if ctypes.sizeof(restype) == ctypes.alignment(restype) == ctypes.sizeof(ctypes.c_longdouble):
            # Such a structure comes back in a register where libffi does not look.
            raise TypeError(f"{where} is a structure of one long double, which cannot come back by value")
        return struct_type(restype, where)
    elif is_kind(restype, Pointer):
        if is_address(restype._type_):
            raise TypeError(f"{where} is a pointer to pointers, which mean nothing in another process")
        return pointee(c, ctypes.sizeof(restype._type_), where)
    elif callable(restype) and not is_kind(restype, CData):
        # As in ctypes: the function returns an int, which is what it is called with.
        c.result_code = FL_I32
    else:
        raise TypeError(f"{where} cannot come back from a worker; scalars, strings, structures, pointers to them "
                        f"and None can")
    return bytes([c.result_code])


cdef object ndpointer_size(object restype):
    size = restype._dtype_.itemsize
    for extent in restype._shape_:
        size *= extent
    return size


cdef bytes pointee(Callable c, object size, str where):
    if size > 65535:
        raise TypeError(f"{where} points at {size} bytes, at most 65535 come back")
    c.result_code = FL_POINTEE
    return bytes([FL_POINTEE]) + int(size).to_bytes(2, sys.byteorder)


cdef Callable native_callable(object argtypes, object restype, object errcheck, str name, bint use_errno):
    """Types checked and laid out; not yet described to the workers."""
    cdef Callable c = Callable.__new__(Callable)
    cdef uint64_t end = 0
    c.kind = KIND_NATIVE
    c.name = name
    c.argtypes, c.restype, c.errcheck, c.use_errno = argtypes, restype, errcheck, use_errno
    if argtypes is None:
        raise TypeError(f"{name}(): its argtypes are not declared: set {name}.argtypes (and restype) first, "
                        f"as ctypes recommends")
    c.count = len(argtypes)
    if c.count > FL_MAX_ARGUMENTS:
        raise TypeError(f"{name}(): {c.count} arguments, at most {FL_MAX_ARGUMENTS} are supported")
    text = [set_result(c, restype)]
    for i in range(c.count):
        text.append(set_argument(c, i, argtypes[i]))
        c.at[i] = <uint16_t>fl_cell_at(end, c.codes[i])
        end = fl_cell_at(end, c.codes[i])
        end += fl_round(ctypes.sizeof(argtypes[i]), 8) if c.codes[i] == FL_STRUCT else fl_cell_size(c.codes[i])
        c.addresses |= c.codes[i] == FL_ADDRESS
    if end > CELLS_SIZE:
        raise TypeError(f"{name}(): its arguments take {end} bytes, at most {CELLS_SIZE} are supported")
    c.types = b"".join(text)
    if len(c.types) > FL_MAX_TYPES:
        raise TypeError(f"{name}(): its types are too complex")
    c.cells = <uint32_t>end
    c.fast_result = c.convert is None and errcheck is None and c.result_code != FL_VOID
    return c


cdef enum:
    CELLS_SIZE = 4096


@cython.final
cdef class Views:
    """Buffers that a request is written from, and, those that the call writes
    to, until the reply is copied back."""
    cdef Py_buffer view[64]
    cdef uint64_t at[64]   # its place in the request
    cdef int count
    cdef fl_extent extent  # what of the request comes back
    cdef list owners       # what the views are of, if nobody else holds it

    def __dealloc__(self):
        for i in range(self.count):
            PyBuffer_Release(&self.view[i])


cdef object refuse(Callable c, Py_ssize_t i, object value, object why):
    return TypeError(f"{c.name}(): argument {i + 1} ({type_name(c.argtypes[i])}): {why}, got {given(value)}")


cdef str given(object value):
    """A value's type for a message, and that of its items."""
    try:
        items = getattr(value, "dtype", None)
        if items is None:
            items = getattr(value, "typecode", None) or (value.format if isinstance(value, memoryview) else None)
            items = None if items is None else repr(items)
    except Exception:  # a memoryview that was released, somebody's own property
        items = None
    return type(value).__name__ + (f" of {items}" if items is not None else "")


cdef bint is_masked(object value):
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, getattr(masked, "MaskedArray", ()))


cdef int refuse_masked(Callable c, Py_ssize_t i, object value) except -1:
    if is_masked(value):
        refuse_mask(value, f"{c.name}(): argument {i + 1}")
    return 0


def refuse_mask(value, str where):
    """TypeError for a masked array of NumPy's: its mask would be lost."""
    if is_masked(value):
        raise TypeError(f"{where} must be an array without a mask, which C functions do not see, got "
                        f"{type(value).__name__}: its .filled(value) is one, and so is its .data")


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

cdef object as_parameter(object value):
    """As ctypes: what stands for it, and for that."""
    cdef int depth
    for depth in range(8):
        if isinstance(value, CData) or not hasattr(value, "_as_parameter_"):
            break
        value = value._as_parameter_
    return value


cdef object by_reference(Callable c, Py_ssize_t i, object value):
    """What byref(x[, offset]) points at: a view of the rest of x."""
    target = value._obj
    offset = (ctypes.cast(value, void_p).value or 0) - ctypes.addressof(target)
    if not 0 <= offset <= ctypes.sizeof(target):
        raise refuse(c, i, target, f"byref() with the offset {offset} points out of an object of "
                                   f"{ctypes.sizeof(target)} bytes")
    return memoryview(target).cast("B")[offset:] if offset else target


cdef object without_addresses(Callable c, Py_ssize_t i, object target, object value):
    """`value`, unless what is pointed at are addresses of this process."""
    if is_address(type(target)):
        raise refuse(c, i, target, "pointers to pointers mean nothing in another process")
    return value


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


cdef int as_ctypes_allows(Callable c, Py_ssize_t i, object value) except -1:
    """A pointer says what it points at, and so does what ctypes itself has made."""
    try:
        c.argtypes[i].from_param(value)
    except (TypeError, ctypes.ArgumentError) as error:
        raise refuse(c, i, value, error) from None
    return 0


cdef bint points_at_items(object argtype, object array):
    """byref(array) is a pointer to the first of its items: ctypes has only the
    array itself as that."""
    return is_kind(argtype, Pointer) and isinstance(array, Array) and \
        issubclass(base_type(type(array)), base_type(argtype._type_))


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


cdef uint8_t item_kind(const char *format) noexcept:
    """The kind of a buffer's items, one of: b(yte), i(nteger), u(nsigned),
    f(loat), w(ide character); with SWAPPED in the other byte order. 0: another
    type, or more than one item."""
    cdef uint8_t swapped = 0
    cdef int letter
    if format == NULL:
        return c'b'
    if format[0] == c'>' or format[0] == c'!' or format[0] == c'<':
        if (format[0] == c'<') != (native_order == "le"):
            swapped = SWAPPED
        format += 1
    elif format[0] == c'@' or format[0] == c'=':
        format += 1
    # Texts of NumPy's: so many characters an item.
    if c'1' <= format[0] <= c'9':
        while c'0' <= format[0] <= c'9':
            format += 1
        if format[0] == c's' and not format[1]:
            return c'b'
        return c'w' | swapped if format[0] == c'w' and not format[1] else 0
    letter = format[0]
    if letter == 0 or letter >= 128 or format[1] or not item_kinds[letter]:
        return 0
    return item_kinds[letter] | (swapped if item_kinds[letter] != c'b' else 0)


cdef int check_items(Callable c, Py_ssize_t i, object value, Py_buffer *view) except -1:
    """A C function would take them for what its pointer points at."""
    cdef uint8_t kind = item_kind(view.format)
    if kind == c.items[i] and kind and (
            view.itemsize == c.item_size[i] or kind & ~<int>SWAPPED == c'b' or kind & ~<int>SWAPPED == c'w'):
        return 0
    if kind == c'b' and view.itemsize == 1 and is_untyped(value, view.format):
        return 0
    if c.items[i] == c's' and is_record(c, i, value, view.itemsize):
        return 0
    raise refuse(c, i, value, f"items of {type_name(c.argtypes[i]._type_)} are allowed")


cdef bint fits_again(Callable c, Py_ssize_t i, object value) except -1:
    """NumPy takes a microsecond to say what its items are. A dtype does not
    change, and those of numbers are there once."""
    if c.fitting is None or c.fitting[i] is None:
        return False
    kind, dtype = <tuple>c.fitting[i]
    return type(value) is kind and value.dtype is dtype


cdef int remember_fitting(Callable c, Py_ssize_t i, object value) except -1:
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
        if c.fitting is None:
            c.fitting = [None] * c.count
        c.fitting[i] = type(value), value.dtype
    return 0


cdef bint is_untyped(object value, const char *format):
    """Memory for anything: bytes, bytearray, mmap, a memoryview that was cast to
    bytes, create_string_buffer(). An array of bytes is not."""
    if isinstance(value, CData):
        return isinstance(value, Array) and value._type_ is ctypes.c_char
    if format != NULL and format[0] != c'B' and format[0] != c'c':
        return False
    return not hasattr(value, "dtype") and not hasattr(value, "typecode")


cdef bint is_record(Callable c, Py_ssize_t i, object value, Py_ssize_t itemsize) except -1:
    """Whether the items of an array are laid out as the structure is, one
    of them or several. What NumPy does not know (unions, bit fields) is compared by size."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return itemsize == c.item_size[i]
    try:
        dtype = numpy.asarray(value).dtype
        if dtype.kind == "V" and dtype.fields is None:
            return itemsize == c.item_size[i]
        structure = numpy.dtype(c.argtypes[i]._type_)
    except Exception:
        return itemsize == c.item_size[i]
    if structure.itemsize != c.item_size[i]:
        return itemsize == c.item_size[i]
    if not itemsize or c.item_size[i] % itemsize:
        return False
    given_items = []
    for k in range(c.item_size[i] // itemsize):
        given_items += numbers_in(dtype, k * itemsize)
    return given_items == numbers_in(structure, 0)


cdef list numbers_in(object dtype, Py_ssize_t at):
    """(place, kind, size) of all that it is made of; names do not matter."""
    cdef list found = []
    if dtype.subdtype is not None:
        item, shape = dtype.subdtype
        for k in range(dtype.itemsize // item.itemsize if item.itemsize else 0):
            found += numbers_in(item, at + k * item.itemsize)
    elif dtype.fields is not None:
        for name in dtype.names:
            found += numbers_in(dtype.fields[name][0], at + dtype.fields[name][1])
    elif dtype.kind in "SVb" or dtype.itemsize == 1:
        found = [(at + k, "b", 1) for k in range(dtype.itemsize)]
    else:
        found = [(at, dtype.kind + dtype.byteorder, dtype.itemsize)]
    return found


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


cdef uint64_t place_buffers(Views views, uint64_t end, bint *inout) noexcept:
    """Each buffer's place in the request, from `end` on, and whether it comes
    back. What overlaps in memory overlaps there too, as the function may rely
    on it: such buffers are one span. Returns where the request ends."""
    cdef int order[64]
    cdef int first[65]         # of each span, in `order`
    cdef char *stop = NULL     # of the last span, in memory
    cdef int i, k, length = 0, spans = 0
    cdef Py_buffer *view
    for i in range(views.count):
        if not views.view[i].len:
            end = views.at[i] = fl_round(end, FL_BUFFER_ALIGN)
            end += FL_BUFFER_ZEROS
            inout[i] = False
            continue
        k = length  # sorted by where they begin
        while k and <char *>views.view[order[k - 1]].buf > <char *>views.view[i].buf:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
        length += 1
    for k in range(length):
        view = &views.view[order[k]]
        if not spans or <char *>view.buf >= stop:
            first[spans] = k
            spans += 1
            stop = <char *>view.buf
        if <char *>view.buf + view.len > stop:
            stop = <char *>view.buf + view.len
    first[spans] = length
    for writable in range(1, -1, -1):  # those that come back stand together
        for i in range(spans):
            if is_writable(views, &order[first[i]], first[i + 1] - first[i]) == writable:
                end = place_span(views, &order[first[i]], first[i + 1] - first[i], end, writable, inout)
    return end


cdef bint is_writable(Views views, int *members, int count) noexcept:
    cdef int k
    for k in range(count):
        if not views.view[members[k]].readonly:
            return True
    return False


cdef uint64_t place_span(Views views, int *members, int count, uint64_t at, bint writable, bint *inout) noexcept:
    """Returns where it ends, with the zeros behind it."""
    cdef char *start = <char *>views.view[members[0]].buf
    cdef uint64_t end
    cdef int k
    at = end = fl_round(at, FL_BUFFER_ALIGN)
    if count > 1:
        at += <uintptr_t>start % FL_BUFFER_ALIGN  # each stays as aligned as it is
    for k in range(count):
        views.at[members[k]] = at + <uint64_t>(<char *>views.view[members[k]].buf - start)
        inout[members[k]] = writable
        if writable:
            fl_extent_add(&views.extent, views.at[members[k]], <uint64_t>views.view[members[k]].len)
        end = max(end, views.at[members[k]] + <uint64_t>views.view[members[k]].len)
    return end + FL_BUFFER_ZEROS


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
