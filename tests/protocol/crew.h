/* Workers and a parent on one region: the worker's loop (csrc/worker/worker.c)
 * without what a worker does besides, and the parent's half (csrc/parent).
 * test_doorbell.c runs them as threads, test_steps.c as participants that it
 * stops between any two steps. test_loop.c has the parent only, beside the
 * workers' real loop. */
#ifndef CREW_H
#define CREW_H

#include "check.h"
#include "parent/burial.h"
#include "parent/collector.h"
#include "parent/slots.h"
#include "parent/watch.h"

#ifndef CREW_SLOTS
#define CREW_SLOTS 16u
#endif
#define MOST_WORKERS 8u

struct crew;

struct seat {
    struct crew *crew;
    struct fl_os os;
    uint32_t index;
    uint64_t cursor;
    fl_word contended_until;
    uint64_t relays;
};

struct crew {
    struct fl_region region;
    struct seat seats[MOST_WORKERS];
    struct fl_parent parent;
    uint32_t generations[CREW_SLOTS], free[CREW_SLOTS];
    void *held[CREW_SLOTS];
    uint16_t condemned[CREW_SLOTS];
    struct fl_seat places[MOST_WORKERS];
    /* Run a task: finish and flag are the loop's. */
    void (*run)(struct seat *seat, uint32_t slot);
};

static inline void finish_task(struct seat *seat, uint32_t slot, uint32_t generation)
{
    struct fl_region *r = &seat->crew->region;

    seat->crew->run(seat, slot);
    if (fl_slot_finish(fl_slot_at(r, slot), generation, seat->index))
        fl_flag_set(r, slot);
    atomic_store_explicit(&r->blocks[seat->index].slot, 0, memory_order_release);
}

static inline void wait_for_work(struct seat *seat)
{
    struct fl_region *r = &seat->crew->region;

    if (fl_bell_may_poll(r, seat->index)) {
        uint64_t until = seat->os.now(seat->os.context) + r->header->spin_ns;

        atomic_store_explicit(&r->states[seat->index], fl_state_word(FL_POLLING, 0, 0),
                              memory_order_release);
        do {
            if (fl_ring_pending(r, &seat->cursor) || fl_leaving(r))
                return;
            fl_pause();
        } while (fl_poll_on(&seat->os, until, 0, &seat->contended_until));
    }
    fl_bell_sleep(r, &seat->os, seat->index, &seat->cursor);
}

/* Until told to leave. */
static inline void serve(struct seat *seat)
{
    struct fl_region *r = &seat->crew->region;
    bool waited = true;

    seat->cursor = fl_ring_head(r);
    for (;;) {
        uint32_t generation;
        int32_t slot = fl_ring_claim(r, seat->index, &seat->cursor, &generation);

        if (slot < 0) {
            if (fl_bell_may_leave(r, &seat->cursor))
                return;
            wait_for_work(seat);
            waited = true;
            continue;
        }
        if (waited && fl_bell_busy(r, &seat->os, seat->index, &seat->cursor))
            seat->relays++;
        waited = false;
        finish_task(seat, (uint32_t)slot, generation);
    }
}

/* All workers are started: there is none to ask for. */
static inline bool ask_nobody(void *unused)
{
    (void)unused;
    return false;
}

static inline void connect_parent(struct crew *crew, struct fl_os os)
{
    uint32_t i;

    crew->parent = (struct fl_parent){.region = &crew->region,
                                      .generations = crew->generations,
                                      .held = crew->held,
                                      .condemned = crew->condemned,
                                      .free = crew->free,
                                      .seats = crew->places,
                                      .os = os,
                                      .ask_worker = ask_nobody,
                                      .started = crew->region.plan.workers};
    memset(crew->held, 0, sizeof crew->held);
    memset(crew->condemned, 0, sizeof crew->condemned);
    for (i = 0; i < MOST_WORKERS; i++)
        crew->places[i] = (struct fl_seat){.taken = i < crew->region.plan.workers};
}

/* After a publish. True: somebody was rung. */
static inline bool announce(struct crew *crew)
{
    uint64_t before = fl_hint(&crew->parent.doorbells);

    fl_announce(&crew->parent, 1);
    return fl_hint(&crew->parent.doorbells) > before;
}

static inline bool publish_and_announce(struct crew *crew, uint32_t slot)
{
    fl_slots_publish(&crew->parent, slot, crew);
    return announce(crew);
}

/* Everybody leaves who finds nothing to do. */
static inline void dismiss(struct crew *crew)
{
    uint32_t i;

    atomic_store(&crew->region.header->leave, 1);
    for (i = 0; i < crew->region.plan.workers; i++)
        if (fl_bell_call(&crew->region, i, 0))
            crew->parent.os.ring_worker(crew->parent.os.context, i);
}

static inline void set_state(struct crew *crew, uint32_t worker, enum fl_worker_state state, uint64_t since_us)
{
    atomic_store(&crew->region.states[worker], fl_state_word(state, 0, since_us << 10));
}

static inline enum fl_worker_state state_of(struct crew *crew, uint32_t worker)
{
    return fl_state_of(atomic_load(&crew->region.states[worker]));
}

#endif
