/* Where things are in the region: the one shared mmap of a pool.
 *
 * The region is a memfd without a name. The parent creates it, sizes it once,
 * seals its size and hands the descriptor to every worker over exec. This file
 * is the only definition of its layout; workers (C program and Python host)
 * and the parent's extension all include it.
 *
 *   header        sizes, offsets, settings; watchers, leave parent writes
 *   functions     where each function's description lies   parent appends
 *   pids          the process of each worker               parent writes
 *   orders        one word a worker: it shall end          parent writes
 *   ring          published slots                          parent appends, ring.h
 *   notices       collector's state, the ring's head       see each field
 *   states        one word a worker: busy/polling/asleep   doorbell.h
 *   blocks        one cache-line pair a worker: counters   worker writes
 *   flags         one completion bit a slot                worker sets, parent takes
 *   slots         header line, request area, reply area    slot.h, message.h
 *   descriptions  function descriptions, append-only       parent appends
 *   windows       two halves a slot, for large payloads    sparse
 *
 * Everything up to the end of the slots ("base") is mapped by everybody from
 * the start; what only the parent writes, all before the notices, workers map
 * read-only, so that a stray write of a task there is a crash of its worker. (One
 * that maps the file anew, or punches a hole into it, reaches it all the same: no
 * process computes addresses from what stands there, see struct fl_plan. What a
 * wrong value in each writable word can do, and what bounds it, docs/design.md
 * says in a table.) Descriptions and windows are address space only: they are mapped
 * piecewise when first used, and have pages only where something was written.
 *
 * In any process, fl_region_* functions may block on nothing.
 */
#ifndef FL_LAYOUT_H
#define FL_LAYOUT_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define FL_MAGIC UINT64_C(0x316465786f6c7566) /* "fuloexd1" in memory */
#define FL_VERSION 5u

#define FL_LINE 64u          /* a cache line */
#define FL_PAIR 128u         /* what the adjacent-line prefetcher fetches */
#define FL_GRAIN 65536u      /* alignment of mapped pieces: any Linux page size */
#define FL_MAX_WORKERS 4096u
#define FL_MAX_SLOTS 32768u
#define FL_MAX_SLOT_SIZE (1u << 30)
#define FL_MAX_FUNCTIONS 65536u
#define FL_FUNCTION_SHARE 256u /* bytes of descriptions for which there is a place in the table */
#define FL_LEAST_DESCRIPTIONS (2u * FL_GRAIN)
#define FL_GOOD_PAYLOAD (UINT64_C(32) << 20) /* where a file may not be large: slots for such before more slots */
#define FL_NAME_SIZE 16u     /* PR_SET_NAME takes 15 characters */

typedef _Atomic uint64_t fl_word;

_Static_assert(sizeof(fl_word) == 8, "a shared word is eight bytes");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared words must be lock-free");

/* Sizes and places: what never changes. It stands at the start of the region, and
 * each process computes addresses from a copy of its own (struct fl_region), so
 * that whoever writes over the region, or empties it, sends nobody astray. */
struct fl_plan {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;
    uint32_t workers;       /* blocks, at most FL_MAX_WORKERS */
    uint32_t slots;         /* at most FL_MAX_SLOTS */
    uint32_t slot_size;     /* bytes of the request area, and of the reply area */
    uint32_t slot_stride;   /* from one slot to the next */
    uint32_t ring_size;     /* entries, a power of two, at least 4 * slots */
    uint32_t functions;     /* places in their table */
    uint64_t max_payload;   /* most bytes of one request or reply */
    uint64_t half_size;     /* one half of a window: max_payload, rounded up */
    uint64_t functions_at, pids_at, ring_at, notices_at, states_at, blocks_at, flags_at, slots_at, orders_at;
    uint64_t base_size;
    uint64_t descriptions_at, descriptions_size;
    uint64_t windows_at;
    uint64_t total_size;
};

struct fl_header {
    struct fl_plan plan;
    uint32_t cpus;          /* CPUs that the pool may use */
    uint32_t max_pollers;   /* workers that may poll at the same time */
    int32_t parent_pid;
    uint32_t host_function; /* description id of the interpreter's argv, 0 is none */
    uint32_t setup_function; /* description id of the Python set-up, 0 is none */
    uint64_t spin_ns;       /* how long a worker polls before it sleeps */
    uint64_t late_ns;       /* who gets its CPU back so late does not poll for a while; 0: polls on */
    uint64_t max_tasks;     /* a worker leaves after this many; 0 is no limit */
    uint64_t signal_mask;   /* the mask that tasks find, bit n-1 for signal n */
    char name[FL_NAME_SIZE];

    /* How many parent threads watch the flags. Parent writes. */
    _Alignas(FL_PAIR) fl_word watchers;
    /* Non-zero: workers leave when they find nothing to do. Parent writes. */
    fl_word leave;
    /* Entries published so far. Only the parent writes it, before the entry
     * (ring.h). Workers read the entries instead; they look at it, acquire, where
     * a look costs nothing: before they sleep, and where the ring makes no sense. */
    _Alignas(FL_PAIR) fl_word ring_tail;
};

/* What parent and workers write. */
struct fl_notices {
    /* Collector state (doorbell.h). Written by the parent's collector thread
     * (AWAKE, ASLEEP) and by whoever calls it (ASLEEP -> CALLED). */
    _Alignas(FL_PAIR) fl_word collector;
    /* Hint: entries before it are claimed or stale. Workers and parent raise
     * it, nobody lowers it (ring.h). */
    _Alignas(FL_PAIR) fl_word ring_head;
};

/* Only the worker writes its block; the parent reads it, for statistics and
 * after the worker's death. Counters are relaxed: they order nothing. Any task may
 * write over it: `slot` is believed where the slot's word agrees, of the rest
 * nothing but statistics and the kind of a signal depends. */
struct fl_block {
    _Alignas(FL_PAIR) fl_word slot; /* the slot that it is about to claim, or runs, + 1; or 0 */
    fl_word tasks_done;
    fl_word run_ns;
    fl_word relays;        /* doorbells that it rang for other workers */
    fl_word collector_calls;
    fl_word python;        /* enum fl_python */
    fl_word attached;      /* 1 once the region was checked and mapped */
};

/* How far a worker is from serving Python. It writes so itself, and the parent for
 * one that it starts as an interpreter, before it does; the parent reads it to end one
 * that execs something that is no interpreter. Relaxed will do: it orders nothing. */
enum fl_python {
    FL_PYTHON_NO,
    FL_PYTHON_SERVES,
    FL_PYTHON_EXEC,        /* the interpreter is about to be exec'ed, or was */
    FL_PYTHON_STARTS       /* it is one: it runs `site` and imports what it needs */
};

/* What a worker shall do, asked for through the alarm (the pool's second
 * eventfd) where signals are refused. Written by the parent's supervisor, and
 * set back when the worker is buried; read by the worker's watch thread after
 * the alarm was written: sequentially consistent, so it sees what the write of
 * the alarm followed. */
enum fl_order { FL_ORDER_NONE, FL_ORDER_END };

struct fl_function {
    uint64_t at;           /* offset in the file, FL_LINE-aligned */
    uint64_t length;
};

/* A slot: this header pair, then slot_size bytes of request, then slot_size
 * bytes of reply. They do not overlap, so that a request is still whole when
 * its worker dies in the middle of the reply. Header and areas are an odd number
 * of lines and the stride an even one, so a line is spare behind the reply: the
 * worker's guard word stands there (reply.c). Of the first pair, two lines,
 * the second is the head of the request area. */
struct fl_slot {
    _Alignas(FL_LINE) fl_word word; /* slot.h */
    /* Written by the parent before the slot is ready, read by the worker. */
    uint32_t function;
    uint16_t request_kind;
    uint16_t reply_kind;   /* written by the worker before done, as all below */
    uint64_t request_size;
    uint64_t reply_size;
    uint64_t reply_scalar; /* the value; of a reply with bytes, how many of its window were touched */
    /* CLOCK_MONOTONIC; 0 while the worker only gets ready. Relaxed: the parent looks
     * while the task runs, for timeouts. */
    uint64_t started_ns;
    uint64_t finished_ns;
    int32_t reply_status;
};

_Static_assert(sizeof(struct fl_slot) == FL_LINE, "a slot's header is one line");
_Static_assert(sizeof(struct fl_block) == FL_PAIR, "a block is one line pair");
_Static_assert(offsetof(struct fl_header, plan.magic) == 0, "magic comes first");
_Static_assert(offsetof(struct fl_header, plan.version) == 8, "version is where every version has it");
_Static_assert(offsetof(struct fl_header, watchers) % FL_PAIR == 0, "what changes on its own lines");
_Static_assert(offsetof(struct fl_header, ring_tail) % FL_PAIR == 0, "tail on its own lines");

/* One process's view of the region. */
struct fl_region {
    int fd;
    char *base;
    struct fl_plan plan;
    struct fl_header *header;
    struct fl_notices *notices;
    struct fl_function *functions;
    fl_word *pids;
    fl_word *orders;
    fl_word *ring;
    fl_word *states;
    struct fl_block *blocks;
    fl_word *flags;
    char *slots;
    uint32_t ring_mask;
    uint32_t flag_words;
    /* Children that this process forks do not have its windows. The parent's
     * must not; those of a worker are made by tasks, which may read on. */
    bool keep_from_children;
    uint32_t windows; /* halves that are mapped */
};

enum fl_half { FL_REQUEST = 0, FL_REPLY = 1 };

static inline uint64_t fl_round(uint64_t n, uint64_t grain)
{
    return (n + grain - 1) / grain * grain;
}

static inline uint64_t fl_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Add to a counter that only this process writes. */
static inline void fl_count(fl_word *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void fl_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

/* Can there be such a region? Only then does nothing below overflow, and is
 * every offset a valid off_t. */
static inline bool fl_layout_possible(uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload,
                                      uint64_t descriptions)
{
    return descriptions >= FL_LEAST_DESCRIPTIONS && descriptions <= UINT64_C(1) << 61 && descriptions % FL_GRAIN == 0 &&
           workers && workers <= FL_MAX_WORKERS && slots && slots <= FL_MAX_SLOTS && slot_size <= FL_MAX_SLOT_SIZE &&
           max_payload <= (UINT64_C(1) << 60) / slots;
}

static inline uint64_t fl_half_size(uint64_t max_payload)
{
    return fl_round(max_payload ? max_payload : 1, FL_GRAIN);
}

/* Room for the largest initializer that may be a payload, and for the
 * descriptions of every function that the table can name. */
static inline uint64_t fl_descriptions_wanted(uint64_t max_payload)
{
    return fl_half_size(max_payload) + (UINT64_C(1) << 30);
}

/* Fill in sizes and offsets of a possible region. */
static inline void fl_layout_plan(struct fl_plan *h, uint32_t workers, uint32_t slots, uint32_t slot_size,
                                  uint64_t max_payload, uint64_t descriptions)
{
    uint64_t at = fl_round(sizeof(struct fl_header), FL_PAIR);
    uint32_t ring_size = 64;

    while (ring_size < 4 * slots)
        ring_size *= 2;
    h->magic = FL_MAGIC;
    h->version = FL_VERSION;
    h->header_size = sizeof(struct fl_header);
    h->workers = workers;
    h->slots = slots;
    h->slot_size = (uint32_t)fl_round(slot_size, FL_LINE);
    h->slot_stride = (uint32_t)fl_round(sizeof(struct fl_slot) + 2 * (uint64_t)h->slot_size, FL_PAIR);
    h->ring_size = ring_size;
    h->max_payload = max_payload;
    h->half_size = fl_half_size(max_payload);
    h->functions = descriptions / FL_FUNCTION_SHARE < FL_MAX_FUNCTIONS ? (uint32_t)(descriptions / FL_FUNCTION_SHARE)
                                                                       : FL_MAX_FUNCTIONS;
    h->functions_at = at, at = fl_round(at + sizeof(struct fl_function) * (uint64_t)h->functions, FL_PAIR);
    h->pids_at = at, at = fl_round(at + 8 * (uint64_t)workers, FL_PAIR);
    h->orders_at = at, at = fl_round(at + 8 * (uint64_t)workers, FL_PAIR);
    h->ring_at = at, at = fl_round(at + 8 * (uint64_t)ring_size, FL_GRAIN);
    h->notices_at = at, at += sizeof(struct fl_notices);
    h->states_at = at, at = fl_round(at + 8 * (uint64_t)workers, FL_PAIR);
    h->blocks_at = at, at += sizeof(struct fl_block) * (uint64_t)workers;
    h->flags_at = at, at = fl_round(at + 8 * fl_round(slots, 64) / 64, FL_PAIR);
    h->slots_at = at, at += (uint64_t)h->slot_stride * slots;
    h->base_size = fl_round(at, FL_GRAIN);
    h->descriptions_at = h->base_size;
    h->descriptions_size = descriptions;
    h->windows_at = h->descriptions_at + descriptions;
    h->total_size = h->windows_at + 2 * h->half_size * slots;
}

/* Parent: such a region in a file of at most `most` bytes. If it is longer, with
 * room for fewer descriptions; with as many slots as there is room for where each
 * has payloads of FL_GOOD_PAYLOAD, but one more than workers in any case; and with
 * payloads as large as then fit. False: not even the smallest fits. */
static inline bool fl_layout_fit(struct fl_plan *h, uint32_t workers, uint32_t slots, uint32_t slot_size,
                                 uint64_t max_payload, uint64_t most)
{
    uint64_t descriptions = fl_descriptions_wanted(max_payload), room = most / 16 / FL_GRAIN * FL_GRAIN;
    uint64_t good = max_payload < FL_GOOD_PAYLOAD ? max_payload : FL_GOOD_PAYLOAD;
    uint32_t least = slots < workers + 1 ? slots : workers + 1;

    fl_layout_plan(h, workers, slots, slot_size, max_payload, descriptions);
    if (h->total_size <= most)
        return true;
    if (descriptions > room)
        descriptions = room > FL_LEAST_DESCRIPTIONS ? room : FL_LEAST_DESCRIPTIONS;
    while (least < slots) { /* the most slots that fit, by halves */
        uint32_t middle = slots - (slots - least) / 2;

        fl_layout_plan(h, workers, middle, slot_size, good, descriptions);
        if (h->total_size <= most)
            least = middle;
        else
            slots = middle - 1;
    }
    fl_layout_plan(h, workers, least, slot_size, 0, descriptions);
    if (h->total_size > most)
        return false;
    room = h->half_size + (most - h->total_size) / (2 * (uint64_t)least) / FL_GRAIN * FL_GRAIN;
    fl_layout_plan(h, workers, least, slot_size, max_payload < room ? max_payload : room, descriptions);
    return true;
}

/* Compute this process's pointers, from a plan that is known to be right. */
static inline void fl_region_bind(struct fl_region *r, int fd, void *base, const struct fl_plan *plan)
{
    memset(r, 0, sizeof *r);
    r->fd = fd;
    r->base = (char *)base;
    r->plan = *plan;
    r->header = (struct fl_header *)base;
    r->functions = (struct fl_function *)(r->base + plan->functions_at);
    r->pids = (fl_word *)(r->base + plan->pids_at);
    r->orders = (fl_word *)(r->base + plan->orders_at);
    r->ring = (fl_word *)(r->base + plan->ring_at);
    r->notices = (struct fl_notices *)(r->base + plan->notices_at);
    r->states = (fl_word *)(r->base + plan->states_at);
    r->blocks = (struct fl_block *)(r->base + plan->blocks_at);
    r->flags = (fl_word *)(r->base + plan->flags_at);
    r->slots = r->base + plan->slots_at;
    r->ring_mask = plan->ring_size - 1;
    r->flag_words = (plan->slots + 63) / 64;
}

/* Does the region still say what it is? Not if somebody has punched a hole into
 * its file, or written over its start by a mapping of his own. */
static inline bool fl_region_intact(const struct fl_region *r)
{
    return memcmp(&r->header->plan, &r->plan, sizeof r->plan) == 0;
}

/* Map the base of the region that `fd` holds and check it: magic, version,
 * sizes, offsets. Returns NULL, or why it was refused. Called by workers. */
static inline const char *fl_region_attach(struct fl_region *r, int fd)
{
    struct fl_plan plan, again;
    struct stat st;
    void *base;

    if (fstat(fd, &st) != 0)
        return "the region's descriptor is not open";
    if ((uint64_t)st.st_size < sizeof(struct fl_header))
        return "the region is too small for a header";
    base = mmap(NULL, sizeof plan, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return "the region's header cannot be mapped";
    memcpy(&plan, base, sizeof plan);
    munmap(base, sizeof plan);
    if (plan.magic != FL_MAGIC)
        return "this is not a fuload region (wrong magic number)";
    if (plan.version != FL_VERSION)
        return "the region has another protocol version";
    if (!fl_layout_possible(plan.workers, plan.slots, plan.slot_size, plan.max_payload, plan.descriptions_size))
        return "the region's header names an impossible number or size of workers or slots";
    memset(&again, 0, sizeof again);
    fl_layout_plan(&again, plan.workers, plan.slots, plan.slot_size, plan.max_payload, plan.descriptions_size);
    if (memcmp(&again, &plan, sizeof plan) != 0 || plan.total_size != (uint64_t)st.st_size)
        return "the region's header and size do not agree";
    base = mmap(NULL, plan.base_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return "the region cannot be mapped (address space limit?)";
    if (mprotect(base, plan.notices_at, PROT_READ) != 0) {
        munmap(base, plan.base_size);
        return "the region's header cannot be protected";
    }
    fl_region_bind(r, fd, base, &plan);
    return NULL;
}

/* The process of a worker, or 0. Stored, seq_cst, by the parent alone: when it has
 * started one, and 0 when that has died and before it is reaped. A sibling looks,
 * opens a pidfd and looks again: what is still there has not been reaped between
 * [pair: pid or reaped]. */
static inline uint64_t fl_worker_pid(const struct fl_region *r, uint32_t index)
{
    return atomic_load_explicit(&r->pids[index], memory_order_seq_cst);
}

static inline struct fl_slot *fl_slot_at(const struct fl_region *r, uint32_t slot)
{
    return (struct fl_slot *)(r->slots + (size_t)slot * r->plan.slot_stride);
}

static inline char *fl_slot_area(const struct fl_region *r, uint32_t slot, enum fl_half half)
{
    return (char *)fl_slot_at(r, slot) + sizeof(struct fl_slot) + (half ? r->plan.slot_size : 0);
}

#endif
