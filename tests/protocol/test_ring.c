/* ring.h: every task is served once and in order, whatever is cancelled, who
 * stops where, and how often the ring has gone round. */
#include "check.h"

#define SLOTS 16u
#define RING 64u
#define CLAIMERS 8

static struct fl_region region;
static uint32_t generations[SLOTS];

/* ---- the parent's side, without threads ------------------------------------------ */

/* An empty ring at the start of a lap, as if all before it had been used. */
static void start_at_lap(uint64_t lap)
{
    uint64_t position = lap * RING, i;

    for (i = 0; i < RING; i++)
        atomic_store(&region.ring[i],
                     lap > 1 ? fl_ring_entry(&region, position - RING + i, i % SLOTS, 0x5eed5eed) : 0);
    for (i = 0; i < SLOTS; i++) {
        atomic_store(&fl_slot_at(&region, (uint32_t)i)->word, 0);
        generations[i] = 0;
    }
    atomic_store(&region.notices->ring_head, position);
    atomic_store(&region.header->ring_tail, position);
}

static uint64_t tail(void)
{
    return atomic_load(&region.header->ring_tail);
}

static void publish(uint32_t slot)
{
    fl_ring_publish(&region, slot, generations);
    CHECK(tail() - fl_ring_head(&region) < RING);
}

static bool cancel(uint32_t slot)
{
    return fl_slot_cancel(fl_slot_at(&region, slot), generations[slot]);
}

/* Worker 0 claims with this cursor, and must get this slot (-1: nothing). */
static void expect(uint64_t *cursor, int32_t slot)
{
    uint32_t generation;

    CHECK(fl_ring_claim(&region, 0, cursor, &generation) == slot);
    if (slot < 0)
        return;
    CHECK(generation == generations[slot]);
    CHECK(fl_slot_finish(fl_slot_at(&region, (uint32_t)slot), generation, 0));
    fl_slot_release(fl_slot_at(&region, (uint32_t)slot), generation);
}

static void one_claimer_is_served_in_order(void)
{
    uint64_t cursor, round, seed = 3;
    uint32_t i;

    start_at_lap(1);
    cursor = fl_ring_head(&region);
    for (round = 0; round < 5000; round++) {
        uint32_t count = (uint32_t)draw_below(&seed, SLOTS + 1), first = (uint32_t)draw_below(&seed, SLOTS);

        for (i = 0; i < count; i++)
            publish((first + i) % SLOTS);
        for (i = 0; i < count; i++)
            expect(&cursor, (int32_t)((first + i) % SLOTS));
        expect(&cursor, -1);
        CHECK(fl_ring_head(&region) == tail());
    }
}

/* Stale entries only: the head passes them before they fill the ring. */
static void cancelled_entries_are_dropped(void)
{
    uint64_t cursor = RING, i;

    start_at_lap(1);
    for (i = 0; i < 100 * RING; i++) {
        publish(i % SLOTS);
        CHECK(cancel(i % SLOTS));
    }
    expect(&cursor, -1);
    publish(2);
    expect(&cursor, 2);
}

/* Tasks that nobody claims, and laps of cancelled ones around them. */
static void live_entries_survive_stale_ones(void)
{
    uint64_t cursor = RING, i;
    uint32_t live;

    start_at_lap(1);
    for (live = 0; live < SLOTS - 1; live++) {
        publish(live);
        for (i = 0; i < 3 * RING + live; i++) {
            publish(SLOTS - 1);
            CHECK(cancel(SLOTS - 1));
        }
    }
    for (live = 0; live < SLOTS - 1; live++)
        expect(&cursor, (int32_t)live);
    expect(&cursor, -1);
}

static void repack_moves_only_what_is_live(void)
{
    uint64_t cursor = RING, before;

    start_at_lap(1);
    publish(0);
    publish(1);
    publish(2);
    CHECK(cancel(0));
    before = tail();
    fl_ring_repack(&region, generations, false); /* up to the first live one */
    CHECK(fl_ring_head(&region) == RING + 1 && tail() == before);
    CHECK(generations[1] == 1 && generations[2] == 1);
    fl_ring_repack(&region, generations, true);
    CHECK(fl_ring_head(&region) == before && tail() == before + 2);
    CHECK(generations[0] == 1 && generations[1] == 2 && generations[2] == 2);
    expect(&cursor, 1);
    expect(&cursor, 2);
    expect(&cursor, -1);
}

static void generations_wrap_in_the_ring(void)
{
    uint64_t cursor = RING;
    uint32_t i;

    start_at_lap(1);
    generations[5] = 0xfffffffe;
    for (i = 0; i < 4; i++) {
        publish(5);
        publish(6);
        fl_ring_repack(&region, generations, true);
        expect(&cursor, 5);
        expect(&cursor, 6);
    }
    CHECK(generations[5] == 6);
}

/* ---- claimers that stop ------------------------------------------------------------- */

/* A claimer dies after this many steps of fl_ring_claim: 0 before all, 1 with
 * the entry read, 2 with the slot claimed, 3 with the head moved. */
static bool claim_and_stop(uint64_t cursor, int steps)
{
    uint64_t entry;

    if (steps < 1 || fl_ring_probe(&region, cursor, &entry) != FL_PUBLISHED || steps < 2)
        return false;
    if (!fl_slot_claim(fl_slot_at(&region, (uint32_t)entry & 0xffff), (uint32_t)(entry >> 32), 1))
        return false;
    if (steps == 3)
        fl_ring_pass(&region, cursor + 1);
    return true;
}

static void others_go_on_past_a_stopped_claimer(void)
{
    uint64_t cursor;
    uint32_t i, first;
    int steps;

    for (steps = 0; steps <= 3; steps++) {
        start_at_lap(1);
        cursor = fl_ring_head(&region);
        for (i = 0; i < 5; i++)
            publish(i);
        first = claim_and_stop(cursor, steps);
        CHECK(first == (steps >= 2));
        for (i = first; i < 5; i++)
            expect(&cursor, (int32_t)i);
        expect(&cursor, -1);
        CHECK(fl_ring_head(&region) == tail());
    }
}

/* What it read before it stopped has another meaning when it goes on. */
static void a_late_claim_is_refused(void)
{
    uint64_t cursor = RING, entry, i;

    start_at_lap(1);
    publish(0);
    CHECK(fl_ring_probe(&region, RING, &entry) == FL_PUBLISHED);
    CHECK(cancel(0));
    publish(1);
    publish(0);
    CHECK(!fl_slot_claim(fl_slot_at(&region, 0), (uint32_t)(entry >> 32), 1));
    fl_ring_pass(&region, RING + 1);
    expect(&cursor, 1);
    expect(&cursor, 0);
    for (i = 0; i < 2 * RING; i++) {
        publish(i % SLOTS);
        expect(&cursor, (int32_t)(i % SLOTS));
    }
    fl_ring_pass(&region, RING + 1); /* long past: the head stays */
    CHECK(fl_ring_head(&region) == tail());
}

/* The tag of a lap has 16 bits: cursors that lag by about that many laps see
 * entries that look like theirs, or like the lap before theirs. */
static void cursors_far_behind_catch_up(void)
{
    static const uint64_t lags[] = {0, 1, 2, 100, 65534, 65535, 65536, 65537, 131070, 131071, 131072, 199998};
    uint64_t at, entry, cursor;
    size_t i;

    for (i = 0; i < LENGTH(lags); i++)
        for (at = 0; at < RING; at++) {
            start_at_lap(200000);
            for (cursor = tail(); tail() < cursor + at;) {
                publish(tail() % SLOTS);
                expect(&cursor, (int32_t)((tail() - 1) % SLOTS));
                cursor = 200000 * RING;
            }
            publish(3);
            cursor = tail() - 1 - lags[i] * RING;
            expect(&cursor, 3);
            publish(4);
            cursor = tail() - 1 - lags[i] * RING;
            CHECK(fl_ring_pending(&region, &cursor));
            CHECK(fl_ring_probe(&region, cursor, &entry) == FL_PUBLISHED);
            expect(&cursor, 4);
            CHECK(!fl_ring_pending(&region, &cursor));
        }
}

static void whether_it_is_longer(void)
{
    uint64_t ahead, count, cursor;

    for (count = 0; count <= SLOTS; count++)
        for (ahead = 0; ahead < 3 * RING; ahead++) {
            start_at_lap(1 + count % 3 * 65535);
            cursor = tail();
            while (tail() < cursor + count)
                publish(tail() % SLOTS);
            CHECK(fl_ring_longer(&region, &cursor, ahead) == (ahead < count));
        }
}

/* ---- what no parent wrote ---------------------------------------------------------------- */

static void entries_that_name_no_slot_are_passed(void)
{
    uint32_t *exact = calloc(SLOTS, sizeof *exact); /* so that a write past its end is seen */
    uint64_t cursor = RING, i;

    start_at_lap(1);
    for (i = 0; i < 5; i++)
        fl_ring_publish(&region, (uint32_t)i, exact);
    for (i = 0; i < 4; i++)
        atomic_store(&region.ring[i], fl_ring_entry(&region, RING + i, SLOTS + (uint32_t)i * 0x3fff, 1));
    atomic_store(&fl_slot_at(&region, 0)->word, fl_slot_word(1, 0, FL_READY));
    fl_ring_repack(&region, exact, true);
    CHECK(exact[4] == 2);
    memcpy(generations, exact, sizeof generations);
    expect(&cursor, 4);
    atomic_store(&region.ring[tail() % RING], fl_ring_entry(&region, tail(), 0xffff, 1));
    expect(&cursor, -1);
    free(exact);
}

/* Whoever comes along finds this task. */
static bool in_ring(uint32_t slot)
{
    uint64_t position, entry;

    for (position = tail() - RING; position < tail(); position++)
        if (fl_ring_probe(&region, position, &entry) == FL_PUBLISHED &&
            entry << 48 >> 48 == slot && entry >> 32 == generations[slot])
            return true;
    return false;
}

/* Take back and publish again, each slot in turn but one. */
static void go_round(uint32_t times, uint32_t but)
{
    uint32_t i;

    for (i = 0; i < times; i++) {
        if (i % SLOTS == but)
            continue;
        CHECK(cancel(i % SLOTS));
        fl_ring_publish(&region, i % SLOTS, generations);
    }
    for (i = 0; i < SLOTS; i++) {
        CHECK(fl_slot_look(fl_slot_at(&region, i)) == fl_slot_word(generations[i], 0, FL_READY));
        CHECK(in_ring(i));
    }
}

static void publish_all(void)
{
    uint32_t slot;

    for (slot = 0; slot < SLOTS; slot++)
        publish(slot);
}

/* A head that somebody wrote over: the parent does not hang, writes nowhere
 * that it must not, and no live entry is overwritten. */
static void an_impossible_head_does_no_harm(void)
{
    static const uint64_t heads[] = {0, 1, RING - 1, UINT64_C(1) << 50, UINT64_MAX, UINT64_MAX - RING,
                                     UINT64_C(1) << 63};
    size_t i;

    for (i = 0; i < LENGTH(heads); i++) {
        start_at_lap(UINT64_C(1) << 40);
        publish_all();
        atomic_store(&region.notices->ring_head, heads[i]);
        go_round(10 * RING, (uint32_t)i);
    }
}

static void *held[SLOTS];

static void hold_all(void)
{
    uint32_t i;

    for (i = 0; i < SLOTS; i++)
        held[i] = &held[i];
}

/* Everything that is ready is claimed once, in whatever order. */
static void serve_all(uint64_t *cursor, uint32_t count)
{
    uint32_t generation;
    int32_t slot;

    while ((slot = fl_ring_claim(&region, 0, cursor, &generation)) >= 0) {
        CHECK(generation == generations[slot]);
        CHECK(fl_slot_finish(fl_slot_at(&region, (uint32_t)slot), generation, 0));
        fl_slot_release(fl_slot_at(&region, (uint32_t)slot), generation);
        CHECK(count--);
    }
    CHECK(!count);
}

/* A worker that has taken such a head for its cursor comes back before it sleeps. */
static void a_wild_head_hides_nothing_for_long(void)
{
    uint64_t ahead;

    for (ahead = 1; ahead < 4 * RING; ahead++) {
        uint64_t cursor;

        start_at_lap(9);
        publish_all();
        atomic_store(&region.notices->ring_head, tail() + ahead);
        cursor = fl_ring_head(&region);
        fl_ring_pending(&region, &cursor);
        CHECK(fl_ring_find(&region, &cursor));
        CHECK(fl_ring_pending(&region, &cursor));
        serve_all(&cursor, SLOTS);
        CHECK(!fl_ring_pending(&region, &cursor));
        CHECK(fl_ring_head(&region) <= tail());
    }
}

/* A head between the oldest ready slot and the tail: nobody but the parent knows. */
static void what_a_head_has_passed_is_listed_again(void)
{
    uint64_t over, cursor;

    hold_all();
    for (over = 0; over <= SLOTS; over++) {
        start_at_lap(9);
        publish_all();
        cursor = fl_ring_head(&region) + over;
        atomic_store(&region.notices->ring_head, cursor);
        CHECK(fl_ring_mend(&region, generations, held) == (over > 0));
        CHECK(!fl_ring_mend(&region, generations, held));
        serve_all(&cursor, SLOTS);
    }
}

/* A hole in the file: zeros, which in the first lap look as if nothing had been
 * published. Nobody looks at it for ever, and the parent knows what stood there. */
static void a_ring_of_zeros_is_rebuilt(void)
{
    static const uint64_t laps[] = {1, 2, 9, 65535, 65536, 65537};
    size_t i, k;

    hold_all();
    held[3] = NULL; /* no task: its word was forged */
    for (i = 0; i < LENGTH(laps); i++) {
        uint64_t cursor;

        start_at_lap(laps[i]);
        cursor = fl_ring_head(&region);
        publish_all();
        for (k = 0; k < RING; k++)
            atomic_store(&region.ring[k], 0);
        serve_all(&cursor, 0);
        CHECK(!fl_ring_pending(&region, &cursor));
        CHECK(fl_ring_mend(&region, generations, held));
        serve_all(&cursor, SLOTS - 1);
        publish(5);
        expect(&cursor, 5);
    }
    /* And with the header: there is nothing to be found. */
    {
        uint64_t cursor = tail(), before = cursor;

        atomic_store(&region.header->ring_tail, 0);
        for (k = 0; k < RING; k++)
            atomic_store(&region.ring[k], 0);
        serve_all(&cursor, 0);
        CHECK(!fl_ring_find(&region, &cursor) && cursor == before);
    }
}

/* Zeros in the middle, as a hole that is no longer than an entry leaves them. */
static void a_destroyed_entry_hides_none_behind_it(void)
{
    uint64_t i;

    for (i = 0; i + 1 < SLOTS; i++) {
        uint64_t cursor;
        uint32_t slot;

        start_at_lap(9);
        publish_all();
        cursor = fl_ring_head(&region);
        atomic_store(&region.ring[(cursor + i) & region.ring_mask], 0);
        for (slot = 0; slot < SLOTS; slot++)
            if (slot != i)
                expect(&cursor, (int32_t)slot);
        expect(&cursor, -1);
    }
}

/* An entry that looks as if it had not been published yet. */
static void an_impossible_entry_does_no_harm(void)
{
    uint64_t i;

    for (i = 0; i < SLOTS; i++) {
        start_at_lap(300);
        publish_all();
        atomic_store(&region.ring[i], fl_ring_entry(&region, 299 * RING + i, (uint32_t)i, 1));
        CHECK(cancel((uint32_t)i));
        publish((uint32_t)i);
        go_round(10 * RING, (uint32_t)(i + 1) % SLOTS);
        CHECK(tail() - fl_ring_head(&region) < RING);
    }
}

/* ---- many claimers ------------------------------------------------------------------------- */

#define MOST_TASKS (1u << 20)
static uint8_t served[MOST_TASKS]; /* plain: two that serve one task would be a race */
static _Atomic bool stop;
static _Atomic uint64_t out_of_order;

/* The number of the task stands in the request, and goes back in the reply. */
static void serve(uint32_t worker, uint32_t slot, uint32_t generation)
{
    struct fl_slot *s = fl_slot_at(&region, slot);

    served[s->request_size]++;
    s->reply_scalar = s->request_size;
    fl_slot_finish(s, generation, worker);
    fl_flag_set(&region, slot);
}

static void *claim_and_serve(void *index)
{
    uint32_t worker = (uint32_t)(uintptr_t)index, generation;
    uint64_t cursor = fl_ring_head(&region), last = 0;

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        int32_t slot = fl_ring_claim(&region, worker, &cursor, &generation);

        if (slot < 0) {
            step_aside();
            continue;
        }
        /* What one claimer gets is always newer than what it got before. */
        if (fl_slot_at(&region, (uint32_t)slot)->request_size < last)
            atomic_fetch_add(&out_of_order, 1);
        last = fl_slot_at(&region, (uint32_t)slot)->request_size;
        serve(worker, (uint32_t)slot, generation);
    }
    return NULL;
}

struct parent {
    uint64_t next, finished, cancelled, seed;
    uint64_t task[SLOTS];
    uint32_t free[SLOTS], free_count;
};

static void start_parent(struct parent *p)
{
    memset(p, 0, sizeof *p);
    memset(served, 0, sizeof served);
    atomic_store(&out_of_order, 0);
    atomic_store(&stop, false);
    p->seed = 99;
    for (p->free_count = 0; p->free_count < SLOTS; p->free_count++)
        p->free[p->free_count] = p->free_count;
}

static void collect(struct parent *p)
{
    uint64_t bits = fl_flags_take(&region, 0);

    for (; bits; bits &= bits - 1) {
        uint32_t slot = (uint32_t)__builtin_ctzll(bits);
        struct fl_slot *s = fl_slot_at(&region, slot);
        uint64_t word = fl_slot_look(s);

        if (fl_word_state(word) != FL_DONE)
            continue;
        CHECK(fl_word_generation(word) == generations[slot]);
        CHECK(s->reply_scalar == p->task[slot]);
        fl_slot_release(s, generations[slot]);
        p->free[p->free_count++] = slot;
        p->finished++;
    }
}

static void submit(struct parent *p)
{
    uint32_t slot = p->free[--p->free_count];

    p->task[slot] = p->next++;
    fl_slot_at(&region, slot)->request_size = p->task[slot];
    publish(slot);
}

/* Take back a task at random, if it is still to be had. */
static void cancel_one(struct parent *p)
{
    uint32_t slot = (uint32_t)draw_below(&p->seed, SLOTS), i;

    for (i = 0; i < p->free_count; i++)
        if (p->free[i] == slot)
            return;
    if (!cancel(slot))
        return;
    served[p->task[slot]] += 100;
    p->cancelled++;
    p->free[p->free_count++] = slot;
}

static void start_claimers(pthread_t *claimers, uint32_t count)
{
    uintptr_t w;

    for (w = 0; w < count; w++)
        claimers[w] = begin(claim_and_serve, (void *)w);
}

static void stop_claimers(pthread_t *claimers, uint32_t count)
{
    uint32_t w;

    atomic_store(&stop, true);
    for (w = 0; w < count; w++)
        end(claimers[w]);
}

/* How often a task was moved in the ring: each time it takes a generation. */
static uint64_t moves(const struct parent *p)
{
    uint64_t all = 0;
    uint32_t slot;

    for (slot = 0; slot < SLOTS; slot++)
        all += generations[slot];
    return all - p->next;
}

/* Each task was served once or cancelled, and none both. In order, too: but a
 * task that is moved while a claimer passes comes after newer ones. */
static void check_account(const struct parent *p)
{
    uint64_t task, once = 0, never = 0;

    for (task = 0; task < p->next; task++) {
        once += served[task] == 1;
        never += served[task] == 100;
    }
    CHECK(once == p->finished);
    CHECK(never == p->cancelled);
    CHECK(once + never == p->next);
    CHECK(moves(p) || !atomic_load(&out_of_order));
}

static void run_tasks(uint64_t tasks, uint32_t claimers_count, uint64_t cancel_each)
{
    pthread_t claimers[CLAIMERS];
    struct parent p;

    start_parent(&p);
    start_claimers(claimers, claimers_count);
    while (p.next < tasks && !failed()) {
        collect(&p);
        if (p.free_count)
            submit(&p);
        else
            step_aside();
        if (cancel_each && draw_below(&p.seed, cancel_each) == 0)
            cancel_one(&p);
    }
    while (p.finished + p.cancelled < p.next && !failed()) {
        collect(&p);
        step_aside();
    }
    stop_claimers(claimers, claimers_count);
    check_account(&p);
}

static void many_claimers_serve_each_task_once(void)
{
    start_at_lap(1);
    run_tasks(ROUNDS(600000), CLAIMERS, 0);
}

static void one_claimer_in_its_own_thread(void)
{
    start_at_lap(1);
    run_tasks(ROUNDS(600000), 1, 0);
}

static void tasks_are_served_or_cancelled(void)
{
    start_at_lap(1);
    run_tasks(ROUNDS(400000), CLAIMERS, 2);
    start_at_lap(1);
    run_tasks(ROUNDS(400000), 2, 1);
}

static void lap_tags_wrap_under_claimers(void)
{
    static const uint64_t laps[] = {65534, 65535, 65536, 131070, UINT64_C(0xfffffffe), UINT64_C(0xffffffffffe)};
    size_t i;

    for (i = 0; i < LENGTH(laps); i++) {
        start_at_lap(laps[i]);
        run_tasks(ROUNDS(40000), CLAIMERS, i % 2 ? 3 : 0);
        CHECK(tail() / RING > laps[i] + 2);
    }
}

/* Entries are moved while claimers run after them. The parent cancels what it
 * has just published, most of the time, so that stale entries fill the ring. */
static void repack_under_claimers(void)
{
    pthread_t claimers[CLAIMERS];
    struct parent p;

    start_at_lap(65500);
    start_parent(&p);
    start_claimers(claimers, CLAIMERS);
    while (p.next < ROUNDS(300000) && !failed()) {
        collect(&p);
        while (p.free_count)
            submit(&p);
        fl_ring_repack(&region, generations, true);
        cancel_one(&p);
        if (draw_below(&p.seed, 16) == 0)
            step_aside();
    }
    while (p.finished + p.cancelled < p.next && !failed()) {
        fl_ring_repack(&region, generations, p.finished % 2);
        collect(&p);
        step_aside();
    }
    stop_claimers(claimers, CLAIMERS);
    CHECK(moves(&p));
    check_account(&p);
}

int main(void)
{
    open_region(&region, CLAIMERS, SLOTS, 64, 1 << 16);
    RUN(one_claimer_is_served_in_order);
    RUN(cancelled_entries_are_dropped);
    RUN(live_entries_survive_stale_ones);
    RUN(repack_moves_only_what_is_live);
    RUN(generations_wrap_in_the_ring);
    RUN(others_go_on_past_a_stopped_claimer);
    RUN(a_late_claim_is_refused);
    RUN(cursors_far_behind_catch_up);
    RUN(whether_it_is_longer);
    RUN(entries_that_name_no_slot_are_passed);
    RUN(an_impossible_head_does_no_harm);
    RUN(an_impossible_entry_does_no_harm);
    RUN(a_wild_head_hides_nothing_for_long);
    RUN(what_a_head_has_passed_is_listed_again);
    RUN(a_ring_of_zeros_is_rebuilt);
    RUN(a_destroyed_entry_hides_none_behind_it);
    RUN(many_claimers_serve_each_task_once);
    RUN(one_claimer_in_its_own_thread);
    RUN(tasks_are_served_or_cancelled);
    RUN(lap_tags_wrap_under_claimers);
    RUN(repack_under_claimers);
    close_region(&region);
    return verdict();
}
