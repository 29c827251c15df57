# SIGINT, at the level of C: Python runs its handlers in the main thread only,
# between bytecodes, and a main thread that waits on a lock may not get there.
# Our handler tells the supervisor and then calls the one that was there before.

cdef extern from *:
    """
    #include <signal.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <unistd.h>
    #include <errno.h>

    /* Written by threads that install the handler, read by the handler in
     * whatever thread the signal comes to. */
    static _Atomic int fuload_sigint_fd = -1;
    static _Atomic int fuload_sigint_owner;
    static struct sigaction *_Atomic fuload_sigint_before;
    static __thread volatile sig_atomic_t fuload_sigint_inside;
    /* Signals that were seen, and those that the supervisor has acted on (it
     * writes that one). While they differ, submit() waits: what is submitted
     * after a SIGINT is not cancelled by it. */
    static _Atomic unsigned fuload_sigint_seen, fuload_sigint_handled;

    static void fuload_on_sigint(int number, siginfo_t *info, void *context)
    {
        int saved = errno, fd = fuload_sigint_fd;
        struct sigaction *before = fuload_sigint_before;
        uint64_t one = 1;

        if (fuload_sigint_inside)
            return; /* a handler that was put over ours calls us back */
        /* In a forked child the descriptor is the parent's. */
        if (fd >= 0 && getpid() == fuload_sigint_owner) {
            fuload_sigint_seen++;
            if (write(fd, &one, sizeof one) < 0)
                fuload_sigint_handled = fuload_sigint_seen; /* nobody will */
        }
        errno = saved;
        fuload_sigint_inside = 1;
        if (before && before->sa_flags & SA_SIGINFO)
            before->sa_sigaction(number, info, context);
        else if (before && before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
            before->sa_handler(number);
        fuload_sigint_inside = 0;
    }

    /* Put our handler over whatever stands there, if anything does: an ignored
     * SIGINT stays ignored, and the default action ends the process, which
     * ends the workers. The old struct is never freed: the handler may be
     * reading it. */
    static void fuload_sigint_take(void)
    {
        struct sigaction now, ours, *before;

        if (sigaction(SIGINT, NULL, &now) != 0)
            return;
        if (now.sa_flags & SA_SIGINFO ? now.sa_sigaction == fuload_on_sigint
                                      : now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)
            return;
        before = malloc(sizeof *before);
        if (!before)
            return;
        *before = now;
        fuload_sigint_before = before;
        ours = now;
        ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        ours.sa_sigaction = fuload_on_sigint;
        sigaction(SIGINT, &ours, NULL);
    }

    static void fuload_sigint_give_back(void)
    {
        struct sigaction now;

        fuload_sigint_fd = -1;
        fuload_sigint_handled = fuload_sigint_seen;
        if (sigaction(SIGINT, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
            now.sa_sigaction == fuload_on_sigint && fuload_sigint_before)
            sigaction(SIGINT, fuload_sigint_before, NULL);
    }

    static void fuload_sigint_aim(int fd)
    {
        fuload_sigint_owner = getpid();
        fuload_sigint_fd = fd;
    }
    """
    unsigned fuload_sigint_seen, fuload_sigint_handled
    void fuload_sigint_take()
    void fuload_sigint_give_back()
    void fuload_sigint_aim(int fd)


def sigint_start(int fd):
    """From now on SIGINT writes this eventfd, once sigint_check() was called."""
    fuload_sigint_aim(fd)


def sigint_check():
    """Be the handler of SIGINT, over whatever stands there."""
    fuload_sigint_take()


def sigint_seen():
    """How many there were."""
    return fuload_sigint_seen


def sigint_handled(unsigned count=0):
    """The supervisor has acted on so many; without an argument, whether it has
    on all."""
    global fuload_sigint_handled
    if count:
        fuload_sigint_handled = count
    return fuload_sigint_handled == fuload_sigint_seen


def sigint_stop():
    """Give SIGINT back to who had it."""
    fuload_sigint_give_back()
