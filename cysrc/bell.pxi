# The doorbells as the parent rings them: what csrc/parent asks of the system.

cdef struct Bell:
    int fd             # the collector's eventfd
    int alarm          # the workers', where signals are refused
    int registry, far  # the pool's Registry
    bint lost          # somebody has closed one of them; the collector says so
    int *pidfds        # by worker index, -1: none. The only ones; whoever buries closes


cdef c_bool ring_worker(void *context, uint32_t index) noexcept nogil:
    cdef Bell *bell = <Bell *>context
    return ring_pidfd(bell.registry, bell.pidfds[index], bell.alarm)


cdef void ring_collector(void *context) noexcept nogil:
    cdef uint64_t one = 1
    cdef Bell *bell = <Bell *>context
    if is_ours(bell.registry, bell.fd):
        while write(bell.fd, &one, sizeof(one)) < 0 and errno == EINTR:
            pass


cdef uint64_t now(void *context) noexcept nogil:
    return fl_now()


cdef void give_way(void *context) noexcept nogil:
    sched_yield()


cdef void rest(void *context, int most_ms) noexcept nogil:
    """The collector's sleep."""
    cdef Bell *bell = <Bell *>context
    cdef pollfd p[2]
    # Whoever has the numbers by now may never be ready.
    if not is_ours(bell.registry, bell.fd):
        bell.lost = True
        return
    p[0].fd = bell.fd
    p[0].events = POLLIN
    # Hangs up when somebody closes all descriptors.
    p[1].fd = bell.far
    p[1].events = p[0].revents = p[1].revents = 0
    poll(p, 2, most_ms if most_ms >= 0 else LONGEST_SLEEP_MS)
    if p[0].revents & POLLNVAL or p[1].revents:
        bell.lost = True


cdef c_bool take_calls(void *context) noexcept nogil:
    cdef uint64_t count
    cdef Bell *bell = <Bell *>context
    if bell.lost or not is_ours(bell.registry, bell.fd):
        bell.lost = True
        return False
    read(bell.fd, &count, sizeof(count))
    return True


cdef void drop_newborn(Pool pool, uint32_t index) noexcept:
    """The pidfd of a worker that could not be registered, or in a forked child was
    not yet. Nobody else starts or ends workers meanwhile."""
    cdef fl_seat *seat = &pool.parent.seats[index]
    if seat.newborn >= 0 and is_pidfd(seat.newborn):
        close(seat.newborn)
    seat.newborn = -1


cdef void drop_pidfds(Pool pool) noexcept:
    cdef uint32_t i
    cdef bint here = pool.forks == forks_so_far
    if pool.bell.pidfds != NULL:
        for i in range(pool.worker_count):
            release_ours(pool.bell.registry, pool.bell.pidfds[i], here)
            pool.bell.pidfds[i] = -1
            drop_newborn(pool, i)


cdef c_bool ask_worker(void *pool) noexcept:
    return (<Pool>pool).start_worker()


cdef void connect(Pool pool) noexcept:
    """The parent's half to its region and to the system."""
    cdef fl_parent *p = &pool.parent
    p.region = &pool.region
    p.os.context = p.collector_os.context = &pool.bell
    p.os.now = now
    p.os.ring_worker = ring_worker
    p.os.ring_collector = ring_collector
    p.os.give_way = give_way
    p.collector_os.rest = rest
    p.collector_os.take_calls = take_calls
    p.ask_worker = ask_worker
    p.pool = <PyObject *>pool
