# What the pool counts, and who hears of it.

cdef struct Counts:
    uint64_t unfinished, submitted, completed, failed, cancelled, retried
    uint64_t run_ns, wait_ns
    uint64_t finished          # replies that were taken
    uint64_t finished_at_death # as many when a worker died last
    uint32_t deaths_in_a_row   # of workers that had finished nothing


cdef struct Limits:
    uint64_t count             # unfinished tasks with a timeout
    uint64_t least_ns          # the shortest of these timeouts
    uint64_t look_at_ns        # when the supervisor looks for those past it; 0: there is none to look for


cdef struct Looks:
    # The supervisor looks at this pool, until nothing is unfinished: see nudge().
    bint wanted
    uint64_t sigint_ns         # when SIGINT's handler was last looked at
    uint64_t audits
    uint64_t seen_finished     # what the last look has seen
    uint32_t without_audit
    bint seen_ready
    bint strays                # somebody may run a task of which nothing is known any more


cdef void count_begin(Pool pool, CoreFuture future) noexcept:
    pool.counts.unfinished += 1
    pool.counts.submitted += 1
    if future.count:
        fl_collector_maps(&pool.parent, 1)
    if future.limit_ns:
        pool.limits.count += 1
        if not pool.limits.least_ns or future.limit_ns < pool.limits.least_ns:
            pool.limits.least_ns = future.limit_ns


cdef int count_out(Pool pool, CoreFuture future) except -1:
    pool.counts.unfinished -= 1
    if future.count:
        fl_collector_maps(&pool.parent, -1)
    if future.limit_ns:
        pool.limits.count -= 1
        if not pool.limits.count:
            pool.limits.least_ns = 0
    wake_next_blocked(pool)
    if not pool.counts.unfinished and pool.closing:
        pool.ask()
    return 0


cdef int count_end(Pool pool, CoreFuture future, int status) except -1:
    if status == CANCELLED:
        pool.counts.cancelled += 1
    elif future.outcome == HAS_REPLY and not fl_reply_fails(future.kind):
        pool.counts.completed += 1
    else:
        pool.counts.failed += 1
    return count_out(pool, future)


cdef bint has_begun(Pool pool, uint32_t index) noexcept:
    """Whether a worker has this seat, and has its own program: before that it holds
    up the thread that starts it, and whoever stops it stops that."""
    cdef fl_seat *seat = &pool.parent.seats[index]
    return fl_seat_pid(seat) and not seat.ended and (seat.newborn < 0 or fl_load(&pool.region.blocks[index].attached))


def pids(Pool pool):
    """Process ids of the workers that have been started and are not dead, as
    far as this process knows them itself."""
    cdef uint32_t i
    if pool.gone():
        return set()
    return {<int>pool.parent.seats[i].pid for i in range(pool.region.plan.workers) if has_begun(pool, i)}


def snapshot(Pool pool):
    """Numbers for PoolStats: (workers, totals)."""
    cdef uint32_t i
    workers = []
    names = {FL_STARTING: "starting", FL_BUSY: "busy", FL_POLLING: "polling", FL_ASLEEP: "asleep",
             FL_CALLED: "called"}
    rung = 0
    if not pool.gone():
        pool.enter_region()
        for i in range(pool.region.plan.workers):
            state = fl_state_of(fl_load(&pool.region.states[i]))
            block = &pool.region.blocks[i]
            rung += fl_load(&block.relays)
            if pool.parent.seats[i].taken and not pool.parent.seats[i].ended:
                pid = pool.parent.seats[i].pid if has_begun(pool, i) else 0
                workers.append((pid, names.get(state, "unknown"), fl_load(&block.tasks_done),
                                fl_load(&block.run_ns) / 1e9, fl_load(&block.python) == FL_PYTHON_SERVES))
        pool.leave_region()
    return workers, {"submitted": pool.counts.submitted, "completed": pool.counts.completed, "failed": pool.counts.failed,
                     "cancelled": pool.counts.cancelled, "retried": pool.counts.retried,
                     "doorbells": fl_load(&pool.parent.doorbells) + rung, "queued": pool.queue.length,
                     "unfinished": pool.counts.unfinished, "run_seconds": pool.counts.run_ns / 1e9,
                     "wait_seconds": pool.counts.wait_ns / 1e9}


cdef void limit(Pool pool, CoreFuture future) noexcept:
    """Another task with a timeout: it cannot be past it before then."""
    cdef uint64_t due = fl_deadline_after(future.submitted_ns, future.limit_ns)
    if not pool.limits.look_at_ns or due < pool.limits.look_at_ns:
        pool.limits.look_at_ns = due
        pool.ask()
