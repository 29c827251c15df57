/* The worker, as its parts see it. One process, one thread (the loop), plus a
 * thread that only watches the parent. The same loop serves in the program
 * fuload-worker and in the Python host. */
#ifndef FL_WORKER_H
#define FL_WORKER_H

#include <signal.h>
#include <sys/types.h>

#include "fuload.h"
#include "protocol/copy.h"
#include "protocol/doorbell.h"
#include "protocol/message.h"
#include "protocol/poll.h"

struct fl_worker;

/* What differs between the two hosts. */
struct fl_host {
    void *context;
    /* Run a Python request in w->call and reply. The C program execs the
     * interpreter here and comes back only if that failed. */
    void (*call_python)(struct fl_worker *w);
    /* Before and after this thread waits or runs C: give up and retake the
     * interpreter's lock. May be NULL. */
    void (*leave_python)(void *context);
    void (*enter_python)(void *context);
    bool python_tasks_see_signals;
};

/* The task that is being run. Starts with what a plug-in sees. */
struct fl_call {
    struct fuload_task task;
    struct fl_slot *slot;
    uint32_t index;
    uint32_t generation;
    const char *request;
    uint64_t request_size;
    /* The reply, so far. */
    char *reply;
    uint64_t reply_room;
    uint64_t reply_size;
    uint64_t reply_wanted; /* what was asked for when it was too much, */
    int reply_error;       /* or could not be mapped: errno */
    uint64_t reserved;     /* what a plug-in has reserved or written */
    uint64_t reply_reach;  /* the most bytes that were asked for in the window: so far it may have pages */
    int status;
};

struct fl_callable;

struct fl_worker {
    struct fl_region region;
    struct fl_call call;
    struct fl_os os;
    struct fl_host host;
    uint32_t index;
    uint64_t cursor;      /* ring.h */
    fl_word contended_until; /* until then it sleeps at once instead of polling */
    uint32_t unreported;  /* replies that are done and nobody was told of, w->call's the last */
    uint64_t unreported_since; /* when the first of them was done */
    bool short_chunk;     /* the last was a chunk of a map, and short */
    int bell;             /* the parent's eventfd */
    int alarm;            /* the eventfd by which workers are called and ended where signals are refused */
    int lender;           /* the socket on which Python workers ask for descriptors */
    struct fl_file {
        dev_t device;
        ino_t inode;
    } region_file, bell_file;
    pid_t parent;
    struct fl_mapping (*windows)[2];
    struct fl_callable **callables; /* by description id */
    const struct fuload_worker_task *tasks;
    struct fl_sibling {
        pid_t pid;
        int pidfd;
    } *siblings;
    volatile sig_atomic_t interrupted; /* the parent sent SIGINT: leave */
    volatile sig_atomic_t in_python_task; /* SIGINT is for the task to see */
    bool last_task;       /* leave after this one */
    bool forked;          /* this is a child that a task forked: serve nothing */
};

/* worker.c: `size` bytes of the running task's window. NULL with errno. */
char *fl_call_window(struct fl_worker *w, enum fl_half half, uint64_t size);
/* Where its request is mapped, if it stands in the window. */
static inline struct fl_mapping *fl_request_mapping(struct fl_worker *w)
{
    return &w->windows[w->call.index][FL_REQUEST];
}

/* attach.c: read FULOAD_WORKER from the environment, map the region, watch the
 * parent. NULL, or why not; blocks on nothing; a dead parent ends the process. */
const char *fl_attach(struct fl_worker *w);
/* For an exec that keeps the place: FULOAD_WORKER again, descriptors kept. */
void fl_detach_for_exec(struct fl_worker *w);
/* The exec has failed: nothing of the pool's for what this process starts. */
void fl_stay_after_exec(const struct fl_worker *w);
/* The interpreter's first words: it is one. Whatever it imports before it
 * attaches may take its time. */
void fl_say_python_starts(void);

/* descriptors.c: which files they are, once, before any task. */
void fl_note_descriptors(struct fl_worker *w);
/* Only an exec that keeps the place inherits them, nothing that a task starts. */
void fl_inherit_descriptors(const struct fl_worker *w, bool inherited);
/* A task may have closed the pool's descriptors, or put others in their place:
 * then this process ends, and the parent goes on with what it finished. */
void fl_check_descriptors(const struct fl_worker *w);
/* Somebody cannot be signalled: have every worker look whether it was called. */
void fl_sound_alarm(const struct fl_worker *w);
void fl_ring_collector(void *worker);

/* signals.c */
void fl_signals_start(struct fl_worker *w);
/* Around sleeping: SIGUSR1 and SIGINT blocked, so that none comes between the
 * last look and the wait, and our handler back in place, whatever tasks did. */
void fl_signals_sleep(void);
void fl_signals_wake(struct fl_worker *w);
/* Around native code: SIGUSR1 blocked, so that a stray one cuts no nanosleep
 * short. A Python task runs with it unblocked: what it starts inherits a clean
 * mask. */
void fl_signals_enter_native(struct fl_worker *w);
void fl_signals_leave_native(struct fl_worker *w);
bool fl_wait_signal(void *worker);
bool fl_ring_worker(void *worker, uint32_t index);

/* library.c: the callable with this description id, opened and looked up once,
 * or NULL with a message in `why` and the reply kind it belongs to. */
const struct fl_callable *fl_callable_find(struct fl_worker *w, uint32_t id, char *why, size_t size,
                                           enum fl_reply_kind *kind);
/* Whether it is opened: then no descriptor is needed to find it. */
static inline bool fl_callable_known(const struct fl_worker *w, uint32_t id)
{
    return id < w->region.plan.functions && w->callables[id];
}
/* Plug-ins' fuload_fini, once each. */
void fl_libraries_close(void);

struct fl_callable {
    uint32_t kind;
    union {
        void *symbol;
        void (*function)(void);
        int (*task)(fuload_task *task);
    } at;
    struct fl_signature *signature; /* call_function.c */
};

/* call_function.c: prepare a signature once (false: impossible types), run w->call. */
bool fl_signature_prepare(struct fl_callable *c, const struct fl_description *d);
void fl_call_function(struct fl_worker *w, const struct fl_callable *c);
/* The same for a request of many calls. */
void fl_call_map(struct fl_worker *w, const struct fl_callable *c);

/* call_task.c */
void fl_call_task(struct fl_worker *w, const struct fl_callable *c);

/* become_python.c: exec the interpreter in place. Comes back on failure, with
 * the reply. */
void fl_become_python(struct fl_worker *w);

/* The task itself begins: until then the worker becomes Python, runs the
 * initializer or imports what the arguments need; no timeout counts that. */
static inline void fl_call_starts(struct fl_worker *w)
{
    __atomic_store_n(&w->call.slot->started_ns, fl_now(), __ATOMIC_RELAXED);
}

/* reply.c. Only the task's thread calls these; they may block on page faults. */
/* Something has written where it must not, in this worker or in another. What else
 * is wrong nobody knows: this process ends, and at its burial the parent looks at
 * every slot. */
_Noreturn void fl_end_corrupted(const struct fl_worker *w, const char *what);
/* In a child that a task forked: the slot is the worker's, nothing is written. */
void fl_leave_if_forked(const struct fl_worker *w);
/* Room for `size` bytes in all, contents kept; NULL if more than max_payload or
 * not to be mapped: then fl_reply_send sends TOO_LARGE or NO_ROOM. */
char *fl_reply_reserve(struct fl_worker *w, uint64_t size);
/* Reply and reply_size are in place: publish. */
void fl_reply_send(struct fl_worker *w, enum fl_reply_kind kind);
void fl_reply_scalar(struct fl_worker *w, enum fl_reply_kind kind, uint64_t scalar);
void fl_reply_bytes(struct fl_worker *w, enum fl_reply_kind kind, const void *data, uint64_t size);
/* See that somebody in the parent knows of the last reply, and of those that
 * were held back. */
void fl_reply_report(struct fl_worker *w);
/* May that wait until another chunk of a map is done? Only if the next thing
 * that this worker does is to claim and run one. */
bool fl_reply_may_wait(struct fl_worker *w);

/* worker.c: serve until told to leave; `resume` is a slot that this worker
 * claimed before its exec, or -1. Returns the exit code. */
int fl_serve(struct fl_worker *w, int32_t resume);

#endif
