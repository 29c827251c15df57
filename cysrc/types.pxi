# Declarations as the workers know them: ctypes' types, checked and laid out.

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
    cdef bint overridden   # its class has attributes of its own in their places
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


cdef extern from *:
    """
    /* The attribute as its descriptor reads it, compared: each submit() asks for three,
     * and the way to the descriptor takes three times as long as the descriptor. */
    static int fl_attribute_is(PyObject *thing, PyObject *descriptor, PyObject *expected)
    {
        PyGetSetDef *found = ((PyGetSetDescrObject *)descriptor)->d_getset;
        PyObject *value = found->get(thing, found->closure);

        Py_XDECREF(value); /* the function holds it */
        return value ? value == expected : -1;
    }
    static int fl_is_getset(PyObject *thing) { return Py_IS_TYPE(thing, &PyGetSetDescr_Type); }
    """
    bint fl_attribute_is(object thing, object descriptor, object expected) except -1
    bint fl_is_getset(object thing)


cdef object argtypes_of = CFunction.argtypes
cdef object restype_of = CFunction.restype
cdef object errcheck_of = CFunction.errcheck


cdef bint overrides(object kind) except -1:
    """Whether a class of ctypes functions does not have these three of its base's."""
    return not (fl_is_getset(argtypes_of) and fl_is_getset(restype_of) and fl_is_getset(errcheck_of)) or \
        getattr(kind, "argtypes") is not argtypes_of or getattr(kind, "restype") is not restype_of or \
        getattr(kind, "errcheck") is not errcheck_of


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


cdef object base_type(object ctype):
    while is_kind(ctype, Array):
        ctype = ctype._type_
    return ctype


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


cdef bytes pointee(Callable c, object size, str where):
    if size > 65535:
        raise TypeError(f"{where} points at {size} bytes, at most 65535 come back")
    c.result_code = FL_POINTEE
    return bytes([FL_POINTEE]) + int(size).to_bytes(2, sys.byteorder)


cdef object ndpointer_size(object restype):
    size = restype._dtype_.itemsize
    for extent in restype._shape_:
        size *= extent
    return size


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


cdef enum:
    CELLS_SIZE = 4096


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


cdef object refuse(Callable c, Py_ssize_t i, object value, object why):
    return TypeError(f"{c.name}(): argument {i + 1} ({type_name(c.argtypes[i])}): {why}, got {given(value)}")
