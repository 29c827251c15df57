/* slot.h: the table of transitions, the races in it, and what each order
 * carries. Payloads are plain memory and the threads are ordered by nothing
 * but the slot's word, so that ThreadSanitizer sees a missing order. */
#include "check.h"

#define WORKER 3u
#define OTHER 4u
#define CLAIMERS 4
#define WORDS 64 /* of a payload */

static struct fl_region region;

/* The word without any order: where to try, as a ring entry would say. */
static uint64_t peek(struct fl_slot *s)
{
    return atomic_load_explicit(&s->word, memory_order_relaxed);
}

static void fill(uint64_t *at, uint64_t key)
{
    uint64_t i;

    for (i = 0; i < WORDS; i++)
        at[i] = key * 31 + i;
}

static bool holds(const uint64_t *at, uint64_t key)
{
    uint64_t i;

    for (i = 0; i < WORDS; i++)
        if (at[i] != key * 31 + i)
            return false;
    return true;
}

static uint64_t *area(uint32_t slot, enum fl_half half)
{
    return (uint64_t *)fl_slot_area(&region, slot, half);
}

/* ---- the table ---------------------------------------------------------------- */

enum step { CLAIM, FINISH, CANCEL, CONDEMN, STEPS };

static bool take_step(struct fl_slot *s, enum step step, uint32_t generation)
{
    switch (step) {
    case CLAIM: return fl_slot_claim(s, generation, WORKER);
    case FINISH: return fl_slot_finish(s, generation, WORKER);
    case CANCEL: return fl_slot_cancel(s, generation);
    default: return fl_slot_condemn(s, generation, WORKER);
    }
}

/* The word after a legal step of WORKER or the parent, or the same word. */
static uint64_t after(uint64_t word, enum step step, uint32_t generation)
{
    static const struct { enum fl_state from, to; bool was_owned, is_owned; } table[STEPS] = {
        [CLAIM] = {FL_READY, FL_RUNNING, false, true},
        [FINISH] = {FL_RUNNING, FL_DONE, true, true},
        [CANCEL] = {FL_READY, FL_FREE, false, false},
        [CONDEMN] = {FL_RUNNING, FL_CONDEMNED, true, true},
    };
    uint32_t owner = table[step].was_owned ? WORKER + 1 : 0;

    if (word != fl_slot_word(generation, owner, table[step].from))
        return word;
    return fl_slot_word(generation, table[step].is_owned ? WORKER + 1 : 0, table[step].to);
}

static void check_step(struct fl_slot *s, uint64_t word, enum step step, uint32_t generation)
{
    uint64_t expected = after(word, step, generation);

    atomic_store(&s->word, word);
    CHECK(take_step(s, step, generation) == (expected != word));
    CHECK(fl_slot_look(s) == expected);
}

static void every_transition(void)
{
    static const uint32_t generations[] = {0, 1, 7, 8, 9, 0x7fffffff, 0x80000000, 0xffffffff};
    static const uint32_t owners[] = {0, WORKER + 1, OTHER + 1, 0xffff};
    struct fl_slot *s = fl_slot_at(&region, 0);
    size_t now, asked, owner;
    int state, step;

    for (now = 0; now < LENGTH(generations); now++)
        for (asked = 0; asked < LENGTH(generations); asked++)
            for (owner = 0; owner < LENGTH(owners); owner++)
                for (state = FL_FREE; state <= FL_CONDEMNED + 1; state++)
                    for (step = 0; step < STEPS; step++)
                        check_step(s, fl_slot_word(generations[now], owners[owner], (enum fl_state)state),
                                   (enum step)step, generations[asked]);
}

static void the_word_keeps_its_parts(void)
{
    struct fl_slot *s = fl_slot_at(&region, 0);
    uint64_t word = fl_slot_word(0xfedcba98, FL_MAX_WORKERS, FL_CONDEMNED);

    CHECK(fl_word_generation(word) == 0xfedcba98);
    CHECK(fl_word_owner(word) == FL_MAX_WORKERS);
    CHECK(fl_word_state(word) == FL_CONDEMNED);
    fl_slot_publish(s, 5);
    CHECK(fl_slot_look(s) == fl_slot_word(5, 0, FL_READY));
    fl_slot_release(s, 5);
    CHECK(fl_slot_look(s) == fl_slot_word(5, 0, FL_FREE));
}

/* After 2^32 lives the numbers start again; the life before is still another. */
static void generations_wrap(void)
{
    struct fl_slot *s = fl_slot_at(&region, 0);
    uint32_t generation = 0xfffffffe, i;

    for (i = 0; i < 4; i++, generation++) {
        fl_slot_publish(s, generation);
        CHECK(!fl_slot_claim(s, generation - 1, WORKER));
        CHECK(!fl_slot_cancel(s, generation - 1));
        CHECK(!fl_slot_claim(s, generation + 1, WORKER));
        CHECK(fl_slot_claim(s, generation, WORKER));
        CHECK(!fl_slot_finish(s, generation - 1, WORKER));
        CHECK(!fl_slot_condemn(s, generation - 1, WORKER));
        CHECK(fl_slot_finish(s, generation, WORKER));
        CHECK(!fl_slot_condemn(s, generation, WORKER));
        fl_slot_release(s, generation);
    }
    CHECK(generation == 2);
}

/* ---- payloads ------------------------------------------------------------------- */

static _Atomic bool stop;
static _Atomic uint64_t wrong_requests;

/* Claims slot 0 whenever it is ready; the reply answers the request. */
static void *answer(void *index)
{
    uint32_t worker = (uint32_t)(uintptr_t)index;
    struct fl_slot *s = fl_slot_at(&region, 0);

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t word = peek(s), key;

        if (fl_word_state(word) != FL_READY || !fl_slot_claim(s, fl_word_generation(word), worker)) {
            step_aside();
            continue;
        }
        key = s->request_size;
        if (!holds(area(0, FL_REQUEST), key))
            atomic_fetch_add_explicit(&wrong_requests, 1, memory_order_relaxed);
        fill(area(0, FL_REPLY), ~key);
        s->reply_scalar = ~key;
        s->reply_status = (int32_t)worker;
        fl_slot_finish(s, fl_word_generation(word), worker);
    }
    return NULL;
}

static void ask(struct fl_slot *s, uint32_t generation, uint64_t key)
{
    fill(area(0, FL_REQUEST), key);
    s->request_size = key;
    fl_slot_publish(s, generation);
}

static void check_answer(struct fl_slot *s, uint32_t generation, uint64_t key)
{
    uint64_t word;

    while (fl_word_state(word = fl_slot_look(s)) != FL_DONE)
        step_aside();
    CHECK(fl_word_generation(word) == generation);
    CHECK(s->reply_scalar == ~key);
    CHECK(fl_word_owner(word) == (uint32_t)s->reply_status + 1);
    CHECK(holds(area(0, FL_REPLY), ~key));
}

static void payloads_cross_whole(void)
{
    struct fl_slot *s = fl_slot_at(&region, 0);
    pthread_t claimers[CLAIMERS];
    uint64_t round;
    uintptr_t i;

    atomic_store(&stop, false);
    atomic_store(&wrong_requests, 0);
    for (i = 0; i < CLAIMERS; i++)
        claimers[i] = begin(answer, (void *)i);
    for (round = 1; round <= ROUNDS(300000) && !failed() && !enough(); round++) {
        uint32_t generation = (uint32_t)(0xffffff00 + round);

        ask(s, generation, round);
        check_answer(s, generation, round);
        fl_slot_release(s, generation);
    }
    atomic_store(&stop, true);
    for (i = 0; i < CLAIMERS; i++)
        end(claimers[i]);
    CHECK(!atomic_load(&wrong_requests));
}

/* ---- races -------------------------------------------------------------------------- */

enum { UNKNOWN, FINISHED, REFUSED };
static _Atomic int outcome;

static void *finish_at_once(void *unused)
{
    struct fl_slot *s = fl_slot_at(&region, 0);

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t word = peek(s);
        uint32_t generation = fl_word_generation(word);

        if (fl_word_state(word) != FL_READY || !fl_slot_claim(s, generation, WORKER)) {
            step_aside();
            continue;
        }
        fill(area(0, FL_REPLY), s->request_size);
        if (s->request_size % 4 == 0)
            step_aside(); /* on one CPU too the parent shall come in between */
        atomic_store(&outcome, fl_slot_finish(s, generation, WORKER) ? FINISHED : REFUSED);
    }
    return unused;
}

/* Either both sides say that it finished, and the reply is there, or both say
 * that it was condemned. The reply is read before the worker's own word. */
static void judge(struct fl_slot *s, uint32_t generation, uint64_t key)
{
    bool condemned = fl_slot_condemn(s, generation, WORKER);
    uint64_t word = fl_slot_look(s);
    int said;

    CHECK(word == fl_slot_word(generation, WORKER + 1, condemned ? FL_CONDEMNED : FL_DONE));
    if (!condemned)
        CHECK(holds(area(0, FL_REPLY), key));
    while ((said = atomic_load(&outcome)) == UNKNOWN)
        step_aside();
    CHECK(said == (condemned ? REFUSED : FINISHED));
}

static void finish_or_condemn_not_both(void)
{
    struct fl_slot *s = fl_slot_at(&region, 0);
    uint64_t seed = 11, round;
    pthread_t worker;

    atomic_store(&stop, false);
    worker = begin(finish_at_once, NULL);
    for (round = 1; round <= ROUNDS(300000) && !failed() && !enough(); round++) {
        uint32_t generation = (uint32_t)round;
        uint64_t delay = draw_below(&seed, 64);

        atomic_store(&outcome, UNKNOWN);
        s->request_size = round;
        fl_slot_publish(s, generation);
        while (fl_word_state(peek(s)) == FL_READY)
            step_aside();
        while (delay--)
            fl_pause();
        judge(s, generation, round);
        fl_slot_release(s, generation);
    }
    atomic_store(&stop, true);
    end(worker);
}

#define MANY 64u
static pthread_barrier_t gate;
static _Atomic uint32_t claims[MANY];
static _Atomic uint32_t current;

static void *claim_them_all(void *index)
{
    uint32_t worker = (uint32_t)(uintptr_t)index, i;

    while (pthread_barrier_wait(&gate), !atomic_load(&stop)) {
        for (i = 0; i < MANY; i++)
            if (fl_slot_claim(fl_slot_at(&region, i), atomic_load(&current), worker))
                atomic_fetch_add(&claims[i], 1);
        pthread_barrier_wait(&gate);
    }
    return NULL;
}

/* Cancel from the other end, so that both meet in the middle. */
static void cancel_them_all(uint32_t generation, bool *cancelled)
{
    uint32_t i;

    for (i = MANY; i-- > 0;)
        cancelled[i] = fl_slot_cancel(fl_slot_at(&region, i), generation);
}

static void check_winners(uint32_t generation, const bool *cancelled)
{
    uint32_t i;

    for (i = 0; i < MANY; i++) {
        uint64_t word = fl_slot_look(fl_slot_at(&region, i));

        CHECK(atomic_exchange(&claims[i], 0) + cancelled[i] == 1);
        CHECK(fl_word_generation(word) == generation);
        CHECK(fl_word_state(word) == (cancelled[i] ? FL_FREE : FL_RUNNING));
        fl_slot_release(fl_slot_at(&region, i), generation);
    }
}

static void cancel_or_claim_not_both(void)
{
    pthread_t claimers[CLAIMERS];
    bool cancelled[MANY];
    uint32_t round, i;
    uintptr_t w;

    atomic_store(&stop, false);
    pthread_barrier_init(&gate, NULL, CLAIMERS + 1);
    for (w = 0; w < CLAIMERS; w++)
        claimers[w] = begin(claim_them_all, (void *)w);
    for (round = 1; round <= ROUNDS(6000); round++) {
        atomic_store(&current, round);
        for (i = 0; i < MANY; i++)
            fl_slot_publish(fl_slot_at(&region, i), round);
        pthread_barrier_wait(&gate);
        cancel_them_all(round, cancelled);
        pthread_barrier_wait(&gate);
        check_winners(round, cancelled);
    }
    atomic_store(&stop, true);
    pthread_barrier_wait(&gate);
    for (w = 0; w < CLAIMERS; w++)
        end(claimers[w]);
    pthread_barrier_destroy(&gate);
}

/* ---- completion flags ------------------------------------------------------------------ */

/* Claims what is ready among its own slots, finishes it and sets the flag. */
static void *finish_and_flag(void *index)
{
    uint32_t worker = (uint32_t)(uintptr_t)index, slot;

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (slot = worker; slot < MANY; slot += CLAIMERS) {
            struct fl_slot *s = fl_slot_at(&region, slot);
            uint64_t word = peek(s);

            if (fl_word_state(word) != FL_READY || !fl_slot_claim(s, fl_word_generation(word), worker))
                continue;
            s->reply_scalar = s->request_size + 1;
            fl_slot_finish(s, fl_word_generation(word), worker);
            fl_flag_set(&region, slot);
        }
        step_aside();
    }
    return NULL;
}

static void publish_again(uint32_t slot, uint32_t *generations)
{
    fl_slot_at(&region, slot)->request_size = generations[slot]++;
    fl_slot_publish(fl_slot_at(&region, slot), generations[slot]);
}

/* What the parent does with one flag. It may be spurious, and it must be
 * enough: nothing else here looks at the words. */
static uint32_t take_flagged(uint32_t slot, uint32_t *generations)
{
    struct fl_slot *s = fl_slot_at(&region, slot);

    if (fl_word_state(fl_slot_look(s)) != FL_DONE)
        return 0;
    CHECK(s->reply_scalar == generations[slot]);
    fl_slot_release(s, generations[slot]);
    publish_again(slot, generations);
    return 1;
}

static void flags_are_never_missing(void)
{
    uint32_t generations[MANY] = {0}, slot, finished = 0;
    pthread_t workers[CLAIMERS];
    uint64_t bits;
    uintptr_t w;

    atomic_store(&stop, false);
    for (slot = 0; slot < MANY; slot++)
        publish_again(slot, generations);
    for (w = 0; w < CLAIMERS; w++)
        workers[w] = begin(finish_and_flag, (void *)w);
    while (finished < ROUNDS(1000000) && !failed()) {
        for (bits = fl_flags_take(&region, 0); bits; bits &= bits - 1)
            finished += take_flagged((uint32_t)__builtin_ctzll(bits), generations);
        step_aside();
    }
    atomic_store(&stop, true);
    for (w = 0; w < CLAIMERS; w++)
        end(workers[w]);
}

static void flags_name_slots_only(void)
{
    static const uint32_t counts[] = {1, 63, 64, 65, 100, 128};
    struct fl_region r;
    size_t i;

    for (i = 0; i < LENGTH(counts); i++) {
        uint64_t bits, word = (counts[i] - 1) / 64;

        open_region(&r, 1, counts[i], 64, 64);
        CHECK(!fl_flags_any(&r));
        fl_flag_set(&r, counts[i] - 1);
        CHECK(fl_flags_any(&r));
        atomic_fetch_or(&r.flags[word], counts[i] % 64 ? UINT64_MAX << counts[i] % 64 : 0);
        bits = fl_flags_take(&r, (uint32_t)word);
        CHECK(bits == UINT64_C(1) << (counts[i] - 1) % 64);
        CHECK(!fl_flags_take(&r, (uint32_t)word));
        CHECK(!fl_flags_any(&r));
        close_region(&r);
    }
}

int main(void)
{
    open_region(&region, 8, MANY, WORDS * 8, 1 << 16);
    RUN(every_transition);
    RUN(the_word_keeps_its_parts);
    RUN(generations_wrap);
    RUN(payloads_cross_whole);
    RUN(finish_or_condemn_not_both);
    RUN(cancel_or_claim_not_both);
    RUN(flags_are_never_missing);
    RUN(flags_name_slots_only);
    close_region(&region);
    return verdict();
}
