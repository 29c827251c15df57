/* csrc/parent, a call at a time: what the parent makes of words that it finds,
 * of a dead worker's slots, of its collector's time. Orders and races are
 * test_steps.c's and test_doorbell.c's. */
#include "crew.h"
#include "parent/deadlines.h"

#define WORKERS 4u

static struct crew crew;
static struct fl_region *const region = &crew.region;
static struct fl_parent *const parent = &crew.parent;

static uint32_t rings, rung[64], bells, asked;
static bool can_ring = true;

static uint64_t clock_ns, step_ns = 1024;

static uint64_t fake_now(void *unused)
{
    (void)unused;
    return clock_ns += step_ns;
}

static bool note_ring(void *unused, uint32_t index)
{
    (void)unused;
    rung[rings++ % LENGTH(rung)] = index;
    return can_ring;
}

static void note_bell(void *unused)
{
    (void)unused;
    bells++;
}

static uint32_t times_given_way;

static void note_way(void *unused)
{
    (void)unused;
    times_given_way++;
}

static bool ask_one(void *pool)
{
    CHECK(pool == &crew);
    if (parent->started == region->plan.workers)
        return false;
    set_state(&crew, parent->started++, FL_STARTING, 0);
    asked++;
    return true;
}

static void open_parent(void)
{
    uint32_t i;

    memset(&crew, 0, sizeof crew);
    open_region(region, WORKERS, CREW_SLOTS, 64, 64);
    connect_parent(&crew, (struct fl_os){NULL, fake_now, NULL, note_ring, note_bell, note_way});
    parent->ask_worker = ask_one;
    parent->pool = &crew;
    for (i = 0; i < WORKERS; i++)
        set_state(&crew, i, FL_BUSY, 0);
    for (i = 0; i < CREW_SLOTS; i++)
        parent->free[parent->free_count++] = CREW_SLOTS - 1 - i;
    rings = bells = asked = times_given_way = 0;
    can_ring = true;
}

static void close_parent(void)
{
    close_region(region);
}

static void set_word(uint32_t slot, uint64_t word)
{
    atomic_store(&fl_slot_at(region, slot)->word, word);
}

static void set_block(uint32_t worker, uint32_t slot)
{
    atomic_store(&region->blocks[worker].slot, slot + 1);
}

static uint32_t publish_one(void)
{
    uint32_t slot = fl_slots_take(parent);

    fl_slots_publish(parent, slot, &crew);
    return slot;
}

/* As an honest worker claims it. */
static void claim(uint32_t worker, uint32_t slot)
{
    set_block(worker, slot);
    CHECK(fl_slot_claim(fl_slot_at(region, slot), parent->generations[slot], worker));
}

/* ---- slots ------------------------------------------------------------------------------ */

static void the_slot_used_last_is_taken_first(void)
{
    open_parent();
    CHECK(fl_slots_next(parent) == 0);
    CHECK(fl_slots_take(parent) == 0);
    CHECK(fl_slots_take(parent) == 1);
    CHECK(fl_slots_next(parent) == 2);
    fl_slots_release(parent, 0);
    CHECK(fl_slots_next(parent) == 0);
    CHECK(parent->free_count == CREW_SLOTS - 1);
    fl_slots_release(parent, 1);
    CHECK(fl_slots_take(parent) == 1 && fl_slots_take(parent) == 0 && fl_slots_take(parent) == 2);
    close_parent();
}

static void only_words_of_ours_are_valid(void)
{
    uint32_t generation, owner, state, slot;

    open_parent();
    slot = publish_one();
    crew.places[2].taken = false;
    for (generation = 0; generation < 4; generation++)
        for (owner = 0; owner < WORKERS + 3; owner++)
            for (state = 0; state < 8; state++) {
                bool lives = owner && owner <= WORKERS && owner != 3;
                bool fits = state == FL_READY ? !owner : (state == FL_RUNNING || state == FL_DONE) && lives;
                uint64_t word = fl_slot_word(generation, owner, (enum fl_state)state), seen;

                CHECK(fl_slots_valid(parent, slot, word) == (fits && generation == 1));
                set_word(slot, word);
                CHECK(fl_slots_look(parent, slot, &seen) ==
                      (!fits || generation != 1 ? FL_CORRUPTED : state == FL_DONE ? FL_ENDED : FL_NOT_YET));
                CHECK(seen == word);
            }
    CHECK(!fl_slots_valid(parent, slot, fl_slot_word(1, 0xffff, FL_RUNNING)));
    close_parent();
}

static void a_claim_that_its_worker_knows_nothing_of_is_forged(void)
{
    uint32_t slot, other;
    uint64_t word;

    open_parent();
    slot = publish_one();
    other = publish_one();
    word = fl_slot_word(1, 2, FL_RUNNING);
    set_word(slot, word);
    CHECK(fl_slots_forged(parent, slot, word));
    set_block(1, other);
    CHECK(fl_slots_forged(parent, slot, word));
    set_block(0, slot);
    CHECK(fl_slots_forged(parent, slot, word));
    set_block(1, slot);
    CHECK(!fl_slots_forged(parent, slot, word));
    CHECK(!fl_slots_forged(parent, slot, fl_slot_word(1, 0, FL_READY)));
    set_block(1, other);
    set_word(slot, fl_slot_word(1, 2, FL_DONE)); /* it has just ended */
    CHECK(!fl_slots_forged(parent, slot, word));
    close_parent();
}

static void who_runs_a_corrupted_slot(void)
{
    uint32_t slot;

    open_parent();
    slot = publish_one();
    CHECK(fl_slots_runner(parent, slot, 0) == 0);
    CHECK(fl_slots_runner(parent, slot, fl_slot_word(1, 2, FL_RUNNING)) == 2);
    set_block(1, slot + 1); /* it is busy with another */
    CHECK(fl_slots_runner(parent, slot, fl_slot_word(1, 2, FL_RUNNING)) == 0);
    set_block(3, slot);
    CHECK(fl_slots_runner(parent, slot, fl_slot_word(1, 2, FL_RUNNING)) == 4);
    CHECK(fl_slots_runner(parent, slot, UINT64_MAX) == 4);
    crew.places[3].taken = false;
    CHECK(fl_slots_runner(parent, slot, fl_slot_word(1, 4, FL_RUNNING)) == 0);
    CHECK(fl_slots_runner(parent, slot, UINT64_MAX) == 0);
    close_parent();
}

static void what_nobody_has_can_be_taken_back(void)
{
    uint32_t slot;

    open_parent();
    slot = publish_one();
    CHECK(fl_slots_cancel(parent, slot));
    CHECK(!crew.held[slot]);
    fl_slots_release(parent, slot);
    CHECK(publish_one() == slot);
    claim(1, slot);
    CHECK(!fl_slots_cancel(parent, slot));
    CHECK(crew.held[slot]);
    close_parent();
}

static void only_what_runs_is_condemned(void)
{
    uint32_t slot, worker = 99;

    open_parent();
    slot = publish_one();
    CHECK(!fl_slots_condemn(parent, slot, &worker)); /* nobody has it */
    set_word(slot, fl_slot_word(1, 3, FL_RUNNING));
    CHECK(!fl_slots_condemn(parent, slot, &worker)); /* forged */
    set_word(slot, fl_slot_word(7, 3, FL_RUNNING));
    set_block(2, slot);
    CHECK(!fl_slots_condemn(parent, slot, &worker)); /* of no life of it */
    CHECK(crew.held[slot] && !crew.condemned[slot]);
    set_word(slot, fl_slot_word(1, 3, FL_RUNNING));
    CHECK(fl_slots_condemn(parent, slot, &worker) && worker == 2);
    CHECK(!crew.held[slot] && crew.condemned[slot] == 3);
    CHECK(!fl_slot_finish(fl_slot_at(region, slot), 1, 2));
    slot = publish_one();
    fl_slots_condemn_corrupted(parent, slot, 0);
    CHECK(crew.condemned[slot] == 1);
    CHECK(fl_slot_look(fl_slot_at(region, slot)) == fl_slot_word(1, 1, FL_CONDEMNED));
    close_parent();
}

/* ---- burials ---------------------------------------------------------------------------- */

static enum fl_verdict judge(uint32_t slot, bool suspicious, bool blameless)
{
    struct fl_death death = {.worker = 1, .suspicious = suspicious, .blameless = blameless};
    uint64_t word;
    enum fl_verdict verdict = fl_burial_judge(parent, &death, slot, &word);

    CHECK(verdict == FL_AGAIN || verdict == FL_CRASHED || word == fl_slot_look(fl_slot_at(region, slot)));
    return verdict;
}

static void a_verdict_for_each_slot(void)
{
    uint32_t ready, others, done, runs, begun, wild, i;

    open_parent();
    ready = publish_one(), others = publish_one(), done = publish_one(), runs = publish_one(), begun = publish_one();
    wild = publish_one();
    set_word(others, fl_slot_word(1, 3, FL_RUNNING)); /* as if nobody knew of it */
    set_word(done, fl_slot_word(1, 2, FL_DONE));
    set_word(wild, fl_slot_word(9, 2, FL_RUNNING));
    fl_burial_dead(parent, 1);
    CHECK(state_of(&crew, 1) == FL_GONE && crew.places[1].ended && !atomic_load(&region->pids[1]));
    CHECK(judge(ready, true, true) == FL_NOT_ITS);
    CHECK(judge(others, false, true) == FL_NOT_ITS);
    CHECK(judge(others, true, true) == FL_WILD);
    CHECK(judge(done, true, true) == FL_KEPT);
    CHECK(judge(wild, false, false) == FL_WILD);
    set_word(runs, fl_slot_word(1, 2, FL_RUNNING));
    CHECK(judge(runs, false, true) == FL_WILD); /* it did not say so */
    set_block(1, runs);
    CHECK(judge(runs, true, true) == FL_AGAIN);
    CHECK(fl_slot_look(fl_slot_at(region, runs)) == fl_slot_word(2, 0, FL_READY) && crew.held[runs]);
    CHECK(judge(runs, true, true) == FL_NOT_ITS);
    set_block(1, begun);
    set_word(begun, fl_slot_word(1, 2, FL_RUNNING));
    fl_slot_at(region, begun)->started_ns = 5;
    CHECK(judge(begun, true, true) == FL_CRASHED);
    CHECK(fl_slot_look(fl_slot_at(region, begun)) == fl_slot_word(1, 2, FL_CONDEMNED));
    CHECK(!crew.condemned[begun]);
    for (i = 0; i < LENGTH(rung); i++)
        rung[i] = 99;
    set_state(&crew, 3, FL_ASLEEP, 1);
    CHECK(fl_bell_call(region, 3, 2));
    atomic_store(&region->orders[1], FL_ORDER_END);
    fl_burial_end(parent, 1);
    CHECK(rings == 1 && rung[0] == 3);
    CHECK(parent->started == WORKERS - 1 && !crew.places[1].taken && !crew.places[1].ended);
    CHECK(!atomic_load(&region->blocks[1].slot) && atomic_load(&region->orders[1]) == FL_ORDER_NONE);
    CHECK(crew.places[0].taken && crew.places[2].taken);
    close_parent();
}

static void all_whom_the_dead_have_called_are_signalled(void)
{
    uint32_t i;

    open_parent();
    for (i = 0; i < WORKERS; i++)
        set_state(&crew, i, FL_ASLEEP, 0);
    CHECK(fl_bell_call(region, 0, 2) && fl_bell_call(region, 2, 1) && fl_bell_call(region, 3, 2));
    fl_burial_dead(parent, 1);
    fl_burial_end(parent, 1);
    CHECK(rings == 2 && rung[0] == 0 && rung[1] == 3);
    close_parent();
}

static void what_was_condemned_comes_back_at_its_workers_burial(void)
{
    open_parent();
    CHECK(!fl_burial_expected(parent, 1));
    crew.condemned[2] = 2;
    crew.condemned[3] = 1;
    crew.condemned[CREW_SLOTS - 1] = 2;
    CHECK(fl_burial_expected(parent, 1) && fl_burial_expected(parent, 0) && !fl_burial_expected(parent, 2));
    CHECK(fl_burial_condemned(parent, 1, 0) == 2);
    CHECK(fl_burial_condemned(parent, 1, 3) == CREW_SLOTS - 1);
    CHECK(fl_burial_condemned(parent, 1, 0) == -1);
    CHECK(crew.condemned[3] == 1);
    close_parent();
}

/* ---- the collector ------------------------------------------------------------------------- */

static void workers_are_asked_for_while_there_are_cpus(void)
{
    uint32_t i;

    open_parent();
    region->header->cpus = 3;
    parent->started = 0;
    for (i = 0; i < WORKERS; i++)
        set_state(&crew, i, FL_GONE, 0);
    fl_announce(parent, 2);
    CHECK(asked == 2 && !rings);
    CHECK(atomic_load(&parent->timed));
    fl_announce(parent, 5);
    CHECK(asked == 3); /* as many as CPUs */
    set_state(&crew, 0, FL_POLLING, 0);
    region->header->cpus = 4;
    fl_announce(parent, 1);
    CHECK(asked == 3); /* somebody polls */
    set_state(&crew, 0, FL_ASLEEP, 0);
    set_state(&crew, 1, FL_BUSY, 0);
    set_state(&crew, 2, FL_BUSY, 0);
    fl_announce(parent, 1);
    CHECK(asked == 3 && rings == 1 && rung[0] == 0);
    CHECK(atomic_load(&parent->doorbells) == 1);
    close_parent();
}

static void what_was_cancelled_is_no_work(void)
{
    uint32_t slot, tick;

    open_parent();
    set_state(&crew, 1, FL_ASLEEP, 0);
    fl_collector_watch_ring(parent);
    slot = publish_one();
    CHECK(fl_slots_cancel(parent, slot));
    for (tick = 0; tick < FL_QUIET_TICKS; tick++) {
        CHECK(atomic_load(&parent->timed));
        CHECK(!fl_collector_tick(parent));
    }
    CHECK(!atomic_load(&parent->timed) && !rings);
    close_parent();
}

/* How many sleepers so many ticks wake, if so many tasks are claimed between two. */
static uint32_t tick_rings(enum fl_worker_state first, uint32_t claimed, uint32_t ticks)
{
    uint32_t i, slot;

    open_parent();
    for (i = 1; i < WORKERS; i++)
        set_state(&crew, i, FL_ASLEEP, 0);
    set_state(&crew, 0, first, 0);
    fl_collector_watch_ring(parent);
    for (i = 0; i < CREW_SLOTS; i++)
        publish_one();
    for (; ticks; ticks--) {
        for (i = 0; i < claimed; i++) {
            slot = (uint32_t)(fl_ring_head(region) - region->plan.ring_size);
            claim(0, slot);
            fl_ring_pass(region, fl_ring_head(region) + 1);
        }
        fl_collector_tick(parent);
    }
    close_parent();
    return rings;
}

/* Who claims more than 20 tasks in a millisecond gets to the rest soon enough. (There
 * are fewer slots here, so nobody who counts has claimed them.) */
static void short_tasks_wake_nobody(void)
{
    CHECK(tick_rings(FL_BUSY, 0, 1) == 1);
    CHECK(tick_rings(FL_BUSY, 0, 2) == 2); /* one is called already, two may come */
    CHECK(tick_rings(FL_BUSY, 0, 3) == 3);
    CHECK(tick_rings(FL_BUSY, 0, 9) == 3); /* there are no more sleepers */
    CHECK(tick_rings(FL_BUSY, 10, 1) == 1);
    CHECK(tick_rings(FL_POLLING, 10, 1) == 1);
    CHECK(tick_rings(FL_GONE, 10, 1) == 0);
    CHECK(tick_rings(FL_GONE, 0, 1) == 1);
}

static void a_tick_says_how_many_are_missing(void)
{
    uint32_t i;

    open_parent();
    parent->started = 1;
    for (i = 1; i < WORKERS; i++)
        set_state(&crew, i, FL_GONE, 0);
    fl_collector_watch_ring(parent);
    for (i = 0; i < CREW_SLOTS; i++)
        publish_one();
    CHECK(fl_collector_tick(parent) == 1);
    CHECK(fl_collector_tick(parent) == 2);
    CHECK(fl_collector_tick(parent) == 4);
    CHECK(!rings);
    close_parent();
}

static int rested_ms;

static void note_rest(void *unused, int most_ms)
{
    (void)unused;
    rested_ms = most_ms;
    CHECK(atomic_load(&parent->resting) == 1);
    CHECK(atomic_load(&region->notices->collector) ==
          (uint64_t)(most_ms < 0 ? FL_COLLECTOR_ASLEEP : FL_COLLECTOR_DOZING));
    fl_collector_kick(parent);
}

static bool has_calls;

static bool take_calls(void *unused)
{
    (void)unused;
    return has_calls;
}

static int sleep_of(bool timed, uint64_t maps, int timeout_ms)
{
    open_parent();
    parent->collector_os = (struct fl_collector_os){NULL, note_rest, take_calls};
    has_calls = true;
    atomic_store(&parent->timed, timed);
    fl_collector_maps(parent, (int32_t)maps + 1);
    fl_collector_maps(parent, -1);
    fl_collector_wait(parent, timeout_ms);
    CHECK(bells == 1 && !atomic_load(&parent->kicked) && !atomic_load(&parent->resting));
    CHECK(atomic_load(&region->notices->collector) == FL_COLLECTOR_AWAKE);
    close_parent();
    return rested_ms;
}

static void the_collector_sleeps_as_long_as_it_may(void)
{
    CHECK(sleep_of(false, 0, -1) == -1);
    CHECK(sleep_of(false, 0, 50) == 50);
    CHECK(sleep_of(true, 0, -1) == FL_TICK_MS);
    CHECK(sleep_of(true, 3, 0) == 0);
    CHECK(sleep_of(false, 1, -1) == FL_DOZE_MS);
    CHECK(sleep_of(false, 2, 100) == FL_DOZE_MS);
    CHECK(sleep_of(false, 2, 1) == 1);
}

static void lost_descriptors_end_the_wait(void)
{
    open_parent();
    parent->collector_os = (struct fl_collector_os){NULL, note_rest, take_calls};
    has_calls = false;
    CHECK(!fl_collector_wait(parent, -1));
    close_parent();
}

/* Only a collector that rests, with something to do, by the parent's own memory. */
static uint32_t ended[4], ended_count;

static int end_two(void *pool, uint32_t slot)
{
    CHECK(pool == &crew);
    if (ended_count < LENGTH(ended))
        ended[ended_count] = slot;
    return ++ended_count == 2 ? -1 : 0;
}

static void what_is_left_of_a_collection_is_flagged_again(void)
{
    uint32_t slot;

    open_parent();
    for (slot = 3; slot < 7; slot++)
        fl_flag_set(region, slot);
    ended_count = 0;
    CHECK(fl_collect(parent, end_two) == -1);
    CHECK(ended_count == 2 && ended[0] == 3 && ended[1] == 4);
    CHECK(atomic_load(&region->flags[0]) == (1u << 5 | 1u << 6));
    CHECK(atomic_load(&parent->kicked) == 1);
    CHECK(fl_collect(parent, end_two) == 0);
    CHECK(ended_count == 4 && ended[2] == 5 && ended[3] == 6 && !fl_flags_any(region));
    close_parent();
}

static void the_supervisor_rings_for_who_cannot(void)
{
    int resting, kicked, flagged;

    for (resting = 0; resting < 2; resting++)
        for (kicked = 0; kicked < 2; kicked++)
            for (flagged = 0; flagged < 2; flagged++) {
                open_parent();
                atomic_store(&parent->resting, (uint64_t)resting);
                atomic_store(&parent->kicked, (uint64_t)kicked);
                if (flagged)
                    fl_flag_set(region, 5);
                fl_collector_nudge(parent);
                CHECK(bells == (uint32_t)(resting && (kicked || flagged)));
                close_parent();
            }
}

/* ---- deadlines ---------------------------------------------------------------------------- */

#define SECOND UINT64_C(1000000000)

/* One task, submitted at 100 s, looked at at 200 s. */
struct look {
    enum fl_state state;
    uint64_t began, known, limit; /* in seconds; known: from an earlier look */
    bool overdue;
    uint64_t since, next; /* 0: unchanged, never */
};

static void check_look(const struct look *l)
{
    uint64_t now = 200 * SECOND;
    struct fl_deadlines d = fl_deadlines_begin(now);
    struct fl_limit limit = {l->limit * SECOND, 100 * SECOND, l->known * SECOND};
    uint32_t slot;

    open_parent();
    slot = publish_one();
    set_word(slot, fl_slot_word(1, l->state == FL_READY ? 0 : 2, l->state));
    fl_slot_at(region, slot)->started_ns = l->began * SECOND;
    CHECK(fl_deadlines_see(&d, parent, slot, &limit) == l->overdue);
    CHECK(limit.began_ns == (l->since ? l->since : l->known) * SECOND);
    CHECK(d.seen == !l->overdue);
    CHECK(fl_deadlines_next(&d, d.seen, SECOND) == l->next * SECOND);
    close_parent();
}

static void a_task_is_overdue_once_its_limit_has_passed(void)
{
    static const struct look looks[] = {
        {FL_READY, 0, 0, 10, false, 0, 210},
        {FL_READY, 150, 0, 10, false, 0, 210},   /* of its life before */
        {FL_RUNNING, 0, 0, 10, false, 0, 210},   /* its worker gets ready */
        {FL_RUNNING, 0, 180, 10, true, 180, 0},  /* it said so once */
        {FL_RUNNING, 195, 0, 10, false, 0, 205},
        {FL_RUNNING, 190, 0, 10, true, 190, 0},
        {FL_RUNNING, 150, 0, 10, true, 150, 0},
        {FL_DONE, 150, 0, 10, false, 0, 0},      /* it has ended, late or not */
        {FL_RUNNING, 300, 0, 10, false, 200, 210}, /* still to come: forged */
        {FL_RUNNING, 300, 195, 10, false, 0, 205},
        {FL_RUNNING, 300, 185, 10, true, 185, 0},
        {FL_RUNNING, 99, 0, 10, false, 200, 210},  /* before it was submitted */
        {FL_RUNNING, 99, 150, 10, true, 150, 0},
        {FL_RUNNING, 100, 0, 10, true, 100, 0},
    };
    size_t i;

    for (i = 0; i < LENGTH(looks); i++)
        check_look(&looks[i]);
}

static void what_is_not_seen_is_looked_for_in_time(void)
{
    uint64_t now = 200 * SECOND;
    struct fl_deadlines d = fl_deadlines_begin(now);

    CHECK(fl_deadlines_next(&d, 0, SECOND) == 0);
    CHECK(fl_deadlines_next(&d, 1, SECOND) == now + SECOND); /* it waits in the queue */
    CHECK(fl_deadlines_next(&d, 1, 2 * SECOND) == now + SECOND);
    d = fl_deadlines_begin(now);
    CHECK(fl_deadlines_next(&d, 1, 1) == now + FL_LEAST_LOOK_NS);
    fl_deadlines_sooner(&d, now + 5);
    CHECK(d.next == now + 5);
    fl_deadlines_sooner(&d, now + 6);
    CHECK(d.next == now + 5);
    CHECK(fl_deadline_after(7, 1) == 7 + FL_LEAST_LOOK_NS);
    CHECK(fl_deadline_after(7, FL_LEAST_LOOK_NS + 1) == 8 + FL_LEAST_LOOK_NS);
}

/* ---- watching -------------------------------------------------------------------------------- */

static void a_watcher_sees_its_slot_leave(void)
{
    uint32_t slot;

    open_parent();
    slot = publish_one();
    fl_watch(parent, (int32_t)slot, 1, clock_ns + 10000);
    CHECK(times_given_way >= 4); /* till the time was over */
    claim(1, slot);
    times_given_way = 0;
    fl_watch(parent, (int32_t)slot, 1, clock_ns + 10000);
    CHECK(times_given_way >= 4);
    CHECK(fl_slot_finish(fl_slot_at(region, slot), 1, 1));
    times_given_way = 0;
    fl_watch(parent, (int32_t)slot, 1, clock_ns + 10000);
    CHECK(!times_given_way);
    fl_slots_release(parent, slot);
    fl_slots_take(parent);
    fl_slots_publish(parent, slot, &crew); /* another task: its own has ended */
    fl_watch(parent, (int32_t)slot, 1, clock_ns + 10000);
    CHECK(!times_given_way);
    fl_flag_set(region, 3);
    fl_watch(parent, -1, 0, clock_ns + 10000);
    CHECK(!times_given_way);
    close_parent();
}

static void who_watches_is_counted(void)
{
    open_parent();
    fl_watch_begin(parent);
    fl_watch_begin(parent);
    CHECK(atomic_load(&region->header->watchers) == 2);
    fl_watch_end(parent);
    CHECK(atomic_load(&region->header->watchers) == 1);
    close_parent();
}

static void who_loses_its_cpu_polls_no_more(void)
{
    open_parent();
    parent->late_ns = 500000;
    step_ns = 500000;
    fl_watch(parent, -1, 0, clock_ns + 10000000);
    CHECK(times_given_way > 1 && !fl_poll_contended(&parent->contended_until, clock_ns));
    step_ns = 500001;
    times_given_way = 0;
    fl_watch(parent, -1, 0, clock_ns + 10000000);
    CHECK(times_given_way == 1 && fl_poll_contended(&parent->contended_until, clock_ns));
    CHECK(!fl_poll_contended(&parent->contended_until, clock_ns + FL_CONTENDED_NS));
    step_ns = 1024;
    close_parent();
}

int main(void)
{
    RUN(the_slot_used_last_is_taken_first);
    RUN(only_words_of_ours_are_valid);
    RUN(a_claim_that_its_worker_knows_nothing_of_is_forged);
    RUN(who_runs_a_corrupted_slot);
    RUN(what_nobody_has_can_be_taken_back);
    RUN(only_what_runs_is_condemned);
    RUN(a_verdict_for_each_slot);
    RUN(all_whom_the_dead_have_called_are_signalled);
    RUN(what_was_condemned_comes_back_at_its_workers_burial);
    RUN(workers_are_asked_for_while_there_are_cpus);
    RUN(what_was_cancelled_is_no_work);
    RUN(short_tasks_wake_nobody);
    RUN(a_tick_says_how_many_are_missing);
    RUN(the_collector_sleeps_as_long_as_it_may);
    RUN(lost_descriptors_end_the_wait);
    RUN(what_is_left_of_a_collection_is_flagged_again);
    RUN(the_supervisor_rings_for_who_cannot);
    RUN(a_task_is_overdue_once_its_limit_has_passed);
    RUN(what_is_not_seen_is_looked_for_in_time);
    RUN(a_watcher_sees_its_slot_leave);
    RUN(who_watches_is_counted);
    RUN(who_loses_its_cpu_polls_no_more);
    return verdict();
}
