/* Signals in a worker: the doorbell (SIGUSR1) and the interrupt (SIGINT). */
#include "worker.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct fl_worker *self;
static pid_t self_pid;
static struct sigaction before_interrupt;

/* SIGUSR1 is collected by sigwaitinfo; the handler runs only where it is not
 * blocked. In another thread (one that a task started) it came to the wrong
 * place: the process was meant, and the loop may be waiting for it. */
static void on_doorbell(int number)
{
    int saved = errno;

    if (getpid() == self_pid && (pid_t)syscall(SYS_gettid) != self_pid)
        syscall(SYS_tgkill, self_pid, self_pid, number);
    errno = saved;
}

/* Only the parent's SIGINT counts: a terminal's Ctrl-C reaches the whole
 * process group, and what follows from it is the parent's decision. Python
 * hears of it while it runs a task; otherwise the loop leaves. */
static void on_interrupt(int number, siginfo_t *info, void *context)
{
    if (!self || getpid() != self_pid || info->si_pid != self->parent)
        return;
    self->interrupted = 1;
    if (!self->in_python_task)
        return;
    if (before_interrupt.sa_flags & SA_SIGINFO)
        before_interrupt.sa_sigaction(number, info, context);
    else if (before_interrupt.sa_handler != SIG_DFL && before_interrupt.sa_handler != SIG_IGN)
        before_interrupt.sa_handler(number);
}

static void change_mask(int how, bool doorbell, bool interrupt)
{
    sigset_t set;

    sigemptyset(&set);
    if (doorbell)
        sigaddset(&set, SIGUSR1);
    if (interrupt)
        sigaddset(&set, SIGINT);
    pthread_sigmask(how, &set, NULL);
}

static void set_doorbell_handler(void)
{
    struct sigaction action = {.sa_flags = SA_RESTART};

    action.sa_handler = on_doorbell;
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
}

void fl_signals_start(struct fl_worker *w)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    uint64_t bits = w->region.header->signal_mask;
    sigset_t set;
    int number;

    self = w;
    self_pid = getpid();
    sigemptyset(&set);
    for (number = 1; number <= 64; number++)
        if (bits >> (number - 1) & 1)
            sigaddset(&set, number);
    sigaddset(&set, SIGUSR1);
    if (w->host.enter_python) {
        sigdelset(&set, SIGINT);
        action.sa_sigaction = on_interrupt;
        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, &before_interrupt);
    } else {
        /* A handler, even one that does nothing, would cut the sleep of a C
         * function short when the terminal's Ctrl-C comes. The parent ends a
         * busy C worker by SIGTERM. */
        sigaddset(&set, SIGINT);
    }
    set_doorbell_handler();
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

void fl_signals_sleep(void)
{
    change_mask(SIG_BLOCK, true, true);
    set_doorbell_handler();
}

void fl_signals_wake(struct fl_worker *w)
{
    if (w->host.python_tasks_see_signals)
        change_mask(SIG_UNBLOCK, true, true);
}

void fl_signals_enter_native(struct fl_worker *w)
{
    if (w->host.python_tasks_see_signals)
        change_mask(SIG_BLOCK, true, true);
}

void fl_signals_leave_native(struct fl_worker *w)
{
    fl_signals_wake(w);
}

bool fl_wait_signal(void *worker)
{
    struct fl_worker *w = worker;
    siginfo_t info;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGINT);
    while (!w->interrupted) {
        int number = sigwaitinfo(&set, &info);

        if (number == SIGUSR1)
            return true;
        if (number == SIGINT && info.si_pid == w->parent)
            w->interrupted = 1;
    }
    return false;
}

static bool signal_sibling(const struct fl_worker *w, int pidfd)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, NULL, 0) == 0)
        return true;
    if (errno == ESRCH || errno == EBADF)
        return false;
    fl_sound_alarm(w); /* refused: another user's, or a sandbox */
    return true;
}

/* A sibling is signalled through a pidfd that was opened while the region
 * still named it under that pid: the parent takes a dead worker's pid out of
 * the table before it reaps it, so the number cannot have been reused. (No task
 * can write there, so no stranger is signalled.) */
bool fl_ring_worker(void *worker, uint32_t index)
{
    struct fl_worker *w = worker;
    struct fl_sibling *sibling = &w->siblings[index];
    pid_t pid = (pid_t)fl_worker_pid(&w->region, index);

    if (!pid)
        return false;
    if (sibling->pid == pid && signal_sibling(w, sibling->pidfd))
        return true;
    if (sibling->pid != pid || errno == EBADF) {
        /* A descriptor that a task has closed is not ours to close again. */
        if (sibling->pid && sibling->pid != pid)
            close(sibling->pidfd);
        sibling->pid = 0;
        sibling->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (sibling->pidfd < 0 && errno != ESRCH) { /* refused, or no descriptor to be had */
            fl_sound_alarm(w);
            return true;
        }
        if (sibling->pidfd < 0 || (pid_t)fl_worker_pid(&w->region, index) != pid) {
            if (sibling->pidfd >= 0)
                close(sibling->pidfd);
            return false;
        }
        sibling->pid = pid;
    }
    return signal_sibling(w, sibling->pidfd);
}
