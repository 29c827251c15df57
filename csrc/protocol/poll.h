/* Polling: many looks between two looks at the clock, and a CPU given back to
 * whoever waits for it.
 *
 * Workers poll the ring, parent threads a slot and the flags: both with this,
 * so that both give way by the same rule. A poller that gave way and came back
 * late shares its CPU with other work: for a while it had better sleep, because
 * a wake-up gets it a CPU at once and a yield does not. Its own thread alone
 * reads and writes `contended_until` (in the parent: under the interpreter's
 * lock, or as the only one that polls; it is a hint, and relaxed).
 *
 * Any thread; blocks on nothing.
 */
#ifndef FL_POLL_H
#define FL_POLL_H

#include "doorbell.h"

#define FL_CONTENDED_NS 20000000u /* for so long a thread that has lost its CPU does not poll */

/* How many looks a worker, or a watching thread, takes between two looks at the clock. */
#ifndef FL_POLL_LOOKS
#define FL_POLL_LOOKS 32u
#endif
#ifndef FL_WATCH_LOOKS
#define FL_WATCH_LOOKS 16u
#endif

/* Has whoever polls lost its CPU so recently that it had better sleep? */
static inline bool fl_poll_contended(fl_word *contended_until, uint64_t now)
{
    return now < atomic_load_explicit(contended_until, memory_order_relaxed);
}

/* Between two rounds of looks: give way to whoever waits for this very CPU.
 * False: the time is over, or the CPU came back more than `late_ns` later (0:
 * that does not matter). */
static inline bool fl_poll_on(const struct fl_os *os, uint64_t until, uint64_t late_ns, fl_word *contended_until)
{
    uint64_t before = os->now(os->context), now;

    if (before >= until)
        return false;
    os->give_way(os->context);
    now = os->now(os->context);
    if (!late_ns || now - before <= late_ns)
        return true;
    atomic_store_explicit(contended_until, now + FL_CONTENDED_NS, memory_order_relaxed);
    return false;
}

#endif
