/* Published slots, in the order in which they were published.
 *
 * One publisher (the parent, under the interpreter's lock), many claimers
 * (the workers). Positions count from ring_size up and never come back; the
 * entry of a position is ring[position & mask].
 *
 *   entry = generation (32) | lap (16) | slot (16),  lap = position / size
 *
 * The lap tells a claimer whether a position is published already: an entry
 * of the lap before is not, an entry of a later lap means that the claimer's
 * own position is long past, and it starts again from the head. Its 16 bits
 * lie to a cursor that is 65535 laps behind (a worker that slept through them):
 * what they show looks like the lap before. So nothing counts as empty before
 * the head; and a cursor 65536 laps behind only tries a claim that fails.
 *
 * Nothing is lost: an entry is written once its slot is ready; claimers pass
 * a position only after they saw its slot not ready in that generation, or
 * took it; and a slot that is not ready in a generation never becomes ready
 * in that generation again. So every ready slot lies at or after the head,
 * whoever dies between claiming a slot and moving the head.
 *
 * Nothing is claimed twice: the claim is the compare-and-swap on the slot's
 * word; the ring only says where to try.
 *
 * It cannot overflow: at most `slots` entries are live, the ring has four
 * times as many, and fl_ring_publish repacks before it would be half full of
 * stale ones: live entries before the newest are published again, in order,
 * under a new generation, which makes their old entries stale.
 *
 * Order: entries are stored and loaded seq_cst, because a publisher stores an
 * entry and then looks who sleeps, and a worker says that it sleeps and then
 * looks at the entries (doorbell.h). Seeing the entry also means seeing the
 * payload. The head is a hint, relaxed.
 *
 * What if a task writes over it? Entries and tail are the parent's, workers map
 * them read-only. A head that is too low costs looks at entries that are stale.
 * One past the tail, or past ready slots, would hide these: workers compare it
 * with the tail before they sleep and where entries make no sense (fl_ring_find),
 * and the parent sees to it that each ready slot stands behind the head
 * (fl_ring_mend), also when its entry is gone with a hole in the file.
 */
#ifndef FL_RING_H
#define FL_RING_H

#include "slot.h"

static inline uint64_t fl_ring_entry(const struct fl_region *r, uint64_t position, uint32_t slot, uint32_t generation)
{
    uint64_t lap = position / r->plan.ring_size & 0xffff;

    return (uint64_t)generation << 32 | lap << 16 | (slot & 0xffff);
}

/* Parent, once: an empty ring. Lap 0 is never published, so that a ring of
 * zeros is empty. */
static inline void fl_ring_clear(struct fl_region *r)
{
    atomic_store(&r->notices->ring_head, r->plan.ring_size);
    atomic_store(&r->header->ring_tail, r->plan.ring_size);
}

static inline uint64_t fl_ring_head(struct fl_region *r)
{
    return atomic_load_explicit(&r->notices->ring_head, memory_order_relaxed);
}

/* Anybody: everything before `position` is claimed or stale. */
static inline void fl_ring_pass(struct fl_region *r, uint64_t position)
{
    uint64_t head = fl_ring_head(r);

    while (head < position && !atomic_compare_exchange_weak_explicit(&r->notices->ring_head, &head, position,
                                                                     memory_order_relaxed, memory_order_relaxed))
        ;
}

enum fl_probe { FL_PUBLISHED, FL_EMPTY, FL_PASSED };

/* Anybody: what stands at a position. */
static inline enum fl_probe fl_ring_probe(struct fl_region *r, uint64_t position, uint64_t *entry)
{
    uint64_t lap = position / r->plan.ring_size;

    *entry = atomic_load_explicit(&r->ring[position & r->ring_mask], memory_order_seq_cst);
    if ((*entry >> 16 & 0xffff) == (lap & 0xffff))
        return *entry ? FL_PUBLISHED : FL_PASSED; /* zeros: nobody published that, or the parent lists it again */
    return (*entry >> 16 & 0xffff) == ((lap - 1) & 0xffff) ? FL_EMPTY : FL_PASSED;
}

/* Worker: no position past the tail was ever published, so whatever says so was
 * written over; start again from the oldest that may be live. Acquire: an honest
 * cursor or head is never seen past the tail (and if it were, the looks at entries
 * that are stale would be all the harm). False: there is no ring any more. */
static inline bool fl_ring_find(struct fl_region *r, uint64_t *cursor)
{
    uint64_t head = fl_ring_head(r);
    uint64_t tail = atomic_load_explicit(&r->header->ring_tail, memory_order_acquire);
    uint64_t oldest = tail - r->plan.ring_size;

    if (tail < r->plan.ring_size)
        return false;
    if (head > tail)
        atomic_compare_exchange_strong_explicit(&r->notices->ring_head, &head, oldest, memory_order_relaxed,
                                                memory_order_relaxed);
    if (*cursor > tail || *cursor < oldest)
        *cursor = oldest;
    return true;
}

/* Worker: the entry at the cursor is of a later lap, or of none. The cursor moves
 * on: to the head, or over an entry that is destroyed. False: nothing is left. */
static inline bool fl_ring_skip(struct fl_region *r, uint64_t *cursor)
{
    uint64_t before = *cursor, head;

    if (!fl_ring_find(r, cursor))
        return false;
    head = fl_ring_head(r);
    if (head > *cursor)
        *cursor = head;
    if (*cursor >= atomic_load_explicit(&r->header->ring_tail, memory_order_acquire))
        return false;
    if (*cursor == before)
        ++*cursor;
    return true;
}

/* The tail goes first: a parent thread that looks at it after a seq_cst store
 * of its own (the collector, when it stops its ticks) pairs with the entry's
 * store, and must not find the tail of before [pair: published or timed]. The
 * entry is seq_cst for those who look at it after they said that they sleep, or
 * work [pair: published or asleep] [pair: published or busy]. */
static inline void fl_ring_append(struct fl_region *r, uint32_t slot, uint32_t generation)
{
    uint64_t tail = atomic_load_explicit(&r->header->ring_tail, memory_order_relaxed);

    atomic_store_explicit(&r->header->ring_tail, tail + 1, memory_order_relaxed);
    atomic_store_explicit(&r->ring[tail & r->ring_mask], fl_ring_entry(r, tail, slot, generation),
                          memory_order_seq_cst);
}

/* Parent: entries from head to tail whose slot is no longer ready are
 * dropped; with `move`, live ones go to the end of the ring under the
 * generation after theirs, which is also written to generations[slot].
 * Without `move` it is any thread's, beside the publisher: one that sees the
 * tail before the entry stops there.
 * The head and the entries are not believed, any worker may have written over
 * them: a head that lies out of the ring costs one look at each entry, one past the
 * tail is taken back, and an entry that names no slot is no live one. (Even from a
 * whole lap behind the tail an append overwrites only what this loop has looked at.) */
static inline void fl_ring_repack(struct fl_region *r, uint32_t *generations, bool move)
{
    uint64_t position = fl_ring_head(r);
    uint64_t tail = atomic_load_explicit(&r->header->ring_tail, memory_order_relaxed);

    if (tail - position > r->plan.ring_size) {
        uint64_t oldest = tail - r->plan.ring_size;

        if (position > tail)
            atomic_compare_exchange_strong_explicit(&r->notices->ring_head, &position, oldest, memory_order_relaxed,
                                                    memory_order_relaxed);
        position = oldest;
    }
    for (; position < tail; position++) {
        uint64_t entry;
        enum fl_probe probe = fl_ring_probe(r, position, &entry);
        uint32_t slot = (uint32_t)entry & 0xffff, generation = (uint32_t)(entry >> 32);
        struct fl_slot *s = fl_slot_at(r, slot);

        if (probe == FL_EMPTY && !move)
            break;
        if (probe != FL_PUBLISHED || slot >= r->plan.slots || fl_slot_look(s) != fl_slot_word(generation, 0, FL_READY))
            continue;
        if (!move)
            break;
        if (!fl_slot_step(s, fl_slot_word(generation, 0, FL_READY), fl_slot_word(generation + 1, 0, FL_READY),
                          memory_order_acq_rel))
            continue;
        generations[slot] = generation + 1;
        fl_ring_append(r, slot, generation + 1);
    }
    fl_ring_pass(r, position);
}

/* Parent: make a slot, whose payload is in place, claimable.
 * `generations` is the parent's own record of each slot's generation. */
static inline void fl_ring_publish(struct fl_region *r, uint32_t slot, uint32_t *generations)
{
    uint64_t tail = atomic_load_explicit(&r->header->ring_tail, memory_order_relaxed);
    uint32_t half = r->plan.ring_size / 2;

    if (tail - fl_ring_head(r) >= half) {
        fl_ring_repack(r, generations, false);
        if (tail - fl_ring_head(r) >= half)
            fl_ring_repack(r, generations, true);
    }
    generations[slot]++;
    fl_slot_publish(fl_slot_at(r, slot), generations[slot]);
    fl_ring_append(r, slot, generations[slot]);
}

/* Parent: which slots are listed, from the head on, as ready? False: an entry
 * there is none that the parent wrote, or the head is past the tail. */
static inline bool fl_ring_list(struct fl_region *r, uint64_t listed[FL_MAX_SLOTS / 64])
{
    uint64_t position = fl_ring_head(r);
    uint64_t tail = atomic_load_explicit(&r->header->ring_tail, memory_order_relaxed);
    bool whole = position <= tail;

    memset(listed, 0, FL_MAX_SLOTS / 8);
    if (tail - position > r->plan.ring_size)
        position = tail - r->plan.ring_size;
    for (; position < tail; position++) {
        uint64_t entry;
        uint32_t slot;

        if (fl_ring_probe(r, position, &entry) != FL_PUBLISHED) {
            whole = false;
            continue;
        }
        slot = (uint32_t)entry & 0xffff;
        if (slot < r->plan.slots &&
            fl_slot_look(fl_slot_at(r, slot)) == fl_slot_word((uint32_t)(entry >> 32), 0, FL_READY))
            listed[slot / 64] |= UINT64_C(1) << slot % 64;
    }
    return whole;
}

/* Parent, as the publisher: a ready slot that is not listed would never be
 * claimed. Slots whose `held` is NULL hold no task. Rebuilds the ring if one is
 * missing, by the parent's own record; true if that was so. */
static inline bool fl_ring_mend(struct fl_region *r, uint32_t *generations, void **held)
{
    uint64_t listed[FL_MAX_SLOTS / 64];
    bool whole = fl_ring_list(r, listed), moved = false;
    uint32_t slot;

    for (;;) {
        for (slot = 0; slot < r->plan.slots; slot++) {
            struct fl_slot *s = fl_slot_at(r, slot);
            uint64_t ready = fl_slot_word(generations[slot], 0, FL_READY);

            if (!held[slot] || listed[slot / 64] >> slot % 64 & 1 || fl_slot_look(s) != ready)
                continue;
            if (!moved)
                break;
            if (fl_slot_step(s, ready, fl_slot_word(generations[slot] + 1, 0, FL_READY), memory_order_acq_rel))
                fl_ring_append(r, slot, ++generations[slot]);
        }
        if (moved || (whole && slot == r->plan.slots))
            return moved;
        fl_ring_repack(r, generations, true);
        fl_ring_list(r, listed);
        moved = true;
    }
}

/* Worker: claim the oldest ready slot. `cursor` is this worker's own position,
 * before which it has seen nothing ready. Returns the slot and its generation,
 * or -1 if nothing is published. */
static inline int32_t fl_ring_claim(struct fl_region *r, uint32_t worker, uint64_t *cursor, uint32_t *generation)
{
    for (;;) {
        uint64_t entry;
        uint32_t slot;

        switch (fl_ring_probe(r, *cursor, &entry)) {
        case FL_EMPTY:
            if (fl_ring_head(r) < *cursor) {
                uint64_t before = *cursor;

                if (!fl_ring_find(r, cursor))
                    return -1;
                if (*cursor != before)
                    continue;
                fl_ring_pass(r, before);
            }
            if (fl_ring_head(r) == *cursor)
                return -1;
            *cursor = fl_ring_head(r);
            continue;
        case FL_PASSED:
            if (!fl_ring_skip(r, cursor))
                return -1;
            continue;
        case FL_PUBLISHED:
            break;
        }
        slot = (uint32_t)entry & 0xffff;
        *generation = (uint32_t)(entry >> 32);
        ++*cursor;
        if (slot < r->plan.slots && fl_slot_look(fl_slot_at(r, slot)) == fl_slot_word(*generation, 0, FL_READY)) {
            /* Said before it is done: who sees the claim sees this. Release: who
             * sees this, and no claim of the slot before, sees how that ended
             * [pair: block or word]. */
            atomic_store_explicit(&r->blocks[worker].slot, slot + 1, memory_order_release);
            if (fl_slot_claim(fl_slot_at(r, slot), *generation, worker)) {
                fl_ring_pass(r, *cursor);
                return (int32_t)slot;
            }
            atomic_store_explicit(&r->blocks[worker].slot, 0, memory_order_release);
        }
        /* Claimed by another: it has moved the head, so skip what it passed. */
        if (fl_ring_head(r) > *cursor)
            *cursor = fl_ring_head(r);
    }
}

/* Worker: is something published at or after the cursor? May say so of an
 * entry that somebody is just claiming. */
static inline bool fl_ring_pending(struct fl_region *r, uint64_t *cursor)
{
    uint64_t entry, head = fl_ring_head(r);

    if (head > *cursor)
        *cursor = head;
    switch (fl_ring_probe(r, *cursor, &entry)) {
    case FL_EMPTY:
        return false;
    case FL_PASSED:
        return fl_ring_skip(r, cursor);
    case FL_PUBLISHED:
        break;
    }
    return true;
}

/* Worker: is also the entry published that many places behind the next one? A
 * hint: those between may be claimed or stale. */
static inline bool fl_ring_longer(struct fl_region *r, uint64_t *cursor, uint64_t places)
{
    uint64_t entry;

    return fl_ring_pending(r, cursor) && fl_ring_probe(r, *cursor + places, &entry) == FL_PUBLISHED;
}

#endif
