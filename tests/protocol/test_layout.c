/* layout.h: what a worker refuses to attach to, that nothing overlaps, and
 * that windows grow without losing what stands in them. */
#include <fcntl.h>

#include "check.h"

/* ---- attaching ----------------------------------------------------------------- */

static struct fl_region made;

static void make(void)
{
    open_region(&made, 3, 20, 200, 300000);
    made.header->parent_pid = getpid();
    memcpy(made.header->name, "test", 5);
}

static const char *attach(int fd, struct fl_region *r)
{
    const char *why = fl_region_attach(r, fd);

    CHECK(why || (r->fd == fd && r->base));
    return why;
}

static bool refused(int fd)
{
    struct fl_region r;

    if (attach(fd, &r))
        return true;
    munmap(r.base, r.plan.base_size);
    return false;
}

static void a_good_region_is_attached(void)
{
    struct fl_region r;
    uint32_t slot;

    make();
    if (!CHECK(!attach(made.fd, &r)))
        return;
    CHECK(r.plan.workers == 3 && r.plan.slots == 20 && r.plan.slot_size == 256);
    CHECK(r.ring_mask == r.plan.ring_size - 1 && r.flag_words == 1);
    CHECK(!strcmp(r.header->name, "test"));
    for (slot = 0; slot < 20; slot++) {
        fl_slot_publish(fl_slot_at(&made, slot), slot + 7);
        memset(fl_slot_area(&made, slot, FL_REPLY), (int)slot, 256);
        CHECK(fl_slot_look(fl_slot_at(&r, slot)) == fl_slot_word(slot + 7, 0, FL_READY));
        CHECK(fl_slot_area(&r, slot, FL_REPLY)[255] == (char)slot);
    }
    atomic_store(&made.states[2], 99);
    CHECK(atomic_load(&r.states[2]) == 99);
    munmap(r.base, r.plan.base_size);
    close_region(&made);
}

static void descriptors_of_other_things_are_refused(void)
{
    int pipes[2];
    int fd = memfd_create("empty", MFD_CLOEXEC);

    CHECK(refused(-1));
    CHECK(refused(fd));
    CHECK(ftruncate(fd, sizeof(struct fl_header) - 1) == 0);
    CHECK(refused(fd));
    CHECK(ftruncate(fd, 1 << 20) == 0);
    CHECK(refused(fd)); /* zeros */
    close(fd);
    CHECK(refused(fd)); /* not open */
    CHECK(pipe2(pipes, O_CLOEXEC) == 0);
    CHECK(refused(pipes[0]));
    close(pipes[0]);
    close(pipes[1]);
    fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    CHECK(refused(fd));
    close(fd);
}

static void cut_and_stretched_files_are_refused(void)
{
    off_t size;

    make();
    size = (off_t)made.plan.total_size;
    CHECK(ftruncate(made.fd, size - 1) == 0);
    CHECK(refused(made.fd));
    CHECK(ftruncate(made.fd, size + 1) == 0);
    CHECK(refused(made.fd));
    CHECK(ftruncate(made.fd, (off_t)made.plan.base_size) == 0);
    CHECK(refused(made.fd));
    CHECK(ftruncate(made.fd, size) == 0);
    CHECK(!refused(made.fd));
    close_region(&made);
}

/* A header of these numbers, in a file of the size that it says. */
static bool numbers_refused(uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload)
{
    struct fl_plan h;
    int fd = memfd_create("numbers", MFD_CLOEXEC);
    bool is;

    memset(&h, 0, sizeof h);
    fl_layout_plan(&h, workers, slots, slot_size, max_payload, fl_descriptions_wanted(max_payload));
    if (ftruncate(fd, (off_t)h.total_size) != 0 || pwrite(fd, &h, sizeof h, 0) != sizeof h) {
        close(fd);
        return true; /* such a file there cannot be */
    }
    is = refused(fd);
    close(fd);
    return is;
}

static void impossible_numbers_are_refused(void)
{
    CHECK(!numbers_refused(1, 1, 0, 0));
    CHECK(!numbers_refused(FL_MAX_WORKERS, 1024, 4096, 1 << 30));
    CHECK(!numbers_refused(1, FL_MAX_SLOTS, 64, 1 << 20));
    CHECK(numbers_refused(0, 1, 64, 64));
    CHECK(numbers_refused(FL_MAX_WORKERS + 1, 1, 64, 64));
    CHECK(numbers_refused(1, 0, 64, 64));
    CHECK(numbers_refused(1, FL_MAX_SLOTS + 1, 64, 64));
    CHECK(numbers_refused(1, 1, FL_MAX_SLOT_SIZE + 1, 64));
    CHECK(numbers_refused(1, 1, 0x80000000, 64));
    CHECK(numbers_refused(1, 1024, 64, UINT64_C(1) << 60)); /* 2 * 1024 * 2^60 is 0 */
    CHECK(numbers_refused(1, 2, 64, UINT64_C(1) << 62));
    CHECK(numbers_refused(1, 1, 64, UINT64_MAX));
}

static void possible_numbers_do_not_overflow(void)
{
    static const uint64_t payloads[] = {0, 1, 1 << 30, UINT64_C(1) << 40, UINT64_C(1) << 45, UINT64_C(1) << 60,
                                        UINT64_C(1) << 61, UINT64_MAX};
    static const uint32_t slots[] = {1, 3, 1024, FL_MAX_SLOTS};
    struct fl_plan h;
    size_t i, k;

    CHECK(fl_layout_possible(FL_MAX_WORKERS, FL_MAX_SLOTS, FL_MAX_SLOT_SIZE, UINT64_C(1) << 45,
                             fl_descriptions_wanted(UINT64_C(1) << 45)));
    for (i = 0; i < LENGTH(payloads); i++)
        for (k = 0; k < LENGTH(slots); k++) {
            if (!fl_layout_possible(FL_MAX_WORKERS, slots[k], FL_MAX_SLOT_SIZE, payloads[i],
                                    fl_descriptions_wanted(payloads[i])))
                continue;
            fl_layout_plan(&h, FL_MAX_WORKERS, slots[k], FL_MAX_SLOT_SIZE, payloads[i],
                           fl_descriptions_wanted(payloads[i]));
            CHECK(h.slot_stride >= sizeof(struct fl_slot) + 2 * (uint64_t)h.slot_size);
            CHECK(h.half_size >= payloads[i]);
            CHECK(h.total_size < (uint64_t)INT64_MAX);
            CHECK((h.total_size - h.windows_at) / h.half_size == 2 * (uint64_t)slots[k]);
        }
}

/* What follows from the four numbers, and magic and version: each bit counts. */
static void one_wrong_bit_is_refused(void)
{
    static const struct { size_t at, size; } fields[] = {
#define FIELD(name) {offsetof(struct fl_plan, name), sizeof ((struct fl_plan *)0)->name}
        FIELD(magic), FIELD(version), FIELD(header_size), FIELD(workers), FIELD(slots), FIELD(slot_size),
        FIELD(slot_stride), FIELD(ring_size), FIELD(functions), FIELD(max_payload), FIELD(half_size), FIELD(pids_at),
        FIELD(orders_at), FIELD(ring_at),
        FIELD(states_at), FIELD(blocks_at), FIELD(flags_at), FIELD(functions_at), FIELD(slots_at),
        FIELD(base_size), FIELD(descriptions_at), FIELD(descriptions_size), FIELD(windows_at),
        FIELD(total_size),
#undef FIELD
    };
    size_t i, bit;

    make();
    for (i = 0; i < LENGTH(fields); i++)
        for (bit = 0; bit < 8 * fields[i].size; bit++) {
            char *at = (char *)made.header + fields[i].at + bit / 8;

            *at = (char)(*at ^ 1 << bit % 8);
            /* One byte more or less of max_payload can round to the same plan. */
            CHECK(refused(made.fd) || fields[i].at == offsetof(struct fl_plan, max_payload));
            *at = (char)(*at ^ 1 << bit % 8);
        }
    CHECK(!refused(made.fd));
    close_region(&made);
}

static void each_reason_is_named(void)
{
    struct fl_region r;
    const char *why;

    make();
    made.header->plan.magic++;
    why = attach(made.fd, &r);
    CHECK(why && strstr(why, "magic"));
    made.header->plan.magic--;
    made.header->plan.version++;
    why = attach(made.fd, &r);
    CHECK(why && strstr(why, "version"));
    made.header->plan.version--;
    made.header->plan.workers = 0;
    why = attach(made.fd, &r);
    CHECK(why && strstr(why, "workers"));
    close_region(&made);
}

/* ---- places -------------------------------------------------------------------------- */

struct piece { uint64_t at, size, grain; };

/* In order, each aligned, none reaching into the next, the last ending the file. */
static void check_pieces(const struct piece *p, size_t count, uint64_t total)
{
    size_t i;

    for (i = 0; i < count; i++) {
        CHECK(p[i].at % p[i].grain == 0);
        CHECK(p[i].at + p[i].size <= (i + 1 < count ? p[i + 1].at : total));
    }
    CHECK(p[count - 1].at + p[count - 1].size == total);
}

static void check_plan(uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload,
                       uint64_t descriptions)
{
    struct fl_plan h;

    memset(&h, 0, sizeof h);
    fl_layout_plan(&h, workers, slots, slot_size, max_payload, descriptions);
    {
        const struct piece pieces[] = {
            {0, sizeof(struct fl_header), FL_PAIR},
            {h.functions_at, sizeof(struct fl_function) * (uint64_t)h.functions, FL_PAIR},
            {h.pids_at, 8 * (uint64_t)workers, FL_PAIR},
            {h.orders_at, 8 * (uint64_t)workers, FL_PAIR},
            {h.ring_at, 8 * (uint64_t)h.ring_size, FL_PAIR},
            {h.notices_at, sizeof(struct fl_notices), FL_GRAIN},
            {h.states_at, 8 * (uint64_t)workers, FL_PAIR},
            {h.blocks_at, sizeof(struct fl_block) * (uint64_t)workers, FL_PAIR},
            {h.flags_at, ((uint64_t)slots + 63) / 64 * 8, FL_PAIR},
            {h.slots_at, (uint64_t)h.slot_stride * slots, FL_PAIR},
            {h.base_size, 0, FL_GRAIN},
            {h.descriptions_at, h.descriptions_size, FL_GRAIN},
            {h.windows_at, 2 * h.half_size * slots, FL_GRAIN},
        };
        check_pieces(pieces, LENGTH(pieces), h.total_size);
    }
    CHECK(h.slot_size >= slot_size && h.half_size >= max_payload && h.half_size % FL_GRAIN == 0);
    CHECK(h.slot_stride >= sizeof(struct fl_slot) + 2 * (uint64_t)h.slot_size && h.slot_stride % FL_PAIR == 0);
    CHECK((h.ring_size & (h.ring_size - 1)) == 0 && h.ring_size >= 4 * slots);
}

static void nothing_overlaps(void)
{
    static const uint32_t counts[] = {1, 2, 7, 63, 64, 65, 1000, 1024, 4096, 32767, 32768};
    static const uint32_t sizes[] = {0, 1, 63, 64, 65, 4096, 100000, 1 << 20};
    static const uint64_t payloads[] = {0, 1, 65535, 65536, 65537, 1 << 30, UINT64_C(1) << 40};
    size_t i, k, m;

    for (i = 0; i < LENGTH(counts); i++)
        for (k = 0; k < LENGTH(sizes); k++)
            for (m = 0; m < LENGTH(payloads); m++) {
                uint64_t descriptions = fl_descriptions_wanted(payloads[m]);

                check_plan(1, counts[i], sizes[k], payloads[m], descriptions);
                check_plan(FL_MAX_WORKERS, counts[i], sizes[k], payloads[m], FL_LEAST_DESCRIPTIONS);
                check_plan(counts[i] % FL_MAX_WORKERS + 1, 17, sizes[k], payloads[m], 5 * FL_LEAST_DESCRIPTIONS);
            }
}

/* Whatever fits is a possible region, no larger than it may be and no smaller
 * than it need be. */
static void a_short_file_holds_what_fits(void)
{
    static const uint32_t workers[] = {1, 2, 64, 1000}, slots[] = {1, 2, 3, 65, 1024, 32768}, sizes[] = {64, 4096, 1 << 20};
    static const uint64_t payloads[] = {0, 100, 1 << 20, 1 << 30, UINT64_C(1) << 45};
    struct fl_plan h, least;
    uint64_t most;
    size_t i, k, m, n;

    for (i = 0; i < LENGTH(workers); i++)
        for (k = 0; k < LENGTH(slots); k++)
            for (m = 0; m < LENGTH(sizes); m++)
                for (n = 0; n < LENGTH(payloads); n++)
                    for (most = 100000; most && most < UINT64_C(1) << 58; most = most * 3 / 2) {
                        uint32_t few = slots[k] < workers[i] + 1 ? slots[k] : workers[i] + 1;
                        bool fits;

                        memset(&h, 0, sizeof h);
                        memset(&least, 0, sizeof least);
                        fits = fl_layout_fit(&h, workers[i], slots[k], sizes[m], payloads[n], most);
                        fl_layout_plan(&least, workers[i], few, sizes[m], 0, FL_LEAST_DESCRIPTIONS);
                        if (!fits) {
                            CHECK(least.total_size > most / 16 * 15);
                            continue;
                        }
                        CHECK(fl_layout_possible(h.workers, h.slots, h.slot_size, h.max_payload, h.descriptions_size));
                        CHECK(h.total_size <= most && h.workers == workers[i] && h.slot_size >= sizes[m]);
                        CHECK(h.slots >= few && h.slots <= slots[k] && h.max_payload <= payloads[n]);
                        CHECK(h.functions >= 512 && h.functions <= FL_MAX_FUNCTIONS);
                        /* Not one grain more for each payload, unless they are as large as was asked. */
                        CHECK(h.max_payload == payloads[n] || h.total_size + 2 * FL_GRAIN * (uint64_t)h.slots > most);
                        /* Many slots only with good payloads. */
                        CHECK(h.slots == few || h.max_payload >= (payloads[n] < FL_GOOD_PAYLOAD ? payloads[n] : FL_GOOD_PAYLOAD));
                    }
    CHECK(fl_layout_fit(&h, 2, 1024, 4096, 1 << 30, UINT64_MAX) && h.slots == 1024 && h.max_payload == 1 << 30);
    CHECK(fl_layout_fit(&h, 2, 1024, 4096, 1 << 30, 1 << 20) && h.slots == 3);
    CHECK(fl_layout_fit(&h, 2, 1024, 4096, 1 << 30, 64 << 20) && h.max_payload > 9 << 20);
    CHECK(!fl_layout_fit(&h, 2, 1024, 4096, 1 << 30, 500000));
}

static void slots_keep_their_distance(void)
{
    struct fl_region r;
    uint32_t slot;

    open_region(&r, 1, 10, 100, 100);
    for (slot = 0; slot < 10; slot++) {
        char *header = (char *)fl_slot_at(&r, slot);
        char *request = fl_slot_area(&r, slot, FL_REQUEST), *reply = fl_slot_area(&r, slot, FL_REPLY);

        CHECK(((uintptr_t)header & (FL_LINE - 1)) == 0);
        CHECK(((uintptr_t)request & 15) == 0 && ((uintptr_t)reply & 15) == 0);
        CHECK(request == header + sizeof(struct fl_slot));
        CHECK(reply == request + r.plan.slot_size);
        CHECK(reply + r.plan.slot_size <= header + r.plan.slot_stride);
        CHECK(reply + r.plan.slot_size <= r.base + r.plan.base_size);
    }
    close_region(&r);
}

/* ---- windows ----------------------------------------------------------------------------- */

static void fill(char *at, uint64_t size, uint64_t seed)
{
    while (size--)
        *at++ = (char)(draw(&seed) >> 56);
}

static bool holds(const char *at, uint64_t size, uint64_t seed)
{
    while (size--)
        if (*at++ != (char)(draw(&seed) >> 56))
            return false;
    return true;
}

static void windows_grow_and_keep_their_content(void)
{
    static const uint64_t steps[] = {1, 65536, 65537, 200000, 200001, 999999, 1000000};
    struct fl_mapping m = {NULL, 0}, other = {NULL, 0};
    struct fl_region r;
    uint64_t before = 0;
    size_t i;
    char *at;

    open_region(&r, 1, 3, 64, 1000000);
    for (i = 0; i < LENGTH(steps); i++) {
        at = fl_window_map(&r, &m, 1, FL_REPLY, steps[i]);
        if (!CHECK(at && at == m.at && m.size >= steps[i] && m.size <= r.plan.half_size))
            break;
        CHECK(holds(at, before, 77));
        fill(at, steps[i], 77);
        before = steps[i];
        CHECK(fl_window_map(&r, &m, 1, FL_REPLY, 1) == at); /* never shorter */
    }
    at = fl_window_map(&r, &other, 1, FL_REPLY, 1000000);
    CHECK(at && at != m.at && holds(at, before, 77)); /* the other side's view */
    munmap(m.at, m.size);
    munmap(other.at, other.size);
    close_region(&r);
}

static void windows_are_apart(void)
{
    struct fl_mapping m[3][2];
    struct fl_region r;
    uint32_t slot;
    int half;

    memset(m, 0, sizeof m);
    open_region(&r, 1, 3, 64, 150000);
    for (slot = 0; slot < 3; slot++)
        for (half = 0; half < 2; half++) {
            CHECK(fl_window_at(&r, slot, (enum fl_half)half) + r.plan.half_size <= r.plan.total_size);
            fl_window_map(&r, &m[slot][half], slot, (enum fl_half)half, r.plan.half_size);
            if (CHECK(m[slot][half].at && m[slot][half].size == r.plan.half_size))
                fill(m[slot][half].at, r.plan.half_size, 1000 + 2 * slot + (uint64_t)half);
        }
    for (slot = 0; slot < 3 && !failed(); slot++)
        for (half = 0; half < 2; half++) {
            CHECK(holds(m[slot][half].at, r.plan.half_size, 1000 + 2 * slot + (uint64_t)half));
            munmap(m[slot][half].at, m[slot][half].size);
        }
    close_region(&r);
}

static void counters_add_up(void)
{
    fl_word counter;
    uint64_t before = fl_now();

    atomic_init(&counter, 5);
    fl_count(&counter, 3);
    CHECK(atomic_load(&counter) == 8);
    CHECK(fl_now() >= before);
    CHECK(fl_round(0, 64) == 0 && fl_round(1, 64) == 64 && fl_round(64, 64) == 64 && fl_round(65, 64) == 128);
}

int main(void)
{
    RUN(a_good_region_is_attached);
    RUN(descriptors_of_other_things_are_refused);
    RUN(cut_and_stretched_files_are_refused);
    RUN(impossible_numbers_are_refused);
    RUN(possible_numbers_do_not_overflow);
    RUN(one_wrong_bit_is_refused);
    RUN(each_reason_is_named);
    RUN(nothing_overlaps);
    RUN(a_short_file_holds_what_fits);
    RUN(slots_keep_their_distance);
    RUN(windows_grow_and_keep_their_content);
    RUN(windows_are_apart);
    RUN(counters_add_up);
    return verdict();
}
