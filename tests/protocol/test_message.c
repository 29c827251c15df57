/* message.h: nothing that stands in a slot is believed. Payloads are allocated
 * to the byte, so that AddressSanitizer sees one read past them. */
#include "check.h"

static struct fl_region region;

#define MAX_PAYLOAD 100000u

/* ---- replies -------------------------------------------------------------------- */

static bool carries_bytes(uint32_t kind)
{
    static const bool sized[] = {false,
#define SIZED(name, has, requests, failure, serves, pickled) has,
        FL_REPLIES(SIZED)
#undef SIZED
    };
    return sized[kind];
}

static bool reply_passes(uint16_t request, uint16_t kind, uint64_t size)
{
    struct fl_slot s;
    struct fl_reply reply;

    memset(&s, 0xee, sizeof s); /* what the slot says of the request is not asked */
    s.reply_kind = kind;
    s.reply_size = size;
    return fl_reply_load(&region, &s, request, &reply) && reply.kind == kind && reply.size == size;
}

/* A worker that calls C says nothing that has to be unpickled, and one that runs
 * Python nothing that is taken for the bytes of a C result. */
static bool answers(uint32_t request, uint32_t kind)
{
    switch (kind) {
    case FL_REPLY_SCALAR: case FL_REPLY_RETURNED: return request == FL_CALL_FUNCTION;
    case FL_REPLY_STATUS: return request == FL_CALL_TASK;
    case FL_REPLY_BYTES: case FL_REPLY_NO_LIBRARY:
        return request == FL_CALL_FUNCTION || request == FL_CALL_MAP || request == FL_CALL_TASK;
    case FL_REPLY_REFUSED: case FL_REPLY_TOO_LARGE: case FL_REPLY_NO_REQUEST: case FL_REPLY_NO_ROOM:
        return request >= 1 && request < FL_REQUEST_KINDS;
    case FL_REPLY_UNSET: return false;
    default: return kind < FL_REPLY_KINDS && (request == FL_CALL_PYTHON || request == FL_CALL_PICKLED);
    }
}

static void a_reply_answers_its_request(void)
{
    uint32_t request, kind;

    for (request = 0; request <= 300; request++)
        for (kind = 0; kind <= 300; kind++)
            CHECK(reply_passes((uint16_t)request, (uint16_t)kind, kind == FL_REPLY_RETURNED ? 16 : 0) ==
                  answers(request, kind));
    for (kind = 0; kind <= 0xffff; kind++)
        CHECK(fl_reply_fails((uint16_t)kind) ==
              !(kind > FL_REPLY_UNSET && kind <= FL_REPLY_PICKLE));
}

/* Only an answer to a Python task says that its worker is an interpreter. */
static void interpreters_alone_say_that_they_serve(void)
{
    uint32_t kind, serving = 0;

    for (kind = 0; kind < FL_REPLY_KINDS; kind++) {
        CHECK(!fl_reply_serves(kind) || fl_reply_rule(kind).requests == FL_ANSWERS_PYTHON);
        CHECK(!fl_reply_pickled(kind) || (fl_reply_serves(kind) && fl_reply_sized(kind)));
        serving += fl_reply_serves(kind);
    }
    CHECK(serving == 11);
    CHECK(!fl_reply_serves(FL_REPLY_SETUP_FAILED) && !fl_reply_serves(FL_REPLY_UNSET));
    CHECK(fl_reply_pickled(FL_REPLY_RAISED) && !fl_reply_pickled(FL_REPLY_BYTES));
}

static void every_reply_kind_has_its_sizes(void)
{
    static const uint64_t sizes[] = {0, 1, 15, 16, 17, 64, MAX_PAYLOAD, MAX_PAYLOAD + 1,
                                     UINT64_C(1) << 32, INT64_MAX, UINT64_MAX};
    uint32_t kind;
    size_t i;

    for (kind = 0; kind <= 0xffff; kind++)
        for (i = 0; i < LENGTH(sizes); i++) {
            bool known = kind != FL_REPLY_UNSET && kind < FL_REPLY_KINDS;
            bool fits = known && sizes[i] <= (carries_bytes(kind) ? MAX_PAYLOAD : 0);

            if (kind == FL_REPLY_RETURNED && sizes[i] < sizeof(struct fl_returned))
                fits = false;
            CHECK((reply_passes(FL_CALL_FUNCTION, (uint16_t)kind, sizes[i]) ||
                   reply_passes(FL_CALL_TASK, (uint16_t)kind, sizes[i]) ||
                   reply_passes(FL_CALL_PYTHON, (uint16_t)kind, sizes[i])) == fits);
        }
}

/* ---- pickles ----------------------------------------------------------------------- */

/* A payload as its packer makes it: head, sizes, stream, aligned buffers. */
struct packed {
    char *at;
    uint64_t size, stream_at;
    struct fl_pickle head;
};

static uint64_t flagged(uint64_t size, uint64_t *seed)
{
    return draw(seed) & 1 ? size | FL_BUFFER_READONLY : size;
}

static void pack(struct packed *p, uint32_t buffers, uint64_t stream, uint64_t most, uint64_t *seed)
{
    uint64_t *sizes = calloc(buffers + 1, 8), at, i;

    p->head = (struct fl_pickle){.buffers = buffers, .stream_size = stream};
    p->stream_at = sizeof p->head + 8 * (uint64_t)buffers;
    at = p->stream_at + stream;
    for (i = 0; i < buffers; i++) {
        sizes[i] = draw_below(seed, most + 1);
        at = fl_round(at, FL_LINE) + sizes[i];
        sizes[i] = flagged(sizes[i], seed);
    }
    p->size = at;
    p->at = malloc(at);
    memset(p->at, 0xab, at);
    memcpy(p->at, &p->head, sizeof p->head);
    memcpy(p->at + sizeof p->head, sizes, 8 * buffers);
    free(sizes);
}

/* Read every byte that a passed check promises. */
static uint64_t read_pickle(const char *at, uint64_t stream_at)
{
    struct fl_pickle head;
    uint64_t sum = 0, offset, size, i, k;

    memcpy(&head, at, sizeof head);
    offset = stream_at;
    for (k = 0; k < head.stream_size; k++)
        sum += (unsigned char)at[offset + k];
    offset += head.stream_size;
    for (i = 0; i < head.buffers; i++) {
        memcpy(&size, at + sizeof head + 8 * i, 8);
        size &= ~FL_BUFFER_READONLY;
        offset = fl_round(offset, FL_LINE);
        for (k = 0; k < size; k++)
            sum += (unsigned char)at[offset + k];
        offset += size;
    }
    return sum;
}

static volatile uint64_t read_sum;

static bool pickle_passes(const char *at, uint64_t size)
{
    uint64_t stream_at = UINT64_MAX, offset, length;
    struct fl_pickle head;
    uint32_t i;
    int readonly;

    if (!fl_pickle_head(at, size, &head, &stream_at))
        return false;
    offset = stream_at + head.stream_size;
    for (i = 0; i < head.buffers; i++, offset += length)
        if (!fl_pickle_buffer(at, size, i, &offset, &length, &readonly))
            return false;
    CHECK(offset <= size);
    read_sum += read_pickle(at, stream_at);
    return true;
}

/* The same bytes in fewer of them, allocated to the byte. */
static bool cut_passes(const struct packed *p, uint64_t size)
{
    char *cut = malloc(size ? size : 1);
    bool passes;

    memcpy(cut, p->at, size);
    passes = pickle_passes(cut, size);
    free(cut);
    return passes;
}

static void valid_pickles_pass_and_cut_ones_fail(void)
{
    uint64_t seed = 21, round, stream_at, cut;
    struct fl_pickle head;
    struct packed p;

    for (round = 0; round < ROUNDS(3000); round++) {
        pack(&p, (uint32_t)draw_below(&seed, 6), draw_below(&seed, 200), draw_below(&seed, 300), &seed);
        CHECK(fl_pickle_head(p.at, p.size, &head, &stream_at) && stream_at == p.stream_at);
        CHECK(pickle_passes(p.at, p.size));
        for (cut = 0; cut < p.size; cut += 1 + cut / 8)
            CHECK(!cut_passes(&p, cut));
        CHECK(!cut_passes(&p, p.size - 1));
        free(p.at);
    }
}

static void buffers_are_limited(void)
{
    uint64_t seed = 1;
    struct packed p;

    pack(&p, FL_MAX_BUFFERS, 10, 3, &seed);
    CHECK(pickle_passes(p.at, p.size));
    free(p.at);
    pack(&p, FL_MAX_BUFFERS + 1, 10, 3, &seed);
    CHECK(!pickle_passes(p.at, p.size));
    free(p.at);
}

static const uint64_t edges[] = {0, 1, 15, 16, 63, 64, 65, 4096, 0x7fffffff, 0x80000000, 0xffffffff,
                                 INT64_MAX - 63, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX - 127,
                                 UINT64_MAX - 63, UINT64_MAX - 16, UINT64_MAX - 1, UINT64_MAX};

/* A number that is likely to overflow something. */
static uint64_t draw_edge(uint64_t *seed)
{
    uint64_t edge = edges[draw_below(seed, LENGTH(edges))];

    return edge + draw_below(seed, 5) - 2;
}

static void sizes_that_overflow_are_refused(void)
{
    uint64_t seed = 31, round, edge;
    struct packed p;

    for (round = 0; round < ROUNDS(20000); round++) {
        uint32_t field = 0;

        pack(&p, 1 + (uint32_t)draw_below(&seed, 4), draw_below(&seed, 100), 200, &seed);
        edge = draw_edge(&seed);
        switch (draw_below(&seed, 3)) {
        case 0: memcpy(p.at + offsetof(struct fl_pickle, stream_size), &edge, 8); break;
        case 1: memcpy(p.at + offsetof(struct fl_pickle, buffers), &edge, 4); break;
        default:
            field = (uint32_t)draw_below(&seed, p.head.buffers);
            memcpy(p.at + sizeof p.head + 8 * field, &edge, 8);
        }
        pickle_passes(p.at, p.size); /* reads nothing beyond, whatever it says */
        free(p.at);
    }
}

static void random_bytes_are_survived(void)
{
    uint64_t seed = 41, round, i, size, passed = 0;

    for (round = 0; round < ROUNDS(300000); round++) {
        char *at;

        size = draw_below(&seed, 200);
        at = malloc(size ? size : 1);
        for (i = 0; i < size; i++)
            at[i] = (char)(draw(&seed) >> 56 & (draw(&seed) & 1 ? 0xff : 0));
        if (size >= 16) /* small numbers, or nothing would ever pass */
            at[1] = at[2] = at[3] = at[9] = at[10] = at[11] = at[12] = at[13] = at[14] = at[15] = 0;
        passed += pickle_passes(at, size);
        free(at);
    }
    CHECK(passed);
}

/* ---- cells ----------------------------------------------------------------------------- */

static void cells_stand_where_both_sides_look(void)
{
    uint64_t seed = 51, round, at, end, size;
    uint32_t i, type;

    CHECK(fl_cell_size(FL_VOID) == 0);
    CHECK(fl_cell_size(FL_F64) == 8);
    CHECK(fl_cell_size(FL_F80) == 16);
    CHECK(fl_cell_size(FL_ADDRESS) == sizeof(struct fl_address));
    CHECK(fl_cell_size(FL_TYPE_COUNT) == 0 && fl_cell_size(UINT32_MAX) == 0);
    for (round = 0; round < ROUNDS(20000); round++)
        for (end = i = 0; i < FL_MAX_ARGUMENTS; i++) {
            type = (uint32_t)draw_below(&seed, FL_TYPE_COUNT);
            at = fl_cell_at(end, type);
            size = fl_cell_size(type);
            CHECK(at >= end && at < end + 16 && at % 8 == 0);
            CHECK(type != FL_F80 || at % 16 == 0);
            end = at + size;
            CHECK(end <= UINT16_MAX);
        }
}

/* ---- descriptions ------------------------------------------------------------------------ */

#define ID 7u
static char *texts; /* the first pieces of the descriptions, mapped */
#define TEXTS_SIZE (2 * FL_GRAIN)

static struct fl_description *describe(uint32_t kind, uint64_t offset, const char *library,
                                       uint32_t library_size, const char *name, uint32_t name_size,
                                       const char *body, uint64_t body_size)
{
    struct fl_description *d = (struct fl_description *)(texts + offset);
    char *at = (char *)(d + 1);

    memset(d, 0, sizeof *d);
    d->kind = kind;
    d->arguments = kind == FL_DESCRIBE_FUNCTION ? 2 : 0;
    d->types_size = kind == FL_DESCRIBE_FUNCTION ? 3 : 0; /* the result's, the arguments' */
    d->library_size = library_size;
    d->name_size = name_size;
    d->body_size = body_size;
    memset(at, FL_F64, d->types_size);
    memcpy(at += d->types_size, library, library_size);
    memcpy(at += library_size, name, name_size);
    memcpy(at += name_size, body, body_size);
    region.functions[ID].at = region.plan.descriptions_at + offset;
    region.functions[ID].length = (uint64_t)(at + body_size - (char *)d);
    return d;
}

static struct fl_description *describe_cos(void)
{
    return describe(FL_DESCRIBE_FUNCTION, 128, "libm.so.6", 10, "cos", 4, "", 0);
}

static void unmap_description(const struct fl_description *d, uint64_t length)
{
    uint64_t before = region.functions[ID].at % FL_GRAIN;

    munmap((char *)d - before, before + length);
}

static const struct fl_description *find(void)
{
    return fl_description_map(&region, ID);
}

static bool found(void)
{
    uint64_t length = region.functions[ID].length;
    const struct fl_description *d = find();

    if (d)
        unmap_description(d, length);
    return d != NULL;
}

static void descriptions_are_read_as_written(void)
{
    const struct fl_description *d;

    describe_cos();
    d = find();
    if (!CHECK(d != NULL))
        return;
    CHECK(d->kind == FL_DESCRIBE_FUNCTION && d->arguments == 2 && d->types_size == 3);
    CHECK(fl_description_types(d)[2] == FL_F64);
    CHECK(!strcmp(fl_description_library(d), "libm.so.6"));
    CHECK(!strcmp(fl_description_name(d), "cos"));
    unmap_description(d, region.functions[ID].length);
    describe(FL_DESCRIBE_PYTHON, FL_GRAIN - 64, "", 0, "", 0, "a pickle", 8); /* over the grain's edge */
    d = find();
    if (!CHECK(d != NULL))
        return;
    CHECK(d->body_size == 8 && !memcmp(fl_description_body(d), "a pickle", 8));
    unmap_description(d, region.functions[ID].length);
}

static void ids_are_checked(void)
{
    describe_cos();
    region.functions[0] = region.functions[ID];
    CHECK(!fl_description_map(&region, 0));
    CHECK(!fl_description_map(&region, ID + 1));
    CHECK(!fl_description_map(&region, FL_MAX_FUNCTIONS));
    CHECK(!fl_description_map(&region, UINT32_MAX));
    memset(&region.functions[0], 0, sizeof region.functions[0]);
}

static bool found_at(uint64_t at, uint64_t length)
{
    describe_cos();
    region.functions[ID] = (struct fl_function){at, length};
    return found();
}

static void places_outside_the_descriptions_are_refused(void)
{
    const struct fl_plan *h = &region.plan;
    uint64_t first = h->descriptions_at, end = first + h->descriptions_size, i;
    uint64_t length;

    describe_cos();
    length = region.functions[ID].length;
    CHECK(found_at(first + 128, length));
    CHECK(!found_at(first + 128, length - 1));
    CHECK(!found_at(first + 129, length)); /* not where a description may begin */
    CHECK(!found_at(first + 128, sizeof(struct fl_description) - 1));
    CHECK(!found_at(first + 128, 0));
    CHECK(!found_at(0, length));
    CHECK(!found_at(first - 64, length));
    CHECK(!found_at(end, length));
    CHECK(!found_at(end - 64, 65));
    CHECK(!found_at(h->total_size + 64, length));
    for (i = 0; i < LENGTH(edges); i++) {
        CHECK(!found_at(edges[i] / 64 * 64, length));
        CHECK(edges[i] <= h->descriptions_size - 128 || !found_at(first + 128, edges[i]));
    }
}

static void parts_that_overflow_are_refused(void)
{
    uint64_t sizes[] = {100, 1 << 20, 0xffffffff, UINT64_MAX - 50, UINT64_MAX - 49, UINT64_MAX - 48,
                        UINT64_MAX - 17, UINT64_MAX - 16, UINT64_MAX};
    size_t i;

    for (i = 0; i < LENGTH(sizes); i++) {
        describe_cos()->body_size = sizes[i];
        CHECK(!found());
        describe_cos()->library_size = (uint32_t)sizes[i];
        CHECK(!found());
        describe_cos()->name_size = (uint32_t)sizes[i];
        CHECK(!found());
    }
    describe_cos()->arguments = FL_MAX_ARGUMENTS + 1;
    CHECK(!found());
    describe_cos()->arguments = UINT32_MAX;
    CHECK(!found());
    describe_cos()->types_size = FL_MAX_TYPES + 1;
    CHECK(!found());
    describe_cos()->types_size = UINT32_MAX;
    CHECK(!found());
}

static void strings_must_end(void)
{
    describe(FL_DESCRIBE_FUNCTION, 0, "libm.so.6", 9, "cos", 4, "", 0);
    CHECK(!found());
    describe(FL_DESCRIBE_FUNCTION, 0, "libm.so.6", 10, "cos", 3, "", 0);
    CHECK(!found());
    describe(FL_DESCRIBE_FUNCTION, 0, "", 0, "cos", 4, "", 0);
    CHECK(!found());
    describe(FL_DESCRIBE_TASK, 0, "", 1, "task", 5, "", 0);
    CHECK(found());
    describe(FL_DESCRIBE_TASK, 0, "", 1, "task", 4, "", 0);
    CHECK(!found());
    describe(FL_DESCRIBE_TASK, 0, "", 1, "", 0, "", 0);
    CHECK(!found());
    describe(FL_DESCRIBE_HOST, 0, "", 0, "", 0, "python\0-c", 10);
    CHECK(found());
    describe(FL_DESCRIBE_HOST, 0, "", 0, "", 0, "python\0-c", 9);
    CHECK(!found());
    describe(FL_DESCRIBE_HOST, 0, "", 0, "", 0, "", 0);
    CHECK(!found());
    describe(FL_DESCRIBE_SETUP, 0, "", 0, "", 0, "pickle", 6);
    CHECK(found());
}

/* Whatever passes can be used as library.c and become_python.c do. */
static void random_descriptions_are_survived(void)
{
    uint64_t seed = 61, round, passed = 0, length;

    for (round = 0; round < ROUNDS(60000); round++) {
        struct fl_description *d = describe_cos();
        const struct fl_description *f;
        uint64_t i = draw_below(&seed, 8), edge = draw(&seed) & 1 ? draw_edge(&seed) : draw_below(&seed, 24);

        length = region.functions[ID].length;
        switch (i) {
        case 0: d->kind = (uint32_t)edge; break;
        case 1: d->arguments = (uint32_t)edge; break;
        case 2: d->library_size = (uint32_t)edge; break;
        case 3: d->name_size = (uint32_t)edge; break;
        case 4: d->body_size = edge; break;
        case 6: d->types_size = (uint32_t)edge; break;
        case 5: region.functions[ID].length = length = draw_below(&seed, 100); break;
        default: ((char *)d)[draw_below(&seed, length)] = (char)draw(&seed);
        }
        if (!(f = find()))
            continue;
        passed++;
        CHECK(f->types_size + (uint64_t)f->library_size + f->name_size + f->body_size <= length - sizeof *f);
        if (f->kind == FL_DESCRIBE_FUNCTION || f->kind == FL_DESCRIBE_TASK) {
            CHECK(strlen(fl_description_library(f)) < f->library_size);
            CHECK(strlen(fl_description_name(f)) < f->name_size);
        }
        unmap_description(f, length);
    }
    CHECK(passed);
}

static void open_texts(void)
{
    texts = mmap(NULL, TEXTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
                 (off_t)region.plan.descriptions_at);
    if (texts == MAP_FAILED)
        give_up("mmap");
}

int main(void)
{
    open_region(&region, 2, 4, 256, MAX_PAYLOAD);
    open_texts();
    RUN(interpreters_alone_say_that_they_serve);
    RUN(every_reply_kind_has_its_sizes);
    RUN(a_reply_answers_its_request);
    RUN(valid_pickles_pass_and_cut_ones_fail);
    RUN(buffers_are_limited);
    RUN(sizes_that_overflow_are_refused);
    RUN(random_bytes_are_survived);
    RUN(cells_stand_where_both_sides_look);
    RUN(descriptions_are_read_as_written);
    RUN(ids_are_checked);
    RUN(places_outside_the_descriptions_are_refused);
    RUN(parts_that_overflow_are_refused);
    RUN(strings_must_end);
    RUN(random_descriptions_are_survived);
    munmap(texts, TEXTS_SIZE);
    close_region(&region);
    return verdict();
}
