/* Sleep and wake, in both directions.
 *
 * WORKERS. Each has one word in `states`: state (bits 0-7), caller (bits
 * 8-23, worker index + 1, 0 is the parent) and since when (bits 24-63, about
 * microseconds).
 *
 *   from      to        by              order
 *   any       busy      the worker      seq_cst exchange
 *   busy      polling   the worker      release
 *   busy,     asleep    the worker      seq_cst store
 *   polling
 *   asleep    called    parent, another seq_cst compare-swap; exactly one SIGUSR1 follows
 *                       worker
 *   called    asleep    its caller      seq_cst compare-swap: it could not be signalled
 *   asleep    busy      the worker      seq_cst compare-swap: withdrawn before a call
 *   called    busy      the worker      after it has collected the SIGUSR1
 *   any       gone      parent          seq_cst store, after the worker's death
 *   gone      starting  parent          before the next worker of that index is forked
 *
 * No ring is lost: a publisher stores an entry, then loads the states; a
 * worker stores ASLEEP, then loads the entries. Both seq_cst, so at least one
 * of them sees the other: the publisher calls, or the worker finds the entry
 * and withdraws. The same pair stands between a poller that turns to work
 * (stores BUSY, then looks at the ring) and a publisher who did not ring
 * because somebody polled. (Accesses, not fences: GCC's ThreadSanitizer does
 * not know fences.)
 *
 * No signal is lost: SIGUSR1 is blocked while the worker prepares to sleep,
 * so one sent between CALLED and the wait stays pending. A worker that finds
 * itself called always waits for the signal, so none is left over for a task.
 * A caller that cannot signal takes the call back (called -> asleep).
 * A caller that dies between CALLED and the signal is named in the word: who
 * buries it (the parent) signals in its place (fl_bell_orphans).
 *
 * THE COLLECTOR, the parent's thread that resolves futures when nobody else
 * does, has the word notices->collector: AWAKE, ASLEEP (the collector stores
 * it, then looks at the flags), CALLED (a worker or a parent thread, by
 * compare-swap, and then writes the eventfd once). A worker sets a completion
 * flag and then looks at the word; the same argument holds. DOZING is ASLEEP for
 * a few milliseconds: it looks again by itself. A worker that finds it not
 * ASLEEP after it has set a flag may leave it at that for a while: before the
 * collector sleeps for good it looks at the flags.
 *
 * WHAT A TASK CAN DO that writes over these words. A worker's word: it is not
 * called, or called in another's place. Nothing hangs on it for long: while tasks
 * are unfinished the parent looks every 50 ms whether those that are ready are
 * claimed; if not, it signals every worker that runs none, whatever its word says,
 * and who wakes and does not find itself ASLEEP looks at the ring. The collector's:
 * a word of no meaning counts as asleep, and the same look writes the eventfd while
 * flags are set and the collector, by what it says in the parent's own memory, rests.
 *
 * Time, waiting and signalling are passed in (struct fl_os), so that tests
 * can stop a participant between any two steps.
 */
#ifndef FL_DOORBELL_H
#define FL_DOORBELL_H

#include "ring.h"

enum fl_worker_state { FL_GONE, FL_STARTING, FL_BUSY, FL_POLLING, FL_ASLEEP, FL_CALLED };
enum fl_collector_state { FL_COLLECTOR_AWAKE, FL_COLLECTOR_ASLEEP, FL_COLLECTOR_CALLED, FL_COLLECTOR_DOZING };

struct fl_os {
    void *context;
    uint64_t (*now)(void *context);
    /* Block until a SIGUSR1 was collected. False: the worker must leave. */
    bool (*wait_signal)(void *context);
    /* Send SIGUSR1 to worker `index`. False: it is gone. */
    bool (*ring_worker)(void *context, uint32_t index);
    /* Add one to the parent's eventfd. */
    void (*ring_collector)(void *context);
    /* Let others have this CPU. */
    void (*give_way)(void *context);
};

static inline uint64_t fl_state_word(enum fl_worker_state state, uint32_t caller, uint64_t now)
{
    return now >> 10 << 24 | (uint64_t)(caller & 0xffff) << 8 | (uint64_t)state;
}

static inline enum fl_worker_state fl_state_of(uint64_t word)
{
    return (enum fl_worker_state)(word & 0xff);
}
static inline uint32_t fl_state_caller(uint64_t word)
{
    return (uint32_t)(word >> 8) & 0xffff;
}

/* What the workers do, at one glance. */
struct fl_census {
    uint32_t starting, busy, polling, asleep, called;
    int32_t warmest; /* the one that went to sleep last, or -1 */
};

/* Anybody. Called after a seq_cst store: of an entry [pair: published or asleep],
 * of the own state [pair: published or busy], or of the order to stop the ticks
 * [pair: untimed or asleep]. */
static inline void fl_bell_count(struct fl_region *r, struct fl_census *c)
{
    uint64_t latest = 0;
    uint32_t i;

    memset(c, 0, sizeof *c);
    c->warmest = -1;
    for (i = 0; i < r->plan.workers; i++) {
        uint64_t word = atomic_load_explicit(&r->states[i], memory_order_seq_cst);

        switch (fl_state_of(word)) {
        case FL_GONE:
            break;
        case FL_STARTING:
            c->starting++;
            break;
        case FL_BUSY:
            c->busy++;
            break;
        case FL_POLLING:
            c->polling++;
            break;
        case FL_CALLED:
            c->called++;
            break;
        case FL_ASLEEP:
            c->asleep++;
            if (c->warmest < 0 || word >> 24 >= latest) {
                c->warmest = (int32_t)i;
                latest = word >> 24;
            }
            break;
        }
    }
}

/* Anybody: call one sleeper; `caller` is 0 for the parent, else worker + 1.
 * 0: it does not sleep any more. Otherwise SIGUSR1 must be sent: this call's
 * own word, which says since when the called one has slept. */
static inline uint64_t fl_bell_call(struct fl_region *r, uint32_t index, uint32_t caller)
{
    uint64_t word = atomic_load_explicit(&r->states[index], memory_order_seq_cst);
    uint64_t called = (word & ~UINT64_C(0xffffff)) | (uint64_t)(caller & 0xffff) << 8 | FL_CALLED;

    if (fl_state_of(word) != FL_ASLEEP || !atomic_compare_exchange_strong(&r->states[index], &word, called))
        return 0;
    return called;
}

/* Call and signal the warmest sleeper. False: nobody sleeps, or the signal
 * could not be sent (it is dead and not buried yet, or just started and the
 * parent does not hold its pidfd yet): then it is put back to sleep, and
 * whoever watches the ring in the parent tries again. The caller's name first,
 * then the signal [pair: called by the dead]. May block on nothing. */
static inline bool fl_bell_ring(struct fl_region *r, const struct fl_os *os, uint32_t caller)
{
    struct fl_census c;
    uint64_t called;

    for (fl_bell_count(r, &c); c.warmest >= 0; fl_bell_count(r, &c)) {
        called = fl_bell_call(r, (uint32_t)c.warmest, caller);
        if (!called)
            continue;
        if (os->ring_worker(os->context, (uint32_t)c.warmest))
            return true;
        /* This call only: not one that came after it got up and slept again. */
        atomic_compare_exchange_strong(&r->states[c.warmest], &called, (called & ~UINT64_C(0xffffff)) | FL_ASLEEP);
        return false;
    }
    return false;
}

/* After a publish, or when a poller turned to work and left something in the
 * ring: must somebody be rung now? Only if nobody polls, and no more than one
 * awake worker a CPU; whoever watches in the parent adds others when the work
 * behind turns out to take long. */
static inline bool fl_bell_wanted(const struct fl_region *r, const struct fl_census *c)
{
    return !c->polling && c->asleep && c->busy + c->called < r->header->cpus;
}

/* Parent: the first worker from `from` on that was called by the dead worker
 * `caller` (index + 1) and may never have been signalled; -1 if none. Sending
 * a second signal is harmless: a sleeper that was not called sleeps on. */
static inline int32_t fl_bell_orphans(struct fl_region *r, uint32_t from, uint32_t caller)
{
    for (; from < r->plan.workers; from++) {
        uint64_t word = atomic_load_explicit(&r->states[from], memory_order_seq_cst);

        if (fl_state_of(word) == FL_CALLED && fl_state_caller(word) == caller)
            return (int32_t)from;
    }
    return -1;
}

/* Worker: it turns from waiting to work: BUSY first, then the ring [pair: published or busy]. A burst reaches all workers this way
 * without the parent ringing each. True if it rang another. */
static inline bool fl_bell_busy(struct fl_region *r, const struct fl_os *os, uint32_t worker, uint64_t *cursor)
{
    struct fl_census c;

    atomic_exchange_explicit(&r->states[worker], fl_state_word(FL_BUSY, 0, 0), memory_order_seq_cst);
    if (!fl_ring_pending(r, cursor))
        return false;
    fl_bell_count(r, &c);
    return fl_bell_wanted(r, &c) && fl_bell_ring(r, os, worker + 1);
}

/* Worker: may it poll? At most max_pollers do. Not exact, and need not be. */
static inline bool fl_bell_may_poll(struct fl_region *r, uint32_t worker)
{
    struct fl_census c;
    bool self = fl_state_of(atomic_load_explicit(&r->states[worker], memory_order_relaxed)) == FL_POLLING;

    if (!r->header->spin_ns || !r->header->max_pollers)
        return false;
    fl_bell_count(r, &c);
    return c.polling < r->header->max_pollers + self;
}

/* Worker: the parent stores the order, then calls who sleeps [pair: leave or asleep]. */
static inline bool fl_leaving(struct fl_region *r)
{
    return atomic_load_explicit(&r->header->leave, memory_order_seq_cst) != 0;
}

/* Worker, after it found nothing to claim: may it go? Only if it is told to and
 * finds nothing once more: what was published before the order to leave may
 * have come just after it had looked, and nobody else may be left to find it. */
static inline bool fl_bell_may_leave(struct fl_region *r, uint64_t *cursor)
{
    return fl_leaving(r) && !fl_ring_pending(r, cursor);
}

/* Worker: sleep until called. Returns with the state BUSY: because it was
 * called, or because work or the order to leave was there before it slept.
 * ASLEEP first, then the ring [pair: published or asleep] [pair: untimed or asleep]
 * and the order [pair: leave or asleep]. */
static inline void fl_bell_sleep(struct fl_region *r, const struct fl_os *os, uint32_t worker, uint64_t *cursor)
{
    fl_word *state = &r->states[worker];
    uint64_t asleep = fl_state_word(FL_ASLEEP, 0, os->now(os->context));
    uint64_t busy = fl_state_word(FL_BUSY, 0, 0), seen = asleep;

    fl_ring_find(r, cursor); /* what a head that was written over has hidden from it */
    atomic_store_explicit(state, asleep, memory_order_seq_cst);
    if ((fl_ring_pending(r, cursor) || fl_leaving(r)) && atomic_compare_exchange_strong(state, &seen, busy))
        return;
    while (os->wait_signal(os->context) && fl_state_of(atomic_load_explicit(state, memory_order_seq_cst)) == FL_ASLEEP)
        ;
    atomic_exchange_explicit(state, busy, memory_order_seq_cst);
}

/* A word that nobody of ours wrote counts as asleep: one call sets it right. */
static inline bool fl_collector_sleeps(uint64_t state)
{
    return state != FL_COLLECTOR_AWAKE && state != FL_COLLECTOR_CALLED;
}

/* Anybody, after a flag or a kick: the collector must look. Writes the eventfd if
 * it sleeps and nobody has called it yet [pair: flag or asleep] [pair: kicked or asleep]. */
static inline bool fl_collector_call(struct fl_region *r, const struct fl_os *os)
{
    uint64_t state = atomic_load_explicit(&r->notices->collector, memory_order_seq_cst);

    do
        if (!fl_collector_sleeps(state))
            return false;
    while (!atomic_compare_exchange_strong(&r->notices->collector, &state, FL_COLLECTOR_CALLED));
    os->ring_collector(os->context);
    return true;
}

/* Worker, after fl_flag_set: is there anybody in the parent who will look at
 * the flags at once without being called [pair: flag or watched] [pair: flag or asleep]? */
static inline bool fl_collector_looks(struct fl_region *r)
{
    return atomic_load_explicit(&r->header->watchers, memory_order_seq_cst) != 0 ||
           !fl_collector_sleeps(atomic_load_explicit(&r->notices->collector, memory_order_seq_cst));
}

/* Worker, after fl_flag_set: will the collector look within milliseconds? */
static inline bool fl_collector_will_look(struct fl_region *r)
{
    uint64_t state = atomic_load_explicit(&r->notices->collector, memory_order_seq_cst);

    return !fl_collector_sleeps(state) || state == FL_COLLECTOR_DOZING;
}

#endif
