# Buffers behind a request's addresses: what their items must be, and where they stand.

@cython.final
cdef class Views:
    """Buffers that a request is written from, and, those that the call writes
    to, until the reply is copied back."""
    cdef Py_buffer view[64]
    cdef uint64_t at[64]   # its place in the request
    cdef int count
    cdef fl_extent extent  # what of the request comes back

    def __dealloc__(self):
        for i in range(self.count):
            PyBuffer_Release(&self.view[i])


cdef bint is_masked(object value):
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, getattr(masked, "MaskedArray", ()))


def refuse_mask(value, str where):
    """TypeError for a masked array of NumPy's: its mask would be lost."""
    if is_masked(value):
        raise TypeError(f"{where} must be an array without a mask, which C functions do not see, got "
                        f"{type(value).__name__}: its .filled(value) is one, and so is its .data")


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


cdef bint is_untyped(object value, const char *format):
    """Memory for anything: bytes, bytearray, mmap, a memoryview that was cast to
    bytes, create_string_buffer(). An array of bytes is not."""
    if isinstance(value, CData):
        return isinstance(value, Array) and value._type_ is ctypes.c_char
    if format != NULL and format[0] != c'B' and format[0] != c'c':
        return False
    return not hasattr(value, "dtype") and not hasattr(value, "typecode")


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
    # Texts of NumPy's: this many characters per item.
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


cdef int remember_fitting(Callable c, Py_ssize_t i, object value) except -1:
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
        if c.fitting is None:
            c.fitting = [None] * c.count
        c.fitting[i] = type(value), value.dtype
    return 0


cdef bint fits_again(Callable c, Py_ssize_t i, object value) except -1:
    """NumPy takes a microsecond to say what its items are. A dtype does not
    change, and those of numbers are there once."""
    if c.fitting is None or c.fitting[i] is None:
        return False
    kind, dtype = <tuple>c.fitting[i]
    return type(value) is kind and value.dtype is dtype


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
