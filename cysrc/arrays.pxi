# A native function over many items in one slot: chunks of arrays by memcpy,
# or of Python objects that are packed here.

cdef bint maps(Callable c) noexcept:
    """Can it be called in the worker's own loop? Scalars in, a scalar out."""
    cdef Py_ssize_t i
    for i in range(c.count):
        if not fl_item_size(c.codes[i]):
            return False
    return c.count > 0 and c.errcheck is None and not c.use_errno and \
        (c.result_code == FL_VOID or fl_item_size(c.result_code) != 0)


def item_formats(Submitter submitter, fn):
    """(format of each argument, format of the result, how many calls fit a
    payload) for a native function that maps, formats in the letters of
    `struct` and NumPy; else None."""
    cdef Callable c
    cdef Pool pool = submitter._pool
    if not isinstance(fn, CFunction) and not hasattr(type(fn), "__fuload_describe__"):
        return None
    if pool.closing or pool.broken is not None or pool.forks != forks_so_far:
        turn_away(pool)
    c = find(pool, fn)
    if c.kind != KIND_NATIVE or not maps(c):
        return None
    return [item_format(t) for t in c.argtypes], item_format(c.restype), most_calls(pool, c)


def native_count(Submitter submitter, fn):
    """(name, number of arguments) of a C function or a plug-in's task."""
    cdef Callable c
    cdef Pool pool = submitter._pool
    still_open(pool)
    c = find(pool, fn)
    return c.name, c.count if c.kind == KIND_NATIVE else 1


cdef uint64_t most_calls(Pool pool, Callable c):
    """How many calls one request and its reply can hold, 1 at the least: if
    not even that fits, submitting says so."""
    cdef uint64_t room = pool.payload.most, item = 0
    cdef uint64_t head = sizeof(fl_map) + c.count * (sizeof(fl_address) + FL_BUFFER_ALIGN)
    cdef Py_ssize_t i
    for i in range(c.count):
        item += fl_item_size(c.codes[i])
    return max(<uint64_t>1, min((room - head) // item if room > head else 0,
                                room // max(<uint64_t>1, fl_item_size(c.result_code))))


cdef object item_format(object ctype):
    """A ctypes scalar's letter; None where its items are no plain numbers."""
    letter = getattr(ctype, "_type_", None)
    if not is_simple(ctype) or not is_plain_simple(ctype) or letter not in letters or letter in "vcuzZP":
        return None
    return letter


def submit_map(Submitter submitter, fn, list columns, Py_ssize_t count, out, list futures=None):
    """A future for `count` calls. A column is a buffer of `count` items, a
    list of `count` objects, or (value,) for one that stays. With `out`, a
    writable buffer, the results go there; else the future's result is a list.
    It is put into `futures` before it is under way: a signal handler that raises
    between here and the caller leaves none behind unseen."""
    try:
        return submit_map_now(submitter, fn, columns, count, out, futures)
    finally:
        if submitter._pool.max_pending:
            pass_room_on(submitter._pool)


cdef list map_columns(Callable c, list columns, Py_ssize_t count, fl_address *cells, Views views, uint64_t *end):
    """A cell for each argument, and behind which the items will stand; what must live
    until they are copied."""
    cdef char cell[16]
    cdef list packed = []
    cdef uint64_t size
    cdef Py_ssize_t i
    end[0] = sizeof(fl_map) + c.count * sizeof(fl_address)
    for i in range(c.count):
        size = fl_item_size(c.codes[i])
        column = columns[i]
        cells[i].mode = FL_ADDRESS_VALUE
        cells[i].value = 0
        if isinstance(column, tuple):
            convert_scalar(c, i, column[0], cell)
            memcpy(&cells[i], cell, 16 if c.codes[i] == FL_F80 else 8)
            if c.codes[i] == FL_F80:
                raise TypeError(f"{c.name}(): a long double cannot be broadcast")
            continue
        if isinstance(column, list):
            column = packed_column(c, i, column, count)
            packed.append(column)
        PyObject_GetBuffer(column, &views.view[views.count], PyBUF_C_CONTIGUOUS)
        views.count += 1
        if <uint64_t>views.view[views.count - 1].len != size * <uint64_t>count:
            raise ValueError(f"{c.name}(): argument {i + 1} has {views.view[views.count - 1].len} bytes for {count} items")
        cells[i].mode = FL_ADDRESS_IN
        cells[i].value = fl_round(end[0], FL_BUFFER_ALIGN)
        end[0] = cells[i].value + size * <uint64_t>count
    return packed


cdef object packed_column(Callable c, Py_ssize_t i, list values, Py_ssize_t count):
    """These values as items of the argument's type, one behind the other."""
    cdef char cell[16]
    cdef uint64_t size = fl_item_size(c.codes[i])
    cdef Py_ssize_t k
    if c.take[i] == TAKE_DOUBLE:
        column = pack_column(values)
        if column is not values and column[0] == "d":
            return column[1]
    packed = bytearray(<Py_ssize_t>size * count)
    for k in range(count):
        convert_scalar(c, i, values[k], cell)
        memcpy(PyByteArray_AS_STRING(packed) + <Py_ssize_t>size * k, cell, size)
    return packed


cdef Views map_target(Callable c, object out, Py_ssize_t count):
    """Where the results shall be written."""
    cdef Views target = Views.__new__(Views)
    PyObject_GetBuffer(out, &target.view[0], PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
    target.count = 1
    if <uint64_t>target.view[0].len != fl_item_size(c.result_code) * <uint64_t>count:
        raise ValueError(f"out has {target.view[0].len} bytes for {count} results of "
                         f"{fl_item_size(c.result_code)} bytes")
    return target


cdef CoreFuture submit_map_now(Submitter submitter, fn, list columns, Py_ssize_t count, out, list futures):
    cdef Callable c
    cdef Pool pool = submitter._pool
    cdef CoreFuture future
    cdef fl_address cells[64]
    cdef Place place
    cdef Views views = Views.__new__(Views)
    cdef Views target = None
    cdef uint64_t end
    cdef fl_map head
    cdef Py_ssize_t i, k = 0
    admit(pool)
    c = find(pool, fn)
    future = submitter.new_future()
    future.callable = c
    head.count = <uint64_t>count
    head.reserved = 0
    packed = map_columns(c, columns, count, cells, views, &end)
    if out is not None:
        target = map_target(c, out, count)
    reserve(pool, end, &place)
    memcpy(place.at, &head, sizeof(head))
    memcpy(place.at + sizeof(head), cells, c.count * sizeof(fl_address))
    for i in range(c.count):
        if cells[i].mode == FL_ADDRESS_IN:
            copy_in(place.at + cells[i].value, views.view[k].buf, <uint64_t>views.view[k].len)
            k += 1
    future.views = target
    future.count = <uint64_t>count
    if futures is not None:
        futures.append(future)
    commit(pool, &place, future, c.id, FL_CALL_MAP, end)
    return future
