/* Every order of steps of a few participants, and a death at every step: no
 * task is lost or served twice, no ring is lost or left over, no flag stays.
 * The orders of memory too, as far as a store buffer goes (steps.h). */
#include "steps.h"

#include "crew.h"

#define WORKERS 3u

static struct crew crew;
static struct fl_region *const region = &crew.region;

/* ---- the system's part ------------------------------------------------------------- */

static uint32_t signals[WORKERS]; /* pending, of this life */
static uint32_t lives[WORKERS];
static bool alive[WORKERS], buried[WORKERS];
static bool reachable = true; /* by the parent: it holds their pidfds */
static uint32_t served[CREW_SLOTS], crashed[CREW_SLOTS], collected[CREW_SLOTS], deaths;
static uint64_t ticks, bell, bell_rings, bell_sleeps;

static uint64_t fake_now(void *unused)
{
    (void)unused;
    return ++ticks << 10;
}

static bool has_signal(uint32_t worker)
{
    return signals[worker] != 0;
}

static bool fake_wait(void *context)
{
    struct seat *seat = context;

    step();
    if (!signals[seat->index])
        wait_until(has_signal);
    signals[seat->index] = 0; /* pending signals of one number are one */
    return true;
}

/* Through a pidfd: what follows in the place of a dead worker is not meant. */
static bool fake_ring(void *unused, uint32_t worker)
{
    uint32_t life = lives[worker];

    (void)unused;
    step();
    if (!alive[worker] || lives[worker] != life)
        return false;
    signals[worker]++;
    return true;
}

static void fake_bell(void *unused)
{
    (void)unused;
    step();
    bell++;
    bell_rings++;
}

static void give_way(void *unused)
{
    (void)unused;
}

static uint32_t workers, tasks; /* of this scenario */

/* ---- participants --------------------------------------------------------------------- */

static void run_task(struct seat *seat, uint32_t slot)
{
    CHECK(deaths || !signals[seat->index]); /* none left over for a task */
    CHECK(alive[seat->index]);
    served[slot]++;
}

static void die(uint32_t worker)
{
    alive[worker] = false;
    deaths++;
}

static void work(uint32_t worker)
{
    serve(&crew.seats[worker]);
}

static bool has_unburied(uint32_t unused)
{
    uint32_t i;

    (void)unused;
    for (i = 0; i < region->plan.workers; i++)
        if (!alive[i] && !buried[i])
            return true;
    return false;
}

static int finish(void *unused, uint32_t slot);

/* What Pool does at a burial: a verdict for each slot. */
static void judge_its_slots(const struct fl_death *death)
{
    uint32_t slot;
    uint64_t word;

    for (slot = 0; slot < CREW_SLOTS; slot++) {
        if (!crew.held[slot])
            continue;
        switch (fl_burial_judge(&crew.parent, death, slot, &word)) {
        case FL_KEPT:
            finish(NULL, slot);
            CHECK(collected[slot]);
            break;
        case FL_CRASHED:
            crew.held[slot] = NULL;
            crashed[slot]++;
            fl_slots_release(&crew.parent, slot);
            break;
        case FL_WILD:
            CHECK(false);
            break;
        default:
            break;
        }
    }
}

static bool blameless;
static uint32_t given_back[CREW_SLOTS];

static void bury(uint32_t worker)
{
    struct fl_death death = {.worker = worker, .suspicious = true, .blameless = blameless};
    int32_t slot;

    buried[worker] = true;
    fl_burial_dead(&crew.parent, worker);
    judge_its_slots(&death);
    for (slot = fl_burial_condemned(&crew.parent, worker, 0); slot >= 0;
         slot = fl_burial_condemned(&crew.parent, worker, (uint32_t)slot + 1)) {
        given_back[slot]++;
        fl_slots_release(&crew.parent, (uint32_t)slot);
    }
    fl_burial_end(&crew.parent, worker);
    announce(&crew);
}

static void bury_the_dead(void)
{
    uint32_t i;

    for (;;) {
        if (!has_unburied(0))
            wait_until(has_unburied);
        for (i = 0; i < region->plan.workers; i++)
            if (!alive[i] && !buried[i])
                bury(i);
    }
}

/* ---- the collector -------------------------------------------------------------------------- */

static uint32_t announced, heard, timeouts_left;
static bool locked; /* the interpreter's lock */

static bool is_unlocked(uint32_t unused)
{
    (void)unused;
    return !locked;
}

static void take_lock(void)
{
    if (locked)
        wait_until(is_unlocked);
    locked = true;
}

static int finish(void *unused, uint32_t slot)
{
    enum fl_outlook outlook;
    uint64_t word;

    (void)unused;
    if (!crew.held[slot])
        return 0;
    outlook = fl_slots_look(&crew.parent, slot, &word);
    CHECK(outlook != FL_CORRUPTED);
    if (outlook == FL_ENDED) {
        crew.held[slot] = NULL;
        fl_slots_release(&crew.parent, slot);
        collected[slot]++;
    }
    return 0;
}

/* The flags, and of a burial what concerns them. */
static void collect(void)
{
    uint32_t i;

    take_lock();
    CHECK(fl_collect(&crew.parent, finish) == 0);
    for (i = 0; i < workers; i++)
        if (!alive[i])
            finish(NULL, i);
    heard = announced;
    locked = false;
}

static bool has_bell(uint32_t unused)
{
    (void)unused;
    return bell != 0;
}

/* It passes when nobody can go on who does not wait for it. */
static bool has_bell_or_time(uint32_t unused)
{
    uint32_t who;

    (void)unused;
    for (who = 0; who < crowd_size && !bell; who++)
        if (!(crowd[who].turn == WAITS && crowd[who].may_go_on == has_bell_or_time) && runnable(who))
            return false;
    return true;
}

/* Its time may be over at any moment, now and then. */
static void fake_rest(void *unused, int most_ms)
{
    (void)unused;
    step();
    if (bell)
        return;
    if (most_ms >= 0 && timeouts_left && choose(2)) {
        timeouts_left--;
        return;
    }
    wait_until(most_ms >= 0 ? has_bell_or_time : has_bell);
}

static bool fake_take_calls(void *unused)
{
    (void)unused;
    step();
    bell = 0;
    bell_sleeps++;
    return true;
}

static void run_collector(uint32_t unused)
{
    (void)unused;
    for (;;) {
        fl_collector_wait(&crew.parent, -1); /* all are started */
        collect();
    }
}

/* ---- the stage ---------------------------------------------------------------------------- */

/* At the end of a lap whose tag is the last one, so that all tags wrap. */
static void reset_ring(void)
{
    uint64_t position = UINT64_C(65536) * region->plan.ring_size - 1, i;

    for (i = position - region->plan.ring_size; i < position; i++)
        atomic_store(&region->ring[i & region->ring_mask], fl_ring_entry(region, i, 0, 0xdead));
    atomic_store(&region->notices->ring_head, position);
    atomic_store(&region->header->ring_tail, position);
    for (i = 0; i < CREW_SLOTS; i++)
        atomic_store(&fl_slot_at(region, (uint32_t)i)->word, 0);
    memset(crew.generations, 0, sizeof crew.generations);
}

static void reset(uint32_t cpus, uint64_t looks)
{
    uint32_t i;

    reset_ring();
    region->plan.workers = workers;
    region->header->cpus = cpus;
    region->header->max_pollers = 1;
    region->header->spin_ns = looks << 10;
    atomic_store(&region->header->leave, 0);
    atomic_store(&region->header->watchers, 0);
    atomic_store(&region->notices->collector, FL_COLLECTOR_AWAKE);
    atomic_store(&region->flags[0], 0);
    for (i = 0; i < WORKERS; i++) {
        crew.seats[i] = (struct seat){.crew = &crew, .index = i};
        crew.seats[i].os = (struct fl_os){&crew.seats[i], fake_now, fake_wait, fake_ring, fake_bell, give_way};
        set_state(&crew, i, i < workers ? FL_BUSY : FL_GONE, 0);
        alive[i] = i < workers;
        buried[i] = !alive[i];
        signals[i] = lives[i] = 0;
    }
    connect_parent(&crew, (struct fl_os){NULL, fake_now, NULL, fake_ring, fake_bell, give_way});
    crew.parent.collector_os = (struct fl_collector_os){NULL, fake_rest, fake_take_calls};
    memset(collected, 0, sizeof collected);
    memset(given_back, 0, sizeof given_back);
    announced = heard = timeouts_left = 0;
    blameless = false;
    locked = false;
    crew.run = run_task;
    memset(served, 0, sizeof served);
    memset(crashed, 0, sizeof crashed);
    deaths = 0;
    ticks = bell = bell_rings = bell_sleeps = 0;
}

/* Each task was served, or went down with its worker; none both or twice. The
 * worker that was still to say so may have died after it served it. */
static void judge_tasks(void)
{
    uint32_t slot;

    for (slot = 0; slot < tasks; slot++) {
        uint32_t state = fl_word_state(fl_slot_look(fl_slot_at(region, slot)));

        CHECK(state == (crashed[slot] || collected[slot] ? FL_FREE : FL_DONE));
        CHECK(crashed[slot] ? served[slot] <= 1 : served[slot] == 1);
    }
}

/* Whoever lives sleeps, and no call is under way. */
static void judge_sleepers(void)
{
    uint32_t i;

    for (i = 0; i < workers; i++)
        if (alive[i]) {
            CHECK(state_of(&crew, i) == FL_ASLEEP);
            CHECK(!signals[i]);
        }
}

static void judge_all(void)
{
    judge_tasks();
    judge_sleepers();
}

static uint32_t cpus;
static uint64_t looks;

/* ---- tasks and sleepers ------------------------------------------------------------------------ */

static void publish_all(uint32_t unused)
{
    uint32_t slot;

    (void)unused;
    for (slot = 0; slot < tasks; slot++)
        publish_and_announce(&crew, slot);
    bury_the_dead();
}

static void stage_tasks(bool mortal)
{
    uint32_t i;

    reset(cpus, looks);
    join(publish_all, 0, NULL);
    for (i = 0; i < workers; i++)
        join(work, i, mortal ? die : NULL);
}

static void stage_the_living(void)
{
    stage_tasks(false);
}

static void stage_the_mortal(void)
{
    stage_tasks(true);
}

static void explore_tasks(uint32_t n_workers, uint32_t n_tasks, uint32_t n_cpus, uint64_t n_looks,
                          struct limits most)
{
    workers = n_workers;
    tasks = n_tasks;
    cpus = n_cpus;
    looks = n_looks;
    explore(most.deaths ? stage_the_mortal : stage_the_living, judge_all, most);
}

static void one_sleeper_misses_nothing(void)
{
    explore_tasks(1, 1, 1, 0, (struct limits){4, 0, 2});
    explore_tasks(1, 2, 1, 0, (struct limits){3, 0, 1});
    explore_tasks(1, 3, 1, 0, (struct limits){2, 0, 1});
}

static void two_sleepers_miss_nothing(void)
{
    explore_tasks(2, 1, 2, 0, (struct limits){2, 0, 1});
    explore_tasks(2, 2, 1, 0, (struct limits){2, 0, 0});
    explore_tasks(2, 3, 2, 0, (struct limits){2, 0, 0});
}

static void a_poller_misses_nothing(void)
{
    explore_tasks(1, 1, 1, 2, (struct limits){3, 0, 1});
    explore_tasks(1, 2, 1, 1, (struct limits){2, 0, 1});
}

static void pollers_and_sleepers_miss_nothing(void)
{
    explore_tasks(2, 2, 1, 1, (struct limits){2, 0, 0});
    explore_tasks(2, 2, 2, 1, (struct limits){2, 0, 0});
    explore_tasks(3, 3, 3, 1, (struct limits){1, 0, 0});
}

static void a_death_at_any_step_loses_nothing(void)
{
    explore_tasks(2, 1, 2, 0, (struct limits){2, 1, 0});
    explore_tasks(2, 2, 2, 0, (struct limits){1, 1, 0});
    explore_tasks(2, 2, 1, 0, (struct limits){1, 1, 0});
    explore_tasks(2, 2, 2, 1, (struct limits){1, 1, 0});
    explore_tasks(3, 1, 3, 0, (struct limits){0, 2, 0});
}

/* ---- long tasks ----------------------------------------------------------------------------------- */

static bool second_is_served(uint32_t unused)
{
    (void)unused;
    return served[1] != 0;
}

/* The first task takes until the second has been served. */
static void run_long_task(struct seat *seat, uint32_t slot)
{
    run_task(seat, slot);
    if (slot == 0 && !second_is_served(0))
        wait_until(second_is_served);
}

static void stage_a_long_task(void)
{
    stage_the_living();
    crew.run = run_long_task;
}

static void wake_up(uint32_t worker)
{
    signals[worker] = 0;
    atomic_exchange(&region->states[worker], fl_state_word(FL_BUSY, 0, 0));
    work(worker);
}

/* One polls, so the parent rings nobody; the other sleeps already. */
static void stage_a_long_task_for_a_poller(void)
{
    reset(cpus, looks);
    crew.run = run_long_task;
    set_state(&crew, 0, FL_POLLING, 0);
    set_state(&crew, 1, FL_ASLEEP, 0);
    join(publish_all, 0, NULL);
    join(work, 0, NULL);
    join_later(wake_up, 1, has_signal);
}

/* Whoever claims it, the other worker gets the one behind it. */
static void a_long_task_hides_none(void)
{
    workers = tasks = cpus = 2;
    for (looks = 0; looks < 2; looks++) {
        explore(stage_a_long_task, judge_all, (struct limits){1, 0, 1});
        explore(stage_a_long_task_for_a_poller, judge_all, (struct limits){2, 0, 1});
    }
}

/* ---- one worker follows another --------------------------------------------------------------- */

static bool is_reborn(uint32_t worker)
{
    return lives[worker] != 0;
}

/* As fl_attach in csrc/worker/attach.c: whatever was published is found. */
static void work_again(uint32_t worker)
{
    atomic_exchange(&region->states[worker], fl_state_word(FL_BUSY, 0, 0));
    work(worker);
}

static void start_again(uint32_t worker)
{
    crew.seats[worker].relays = 0;
    signals[worker] = 0;
    atomic_store(&region->states[worker], fl_state_word(FL_STARTING, 0, 0));
    crew.places[worker].taken = true;
    crew.parent.started++;
    alive[worker] = true;
    lives[worker]++;
}

static void publish_and_restart(uint32_t unused)
{
    uint32_t slot;

    (void)unused;
    for (slot = 0; slot < tasks; slot++)
        publish_and_announce(&crew, slot);
    if (!has_unburied(0))
        wait_until(has_unburied);
    bury(0);
    start_again(0);
}

/* Worker 0 dies, the only one there is or with another beside it. */
static void stage_a_successor(void)
{
    reset(cpus, looks);
    join(publish_and_restart, 0, NULL);
    join(work, 0, die);
    if (workers > 1)
        join(work, 1, NULL);
    join_later(work_again, 0, is_reborn);
}

static void explore_successor(uint32_t n_workers, uint32_t n_tasks, struct limits most)
{
    workers = n_workers;
    tasks = n_tasks;
    cpus = n_workers;
    looks = 0;
    explore(stage_a_successor, judge_all, most);
}

static void a_successor_misses_nothing(void)
{
    explore_successor(1, 1, (struct limits){2, 1, 0});
    explore_successor(1, 2, (struct limits){1, 1, 0});
    explore_successor(2, 2, (struct limits){1, 1, 0});
}

/* ---- the collector's ticks -------------------------------------------------------------------- */

static bool parent_rings(void *context, uint32_t worker)
{
    step();
    return reachable && fake_ring(context, worker);
}

/* A worker that sleeps before the parent has got its pidfd. */
static void publish_before_it_is_known(uint32_t unused)
{
    uint32_t slot;

    (void)unused;
    for (slot = 0; slot < tasks; slot++)
        publish_and_announce(&crew, slot);
    step();
    reachable = true;
}

static void stage_a_new_worker(void)
{
    reset(cpus, looks);
    reachable = false;
    crew.parent.os.ring_worker = parent_rings;
    set_state(&crew, 0, FL_STARTING, 0);
    crew.parent.started = 0; /* the parent has not heard of it yet */
    join(run_collector, 0, NULL);
    join(publish_before_it_is_known, 0, NULL);
    join(work_again, 0, NULL);
}

static void a_worker_that_cannot_be_rung_yet_is_rung_later(void)
{
    workers = cpus = 1;
    looks = 0;
    for (tasks = 1; tasks <= 2; tasks++)
        explore(stage_a_new_worker, judge_all, (struct limits){3 - tasks, 0, 1});
}

/* Whoever waits for the ring to be empty for long enough. */
static void tick_for_the_last_time(uint32_t unused)
{
    (void)unused;
    fl_collector_tick(&crew.parent);
}

static void publish_and_leave_it(uint32_t unused)
{
    uint32_t slot;

    (void)unused;
    for (slot = 0; slot < tasks; slot++)
        publish_and_announce(&crew, slot);
}

/* One is said to poll, so the publisher rings nobody; the other sleeps. Neither
 * comes: the collector must go on with its ticks. */
static void stage_ticks(void)
{
    reset(1, 0);
    set_state(&crew, 0, FL_POLLING, 0);
    set_state(&crew, 1, FL_ASLEEP, 0);
    fl_hint_set(&crew.parent.tick_head, fl_ring_head(region));
    fl_hint_set(&crew.parent.quiet, FL_QUIET_TICKS - 1);
    atomic_store(&crew.parent.timed, 1);
    join(publish_and_leave_it, 0, NULL);
    join(tick_for_the_last_time, 0, NULL);
}

static void judge_ticks(void)
{
    CHECK(atomic_load(&crew.parent.timed) == 1);
    CHECK(fl_ring_head(region) == UINT64_C(65536) * region->plan.ring_size - 1);
}

static void ticks_do_not_stop_before_work(void)
{
    workers = 2;
    for (tasks = 1; tasks <= 2; tasks++)
        explore(stage_ticks, judge_ticks, (struct limits){tasks == 1 ? 4 : 2, 0, 2});
}

static bool all_are_served(uint32_t unused)
{
    uint32_t slot;

    (void)unused;
    for (slot = 0; slot < tasks; slot++)
        if (!served[slot])
            return false;
    return true;
}

static bool is_ever(uint32_t unused)
{
    (void)unused;
    return false;
}

/* A task of worker 0 that outlasts everything: it is busy for good. */
static void stay_busy(uint32_t unused)
{
    (void)unused;
    wait_until(is_ever);
}

/* One CPU, and worker 0 has it: the publisher rings nobody. The other one's task
 * ends just now, and the ticks are about to stop because all are busy. */
static void stage_all_busy(void)
{
    reset(1, 0);
    timeouts_left = 1;
    fl_hint_set(&crew.parent.tick_head, fl_ring_head(region));
    fl_hint_set(&crew.parent.boost, 1);
    atomic_store(&crew.parent.timed, 1);
    join(run_collector, 0, NULL);
    join(publish_and_leave_it, 0, NULL);
    join(stay_busy, 0, NULL);
    join(work, 1, NULL);
}

static void judge_served(void)
{
    CHECK(all_are_served(0));
}

/* The tail stands before the entry. A tick that sees the one alone counts the other
 * worker as busy, which finds nothing and falls asleep; and the publisher, who
 * then finds it asleep, relies on this very tick. */
static void stage_one_tick(void)
{
    reset(1, 0);
    fl_hint_set(&crew.parent.tick_head, fl_ring_head(region));
    fl_hint_set(&crew.parent.boost, 1);
    atomic_store(&crew.parent.timed, 1);
    join(tick_for_the_last_time, 0, NULL);
    join(publish_and_leave_it, 0, NULL);
    join(work, 1, NULL);
}

static void judge_one_tick(void)
{
    CHECK(all_are_served(0) || atomic_load(&crew.parent.timed) == 1);
}

static void ticks_stop_only_while_all_are_busy(void)
{
    workers = 2;
    tasks = 1;
    explore(stage_one_tick, judge_one_tick, (struct limits){2, 0, 0});
    explore(stage_all_busy, judge_served, (struct limits){1, 0, 1});
}

/* Worker 0 is called and does not come (stopped, starved): another is, in time. */
static void stage_a_stopped_worker(void)
{
    reset(1, 0);
    set_state(&crew, 0, FL_CALLED, 0);
    set_state(&crew, 1, FL_ASLEEP, 0);
    join(run_collector, 0, NULL);
    join(publish_and_leave_it, 0, NULL);
    join_later(wake_up, 1, has_signal);
}

static void a_stopped_worker_holds_nothing_up(void)
{
    workers = 2;
    for (tasks = 1; tasks <= 2; tasks++)
        explore(stage_a_stopped_worker, judge_served, (struct limits){2, 0, 0});
}

static void run_forever(struct seat *seat, uint32_t slot)
{
    run_task(seat, slot);
    wait_until(is_ever);
}

/* Of what is published, one worker after another is woken, while none comes back. */
static void stage_long_tasks(void)
{
    uint32_t i;

    reset(1, 0);
    set_state(&crew, 0, FL_BUSY, 0);
    for (i = 1; i < workers; i++) {
        set_state(&crew, i, FL_ASLEEP, i);
        join_later(wake_up, i, has_signal);
    }
    crew.run = run_forever;
    join(run_collector, 0, NULL);
    join(publish_and_leave_it, 0, NULL);
}

static void long_tasks_get_all_workers(void)
{
    workers = 3;
    tasks = 2;
    explore(stage_long_tasks, judge_served, (struct limits){1, 0, 0});
}

/* ---- cancelled and moved --------------------------------------------------------------------- */

static bool cancelled[CREW_SLOTS];

/* Every second task is cancelled, if it still can be; then what is left is
 * moved to the end, and one more task comes. */
static void publish_cancel_and_repack(uint32_t unused)
{
    uint32_t slot;

    (void)unused;
    for (slot = 0; slot + 1 < tasks; slot++)
        publish_and_announce(&crew, slot);
    for (slot = 0; slot + 1 < tasks; slot += 2)
        cancelled[slot] = fl_slots_cancel(&crew.parent, slot);
    fl_ring_repack(region, crew.generations, true);
    publish_and_announce(&crew, tasks - 1);
    bury_the_dead();
}

/* Beside the publisher, from another thread. */
static void drop_stale(uint32_t times)
{
    while (times--)
        fl_ring_repack(region, NULL, false);
}

static uint32_t drops;

static void stage_cancelling(void)
{
    uint32_t i;

    reset(cpus, looks);
    memset(cancelled, 0, sizeof cancelled);
    join(publish_cancel_and_repack, 0, NULL);
    if (drops)
        join(drop_stale, drops, NULL);
    for (i = 0; i < workers; i++)
        join(work, i, die);
}

static void judge_cancelling(void)
{
    uint32_t slot;

    for (slot = 0; slot < tasks; slot++) {
        uint64_t word = fl_slot_look(fl_slot_at(region, slot));

        CHECK(fl_word_generation(word) == crew.generations[slot]);
        CHECK(fl_word_state(word) == (cancelled[slot] || crashed[slot] || collected[slot] ? FL_FREE : FL_DONE));
        CHECK(crashed[slot] ? served[slot] <= 1 : served[slot] == !cancelled[slot]);
    }
    judge_sleepers();
}

static void explore_cancelling(uint32_t n_workers, uint32_t n_tasks, struct limits most)
{
    workers = n_workers;
    tasks = n_tasks;
    cpus = n_workers;
    looks = 0;
    explore(stage_cancelling, judge_cancelling, most);
}

static void moved_tasks_are_not_lost(void)
{
    explore_cancelling(1, 3, (struct limits){2, 0, 1});
    explore_cancelling(2, 3, (struct limits){2, 0, 0});
    explore_cancelling(2, 4, (struct limits){1, 1, 0});
    drops = 2;
    explore_cancelling(1, 4, (struct limits){2, 0, 0});
    drops = 0;
}

/* ---- words that are believed ---------------------------------------------------------------- */

static uint32_t looks_at_words;

/* Whatever an honest worker does meanwhile, or in whose middle it dies. */
static void publish_and_look(uint32_t unused)
{
    uint32_t slot, i;

    (void)unused;
    for (slot = 0; slot < tasks; slot++)
        publish_and_announce(&crew, slot);
    for (i = 0; i < looks_at_words; i++)
        for (slot = 0; slot < tasks; slot++) {
            uint64_t word = fl_slot_look(fl_slot_at(region, slot));

            CHECK(fl_slots_valid(&crew.parent, slot, word));
            CHECK(!fl_slots_forged(&crew.parent, slot, word));
        }
    bury_the_dead();
}

static void stage_looks(void)
{
    uint32_t i;

    reset(cpus, 0);
    join(publish_and_look, 0, NULL);
    for (i = 0; i < workers; i++)
        join(work, i, die);
}

static void judge_looks(void)
{
    uint32_t i, living = 0;

    for (i = 0; i < workers; i++)
        living += alive[i];
    if (living)
        judge_tasks();
}

static void honest_words_are_believed(void)
{
    for (workers = 1; workers <= 2; workers++) {
        cpus = workers;
        tasks = 1;
        looks_at_words = 3;
        explore(stage_looks, judge_looks, (struct limits){workers == 1 ? 3 : 2, 0, 0});
        explore(stage_looks, judge_looks, (struct limits){workers == 1 ? 2 : 1, 1, 0});
    }
    tasks = 2;
    workers = 2;
    explore(stage_looks, judge_looks, (struct limits){0, 1, 0});
}

static bool condemned_by_parent[CREW_SLOTS];

static void condemn_one(uint32_t unused)
{
    uint32_t worker = UINT32_MAX, tries;

    (void)unused;
    publish_and_announce(&crew, 0);
    for (tries = 0; tries < 3 && !condemned_by_parent[0]; tries++)
        condemned_by_parent[0] = fl_slots_condemn(&crew.parent, 0, &worker);
    CHECK(!condemned_by_parent[0] || (worker < workers && crew.condemned[0] == worker + 1 && !crew.held[0]));
    CHECK(condemned_by_parent[0] || crew.held[0]);
    finish(NULL, 0);
}

static void stage_condemning(void)
{
    uint32_t i;

    reset(cpus, 0);
    memset(condemned_by_parent, 0, sizeof condemned_by_parent);
    join(condemn_one, 0, NULL);
    for (i = 0; i < workers; i++)
        join(work, i, NULL);
}

static void judge_condemning(void)
{
    uint32_t state = fl_word_state(fl_slot_look(fl_slot_at(region, 0)));

    CHECK(condemned_by_parent[0] ? state == FL_CONDEMNED && !collected[0] : state == (collected[0] ? FL_FREE : FL_DONE));
}

static void a_task_is_condemned_or_ends(void)
{
    tasks = 1;
    for (workers = 1; workers <= 2; workers++) {
        cpus = workers;
        explore(stage_condemning, judge_condemning, (struct limits){workers == 1 ? 4 : 2, 0, 0});
    }
}

/* ---- burials ---------------------------------------------------------------------------------- */

/* A task of its pool has closed the descriptors: it has claimed the next one, and leaves. */
static void claim_and_leave(uint32_t worker)
{
    struct seat *seat = &crew.seats[worker];
    uint32_t generation;

    seat->cursor = fl_ring_head(region);
    fl_ring_claim(region, worker, &seat->cursor, &generation);
    die(worker);
}

static void stage_a_blameless_death(void)
{
    reset(cpus, 0);
    blameless = true;
    join(publish_all, 0, NULL);
    join(claim_and_leave, 0, NULL);
    join(work, 1, NULL);
}

static void judge_blameless(void)
{
    uint32_t slot;

    judge_tasks();
    for (slot = 0; slot < tasks; slot++)
        CHECK(!crashed[slot] && served[slot] == 1);
}

static void what_had_not_begun_is_for_others(void)
{
    workers = cpus = 2;
    for (tasks = 1; tasks <= 2; tasks++)
        explore(stage_a_blameless_death, judge_blameless, (struct limits){3 - tasks, 0, 1});
}

static uint32_t doomed;

static bool doomed_is_dead(uint32_t unused)
{
    (void)unused;
    return !alive[doomed];
}

/* The slot of a condemned task is no other's before its worker is buried. */
static void condemn_and_publish_again(uint32_t unused)
{
    uint32_t worker;

    (void)unused;
    publish_and_announce(&crew, 0);
    condemned_by_parent[0] = fl_slots_condemn(&crew.parent, 0, &worker);
    if (!condemned_by_parent[0])
        return;
    doomed = worker;
    if (alive[worker])
        wait_until(doomed_is_dead);
    bury(worker);
    CHECK(given_back[0] == 1 && !crew.condemned[0] && !crashed[0] && !collected[0]);
    served[0] = 0;
    publish_and_announce(&crew, 0);
}

static void stage_a_condemned_task(void)
{
    uint32_t i;

    reset(cpus, 0);
    condemned_by_parent[0] = false;
    join(condemn_and_publish_again, 0, NULL);
    for (i = 0; i < workers; i++)
        join(work, i, die);
}

static void judge_a_condemned_task(void)
{
    uint32_t state = fl_word_state(fl_slot_look(fl_slot_at(region, 0)));

    if (given_back[0] && deaths == 1)
        CHECK(served[0] == 1 && state == FL_DONE);
    else if (condemned_by_parent[0])
        CHECK(given_back[0] || state == FL_CONDEMNED);
}

static void a_condemned_slot_is_given_back_at_the_burial(void)
{
    tasks = 1;
    workers = cpus = 2;
    explore(stage_a_condemned_task, judge_a_condemned_task, (struct limits){2, 1, 0});
}

/* ---- leaving -------------------------------------------------------------------------------------- */

static void publish_and_dismiss(uint32_t unused)
{
    uint32_t slot;

    (void)unused;
    for (slot = 0; slot < tasks; slot++)
        publish_and_announce(&crew, slot);
    dismiss(&crew);
}

static void stage_leaving(void)
{
    uint32_t i;

    reset(cpus, looks);
    join(publish_and_dismiss, 0, NULL);
    for (i = 0; i < workers; i++)
        join(work, i, NULL);
}

static void judge_leaving(void)
{
    uint32_t i;

    judge_tasks();
    for (i = 0; i < crowd_size; i++)
        CHECK(crowd[i].turn == ENDED);
    for (i = 0; i < workers; i++)
        CHECK(!signals[i]);
}

static void everybody_leaves_when_told(void)
{
    workers = cpus = 2;
    tasks = 1;
    for (looks = 0; looks < 2; looks++)
        explore(stage_leaving, judge_leaving, (struct limits){2, 0, 0});
    workers = tasks = 1;
    looks = 0;
    explore(stage_leaving, judge_leaving, (struct limits){4, 0, 1});
}

/* ---- flags and calls ----------------------------------------------------------------------------------- */

/* A thread in result(): for its own task, or for any. */
static void run_watcher(uint32_t slot)
{
    take_lock();
    fl_watch_begin(&crew.parent);
    locked = false;
    fl_watch(&crew.parent, (int32_t)slot, slot < workers ? crew.generations[slot] : 0, fake_now(NULL) + 1025);
    take_lock();
    fl_watch_end(&crew.parent);
    locked = false;
    collect();
}

/* A thread of the parent has something for the collector. */
static void announce_and_kick(uint32_t unused)
{
    (void)unused;
    take_lock();
    announced++;
    locked = false;
    fl_collector_kick(&crew.parent);
}

/* A worker at the end of a task; the slot has its number. */
static void finish_and_report(uint32_t worker)
{
    struct fl_slot *s = fl_slot_at(region, worker);

    if (!fl_slot_finish(s, crew.generations[worker], worker))
        return;
    fl_flag_set(region, worker);
    if (!fl_collector_looks(region))
        fl_collector_call(region, &crew.seats[worker].os);
}

/* Crew sees each death and writes the eventfd, whether it was called or not. */
static void announce_deaths(uint32_t unused)
{
    uint32_t i;

    (void)unused;
    for (;;) {
        if (!has_unburied(0))
            wait_until(has_unburied);
        for (i = 0; i < workers; i++)
            buried[i] |= !alive[i];
        fl_collector_kick(&crew.parent);
        fake_bell(NULL);
    }
}

static bool has_watcher, has_kicker;
static uint32_t watched; /* its slot, or UINT32_MAX */

static void stage_collecting(void)
{
    uint32_t i;

    reset(workers, 0);
    join(run_collector, 0, NULL);
    if (has_watcher)
        join(run_watcher, watched, NULL);
    if (has_kicker)
        join(announce_and_kick, 0, NULL);
    join_later(announce_deaths, 0, has_unburied);
    for (i = 0; i < workers; i++) {
        crew.generations[i] = 1;
        crew.held[i] = &crew;
        atomic_store(&fl_slot_at(region, i)->word, fl_slot_word(1, i + 1, FL_RUNNING));
        join(finish_and_report, i, die);
    }
}

static void judge_collecting(void)
{
    uint32_t i;

    CHECK(!fl_flags_any(region));
    CHECK(atomic_load(&region->notices->collector) == FL_COLLECTOR_ASLEEP);
    CHECK(bell_rings <= bell_sleeps + deaths); /* called once each time */
    CHECK(heard == announced);
    CHECK(!atomic_load(&region->header->watchers) && atomic_load(&crew.parent.resting) == 1);
    for (i = 0; i < workers; i++) {
        uint32_t state = fl_word_state(fl_slot_look(fl_slot_at(region, i)));

        CHECK(collected[i] ? state == FL_FREE : state == FL_RUNNING && !alive[i]);
        CHECK(collected[i] <= 1);
    }
}

static void no_flag_is_left_over(void)
{
    has_watcher = true;
    watched = UINT32_MAX;
    workers = 1;
    explore(stage_collecting, judge_collecting, (struct limits){3, 0, 1});
    explore(stage_collecting, judge_collecting, (struct limits){2, 1, 0});
    watched = 0;
    explore(stage_collecting, judge_collecting, (struct limits){3, 0, 1});
    workers = 2;
    explore(stage_collecting, judge_collecting, (struct limits){2, 0, 0});
    explore(stage_collecting, judge_collecting, (struct limits){1, 1, 0});
    has_watcher = false;
}

static void no_kick_is_left_over(void)
{
    has_kicker = true;
    workers = 0;
    explore(stage_collecting, judge_collecting, (struct limits){4, 0, 2});
    workers = 1;
    explore(stage_collecting, judge_collecting, (struct limits){3, 0, 1});
    has_kicker = false;
}

int main(void)
{
    open_region(region, WORKERS, CREW_SLOTS, 64, 64);
    RUN(one_sleeper_misses_nothing);
    RUN(two_sleepers_miss_nothing);
    RUN(a_poller_misses_nothing);
    RUN(pollers_and_sleepers_miss_nothing);
    RUN(a_death_at_any_step_loses_nothing);
    RUN(a_long_task_hides_none);
    RUN(a_successor_misses_nothing);
    RUN(a_worker_that_cannot_be_rung_yet_is_rung_later);
    RUN(ticks_do_not_stop_before_work);
    RUN(ticks_stop_only_while_all_are_busy);
    RUN(a_stopped_worker_holds_nothing_up);
    RUN(long_tasks_get_all_workers);
    RUN(moved_tasks_are_not_lost);
    RUN(honest_words_are_believed);
    RUN(a_task_is_condemned_or_ends);
    RUN(what_had_not_begun_is_for_others);
    RUN(a_condemned_slot_is_given_back_at_the_burial);
    RUN(everybody_leaves_when_told);
    RUN(no_flag_is_left_over);
    RUN(no_kick_is_left_over);
    close_region(region);
    return verdict();
}
