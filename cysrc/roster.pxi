# The crews of the process's supervisor, and who waits for it.

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
        self.forks = forks_so_far

    def runs(self):
        """The supervisor's thread says who it is."""
        self.thread = get_ident()

    cdef bint over(self) noexcept:
        return self.ended or self.forks != forks_so_far

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
        start_handler(aim_of(self.registry))
        start.gate.open(work)
        return True

    def close(self):
        """SIGINT goes back to who had it; nobody waits for this one any more."""
        global the_roster
        self.ended = True
        if the_roster is self:
            give_handler_back()
            the_roster = None
        self.supervisor = self.registry = None
        self.sleepers.wake()

    def wake(self):
        self.sleepers.wake()

    def await_interrupt(self):
        """Until every SIGINT that was seen has been acted on."""
        while sigints_handled != sigints_seen and not self.over() and not in_supervisor():
            lock = self.sleepers.register()
            try:
                if sigints_handled != sigints_seen and not self.over():
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


cdef void take_sigint() noexcept:
    """Be the handler of SIGINT, over whatever stands there, if a pool wants that."""
    if the_roster is not None and the_roster.interruptible:
        install_handler()


cdef int see_interrupt_through() except -1:
    """An exception is about to leave a call of ours in the main thread. If there
    was a SIGINT, then only when all is cancelled and every worker is reaped. The
    supervisor works by itself, so another Ctrl-C only interrupts the wait, which
    goes on; an exception that another signal's handler raises comes afterwards."""
    cdef Roster roster = the_roster
    cdef unsigned target = sigints_seen
    if roster is None or reached(sigints_buried, target) or \
            threading.main_thread().ident != get_ident():
        return 0
    later = None
    while not reached(sigints_buried, target) and not roster.over():
        lock = roster.sleepers.register()
        try:
            if not reached(sigints_buried, target) and not roster.over():
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


def sigint_check():
    """Take SIGINT again if somebody has installed a handler over ours, which is
    called after ours from now on."""
    take_sigint()
