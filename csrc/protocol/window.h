/* Windows: where payloads over slot_size stand. Each slot has two halves, one for
 * its request and one for its reply. They are mapped as far as they are needed, by
 * whoever writes or reads there: a mapping is one process's own, and only its thread
 * that has the slot touches it. */
#ifndef FL_WINDOW_H
#define FL_WINDOW_H

#include "layout.h"

/* Halves of windows that one process keeps mapped. The kernel allows a process
 * 65530 mappings (vm.max_map_count), for all its pools and all else in it. */
#define FL_MOST_WINDOWS 4096u

/* A piece of a window, mapped in this process. */
struct fl_mapping {
    char *at;
    size_t size;
};

static inline uint64_t fl_window_at(const struct fl_region *r, uint32_t slot, enum fl_half half)
{
    return r->plan.windows_at + (2 * (uint64_t)slot + half) * r->plan.half_size;
}

/* Make `m` cover the first `size` bytes of a half window, `size` being at most
 * half_size. A mapping that is too short is replaced, so pointers into it die.
 * Returns its address, or NULL with errno. */
static inline char *fl_window_map(struct fl_region *r, struct fl_mapping *m, uint32_t slot, enum fl_half half,
                                  uint64_t size)
{
    uint64_t want = FL_GRAIN;
    void *at;

    if (m->at && m->size >= size)
        return m->at;
    while (want < size)
        want *= 2;
    if (want > r->plan.half_size)
        want = r->plan.half_size;
    at = mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, (off_t)fl_window_at(r, slot, half));
    if (at == MAP_FAILED)
        return NULL;
    if (r->keep_from_children && madvise(at, want, MADV_DONTFORK) != 0) {
        int number = errno;

        munmap(at, want);
        errno = number;
        return NULL;
    }
    madvise(at, want, MADV_DONTDUMP);
    if (m->at)
        munmap(m->at, m->size);
    else
        r->windows++;
    m->at = (char *)at;
    m->size = want;
    return m->at;
}

/* The pages stay, in the file. */
static inline void fl_window_unmap(struct fl_region *r, struct fl_mapping *m)
{
    if (!m->at)
        return;
    munmap(m->at, m->size);
    m->at = NULL;
    m->size = 0;
    r->windows--;
}

#endif
