/* From an exec to a worker: find the region, check it, watch the parent. */
#include "worker.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENVIRONMENT "FULOAD_WORKER"

/* What FULOAD_WORKER says. */
struct place {
    unsigned version, index;
    int region, bell, alarm, lender, real_stderr;
};

static const char *read_place(struct place *p)
{
    const char *text = getenv(ENVIRONMENT);

    if (!text)
        return "it is a worker of fuload-exec and is started by FuloadExecutor only";
    if (sscanf(text, "%u", &p->version) == 1 && p->version != FL_VERSION) {
        static char why_version[96];

        snprintf(why_version, sizeof why_version,
                 "it was built for version %u of the protocol, the parent speaks version %u", FL_VERSION, p->version);
        return why_version;
    }
    if (sscanf(text, "%u:%d:%d:%d:%d:%u:%d", &p->version, &p->region, &p->bell, &p->alarm, &p->lender, &p->index,
               &p->real_stderr) != 7)
        return "the environment variable " ENVIRONMENT " is damaged";
    return NULL;
}

/* How often getppid() is asked where no pidfd is to be had. */
#define LOOK_MS 1000

static void end_process(void)
{
    kill(getpid(), SIGKILL);
    syscall(SYS_exit_group, 128 + SIGKILL); /* a sandbox has refused that */
}

/* The alarm was written, which may have been meant for another worker: it is
 * where signals are refused (the parent has changed its user, a sandbox). A
 * signal too many is harmless: a sleeper that was not called sleeps on. */
static void obey(struct fl_worker *w)
{
    if (atomic_load(&w->region.orders[w->index]) == FL_ORDER_END)
        end_process();
    if (fl_state_of(atomic_load(&w->region.states[w->index])) == FL_CALLED || fl_leaving(&w->region))
        syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
}

static bool watch(int epoll, int fd, uint32_t events, int what)
{
    struct epoll_event event = {.events = events, .data.fd = what};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

enum { PARENT, ALARM };

/* The kernel's parent-death signal ends this process even if it is stopped or
 * deaf; this thread does if a task has cleared that setting, or if the parent
 * may not signal this process. Everybody waits for the alarm edge by edge, so
 * nobody has to read it. A task may close the descriptors, even before they are
 * waited for: then there are others. */
static void *watch_parent(void *argument)
{
    struct fl_worker *w = argument;

    while (getppid() == w->parent) {
        struct epoll_event event;
        int parent = (int)syscall(SYS_pidfd_open, w->parent, 0), epoll, got;

        if (parent < 0 && errno == ESRCH)
            continue; /* it has just died: getppid() says so */
        epoll = epoll_create1(EPOLL_CLOEXEC);
        if (epoll < 0)
            return NULL;
        watch(epoll, w->alarm, EPOLLIN | EPOLLET, ALARM); /* reports at once if it was ever written */
        if (parent >= 0 && !watch(epoll, parent, EPOLLIN, PARENT))
            return NULL;
        while ((got = epoll_wait(epoll, &event, 1, parent >= 0 ? -1 : LOOK_MS)) >= 0 || errno == EINTR) {
            if (got > 0 && event.data.fd == ALARM)
                obey(w);
            else if (got >= 0 && getppid() != w->parent)
                break;
        }
    }
    end_process();
    return NULL;
}

static void start_watch(struct fl_worker *w)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_create(&thread, &attributes, watch_parent, w);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static uint64_t now(void *context)
{
    (void)context;
    return fl_now();
}

static void give_way(void *context)
{
    (void)context;
    sched_yield();
}

static struct fl_worker *attached;

/* In the child of a fork made by a task: the slots are its parent's. */
static void mark_fork(void)
{
    attached->forked = true;
}

/* A worker program's standard error goes to a file of the parent's until it has
 * attached, so that the parent can quote it; now it gets the real one back. */
static void restore_stderr(int real)
{
    char text[512];
    ssize_t size;
    off_t at = 0;

    if (real < 0)
        return;
    while ((size = pread(STDERR_FILENO, text, sizeof text, at)) > 0 && write(real, text, (size_t)size) > 0)
        at += size;
    dup2(real, STDERR_FILENO);
    close(real);
}

const char *fl_attach(struct fl_worker *w)
{
    const struct fl_plan *plan = &w->region.plan;
    const struct fl_header *h;
    struct place place;
    const char *why = read_place(&place);
    uint32_t index = place.index;

    if (why)
        return why;
    unsetenv(ENVIRONMENT);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    why = fl_region_attach(&w->region, place.region);
    if (why)
        return why;
    h = w->region.header;
    if (index >= plan->workers)
        return "there is no such worker in the region";
    /* Only now would a parent that died before the prctl be noticed. */
    if (getppid() != h->parent_pid)
        return "the parent is gone";
    w->parent = h->parent_pid;
    w->index = index;
    w->bell = place.bell;
    w->alarm = place.alarm;
    w->lender = place.lender;
    fl_note_descriptors(w);
    fl_inherit_descriptors(w, false);
    madvise(w->region.base, plan->base_size, MADV_DONTDUMP);
    prctl(PR_SET_NAME, h->name);
    w->cursor = fl_ring_head(&w->region);
    w->windows = calloc(plan->slots, sizeof *w->windows);
    w->callables = calloc(plan->functions, sizeof *w->callables);
    w->siblings = calloc(plan->workers, sizeof *w->siblings);
    if (!w->windows || !w->callables || !w->siblings)
        return "out of memory";
    w->os = (struct fl_os){.context = w,
                           .now = now,
                           .wait_signal = fl_wait_signal,
                           .ring_worker = fl_ring_worker,
                           .ring_collector = fl_ring_collector,
                           .give_way = give_way};
    restore_stderr(place.real_stderr);
    attached = w;
    pthread_atfork(NULL, NULL, mark_fork);
    fl_signals_start(w);
    start_watch(w);
    atomic_store(&w->region.blocks[index].attached, 1);
    atomic_exchange(&w->region.states[index], fl_state_word(FL_BUSY, 0, 0));
    return NULL;
}

void fl_detach_for_exec(struct fl_worker *w)
{
    char place[96];

    fl_check_descriptors(w);
    snprintf(place, sizeof place, "%u:%d:%d:%d:%d:%u:-1", FL_VERSION, w->region.fd, w->bell, w->alarm, w->lender,
             w->index);
    setenv(ENVIRONMENT, place, 1);
    fl_inherit_descriptors(w, true);
}

void fl_stay_after_exec(const struct fl_worker *w)
{
    fl_inherit_descriptors(w, false);
    unsetenv(ENVIRONMENT);
}

void fl_say_python_starts(void)
{
    struct fl_region region;
    struct place place;

    if (read_place(&place) || fl_region_attach(&region, place.region))
        return; /* fl_attach says why */
    if (place.index < region.plan.workers)
        atomic_store(&region.blocks[place.index].python, FL_PYTHON_STARTS);
    munmap(region.base, region.plan.base_size);
}
