/* Writes over the memory that a pool shares with its workers, from a task. Where
 * things are it takes from the layout itself. Called as a C task and, by ctypes,
 * from Python tasks. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/layout.h"

static struct fl_plan plan;
static char *base;

/* The region as this worker has mapped it: the header's pages are read-only. */
static int find_region(void)
{
    char line[512];
    unsigned long start, offset;
    FILE *maps = fopen("/proc/self/maps", "r");

    base = NULL;
    while (!base && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:fuload ") && sscanf(line, "%lx-%*x %*s %lx", &start, &offset) == 2 && !offset)
            base = (char *)start;
    fclose(maps);
    if (base)
        memcpy(&plan, base, sizeof plan);
    return base && plan.magic == FL_MAGIC;
}

static uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(2685821657736338717);
}

static uint64_t any_value(uint64_t *seed)
{
    static const uint64_t values[] = {0, 1, 2, 3, 4, 5, 0xff, UINT64_MAX, UINT64_C(0x4141414141414141),
                                      UINT64_C(1) << 40, UINT64_C(1) << 63, 0x103, 0x203, 0x102, 0x104, 0xffff02};
    uint64_t n = draw(seed) >> 20;

    return n % 3 ? values[n / 3 % (sizeof values / sizeof *values)] : draw(seed);
}

static void store(uint64_t at, uint64_t value)
{
    __atomic_store_n((uint64_t *)(base + at), value, __ATOMIC_SEQ_CST);
}

/* One of the eight-byte words from `at` on: its value, or one that differs in a byte. */
static void stray(uint64_t at, uint64_t size, uint64_t *seed)
{
    uint64_t word = at + (draw(seed) >> 20) % (size / 8) * 8, byte = (draw(seed) >> 20) % 8;

    if (draw(seed) >> 20 & 1)
        store(word, any_value(seed));
    else
        base[word + byte] = (char)(draw(seed) >> 32);
}

static void fill(uint64_t at, uint64_t size, uint64_t *seed)
{
    uint64_t i;

    for (i = 0; i < size / 8; i++)
        store(at + 8 * i, draw(seed));
}

static int region_file(void)
{
    char link[64], to[64];
    int fd;

    for (fd = 3; fd < 1024; fd++) {
        ssize_t size;

        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        size = readlink(link, to, sizeof to - 1);
        if (size > 0 && (to[size] = 0, !strncmp(to, "/memfd:fuload ", 14)))
            return fd;
    }
    return -1;
}

enum manner { NOTICES, STATES, BLOCKS, FLAGS, SLOT_HEADERS, SLOT_AREAS, STRAY, HEADERS, RANDOM, ZEROS, ONES,
              REMOVED, HOLE, HOLES, FILE_HEADER, FILE_STRAY };

/* 0: done; 1: no such manner, or no region. */
int scribble(int manner, uint64_t seed)
{
    uint64_t notices, whole, i;

    seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    if (!find_region())
        return 1;
    notices = plan.notices_at;
    whole = plan.base_size - notices;
    switch (manner) {
    case NOTICES:
        if (draw(&seed) >> 20 & 1)
            store(notices + offsetof(struct fl_notices, collector), any_value(&seed));
        else
            store(notices + offsetof(struct fl_notices, ring_head), any_value(&seed));
        return 0;
    case STATES: stray(plan.states_at, 8 * (uint64_t)plan.workers, &seed); return 0;
    case BLOCKS: stray(plan.blocks_at, plan.workers * sizeof(struct fl_block), &seed); return 0;
    case FLAGS: stray(plan.flags_at, (plan.slots + 63) / 64 * 8, &seed); return 0;
    case SLOT_HEADERS:
        stray(plan.slots_at + (draw(&seed) >> 20) % plan.slots * plan.slot_stride, sizeof(struct fl_slot), &seed);
        return 0;
    case SLOT_AREAS:
        for (i = 0; i < plan.slots; i++)
            fill(plan.slots_at + i * plan.slot_stride + sizeof(struct fl_slot), 2 * (uint64_t)plan.slot_size, &seed);
        return 0;
    case STRAY:
        for (i = 0; i < 300; i++)
            stray(notices, whole, &seed);
        return 0;
    case HEADERS:
        fill(plan.states_at, plan.flags_at - plan.states_at, &seed);
        for (i = 0; i < plan.slots; i++)
            fill(plan.slots_at + i * plan.slot_stride, sizeof(struct fl_slot), &seed);
        return 0;
    case RANDOM: fill(notices, whole, &seed); return 0;
    case ZEROS: memset(base + notices, 0, whole); return 0;
    case ONES: memset(base + notices, 0xff, whole); return 0;
    case REMOVED: return madvise(base + notices, whole, MADV_REMOVE) != 0;
    case HOLE:
        return fallocate(region_file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)plan.total_size) != 0;
    case HOLES: /* a page of what only the parent writes, but not the first */
        return fallocate(region_file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         (off_t)(4096 + (draw(&seed) >> 20) % (notices / 4096 - 1) * 4096), 4096) != 0;
    case FILE_HEADER:
        i = draw(&seed);
        return pwrite(region_file(), &i, 8, (off_t)((draw(&seed) >> 20) % (sizeof(struct fl_header) / 8) * 8)) != 8;
    case FILE_STRAY:
        i = any_value(&seed);
        return pwrite(region_file(), &i, 8, (off_t)((draw(&seed) >> 20) % (plan.base_size / 8) * 8)) != 8;
    default: return 1;
    }
}

/* One store where it hurts. */
enum word { COLLECTOR, HEAD, SLEEPERS, PIDS };

/* How many words were written over; -1: no region. SLEEPERS are the states of all
 * workers that sleep, PIDS everything writable that holds this process's number. */
int poke(int word, uint64_t value)
{
    uint64_t at, *here;
    int count = 0;

    if (!find_region())
        return -1;
    switch (word) {
    case COLLECTOR: store(plan.notices_at + offsetof(struct fl_notices, collector), value); return 1;
    case HEAD: store(plan.notices_at + offsetof(struct fl_notices, ring_head), value); return 1;
    case SLEEPERS:
        for (at = plan.states_at; at < plan.states_at + 8 * (uint64_t)plan.workers; at += 8)
            if ((base[at] & 0xff) == 4)
                store(at, value), count++;
        return count;
    case PIDS:
        for (at = plan.notices_at; at < plan.base_size; at += 8) {
            here = (uint64_t *)(base + at);
            if (*here == (uint64_t)getpid())
                *here = value, count++;
            else if (*here >> 32 == (uint64_t)getpid())
                *here = (*here & UINT32_MAX) | value << 32, count++;
        }
        return count;
    default: return -1;
    }
}

/* Zeros over all that says who runs what. Then it sleeps for an hour. */
int vanish(void)
{
    uint64_t i;

    if (!find_region())
        return -1;
    memset(base + plan.blocks_at, 0, plan.slots_at - plan.blocks_at);
    for (i = 0; i < plan.slots; i++)
        store(plan.slots_at + i * plan.slot_stride, 0);
    sleep(3600);
    return 0;
}
