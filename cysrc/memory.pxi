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
    int POLLIN, POLLERR, POLLHUP, POLLNVAL


cdef extern from *:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <sys/resource.h>
    #include <sys/syscall.h>
    #include <sys/wait.h>
    #include <unistd.h>
    static void file_size_limits(uint64_t *hard, uint64_t *soft)
    {
        struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

        getrlimit(RLIMIT_FSIZE, &limit);
        *hard = limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max;
        *soft = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    }
    /* ftruncate, with the soft limit of file sizes raised meanwhile if that is too
     * low, and without the signal for a file that is too large. 0, or errno. */
    static int size_file(int fd, off_t size)
    {
        const struct timespec at_once = {0, 0};
        struct rlimit before, raised;
        sigset_t signals, mask;
        int low, number;

        sigemptyset(&signals);
        sigaddset(&signals, SIGXFSZ);
        pthread_sigmask(SIG_BLOCK, &signals, &mask);
        low = getrlimit(RLIMIT_FSIZE, &before) == 0 && before.rlim_cur != RLIM_INFINITY &&
              before.rlim_cur < (rlim_t)size;
        if (low) {
            raised = before;
            raised.rlim_cur = (rlim_t)size;
            low = setrlimit(RLIMIT_FSIZE, &raised) == 0;
        }
        number = ftruncate(fd, size) == 0 ? 0 : errno;
        if (low)
            setrlimit(RLIMIT_FSIZE, &before);
        if (number == EFBIG && !sigismember(&mask, SIGXFSZ))
            sigtimedwait(&signals, NULL, &at_once);
        pthread_sigmask(SIG_SETMASK, &mask, NULL);
        return number;
    }
    /* How often this process is a fork of the one that loaded the module: a
     * pool of an earlier count belongs to a parent. Written in the child of a
     * fork, before any other thread exists. */
    static int forks_so_far;
    static void count_fork(void) { forks_so_far++; }
    static int watch_forks(void) { return pthread_atfork(NULL, NULL, count_fork); }
    """
    void file_size_limits(uint64_t *hard, uint64_t *soft)
    int size_file(int fd, long size)
    int forks_so_far
    int watch_forks() nogil


watch_forks()


cpdef int high_descriptor(int fd, str call) except -1:
    """The same file at 3 or above: closed standard streams do no harm. `call`
    has made it, and may have failed; on an error it is closed."""
    cdef int high, number
    if fd < 0:
        raise _refusals.refused(call, errno)
    if fd > 2:
        return fd
    high = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    number = errno
    close(fd)
    if high < 0:
        raise _refusals.refused("fcntl", number)
    return high


def region_possible(uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload):
    """What workers ask when they attach; the executor asks before it makes a pool."""
    return fl_layout_possible(workers, slots, slot_size, max_payload, fl_descriptions_wanted(max_payload))


cdef uint64_t make_region(fl_region *r, uint32_t workers, uint32_t slots, uint32_t slot_size,
                          uint64_t max_payload) except? 1:
    """A sealed memfd with a planned header, mapped. On an error nothing is left.
    Returns the limit of file sizes for which the region is smaller than asked, or 0."""
    cdef fl_plan plan
    cdef uint64_t limit
    cdef int fd
    memset(&plan, 0, sizeof(plan))
    fd = high_descriptor(memfd_create(b"fuload", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create")
    try:
        limit = size_region(fd, &plan, workers, slots, slot_size, max_payload)
        map_region(r, fd, &plan)
    except BaseException:
        close(fd)
        raise
    return limit if plan.slots < slots or plan.max_payload < max_payload else 0


cdef uint64_t size_region(int fd, fl_plan *plan, uint32_t workers, uint32_t slots, uint32_t slot_size,
                          uint64_t max_payload) except? 1:
    """Plan it, as large as files may be, and size it. Returns that limit."""
    cdef uint64_t limits[2]
    cdef uint64_t most = 0
    cdef int i, number = 0
    file_size_limits(&limits[0], &limits[1])
    for i in range(2):  # the hard limit; the soft one only if it cannot be raised
        most = limits[i]
        if not fl_layout_fit(plan, workers, slots, slot_size, max_payload, most):
            raise OSError(EFBIG, f"the pool's memory is a file of at least {plan.total_size} bytes with "
                                 f"max_workers={workers}, slots={slots}, slot_size={slot_size}, and a file of this process "
                                 f"may have {most} (RLIMIT_FSIZE, ulimit -f): raise that limit, or use smaller ones")
        number = size_file(fd, <long>plan.total_size)
        if number != EFBIG or limits[0] == limits[1]:
            break
    if number:
        raise _refusals.refused(f"ftruncate of the pool's memory ({plan.total_size} bytes of address space)", number)
    if fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0:
        raise _refusals.refused("fcntl(F_ADD_SEALS)", errno)
    return most


cdef int map_region(fl_region *r, int fd, fl_plan *plan) except -1:
    cdef int number
    cdef void *base = mmap(NULL, plan.base_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if base == MAP_FAILED:
        raise _refusals.refused(f"mmap of the pool's memory ({plan.base_size} bytes)", errno)
    # A forked child of the parent must not reach into the pool.
    if madvise(base, plan.base_size, MADV_DONTFORK) != 0:
        number = errno
        munmap(base, plan.base_size)
        raise _refusals.refused("madvise(MADV_DONTFORK)", number)
    madvise(base, plan.base_size, MADV_DONTDUMP)
    memcpy(base, plan, sizeof(plan[0]))
    fl_region_bind(r, fd, base, plan)
    r.keep_from_children = True
    fl_ring_clear(r)
    return 0


# What the layout allows, for the checks of parameters.
MOST_WORKERS, MOST_SLOTS, MOST_SLOT_SIZE = FL_MAX_WORKERS, FL_MAX_SLOTS, FL_MAX_SLOT_SIZE

cdef enum:
    DEAF_LOOKS = 20             # looks of the supervisor that a worker may leave unanswered, if there are strays
    STARTING_LOOKS = 120        # the same for one that may not have begun to serve
    LOOK_NS = 20000000          # submit() looks at SIGINT's handler after such a pause
    KEEP_LOCK_NS = 1500         # result() polls so long without letting go of the interpreter's lock
    LATE_NS = 200000            # a sched_yield() that returns so late shows CPUs busy with other work
    LONGEST_SLEEP_MS = 60000    # then the collector looks whether its descriptors are still its own


cdef enum:
    SMALL_COPY = 1 << 20       # longer ones are copied without the lock


cdef void copy_in(char *to, const void *data, uint64_t size) noexcept:
    """A long copy lets other threads run. The place is the caller's alone."""
    if size < SMALL_COPY:
        fl_copy(to, data, size)
    else:
        with nogil:
            fl_copy(to, data, size)
