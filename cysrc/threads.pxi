# Threads of ours, and waiting for them: nothing here takes a lock that a finalizer
# or a signal handler could find taken.

cdef class Sleepers:
    """Threads that wait for something. Nothing here takes a lock that another
    thread may hold, or is interrupted between two steps: finalizers and signal
    handlers come here in the middle of anything."""
    cdef object locks

    def __cinit__(self):
        self.locks = []

    cdef object register(self):
        """A lock to sleep on; the caller looks once more before it does."""
        lock = allocate_lock()
        lock.acquire()
        self.locks.append(lock)
        return lock

    cdef int leave(self, object lock) except -1:
        if lock in self.locks:
            self.locks.remove(lock)
        return 0

    cpdef wake(self):
        """All look again."""
        made = []  # first: up to 3.11 that may be a collection, with any code
        locks, self.locks = self.locks, made
        for lock in locks:
            lock.release()


cdef class Moment:
    """Something that happens once."""
    cdef readonly bint happened
    cdef Sleepers sleepers

    def __cinit__(self):
        self.sleepers = Sleepers()

    def happen(self):
        self.happened = True
        self.sleepers.wake()

    def wait(self, timeout=None):
        """Whether it has happened; waits up to `timeout` seconds."""
        cdef double left = -1 if timeout is None else timeout
        lock = self.sleepers.register()
        try:
            if not self.happened:
                lock.acquire(True, left)
        finally:
            self.sleepers.leave(lock)
        return self.happened


cdef class Gate:
    """Where a new thread waits until it is known what it is to do, if anything."""
    cdef object lock, work
    cdef bint opened

    def __cinit__(self):
        self.lock = allocate_lock()
        self.lock.acquire()

    cdef int open(self, work) except -1:
        """Only the first time counts."""
        if not self.opened:
            self.opened = True
            self.work = work
            self.lock.release()
        return 0

    def wait(self):
        """In the thread: its work, or None."""
        self.lock.acquire()
        work, self.work = self.work, None
        return work


@cython.no_gc_clear
cdef class Start:
    """A thread that has been started and waits at its gate. Ctrl-C may end at
    any point whatever was to open that: then the thread has nothing to do, and
    ends."""
    cdef Gate gate

    def __init__(self, main):
        """It takes no signals of the user's threads. (Masks are set here, not by
        `signal`: there a handler may raise while they are.)"""
        cdef sigset_t before
        self.gate = Gate()
        block_signals(&before)
        try:
            start_new_thread(main, (self.gate,))
        finally:
            restore_signals(&before)

    def __dealloc__(self):
        if self.gate is not None:
            self.gate.open(None)


def decide(dict members, str name, value, Start start, work):
    """members.setdefault(name, value), and in the same step the thread gets this
    work if it is `value` that counts; whether it is."""
    counts = members.setdefault(name, value) is value
    start.gate.open(work if counts else None)
    return counts


def thread_begins(name):
    """The system's name of the calling thread, for `top -H` and debuggers."""
    text = name.encode()[:15]
    name_thread(PyBytes_AS_STRING(text))


def await_thread(int tid):
    """A thread of ours has said that it is over; until the system agrees. Not
    for long: the number may be a new thread's."""
    cdef uint64_t until = fl_now() + 100000000
    with nogil:
        while thread_exists(tid) and fl_now() < until:
            sched_yield()
