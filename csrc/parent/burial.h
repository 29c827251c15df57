/* The burial of a worker: what becomes of the slots that it had.
 *
 *   fl_burial_dead          its process is dead, and not yet reaped
 *   fl_burial_judge         a verdict for each slot, once
 *   fl_burial_condemned     the slots that were waiting for this burial, one by one
 *   fl_burial_end           its seat is free; calls that it left unsignalled are made
 *
 * in this order, the last three by the collector's thread under the lock. The
 * caller does what a verdict says before it asks for the next.
 *
 * Why each task gets one verdict. A worker dies between two steps, and its words
 * stay as they were: what it has not claimed is READY and another's, what it has
 * finished is DONE and counts, and what is RUNNING under its name it runs no more.
 * Its index has no other worker until fl_burial_end (the seat stays taken), so no
 * word of that name is anybody else's; and a worker that is dead changes none, so
 * the verdict does not age.
 *
 * Why a condemned slot waits for the burial. Its worker may write into the reply
 * until it is dead. Who had it stands in the parent's own record: the slot's
 * word may say anything by now.
 *
 * Why no call is lost. Who calls a sleeper stores CALLED with its own name,
 * then signals. If it dies between the two, the sleeper would not be called again
 * by anybody: the name in the word says so, and the parent signals in its place
 * [pair: called by the dead]. A second signal is harmless.
 */
#ifndef FL_BURIAL_H
#define FL_BURIAL_H

#include "slots.h"

enum fl_verdict {
    FL_NOT_ITS,    /* nothing to be done */
    FL_WILD,       /* the word is none of ours: the slot is corrupted */
    FL_KEPT,       /* it finished that: the reply counts */
    FL_AGAIN,      /* it had not begun: published once more, here */
    FL_CRASHED     /* it died with that: condemned, the caller ends the task and the slot */
};

/* How it died. */
struct fl_death {
    uint32_t worker;
    bool suspicious; /* by abort(): memory may have been written over, so all claims are checked */
    bool blameless;  /* it left because of a task before this one: what it has not begun is for others */
};

/* By whoever reaps, before: nobody signals it from now on [pair: pid or reaped]. */
static inline void fl_burial_dead(struct fl_parent *p, uint32_t worker)
{
    atomic_store(&p->region->states[worker], fl_state_word(FL_GONE, 0, 0));
    atomic_store(&p->region->pids[worker], 0);
    p->seats[worker].ended = true;
}

/* Of a slot that is held, and its word. */
static inline enum fl_verdict fl_burial_judge(struct fl_parent *p, const struct fl_death *d, uint32_t slot,
                                              uint64_t *word)
{
    struct fl_slot *s = fl_slot_at(p->region, slot);
    bool its;

    *word = fl_slot_look(s);
    its = fl_word_owner(*word) == d->worker + 1;
    if (!fl_slots_valid(p, slot, *word) || ((its || d->suspicious) && fl_slots_forged(p, slot, *word)))
        return FL_WILD;
    if (!its)
        return FL_NOT_ITS;
    if (fl_word_state(*word) == FL_DONE)
        return FL_KEPT;
    if (d->blameless && !fl_slot_began(s)) {
        fl_ring_publish(p->region, slot, p->generations);
        return FL_AGAIN;
    }
    fl_slot_condemn(s, p->generations[slot], d->worker);
    return FL_CRASHED;
}

/* Is any slot waiting for this burial? Then its task was ended by us. */
static inline bool fl_burial_expected(const struct fl_parent *p, uint32_t worker)
{
    uint32_t slot;

    for (slot = 0; slot < p->region->plan.slots; slot++)
        if (p->condemned[slot] == worker + 1)
            return true;
    return false;
}

/* The next slot from `from` on that has waited for this burial, or -1. The
 * caller releases it. */
static inline int32_t fl_burial_condemned(struct fl_parent *p, uint32_t worker, uint32_t from)
{
    for (; from < p->region->plan.slots; from++)
        if (p->condemned[from] == worker + 1) {
            p->condemned[from] = 0;
            return (int32_t)from;
        }
    return -1;
}

/* Signal in the dead one's place whom it called [pair: called by the dead]. */
static inline void fl_burial_ring_orphans(struct fl_parent *p, uint32_t worker)
{
    int32_t orphan;

    for (orphan = fl_bell_orphans(p->region, 0, worker + 1); orphan >= 0;
         orphan = fl_bell_orphans(p->region, (uint32_t)orphan + 1, worker + 1))
        p->os.ring_worker(p->os.context, (uint32_t)orphan);
}

/* Nothing is left of it: another worker may be started in its place. */
static inline void fl_burial_end(struct fl_parent *p, uint32_t worker)
{
    fl_seat_clear(&p->seats[worker]);
    memset(&p->region->blocks[worker], 0, sizeof p->region->blocks[worker]);
    atomic_store(&p->region->orders[worker], FL_ORDER_NONE);
    p->started--;
    fl_burial_ring_orphans(p, worker);
}

#endif
