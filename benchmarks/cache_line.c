/* A cache line there and back between two processes: what no round trip
 * through shared memory can beat. The word on it counts turns: odd is a
 * question, the next even number its answer. */
#include <stdatomic.h>
#include <stdint.h>

#define LEFT UINT64_MAX

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Answers until leave(). */
void answer(_Atomic uint64_t *line)
{
    for (uint64_t question = 1;; question += 2) {
        uint64_t seen;
        while ((seen = atomic_load_explicit(line, memory_order_acquire)) < question)
            relax();
        if (seen == LEFT)
            return;
        atomic_store_explicit(line, question + 1, memory_order_release);
    }
}

void ask(_Atomic uint64_t *line, uint64_t times)
{
    uint64_t turn = atomic_load_explicit(line, memory_order_relaxed);
    while (times--) {
        turn += 2;
        atomic_store_explicit(line, turn - 1, memory_order_release);
        while (atomic_load_explicit(line, memory_order_acquire) != turn)
            relax();
    }
}

void leave(_Atomic uint64_t *line)
{
    atomic_store_explicit(line, LEFT, memory_order_release);
}
