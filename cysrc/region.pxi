# The region as the parent makes it, and the system calls around it.

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *at, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *at, size_t length)
    int madvise(void *at, size_t length, int advice)
    int memfd_create(const char *name, unsigned int flags)
    int PROT_READ, PROT_WRITE, MAP_SHARED, MADV_DONTFORK, MADV_DONTDUMP
    void *MAP_FAILED
    unsigned int MFD_CLOEXEC, MFD_ALLOW_SEALING

cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command, ...)
    int fallocate(int fd, int mode, long offset, long length)
    int F_DUPFD_CLOEXEC, F_ADD_SEALS, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL
    int FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    int EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int ftruncate(int fd, long length)
    int close(int fd)
    ssize_t read(int fd, void *buffer, size_t size)
    ssize_t write(int fd, const void *buffer, size_t size)
    int getpid()

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from "<poll.h>" nogil:
    ctypedef struct pollfd "struct pollfd":
        int fd
        short events, revents
    int poll(pollfd *fds, unsigned long count, int timeout)
    int POLLIN

cdef extern from *:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <sys/wait.h>
    #include <unistd.h>
    /* By the alarm all workers look whether they were called or shall end. It is
     * never read, but a full counter (a task has written to it) would refuse. */
    static int fuload_alarm(int alarm)
    {
        uint64_t one = 1, count;

        while (write(alarm, &one, sizeof one) < 0)
            if (errno == EAGAIN ? read(alarm, &count, sizeof count) < 0 && errno != EAGAIN : errno != EINTR)
                return 0;
        return 1;
    }
    /* SIGUSR1 to a worker, through the pidfd of its process; by the alarm where
     * signals are refused: it or this process has changed its user, a sandbox. */
    static int fuload_ring(int pidfd, int alarm)
    {
        if (pidfd < 0)
            return 0;
        return syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, NULL, 0) == 0 || (errno != ESRCH && fuload_alarm(alarm));
    }
    /* Is this a process that we started, and that nobody has waited for? */
    static int fuload_is_child(int pid)
    {
        siginfo_t info;
        return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    }
    /* How often this process is a fork of the one that loaded the module: a
     * pool of an earlier count belongs to a parent. Written in the child of a
     * fork, before any other thread exists. */
    static int fuload_forks;
    static void fuload_on_fork(void) { fuload_forks++; }
    static int fuload_count_forks(void) { return pthread_atfork(NULL, NULL, fuload_on_fork); }
    /* Written by the collector thread without the interpreter's lock and by
     * threads that publish: see Pool.timed. */
    typedef _Atomic int fuload_flag;
    """
    bint fuload_alarm(int alarm) nogil
    bint fuload_ring(int pidfd, int alarm) nogil
    bint fuload_is_child(int pid) nogil
    int fuload_forks
    int fuload_count_forks() nogil
    ctypedef struct fuload_flag:
        pass
    int flag_load "atomic_load"(fuload_flag *flag) nogil
    void flag_store "atomic_store"(fuload_flag *flag, int value) nogil


fuload_count_forks()


cpdef int high_descriptor(int fd, str call) except -1:
    """The same file at 3 or above: closed standard streams do no harm. `call`
    has made it, and may have failed; on an error it is closed."""
    cdef int high, number
    if fd < 0:
        raise _errors.refused(call, errno)
    if fd > 2:
        return fd
    high = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    number = errno
    close(fd)
    if high < 0:
        raise _errors.refused("fcntl", number)
    return high


def region_possible(uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload):
    """What workers ask when they attach; the executor asks before it makes a pool."""
    return fl_layout_possible(workers, slots, slot_size, max_payload)


cdef int make_region(fl_region *r, uint32_t workers, uint32_t slots, uint32_t slot_size,
                     uint64_t max_payload) except -1:
    """A sealed memfd with a planned header, mapped. On an error nothing is left."""
    cdef fl_plan plan
    cdef int fd
    memset(&plan, 0, sizeof(plan))
    fl_layout_plan(&plan, workers, slots, slot_size, max_payload)
    fd = high_descriptor(memfd_create(b"fuload", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create")
    try:
        size_region(fd, &plan)
        map_region(r, fd, &plan)
    except BaseException:
        close(fd)
        raise
    return 0


cdef int size_region(int fd, fl_plan *plan) except -1:
    if ftruncate(fd, <long>plan.total_size) != 0:
        raise _errors.refused(f"ftruncate of the pool's memory ({plan.total_size} bytes of address space)", errno)
    if fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0:
        raise _errors.refused("fcntl(F_ADD_SEALS)", errno)
    return 0


cdef int map_region(fl_region *r, int fd, fl_plan *plan) except -1:
    cdef int number
    cdef void *base = mmap(NULL, plan.base_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if base == MAP_FAILED:
        raise _errors.refused(f"mmap of the pool's memory ({plan.base_size} bytes)", errno)
    # A forked child of the parent must not reach into the pool.
    if madvise(base, plan.base_size, MADV_DONTFORK) != 0:
        number = errno
        munmap(base, plan.base_size)
        raise _errors.refused("madvise(MADV_DONTFORK)", number)
    madvise(base, plan.base_size, MADV_DONTDUMP)
    memcpy(base, plan, sizeof(plan[0]))
    fl_region_bind(r, fd, base, plan)
    r.keep_from_children = True
    fl_ring_clear(r)
    return 0


cdef enum:
    TICK_MS = 1                 # how often the collector looks at work that nobody claims
    DOZE_MS = 4                 # how often it looks at the flags while chunks of maps are under way
    QUIET_TICKS = 8             # after so many without such work it sleeps for good
    PATIENT_TICKS = 30          # after so many without a claim, one more is woken
    LOOK_NS = 20000000          # submit() looks at SIGINT's handler after such a pause
    WORTH_A_WAKE_NS = 50000     # tasks that take longer are worth waking another worker
    HOLD_NS = 1500              # result() polls so long without letting go of the interpreter's lock
    LATE_NS = 200000            # a sched_yield() that returns so late shows CPUs busy with other work
    CONTENDED_NS = 20000000     # then result() does not poll for so long
    LEAST_LOOK_NS = 20000000    # not more often is it looked for tasks past their timeout


cdef struct Task:
    # A task that waits in the parent, or may be tried again. Its request follows the struct.
    Task *before
    Task *after
    PyObject *future   # a strong reference
    uint32_t function
    uint16_t kind
    uint64_t size

cdef struct Place:
    char *at
    int32_t slot       # or -1
    Task *task

cdef struct Bell:
    int fd             # the collector's eventfd
    int alarm          # the workers', where signals are refused
    int *pidfds        # by worker index, -1: none. The only ones; whoever buries closes
