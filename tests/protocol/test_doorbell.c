/* doorbell.h: no ring is lost and none is left over, with signals that are
 * semaphores and a clock that goes by looks at it. */
#include <semaphore.h>

#include "bell.h"

static struct crew crew;
static struct fl_region *const region = &crew.region;

/* ---- the system's part, faked ----------------------------------------------------- */

static sem_t signals[MOST_WORKERS];
static _Atomic uint64_t sent[MOST_WORKERS], collected[MOST_WORKERS];
static _Atomic uint64_t clock_ns;

/* A microsecond a look. */
static uint64_t fake_now(void *unused)
{
    (void)unused;
    return atomic_fetch_add_explicit(&clock_ns, 1024, memory_order_relaxed);
}

/* Only one that is not there yet is worth a system call. */
static bool fake_wait(void *context)
{
    struct seat *seat = context;
    int i;

    for (i = 0; i < 20; i++) {
        if (sem_trywait(&signals[seat->index]) == 0)
            goto signalled;
        step_aside();
    }
    while (sem_wait(&signals[seat->index]) != 0)
        ;
signalled:
    atomic_fetch_add(&collected[seat->index], 1);
    return true;
}

static bool fake_ring(void *unused, uint32_t index)
{
    (void)unused;
    atomic_fetch_add(&sent[index], 1);
    return sem_post(&signals[index]) == 0;
}

static int pending_signals(uint32_t index)
{
    int value;

    sem_getvalue(&signals[index], &value);
    return value;
}

static void give_way(void *unused)
{
    (void)unused;
    step_aside();
}

static void run_nothing(struct seat *seat, uint32_t slot)
{
    (void)seat, (void)slot;
}

static void open_crew(uint32_t workers, uint32_t cpus, uint32_t pollers, uint64_t looks)
{
    uint32_t i;

    memset(&crew, 0, sizeof crew);
    open_region(region, workers, CREW_SLOTS, 64, 64);
    region->header->cpus = cpus;
    region->header->max_pollers = pollers;
    region->header->spin_ns = looks << 10;
    crew.run = run_nothing;
    for (i = 0; i < workers; i++) {
        struct seat *seat = &crew.seats[i];

        *seat = (struct seat){.crew = &crew, .index = i};
        seat->os = (struct fl_os){seat, fake_now, fake_wait, fake_ring, NULL, give_way};
        sem_init(&signals[i], 0, 0);
        atomic_store(&sent[i], 0);
        atomic_store(&collected[i], 0);
        set_state(&crew, i, FL_BUSY, 0);
    }
    connect_parent(&crew, (struct fl_os){NULL, fake_now, NULL, fake_ring, NULL, give_way});
}

/* Exactly one signal a call, and each was collected. */
static void close_crew(void)
{
    uint32_t i;

    for (i = 0; i < region->plan.workers; i++) {
        CHECK(atomic_load(&sent[i]) == atomic_load(&collected[i]));
        CHECK(pending_signals(i) == 0);
        sem_destroy(&signals[i]);
    }
    close_region(region);
}

/* ---- who is rung --------------------------------------------------------------------- */

static void the_census_counts_each_state(void)
{
    struct fl_census c;

    open_crew(8, 8, 1, 0);
    set_state(&crew, 0, FL_GONE, 0);
    set_state(&crew, 1, FL_STARTING, 0);
    set_state(&crew, 2, FL_BUSY, 0);
    set_state(&crew, 3, FL_POLLING, 0);
    set_state(&crew, 4, FL_ASLEEP, 10);
    set_state(&crew, 5, FL_ASLEEP, 12);
    set_state(&crew, 6, FL_CALLED, 99);
    set_state(&crew, 7, FL_ASLEEP, 11);
    fl_bell_count(region, &c);
    CHECK(c.starting == 1 && c.busy == 1 && c.polling == 1 && c.asleep == 3 && c.called == 1);
    CHECK(c.warmest == 5);
    set_state(&crew, 4, FL_BUSY, 0);
    set_state(&crew, 5, FL_BUSY, 0);
    set_state(&crew, 7, FL_BUSY, 0);
    fl_bell_count(region, &c);
    CHECK(!c.asleep && c.warmest == -1);
    set_state(&crew, 0, FL_ASLEEP, 0);
    fl_bell_count(region, &c);
    CHECK(c.warmest == 0);
    close_crew();
}

static bool wanted(uint32_t cpus, uint32_t polling, uint32_t asleep, uint32_t busy, uint32_t called)
{
    struct fl_census c = {.polling = polling, .asleep = asleep, .busy = busy, .called = called};

    region->header->cpus = cpus;
    return fl_bell_wanted(region, &c);
}

static void a_ring_is_wanted_only_if_it_helps(void)
{
    open_crew(8, 8, 1, 0);
    CHECK(wanted(2, 0, 1, 0, 0));
    CHECK(wanted(2, 0, 1, 1, 0));
    CHECK(wanted(2, 0, 1, 0, 1));
    CHECK(!wanted(2, 1, 1, 0, 0));
    CHECK(!wanted(2, 0, 0, 0, 0));
    CHECK(!wanted(2, 0, 1, 2, 0));
    CHECK(!wanted(2, 0, 1, 1, 1));
    CHECK(!wanted(1, 0, 1, 1, 0));
    close_crew();
}

static void pollers_are_limited(void)
{
    open_crew(4, 4, 2, 5);
    CHECK(fl_bell_may_poll(region, 0));
    set_state(&crew, 1, FL_POLLING, 0);
    CHECK(fl_bell_may_poll(region, 0));
    set_state(&crew, 2, FL_POLLING, 0);
    CHECK(!fl_bell_may_poll(region, 0));
    CHECK(fl_bell_may_poll(region, 1)); /* it does already */
    set_state(&crew, 0, FL_POLLING, 0);
    CHECK(!fl_bell_may_poll(region, 1));
    region->header->spin_ns = 0;
    set_state(&crew, 2, FL_BUSY, 0);
    CHECK(!fl_bell_may_poll(region, 1));
    region->header->spin_ns = 5;
    region->header->max_pollers = 0;
    CHECK(!fl_bell_may_poll(region, 1));
    close_crew();
}

static uint32_t rung[64], rings;
static uint32_t dead_worker = UINT32_MAX; /* nobody knows yet that it is */

static bool note_ring(void *unused, uint32_t index)
{
    (void)unused;
    CHECK(state_of(&crew, index) == FL_CALLED);
    rung[rings++ % LENGTH(rung)] = index;
    return index != dead_worker;
}

static uint32_t caller_of(uint32_t index)
{
    return fl_state_caller(atomic_load(&region->states[index]));
}

static void the_warmest_is_called(void)
{
    open_crew(4, 4, 1, 0);
    crew.parent.os.ring_worker = note_ring;
    rings = 0;
    set_state(&crew, 0, FL_ASLEEP, 1);
    set_state(&crew, 1, FL_ASLEEP, 3);
    set_state(&crew, 2, FL_ASLEEP, 2);
    CHECK(fl_bell_ring(region, &crew.parent.os, 4));
    CHECK(rings == 1 && rung[0] == 1 && caller_of(1) == 4);
    CHECK(fl_bell_ring(region, &crew.parent.os, 0));
    CHECK(rings == 2 && rung[1] == 2 && caller_of(2) == 0);
    CHECK(fl_bell_ring(region, &crew.parent.os, 0));
    CHECK(rings == 3 && rung[2] == 0);
    CHECK(!fl_bell_ring(region, &crew.parent.os, 0));
    CHECK(!fl_bell_call(region, 3, 0)); /* busy */
    CHECK(state_of(&crew, 3) == FL_BUSY);
    close_crew();
}

/* Whoever cannot be signalled sleeps on, and is the warmest still. */
static void a_call_is_taken_back(void)
{
    uint64_t before;

    open_crew(4, 4, 1, 0);
    crew.parent.os.ring_worker = note_ring;
    rings = 0;
    dead_worker = 2;
    set_state(&crew, 1, FL_ASLEEP, 1);
    set_state(&crew, 2, FL_ASLEEP, 2);
    before = atomic_load(&region->states[2]);
    CHECK(!fl_bell_ring(region, &crew.parent.os, 3));
    CHECK(rings == 1 && rung[0] == 2);
    CHECK(atomic_load(&region->states[2]) == before);
    set_state(&crew, 2, FL_GONE, 0);
    CHECK(fl_bell_ring(region, &crew.parent.os, 3));
    CHECK(rings == 2 && rung[1] == 1);
    dead_worker = UINT32_MAX;
    close_crew();
}

/* It got up by a stray signal, slept again, and another of the parent's
 * threads called it: that call stands. */
static bool ring_late(void *unused, uint32_t index)
{
    (void)unused;
    set_state(&crew, index, FL_BUSY, 0);
    set_state(&crew, index, FL_ASLEEP, 8);
    CHECK(fl_bell_call(region, index, 0));
    return false;
}

static void only_ones_own_call_is_taken_back(void)
{
    open_crew(1, 1, 1, 0);
    crew.parent.os.ring_worker = ring_late;
    set_state(&crew, 0, FL_ASLEEP, 7);
    CHECK(!fl_bell_ring(region, &crew.parent.os, 0));
    CHECK(state_of(&crew, 0) == FL_CALLED);
    close_crew();
}

/* Worker 0 polls, the others sleep: worker 2 fell asleep last, 1 first. */
static void open_burst(uint32_t cpus)
{
    uint32_t slot;

    open_crew(4, cpus, 1, 5);
    rings = 0;
    set_state(&crew, 0, FL_POLLING, 0);
    set_state(&crew, 1, FL_ASLEEP, 1);
    set_state(&crew, 2, FL_ASLEEP, 3);
    set_state(&crew, 3, FL_ASLEEP, 2);
    for (slot = 0; slot < 4; slot++)
        CHECK(!publish_and_announce(&crew, slot)); /* the poller will see it */
}

/* A poller that turns to work rings a sleeper, that one the next, up to one
 * awake worker a CPU. */
static void a_burst_is_relayed(void)
{
    static const uint32_t order[] = {0, 2, 3, 1};
    uint32_t cpus, i, generation;

    for (cpus = 1; cpus <= 5; cpus++) {
        open_burst(cpus);
        for (i = 0; i < 4; i++) {
            struct seat *seat = &crew.seats[order[i]];
            bool relays = i < 3 && i + 1 < cpus;

            seat->os.ring_worker = note_ring;
            seat->cursor = fl_ring_head(region);
            CHECK(fl_ring_claim(region, order[i], &seat->cursor, &generation) == (int32_t)i);
            CHECK(fl_bell_busy(region, &seat->os, order[i], &seat->cursor) == relays);
            CHECK(rings == (i + 1 < cpus ? (i < 3 ? i + 1 : 3) : cpus - 1));
            if (relays)
                CHECK(rung[i] == order[i + 1] && caller_of(order[i + 1]) == order[i] + 1);
        }
        close_crew();
    }
}

/* ---- a sleeper, step by step ------------------------------------------------------------- */

static uint32_t waits;
static bool pended; /* a signal for worker 0 */

static bool ring_pends(void *unused, uint32_t index)
{
    (void)unused;
    CHECK(index == 0 && state_of(&crew, 0) == FL_CALLED);
    CHECK(!pended);
    pended = true;
    return true;
}

static void open_sleeper(uint64_t (*now)(void *), bool (*wait)(void *))
{
    open_crew(2, 2, 1, 0);
    set_state(&crew, 1, FL_GONE, 0);
    crew.seats[0].cursor = fl_ring_head(region);
    crew.seats[0].os.now = now;
    crew.seats[0].os.wait_signal = wait;
    crew.parent.os.ring_worker = ring_pends;
    waits = 0;
    pended = false;
}

/* Sleep, and find oneself busy with nothing pending after so many waits. */
static void sleep_and_close(uint32_t expected_waits)
{
    struct seat *seat = &crew.seats[0];

    fl_bell_sleep(region, &seat->os, 0, &seat->cursor);
    CHECK(state_of(&crew, 0) == FL_BUSY);
    CHECK(waits == expected_waits);
    CHECK(!pended);
    close_crew();
}

static uint64_t publish_now(void *unused)
{
    (void)unused;
    CHECK(state_of(&crew, 0) == FL_BUSY);
    CHECK(!publish_and_announce(&crew, 0)); /* nobody sleeps yet */
    return 0;
}

static uint64_t leave_now(void *unused)
{
    (void)unused;
    dismiss(&crew);
    CHECK(!pended);
    return 0;
}

static bool wait_in_vain(void *unused)
{
    (void)unused;
    waits++;
    CHECK(!"it slept");
    return true;
}

static void work_before_sleep_is_found(void)
{
    open_sleeper(publish_now, wait_in_vain);
    sleep_and_close(0);
}

static void the_order_to_leave_before_sleep_is_found(void)
{
    open_sleeper(leave_now, wait_in_vain);
    sleep_and_close(0);
}

static bool wait_and_be_called(void *unused)
{
    (void)unused;
    waits++;
    CHECK(state_of(&crew, 0) == FL_ASLEEP);
    CHECK(publish_and_announce(&crew, 0));
    CHECK(!publish_and_announce(&crew, 1)); /* it is called already */
    CHECK(state_of(&crew, 0) == FL_CALLED && pended);
    pended = false;
    return true;
}

static void a_sleeper_is_called_once(void)
{
    open_sleeper(fake_now, wait_and_be_called);
    sleep_and_close(1);
}

/* A signal without a call, from anybody: it sleeps on. */
static bool wait_past_strays(void *unused)
{
    if (waits < 3) {
        waits++;
        return true;
    }
    return wait_and_be_called(unused);
}

static void stray_signals_wake_nobody(void)
{
    open_sleeper(fake_now, wait_past_strays);
    sleep_and_close(4);
}

static bool wait_and_be_dismissed(void *unused)
{
    (void)unused;
    waits++;
    dismiss(&crew);
    CHECK(pended);
    pended = false;
    return true;
}

static void the_order_to_leave_rings(void)
{
    open_sleeper(fake_now, wait_and_be_dismissed);
    sleep_and_close(1);
}

static bool wait_and_be_interrupted(void *unused)
{
    (void)unused;
    waits++;
    return false;
}

static void an_interrupt_ends_the_sleep(void)
{
    open_sleeper(fake_now, wait_and_be_interrupted);
    sleep_and_close(1);
}

/* ---- the dead ---------------------------------------------------------------------------- */

static void a_dead_callers_calls_are_found(void)
{
    open_crew(4, 4, 1, 0);
    set_state(&crew, 1, FL_ASLEEP, 1);
    set_state(&crew, 2, FL_ASLEEP, 2);
    set_state(&crew, 3, FL_ASLEEP, 3);
    CHECK(fl_bell_call(region, 1, 1));
    CHECK(fl_bell_call(region, 2, 0));
    CHECK(fl_bell_call(region, 3, 1));
    CHECK(fl_bell_orphans(region, 0, 1) == 1);
    CHECK(fl_bell_orphans(region, 2, 1) == 3);
    CHECK(fl_bell_orphans(region, 4, 1) == -1);
    CHECK(fl_bell_orphans(region, 0, 2) == -1);
    set_state(&crew, 1, FL_BUSY, 0);
    CHECK(fl_bell_orphans(region, 0, 1) == 3);
    close_crew();
}

static void bury(uint32_t index)
{
    fl_burial_dead(&crew.parent, index);
    fl_burial_end(&crew.parent, index);
    announce(&crew);
}

static void a_dead_poller_hides_no_work(void)
{
    open_crew(2, 2, 1, 5);
    crew.parent.os.ring_worker = note_ring;
    rings = 0;
    set_state(&crew, 0, FL_POLLING, 0);
    set_state(&crew, 1, FL_ASLEEP, 1);
    CHECK(!publish_and_announce(&crew, 0));
    bury(0);
    CHECK(rings == 1 && rung[0] == 1);
    close_crew();
}

/* ---- threads ----------------------------------------------------------------------------- */

/* The loop runs no task with a signal left over. */
static void run_task(struct seat *seat, uint32_t slot)
{
    struct fl_slot *s = fl_slot_at(region, slot);

    CHECK(pending_signals(seat->index) == 0);
    CHECK(state_of(&crew, seat->index) == FL_BUSY);
    s->reply_scalar = s->request_size;
}

static void *serve_seat(void *seat)
{
    serve(seat);
    return NULL;
}

static void start_workers(pthread_t *threads)
{
    uint32_t i;

    for (i = 0; i < region->plan.workers; i++)
        threads[i] = begin(serve_seat, &crew.seats[i]);
}

static void stop_workers(pthread_t *threads)
{
    uint32_t i;

    dismiss(&crew);
    for (i = 0; i < region->plan.workers; i++)
        end(threads[i]);
}

struct traffic {
    uint64_t next, served, seed;
    uint64_t key[CREW_SLOTS]; /* of the task in the slot, 0: free */
};

static void submit(struct traffic *t, uint32_t slot)
{
    t->key[slot] = ++t->next;
    fl_slot_at(region, slot)->request_size = t->key[slot];
    publish_and_announce(&crew, slot);
}

static void take(struct traffic *t, uint32_t slot)
{
    enum fl_outlook outlook;
    uint64_t word;

    if (!t->key[slot] || (outlook = fl_slots_look(&crew.parent, slot, &word)) == FL_NOT_YET)
        return;
    CHECK(outlook == FL_ENDED);
    CHECK(fl_slot_at(region, slot)->reply_scalar == t->key[slot]);
    crew.parent.free_count = 0;
    fl_slots_release(&crew.parent, slot);
    t->key[slot] = 0;
    t->served++;
}

static void take_all(struct traffic *t, uint32_t at_once)
{
    uint32_t slot;

    for (slot = 0; slot < at_once; slot++)
        take(t, slot);
}

static void await_all(struct traffic *t, uint32_t at_once)
{
    while (t->served < t->next && !failed()) {
        take_all(t, at_once);
        if (draw_below(&t->seed, 64) == 0)
            step_aside();
    }
}

/* Now and then wait for all, so that workers fall asleep; otherwise the next
 * task comes at any moment of a worker's turn. Nobody but announce rings: one
 * lost ring, and this waits for ever. */
static void run_traffic(uint64_t tasks, uint32_t at_once)
{
    struct traffic t = {.seed = 5};
    pthread_t threads[MOST_WORKERS];
    uint32_t slot;
    uint64_t pause;

    crew.run = run_task;
    start_workers(threads);
    while (t.served < tasks && !failed()) {
        if (enough())
            tasks = t.next;
        take_all(&t, at_once);
        slot = (uint32_t)draw_below(&t.seed, at_once);
        if (!t.key[slot] && t.next < tasks)
            submit(&t, slot);
        if (draw_below(&t.seed, 4) == 0)
            await_all(&t, at_once);
        for (pause = draw_below(&t.seed, 40); pause; pause--)
            fl_pause();
    }
    stop_workers(threads);
}

static const struct setting { uint32_t workers, cpus, pollers, looks; } sleepers[] = {
    {1, 1, 0, 0}, {2, 1, 0, 0}, {2, 2, 0, 0}, {4, 2, 0, 0}, {8, 8, 0, 0},
}, pollers[] = {
    {1, 1, 1, 2}, {2, 1, 1, 3}, {3, 2, 1, 30}, {4, 4, 2, 3}, {8, 8, 4, 8},
};

static void run_settings(const struct setting *s, size_t count, uint64_t tasks, uint32_t at_once)
{
    for (; count--; s++) {
        open_crew(s->workers, s->cpus, s->pollers, s->looks);
        run_traffic(tasks, at_once);
        close_crew();
    }
}

static void sleepers_miss_no_task(void)
{
    run_settings(sleepers, LENGTH(sleepers), ROUNDS(80000), 1);
    run_settings(sleepers, LENGTH(sleepers), ROUNDS(80000), 2);
}

static void sleepers_miss_no_burst(void)
{
    run_settings(sleepers, LENGTH(sleepers), ROUNDS(80000), CREW_SLOTS);
}

static void pollers_miss_no_task(void)
{
    run_settings(pollers, LENGTH(pollers), ROUNDS(80000), 1);
    run_settings(pollers, LENGTH(pollers), ROUNDS(80000), 2);
}

static void pollers_miss_no_burst(void)
{
    run_settings(pollers, LENGTH(pollers), ROUNDS(80000), CREW_SLOTS);
}

/* Seen at once, so that the next task comes while the worker goes to sleep. */
static void await_done(struct fl_slot *s)
{
    int looks;

    for (looks = 0; fl_word_state(fl_slot_look(s)) != FL_DONE; looks++)
        if (looks < 200)
            fl_pause();
        else
            step_aside();
}

#define TOGETHER 4
static pthread_barrier_t together;

static void meet(struct seat *seat, uint32_t slot)
{
    (void)seat, (void)slot;
    pthread_barrier_wait(&together);
}

/* Tasks that wait for one another: they end only if the burst reaches as many
 * workers, while the parent rings for none but the first. */
static void a_burst_reaches_all_sleepers(void)
{
    pthread_t threads[TOGETHER];
    uint32_t round, i;

    open_crew(TOGETHER, TOGETHER, 1, 3);
    crew.run = meet;
    pthread_barrier_init(&together, NULL, TOGETHER);
    start_workers(threads);
    for (round = 0; round < ROUNDS(10000); round++) {
        for (i = 0; i < TOGETHER; i++)
            fl_ring_publish(region, i, crew.generations);
        announce(&crew);
        for (i = 0; i < TOGETHER; i++) {
            await_done(fl_slot_at(region, i));
            fl_slot_release(fl_slot_at(region, i), crew.generations[i]);
        }
    }
    stop_workers(threads);
    pthread_barrier_destroy(&together);
    close_crew();
}

/* A sleeper that always finds work, and callers that try to be first. */
static _Atomic bool stop;

static void *call_always(void *caller)
{
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        if (fl_bell_call(region, 0, (uint32_t)(uintptr_t)caller))
            fake_ring(NULL, 0);
        else
            step_aside();
    return NULL;
}

static void a_sleep_is_withdrawn_or_called(void)
{
    struct seat *seat = &crew.seats[0];
    pthread_t callers[2];
    uintptr_t i;
    uint64_t round;

    open_crew(3, 3, 0, 0);
    atomic_store(&stop, false);
    fl_ring_publish(region, 0, crew.generations);
    seat->cursor = fl_ring_head(region);
    for (i = 0; i < 2; i++)
        callers[i] = begin(call_always, (void *)(i + 1));
    for (round = 0; round < ROUNDS(3000000) && !failed(); round++) {
        fl_bell_sleep(region, &seat->os, 0, &seat->cursor);
        CHECK(state_of(&crew, 0) == FL_BUSY);
        CHECK(pending_signals(0) == 0);
    }
    atomic_store(&stop, true);
    for (i = 0; i < 2; i++)
        end(callers[i]);
    close_crew();
}

/* Worker 1 dies in every call it makes, between CALLED and the signal: the
 * thread that buries it signals in its place. */
static bool die_ringing(void *context, uint32_t index)
{
    struct seat *seat = context;

    CHECK(state_of(&crew, index) == FL_CALLED && caller_of(index) == seat->index + 1);
    return true;
}

static void a_dead_callers_sleeper_is_rung(void)
{
    struct seat *dying = &crew.seats[1];
    pthread_t sleeper;
    uint32_t round;

    open_crew(2, 2, 0, 0);
    dying->os.ring_worker = die_ringing;
    sleeper = begin(serve_seat, &crew.seats[0]);
    for (round = 0; round < ROUNDS(40000); round++) {
        set_state(&crew, 1, FL_BUSY, 0);
        fl_ring_publish(region, 0, crew.generations);
        fl_bell_ring(region, &dying->os, 2);
        bury(1);
        await_done(fl_slot_at(region, 0));
        /* It may have been done before the call. The next dead caller has the
         * same number: what this one called must not be signalled once more. */
        while (state_of(&crew, 0) == FL_CALLED)
            step_aside();
        fl_slot_release(fl_slot_at(region, 0), crew.generations[0]);
    }
    dismiss(&crew);
    end(sleeper);
    close_crew();
}

/* ---- the collector ------------------------------------------------------------------------ */

#define REPORTERS 3
static _Atomic uint64_t calls, rung_calls, finished;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the interpreter's */

static void ring_eventfd(void *unused)
{
    (void)unused;
    ring_bell();
    atomic_fetch_add(&rung_calls, 1);
}

static const struct fl_os bell_os = {.ring_collector = ring_eventfd};

static uint64_t real_now(void *unused)
{
    (void)unused;
    return fl_now();
}

/* The parent's own calls are not counted. */
static void ring_as_parent(void *unused)
{
    ring_eventfd(unused);
    atomic_fetch_sub(&rung_calls, 1);
}

static void call_collector(void)
{
    if (fl_collector_call(region, &bell_os))
        atomic_fetch_add(&calls, 1);
}

/* Its slots are always ready; each is finished, flagged and reported. */
static void *report_always(void *index)
{
    uint32_t slot = (uint32_t)(uintptr_t)index, life = 0;

    while (!atomic_load(&stop)) {
        struct fl_slot *s = fl_slot_at(region, slot);
        uint64_t word = fl_slot_look(s);

        if (fl_word_state(word) != FL_READY) {
            step_aside();
            continue;
        }
        CHECK(fl_slot_claim(s, fl_word_generation(word), slot));
        s->reply_scalar = ++life;
        CHECK(fl_slot_finish(s, fl_word_generation(word), slot));
        fl_flag_set(region, slot);
        if (!fl_collector_looks(region))
            call_collector();
    }
    return NULL;
}

/* What has finished is made ready again. */
static int finish(void *unused, uint32_t slot)
{
    struct fl_slot *s = fl_slot_at(region, slot);

    (void)unused;
    if (fl_word_state(fl_slot_look(s)) == FL_DONE) {
        CHECK(s->reply_scalar == ++crew.generations[slot]);
        fl_slot_publish(s, crew.generations[slot] + 1);
        atomic_fetch_add(&finished, 1);
    }
    return 0;
}

static void collect(void)
{
    pthread_mutex_lock(&lock);
    CHECK(fl_collect(&crew.parent, finish) == 0);
    pthread_mutex_unlock(&lock);
}

static void *run_collector(void *unused)
{
    while (!atomic_load(&stop)) {
        CHECK(!fl_collector_wait(&crew.parent, -1));
        collect();
    }
    return unused;
}

/* A thread in result(): it watches for a while, then leaves it to others, and
 * looks once more after it said so. */
static void watch(uint32_t looks)
{
    uint32_t slot = looks % REPORTERS, generation;

    pthread_mutex_lock(&lock);
    generation = crew.generations[slot] + 1;
    fl_watch_begin(&crew.parent);
    pthread_mutex_unlock(&lock);
    fl_watch(&crew.parent, looks % 2 ? -1 : (int32_t)slot, generation, fl_now() + looks * 1000);
    pthread_mutex_lock(&lock);
    fl_watch_end(&crew.parent);
    pthread_mutex_unlock(&lock);
    collect();
}

static void open_collector(pthread_t *threads)
{
    uintptr_t i;

    open_crew(REPORTERS, REPORTERS, 0, 0);
    open_bell();
    crew.parent.os = (struct fl_os){NULL, real_now, NULL, fake_ring, ring_as_parent, give_way};
    crew.parent.collector_os = (struct fl_collector_os){NULL, rest, take_calls};
    atomic_store(&stop, false);
    atomic_store(&calls, 0);
    atomic_store(&rung_calls, 0);
    atomic_store(&finished, 0);
    for (i = 0; i < REPORTERS; i++) {
        fl_slot_publish(fl_slot_at(region, (uint32_t)i), 1);
        threads[i] = begin(report_always, (void *)i);
    }
    threads[REPORTERS] = begin(run_collector, NULL);
}

static void close_collector(pthread_t *threads)
{
    int i;

    atomic_store(&stop, true);
    fl_collector_kick(&crew.parent);
    for (i = 0; i <= REPORTERS; i++)
        end(threads[i]);
    CHECK(atomic_load(&calls) == atomic_load(&rung_calls));
    close(bell);
    close_crew();
}

static void the_collector_misses_no_flag(void)
{
    pthread_t threads[REPORTERS + 1];

    open_collector(threads);
    while (atomic_load(&finished) < ROUNDS(120000) && !failed())
        step_aside();
    close_collector(threads);
}

static void watchers_hand_over_to_the_collector(void)
{
    pthread_t threads[REPORTERS + 1];
    uint64_t seed = 8;

    open_collector(threads);
    while (atomic_load(&finished) < ROUNDS(120000) && !failed()) {
        uint64_t pause = draw_below(&seed, 8);

        watch((uint32_t)draw_below(&seed, 8));
        while (pause--)
            step_aside();
    }
    close_collector(threads);
}

static void the_collector_is_called_once(void)
{
    open_crew(1, 1, 0, 0);
    open_bell();
    atomic_store(&rung_calls, 0);
    atomic_store(&region->notices->collector, FL_COLLECTOR_AWAKE);
    CHECK(fl_collector_looks(region));
    CHECK(!fl_collector_call(region, &bell_os));
    atomic_store(&region->notices->collector, FL_COLLECTOR_ASLEEP);
    CHECK(!fl_collector_looks(region));
    atomic_store(&region->header->watchers, 1);
    CHECK(fl_collector_looks(region));
    atomic_store(&region->header->watchers, 0);
    CHECK(fl_collector_call(region, &bell_os));
    CHECK(!fl_collector_call(region, &bell_os));
    CHECK(fl_collector_looks(region));
    CHECK(atomic_load(&rung_calls) == 1);
    atomic_store(&region->notices->collector, FL_COLLECTOR_DOZING);
    CHECK(!fl_collector_looks(region) && fl_collector_will_look(region));
    CHECK(fl_collector_call(region, &bell_os));
    atomic_store(&region->notices->collector, 77); /* whatever a task has written */
    CHECK(!fl_collector_looks(region) && !fl_collector_will_look(region));
    CHECK(fl_collector_call(region, &bell_os));
    CHECK(atomic_load(&region->notices->collector) == FL_COLLECTOR_CALLED);
    CHECK(atomic_load(&rung_calls) == 3);
    close(bell);
    close_crew();
}

int main(void)
{
    RUN(the_census_counts_each_state);
    RUN(a_ring_is_wanted_only_if_it_helps);
    RUN(pollers_are_limited);
    RUN(the_warmest_is_called);
    RUN(a_call_is_taken_back);
    RUN(only_ones_own_call_is_taken_back);
    RUN(a_burst_is_relayed);
    RUN(work_before_sleep_is_found);
    RUN(the_order_to_leave_before_sleep_is_found);
    RUN(a_sleeper_is_called_once);
    RUN(stray_signals_wake_nobody);
    RUN(the_order_to_leave_rings);
    RUN(an_interrupt_ends_the_sleep);
    RUN(a_dead_callers_calls_are_found);
    RUN(a_dead_poller_hides_no_work);
    RUN(sleepers_miss_no_task);
    RUN(sleepers_miss_no_burst);
    RUN(pollers_miss_no_task);
    RUN(pollers_miss_no_burst);
    RUN(a_burst_reaches_all_sleepers);
    RUN(a_sleep_is_withdrawn_or_called);
    RUN(a_dead_callers_sleeper_is_rung);
    RUN(the_collector_misses_no_flag);
    RUN(watchers_hand_over_to_the_collector);
    RUN(the_collector_is_called_once);
    return verdict();
}
