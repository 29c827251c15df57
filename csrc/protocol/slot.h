/* The life of a slot.
 *
 * A slot's word holds generation (bits 32-63), owner (bits 8-23, the worker's
 * index + 1, 0 is nobody) and state (bits 0-7). Every change is one atomic
 * step, so whoever dies between any two instructions leaves a word that says
 * what the slot is and whose it was; nothing is ever locked.
 *
 *   from         to             by       how            order
 *   free         ready          parent   store          release: the payload was written
 *                                                       before it; the ring's entry
 *                                                       follows, seq_cst
 *   ready        running(w)     worker w compare-swap   acquire: pairs with publish, the
 *                                                       payload is read after it; release:
 *                                                       w's block says which slot before it
 *   ready        free           parent   compare-swap   cancel: relaxed, nothing is read
 *   running(w)   done(w)        worker w compare-swap   release: pairs with fl_slot_look;
 *                                                       the reply was written before it
 *   running(w)   condemned(w)   parent   compare-swap   acq_rel: a reply that was
 *                                                       finished first is kept
 *   done         free           parent   store          relaxed: the next publish orders
 *   running(w)   ready          parent   store          after w's death, if the task had not
 *                                                       begun: as any publish
 *   condemned    free           parent   store          after w's death: until then it may
 *                                                       still write the reply
 *
 * The generation is raised with every publish. It makes a claim through a
 * stale ring entry fail, and it wraps after 2^32 lives of one slot, while an
 * entry survives at most one lap of the ring.
 *
 * Who may call: fl_slot_publish, cancel, condemn, release: the parent, under
 * the interpreter's lock. fl_slot_claim, finish: worker w. fl_slot_look:
 * anybody. All are async-signal-safe and block on nothing.
 */
#ifndef FL_SLOT_H
#define FL_SLOT_H

#include "layout.h"

/* A worker's exit codes besides 0: cannot serve (3), interrupted (130), and this one:
 * a task has closed the pool's descriptors. What such a worker has claimed and not
 * begun (started_ns is 0), the parent publishes again at its burial. */
#define FL_EXIT_DESCRIPTORS 121

enum fl_state { FL_FREE, FL_READY, FL_RUNNING, FL_DONE, FL_CONDEMNED };

static inline uint64_t fl_slot_word(uint32_t generation, uint32_t owner, enum fl_state state)
{
    return (uint64_t)generation << 32 | (uint64_t)(owner & 0xffff) << 8 | (uint64_t)state;
}

static inline uint32_t fl_word_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
static inline uint32_t fl_word_owner(uint64_t word)
{
    return (uint32_t)(word >> 8) & 0xffff;
}
static inline uint32_t fl_word_state(uint64_t word)
{
    return (uint32_t)word & 0xff;
}

/* What the slot is now. Acquire pairs with fl_slot_finish: who sees DONE sees
 * the reply. */
static inline uint64_t fl_slot_look(struct fl_slot *s)
{
    return atomic_load_explicit(&s->word, memory_order_acquire);
}

/* Parent, while a worker runs it: when the task itself began, or 0. */
static inline uint64_t fl_slot_began(const struct fl_slot *s)
{
    return __atomic_load_n(&s->started_ns, __ATOMIC_RELAXED);
}

/* Parent: the payload is in place, the slot may be claimed from now on. */
static inline void fl_slot_publish(struct fl_slot *s, uint32_t generation)
{
    atomic_store_explicit(&s->word, fl_slot_word(generation, 0, FL_READY), memory_order_release);
}

static inline bool fl_slot_step(struct fl_slot *s, uint64_t from, uint64_t to, memory_order order)
{
    return atomic_compare_exchange_strong_explicit(&s->word, &from, to, order, memory_order_relaxed);
}

/* Worker: take the slot. False: somebody else has it, or the entry was stale. */
static inline bool fl_slot_claim(struct fl_slot *s, uint32_t generation, uint32_t worker)
{
    return fl_slot_step(s, fl_slot_word(generation, 0, FL_READY), fl_slot_word(generation, worker + 1, FL_RUNNING),
                        memory_order_acq_rel);
}

/* Worker: the reply is in place. False: the parent condemned the task, this
 * worker is about to be killed and must not touch the slot again. */
static inline bool fl_slot_finish(struct fl_slot *s, uint32_t generation, uint32_t worker)
{
    return fl_slot_step(s, fl_slot_word(generation, worker + 1, FL_RUNNING),
                        fl_slot_word(generation, worker + 1, FL_DONE), memory_order_release);
}

/* Parent: take back a task that nobody has claimed. False: too late. */
static inline bool fl_slot_cancel(struct fl_slot *s, uint32_t generation)
{
    return fl_slot_step(s, fl_slot_word(generation, 0, FL_READY), fl_slot_word(generation, 0, FL_FREE),
                        memory_order_relaxed);
}

/* Parent: end a task that runs, before its worker is killed or because it
 * died. False: it finished first (its result counts) or it is not running on
 * that worker. */
static inline bool fl_slot_condemn(struct fl_slot *s, uint32_t generation, uint32_t worker)
{
    return fl_slot_step(s, fl_slot_word(generation, worker + 1, FL_RUNNING),
                        fl_slot_word(generation, worker + 1, FL_CONDEMNED), memory_order_acq_rel);
}

/* Parent: reply read or given up; the slot is free. */
static inline void fl_slot_release(struct fl_slot *s, uint32_t generation)
{
    atomic_store_explicit(&s->word, fl_slot_word(generation, 0, FL_FREE), memory_order_relaxed);
}

/* Completion flags: one bit a slot, set by the worker after finish, taken by
 * the parent. A flag may be spurious (the parent saw DONE in the word and has
 * freed or even reused the slot since); it is never missing: the parent takes
 * the bit before it looks at the word, the worker changes the word before it
 * sets the bit. Both are seq_cst: the worker's store also pairs with its look
 * at the collector, and at who watches [pair: flag or asleep] [pair: flag or watched]. */
static inline void fl_flag_set(struct fl_region *r, uint32_t slot)
{
    atomic_fetch_or_explicit(&r->flags[slot / 64], UINT64_C(1) << (slot % 64), memory_order_seq_cst);
}

/* A bit beyond the last slot was set by nobody of ours: it is dropped, so that
 * every bit given back is the number of a slot. */
static inline uint64_t fl_flags_take(struct fl_region *r, uint32_t index)
{
    uint32_t last = r->plan.slots - index * 64;
    uint64_t slots = last < 64 ? (UINT64_C(1) << last) - 1 : UINT64_MAX;

    if (!atomic_load_explicit(&r->flags[index], memory_order_seq_cst))
        return 0;
    return atomic_exchange_explicit(&r->flags[index], 0, memory_order_seq_cst) & slots;
}

static inline bool fl_flags_any(struct fl_region *r)
{
    uint32_t i;

    for (i = 0; i < r->flag_words; i++)
        if (atomic_load_explicit(&r->flags[i], memory_order_seq_cst))
            return true;
    return false;
}

#endif
