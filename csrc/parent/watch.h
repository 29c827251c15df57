/* Watching: a thread of the parent polls until its slot, or any flag, shows
 * something.
 *
 *   fl_watch_begin     under the lock
 *   fl_watch           without it
 *   fl_watch_end       under the lock; then the caller collects
 *
 * While somebody watches, workers call no collector. A worker sets the flag,
 * then loads how many watch; a watcher stores that there is one less, then
 * loads the flags, as its caller collects [pair: flag or watched]. Both seq_cst:
 * the worker finds nobody watching and calls, or the flag is found.
 *
 * The slot alone would do for the watcher's own task. Flags of other tasks are
 * looked at too: nobody else comes for them meanwhile.
 */
#ifndef FL_WATCH_H
#define FL_WATCH_H

#include "parent.h"

/* Neither done nor, by another thread, already resolved or moved. */
static inline bool fl_under_way(uint64_t word, uint32_t generation)
{
    return fl_word_generation(word) == generation &&
           (fl_word_state(word) == FL_READY || fl_word_state(word) == FL_RUNNING);
}

static inline void fl_watch_begin(struct fl_parent *p)
{
    atomic_store(&p->region->header->watchers, ++p->watching);
}

/* Less first, then the flags [pair: flag or watched]. */
static inline void fl_watch_end(struct fl_parent *p)
{
    atomic_store(&p->region->header->watchers, --p->watching);
}

static inline bool fl_watch_slot(struct fl_slot *s, uint32_t generation)
{
    uint32_t i;

    for (i = 0; i < FL_WATCH_LOOKS; i++) {
        if (!fl_under_way(fl_slot_look(s), generation))
            return true;
        fl_pause();
    }
    return false;
}

static inline bool fl_watch_nothing(void)
{
    uint32_t i;

    for (i = 0; i < FL_WATCH_LOOKS; i++)
        fl_pause();
    return false;
}

/* Until the slot (-1: none) has left this generation's way, a flag is set, or
 * the time is over. */
static inline void fl_watch(struct fl_parent *p, int32_t slot, uint32_t generation, uint64_t until)
{
    struct fl_slot *s = slot < 0 ? NULL : fl_slot_at(p->region, (uint32_t)slot);

    do
        if (fl_flags_any(p->region) || (s ? fl_watch_slot(s, generation) : fl_watch_nothing()))
            return;
    while (fl_poll_on(&p->os, until, p->late_ns, &p->contended_until));
}

#endif
