/* Loaded before libc into a program: counts what a thread allocates, and gives
 * back, while it waits for a signal. */
#define _GNU_SOURCE
#include <poll.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *area, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *area);

/* No thread-local variable: its own allocation would be counted. */
static long counted, calls;

static void count(void)
{
    long thread = __atomic_load_n(&counted, __ATOMIC_SEQ_CST);

    if (thread && syscall(SYS_gettid) == thread)
        __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *area, size_t size)
{
    count();
    return __libc_realloc(area, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

void free(void *area)
{
    count();
    __libc_free(area);
}

/* The thread that is in await_signal(), or 0. */
long who_waits(void)
{
    return __atomic_load_n(&counted, __ATOMIC_SEQ_CST);
}

/* How often the calling thread allocates until a signal has been handled in it;
 * -1 if none comes. */
long await_signal(void)
{
    int nobody;

    __atomic_store_n(&calls, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&counted, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    nobody = poll(NULL, 0, 20000) == 0;
    __atomic_store_n(&counted, 0, __ATOMIC_SEQ_CST);
    return nobody ? -1 : __atomic_load_n(&calls, __ATOMIC_SEQ_CST);
}

/* As if the handler did: that it is seen. */
long allocate_counted(void)
{
    __atomic_store_n(&calls, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&counted, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    free(realloc(calloc(1, 8), 100));
    __atomic_store_n(&counted, 0, __ATOMIC_SEQ_CST);
    return calls;
}
