/* Slots as the parent sees them: who has each, and whether to believe its word.
 *
 *   fl_slots_next, take     the free slot that was used last: its memory is warm
 *   fl_slots_publish        the request stands in it: workers may claim it
 *   fl_slots_look           has its task ended?
 *   fl_slots_cancel         take it back, if nobody has claimed it
 *   fl_slots_condemn        end its task, which runs; its worker is to be killed
 *   fl_slots_release        it is free again
 *
 * By the parent's own record a slot is in one place at a time:
 *
 *   free         on the stack                        held NULL, condemned 0
 *   taken        a submitter writes its request      held NULL, condemned 0
 *   held         published, its task not ended       held set,  condemned 0
 *   condemned    its task has ended, its worker may  held NULL, condemned w + 1
 *                still write there: until w's burial
 *
 * Words are not believed: any task can write there. Of a slot that is held a word
 * of ours has the record's generation, and is READY and nobody's, or RUNNING or DONE
 * of a worker that is not buried (fl_slots_valid). Why an honest word is never
 * refused: the generation changes only here, under the lock; nobody but the parent
 * makes a slot of that generation ready; a claim names a worker that runs, and the
 * seat of one that has died stays taken until it is buried.
 *
 * A RUNNING word that another wrote names a worker that knows nothing of it
 * (fl_slots_forged). The worker says which slot in its block, then claims it; it
 * finishes the slot, then takes that back [pair: block or word]. The parent loads the
 * word, then the block, then the word again: a worker whose block does not name the
 * slot has not claimed it yet, or has finished it; the word that said RUNNING
 * before and still says so is not its.
 *
 * All of it under the lock.
 */
#ifndef FL_SLOTS_H
#define FL_SLOTS_H

#include "parent.h"

/* The slot that fl_slots_take will give, if there is one. */
static inline uint32_t fl_slots_next(const struct fl_parent *p)
{
    return p->free[p->free_count - 1];
}

static inline uint32_t fl_slots_take(struct fl_parent *p)
{
    return p->free[--p->free_count];
}

/* Its task has ended, or it never had one. */
static inline void fl_slots_release(struct fl_parent *p, uint32_t slot)
{
    fl_slot_release(fl_slot_at(p->region, slot), p->generations[slot]);
    p->free[p->free_count++] = slot;
}

/* `task` is what the caller knows of it, and not NULL. What stands in the request,
 * and a reply kind that is none (a word that is made to say DONE is no reply),
 * was written before. */
static inline void fl_slots_publish(struct fl_parent *p, uint32_t slot, void *task)
{
    p->held[slot] = task;
    fl_ring_publish(p->region, slot, p->generations);
}

/* Is there a worker of this index + 1 that is not buried? */
static inline bool fl_slots_lives(const struct fl_parent *p, uint32_t owner)
{
    return owner && owner <= p->region->plan.workers && p->seats[owner - 1].taken;
}

/* Can a slot that is held have this word? */
static inline bool fl_slots_valid(const struct fl_parent *p, uint32_t slot, uint64_t word)
{
    uint32_t owner = fl_word_owner(word), state = fl_word_state(word);

    if (fl_word_generation(word) != p->generations[slot])
        return false;
    if (state == FL_READY)
        return owner == 0;
    return (state == FL_RUNNING || state == FL_DONE) && fl_slots_lives(p, owner);
}

static inline uint64_t fl_slots_claimed_by(const struct fl_parent *p, uint32_t worker)
{
    return atomic_load_explicit(&p->region->blocks[worker].slot, memory_order_seq_cst);
}

/* Does a valid word name a worker that knows nothing of it?
 * The block after the word, then the word once more [pair: block or word]. */
static inline bool fl_slots_forged(const struct fl_parent *p, uint32_t slot, uint64_t word)
{
    if (fl_word_state(word) != FL_RUNNING || fl_slots_claimed_by(p, fl_word_owner(word) - 1) == slot + 1)
        return false;
    return fl_slot_look(fl_slot_at(p->region, slot)) == word; /* else it has just ended */
}

/* Index + 1 of the worker that runs the task of a corrupted slot, 0 if nobody
 * does. Who says so itself is believed first; the word only if the worker that it
 * names is not busy with another slot. */
static inline uint32_t fl_slots_runner(const struct fl_parent *p, uint32_t slot, uint64_t word)
{
    uint32_t i, owner = fl_word_owner(word);

    for (i = 0; i < p->region->plan.workers; i++)
        if (p->seats[i].taken && fl_slots_claimed_by(p, i) == slot + 1)
            return i + 1;
    return fl_slots_lives(p, owner) && !fl_slots_claimed_by(p, owner - 1) ? owner : 0;
}

enum fl_outlook { FL_NOT_YET, FL_ENDED, FL_CORRUPTED };

/* A slot that is held: has its task ended? ENDED: the reply may be loaded. */
static inline enum fl_outlook fl_slots_look(const struct fl_parent *p, uint32_t slot, uint64_t *word)
{
    *word = fl_slot_look(fl_slot_at(p->region, slot));
    if (!fl_slots_valid(p, slot, *word))
        return FL_CORRUPTED;
    return fl_word_state(*word) == FL_DONE ? FL_ENDED : FL_NOT_YET;
}

/* True: nobody has its task; the caller releases the slot. */
static inline bool fl_slots_cancel(struct fl_parent *p, uint32_t slot)
{
    if (!fl_slot_cancel(fl_slot_at(p->region, slot), p->generations[slot]))
        return false;
    p->held[slot] = NULL;
    return true;
}

/* True: its task has ended here, and `worker`, which ran it, is to be killed. The
 * slot is given back when that is buried. False: it does not run, or no worker
 * runs it who says so: then the word is forged, and the next look says so. */
static inline bool fl_slots_condemn(struct fl_parent *p, uint32_t slot, uint32_t *worker)
{
    struct fl_slot *s = fl_slot_at(p->region, slot);
    uint64_t word = fl_slot_look(s);

    *worker = fl_word_owner(word) - 1;
    if (fl_word_state(word) != FL_RUNNING || !fl_slots_valid(p, slot, word) || fl_slots_forged(p, slot, word) ||
        !fl_slot_condemn(s, p->generations[slot], *worker))
        return false;
    p->condemned[slot] = (uint16_t)(*worker + 1);
    p->held[slot] = NULL;
    return true;
}

/* A corrupted slot, whose task has ended and which this living worker may still
 * write to. Stored over whatever stands there. */
static inline void fl_slots_condemn_corrupted(struct fl_parent *p, uint32_t slot, uint32_t worker)
{
    atomic_store(&fl_slot_at(p->region, slot)->word, fl_slot_word(p->generations[slot], worker + 1, FL_CONDEMNED));
    p->condemned[slot] = (uint16_t)(worker + 1);
}

#endif
