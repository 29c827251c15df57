# Pool: what an executor holds. submit() = pack, publish, ring;
# finish() = look, take the reply, give the slot back.

cdef enum:
    WARM_BUDGET = 128 << 20    # bytes of window pages that a pool keeps
    SMALL_COPY = 1 << 20       # longer ones are copied without the lock
    MOST_EQUALS = 4096         # NativeFunctions and NativeTasks that are found by equality

# All pools of this process. A forked child closes what it has of them, even
# of one that another thread was just making.
_pools = weakref.WeakSet()

cdef enum:
    ABORTED = -6  # exit code of a worker that SIGABRT ended, its own too


cdef class Pool:
    """One region with its slots, its queue and its futures.

    `crew` (fuload_exec._workers.Crew) starts, signals and reaps the workers, in
    the supervisor's thread. What it shall do stands in the seats; ask() has it
    look there, which is C and nothing else.
    """
    cdef fl_region region
    cdef fuload_file region_file
    cdef Bell bell
    cdef PyObject *registry        # a Registry, held until the descriptors are closed
    cdef fl_parent parent
    cdef PyObject **futures        # by slot, strong references
    cdef fl_mapping *windows       # two a slot
    cdef uint64_t *warm            # bytes of pages in each half window
    cdef uint64_t warm_total
    cdef uint32_t sheds            # how often a window was unmapped because there were too many
    cdef Task *first
    cdef Task *last
    cdef uint64_t queued
    cdef readonly uint64_t unfinished, submitted, completed, failed, cancelled_count, retried
    cdef uint64_t run_ns, wait_ns
    cdef uint32_t worker_count
    cdef readonly uint32_t wanted  # seats that want one
    # The supervisor has to look at this pool. Set after what it shall see, by
    # any thread; taken by the supervisor before it looks. All under the
    # interpreter's lock.
    cdef bint asks
    cdef public bint recruited     # the crew has its two threads
    cdef uint32_t deaths_in_a_row
    cdef uint64_t finished, finished_at_death
    cdef uint64_t no_starts_before
    cdef int inside                # calls that use the region while other threads may run: it stays mapped
    # What the supervisor's last look has seen: see nudge().
    cdef uint64_t audits, seen_finished
    cdef uint32_t looks_without_audit
    cdef bint seen_ready
    cdef bint strays               # somebody may run a task of which nothing is known any more
    cdef readonly int owner        # the process that made the pool
    cdef int forks
    cdef readonly str name
    cdef readonly unsigned long collector_thread
    cdef uint64_t parent_spin_ns
    cdef uint64_t max_pending, max_payload
    cdef uint64_t asked_payload    # max_payload as it was asked for; there is room for less where
    cdef uint64_t file_limit       # files may have no more bytes than this (RLIMIT_FSIZE), or 0
    cdef public object crew, setup, broken
    cdef public object premature   # made while a worker imports __main__: whether that goes on
    cdef object main               # the __main__ that workers import; None: what is of it goes by value
    cdef public bint closing, cancel_running
    cdef str abandoned             # why nothing will be heard of the workers any more
    cdef bint forced               # the workers are ended: nothing is tried again
    cdef str host_program          # the interpreter's
    cdef object no_interpreter     # while a worker is buried: why it could not become Python
    # Unfinished tasks with a timeout, the shortest of these timeouts, and when
    # the supervisor looks for those past it (0: there is none to look for).
    cdef uint64_t limited, least_limit_ns
    cdef readonly uint64_t look_at_ns
    cdef public bint exiting       # closed by the end of the interpreter
    cdef bint mapped
    cdef bint paused               # nothing is published until all workers are buried
    cdef uint64_t looked_ns        # when SIGINT's handler was last looked at
    cdef bint looked_after         # the supervisor looks at this pool, until nothing is unfinished
    cdef dict known                # id(function) -> Callable
    cdef dict equals               # (class, value) of a NativeFunction or NativeTask -> Callable
    cdef dict described            # description bytes -> id
    cdef uint32_t next_function
    cdef uint64_t descriptions_end
    cdef object deferred           # futures whose announcement is the collector's
    cdef object dead               # (index, pid, exit code) to be buried
    cdef object blocked            # locks of threads that wait for max_pending
    cdef Callable anonymous
    cdef object __weakref__

    def __cinit__(self):
        self.bell.fd = self.bell.alarm = self.bell.registry = self.bell.far = -1
        self.region.fd = -1

    def __init__(self, *, uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload,
                 uint64_t max_pending, uint64_t max_tasks, bint cancel_running, double spin, bint adapt, uint32_t cpus, str name):
        cdef uint32_t i
        self.owner = getpid()
        self.forks = fuload_forks
        self.name = name
        self.worker_count = workers
        _pools.add(self)
        self.bell.pidfds = <int *>malloc(workers * sizeof(int))
        if self.bell.pidfds != NULL:
            for i in range(workers):
                self.bell.pidfds[i] = -1
        self.futures = <PyObject **>calloc(slots, sizeof(PyObject *))
        self.parent.generations = <uint32_t *>calloc(slots, sizeof(uint32_t))
        self.parent.held = <void **>self.futures
        self.parent.free = <uint32_t *>malloc(slots * sizeof(uint32_t))
        self.parent.condemned = <uint16_t *>calloc(slots, sizeof(uint16_t))
        self.parent.seats = <fl_seat *>calloc(workers, sizeof(fl_seat))
        self.windows = <fl_mapping *>calloc(2 * slots, sizeof(fl_mapping))
        self.warm = <uint64_t *>calloc(2 * slots, sizeof(uint64_t))
        if not (self.bell.pidfds and self.futures and self.parent.generations and self.parent.free and self.windows and self.warm and
                self.parent.condemned and self.parent.seats):
            raise MemoryError(f"no memory for the tables of a pool with {workers} workers and {slots} slots")
        self.hold_registry(registry())
        self.bell.fd = high_descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")
        self.enrol(self.bell.fd)
        self.bell.alarm = high_descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")
        self.enrol(self.bell.alarm)
        self.file_limit = make_region(&self.region, workers, slots, slot_size, max_payload)
        fuload_file_of(self.region.fd, &self.region_file)
        self.mapped = True
        slots = self.region.plan.slots
        self.asked_payload = max_payload
        self.max_payload = self.region.plan.max_payload
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
        self.host_program = ""
        self.known = {}
        self.equals = {}
        self.described = {}
        self.next_function = 1
        self.descriptions_end = self.region.plan.descriptions_at
        from collections import deque
        self.deferred = deque()
        self.dead = deque()
        self.blocked = deque()
        self.anonymous = Callable.__new__(Callable)
        self.anonymous.kind = KIND_PYTHON
        self.anonymous.name = "a callable"

    def __dealloc__(self):
        self.unmap()
        free(self.bell.pidfds)
        free(self.futures)
        free(self.parent.generations)
        free(self.parent.free)
        free(self.parent.condemned)
        free(self.parent.seats)
        free(self.windows)
        free(self.warm)

    cdef bint gone(self) noexcept:
        """Nothing of the region may be touched: it is unmapped, or this is a
        forked child, where it never was mapped."""
        return not self.mapped or self.forks != fuload_forks

    cdef void unmap(self) noexcept:
        cdef uint32_t i
        cdef bint here = self.forks == fuload_forks
        cdef PyObject *held
        if self.mapped and here:
            for i in range(2 * self.region.plan.slots):
                if self.windows[i].at != NULL:
                    munmap(self.windows[i].at, self.windows[i].size)
            munmap(self.region.base, self.region.plan.base_size)
        self.mapped = False
        if self.region.fd >= 0:
            if self.holds_region():
                close(self.region.fd)
            self.region.fd = -1
        fuload_release(self.bell.registry, self.bell.fd, here)
        fuload_release(self.bell.registry, self.bell.alarm, here)
        self.bell.fd = self.bell.alarm = -1
        self.drop_pidfds()
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

    cdef void drop_pidfds(self) noexcept:
        cdef uint32_t i
        if self.bell.pidfds != NULL:
            for i in range(self.worker_count):
                fuload_release(self.bell.registry, self.bell.pidfds[i], self.forks == fuload_forks)
                self.bell.pidfds[i] = -1

    cdef bint holds_region(self) noexcept nogil:
        """Whether the number still is the region's file."""
        return fuload_is_file(self.region.fd, &self.region_file)

    def holds_descriptors(self):
        """Whether nobody has closed one of this pool's."""
        cdef uint32_t i
        if self.gone() or self.bell.fd < 0:
            return True
        if self.bell.lost or not self.holds_region() or \
                not fuload_is_ours(self.bell.registry, self.bell.fd) or \
                not fuload_is_ours(self.bell.registry, self.bell.alarm):
            return False
        for i in range(self.worker_count):
            if self.bell.pidfds[i] >= 0 and not fuload_is_ours(self.bell.registry, self.bell.pidfds[i]):
                return False
        return True

    cdef int own_region(self) except -1:
        """Before the region is mapped or punched by its descriptor: it may be
        another file's by now."""
        if not self.holds_region():
            self.bell.lost = True
            if self.registry != NULL:
                (<Registry>self.registry).lose()
            raise BrokenProcessPool(_errors.LOST_DESCRIPTORS)
        return 0

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
            self.break_pool(reason, None)
        finally:
            self.drop_pidfds()
            fuload_release(self.bell.registry, self.bell.fd, True)
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

    # -- submit ---------------------------------------------------------------

    cdef CoreFuture submit_task(self, Submitter submitter, object fn, tuple args, dict kwargs):
        """A future for fn(*args, **kwargs)."""
        if not self.max_pending:
            return self.submit_now(submitter, fn, args, kwargs)
        try:
            return self.submit_now(submitter, fn, args, kwargs)
        finally:
            self.pass_room_on()

    cdef CoreFuture submit_now(self, Submitter submitter, object fn, tuple args, dict kwargs):
        cdef Callable c
        cdef CoreFuture future
        self.admit()
        c = self.find(fn)
        future = submitter.new_future()
        if c is not None and c.kind == KIND_NATIVE:
            future.callable = c
            submit_native(self, c, future, args, kwargs)
        elif c is not None and c.kind == KIND_TASK:
            future.callable = c
            submit_bytes(self, c, future, args, kwargs)
        else:
            self.ready_for_python()
            future.callable = c if c is not None and not c.chunk else task_callable(self, c, fn, args)
            submit_python(self, c, future, fn, args, kwargs)
        return future

    cdef int still_open(self) except -1:
        if self.closing or self.broken is not None or self.forks != fuload_forks:
            self.refuse()
        return 0

    cdef int admit(self) except -1:
        """May another task be submitted? Waits for room, or raises."""
        self.still_open()
        if fuload_sigint_seen != fuload_sigint_handled:
            self.crew.await_interrupt()
        if self.max_pending and self.unfinished >= self.max_pending:
            self.wait_for_room()
        return 0

    cdef int refuse(self) except -1:
        if self.premature is not None:
            if not self.premature():
                self.premature = self.broken = None
                return self.still_open()
        if self.broken is not None:
            # One of its own for each: a shared one would collect tracebacks.
            error = type(self.broken)(*self.broken.args)
            error.__cause__ = self.broken.__cause__
            raise error
        if self.forks != fuload_forks:
            raise RuntimeError(f"this executor belongs to process {self.owner}, which this process was forked "
                               f"from: make one of its own")
        raise RuntimeError(f"cannot schedule new futures after {'interpreter ' if self.exiting else ''}shutdown")

    cdef bint full(self) noexcept:
        return self.unfinished >= self.max_pending and not self.closing and self.broken is None

    cdef int wait_for_room(self) except -1:
        while self.full():
            self.collect()
            if not self.full() or self.collector_thread == get_ident() or in_supervisor():
                break
            lock = allocate_lock()
            lock.acquire()
            self.blocked.append(lock)
            try:
                # Only now the look that counts: to make the lock may have run
                # any code, in which the last task ended and woke nobody.
                if self.full():
                    lock.acquire()
            finally:
                if lock in self.blocked:  # not woken
                    self.blocked.remove(lock)
        return self.still_open()

    cdef int pass_room_on(self) except -1:
        """Who leaves submit() and leaves room wakes the next of the threads that
        wait there: the one that was woken may have found no use for it."""
        if self.blocked and self.unfinished < self.max_pending:
            self.wake_next_blocked()
        return 0

    cdef int wake_next_blocked(self) except -1:
        """There may be room for one of the threads that wait in submit()."""
        if self.blocked:
            self.blocked.popleft().release()
        return 0

    cdef Callable find(self, object fn):
        """The callable's description, made at its first use; None if it has
        to be pickled with each task."""
        cdef Callable c = <Callable>self.known.get(<uintptr_t><PyObject *>fn)
        if c is not None and describes(self, c, fn):
            return c
        return self.describe_anew(fn)

    cdef Callable describe_anew(self, object fn):
        cdef Callable c
        if isinstance(fn, CFunction):
            c = describe_native(self, fn)
        elif hasattr(type(fn), "__fuload_describe__"):
            # Copies that pickle makes are equal, and new each time.
            value = type(fn), fn._key()
            c = self.equals.get(value)
            if c is not None:
                return c
            c = fn.__fuload_describe__(self)
            if len(self.equals) >= MOST_EQUALS:
                del self.equals[next(iter(self.equals))]
            self.equals[value] = c
        else:
            c = describe_python(self, fn)
        if c is None:
            refuse_foreign(fn)
            return None
        self.remember(fn, c)
        return c

    cdef int remember(self, object fn, Callable c) except -1:
        known, key = self.known, <uintptr_t><PyObject *>fn
        c.reference = weakref.ref(fn, lambda _: known.pop(key, None))
        known[key] = c
        return 0

    cdef uint32_t describe(self, bytes text) except 0:
        """The number under which workers find this description."""
        known = self.described.get(text)
        if known is not None:
            return known
        self.still_open()
        return self.append_description(text)

    cdef uint32_t append_description(self, bytes text) except 0:
        cdef uint32_t number = self.next_function
        cdef uint64_t start, size = len(text)
        cdef char *at
        if number >= self.region.plan.functions:
            raise RuntimeError(f"a pool can name {self.region.plan.functions - 1} different functions, these are used "
                               f"up{self.because_of_files()}")
        if size > self.description_room():
            raise RuntimeError(f"the pool has {self.description_room()} bytes left to describe functions and an "
                               f"initializer, this one takes {size}{self.because_of_files()}")
        start = self.descriptions_end // FL_GRAIN * FL_GRAIN
        self.own_region()
        at = <char *>mmap(NULL, self.descriptions_end - start + size, PROT_READ | PROT_WRITE, MAP_SHARED,
                          self.region.fd, <long>start)
        if at == <char *>MAP_FAILED:
            raise _errors.refused(f"mmap of {size} bytes for a description", errno)
        memcpy(at + (self.descriptions_end - start), PyBytes_AS_STRING(text), size)
        munmap(at, self.descriptions_end - start + size)
        self.region.functions[number].at = self.descriptions_end
        self.region.functions[number].length = size
        self.descriptions_end = fl_round(self.descriptions_end + size, FL_LINE)
        self.next_function = number + 1
        if size < 1 << 16:
            self.described[text] = number
        return number

    cdef uint64_t description_room(self) noexcept:
        return self.region.plan.descriptions_at + self.region.plan.descriptions_size - self.descriptions_end

    cdef str because_of_files(self):
        return f" (RLIMIT_FSIZE, ulimit -f, leaves no more: it is {self.file_limit})" if self.file_limit else ""

    cdef bint may_describe(self, bytes text) except -1:
        """A Python function; it can be pickled with each task. The last quarter is
        for C functions, which cannot."""
        return text in self.described or (
            self.next_function < self.region.plan.functions - self.region.plan.functions // 4 and
            self.region.plan.descriptions_size // 4 + <uint64_t>len(text) < self.description_room())

    cdef int ready_for_python(self) except -1:
        """Before the first Python task: say which interpreter and what set-up."""
        if self.setup is not None:
            host, prepared, self.main = self.setup()
            self.host_program = os.fsdecode(host.split(b"\0", 1)[0])
            self.region.header.setup_function = self.describe(
                description(FL_DESCRIBE_SETUP, 0, b"", b"", b"", prepared))
            self.region.header.host_function = self.describe(
                description(FL_DESCRIBE_HOST, 0, b"", b"", b"", host))
            self.setup = None
        return 0

    cdef int refuse_python(self, str why) except -1:
        """The interpreter is none: no worker execs it any more."""
        if self.gone():
            return 0
        self.region.header.host_function = 0
        text = description(FL_DESCRIBE_NO_HOST, 0, b"", b"", b"", why.encode("utf-8", "backslashreplace"))
        self.region.header.host_function = self.described.get(text) or self.append_description(text)
        return 0

    # -- the doorbell, seen from here ---------------------------------------------

    cdef bint start_worker(self) noexcept:
        """Ask the supervisor for one more worker. False: all are started."""
        cdef uint32_t i
        if self.parent.started >= self.region.plan.workers or self.broken is not None or self.paused or \
                (self.closing and not self.unfinished) or (self.no_starts_before and fl_now() < self.no_starts_before):
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
        if now - self.looked_ns > LOOK_NS or not self.looked_after:
            self.looked_ns = now
            take_sigint()
        if not self.looked_after:
            self.looked_after = True
            self.ask()

    def asked(self):
        """Whether somebody has asked since the supervisor last looked; it is about to."""
        asks, self.asks = self.asks, False
        return asks

    cpdef void kick(self) noexcept:
        """Have the collector thread look."""
        if not self.gone():
            fl_collector_kick(&self.parent)

    # -- the supervisor's look: what no worker may have written to hang us ----------

    def nudge(self):
        """The supervisor's look, twenty times a second; returns whether to look
        again. A worker that was stopped between calling the collector and writing
        the eventfd must not keep everybody from it, nor must a task that has
        written over the words by which workers and collector find each other, or
        over the ring. All slots are looked at only where nothing has ended since
        the last look, or once a second."""
        cdef bint again
        if self.gone():
            return False
        again = self.looked_after = self.unfinished != 0
        if not again or self.broken is not None:
            return again
        self.enter_region()
        try:
            if not self.intact():
                return again
            fl_collector_nudge(&self.parent)
            self.looks_without_audit += 1
            if self.finished == self.seen_finished or self.looks_without_audit >= 20:
                self.audit(self.finished != self.seen_finished)
                self.looks_without_audit = 0
            self.seen_finished = self.finished
        finally:
            self.leave_region()
        return again

    cdef bint intact(self) except -1:
        """Is there still a region? A task can punch a hole into its file, or map
        it once more and write over what the others map read-only."""
        if fl_region_intact(&self.region):
            return True
        if self.broken is None:
            self.break_pool("the pool's memory was destroyed: its file holds zeros or something else where "
                            "its header stood (has a task written to it, or punched a hole into it?)", None,
                            _errors.SlotCorrupted)
        return False

    cdef int audit(self, bint progress) except -1:
        """Is what every unfinished task's slot says possible, and will somebody
        come for it? What is wrong is set right or fails, here and now."""
        cdef CoreFuture future
        cdef uint64_t word
        cdef uint32_t slot, i, ready = 0
        self.audits += 1
        for slot in range(self.region.plan.slots):
            if self.parent.condemned[slot] and not self.paused and self.bell.pidfds[self.parent.condemned[slot] - 1] >= 0:
                self.kill(self.parent.condemned[slot] - 1)
            if self.futures[slot] == NULL:
                continue
            word = fl_slot_look(fl_slot_at(&self.region, slot))
            if not fl_slots_valid(&self.parent, slot, word) or fl_slots_forged(&self.parent, slot, word):
                self.corrupted(slot, word)
            elif fl_word_state(word) == FL_DONE:
                self.finish(slot)  # its flag may be lost
            elif fl_word_state(word) == FL_READY:
                ready += 1
            else:
                self.parent.seats[fl_word_owner(word) - 1].seen = self.audits
                self.parent.seats[fl_word_owner(word) - 1].serves = True
                future = <CoreFuture>self.futures[slot]
                if future.limit_ns and not future.started_ns:
                    future.started_ns = fl_slot_began(fl_slot_at(&self.region, slot))
        for i in range(self.region.plan.workers):
            if not self.parent.seats[i].taken and fl_load(&self.region.states[i]) != FL_GONE:
                fl_store(&self.region.states[i], fl_state_word(FL_GONE, 0, 0))
        if ready and not self.paused:
            if fl_ring_mend(&self.region, self.parent.generations, <void **>self.futures):
                progress = False
            if self.seen_ready and not progress:
                self.rouse()
        self.seen_ready = ready != 0
        if self.first != NULL and self.parent.free_count:
            feed(self)
        return 0

    cdef bint signal(self, uint32_t index) noexcept:
        """Call a worker that has no task, whatever its word says that it does."""
        if fl_bell_call(&self.region, index, 0) or self.parent.seats[index].serves or self.worker_attached(index):
            return fuload_ring(self.bell.registry, self.bell.pidfds[index], self.bell.alarm)
        return False

    cdef int rouse(self) except -1:
        """Tasks are ready and nobody claims them: signal every worker that has
        none, whatever it says that it does, and start what is missing. One that
        does not come runs something else, if memory was overwritten: it is ended."""
        cdef uint32_t i
        cdef fl_seat *seat
        for i in range(self.region.plan.workers):
            seat = &self.parent.seats[i]
            if seat.seen == self.audits or fl_load(&self.region.states[i]) != seat.called:
                seat.deaf = 0
            elif self.strays:
                seat.deaf += 1
                if seat.deaf >= <uint32_t>(DEAF_LOOKS if seat.serves else STARTING_LOOKS) and self.bell.pidfds[i] >= 0:
                    self.kill(i)
            if seat.seen != self.audits:
                self.signal(i)
                seat.called = fl_load(&self.region.states[i])
        fl_collector_watch_ring(&self.parent)
        return 0

    # -- waiting and collecting -----------------------------------------------------

    cdef int watch_flags(self, int32_t slot, uint64_t until) except -1:
        """Poll, without the interpreter's lock, until this slot or any flag
        shows something finished. Then the caller collects."""
        cdef uint32_t generation = self.parent.generations[slot] if slot >= 0 else 0
        fl_watch_begin(&self.parent)
        with nogil:
            fl_watch(&self.parent, slot, generation, until)
        fl_watch_end(&self.parent)
        self.unmap_when_through()
        return 0

    cpdef collect(self):
        """Resolve what has finished; never runs code of the user's."""
        if self.gone():
            return
        self.enter_region()
        try:
            self.collect_flagged()
        finally:
            self.leave_region()

    cdef int collect_flagged(self) except -1:
        cdef uint64_t bits
        cdef uint32_t i
        for i in range(self.region.flag_words):
            bits = fl_flags_take(&self.region, i)
            while bits:
                try:
                    self.finish(i * 64 + trailing_zeros(bits))
                except BaseException:
                    self.put_back(i, bits & (bits - 1))
                    raise
                bits &= bits - 1
        if self.first != NULL and self.parent.free_count:
            feed(self)
        return 0

    cdef int put_back(self, uint32_t index, uint64_t bits) except -1:
        """collect() was cut short: the collector sees to the rest."""
        while bits:
            fl_flag_set(&self.region, index * 64 + trailing_zeros(bits))
            bits &= bits - 1
        self.kick()
        return 0

    cdef int take(self, uint32_t slot) except -1:
        """finish(), and the queue's next task into the slot: the worker sees
        the reply taken and calls nobody who would do that."""
        self.enter_region()
        try:
            self.finish(slot)
            if self.first != NULL and self.parent.free_count:
                feed(self)
        finally:
            self.leave_region()
        return 0

    cdef int finish(self, uint32_t slot) except -1:
        """If the slot's task is done: take its reply, free the slot."""
        cdef PyObject *held = self.futures[slot]
        cdef uint64_t word
        cdef fl_outlook outlook
        cdef fl_reply reply
        cdef fl_seat *seat
        cdef CoreFuture future
        if held == NULL:
            return 0
        outlook = fl_slots_look(&self.parent, slot, &word)
        if outlook == FL_NOT_YET:
            return 0
        if outlook == FL_CORRUPTED:
            return self.corrupted(slot, word)
        future = <CoreFuture>held
        if not fl_reply_load(&self.region, fl_slot_at(&self.region, slot), future.asked, &reply):
            return self.corrupted(slot, word)
        self.futures[slot] = NULL
        Py_DECREF(future)
        try:
            seat = &self.parent.seats[fl_word_owner(word) - 1]
            seat.serves = True
            future.pid = seat.pid
            if FL_REPLY_NONE <= reply.kind <= FL_REPLY_NOT_REBUILT:
                seat.python = True
            self.take_reply(future, &reply, slot)
        except Exception as error:
            try:
                if type(error) is _errors.SlotCorrupted:
                    self.end_worker_of(slot, fl_word_owner(word))
                else:
                    self.free_slot(slot)
            finally:
                future.settle(HAS_EXCEPTION, error)
        else:
            self.free_slot(slot)
            if future.kind == FL_REPLY_SETUP_FAILED:
                self.setup_failed(future)
            else:
                future.settle(HAS_REPLY, future._value)
        return 0

    cdef int take_reply(self, CoreFuture future, fl_reply *reply, uint32_t slot) except -1:
        """The reply out of the slot; nothing is unpickled yet."""
        cdef uint64_t size = reply.size
        cdef char *at
        self.finished += 1
        future.kind = <uint8_t>reply.kind
        future.scalar = reply.scalar
        future.code = reply.status
        future.started_ns = reply.started_ns
        future.finished_ns = reply.finished_ns
        future.slot = -1
        if future.asked == FL_CALL_FUNCTION and (future.kind != FL_REPLY_SCALAR or future.views is not None):
            check_returned(future)
        if future.finished_ns >= future.started_ns >= future.submitted_ns:
            self.run_ns += future.finished_ns - future.started_ns
            self.wait_ns += future.started_ns - future.submitted_ns
        if future.kind == FL_REPLY_TOO_LARGE:
            future._value = self.too_large(f"the result of {future.callable.name}()", future.scalar)
        if future.kind < FL_REPLY_RETURNED:
            return 0
        if future.scalar and fl_reply_sized(future.kind):
            self.warm_up(slot, FL_REPLY, min(future.scalar, self.region.plan.half_size))
        if size == 0 and future.kind != FL_REPLY_BYTES:
            return 0
        if size <= self.region.plan.slot_size:
            at = fl_slot_area(&self.region, slot, FL_REPLY)
        else:
            at = self.map_window(slot, FL_REPLY, size)
        if FL_REPLY_PICKLE <= future.kind <= FL_REPLY_NOT_REBUILT:
            future._value = copy_pickle(at, size)
        elif future.kind == FL_REPLY_RETURNED:
            copy_returned(future, at, size)
        elif future.kind == FL_REPLY_BYTES and future.count and future.views is not None:
            if <uint64_t>future.views.view[0].len != size:
                raise _errors.SlotCorrupted("the results of a map are not as many as the calls")
            fl_copy(future.views.view[0].buf, at, size)
        else:
            future._value = copied_bytes(at, size)
        return 0

    cdef object too_large(self, str what, uint64_t size):
        """A PayloadTooLarge."""
        if size > self.asked_payload or not self.file_limit:
            return _errors.PayloadTooLarge(f"{what} has {size} bytes, max_payload is {self.asked_payload}")
        return _errors.PayloadTooLarge(
            f"{what} has {size} bytes; a file of this process may have {self.file_limit} (RLIMIT_FSIZE, ulimit -f), so the "
            f"pool has room for payloads of {self.max_payload}: raise that limit, or use fewer max_workers or slots")

    cdef char *map_window(self, uint32_t slot, fl_half half, uint64_t size) except NULL:
        """So much of a half, whose pages are about to be touched, or were."""
        cdef fl_mapping *m = &self.windows[2 * slot + <int>half]
        cdef char *at
        if m.at == NULL or m.size < size:
            self.own_region()
        at = fl_window_map(&self.region, m, slot, half, size)
        if at == NULL and errno == ENOMEM:
            self.unmap_idle(0)
            at = fl_window_map(&self.region, m, slot, half, size)
        if at == NULL:
            number = errno
            raise _errors.refused(f"mmap of {size} bytes for a {'request' if half == FL_REQUEST else 'reply'}", number)
        self.warm_up(slot, half, size)
        return at

    cdef void unmap_windows(self, uint32_t slot) noexcept:
        fl_window_unmap(&self.region, &self.windows[2 * slot])
        fl_window_unmap(&self.region, &self.windows[2 * slot + 1])

    cdef void unmap_idle(self, uint32_t most) noexcept:
        """Until so many halves are mapped: first those of slots that will be
        taken last. Used is a window only while its request is written, by a
        thread that has the slot (free it is not, and no future is there yet)."""
        cdef uint32_t i
        for i in range(self.parent.free_count):
            if self.region.windows <= most:
                return
            self.unmap_windows(self.parent.free[i])
        for i in range(self.region.plan.slots):
            if self.futures[i] != NULL:
                self.unmap_windows(i)

    cdef void warm_up(self, uint32_t slot, fl_half half, uint64_t size) noexcept:
        """Pages of a window are about to be touched, or were."""
        cdef uint64_t *bytes = &self.warm[2 * slot + <int>half]
        if size > bytes[0]:
            self.warm_total += size - bytes[0]
            bytes[0] = size

    cdef int free_slot(self, uint32_t slot) except -1:
        if self.warm_total > WARM_BUDGET and (self.warm[2 * slot] or self.warm[2 * slot + 1]):
            self.cool_down(slot)
        if self.region.windows > FL_MOST_WINDOWS:
            self.shed(slot)
        fl_slots_release(&self.parent, slot)
        return 0

    cdef void shed(self, uint32_t slot) noexcept:
        """More windows are mapped than may be: without this slot's. Now and
        then, half of them: the slots in use now are to keep theirs."""
        self.unmap_windows(slot)
        self.sheds += 1
        if self.sheds % 1024 == 0:
            self.unmap_idle(FL_MOST_WINDOWS // 2)

    cdef int cool_down(self, uint32_t slot) except -1:
        """Give a slot's window pages back to the system, all: a worker that has
        died did not say how many it had touched."""
        if self.holds_region():
            fallocate(self.region.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      <long>fl_window_at(&self.region, slot, FL_REQUEST), <long>(2 * self.region.plan.half_size))
        self.warm_total -= self.warm[2 * slot] + self.warm[2 * slot + 1]
        self.warm[2 * slot] = self.warm[2 * slot + 1] = 0
        return 0

    cdef int defer(self, CoreFuture future) except -1:
        """The collector announces this future and calls its callbacks."""
        self.deferred.append(future)
        self.kick()
        return 0

    cdef void count_begin(self, CoreFuture future) noexcept:
        self.unfinished += 1
        self.submitted += 1
        if future.count:
            fl_collector_maps(&self.parent, 1)
        if future.limit_ns:
            self.limited += 1
            if not self.least_limit_ns or future.limit_ns < self.least_limit_ns:
                self.least_limit_ns = future.limit_ns

    cdef int count_end(self, CoreFuture future, int status) except -1:
        if status == CANCELLED:
            self.cancelled_count += 1
        elif future.outcome == HAS_REPLY and not fl_reply_fails(future.kind):
            self.completed += 1
        else:
            self.failed += 1
        return self.count_out(future)

    cdef int count_out(self, CoreFuture future) except -1:
        self.unfinished -= 1
        if future.count:
            fl_collector_maps(&self.parent, -1)
        if future.limit_ns:
            self.limited -= 1
            if not self.limited:
                self.least_limit_ns = 0
        self.wake_next_blocked()
        if not self.unfinished and self.closing:
            self.ask()
        return 0

    cdef int kill(self, uint32_t worker) noexcept:
        """The worker whose task has just been condemned, and no later one of that index."""
        self.parent.seats[worker].doomed = True
        self.ask()
        return 0

    # -- cancelling -------------------------------------------------------------------

    cdef bint withdraw(self, CoreFuture future) except -1:
        """Take back a task that no worker has. The future is still to be announced."""
        cdef Task *task = future.task
        cdef uint32_t slot
        if task != NULL:
            future.task = NULL
            unlink_task(self, task)
            free(task)
            Py_DECREF(future)
            return True
        if future.slot < 0:
            return False
        slot = <uint32_t>future.slot
        if not fl_slots_cancel(&self.parent, slot):
            return False
        future.slot = -1
        Py_DECREF(future)
        self.free_slot(slot)
        if self.first != NULL:
            feed(self)
        return True

    cdef bint condemn(self, CoreFuture future) except -1:
        """End a task that runs, and its worker."""
        cdef uint32_t worker
        if future.slot < 0:
            return False
        if not self.condemn_slot(future, &worker):
            return False
        self.kill(worker)
        return True

    cdef bint condemn_slot(self, CoreFuture future, uint32_t *worker) except -1:
        """The slot is given back when the worker is buried: until then it may
        still write there. False also where no worker runs it who says that he does:
        then the word is forged, and the next look at the slot says so."""
        if future.slot < 0 or not fl_slots_condemn(&self.parent, <uint32_t>future.slot, worker):
            return False
        future.slot = -1
        Py_DECREF(future)
        return True

    cdef list withdraw_all(self, bint running, set spared=None):
        """Take back what waits, but for these slots, and with `running` condemn
        what runs. The futures are still to be announced."""
        self.enter_region()
        try:
            return self.find_all(running, spared)
        finally:
            self.leave_region()

    cdef list find_all(self, bint running, set spared):
        cdef CoreFuture future
        cdef uint32_t slot, worker
        cdef list found = []
        while self.first != NULL:
            future = <CoreFuture>self.first.future
            self.withdraw(future)
            found.append(future)
        for slot in range(self.region.plan.slots):
            self.finish(slot)
            if self.futures[slot] != NULL and (spared is None or slot not in spared):
                future = <CoreFuture>self.futures[slot]
                if self.withdraw(future) or (running and self.condemn_slot(future, &worker)):
                    found.append(future)
                elif running and self.futures[slot] != NULL:
                    self.finish(slot)  # it has just ended,
                    if self.futures[slot] != NULL:  # or no worker has it who says that it has
                        self.corrupted(slot, fl_slot_look(fl_slot_at(&self.region, slot)))
        return found

    cdef set begun(self):
        """Slots of the tasks that workers are coming for: as many of the oldest
        as there are workers that start, were called, or poll."""
        cdef fl_census c
        cdef uint32_t slot
        cdef list ready = []
        if self.paused:
            return set()
        for slot in range(self.region.plan.slots):
            if self.futures[slot] != NULL and \
                    fl_word_state(fl_slot_look(fl_slot_at(&self.region, slot))) == FL_READY:
                ready.append(((<CoreFuture>self.futures[slot]).submitted_ns, slot))
        fl_bell_count(&self.region, &c)
        ready.sort()
        return {of for _, of in ready[:c.starting + c.called + c.polling]}

    def cancel_all(self, bint begun=False):
        """Cancel what no worker has begun, or with `begun` what none runs yet;
        shutdown() calls it, and callbacks are called here, as cancel() does."""
        cdef CoreFuture future
        raised = None
        if not self.gone():
            for future in self.withdraw_all(False, None if begun else self.begun()):
                try:
                    future.announce(CANCELLED, callbacks_here=True)
                except BaseException as error:  # Ctrl-C in a callback: the others end all the same
                    raised = error
        if raised is not None:
            raise raised

    def interrupt(self):
        """After SIGINT: cancel everything. Until the workers that live now
        are buried nothing is published, so that none of them takes a new task
        with it."""
        cdef CoreFuture future
        if self.gone():
            return
        self.paused = self.parent.started > 0
        for future in self.withdraw_all(True):
            future.settle_cancelled()

    # -- timeouts ---------------------------------------------------------------------

    cdef void limit(self, CoreFuture future) noexcept:
        """Another task with a timeout: it cannot be past it before then."""
        cdef uint64_t due = future.submitted_ns + max(future.limit_ns, <uint64_t>LEAST_LOOK_NS)
        if not self.look_at_ns or due < self.look_at_ns:
            self.look_at_ns = due
            self.ask()

    def end_overdue(self):
        """The supervisor's look: end what runs longer than it may, and say when
        to look again: when the next of those that run is due, and for those
        that may have begun just now, after their whole timeout. Other threads
        may submit in the middle of this, into slots that were looked at before."""
        self.look_at_ns = 0
        if self.gone() or not self.limited:
            return
        self.enter_region()
        try:
            self.look_for_overdue()
        finally:
            self.leave_region()

    cdef int look_for_overdue(self) except -1:
        cdef CoreFuture future
        cdef fl_slot *s
        cdef uint64_t word, began, now = fl_now(), due = 0, next_due = 0
        cdef uint64_t seen = 0
        cdef uint32_t slot
        for slot in range(self.region.plan.slots):
            if self.futures[slot] == NULL:
                continue
            future = <CoreFuture>self.futures[slot]
            if not future.limit_ns:
                continue
            s = fl_slot_at(&self.region, slot)
            word = fl_slot_look(s)
            seen += 1
            if fl_word_state(word) == FL_DONE:
                continue
            began = fl_slot_began(s) or future.started_ns
            if fl_word_state(word) != FL_RUNNING or not began:
                due = now + max(future.limit_ns, <uint64_t>LEAST_LOOK_NS)
            else:
                if began > now or began < future.submitted_ns:
                    # No worker wrote that: from when it was first seen.
                    began = future.started_ns = future.started_ns or now
                due = began + future.limit_ns
                if due <= now:
                    seen -= 1
                    self.time_out(future, word, began, now)
                    continue
            if not next_due or due < next_due:
                next_due = due
        if seen < self.limited:
            due = now + max(self.least_limit_ns, <uint64_t>LEAST_LOOK_NS)
            if not next_due or due < next_due:
                next_due = due
        if next_due and (not self.look_at_ns or next_due < self.look_at_ns):
            self.look_at_ns = next_due
        return 0

    cdef int time_out(self, CoreFuture future, uint64_t word, uint64_t began, uint64_t now) except -1:
        """Ended, unless it has finished this very moment."""
        cdef uint32_t slot = <uint32_t>future.slot, worker
        request = self.request_of(slot)
        if not self.condemn_slot(future, &worker):
            return 0
        self.kill(worker)
        future.pid = self.parent.seats[worker].pid
        future.started_ns = began
        future.finished_ns = now
        return future.settle(HAS_TIMEOUT, request)

    cdef object request_of(self, uint32_t slot):
        """For messages: the request, if it is short."""
        cdef uint64_t size = fl_slot_at(&self.region, slot).request_size
        if size > self.region.plan.slot_size:
            return None
        return PyBytes_FromStringAndSize(fl_slot_area(&self.region, slot, FL_REQUEST), <Py_ssize_t>size)

    # -- workers come and go; the supervisor calls these ---------------------------------

    def take_doomed(self):
        """Indexes of the workers that shall be ended, told once."""
        cdef uint32_t i
        found = []
        for i in range(self.worker_count):
            if self.parent.seats[i].doomed:
                self.parent.seats[i].doomed = False
                found.append(i)
        return found

    def take_wanted(self, Py_ssize_t most):
        """Up to this many indexes for which a worker is wanted: it is started now,
        or the pool hears why not."""
        cdef uint32_t i
        found = []
        for i in range(self.worker_count):
            if not self.wanted or len(found) == most:
                break
            if self.parent.seats[i].wanted:
                self.parent.seats[i].wanted = False
                self.wanted -= 1
                found.append(i)
        return found

    def want_again(self, indexes):
        """They were not started yet."""
        cdef uint32_t i
        for i in indexes:
            self.parent.seats[i].wanted = True
            self.wanted += 1

    def want_nobody(self):
        """Nobody is started of those who were asked for."""
        if not self.gone():
            for index in self.take_wanted(self.worker_count):
                self.not_wanted(index)

    def worker_started(self, uint32_t index, int pid, int pidfd):
        self.parent.seats[index].pid = <uint32_t>pid
        fl_store(&self.region.pids[index], <uint64_t>pid)
        (<Registry>self.registry).enrol(pidfd, 0)
        self.bell.pidfds[index] = pidfd  # the pool's from now on
        # It may have gone to sleep and been called before it could be signalled.
        if fl_state_of(fl_load(&self.region.states[index])) == FL_CALLED:
            fuload_ring(self.bell.registry, pidfd, self.bell.alarm)

    def worker_left_behind(self, str why):
        """It cannot be ended. Its place stays taken, its order stands, and what it
        ran fails with all the rest."""
        self.break_pool(why, None)

    def worker_not_started(self, uint32_t index, why):
        """It could not be started, for this reason."""
        fl_store(&self.region.states[index], fl_state_word(FL_GONE, 0, 0))
        self.parent.seats[index].taken = False
        self.parent.started -= 1
        # Those that live do the work, and it is not too often tried again;
        # if there are none, that is the pool's end, whatever is wanted meanwhile.
        self.no_starts_before = fl_now() + 1000000000
        self.dead.append((index, 0, None, (why, None, not self.parent.started)))
        self.kick()

    cdef int not_wanted(self, uint32_t index) except -1:
        fl_store(&self.region.states[index], fl_state_word(FL_GONE, 0, 0))
        self.parent.seats[index].taken = False
        self.parent.started -= 1
        if not self.parent.started:
            self.resume()
        return 0

    cdef int resume(self) except -1:
        """The last of the workers that an interrupt ended is buried."""
        if self.paused:
            self.paused = False
            feed(self)
        return 0

    def runs_python(self, uint32_t index):
        """Whether this worker is an interpreter. (It says so itself: what is sent to
        it by mistake ends it a tenth of a second later.)"""
        return fl_load(&self.region.blocks[index].python) == FL_PYTHON_SERVES

    def silent_interpreters(self):
        """Indexes of the workers that have exec'ed the interpreter, of which
        nothing was heard yet. They say so themselves; it is believed of those that
        a Python task waits for, and that have never replied to one."""
        cdef uint32_t i
        found = []
        if not self.gone():
            for i in range(self.region.plan.workers):
                if fl_load(&self.region.blocks[i].python) == FL_PYTHON_EXEC and not self.parent.seats[i].python and \
                        self.becomes_python(i):
                    found.append(i)
        return found

    cdef bint becomes_python(self, uint32_t index) noexcept:
        cdef uint32_t slot
        cdef uint64_t word
        for slot in range(self.region.plan.slots):
            if self.futures[slot] != NULL and (<CoreFuture>self.futures[slot]).asked >= FL_CALL_PYTHON:
                word = fl_slot_look(fl_slot_at(&self.region, slot))
                if fl_word_owner(word) == index + 1 and fl_word_state(word) == FL_RUNNING:
                    return True
        return False

    def interpreter_program(self):
        """The program that Python tasks ask for; '' if none has asked yet."""
        return self.host_program

    def order_end(self, uint32_t index):
        """Signals to this worker are refused: it shall end itself. False if that
        cannot be said either."""
        fl_store(&self.region.orders[index], FL_ORDER_END)
        return fuload_alarm(self.bell.registry, self.bell.alarm)

    def worker_ended(self, uint32_t index):
        """The process is dead and not yet reaped: its pid must not be
        signalled by anybody from now on."""
        fl_burial_dead(&self.parent, index)

    cpdef bint worker_attached(self, uint32_t index) noexcept:
        """Whether it has found the region and serves."""
        return fl_load(&self.region.blocks[index].attached) != 0

    def worker_reaped(self, uint32_t index, int pid, exitcode, complaint=None, no_interpreter=None, bint refuse=False):
        """The collector shall bury it. Its place stays taken until then. A
        complaint says why no worker like it can serve: the pool is broken.
        `no_interpreter` says why it could not become Python: its task fails, and
        with `refuse` all Python tasks from now on."""
        self.dead.append((index, pid, exitcode, (complaint, no_interpreter, refuse)))
        self.kick()
        # If it died between calling the collector and writing the eventfd,
        # the collector would sleep on.
        ring_collector(&self.bell)

    cdef int bury(self, uint32_t index, int pid, object exitcode) except -1:
        """A worker is dead: keep what it finished, fail what it ran, free what
        was condemned, ring those that it called and could not signal."""
        cdef fl_death death
        cdef fl_verdict verdict
        cdef uint64_t word
        cdef uint32_t slot
        cdef int32_t waited
        cdef bint crashed = False, expected = fl_burial_expected(&self.parent, index)
        cdef uint64_t done = fl_load(&self.region.blocks[index].tasks_done)
        self.intact()
        death.worker = index
        death.suspicious = exitcode == ABORTED
        for slot in range(self.region.plan.slots):
            if self.futures[slot] == NULL:
                continue
            death.blameless = exitcode == FL_EXIT_DESCRIPTORS and self.broken is None and not self.forced
            verdict = fl_burial_judge(&self.parent, &death, slot, &word)
            if verdict == FL_WILD:
                self.corrupted(slot, word)
            elif verdict == FL_KEPT:
                self.finish(slot)
            elif verdict == FL_AGAIN:
                (<CoreFuture>self.futures[slot]).started_ns = 0
            elif verdict == FL_CRASHED:
                expected = self.crash(slot, pid, exitcode) or expected
                crashed = True
        # Now those that were condemned, the corrupted ones of this burial too.
        waited = fl_burial_condemned(&self.parent, index, 0)
        while waited >= 0:
            self.cool_down(<uint32_t>waited)
            self.free_slot(<uint32_t>waited)
            waited = fl_burial_condemned(&self.parent, index, <uint32_t>waited + 1)
        fuload_release(self.bell.registry, self.bell.pidfds[index], True)
        self.bell.pidfds[index] = -1
        fl_burial_end(&self.parent, index)
        if self.closing and not self.unfinished:
            return 0
        if self.paused:
            if not self.parent.started:
                self.resume()
            return 0
        if not expected and not self.no_interpreter:
            self.judge(done, exitcode)
        if self.broken is None:
            if exitcode != 0 or crashed:
                self.start_worker()
            if self.first != NULL:
                feed(self)
            fl_announce(&self.parent, 1)
        return 0

    cdef int judge(self, uint64_t done, object exitcode) except -1:
        """Five in a row that finished nothing: the pool is broken. Those that
        were killed for their task, or whose task is tried again, do not count."""
        if done or self.finished != self.finished_at_death:
            self.deaths_in_a_row = 0
        self.finished_at_death = self.finished
        if done:
            return 0
        self.deaths_in_a_row += 1
        if self.deaths_in_a_row >= 5:
            self.break_pool(f"{self.deaths_in_a_row} workers in a row died before they finished a task "
                            f"(the last one {_errors._describe_exit(exitcode)})", None)
        return 0

    cdef bint crash(self, uint32_t slot, int pid, object exitcode) except -1:
        """The worker died with this task: try it again (True), or fail it."""
        cdef CoreFuture future = <CoreFuture>self.futures[slot]
        cdef fl_slot *s = fl_slot_at(&self.region, slot)
        cdef Task *task = future.again
        self.futures[slot] = NULL
        future.slot = -1
        self.cool_down(slot)  # before anybody hears of it, and needs memory
        if future.retries and task != NULL and self.broken is None and not self.forced and \
                not self.no_interpreter:
            self.free_slot(slot)
            future.retries -= 1
            future.again = NULL
            future.task = task
            future.started_ns = 0
            self.retried += 1
            push_first(self, task)
            return True
        future.pid = <uint32_t>pid
        future.started_ns = fl_slot_began(s)
        future.scalar = exitcode is not None
        future.code = exitcode if exitcode is not None else 0
        request = self.request_of(slot)
        self.free_slot(slot)
        future.settle(HAS_CRASH, (request, self.no_interpreter or ""))
        Py_DECREF(future)
        return False

    cdef int corrupted(self, uint32_t slot, uint64_t word) except -1:
        """What stands there no worker wrote: this task fails, and the worker
        that should have run it, if one can be told, is ended."""
        cdef CoreFuture future = <CoreFuture>self.futures[slot]
        cdef fl_slot *s = fl_slot_at(&self.region, slot)
        cdef uint32_t owner = fl_slots_runner(&self.parent, slot, word)
        error = _errors.SlotCorrupted(
            f"slot {slot} of {future.callable.name}() holds what no worker can have written "
            f"(word {word:#018x}, reply kind {s.reply_kind}, reply size {s.reply_size})")
        if self.abandoned is not None:  # its worker was ended, and nobody buries it
            error = BrokenProcessPool(self.abandoned)
        self.futures[slot] = NULL
        future.slot = -1
        try:
            self.end_worker_of(slot, owner)
        finally:
            future.settle(HAS_EXCEPTION, error)
            Py_DECREF(future)
        return 0

    cdef int end_worker_of(self, uint32_t slot, uint32_t owner) except -1:
        """This worker may still write into a slot whose task has ended: the slot is
        given back at its burial. At once if there is no such worker."""
        if not fl_slots_lives(&self.parent, owner) or self.bell.pidfds[owner - 1] < 0:
            self.strays = True
            self.cool_down(slot)
            return self.free_slot(slot)
        fl_slots_condemn_corrupted(&self.parent, slot, owner - 1)
        return self.kill(owner - 1)

    cdef int setup_failed(self, CoreFuture future) except -1:
        """The reply says what happened and, if the initializer raised, its traceback."""
        reason, _, text = (future._value or b"").decode("utf-8", "replace").partition("\0")
        if text:
            reason = "A process in the process pool was terminated abruptly while the future was running or pending: " \
                + reason
        error = None
        try:
            if text:
                say(LOGGER.critical, "Exception in initializer:\n%s", text)
        finally:  # a signal handler may have raised
            try:
                error = self.break_pool(reason, text)
            finally:
                future.settle(HAS_EXCEPTION, error or BrokenProcessPool(reason))
        return 0

    cdef object break_pool(self, str reason, object text, object kind=None):
        """No task of this pool can be run any more, as in the standard library."""
        cdef CoreFuture future
        if kind is None:
            kind = BrokenProcessPool
        error = kind(reason)
        if text:
            error.__cause__ = _RemoteTraceback(f'\n"""\n{text}"""')
        if self.broken is None:
            self.broken = error
        for future in self.withdraw_all(True):
            own = kind(reason)
            own.__cause__ = error.__cause__
            future.settle(HAS_EXCEPTION, own)
        while self.blocked:
            self.blocked.popleft().release()
        self.ask()
        return error

    # -- the collector thread --------------------------------------------------------------

    def collector_runs(self):
        """The collector thread says who it is."""
        self.collector_thread = get_ident()

    def work(self, int timeout_ms=-1):
        """Wait for something to collect and do it: the collector's whole turn."""
        cdef uint32_t missing
        if self.gone():
            return
        with nogil:
            missing = fl_collector_wait(&self.parent, timeout_ms)
        while missing and self.start_worker():
            missing -= 1
        self.collect()
        while self.dead:
            index, pid, exitcode, (complaint, no_interpreter, refuse) = self.dead.popleft()
            if pid:
                if complaint:
                    self.break_pool(complaint, None)
                self.no_interpreter = no_interpreter
                try:
                    if refuse:
                        self.refuse_python(no_interpreter)
                finally:
                    self.bury(index, pid, exitcode)
                    self.no_interpreter = None
            elif refuse:
                self.break_pool(f"no worker can be started: {complaint}", None)
        self.announce_deferred()

    def announce_settled(self):
        """Futures that have ended and wait for the collector to say so, which may
        be in a callback of somebody's: done at once. Their callbacks stay its."""
        cdef CoreFuture future
        for future in list(self.deferred):
            if future.status == SETTLED:
                future.announce(CANCELLED if future.outcome == HAS_NOTHING else FINISHED, callbacks_here=False)

    cdef int announce_deferred(self) except -1:
        cdef CoreFuture future
        if self.deferred and self.crew is not None:
            self.crew.name_collector()
        while self.deferred:
            future = self.deferred.popleft()
            try:
                if future.status == SETTLED:
                    future.announce(CANCELLED if future.outcome == HAS_NOTHING else FINISHED, callbacks_here=True)
                else:
                    future.call_back()
            except BaseException:
                say(LOGGER.exception, "exception while announcing %r", future)
        return 0

    # -- what others may know ------------------------------------------------------------------

    def force(self):
        """The workers are ended: what they run fails and is not tried again."""
        self.forced = True

    def leave(self):
        """All workers shall leave as soon as they have nothing to do."""
        cdef uint32_t i
        if self.gone() or not self.intact():
            return
        fl_store(&self.region.header.leave, 1)
        for i in range(self.region.plan.workers):
            self.signal(i)  # none has a task

    def wake_blocked(self):
        """Threads that wait in submit() for room look again."""
        while self.blocked:
            self.blocked.popleft().release()

    def descriptors(self):
        """(region, the collector's eventfd, the workers' alarm): what a worker inherits."""
        return self.region.fd, self.bell.fd, self.bell.alarm

    def protocol_version(self):
        return FL_VERSION

    def pids(self):
        """Process ids of the workers that have been started and are not dead, as
        far as this process knows them itself."""
        cdef uint32_t i
        if self.gone():
            return set()
        return {<int>self.parent.seats[i].pid for i in range(self.region.plan.workers)
                if self.parent.seats[i].pid and not self.parent.seats[i].ended}

    def snapshot(self):
        """Numbers for PoolStats: (workers, totals)."""
        cdef uint32_t i
        workers = []
        names = {FL_STARTING: "starting", FL_BUSY: "busy", FL_POLLING: "polling", FL_ASLEEP: "asleep",
                 FL_CALLED: "called"}
        rung = 0
        if not self.gone():
            self.enter_region()
            for i in range(self.region.plan.workers):
                state = fl_state_of(fl_load(&self.region.states[i]))
                block = &self.region.blocks[i]
                rung += fl_load(&block.relays)
                if self.parent.seats[i].taken and not self.parent.seats[i].ended:
                    workers.append((self.parent.seats[i].pid, names.get(state, "unknown"), fl_load(&block.tasks_done),
                                    fl_load(&block.run_ns) / 1e9, fl_load(&block.python) == FL_PYTHON_SERVES))
            self.leave_region()
        return workers, {"submitted": self.submitted, "completed": self.completed, "failed": self.failed,
                         "cancelled": self.cancelled_count, "retried": self.retried,
                         "doorbells": fl_load(&self.parent.doorbells) + rung, "queued": self.queued,
                         "unfinished": self.unfinished, "run_seconds": self.run_ns / 1e9,
                         "wait_seconds": self.wait_ns / 1e9}

    def forget_in_child(self):
        """After os.fork() in the child: this copy is inert, and keeps nothing
        of the parent's pool alive."""
        self.unmap()
        self.crew = None


def _forget_in_child():
    for pool in list(_pools):
        pool.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)


cdef extern from *:
    """
    static inline unsigned fuload_ctz(unsigned long long bits) { return (unsigned)__builtin_ctzll(bits); }
    """
    unsigned int trailing_zeros "fuload_ctz"(unsigned long long bits) nogil


cdef object empty_tuple = ()

ctypedef object (*new_function)(PyTypeObject *, PyObject *, PyObject *)


cdef object not_a_pickle():
    return _errors.SlotCorrupted("a reply's pickle does not fit into the reply")


cdef object copy_pickle(char *at, uint64_t size):
    """(stream, buffers) out of a reply. Every length is read once, checked and
    then used: a worker gone wild may be writing there."""
    cdef fl_pickle head
    cdef uint64_t part, length, offset
    cdef uint32_t i
    if size < sizeof(head):
        raise not_a_pickle()
    memcpy(&head, at, sizeof(head))
    offset = sizeof(head) + 8 * <uint64_t>head.buffers
    if head.buffers > FL_MAX_BUFFERS or offset > size or head.stream_size > size - offset:
        raise not_a_pickle()
    stream = copied_bytes(at + offset, head.stream_size)
    if not head.buffers:
        return (stream, None)
    buffers = []
    offset += head.stream_size
    for i in range(head.buffers):
        memcpy(&length, at + sizeof(head) + 8 * i, 8)
        part = length & ~FL_BUFFER_READONLY
        offset = fl_round(offset, FL_LINE)
        if offset > size or part > size - offset:
            raise not_a_pickle()
        if length & FL_BUFFER_READONLY:
            buffers.append(copied_bytes(at + offset, part))
        else:
            buffers.append(copied_bytearray(at + offset, part))
        offset += part
    return (stream, buffers)


cdef int check_returned(CoreFuture future) except -1:
    """Buffers that the call writes to come back in RETURNED and in nothing else, and
    only what is no number comes as bytes."""
    cdef bint returned = future.views is not None and future.views.extent.size != 0
    cdef Callable c = future.callable
    if future.kind == FL_REPLY_RETURNED if not returned else future.kind in (FL_REPLY_SCALAR, FL_REPLY_BYTES):
        raise wrong_result(c)
    if future.kind == FL_REPLY_BYTES and c.result_code not in (FL_STRUCT, FL_STRING, FL_WIDE_STRING, FL_POINTEE, FL_F80):
        raise wrong_result(c)
    return 0


cdef object wrong_result(Callable c):
    return _errors.SlotCorrupted(f"a reply to {c.name}() does not hold what the call was to return")


cdef int copy_returned(CoreFuture future, char *at, uint64_t size) except -1:
    """What a native call returned: buffers go back to where they came from."""
    cdef fl_returned head
    cdef Views views = future.views
    cdef uint64_t offset = sizeof(head)
    cdef int i
    memcpy(&head, at, sizeof(head))
    if views is not None:
        offset += views.extent.size
    offset = fl_round(offset, FL_BUFFER_ALIGN)
    # All must be there before anything is written.
    if offset > size or head.size != size - offset:
        raise wrong_result(future.callable)
    if head.size:
        future._value = copied_bytes(at + offset, head.size)
    future.scalar = head.scalar
    if views is not None:
        for i in range(views.count):
            if not views.view[i].readonly and views.view[i].len:
                fl_copy(views.view[i].buf, at + sizeof(head) + (views.at[i] - views.extent.at),
                        <size_t>views.view[i].len)
    return 0


include "arguments.pxi"
include "pickle.pxi"
include "maps.pxi"


cdef class Submitter:
    """The part of FuloadExecutor that every task goes through."""
    cdef public Pool _pool
    cdef PyTypeObject *future_class
    cdef object future_type
    cdef uint64_t limit_ns
    cdef uint32_t retries

    def _bind(self, Pool pool, future_type, timeout, uint32_t max_retries):
        """Submit to this pool, with these options."""
        self._pool = pool
        self.future_type = future_type
        self.future_class = <PyTypeObject *>future_type
        self.limit_ns = max(<uint64_t>1, <uint64_t>(<double>timeout * 1e9)) if timeout is not None else 0
        self.retries = max_retries

    cdef CoreFuture new_future(self):
        """An instance without its __init__."""
        cdef PyTypeObject *cls = self.future_class
        cdef CoreFuture future = <CoreFuture>(<new_function>cls.tp_new)(cls, <PyObject *>empty_tuple, NULL)
        future.limit_ns = self.limit_ns
        future.retries = self.retries
        return future

    def submit(self, fn, /, *args, **kwargs):
        """Schedule fn(*args, **kwargs) and return a FuloadFuture.

        `fn` is any picklable callable, a ctypes function with argtypes, a
        NativeFunction or a NativeTask.
        """
        try:
            return self._pool.submit_task(self, fn, args, kwargs)
        except BaseException:
            see_interrupt_through()
            raise
