/* What the protocol's tests share: cases and their verdicts, a limit on every
 * wait, a region, threads, and numbers that are the same in each run. */
#ifndef CHECK_H
#define CHECK_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/doorbell.h"
#include "protocol/message.h"

/* A case that takes this long hangs: a ring was lost, a loop does not end. */
#ifndef LIMIT_SECONDS
#define LIMIT_SECONDS 300
#endif

/* Sanitizers make each step dear: the same rounds, fewer of them. */
#if defined(__SANITIZE_THREAD__)
#define ROUNDS(n) ((n) / 8)
#elif defined(__SANITIZE_ADDRESS__)
#define ROUNDS(n) ((n) / 3)
#else
#define ROUNDS(n) (n)
#endif

/* On a machine that has no time for it a case takes fewer rounds after so long. */
#define ENOUGH_SECONDS 20

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* ---- cases -------------------------------------------------------------- */

static const char *case_name;
static const char *case_failure; /* the first one of the case, from any thread */
static int failed_cases;
static time_t case_began;

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

/* Gives its condition, so that a loop can end at a failure. (The builtin, not
 * <stdatomic.h>: test_steps.c counts the steps of that.) */
#define CHECK(condition) \
    check((condition), __FILE__ ":" TEXT(__LINE__) ": " #condition)

static inline bool check(bool holds, const char *what)
{
    const char *none = NULL;

    if (!holds)
        __atomic_compare_exchange_n(&case_failure, &none, what, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
    return holds;
}

static inline bool failed(void)
{
    return __atomic_load_n(&case_failure, __ATOMIC_SEQ_CST) != NULL;
}

static inline bool enough(void)
{
    return time(NULL) - case_began > ENOUGH_SECONDS;
}

static inline void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(2);
}

static inline void on_limit(int number)
{
    (void)number;
    say("not ok ");
    say(case_name);
    say(": it hangs");
    if (failed()) {
        say(", after ");
        say(case_failure);
    }
    say("\n");
    _exit(1);
}

#define RUN(name) run_case(#name, name)

static inline void run_case(const char *name, void (*body)(void))
{
    const char *only = getenv("CASE");

    if (only && *only && strcmp(only, name) != 0)
        return;
    case_name = name;
    case_failure = NULL;
    case_began = time(NULL);
    signal(SIGALRM, on_limit);
    alarm(LIMIT_SECONDS);
    body();
    alarm(0);
    if (case_failure)
        printf("not ok %s: %s\n", name, case_failure);
    else
        printf("ok %s\n", name);
    fflush(stdout);
    failed_cases += case_failure != NULL;
}

/* No case at all is none that passes. */
static inline int verdict(void)
{
    if (!case_name)
        return 2;
    return failed_cases ? 1 : 0;
}

/* ---- numbers ------------------------------------------------------------- */

/* xorshift64*: the same sequence in each run. */
static inline uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(2685821657736338717);
}

static inline uint64_t draw_below(uint64_t *seed, uint64_t limit)
{
    return (draw(seed) >> 11) % limit;
}

/* ---- a region -------------------------------------------------------------- */

static inline void give_up(const char *what)
{
    perror(what);
    exit(2);
}

/* As the parent makes it. Every worker is taken for running. */
static inline void open_region(struct fl_region *r, uint32_t workers, uint32_t slots,
                               uint32_t slot_size, uint64_t max_payload)
{
    struct fl_plan plan;
    void *base;
    int fd = memfd_create("fuload-test", MFD_CLOEXEC);

    memset(&plan, 0, sizeof plan);
    fl_layout_plan(&plan, workers, slots, slot_size, max_payload, fl_descriptions_wanted(max_payload));
    if (fd < 0 || ftruncate(fd, (off_t)plan.total_size) != 0)
        give_up("memfd");
    base = mmap(NULL, plan.base_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        give_up("mmap");
    memcpy(base, &plan, sizeof plan);
    fl_region_bind(r, fd, base, &plan);
    r->header->cpus = workers;
    r->header->max_pollers = 1;
    fl_ring_clear(r);
}

static inline void close_region(struct fl_region *r)
{
    munmap(r->base, r->plan.base_size);
    close(r->fd);
}

/* ---- threads ------------------------------------------------------------------ */

static inline pthread_t begin(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, argument);

    if (error) {
        errno = error;
        give_up("pthread_create");
    }
    return thread;
}

static inline void end(pthread_t thread)
{
    pthread_join(thread, NULL);
}

/* Let others run while waiting for them: there are more threads than CPUs. */
static inline void step_aside(void)
{
    sched_yield();
}

#endif
