/* The collector: one thread of the parent that sleeps until something has
 * ended, or until published work needs another worker.
 *
 *   fl_announce            something was published: ring who must be rung now
 *   fl_collector_kick      have the collector look
 *   fl_collector_wait      the collector: sleep until called
 *   fl_collect             any thread of the parent: end what has finished
 *   fl_collector_tick      the collector, each millisecond while work is published
 *                          that nobody may be coming for
 *   fl_collector_nudge     the supervisor, 20 times a second: the net under all
 *
 * Why no finished task is left lying. A worker sets the flag, then loads the
 * collector's word; the collector stores that it sleeps, then loads the flags.
 * Both seq_cst, so at least one sees the other [pair: flag or asleep]. The same
 * holds of `kicked` in the place of the flag, for threads of the parent
 * [pair: kicked or asleep]. After it woke the collector takes the eventfd's count
 * first, then clears `kicked`, then looks at the flags (its caller collects):
 * what comes later finds AWAKE or a sleep that is still to look.
 *
 * Why no published task waits for ever. Who publishes rings at most one worker
 * for each task, and nobody while somebody polls or all CPUs have one. Whatever
 * is left, the ticks bring to a sleeper, and they go on as long as `timed`:
 *   - a publisher stores the entry, then loads `timed`, and sets it if it is not
 *     (fl_announce); the collector clears it, then loads the tail once more
 *     [pair: published or timed]. So it ticks on, or the publisher has it ticked.
 *     The tail is stored before the entry: who misses the tail misses no entry.
 *   - while all workers are busy nobody can be woken or started, and the ticks
 *     stop. A worker looks at the ring before it sleeps. One that falls asleep
 *     just then is seen by the second census, or finds what was published before
 *     [pair: untimed or asleep]; for what is published later the publisher finds it asleep.
 * A publisher that sees nobody asleep and all workers started leaves it at that:
 * each of them looks at the ring before it sleeps.
 *
 * tick_head, quiet and boost are guesses about how fast tasks are claimed. Two
 * threads write them without order; a wrong value costs a tick or a wake-up.
 */
#ifndef FL_COLLECTOR_H
#define FL_COLLECTOR_H

#include "parent.h"

#define FL_TICK_MS 1                /* how often the collector looks at work that nobody claims */
#define FL_DOZE_MS 4                /* how often it looks at the flags while chunks of maps are under way */
#define FL_QUIET_TICKS 8u           /* after this many without such work it sleeps for good */
#define FL_PATIENT_TICKS 30u        /* after this many without a claim, one more is woken */
#define FL_PATIENT_START_TICKS 1000u /* the same if all who could come are starting */
#define FL_WORTH_A_WAKE_NS 50000u   /* tasks that take longer are worth waking another worker */
#define FL_MOST_BOOST 1024u         /* workers that one tick wakes */

static inline uint64_t fl_hint(fl_word *hint)
{
    return atomic_load_explicit(hint, memory_order_relaxed);
}

static inline void fl_hint_set(fl_word *hint, uint64_t value)
{
    atomic_store_explicit(hint, value, memory_order_relaxed);
}

/* Any thread of the parent: the collector shall look.
 * Kicked first, then its state [pair: kicked or asleep]. */
static inline void fl_collector_kick(struct fl_parent *p)
{
    atomic_store(&p->kicked, 1);
    fl_collector_call(p->region, &p->os);
}

/* Any thread, after it has published or when nobody claims: from now on the
 * collector looks at the ring each tick. The guesses first, for the ticks that follow. */
static inline void fl_collector_watch_ring(struct fl_parent *p)
{
    fl_hint_set(&p->tick_head, fl_ring_head(p->region));
    fl_hint_set(&p->quiet, 0);
    fl_hint_set(&p->boost, 1);
    atomic_store(&p->timed, 1);
    fl_collector_kick(p);
}

static inline bool fl_ring_a_worker(struct fl_parent *p)
{
    if (!fl_bell_ring(p->region, &p->os, 0))
        return false;
    atomic_store_explicit(&p->doorbells, fl_hint(&p->doorbells) + 1, memory_order_relaxed);
    return true;
}

/* May another worker be of use? Only if none of those there are is to be rung. */
static inline bool fl_worker_missing(const struct fl_parent *p, const struct fl_census *c)
{
    const struct fl_region *r = p->region;
    uint32_t most = r->header->cpus < r->plan.workers ? r->header->cpus : r->plan.workers;

    return !c->polling && !c->asleep && c->busy + c->called + c->starting < most;
}

/* Under the lock, after `count` tasks were published: ring who must be rung now,
 * ask for a worker if there is none to ring, and see that the collector watches
 * the rest. A ring that fails counts too: the ticks see to it.
 * Entry first, then the states and `timed` [pair: published or timed]. */
static inline void fl_announce(struct fl_parent *p, uint32_t count)
{
    struct fl_census c;

    fl_bell_count(p->region, &c);
    for (; count; count--) {
        if (fl_bell_wanted(p->region, &c))
            fl_ring_a_worker(p);
        else if (!fl_worker_missing(p, &c) || !p->ask_worker(p->pool))
            break;
        fl_bell_count(p->region, &c);
    }
    /* Whoever sleeps or is not started yet may be needed, if this takes long. */
    if ((c.asleep || p->started < p->region->plan.workers) && !atomic_load(&p->timed))
        fl_collector_watch_ring(p);
}

/* Nothing is published. After a while no ticks: cleared first, then the tail once
 * more [pair: published or timed]. */
static inline void fl_tick_quiet(struct fl_parent *p, uint64_t head, uint64_t tail)
{
    fl_hint_set(&p->boost, 1);
    fl_hint_set(&p->quiet, fl_hint(&p->quiet) + 1);
    fl_hint_set(&p->tick_head, head);
    if (fl_hint(&p->quiet) < FL_QUIET_TICKS)
        return;
    atomic_store(&p->timed, 0);
    if (atomic_load(&p->region->header->ring_tail) == tail)
        return;
    atomic_store(&p->timed, 1);
    fl_hint_set(&p->quiet, 0);
}

/* There is nobody to wake or to start. Cleared first, then the states once more
 * [pair: untimed or asleep]: who published meanwhile relied on these ticks. */
static inline void fl_tick_all_busy(struct fl_parent *p)
{
    struct fl_census c;

    atomic_store(&p->timed, 0);
    fl_bell_count(p->region, &c);
    if (c.busy < p->region->plan.workers)
        atomic_store(&p->timed, 1);
}

/* How many more shall come for what is published, given what was claimed since
 * the last tick? More each time. */
static inline int64_t fl_tick_missing(struct fl_parent *p, const struct fl_census *c, uint64_t published,
                                      uint64_t claimed)
{
    uint64_t boost = fl_hint(&p->boost);
    /* On a busy machine a start takes long, and a second one makes it longer. */
    uint32_t patience = c->called || c->asleep ? FL_PATIENT_TICKS : FL_PATIENT_START_TICKS;
    int64_t missing;

    if (claimed * FL_WORTH_A_WAKE_NS > (c->busy + c->polling) * (uint64_t)FL_TICK_MS * 1000000)
        return 0; /* those awake will get to it soon */
    p->unclaimed_ticks = claimed ? 0 : p->unclaimed_ticks + 1;
    missing = (int64_t)(boost < published ? boost : published) - (int64_t)(c->called + c->starting);
    if (missing <= 0 && p->unclaimed_ticks >= patience) {
        /* Those who were called, or start, do not come: stopped, or starved. */
        p->unclaimed_ticks = 0;
        missing = 1;
    }
    fl_hint_set(&p->boost, 2 * boost < FL_MOST_BOOST ? 2 * boost : FL_MOST_BOOST);
    return missing;
}

/* The collector: is there work that those awake will not get to soon? Then wake
 * sleepers; returns how many workers are to be started besides. */
static inline uint32_t fl_collector_tick(struct fl_parent *p)
{
    struct fl_region *r = p->region;
    uint64_t head = fl_ring_head(r), tail = atomic_load(&r->header->ring_tail), before = fl_hint(&p->tick_head);
    uint64_t claimed = head > before ? head - before : 0;
    struct fl_census c;
    int64_t missing;

    if (head < tail) { /* what was cancelled is no work */
        fl_ring_repack(r, NULL, false);
        head = fl_ring_head(r);
    }
    if (head >= tail) {
        fl_tick_quiet(p, head, tail);
        return 0;
    }
    fl_hint_set(&p->quiet, 0);
    fl_hint_set(&p->tick_head, head);
    fl_bell_count(r, &c);
    if (c.busy == r->plan.workers) {
        fl_tick_all_busy(p);
        return 0;
    }
    missing = fl_tick_missing(p, &c, tail - head, claimed);
    while (missing > 0 && fl_ring_a_worker(p))
        missing--;
    return missing > 0 ? (uint32_t)missing : 0;
}

/* How long the collector may sleep: -1 is until it is called. */
static inline int fl_collector_patience(struct fl_parent *p, int timeout_ms)
{
    if (atomic_load(&p->timed) && timeout_ms != 0)
        return FL_TICK_MS;
    if (atomic_load(&p->maps) && (timeout_ms < 0 || timeout_ms > FL_DOZE_MS))
        return FL_DOZE_MS;
    return timeout_ms;
}

/* Asleep first, then `kicked` and the flags [pair: flag or asleep] [pair: kicked or asleep].
 * In the parent's own memory too, where no task can write that it is awake. */
static inline void fl_collector_rest(struct fl_parent *p, int most_ms)
{
    atomic_store(&p->resting, 1);
    atomic_store(&p->region->notices->collector, most_ms >= 0 ? FL_COLLECTOR_DOZING : FL_COLLECTOR_ASLEEP);
    if (!atomic_load(&p->kicked) && !fl_flags_any(p->region))
        p->collector_os.rest(p->collector_os.context, most_ms);
    atomic_store(&p->resting, 0);
    atomic_exchange(&p->region->notices->collector, FL_COLLECTOR_AWAKE);
}

/* The collector, without the lock: sleep until called, for `timeout_ms`
 * at most (-1: for ever); then the caller collects. Returns how many workers
 * are to be started. */
static inline uint32_t fl_collector_wait(struct fl_parent *p, int timeout_ms)
{
    for (;;) {
        uint32_t missing = 0;

        fl_collector_rest(p, fl_collector_patience(p, timeout_ms));
        if (!p->collector_os.take_calls(p->collector_os.context))
            return 0;
        if (atomic_load(&p->timed))
            missing = fl_collector_tick(p);
        if (atomic_load(&p->kicked) || fl_flags_any(p->region) || missing || timeout_ms >= 0) {
            atomic_store(&p->kicked, 0);
            return missing;
        }
    }
}

/* Under the lock, whoever it is that collects: `finish` is called for each slot
 * whose flag is set. If it returns -1 this is cut short, and returns -1: the
 * flags that are left are set again, and the collector sees to them. */
static inline int fl_collect(struct fl_parent *p, int (*finish)(void *pool, uint32_t slot))
{
    uint32_t i;
    uint64_t bits;

    for (i = 0; i < p->region->flag_words; i++)
        for (bits = fl_flags_take(p->region, i); bits; bits &= bits - 1) {
            if (finish(p->pool, i * 64 + (uint32_t)__builtin_ctzll(bits)) == 0)
                continue;
            while (bits &= bits - 1)
                fl_flag_set(p->region, i * 64 + (uint32_t)__builtin_ctzll(bits));
            fl_collector_kick(p);
            return -1;
        }
    return 0;
}

/* The supervisor, now and then: whoever called the collector may have been
 * stopped or killed before it wrote the eventfd, and its word written over. */
static inline void fl_collector_nudge(struct fl_parent *p)
{
    if (atomic_load(&p->resting) && (atomic_load(&p->kicked) || fl_flags_any(p->region)))
        p->os.ring_collector(p->os.context);
}

/* Under the lock: chunks of maps that have begun, or ended. While there are any,
 * workers may leave it to the collector to look. */
static inline void fl_collector_maps(struct fl_parent *p, int32_t more)
{
    atomic_store(&p->maps, atomic_load(&p->maps) + (uint64_t)(int64_t)more);
}

#endif
