/* Copies of payloads: bytes that a caller holds into the region and back.
 *
 * memcpy is the right tool but for one case. glibc before 2.39 copies long
 * blocks by `rep movsb`, and on AMD Zen 3 and 4 that falls to an eighth of its
 * speed if the destination stands up to a line further in its page than the
 * source (loads that alias the stores before them). It is no rare case here:
 * what malloc maps begins 16 bytes into a page, windows begin with the page,
 * so each array that came back out of a window was copied so.
 *
 * Any process, any thread, async-signal-safe; blocks on page faults only.
 */
#ifndef FL_COPY_H
#define FL_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define FL_COPY_LONG 2048u /* glibc's memcpy uses `rep movsb` from here on, at the least */
#define FL_COPY_PAGE 4096u
#define FL_COPY_BLOCK 64u
#define FL_FRESH_LARGE (1u << 20)

/* memmove. */
static inline void fl_copy(void *to, const void *from, size_t size)
{
    size_t ahead = (size_t)((uintptr_t)to - (uintptr_t)from);
    char *t = (char *)to;
    const char *f = (const char *)from;

    if (size >= FL_COPY_LONG && ahead >= size && (ahead - 1) % FL_COPY_PAGE < FL_COPY_BLOCK) {
        for (; size >= FL_COPY_BLOCK; size -= FL_COPY_BLOCK, t += FL_COPY_BLOCK, f += FL_COPY_BLOCK) {
            char block[FL_COPY_BLOCK]; /* registers: all loads come before the stores */

            memcpy(block, f, sizeof block);
            memcpy(t, block, sizeof block);
        }
    }
    memmove(t, f, size);
}

/* The same into a block that was just allocated: a large one would cost a fault for
 * each of its small pages, which takes ten times as long as the copy. No harm if the
 * system has no huge pages. */
static inline void fl_copy_fresh(void *to, const void *from, size_t size)
{
    uintptr_t start = ((uintptr_t)to + FL_COPY_PAGE - 1) & ~(uintptr_t)(FL_COPY_PAGE - 1);
    uintptr_t end = ((uintptr_t)to + size) & ~(uintptr_t)(FL_COPY_PAGE - 1);

    if (size >= FL_FRESH_LARGE)
        madvise((void *)start, end - start, MADV_HUGEPAGE);
    fl_copy(to, from, size);
}

#endif
