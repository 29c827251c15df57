/* Participants that take turns, one step at a time, in every order.
 *
 * A step is one access to a shared word, one system call of doorbell.h. Before
 * each, the participant may be stopped for another, or die. `explore` runs a
 * scenario again and again, each time with other choices, until all schedules
 * with at most so many preemptions, deaths and delayed stores were run.
 *
 * Delayed stores: any that is not seq_cst may stay in the participant's store
 * buffer, where only itself sees it, up to its next seq_cst store or
 * read-modify-write, or until it waits, ends or dies. So a store followed by a
 * look passes here only if the orders forbid that the look comes first.
 *
 * To be included before anything that includes csrc/protocol.
 */
#ifndef STEPS_H
#define STEPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <setjmp.h>
#include <ucontext.h>

typedef _Atomic uint64_t step_word;

static uint64_t step_load(step_word *at);
static void step_store(step_word *at, uint64_t value, memory_order order);
static uint64_t step_exchange(step_word *at, uint64_t value);
static uint64_t step_or(step_word *at, uint64_t bits);
static bool step_swap(step_word *at, uint64_t *seen, uint64_t value);

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_fetch_or_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load(at) step_load(at)
#define atomic_load_explicit(at, order) step_load(at)
#define atomic_store(at, value) step_store(at, value, memory_order_seq_cst)
#define atomic_store_explicit(at, value, order) step_store(at, value, order)
#define atomic_exchange(at, value) step_exchange(at, value)
#define atomic_exchange_explicit(at, value, order) step_exchange(at, value)
#define atomic_fetch_or_explicit(at, bits, order) step_or(at, bits)
#define atomic_compare_exchange_strong(at, seen, value) step_swap(at, seen, value)
#define atomic_compare_exchange_strong_explicit(at, seen, value, yes, no) \
    ((void)(yes), step_swap(at, seen, value))
#define atomic_compare_exchange_weak_explicit(at, seen, value, yes, no) \
    ((void)(yes), step_swap(at, seen, value))

/* One look between two looks at the clock: more would show nothing else. */
#define FL_POLL_LOOKS 1u
#define FL_WATCH_LOOKS 1u

#include "check.h"

#define STACK_SIZE (64u * 1024)
#define MOST_PARTICIPANTS 6u
#define MOST_DELAYED 8u
#define MOST_STEPS 20000u
#define NOBODY UINT32_MAX

enum turn { GOES_ON, WAITS, ENDED };

struct participant {
    ucontext_t context; /* where it begins */
    jmp_buf at;         /* and where it goes on */
    bool begun;
    char stack[STACK_SIZE];
    void (*body)(uint32_t argument);
    uint32_t argument;
    enum turn turn;
    bool (*may_go_on)(uint32_t argument); /* what it waits for */
    void (*die)(uint32_t argument);       /* NULL: it is immortal */
    struct { step_word *at; uint64_t value; } delayed[MOST_DELAYED];
    uint32_t delayed_count;
};

static struct participant crowd[MOST_PARTICIPANTS];
static uint32_t crowd_size, current = NOBODY;
static jmp_buf outside;

/* The choices of this run; those up to trail_length are given. */
static struct { uint8_t choice, options; } trail[MOST_STEPS];
static uint32_t trail_length, trail_at, steps_taken;
static uint32_t preemptions_left, deaths_left, delays_left;
static uint64_t schedules;

/* ---- choices --------------------------------------------------------------------- */

static uint32_t choose(uint32_t options)
{
    if (options < 2)
        return 0;
    if (trail_at == trail_length) {
        trail[trail_length].choice = 0;
        trail[trail_length++].options = (uint8_t)options;
    }
    return trail[trail_at++].choice;
}

/* The next schedule, in depth-first order. False: that was the last. */
static bool change_last_choice(void)
{
    trail_length = trail_at;
    while (trail_length && trail[trail_length - 1].choice + 1 == trail[trail_length - 1].options)
        trail_length--;
    if (!trail_length)
        return false;
    trail[trail_length - 1].choice++;
    return true;
}

/* ---- turns ------------------------------------------------------------------------- */

static bool runnable(uint32_t who)
{
    struct participant *p = &crowd[who];

    return p->turn == GOES_ON || (p->turn == WAITS && p->may_go_on(p->argument));
}

static uint32_t count_runnable(uint32_t but)
{
    uint32_t who, count = 0;

    for (who = 0; who < crowd_size; who++)
        count += who != but && runnable(who);
    return count;
}

static uint32_t nth_runnable(uint32_t n, uint32_t but)
{
    uint32_t who;

    for (who = 0; who < crowd_size; who++)
        if (who != but && runnable(who) && n-- == 0)
            return who;
    return NOBODY;
}

static void step(void);

static void flush(struct participant *p)
{
    uint32_t i;

    for (i = 0; i < p->delayed_count; i++)
        __atomic_store_n((uint64_t *)p->delayed[i].at, p->delayed[i].value, __ATOMIC_SEQ_CST);
    p->delayed_count = 0;
}

/* Remember where this one is, and go on as `who`, or outside. No swapcontext():
 * that is a system call each time, and there are a hundred million. */
static void go_on_as(jmp_buf *here, uint32_t who)
{
    struct participant *p;

    if (_setjmp(*here) != 0)
        return;
    if (who == NOBODY)
        _longjmp(outside, 1);
    p = &crowd[who];
    if (p->begun)
        _longjmp(p->at, 1);
    p->begun = true;
    setcontext(&p->context);
}

/* Leave the turn to `who`, or, if nobody can go on, end the run. */
static void pass_turn(uint32_t who)
{
    uint32_t self = current;

    current = who;
    if (who != NOBODY)
        crowd[who].turn = GOES_ON;
    go_on_as(&crowd[self].at, who);
}

static void pass_turn_to_any(void)
{
    pass_turn(nth_runnable(choose(count_runnable(NOBODY)), NOBODY));
}

/* The last moment at which others see none of what is delayed. */
static void flush_late(struct participant *self)
{
    if (self->delayed_count)
        step();
    flush(self);
}

static void wait_until(bool (*may_go_on)(uint32_t argument))
{
    struct participant *self = &crowd[current];

    flush_late(self);
    self->may_go_on = may_go_on;
    self->turn = WAITS;
    pass_turn_to_any();
}

static void end_turns(void)
{
    flush(&crowd[current]);
    crowd[current].turn = ENDED;
    pass_turn_to_any();
}

static void step(void)
{
    uint32_t others, choice;
    struct participant *self;

    if (current == NOBODY)
        return;
    self = &crowd[current];
    if (!CHECK(++steps_taken < MOST_STEPS / 2)) /* it does not end */
        pass_turn(NOBODY);
    others = preemptions_left ? count_runnable(current) : 0;
    choice = choose(1 + others + (self->die && deaths_left));
    if (choice > others) {
        deaths_left--;
        self->die(self->argument);
        end_turns();
    } else if (choice) {
        preemptions_left--;
        pass_turn(nth_runnable(choice - 1, current));
    }
}

/* ---- accesses ------------------------------------------------------------------------ */

static uint64_t step_load(step_word *at)
{
    uint32_t i;

    step();
    if (current != NOBODY)
        for (i = crowd[current].delayed_count; i-- > 0;)
            if (crowd[current].delayed[i].at == at)
                return crowd[current].delayed[i].value;
    return __atomic_load_n((uint64_t *)at, __ATOMIC_SEQ_CST);
}

/* Stores leave a buffer in the order in which they came. */
static bool delay(struct participant *self, step_word *at, uint64_t value)
{
    if (self->delayed_count == MOST_DELAYED)
        flush(self);
    if (!self->delayed_count && !(delays_left && choose(2)))
        return false;
    if (!self->delayed_count)
        delays_left--;
    self->delayed[self->delayed_count].at = at;
    self->delayed[self->delayed_count++].value = value;
    return true;
}

static void step_store(step_word *at, uint64_t value, memory_order order)
{
    step();
    if (current != NOBODY) {
        if (order != memory_order_seq_cst && delay(&crowd[current], at, value))
            return;
        flush(&crowd[current]);
    }
    __atomic_store_n((uint64_t *)at, value, __ATOMIC_SEQ_CST);
}

static void step_modify(void)
{
    step();
    if (current != NOBODY)
        flush(&crowd[current]);
}

static uint64_t step_exchange(step_word *at, uint64_t value)
{
    step_modify();
    return __atomic_exchange_n((uint64_t *)at, value, __ATOMIC_SEQ_CST);
}

static uint64_t step_or(step_word *at, uint64_t bits)
{
    step_modify();
    return __atomic_fetch_or((uint64_t *)at, bits, __ATOMIC_SEQ_CST);
}

static bool step_swap(step_word *at, uint64_t *seen, uint64_t value)
{
    step_modify();
    return __atomic_compare_exchange_n((uint64_t *)at, seen, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Without a step: for what decides whether somebody may go on. */
static inline uint64_t glance(step_word *at)
{
    return __atomic_load_n((uint64_t *)at, __ATOMIC_SEQ_CST);
}

/* ---- runs ------------------------------------------------------------------------------- */

static void begin_body(unsigned who)
{
    crowd[who].body(crowd[who].argument);
    flush_late(&crowd[who]);
    end_turns();
}

/* One more participant of this run. */
static void join(void (*body)(uint32_t argument), uint32_t argument, void (*die)(uint32_t argument))
{
    struct participant *p = &crowd[crowd_size];

    p->body = body;
    p->argument = argument;
    p->die = die;
    p->turn = GOES_ON;
    p->delayed_count = 0;
    p->begun = false;
    if (!p->context.uc_stack.ss_sp) /* once: it is a system call */
        getcontext(&p->context);
    p->context.uc_stack.ss_sp = p->stack;
    p->context.uc_stack.ss_size = STACK_SIZE;
    p->context.uc_link = NULL;
    makecontext(&p->context, (void (*)(void))begin_body, 1, crowd_size++);
}

/* One that begins when it may. */
static inline void join_later(void (*body)(uint32_t argument), uint32_t argument,
                              bool (*may_begin)(uint32_t argument))
{
    join(body, argument, NULL);
    crowd[crowd_size - 1].may_go_on = may_begin;
    crowd[crowd_size - 1].turn = WAITS;
}

static void run_all(void)
{
    steps_taken = 0;
    current = nth_runnable(choose(count_runnable(NOBODY)), NOBODY);
    go_on_as(&outside, current);
    current = NOBODY;
}

struct limits { uint32_t preemptions, deaths, delays; };

/* `set_up` puts all in place and joins the participants, `judge` looks at what
 * is left when none of them can go on. */
static void explore(void (*set_up)(void), void (*judge)(void), struct limits most)
{
    trail_length = 0;
    schedules = 0;
    do {
        trail_at = 0;
        crowd_size = 0;
        preemptions_left = most.preemptions;
        deaths_left = most.deaths;
        delays_left = most.delays;
        set_up();
        run_all();
        judge();
        schedules++;
    } while (!failed() && change_last_choice());
    if (getenv("COUNT_SCHEDULES"))
        fprintf(stderr, "%s: %lu schedules\n", case_name, (unsigned long)schedules);
}

#endif
