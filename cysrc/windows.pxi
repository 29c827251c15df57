# Windows: the parts of the region that payloads over slot_size stand in, mapped
# as they are needed, and their pages.

cdef enum:
    WARM_BUDGET = 128 << 20    # bytes of window pages that a pool keeps


cdef struct Windows:
    fl_mapping *maps       # two per slot
    uint64_t *warm         # bytes of pages in each half window
    uint64_t warm_total
    uint32_t sheds         # how often a window was unmapped because there were too many


cdef struct Payload:
    uint64_t most          # bytes
    uint64_t asked         # max_payload as it was asked for; there is room for less where
    uint64_t file_limit    # files may have no more bytes than this (RLIMIT_FSIZE), or 0


cdef object too_large(Pool pool, str what, uint64_t size):
    """A PayloadTooLarge."""
    if size > pool.payload.asked or not pool.payload.file_limit:
        return error_class("PayloadTooLarge")(f"{what} has {size} bytes, max_payload is {pool.payload.asked}")
    return error_class("PayloadTooLarge")(
        f"{what} has {size} bytes; a file of this process may have {pool.payload.file_limit} (RLIMIT_FSIZE, ulimit -f), so the "
        f"pool has room for payloads of {pool.payload.most}: raise that limit, or use fewer max_workers or slots")


cdef void unmap_windows(Pool pool, uint32_t slot) noexcept:
    fl_window_unmap(&pool.region, &pool.windows.maps[2 * slot])
    fl_window_unmap(&pool.region, &pool.windows.maps[2 * slot + 1])


cdef void unmap_idle(Pool pool, uint32_t most) noexcept:
    """Until no more than `most` halves are mapped: first those of slots that will be
    taken last. Used is a window only while its request is written, by a
    thread that has the slot (free it is not, and no future is there yet)."""
    cdef uint32_t i
    for i in range(pool.parent.free_count):
        if pool.region.windows <= most:
            return
        unmap_windows(pool, pool.parent.free[i])
    for i in range(pool.region.plan.slots):
        if pool.futures[i] != NULL:
            unmap_windows(pool, i)


cdef void warm_up(Pool pool, uint32_t slot, fl_half half, uint64_t size) noexcept:
    """Pages of a window are about to be touched, or were."""
    cdef uint64_t *bytes = &pool.windows.warm[2 * slot + <int>half]
    if size > bytes[0]:
        pool.windows.warm_total += size - bytes[0]
        bytes[0] = size


cdef char *map_window(Pool pool, uint32_t slot, fl_half half, uint64_t size) except NULL:
    """So much of a half, whose pages are about to be touched, or were."""
    cdef fl_mapping *m = &pool.windows.maps[2 * slot + <int>half]
    cdef char *at
    if m.at == NULL or m.size < size:
        pool.own_region()
    at = fl_window_map(&pool.region, m, slot, half, size)
    if at == NULL and errno == ENOMEM:
        unmap_idle(pool, 0)
        at = fl_window_map(&pool.region, m, slot, half, size)
    if at == NULL:
        number = errno
        raise _refusals.refused(f"mmap of {size} bytes for a {'request' if half == FL_REQUEST else 'reply'}", number)
    warm_up(pool, slot, half, size)
    return at


cdef int cool_down(Pool pool, uint32_t slot) except -1:
    """Give a slot's window pages back to the system, all: a worker that has
    died did not say how many it had touched."""
    if pool.holds_region():
        fallocate(pool.region.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  <long>fl_window_at(&pool.region, slot, FL_REQUEST), <long>(2 * pool.region.plan.half_size))
    pool.windows.warm_total -= pool.windows.warm[2 * slot] + pool.windows.warm[2 * slot + 1]
    pool.windows.warm[2 * slot] = pool.windows.warm[2 * slot + 1] = 0
    return 0


cdef void shed(Pool pool, uint32_t slot) noexcept:
    """More windows are mapped than may be: without this slot's. Now and
    then, half of them: the slots in use now are to keep theirs."""
    unmap_windows(pool, slot)
    pool.windows.sheds += 1
    if pool.windows.sheds % 1024 == 0:
        unmap_idle(pool, FL_MOST_WINDOWS // 2)


cdef int free_slot(Pool pool, uint32_t slot) except -1:
    if pool.windows.warm_total > WARM_BUDGET and (pool.windows.warm[2 * slot] or pool.windows.warm[2 * slot + 1]):
        cool_down(pool, slot)
    if pool.region.windows > FL_MOST_WINDOWS:
        shed(pool, slot)
    fl_slots_release(&pool.parent, slot)
    return 0
