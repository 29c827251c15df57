/* From an exec to a worker: find the region, check it, watch the parent. */
#include "worker.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENVIRONMENT "FULOAD_WORKER"

/* The kernel's parent-death signal ends this process even if it is stopped or
 * deaf; this thread does if a task has cleared that setting. A task may close its
 * descriptor, even before it is polled: then there is another. */
static void *watch_parent(void *argument)
{
    pid_t parent = (pid_t)(intptr_t)argument;

    while (getppid() == parent) {
        struct pollfd p = {.events = POLLIN};

        p.fd = (int)syscall(SYS_pidfd_open, parent, 0);
        if (p.fd < 0 && errno == ESRCH)
            continue; /* it has just died: getppid() says so */
        if (p.fd < 0)
            return NULL;
        while (poll(&p, 1, -1) < 0 && errno == EINTR)
            ;
    }
    kill(getpid(), SIGKILL);
    return NULL;
}

static void start_watch(pid_t parent)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_create(&thread, &attributes, watch_parent, (void *)(intptr_t)parent);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static uint64_t now(void *context)
{
    (void)context;
    return fl_now();
}

static struct fl_worker *attached;

/* In the child of a fork made by a task: the slots are its parent's. */
static void mark_fork(void)
{
    attached->forked = true;
}

static void set_inherited(int fd, bool inherited)
{
    fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC);
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

static struct fl_file file_of(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return (struct fl_file){0, 0};
    return (struct fl_file){st.st_dev, st.st_ino};
}

static bool same_file(struct fl_file a, struct fl_file b)
{
    return a.device == b.device && a.inode == b.inode;
}

void fl_check_descriptors(const struct fl_worker *w)
{
    if (!same_file(file_of(w->region.fd), w->region_file) || !same_file(file_of(w->bell), w->bell_file))
        _exit(FL_EXIT_DESCRIPTORS);
}

const char *fl_attach(struct fl_worker *w)
{
    const char *place = getenv(ENVIRONMENT), *why;
    const struct fl_plan *plan = &w->region.plan;
    const struct fl_header *h;
    unsigned version, index;
    int fd, bell, real_stderr;

    if (!place)
        return "it is a worker of fuload-exec and is started by FuloadExecutor only";
    if (sscanf(place, "%u", &version) == 1 && version != FL_VERSION) {
        static char why_version[96];

        snprintf(why_version, sizeof why_version,
                 "it was built for version %u of the protocol, the parent speaks version %u", FL_VERSION, version);
        return why_version;
    }
    if (sscanf(place, "%u:%d:%d:%u:%d", &version, &fd, &bell, &index, &real_stderr) != 5)
        return "the environment variable " ENVIRONMENT " is damaged";
    unsetenv(ENVIRONMENT);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    why = fl_region_attach(&w->region, fd);
    if (why)
        return why;
    h = w->region.header;
    if (index >= plan->workers)
        return "there is no such worker in the region";
    /* Only now would a parent that died before the prctl be noticed. */
    if (getppid() != h->parent_pid)
        return "the parent is gone";
    w->parent = h->parent_pid;
    w->pid = getpid();
    w->index = index;
    w->bell = bell;
    w->region_file = file_of(fd);
    w->bell_file = file_of(bell);
    set_inherited(fd, false);
    set_inherited(bell, false);
    madvise(w->region.base, plan->base_size, MADV_DONTDUMP);
    prctl(PR_SET_NAME, h->name);
    w->cursor = fl_ring_head(&w->region);
    w->windows = calloc(plan->slots, sizeof *w->windows);
    w->callables = calloc(FL_MAX_FUNCTIONS, sizeof *w->callables);
    w->siblings = calloc(plan->workers, sizeof *w->siblings);
    if (!w->windows || !w->callables || !w->siblings)
        return "out of memory";
    w->os = (struct fl_os){.context = w,
                           .now = now,
                           .wait_signal = fl_wait_signal,
                           .ring_worker = fl_ring_worker,
                           .ring_collector = fl_ring_collector};
    restore_stderr(real_stderr);
    start_watch(w->parent);
    attached = w;
    pthread_atfork(NULL, NULL, mark_fork);
    fl_signals_start(w);
    atomic_store(&w->region.blocks[index].attached, 1);
    atomic_exchange(&w->region.states[index], fl_state_word(FL_BUSY, 0, 0));
    return NULL;
}

void fl_detach_for_exec(struct fl_worker *w)
{
    char place[64];

    fl_check_descriptors(w);
    snprintf(place, sizeof place, "%u:%d:%d:%u:-1", FL_VERSION, w->region.fd, w->bell, w->index);
    setenv(ENVIRONMENT, place, 1);
    set_inherited(w->region.fd, true);
    set_inherited(w->bell, true);
}
