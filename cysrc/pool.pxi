# Pool: what an executor holds. submit() = pack, publish, ring;
# finish() = look, take the reply, give the slot back.

# All pools of this process. A forked child closes what it has of them, even
# of one that another thread was just making.
_pools = weakref.WeakSet()


cdef class Pool:
    """One region with its slots, its queue and its futures.

    `crew` (fuload_exec._crew.Crew) starts, signals and reaps the workers, in
    the supervisor's thread. What it shall do stands in the seats; ask() has it
    look there, which is C and nothing else.
    """
    cdef fl_region region
    cdef file_id region_file
    cdef Bell bell
    cdef PyObject *registry        # a Registry, held until the descriptors are closed
    cdef fl_parent parent
    cdef PyObject **futures        # by slot, strong references
    cdef Windows windows
    cdef Queue queue
    cdef Counts counts
    cdef Limits limits
    cdef Looks looks
    cdef Catalogue catalogue
    cdef uint32_t worker_count
    cdef readonly uint32_t wanted  # seats that want one
    # The supervisor has to look at this pool. Set after what it shall see, by
    # any thread; taken by the supervisor before it looks. All under the
    # interpreter's lock.
    cdef bint asks
    cdef public bint recruited     # the crew has its two threads
    cdef uint64_t no_starts_before
    cdef int inside                # calls that use the region while other threads may run: it stays mapped
    cdef readonly int owner        # the process that made the pool
    cdef int forks
    cdef readonly str name
    cdef readonly unsigned long collector_thread
    cdef uint64_t parent_spin_ns
    cdef uint64_t max_pending
    cdef Payload payload
    cdef public object crew, setup, broken
    cdef public object premature   # made while a worker imports __main__: whether that goes on
    cdef public bint closing, cancel_running
    cdef str abandoned             # why nothing will be heard of the workers any more
    cdef bint forced               # the workers are ended: nothing is tried again
    cdef object no_interpreter     # while a worker is buried: why it could not become Python
    cdef public bint exiting       # closed by the end of the interpreter
    cdef bint mapped
    cdef bint paused               # nothing is published until all workers are buried
    cdef object deferred           # futures whose announcement is the collector's
    cdef object dead               # (index, pid, exit code) to be buried
    cdef object blocked            # locks of threads that wait for max_pending
    cdef object __weakref__

    def __cinit__(self):
        self.bell.fd = self.bell.alarm = self.bell.registry = self.bell.far = -1
        self.region.fd = -1

    def __init__(self, *, uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload,
                 uint64_t max_pending, uint64_t max_tasks, bint cancel_running, double spin, bint adapt, uint32_t cpus, str name):
        cdef uint32_t i
        self.owner = getpid()
        self.forks = forks_so_far
        self.name = name
        self.worker_count = workers
        _pools.add(self)
        self.make_tables(workers, slots)
        self.hold_registry(registry())
        self.bell.fd = high_descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")
        self.enrol(self.bell.fd)
        self.bell.alarm = high_descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")
        self.enrol(self.bell.alarm)
        self.payload.file_limit = make_region(&self.region, workers, slots, slot_size, max_payload)
        file_id_of(self.region.fd, &self.region_file)
        self.mapped = True
        slots = self.region.plan.slots
        self.payload.asked = max_payload
        self.payload.most = self.region.plan.max_payload
        for i in range(slots):
            self.parent.free[i] = slots - 1 - i
        self.parent.free_count = slots
        connect(self)
        header = self.region.header
        header.spin_ns = self.parent_spin_ns = <uint64_t>(spin * 1e9)
        header.late_ns = self.parent.late_ns = LATE_NS if adapt else 0
        header.max_tasks = max_tasks
        header.cpus = cpus
        header.max_pollers = max(1, cpus - 1)
        header.parent_pid = self.owner
        encoded = name.encode()[:FL_NAME_SIZE - 1]
        memcpy(header.name, PyBytes_AS_STRING(encoded), <size_t>len(encoded))
        import signal
        for number in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            header.signal_mask |= <uint64_t>1 << (<int>number - 1)
        self.max_pending = max_pending
        self.cancel_running = cancel_running
        self.catalogue = Catalogue()
        self.catalogue.descriptions_end = self.region.plan.descriptions_at
        from collections import deque
        self.deferred = deque()
        self.dead = deque()
        self.blocked = deque()

    cdef int make_tables(self, uint32_t workers, uint32_t slots) except -1:
        cdef uint32_t i
        # Whoever forks may find a pool half made: first what the child would close.
        self.parent.seats = <fl_seat *>calloc(workers, sizeof(fl_seat))
        if self.parent.seats != NULL:
            for i in range(workers):
                fl_seat_clear(&self.parent.seats[i])
            self.bell.pidfds = <int *>malloc(workers * sizeof(int))
        if self.bell.pidfds != NULL:
            for i in range(workers):
                self.bell.pidfds[i] = -1
        self.futures = <PyObject **>calloc(slots, sizeof(PyObject *))
        self.parent.generations = <uint32_t *>calloc(slots, sizeof(uint32_t))
        self.parent.held = <void **>self.futures
        self.parent.free = <uint32_t *>malloc(slots * sizeof(uint32_t))
        self.parent.condemned = <uint16_t *>calloc(slots, sizeof(uint16_t))
        self.windows.maps = <fl_mapping *>calloc(2 * slots, sizeof(fl_mapping))
        self.windows.warm = <uint64_t *>calloc(2 * slots, sizeof(uint64_t))
        if not (self.bell.pidfds and self.futures and self.parent.generations and self.parent.free and
                self.windows.maps and self.windows.warm and self.parent.condemned and self.parent.seats):
            raise MemoryError(f"no memory for the tables of a pool with {workers} workers and {slots} slots")
        return 0

    def __dealloc__(self):
        self.unmap()
        free(self.bell.pidfds)
        free(self.futures)
        free(self.parent.generations)
        free(self.parent.free)
        free(self.parent.condemned)
        free(self.parent.seats)
        free(self.windows.maps)
        free(self.windows.warm)

    cdef bint gone(self) noexcept:
        """Nothing of the region may be touched: it is unmapped, or this is a
        forked child, where it never was mapped."""
        return not self.mapped or self.forks != forks_so_far

    cdef void unmap(self) noexcept:
        cdef uint32_t i
        cdef bint here = self.forks == forks_so_far
        cdef PyObject *held
        if self.mapped and here:
            for i in range(2 * self.region.plan.slots):
                if self.windows.maps[i].at != NULL:
                    munmap(self.windows.maps[i].at, self.windows.maps[i].size)
            munmap(self.region.base, self.region.plan.base_size)
        self.mapped = False
        if self.region.fd >= 0:
            if self.holds_region():
                close(self.region.fd)
            self.region.fd = -1
        release_ours(self.bell.registry, self.bell.fd, here)
        release_ours(self.bell.registry, self.bell.alarm, here)
        self.bell.fd = self.bell.alarm = -1
        drop_pidfds(self)
        self.bell.registry = self.bell.far = -1
        if self.registry != NULL:
            held, self.registry = self.registry, NULL
            Py_DECREF(<object>held)

    cdef int hold_registry(self, Registry r) except -1:
        Py_INCREF(r)
        self.registry = <PyObject *>r
        self.bell.registry, self.bell.far = r.epoll, r.far
        return 0

    cdef int enrol(self, int fd) except -1:
        """From now on it is closed only as long as it is ours."""
        try:
            (<Registry>self.registry).enrol(fd, 0)
        except BaseException:
            close(fd)
            raise
        return 0

    cdef bint holds_region(self) noexcept nogil:
        """Whether the number still is the region's file."""
        return is_file(self.region.fd, &self.region_file)

    def holds_descriptors(self):
        """Whether nobody has closed one of this pool's."""
        cdef uint32_t i
        if self.gone() or self.bell.fd < 0:
            return True
        if self.bell.lost or not self.holds_region() or \
                not is_ours(self.bell.registry, self.bell.fd) or \
                not is_ours(self.bell.registry, self.bell.alarm):
            return False
        for i in range(self.worker_count):
            if self.bell.pidfds[i] >= 0 and not is_ours(self.bell.registry, self.bell.pidfds[i]):
                return False
        return True

    cdef int own_region(self) except -1:
        """Before the region is mapped or punched by its descriptor: it may be
        another file's by now."""
        if not self.holds_region():
            self.bell.lost = True
            if self.registry != NULL:
                (<Registry>self.registry).lose()
            raise error_class("BrokenProcessPool")(_refusals.LOST_DESCRIPTORS)
        return 0

    @property
    def unfinished(self):
        """How many tasks wait or run."""
        return self.counts.unfinished

    @property
    def submitted(self):
        """How many tasks there ever were."""
        return self.counts.submitted

    @property
    def look_at_ns(self):
        """When the supervisor looks for tasks past their timeout, or 0."""
        return self.limits.look_at_ns

    @property
    def lost(self):
        """The collector cannot be called any more: somebody has closed its descriptors."""
        return self.bell.lost

    def abandon(self, str reason):
        """Nothing will be heard of the workers any more: every future fails."""
        if self.gone():
            return
        self.abandoned = reason
        self.enter_region()
        try:
            break_pool(self, reason, None)
        finally:
            drop_pidfds(self)
            release_ours(self.bell.registry, self.bell.fd, True)
            self.bell.fd = -1
            self.leave_region()

    def close(self):
        """Every worker is reaped: give the memory back. A thread that still
        polls, or writes a request that will be refused, does it when it is through."""
        self.closing = True
        self.unmap_when_through()

    cdef void unmap_when_through(self) noexcept:
        if self.closing and self.crew is None and not self.parent.watching and not self.inside:
            self.unmap()

    cdef void enter_region(self) noexcept:
        self.inside += 1

    cdef void leave_region(self) noexcept:
        self.inside -= 1
        self.unmap_when_through()

    cdef CoreFuture submit(self, Submitter submitter, object fn, tuple args, dict kwargs):
        """Pack, publish, ring: a future for fn(*args, **kwargs)."""
        cdef CoreFuture future = submitter.new_future()
        try:
            admit(self)
            submit_call(self, future, fn, args, kwargs)
        finally:
            if self.max_pending:
                pass_room_on(self)
        return future

    cdef int finish(self, uint32_t slot) except -1:
        """Look, take the reply, give the slot back: if the slot's task is done."""
        cdef uint64_t word
        cdef fl_reply reply
        cdef fl_outlook outlook
        cdef CoreFuture future
        if self.futures[slot] == NULL:
            return 0
        future = <CoreFuture>self.futures[slot]
        outlook = fl_slots_look(&self.parent, slot, &word)
        if outlook == FL_NOT_YET:
            return 0
        if outlook == FL_CORRUPTED or not fl_reply_load(&self.region, fl_slot_at(&self.region, slot), future.asked, &reply):
            return corrupted(self, slot, word)
        self.futures[slot] = NULL
        Py_DECREF(future)
        return end_with_reply(self, future, slot, fl_word_owner(word), &reply)

    cdef bint start_worker(self) noexcept:
        """Ask the supervisor for one more worker. False: all are started."""
        cdef uint32_t i
        if self.parent.started >= self.region.plan.workers or self.broken is not None or self.paused or \
                (self.closing and not self.counts.unfinished) or (self.no_starts_before and fl_now() < self.no_starts_before):
            return False
        for i in range(self.region.plan.workers):
            if not self.parent.seats[i].taken:
                self.parent.seats[i].taken = self.parent.seats[i].wanted = True
                fl_store(&self.region.states[i], fl_state_word(FL_STARTING, 0, 0))
                self.parent.started += 1
                self.wanted += 1
                self.ask()
                return True
        return False

    cpdef void ask(self) noexcept:
        """Have the supervisor look at this pool: at who is wanted and who is
        doomed, at its deadlines, and whether it is over. Any thread, in the middle
        of anything: no Python code runs."""
        self.asks = True
        if self.registry != NULL:
            (<Registry>self.registry).ring()

    cdef void look_after(self, uint64_t now) noexcept:
        """A task counts, or is waited for: until none is unfinished the supervisor
        looks at this pool twenty times a second. After a pause SIGINT is ours again,
        should somebody have installed a handler over ours."""
        if now - self.looks.sigint_ns > LOOK_NS or not self.looks.wanted:
            self.looks.sigint_ns = now
            take_sigint()
        if not self.looks.wanted:
            self.looks.wanted = True
            self.ask()

    def asked(self):
        """Whether somebody has asked since the supervisor last looked; it is about to."""
        asks, self.asks = self.asks, False
        return asks

    cpdef void kick(self) noexcept:
        """Have the collector thread look."""
        if not self.gone():
            fl_collector_kick(&self.parent)

    cpdef collect(self):
        """Resolve what has finished; never runs code of the user's."""
        if self.gone():
            return
        self.enter_region()
        try:
            collect_flagged(self)
        finally:
            self.leave_region()

    cdef int take(self, uint32_t slot) except -1:
        """finish(), and the queue's next task into the slot: the worker sees
        the reply taken and calls nobody who would do that."""
        self.enter_region()
        try:
            self.finish(slot)
            if self.queue.first != NULL and self.parent.free_count:
                feed(self)
        finally:
            self.leave_region()
        return 0

    cdef int defer(self, CoreFuture future) except -1:
        """The collector announces this future and calls its callbacks."""
        self.deferred.append(future)
        self.kick()
        return 0

    cdef void kill(self, uint32_t worker) noexcept:
        """The worker whose task has just been condemned, and no later one of that index."""
        self.parent.seats[worker].doomed = True
        self.ask()

    def collector_runs(self):
        """The collector thread says who it is."""
        self.collector_thread = get_ident()

    def force(self):
        """The workers are ended: what they run fails and is not tried again."""
        self.forced = True

    def leave(self):
        """All workers shall leave as soon as they have nothing to do."""
        cdef uint32_t i
        if self.gone() or not intact(self):
            return
        fl_store(&self.region.header.leave, 1)
        for i in range(self.region.plan.workers):
            signal_worker(self, i)  # none has a task

    def wake_blocked(self):
        """Threads that wait in submit() for room look again."""
        while self.blocked:
            self.blocked.popleft().release()

    def descriptors(self):
        """(the protocol's version, region, the collector's eventfd, the workers' alarm)."""
        return FL_VERSION, self.region.fd, self.bell.fd, self.bell.alarm

    def forget_in_child(self):
        """After os.fork() in the child: this copy is inert, and keeps nothing
        of the parent's pool alive."""
        self.unmap()
        self.crew = None


def _forget_in_child():
    for pool in list(_pools):
        pool.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)
