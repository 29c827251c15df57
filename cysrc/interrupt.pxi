# SIGINT, at the level of C: Python runs its handlers in the main thread only,
# between bytecodes, and a main thread that waits on a lock may not get there.
# Our handler calls the one that was there before and rings the supervisor.

cdef extern from *:
    """
    #include <signal.h>
    #include <sched.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <unistd.h>
    #include <errno.h>

    /* Where the handler rings: registry and near end, as one word so that both
     * are of one supervisor; all bits set for none. Written under the
     * interpreter's lock by whoever starts or ends supervisors, read by the
     * handler in whatever thread the signal comes to. Sequentially consistent
     * with `ringing`: who takes the aim away waits for the handlers that may
     * have seen it, so they write nothing that was closed meanwhile. */
    static _Atomic uint64_t fuload_sigint_aim = UINT64_MAX;
    static _Atomic int fuload_sigint_ringing;  /* handlers that use the aim */
    static _Atomic int fuload_sigint_owner;    /* the process whose aim it is */
    /* What was there before ours: written with the handler, under the
     * interpreter's lock, before it is installed; read by the handler. */
    static struct sigaction *_Atomic fuload_sigint_before;
    /* The recursion guard. Initial-exec: a module that is loaded later has its
     * thread-local variables allocated at a thread's first use, by malloc, which
     * the signal may have interrupted. */
    static __thread __attribute__((tls_model("initial-exec"))) volatile sig_atomic_t fuload_sigint_inside;
    /* How many SIGINTs were seen (the handler counts), how many the supervisor
     * has acted on, and after how many every worker is reaped (it writes both, and
     * whoever ends it). Sequentially consistent: a count is stored after what it
     * says is true. submit() waits while the first two differ, what raises
     * KeyboardInterrupt while the first and the last do. */
    static _Atomic unsigned fuload_sigint_seen, fuload_sigint_handled, fuload_sigint_buried;
    /* Handlers that are about to call the one before. While there are any the
     * supervisor waits a moment (not for ever: that one may never return). */
    static _Atomic int fuload_sigint_calling;

    /* The aim, to be given back by aim_used(). */
    static uint64_t fuload_sigint_use_aim(void)
    {
        fuload_sigint_ringing++;
        /* In a forked child the descriptors are the parent's. */
        return getpid() == fuload_sigint_owner ? fuload_sigint_aim : UINT64_MAX;
    }

    static void fuload_sigint_aim_used(void)
    {
        fuload_sigint_ringing--;
    }

    static void fuload_on_sigint(int number, siginfo_t *info, void *context)
    {
        int saved = errno;
        struct sigaction *before = fuload_sigint_before;
        uint64_t aim;

        if (fuload_sigint_inside)
            return; /* a handler that was put over ours calls us back */
        aim = fuload_sigint_use_aim();
        fuload_sigint_calling++;
        if (aim != UINT64_MAX)
            fuload_sigint_seen++;
        fuload_sigint_aim_used();
        /* The one before comes first: a main thread that wakes because its future
         * is cancelled has its KeyboardInterrupt. */
        errno = saved;
        fuload_sigint_inside = 1;
        if (before && before->sa_flags & SA_SIGINFO)
            before->sa_sigaction(number, info, context);
        else if (before && before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
            before->sa_handler(number);
        fuload_sigint_inside = 0;
        saved = errno;
        aim = fuload_sigint_use_aim();
        fuload_sigint_calling--;
        if (aim != UINT64_MAX)
            fuload_ring_registry((int)(aim >> 32), (int)(uint32_t)aim);
        fuload_sigint_aim_used();
        errno = saved;
    }

    /* One struct for each handler that was ever found there, two or three in the
     * life of a process. Never freed: ours may be reading it. */
    static struct sigaction *fuload_sigint_remember(const struct sigaction *now)
    {
        struct known { struct sigaction action; struct known *next; };
        static struct known *all;
        struct known *k;

        for (k = all; k; k = k->next)
            if (k->action.sa_flags == now->sa_flags &&
                (now->sa_flags & SA_SIGINFO ? k->action.sa_sigaction == now->sa_sigaction
                                            : k->action.sa_handler == now->sa_handler))
                return &k->action;
        k = malloc(sizeof *k);
        if (!k)
            return NULL;
        k->action = *now;
        k->next = all;
        all = k;
        return &k->action;
    }

    /* Put our handler over whatever stands there, if anything does: an ignored
     * SIGINT stays ignored, and the default action ends the process, which
     * ends the workers. */
    static void fuload_sigint_take(void)
    {
        struct sigaction now, ours, *before;

        if (sigaction(SIGINT, NULL, &now) != 0)
            return;
        if (now.sa_flags & SA_SIGINFO ? now.sa_sigaction == fuload_on_sigint
                                      : now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)
            return;
        before = fuload_sigint_remember(&now);
        if (!before)
            return;
        fuload_sigint_before = before;
        ours = now;
        ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        ours.sa_sigaction = fuload_on_sigint;
        sigaction(SIGINT, &ours, NULL);
    }

    /* Afterwards no handler uses the aim before. */
    static void fuload_sigint_aim_at(uint64_t aim)
    {
        fuload_sigint_aim = aim;
        while (fuload_sigint_ringing)
            sched_yield();
    }

    static void fuload_sigint_forget(void)
    {
        fuload_sigint_aim_at(UINT64_MAX);
        fuload_sigint_handled = fuload_sigint_buried = fuload_sigint_seen;
    }

    static void fuload_sigint_give_back(void)
    {
        struct sigaction now;

        fuload_sigint_forget();
        if (sigaction(SIGINT, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
            now.sa_sigaction == fuload_on_sigint && fuload_sigint_before)
            sigaction(SIGINT, fuload_sigint_before, NULL);
    }

    static void fuload_sigint_start(uint64_t aim)
    {
        fuload_sigint_owner = getpid();
        fuload_sigint_forget();
        fuload_sigint_aim_at(aim);
    }

    static void fuload_block_signals(sigset_t *before)
    {
        sigset_t all;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, before);
    }

    static void fuload_restore_signals(const sigset_t *before)
    {
        pthread_sigmask(SIG_SETMASK, before, NULL);
    }

    static int fuload_thread_exists(int tid)
    {
        return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
    }

    static void fuload_name_thread(const char *name)
    {
        pthread_setname_np(pthread_self(), name);
    }
    """
    ctypedef struct sigset_t:
        pass
    void fuload_block_signals(sigset_t *before)
    void fuload_restore_signals(const sigset_t *before)
    unsigned fuload_sigint_seen, fuload_sigint_handled, fuload_sigint_buried
    int fuload_sigint_calling, fuload_sigint_ringing
    void fuload_sigint_take()
    void fuload_sigint_forget()
    void fuload_sigint_give_back()
    void fuload_sigint_start(uint64_t aim)
    bint fuload_thread_exists(int tid) nogil
    void fuload_name_thread(const char *name)


cdef inline uint64_t aim_of(Registry r) noexcept:
    return <uint64_t><uint32_t>r.epoll << 32 | <uint32_t>r.near


cdef inline bint reached(unsigned count, unsigned target) noexcept:
    return <int>(count - target) >= 0


cdef void take_sigint() noexcept:
    """Be the handler of SIGINT, over whatever stands there, if a pool wants that."""
    if the_roster is not None and the_roster.interruptible:
        fuload_sigint_take()


def sigint_check():
    """Take SIGINT again if somebody has installed a handler over ours, which is
    called after ours from now on."""
    take_sigint()


def sigint_seen():
    """How many there were."""
    return fuload_sigint_seen


def sigint_arrives():
    """Whether the handler before ours may not have been called yet."""
    return fuload_sigint_calling > 0


def sigint_acted_on():
    """Whether the supervisor has on all."""
    return fuload_sigint_handled == fuload_sigint_seen


def sigint_handled(unsigned count):
    """The supervisor has acted on so many."""
    global fuload_sigint_handled
    fuload_sigint_handled = count


def sigint_buried(unsigned count):
    """Whoever so many were to end is reaped."""
    global fuload_sigint_buried
    fuload_sigint_buried = count


def sigint_forget():
    """In a forked child: the parent acts on its own."""
    global fuload_sigint_calling, fuload_sigint_ringing
    fuload_sigint_calling = fuload_sigint_ringing = 0
    fuload_sigint_forget()


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
        fuload_block_signals(&before)
        try:
            start_new_thread(main, (self.gate,))
        finally:
            fuload_restore_signals(&before)

    def __dealloc__(self):
        if self.gate is not None:
            self.gate.open(None)


def settle(dict members, str name, value, Start start, work):
    """members.setdefault(name, value), and in the same step the thread gets this
    work if it is `value` that counts; whether it is."""
    counts = members.setdefault(name, value) is value
    start.gate.open(work if counts else None)
    return counts


cdef class Roster:
    """The crews of one supervisor, and whether it takes any more. Each call is
    one step under the interpreter's lock."""
    cdef set crews
    cdef readonly bint ended
    cdef readonly object supervisor
    cdef object thread         # the supervisor's, once it runs
    cdef Registry registry
    cdef int forks
    cdef Py_ssize_t interruptible  # how many of the crews handle SIGINT
    cdef Sleepers sleepers     # for anything that changes here

    def __init__(self, Registry registry):
        self.crews = set()
        self.sleepers = Sleepers()
        self.registry = registry
        self.forks = fuload_forks

    def runs(self):
        """The supervisor's thread says who it is."""
        self.thread = get_ident()

    cdef bint over(self) noexcept:
        return self.ended or self.forks != fuload_forks

    def add(self, crew):
        """False if it takes no more."""
        if self.over() or self.registry.lost:
            return False
        interruptible = bool(crew.handle_sigint)
        if crew not in self.crews:
            self.crews.add(crew)
            self.interruptible += interruptible
        self.sleepers.wake()
        return True

    def discard(self, crew):
        interruptible = bool(crew.handle_sigint)
        if crew in self.crews:
            self.crews.discard(crew)
            self.interruptible -= interruptible
        self.sleepers.wake()

    def members(self):
        return list(self.crews)

    def end(self, calls):
        """Whether it is over: no crew is left and nothing is to be done."""
        if self.crews or calls:
            return False
        self.ended = True
        return True

    def abandon(self):
        """Over, whoever is left."""
        self.ended = True

    def install(self, supervisor, Start start, work):
        """Be the process's roster, unless there is one, and in the same step
        have the supervisor's thread begin this work."""
        global the_roster
        cdef Roster before = the_roster
        if before is not None and not before.over() and not before.registry.lost:
            return False
        self.supervisor = supervisor
        the_roster = self
        fuload_sigint_start(aim_of(self.registry))
        start.gate.open(work)
        return True

    def close(self):
        """SIGINT goes back to who had it; nobody waits for this one any more."""
        global the_roster
        self.ended = True
        if the_roster is self:
            fuload_sigint_give_back()
            the_roster = None
        self.supervisor = self.registry = None
        self.sleepers.wake()

    def wake(self):
        self.sleepers.wake()

    def await_interrupt(self):
        """Until every SIGINT that was seen has been acted on."""
        while fuload_sigint_handled != fuload_sigint_seen and not self.over() and not in_supervisor():
            lock = self.sleepers.register()
            try:
                if fuload_sigint_handled != fuload_sigint_seen and not self.over():
                    self.registry.ring()  # the handler may not be that far
                    lock.acquire()
            finally:
                self.sleepers.leave(lock)

    def await_idle(self):
        """Until it is over, or others need it."""
        while not self.crews and not self.over():
            lock = self.sleepers.register()
            try:
                if not self.crews and not self.over():
                    lock.acquire()
            finally:
                self.sleepers.leave(lock)


cdef Roster the_roster = None


def roster():
    """The process's, or None."""
    return the_roster


cpdef bint in_supervisor() except -1:
    """Is this the supervisor's thread? Finalizers run there too, for a collection
    may come in any thread. Nothing that it would have to do is waited for there."""
    return the_roster is not None and the_roster.thread is not None and the_roster.thread == get_ident()


cdef int see_interrupt_through() except -1:
    """An exception is about to leave a call of ours in the main thread. If there
    was a SIGINT, then only when all is cancelled and every worker is reaped. The
    supervisor works by itself, so another Ctrl-C only interrupts the wait, which
    goes on; an exception that another signal's handler raises comes afterwards."""
    cdef Roster roster = the_roster
    cdef unsigned target = fuload_sigint_seen
    if roster is None or reached(fuload_sigint_buried, target) or \
            threading.main_thread().ident != get_ident():
        return 0
    later = None
    while not reached(fuload_sigint_buried, target) and not roster.over():
        lock = roster.sleepers.register()
        try:
            if not reached(fuload_sigint_buried, target) and not roster.over():
                roster.registry.ring()
                lock.acquire()
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                later = error
        finally:
            roster.sleepers.leave(lock)
    # What waits for the collector, which may be in a callback, is done now.
    for crew in roster.members():
        try:
            crew.announce()
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                later = error
    if later is not None:
        raise later
    return 0


cdef class Passage:
    """`with passage:` around what an interrupt may leave."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            see_interrupt_through()
        return False


passage = Passage()


def thread_begins(name):
    """The system's name of the calling thread, for `top -H` and debuggers."""
    text = name.encode()[:15]
    fuload_name_thread(PyBytes_AS_STRING(text))


def await_thread(int tid):
    """A thread of ours has said that it is over; until the system agrees. Not
    for long: the number may be a new thread's."""
    cdef uint64_t until = fl_now() + 100000000
    with nogil:
        while fuload_thread_exists(tid) and fl_now() < until:
            sched_yield()
