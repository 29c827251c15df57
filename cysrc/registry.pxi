# Which descriptors are ours. A program may close all of them under us (daemons
# do), and open other files that get the same numbers. An epoll knows its members
# by file and number, and refuses to take one twice: it is asked before a
# descriptor is written, drained or closed.

cdef extern from *:
    """
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <poll.h>

    /* A file that is no member, by what no two have in common. */
    typedef struct { dev_t device; ino_t inode; } file_id;

    static void file_id_of(int fd, file_id *file)
    {
        struct stat st;

        if (fstat(fd, &st) != 0)
            st.st_dev = 0, st.st_ino = 0;
        file->device = st.st_dev;
        file->inode = st.st_ino;
    }

    static int is_file(int fd, const file_id *file)
    {
        file_id now;

        file_id_of(fd, &now);
        return file->inode && now.device == file->device && now.inode == file->inode;
    }

    static int registry_enrol(int registry, int operation, int fd, uint32_t events)
    {
        struct epoll_event event = {.events = events, .data.fd = fd};

        return epoll_ctl(registry, operation, fd, &event);
    }

    /* Is it a member already? A stranger is one for no longer than this. Nothing
     * but system calls: a signal handler asks too. */
    static int is_ours(int registry, int fd)
    {
        if (registry < 0 || fd < 0)
            return 0;
        if (registry_enrol(registry, EPOLL_CTL_ADD, fd, 0) != 0)
            return errno == EEXIST;
        registry_enrol(registry, EPOLL_CTL_DEL, fd, 0);
        return 0;
    }

    /* Close it if it is ours. A forked child shares the epoll with its parent
     * and must leave the parent's member in it. */
    static int release_ours(int registry, int fd, int here)
    {
        if (!is_ours(registry, fd))
            return 0;
        if (here)
            registry_enrol(registry, EPOLL_CTL_DEL, fd, 0);
        close(fd);
        return 1;
    }

    /* By the alarm all workers look whether they were called or shall end. It is
     * never read, but a full counter (a task has written to it) would refuse. */
    static int ring_alarm(int registry, int alarm)
    {
        uint64_t one = 1, count;

        if (!is_ours(registry, alarm))
            return 0;
        while (write(alarm, &one, sizeof one) < 0)
            if (errno == EAGAIN ? read(alarm, &count, sizeof count) < 0 && errno != EAGAIN : errno != EINTR)
                return 0;
        return 1;
    }

    /* Of a worker that is not registered yet: is the number a pidfd at all? */
    static int is_pidfd(int fd)
    {
        return syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0 || errno != EBADF;
    }

    /* SIGUSR1 to a worker, through the pidfd of its process; by the alarm where
     * signals are refused: it or this process has changed its user, a sandbox. */
    static int ring_pidfd(int registry, int pidfd, int alarm)
    {
        if (pidfd < 0)
            return 0;
        return syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, NULL, 0) == 0 || (errno != ESRCH && ring_alarm(registry, alarm));
    }

    /* Until somebody rings, a member is ready, or the descriptors are closed. */
    static int registry_poll(int registry, int far, int timeout)
    {
        /* poll() holds the files that it waits for. When the near end is closed,
         * the far one hangs up, even if its own number is gone. But first: whoever
         * has the numbers by now may never be ready. */
        struct pollfd p[2] = {{.fd = far, .events = POLLIN}, {.fd = registry, .events = POLLIN}};

        if (!is_ours(registry, far))
            return -1;
        if (poll(p, 2, timeout) < 0)
            return errno == EINTR ? 0 : -1;
        return (p[0].revents | p[1].revents) & (POLLNVAL | POLLERR | POLLHUP) ? -1 : 0;
    }

    static int registry_ready(int registry, int *fds, int room)
    {
        struct epoll_event events[64];
        int i, count = epoll_wait(registry, events, room < 64 ? room : 64, 0);

        for (i = 0; i < count; i++)
            fds[i] = events[i].data.fd;
        return count;
    }

    static void drain_socket(int far)
    {
        char bytes[256];

        while (recv(far, bytes, sizeof bytes, MSG_DONTWAIT) == sizeof bytes)
            ;
    }

    static int ring_registry(int registry, int near)
    {
        /* A full buffer has rung already. */
        return is_ours(registry, near) &&
               (send(near, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 || errno == EAGAIN);
    }
    """
    ctypedef struct file_id:
        uint64_t device
        uint64_t inode
    void file_id_of(int fd, file_id *file) nogil
    bint is_file(int fd, const file_id *file) nogil
    int registry_enrol(int registry, int operation, int fd, unsigned int events) nogil
    bint is_ours(int registry, int fd) nogil
    bint release_ours(int registry, int fd, bint here) nogil
    bint ring_alarm(int registry, int alarm) nogil
    bint is_pidfd(int fd) nogil
    bint ring_pidfd(int registry, int pidfd, int alarm) nogil
    int registry_poll(int registry, int far, int timeout) nogil
    int registry_ready(int registry, int *fds, int room) nogil
    void drain_socket(int far) nogil
    bint ring_registry(int registry, int near) nogil
    int epoll_create1(int flags)
    int socketpair(int domain, int type, int protocol, int *pair)
    int shutdown(int fd, int how)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLLIN
    int SHUT_RDWR, AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC, SOCK_NONBLOCK


def close_file(int fd, uint64_t device, uint64_t inode):
    """Close this number if it still is that file. Not from Python: os.close() lets
    other threads run first, and one may give the number to another file."""
    cdef file_id file
    file.device, file.inode = device, inode
    if is_file(fd, &file):
        close(fd)


cdef object the_registry = lambda: None  # a weak reference


def registry():
    """The process's registry, made if there is none, or none that is whole."""
    global the_registry
    cdef Registry found = the_registry()
    if found is None or found.lost or found.forks != forks_so_far:
        found = Registry()
        the_registry = weakref.ref(found)
    return found


@cython.final
cdef class Registry:
    """An epoll that holds the descriptors of this process's pools, and a pair of
    sockets that rings its supervisor. It lives as long as there are pools."""
    cdef readonly int epoll, near, far
    cdef file_id near_file, far_file   # sockets can be told even without the epoll
    cdef int forks
    cdef public bint lost      # somebody has closed what is ours
    cdef object __weakref__

    def __cinit__(self):
        self.epoll = self.near = self.far = -1

    def __init__(self):
        cdef int pair[2]
        self.forks = forks_so_far
        self.epoll = high_descriptor(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")
        if socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0:
            raise _refusals.refused("socketpair", errno)
        self.near, self.far = pair[0], pair[1]
        try:
            self.near = -1
            self.near = high_descriptor(pair[0], "socketpair")
            self.far = -1
            self.far = high_descriptor(pair[1], "socketpair")
            file_id_of(self.near, &self.near_file)
            file_id_of(self.far, &self.far_file)
            self.enrol(self.near, 0)
            self.enrol(self.far, EPOLLIN)
        except BaseException:
            for fd in (self.near, self.far):
                if fd >= 0:
                    close(fd)
            self.near = self.far = -1
            raise

    def __dealloc__(self):
        self.close()

    cpdef close(self):
        """A forked child has threads no more that would let go of it."""
        # Asked before any is closed: a member proves the epoll.
        cdef bint proven = is_ours(self.epoll, self.near) or is_ours(self.epoll, self.far)
        if is_file(self.near, &self.near_file):
            close(self.near)
        if is_file(self.far, &self.far_file):
            close(self.far)
        if proven or (self.near < 0 and self.epoll >= 0):
            close(self.epoll)
        self.epoll = self.near = self.far = -1

    cdef int enrol(self, int fd, unsigned int events) except -1:
        if registry_enrol(self.epoll, EPOLL_CTL_ADD, fd, events) != 0 and \
                (errno != EEXIST or registry_enrol(self.epoll, EPOLL_CTL_MOD, fd, events) != 0):
            raise _refusals.refused("epoll_ctl", errno)
        return 0

    def watch(self, int fd):
        """wait() tells when it is readable."""
        self.enrol(fd, EPOLLIN)

    def unwatch(self, int fd):
        """It stays a member, until it is closed."""
        if self.holds(fd):
            registry_enrol(self.epoll, EPOLL_CTL_MOD, fd, 0)

    def remove(self, int fd):
        """It is no member any more."""
        if self.holds(fd):
            registry_enrol(self.epoll, EPOLL_CTL_DEL, fd, 0)

    def holds(self, int fd):
        """Whether this number still is the file that became a member."""
        return is_ours(self.epoll, fd)

    cdef bint whole(self):
        """Whether its own descriptors are what they were."""
        return is_ours(self.epoll, self.near) and is_ours(self.epoll, self.far)

    cpdef void ring(self) noexcept:
        """Have wait() return. From any thread, signal handlers and finalizers."""
        if not ring_registry(self.epoll, self.near):
            self.lost = True

    def lose(self):
        """Somebody has closed a descriptor of a pool's."""
        self.lost = True
        ring_registry(self.epoll, self.near)

    def hang_up(self):
        """Nobody sleeps on any more: the collectors see the far end hang up."""
        self.lost = True
        if is_file(self.near, &self.near_file):
            shutdown(self.near, SHUT_RDWR)

    def wait(self, int timeout_ms):
        """Descriptors that are readable. After ring(), and at the latest when the
        time is over, there may be none."""
        cdef int fds[64]
        cdef int i, count, failed
        with nogil:
            failed = registry_poll(self.epoll, self.far, timeout_ms)
        if failed or not self.whole():
            self.lost = True
            return []
        drain_socket(self.far)
        count = registry_ready(self.epoll, fds, 64)
        return [fds[i] for i in range(count)]
