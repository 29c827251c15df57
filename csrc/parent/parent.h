/* What the parent knows of a pool by itself.
 *
 * The region is shared, and any task can have written there. This stands in
 * the parent's own memory: nobody but its threads can touch it, and what it
 * says is believed.
 *
 *   field            written by                          read by             lock or order
 *   region, os       the pool, once                      all                 before any thread
 *   generations,     under the lock                      the same            the lock: slots.h
 *   held, free,
 *   condemned
 *   seats            the supervisor, submitters, who     all                 the lock
 *                    takes a reply
 *   started          the supervisor, submitters          all                 the lock
 *   doorbells        submitters; the collector           statistics          relaxed: a count
 *   timed            submitters set it, the collector    both                seq_cst, none
 *                    clears it
 *   kicked           any thread sets it, the collector   the collector and   seq_cst, none
 *                    clears it                           the supervisor
 *   resting          the collector                       the supervisor      seq_cst, none
 *   maps             submitters, who ends a task         the collector       the lock; read without
 *   tick_head,       submitters (watch the ring); the    the collector       relaxed, none: hints,
 *   quiet, boost     collector                                               see collector.h
 *   unclaimed_ticks  the collector                       the collector       none
 *   watching         threads that watch                  the same            the lock
 *   late_ns          the pool, once                      threads that watch  before any thread
 *   contended_until  threads that watch                  the same            relaxed: a hint
 *
 * "The lock" is the one under which the parent's threads take turns: the
 * interpreter's, in tests a mutex. The headers beside this one say of each
 * function whether the caller holds it.
 *
 * No Python here, no allocation, and no system call: those are passed in, so that
 * tests/protocol runs the same code, and stops it between any two steps.
 */
#ifndef FL_PARENT_H
#define FL_PARENT_H

#include "protocol/doorbell.h"
#include "protocol/poll.h"

/* The system as the collector's thread meets it. */
struct fl_collector_os {
    void *context;
    /* Until the eventfd was written, for `most_ms` at most; -1: for long. */
    void (*rest)(void *context, int most_ms);
    /* Take what was written to it. False: it is not ours any more. */
    bool (*take_calls)(void *context);
};

/* What the parent knows of the worker with an index. */
struct fl_seat {
    bool taken;      /* wanted, alive, or dead and not yet buried */
    bool wanted;     /* the supervisor shall start a worker for it */
    bool doomed;     /* the supervisor shall end its worker, and no later one: burials clear it */
    bool ended;      /* dead */
    bool serves;     /* it was seen to: SIGUSR1 does it no harm */
    bool python;     /* it has replied to a Python task */
    uint32_t pid;    /* stands here before the worker execs: start.h */
    int newborn;     /* its pidfd, until that is known for ours: a process forked meanwhile closes it; -1: none */
    uint64_t seen;   /* the last audit that found it with a task */
    uint64_t called; /* its state's word after it was roused last */
    uint32_t deaf;   /* how often it did not change that since */
};

/* The pid of the worker that is started in this seat, or 0. Acquire: who sees it
 * sees in `newborn` the pidfd that came first [pair: pid or newborn]. */
static inline uint32_t fl_seat_pid(const struct fl_seat *seat)
{
    return __atomic_load_n(&seat->pid, __ATOMIC_ACQUIRE);
}

/* Nobody has it. */
static inline void fl_seat_clear(struct fl_seat *seat)
{
    *seat = (struct fl_seat){.newborn = -1};
}

struct fl_parent {
    struct fl_region *region;
    /* By slot: slots.h. */
    uint32_t *generations;
    void **held;           /* the task, or NULL */
    uint16_t *condemned;   /* index + 1 of the worker at whose burial it is given back, or 0 */
    uint32_t *free;        /* a stack: last in, first out */
    uint32_t free_count;
    struct fl_seat *seats; /* by worker */
    struct fl_os os; /* wait_signal is not called here */
    struct fl_collector_os collector_os;
    /* Under the lock: one more worker shall be started. False: there will be none. */
    bool (*ask_worker)(void *pool);
    void *pool;
    uint32_t started;      /* workers that are alive or being started */
    fl_word doorbells;     /* workers that were rung */
    /* The collector: collector.h. */
    fl_word timed, kicked, resting, maps;
    fl_word tick_head, quiet, boost;
    uint32_t unclaimed_ticks;
    /* Threads that poll: watch.h. */
    uint32_t watching;
    uint64_t late_ns;
    fl_word contended_until;
};

/* By the supervisor, before it starts a worker there as an interpreter; taken back if
 * none was started. */
static inline void fl_seat_becomes_python(struct fl_parent *p, uint32_t worker, bool python)
{
    atomic_store_explicit(&p->region->blocks[worker].python, python ? FL_PYTHON_EXEC : FL_PYTHON_NO,
                          memory_order_relaxed);
}

#endif
