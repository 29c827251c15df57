# What the crew, in the supervisor's thread, asks a pool and tells it.

def take_doomed(Pool pool):
    """Indexes of the workers that shall be ended, told once."""
    cdef uint32_t i
    found = []
    for i in range(pool.worker_count):
        if pool.parent.seats[i].doomed:
            pool.parent.seats[i].doomed = False
            found.append(i)
    return found


def take_wanted(Pool pool, Py_ssize_t most):
    """Up to this many indexes for which a worker is wanted: it is started now,
    or the pool hears why not."""
    cdef uint32_t i
    found = []
    for i in range(pool.worker_count):
        if not pool.wanted or len(found) == most:
            break
        if pool.parent.seats[i].wanted:
            pool.parent.seats[i].wanted = False
            pool.wanted -= 1
            found.append(i)
    return found


def want_again(Pool pool, indexes):
    """They were not started yet."""
    cdef uint32_t i
    for i in indexes:
        pool.parent.seats[i].wanted = True
        pool.wanted += 1


def want_nobody(Pool pool):
    """Nobody is started of those who were asked for."""
    if not pool.gone():
        for index in take_wanted(pool, pool.worker_count):
            not_wanted(pool, index)


cpdef bint worker_attached(Pool pool, uint32_t index) noexcept:
    """Whether it has found the region and serves."""
    return fl_load(&pool.region.blocks[index].attached) != 0


def worker_started(Pool pool, uint32_t index, int pid, int pidfd):
    """It is known from now on. False if somebody has closed its pidfd meanwhile."""
    pool.parent.seats[index].pid = <uint32_t>pid
    fl_store(&pool.region.pids[index], <uint64_t>pid)
    if not is_pidfd(pidfd):
        pool.parent.seats[index].newborn = -1
        (<Registry>pool.registry).lose()
        return False
    (<Registry>pool.registry).enrol(pidfd, 0)
    pool.bell.pidfds[index] = pidfd
    pool.parent.seats[index].newborn = -1
    # It may have gone to sleep and been called before it could be signalled.
    if fl_state_of(fl_load(&pool.region.states[index])) == FL_CALLED:
        ring_pidfd(pool.bell.registry, pidfd, pool.bell.alarm)
    return True


def worker_not_started(Pool pool, uint32_t index, why):
    """It could not be started, for this reason."""
    fl_store(&pool.region.states[index], fl_state_word(FL_GONE, 0, 0))
    pool.parent.seats[index].taken = False
    pool.parent.started -= 1
    # Those that live do the work, and it is not too often tried again;
    # if there are none, that is the pool's end, whatever is wanted meanwhile.
    pool.no_starts_before = fl_now() + 1000000000
    pool.dead.append((index, 0, None, (why, None, not pool.parent.started)))
    pool.kick()


def worker_left_behind(Pool pool, str why):
    """It cannot be ended. Its place stays taken, its order stands, and what it
    ran fails with all the rest."""
    break_pool(pool, why, None)


def order_end(Pool pool, uint32_t index):
    """Signals to this worker are refused: it shall end itself. False if that
    cannot be said either."""
    fl_store(&pool.region.orders[index], FL_ORDER_END)
    return ring_alarm(pool.bell.registry, pool.bell.alarm)


def runs_python(Pool pool, uint32_t index):
    """Whether this worker is an interpreter. (It says so itself: what is sent to
    it by mistake ends it a tenth of a second later.)"""
    return fl_load(&pool.region.blocks[index].python) == FL_PYTHON_SERVES


def silent_interpreters(Pool pool):
    """Indexes of the workers that have exec'ed the interpreter, of which
    nothing was heard yet. They say so themselves; it is believed of those that
    a Python task waits for, and that have never replied to one, and of those that
    were started as interpreters."""
    cdef uint32_t i
    found = []
    if not pool.gone():
        for i in range(pool.region.plan.workers):
            if fl_load(&pool.region.blocks[i].python) == FL_PYTHON_EXEC and not pool.parent.seats[i].python and \
                    (becomes_python(pool, i) or not worker_attached(pool, i)):
                found.append(i)
    return found


def interpreter_command(Pool pool):
    """argv of the interpreter that Python tasks ask for, bytes; [] if none has asked yet."""
    return pool.catalogue.host


def worker_ended(Pool pool, uint32_t index):
    """The process is dead and not yet reaped: its pid must not be
    signalled by anybody from now on."""
    fl_burial_dead(&pool.parent, index)


def worker_reaped(Pool pool, uint32_t index, int pid, exitcode, complaint=None, no_interpreter=None, bint refuse=False):
    """The collector shall bury it. Its place stays taken until then. A
    complaint says why no worker like it can serve: the pool is broken.
    `no_interpreter` says why it could not become Python: its task fails, and
    with `refuse` all Python tasks from now on."""
    pool.dead.append((index, pid, exitcode, (complaint, no_interpreter, refuse)))
    pool.kick()
    # If it died between calling the collector and writing the eventfd,
    # the collector would sleep on.
    ring_collector(&pool.bell)
