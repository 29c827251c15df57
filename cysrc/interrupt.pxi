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
     * with `handlers_ringing`: who takes the aim away waits for the handlers that may
     * have seen it, so they write nothing that was closed meanwhile. */
    static _Atomic uint64_t sigint_aim = UINT64_MAX;
    static _Atomic int handlers_ringing; /* that use the aim */
    static _Atomic int sigint_owner;     /* the process whose aim it is */
    /* What was there before ours: written with the handler, under the
     * interpreter's lock, before it is installed; read by the handler. */
    static struct sigaction *_Atomic handler_before;
    /* The recursion guard. Initial-exec: a module that is loaded later has its
     * thread-local variables allocated at a thread's first use, by malloc, which
     * the signal may have interrupted. */
    static __thread __attribute__((tls_model("initial-exec"))) volatile sig_atomic_t inside_handler;
    /* How many SIGINTs were seen (the handler counts), how many the supervisor
     * has acted on, and after how many every worker is reaped (it writes both, and
     * whoever ends it). Sequentially consistent: a count is stored after what it
     * says is true. submit() waits while the first two differ, what raises
     * KeyboardInterrupt while the first and the last do. */
    static _Atomic unsigned sigints_seen, sigints_handled, sigints_buried;
    /* Handlers that are about to call the one before. While there are any the
     * supervisor waits a moment (not for ever: that one may never return). */
    static _Atomic int handlers_calling;
    /* How many SIGINTs the handlers in Python have certainly run for: the main
     * thread writes it between two bytecodes, after it has called them; the
     * supervisor reads it. Under the interpreter's lock, so relaxed would do. */
    static _Atomic unsigned sigints_called_for;

    /* The aim, to be dropped by aim_dropped(). */
    static uint64_t use_aim(void)
    {
        handlers_ringing++;
        /* In a forked child the descriptors are the parent's. */
        return getpid() == sigint_owner ? sigint_aim : UINT64_MAX;
    }

    static void aim_dropped(void)
    {
        handlers_ringing--;
    }

    static void on_sigint(int number, siginfo_t *info, void *context)
    {
        int saved = errno;
        struct sigaction *before = handler_before;
        uint64_t aim;

        if (inside_handler)
            return; /* a handler that was put over ours calls us back */
        aim = use_aim();
        handlers_calling++;
        if (aim != UINT64_MAX)
            sigints_seen++;
        aim_dropped();
        /* The one before comes first: a main thread that wakes because its future
         * is cancelled has its KeyboardInterrupt. */
        errno = saved;
        inside_handler = 1;
        if (before && before->sa_flags & SA_SIGINFO)
            before->sa_sigaction(number, info, context);
        else if (before && before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
            before->sa_handler(number);
        inside_handler = 0;
        saved = errno;
        aim = use_aim();
        handlers_calling--;
        if (aim != UINT64_MAX)
            ring_registry((int)(aim >> 32), (int)(uint32_t)aim);
        aim_dropped();
        errno = saved;
    }

    /* One struct for each handler that was ever found there, two or three in the
     * life of a process. Never freed: ours may be reading it. */
    static struct sigaction *remember_handler(const struct sigaction *now)
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
    static void install_handler(void)
    {
        struct sigaction now, ours, *before;

        if (sigaction(SIGINT, NULL, &now) != 0)
            return;
        if (now.sa_flags & SA_SIGINFO ? now.sa_sigaction == on_sigint
                                      : now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)
            return;
        before = remember_handler(&now);
        if (!before)
            return;
        handler_before = before;
        ours = now;
        ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        ours.sa_sigaction = on_sigint;
        sigaction(SIGINT, &ours, NULL);
    }

    /* Afterwards no handler uses the aim before. */
    static void aim_at(uint64_t aim)
    {
        sigint_aim = aim;
        while (handlers_ringing)
            sched_yield();
    }

    static void only_wakes(int number)
    {
        (void)number;
    }

    static int urgent_is(const struct sigaction *now, void (*handler)(int))
    {
        return !(now->sa_flags & SA_SIGINFO) && now->sa_handler == handler;
    }

    /* End the wait of the main thread, whose number is the process's, by a signal
     * that is ignored unless somebody has a handler, and may come without a reason: it
     * can be given back while one is on its way. Whoever has a handler keeps it. */
    static void wake_main_thread(void)
    {
        struct sigaction now, wake;

        if (sigaction(SIGURG, NULL, &now) != 0)
            return;
        if (urgent_is(&now, SIG_DFL)) {
            memset(&wake, 0, sizeof wake);
            wake.sa_handler = only_wakes;
            wake.sa_flags = SA_ONSTACK; /* and no SA_RESTART: it ends waits */
            if (sigaction(SIGURG, &wake, NULL) != 0)
                return;
        } else if (!urgent_is(&now, only_wakes))
            return;
        syscall(SYS_tgkill, getpid(), getpid(), SIGURG);
    }

    static void stop_waking(void)
    {
        struct sigaction now;

        if (sigaction(SIGURG, NULL, &now) != 0 || !urgent_is(&now, only_wakes))
            return;
        now.sa_handler = SIG_DFL;
        sigaction(SIGURG, &now, NULL);
    }

    static void forget_sigints(void)
    {
        aim_at(UINT64_MAX);
        sigints_handled = sigints_buried = sigints_called_for = sigints_seen;
    }

    static void give_handler_back(void)
    {
        struct sigaction now;

        stop_waking();
        forget_sigints();
        if (sigaction(SIGINT, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
            now.sa_sigaction == on_sigint && handler_before)
            sigaction(SIGINT, handler_before, NULL);
    }

    static void start_handler(uint64_t aim)
    {
        sigint_owner = getpid();
        forget_sigints();
        aim_at(aim);
    }

    /* A pending call of the interpreter: it makes them after its signal handlers. */
    static int handlers_were_called(void *count)
    {
        sigints_called_for = (unsigned)(uintptr_t)count;
        return 0;
    }

    static void ask_for_handlers(unsigned count)
    {
        Py_AddPendingCall(handlers_were_called, (void *)(uintptr_t)count);
    }

    static void block_signals(sigset_t *before)
    {
        sigset_t all;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, before);
    }

    static void restore_signals(const sigset_t *before)
    {
        pthread_sigmask(SIG_SETMASK, before, NULL);
    }

    static int thread_exists(int tid)
    {
        return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
    }

    static void name_thread(const char *name)
    {
        pthread_setname_np(pthread_self(), name);
    }
    """
    ctypedef struct sigset_t:
        pass
    void block_signals(sigset_t *before)
    void restore_signals(const sigset_t *before)
    unsigned sigints_seen, sigints_handled, sigints_buried, sigints_called_for
    int handlers_calling, handlers_ringing
    void install_handler()
    void forget_sigints()
    void give_handler_back()
    void start_handler(uint64_t aim)
    void ask_for_handlers(unsigned count)
    void wake_main_thread()
    void stop_waking()
    bint thread_exists(int tid) nogil
    void name_thread(const char *name)


cdef inline uint64_t aim_of(Registry r) noexcept:
    return <uint64_t><uint32_t>r.epoll << 32 | <uint32_t>r.near


cdef inline bint reached(unsigned count, unsigned target) noexcept:
    return <int>(count - target) >= 0


def sigint_seen():
    """How many there were."""
    return sigints_seen


def sigint_arrives():
    """Whether the handler before ours may not have been called yet."""
    return handlers_calling > 0


def sigint_acted_on():
    """Whether the supervisor has on all."""
    return sigints_handled == sigints_seen


def sigint_handled(unsigned count):
    """The supervisor has acted on `count` of them."""
    global sigints_handled
    sigints_handled = count
    ask_for_handlers(count)


def sigint_wakes_main_thread(bint more):
    """Have the main thread look for signals, if it may not have done so since the
    last SIGINT that was acted on: on its way into a wait it may have missed it.
    False if it has, or is to be woken no more."""
    if more and not reached(sigints_called_for, sigints_handled):
        wake_main_thread()
        return True
    stop_waking()
    return False


def sigint_buried(unsigned count):
    """Every worker that the first `count` were to end is reaped."""
    global sigints_buried
    sigints_buried = count


def sigint_forget():
    """In a forked child: the parent acts on its own."""
    global handlers_calling, handlers_ringing
    handlers_calling = handlers_ringing = 0
    stop_waking()
    forget_sigints()
