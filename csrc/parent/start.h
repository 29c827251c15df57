/* Start a worker: clone and exec, at the cost of the exec alone.
 *
 * The child shares the parent's memory until it execs (CLONE_VM), and the
 * calling thread waits for that (CLONE_VFORK). So nothing is copied, and what
 * went wrong in the child is written where the parent reads it: there is no
 * pipe that a process forked by another thread could hold open.
 *
 * The child runs on a stack of its own and makes system calls only. Every
 * signal is blocked from before the clone until after the exec, or the child's
 * end, and in the child no handler of the parent's stands: none runs in memory
 * that is the parent's.
 *
 * Call it without the interpreter's lock, from the thread whose end is to end
 * the workers (the kernel's parent-death signal follows the thread).
 */
#ifndef FL_START_H
#define FL_START_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define FL_CLOSE_RANGE_CLOEXEC 4u

#define FL_START_STACK (64u << 10)

struct fl_start {
    /* Given. All is the caller's and stays unchanged; descriptors above 2. */
    const char *program;    /* a path */
    char *const *argv;
    char *const *envp;
    const int *kept;        /* what the worker inherits; besides, standard output and error */
    size_t kept_count;
    int error_file;         /* becomes standard error, or -1 */
    bool deaf;              /* SIGUSR1 and SIGINT stay blocked: an interpreter has no handlers
                             * of ours yet, and Python's own would end it */
    /* Where the worker's pid stands before it execs, so that whoever hears of the
     * worker finds it; 0 if none was started. The child writes it, and this
     * call takes it back. */
    uint32_t *pid_at;
    /* Where its pidfd stands as soon as there is one; -1 if none was started. The
     * kernel writes it in the clone: who forks while this call waits for the exec
     * finds what to close. Close-on-exec; the caller's to close. */
    int *pidfd_at;
    /* Found. */
    pid_t pid;              /* or -1 */
    int error;              /* errno, if the worker could not be started */
    const char *failed;     /* and what failed: a call's name, or the program */
};

/* The rest is internal. */

struct fl_start_child {
    struct fl_start *start;
    sigset_t mask;          /* the worker's */
};

/* In the child: every descriptor from 3 on is closed at the exec. */
static inline void fl_start_close_all(void)
{
    struct {
        uint64_t inode;
        int64_t offset;
        uint16_t size;
        uint8_t type;
        char name[];
    } *entry;
    _Alignas(8) char entries[4096];
    struct rlimit limit;
    long got, at;
    int folder, fd;

    if (syscall(SYS_close_range, 3u, ~0u, FL_CLOSE_RANGE_CLOEXEC) == 0)
        return;
    folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        while ((got = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0)
            for (at = 0; at < got; at += entry->size) {
                const char *c;

                entry = (void *)(entries + at);
                for (fd = 0, c = entry->name; *c >= '0' && *c <= '9'; c++)
                    fd = 10 * fd + (*c - '0');
                if (!*c && fd > 2)
                    fcntl(fd, F_SETFD, FD_CLOEXEC);
            }
        close(folder);
        return;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1u << 20)
        limit.rlim_cur = 1u << 20;
    for (fd = 3; fd < (int)limit.rlim_cur; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static inline bool fl_start_streams(struct fl_start *s)
{
    int fd;

    s->failed = "dup2";
    if (s->error_file >= 0 && dup2(s->error_file, STDERR_FILENO) < 0)
        return false;
    s->failed = "/dev/null";
    fd = open("/dev/null", O_RDONLY);
    if (fd < 0)
        return false;
    if (fd != STDIN_FILENO) {
        s->failed = "dup2";
        if (dup2(fd, STDIN_FILENO) < 0)
            return false;
        close(fd);
    }
    return true;
}

static inline void fl_start_signals(const sigset_t *mask)
{
    struct sigaction action;
    int number;

    for (number = 1; number < NSIG; number++) {
        /* Ignored ones stay so, but for those that Python ignores. */
        if (sigaction(number, NULL, &action) != 0 ||
            (!(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN && number != SIGPIPE && number != SIGXFSZ))
            continue;
        action.sa_flags = 0;
        action.sa_handler = SIG_DFL;
        sigaction(number, &action, NULL);
    }
    pthread_sigmask(SIG_SETMASK, mask, NULL);
}

static inline int fl_start_child(void *argument)
{
    struct fl_start_child *child = argument;
    struct fl_start *s = child->start;
    size_t i;

    /* Release: the kernel wrote the pidfd before [pair: pid or newborn]. */
    __atomic_store_n(s->pid_at, (uint32_t)getpid(), __ATOMIC_RELEASE);
    if (fl_start_streams(s)) {
        fl_start_close_all();
        for (i = 0; i < s->kept_count; i++)
            fcntl(s->kept[i], F_SETFD, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        s->failed = s->program;
        fl_start_signals(&child->mask);
        execve(s->program, s->argv, s->envp);
    }
    s->error = errno;
    _exit(127);
}

/* True, or why not in `error` and `failed`; then nothing is left. */
static inline bool fl_start(struct fl_start *s)
{
    struct fl_start_child child = {.start = s};
    sigset_t all, before;
    char *stack;
    int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;

    s->pid = *s->pidfd_at = -1;
    s->error = 0;
    s->failed = "mmap";
    stack = mmap(NULL, FL_START_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        s->error = errno;
        return false;
    }
    s->failed = "clone";
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &child.mask);
    before = child.mask;
    if (s->deaf) {
        sigaddset(&child.mask, SIGUSR1);
        sigaddset(&child.mask, SIGINT);
    }
    s->pid = clone(fl_start_child, stack + FL_START_STACK, flags | CLONE_PIDFD, &child, s->pidfd_at);
    if (s->pid < 0 && (errno == EINVAL || errno == EPERM || errno == ENOSYS)) /* it may be the pidfd that is refused */
        s->pid = clone(fl_start_child, stack + FL_START_STACK, flags, &child);
    if (s->pid < 0)
        s->error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, FL_START_STACK);
    if (!s->error && *s->pidfd_at < 0) {
        s->failed = "pidfd_open";
        *s->pidfd_at = (int)syscall(SYS_pidfd_open, s->pid, 0);
        if (*s->pidfd_at < 0) {
            s->error = errno;
            kill(s->pid, SIGKILL); /* not reaped yet: it is this one */
        }
    }
    if (!s->error)
        return true;
    if (s->pid > 0)
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    if (*s->pidfd_at >= 0)
        close(*s->pidfd_at);
    s->pid = *s->pidfd_at = -1;
    __atomic_store_n(s->pid_at, 0, __ATOMIC_RELAXED);
    return false;
}

#endif
