/* Deadlines: which tasks run longer than they may, and when to look next.
 *
 * A task's time counts from when it began; the worker writes that into the slot
 * and rings nobody. So the supervisor looks: fl_deadlines_begin, fl_deadlines_see
 * for each task with a limit, fl_deadlines_next. It need not look at a task before
 * that can be overdue:
 *
 *   it runs            began + limit
 *   it has not begun   now + limit at the earliest, however soon it begins
 *   it is not held     (it waits in the queue, or was published behind this look)
 *                      as well, by the shortest limit there is
 *
 * and not more often than FL_LEAST_LOOK_NS for those. So nobody is overdue for
 * longer than that, and no look is more than one pass over the slots.
 *
 * When a task began its slot says, and any task can write there. A time before it
 * was submitted, or one that is still to come, nobody of ours wrote: it counts from
 * when that was first seen, which is kept where no task can write. A forged
 * time between the two can end a task early, or late by what had passed: no
 * more than its own worker, which it could overwrite as well, could do.
 *
 * All of it under the lock; blocks on nothing.
 */
#ifndef FL_DEADLINES_H
#define FL_DEADLINES_H

#include "slots.h"

#define FL_LEAST_LOOK_NS 20000000u /* not more often is it looked for tasks past their limit */

/* One look. */
struct fl_deadlines {
    uint64_t now;
    uint64_t next;     /* when to look again, 0: never */
    uint64_t seen;     /* tasks with a limit that were seen, and not overdue */
};

/* What the parent knows of a task with a limit. */
struct fl_limit {
    uint64_t limit_ns, submitted_ns;
    uint64_t began_ns; /* as far as it was seen, 0: not */
};

static inline void fl_deadlines_sooner(struct fl_deadlines *d, uint64_t due)
{
    if (!d->next || due < d->next)
        d->next = due;
}

/* The earliest time at which what has not begun can be overdue. */
static inline uint64_t fl_deadline_after(uint64_t now, uint64_t limit_ns)
{
    return now + (limit_ns > FL_LEAST_LOOK_NS ? limit_ns : FL_LEAST_LOOK_NS);
}

static inline struct fl_deadlines fl_deadlines_begin(uint64_t now)
{
    return (struct fl_deadlines){.now = now};
}

/* A held slot whose task has a limit. True: it is overdue, since limit->began_ns. */
static inline bool fl_deadlines_see(struct fl_deadlines *d, const struct fl_parent *p, uint32_t slot,
                                    struct fl_limit *limit)
{
    struct fl_slot *s = fl_slot_at(p->region, slot);
    uint32_t state = fl_word_state(fl_slot_look(s));
    uint64_t began = fl_slot_began(s);

    d->seen++;
    if (state == FL_DONE)
        return false;
    if (!began)
        began = limit->began_ns;
    if (state != FL_RUNNING || !began) {
        fl_deadlines_sooner(d, fl_deadline_after(d->now, limit->limit_ns));
        return false;
    }
    if (began > d->now || began < limit->submitted_ns) /* nobody of ours wrote that */
        began = limit->began_ns = limit->began_ns ? limit->began_ns : d->now;
    if (began + limit->limit_ns > d->now) {
        fl_deadlines_sooner(d, began + limit->limit_ns);
        return false;
    }
    d->seen--;
    limit->began_ns = began;
    return true;
}

/* When to look again, if `unfinished` tasks have a limit, the shortest `least_ns`. */
static inline uint64_t fl_deadlines_next(struct fl_deadlines *d, uint64_t unfinished, uint64_t least_ns)
{
    if (d->seen < unfinished)
        fl_deadlines_sooner(d, fl_deadline_after(d->now, least_ns));
    return d->next;
}

#endif
