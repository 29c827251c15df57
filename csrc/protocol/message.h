/* What stands in a slot: requests, replies, and the descriptions they name.
 *
 * A payload of up to slot_size bytes stands in the slot's own area, a longer
 * one in the slot's window (request half, reply half); the size alone says
 * which. The parent believes no reply: fl_reply_load comes before any use.
 *
 * DESCRIPTIONS say once per pool what a task's function is: a native function
 * with its library and types, a plug-in's task, a pickled Python callable, the
 * interpreter to become. They are appended by the parent before the first
 * request that names them; publishing that request's slot makes them visible.
 *
 * NATIVE REQUESTS are cells, one per argument, in order: 8 bytes for a scalar,
 * 16 (16-aligned) for a long double, 16 for an address (value and mode), a
 * structure's own size (16-aligned, padded to 8). An address of mode IN or
 * INOUT is an offset from the start of the request, where the buffer's bytes
 * stand after the cells, 16-aligned and followed by four zeros. An INOUT buffer
 * is copied to the reply before the call, which writes there: the request stays
 * whole, and a task that dies leaves the caller's buffer as it was.
 *
 * NATIVE REPLIES are SCALAR for a number or a null pointer, BYTES for the
 * bytes of anything else; if there are INOUT buffers RETURNED: struct
 * fl_returned, the part of the request that holds them (fl_extent) as the call
 * left it, then the bytes of the result, 16-aligned. Buffers that overlap in
 * the caller's memory overlap there too.
 *
 * PYTHON REQUESTS and replies are a struct fl_pickle: sizes, stream, buffers. Large
 * bytes, bytearrays and texts among plain arguments are buffers, and as replies
 * they stand alone: each is copied in and copied out, and by nobody in between.
 */
#ifndef FL_MESSAGE_H
#define FL_MESSAGE_H

#include "slot.h"
#include "window.h"

enum fl_request_kind {
    FL_CALL_FUNCTION = 1, /* a native function: cells */
    FL_CALL_MAP,          /* a native function, many times: struct fl_map */
    FL_CALL_TASK,         /* a plug-in's task: bytes */
    FL_CALL_PYTHON,       /* a described callable: fl_pickle of args or (args, kwargs) */
    FL_CALL_PICKLED,      /* fl_pickle of (callable, args, kwargs) */
    FL_REQUEST_KINDS
};

/* Does it need an interpreter? */
static inline bool fl_request_python(uint32_t kind)
{
    return kind == FL_CALL_PYTHON || kind == FL_CALL_PICKLED;
}

#define FL_ANSWERS_FUNCTION (1u << FL_CALL_FUNCTION)
#define FL_ANSWERS_MAP (1u << FL_CALL_MAP)
#define FL_ANSWERS_TASK (1u << FL_CALL_TASK)
#define FL_ANSWERS_NATIVE (FL_ANSWERS_FUNCTION | FL_ANSWERS_MAP | FL_ANSWERS_TASK)
#define FL_ANSWERS_PYTHON (1u << FL_CALL_PYTHON | 1u << FL_CALL_PICKLED)
#define FL_ANSWERS_ANY (FL_ANSWERS_NATIVE | FL_ANSWERS_PYTHON)

/* kind; largest size: any payload (1), exactly nothing (0); the requests that it
 * can answer: what is no answer to a request is not looked at, so a pool that
 * calls C alone unpickles nothing; is the task a failure? does an interpreter
 * serve that sends it? is its payload a pickle? */
/* clang-format off */
#define FL_REPLIES(X)                                                                                                     \
    X(SCALAR, 0, FUNCTION, 0, 0, 0)     /* reply_scalar holds the value of the result type */                             \
    X(RETURNED, 1, FUNCTION, 0, 0, 0)   /* struct fl_returned, fl_extent, bytes of the result */                          \
    X(BYTES, 1, NATIVE, 0, 0, 0)        /* string, structure, items of a map; a plug-in's reply */                        \
    X(NONE, 0, PYTHON, 0, 1, 0)                                                                                           \
    X(FALSE, 0, PYTHON, 0, 1, 0)                                                                                          \
    X(TRUE, 0, PYTHON, 0, 1, 0)                                                                                           \
    X(INT, 0, PYTHON, 0, 1, 0)          /* an int that fits int64, in reply_scalar */                                     \
    X(FLOAT, 0, PYTHON, 0, 1, 0)        /* a float, its bits in reply_scalar */                                           \
    X(OBJECT_BYTES, 1, PYTHON, 0, 1, 0) /* bytes, as they are */                                                          \
    X(OBJECT_BYTEARRAY, 1, PYTHON, 0, 1, 0)                                                                               \
    X(OBJECT_TEXT, 1, PYTHON, 0, 1, 0)  /* a str in UTF-8 */                                                              \
    X(PICKLE, 1, PYTHON, 0, 1, 1)       /* fl_pickle of the result */                                                     \
    X(RAISED, 1, PYTHON, 1, 1, 1)       /* fl_pickle of (exception, traceback's text) */                                  \
    X(NOT_REBUILT, 1, PYTHON, 1, 1, 1)  /* the arguments could not be unpickled: as RAISED */                             \
    X(SETUP_FAILED, 1, PYTHON, 1, 0, 0) /* the initializer raised: the traceback's text */                                \
    X(STATUS, 1, TASK, 1, 0, 0)         /* reply_status is not zero, bytes are its message */                             \
    X(NO_LIBRARY, 1, NATIVE, 1, 0, 0)   /* cannot open library or find function: the loader's words */                    \
    X(REFUSED, 1, ANY, 1, 0, 0)         /* this worker cannot run such a task: the reason */                              \
    X(TOO_LARGE, 0, ANY, 1, 0, 0)       /* the reply has reply_scalar bytes, over max_payload */                          \
    X(NO_REQUEST, 0, ANY, 1, 0, 0)      /* the request's reply_scalar bytes could not be mapped: errno in reply_status */ \
    X(NO_ROOM, 0, ANY, 1, 0, 0)         /* nor the reply's */

enum fl_reply_kind {
    FL_REPLY_UNSET,
#define FL_ENUM(name, sized, requests, failure, serves, pickled) FL_REPLY_##name,
    FL_REPLIES(FL_ENUM)
#undef FL_ENUM
    FL_REPLY_KINDS
};
/* clang-format on */

_Static_assert(1u << FL_REQUEST_KINDS <= 256, "the requests that a reply answers fit a byte");

/* Types of arguments and results on the wire: name, bytes of its cell. Those
 * after ADDRESS stand with their own data in a description's types:
 *   STRUCT, u16 size, u8 count, `count` member types: passed by value
 *   STRING, WIDE_STRING: a result, the characters that it points at come back
 *   POINTEE, u16 size: a result, `size` bytes that it points at come back */
/* clang-format off */
#define FL_TYPES(X) \
    X(VOID, 0)      \
    X(I8, 8)        \
    X(U8, 8)        \
    X(I16, 8)       \
    X(U16, 8)       \
    X(I32, 8)       \
    X(U32, 8)       \
    X(I64, 8)       \
    X(U64, 8)       \
    X(F32, 8)       \
    X(F64, 8)       \
    X(F80, 16)      \
    X(ADDRESS, 16)  \
    X(STRUCT, 0)    \
    X(STRING, 0)    \
    X(WIDE_STRING, 0) \
    X(POINTEE, 0)

enum fl_type {
#define FL_ENUM(name, size) FL_##name,
    FL_TYPES(FL_ENUM)
#undef FL_ENUM
    FL_TYPE_COUNT
};
/* clang-format on */

enum fl_address_mode {
    FL_ADDRESS_VALUE = 0,  /* the number itself: NULL, or what the caller knows */
    FL_ADDRESS_IN = 1,     /* bytes of the request, read only */
    FL_ADDRESS_INOUT = 2   /* the same, and what the call writes comes back */
};

struct fl_address {
    uint64_t value;
    uint64_t mode;         /* bits 0-7; the rest is the buffer's length */
};

struct fl_returned {
    uint64_t scalar;       /* the number, or of a pointer whether it was not null */
    uint64_t size;         /* bytes of the result, behind the buffers */
};

/* The part of a request that comes back: from the first INOUT buffer to the
 * last, with the zeros that end it. None: size 0. */
struct fl_extent {
    uint64_t at, size;
};

/* A native function called `count` times: an fl_address an argument follows,
 * VALUE for a number that stays, IN for the offset of `count` items, each as
 * long as its C type. The reply is the results, one behind the other. */
struct fl_map {
    uint64_t count;
    uint64_t reserved;
};

#define FL_MAX_ARGUMENTS 64u
#define FL_MAX_DEPTH 8 /* of structures in structures */
#define FL_BUFFER_ALIGN 16u
#define FL_BUFFER_ZEROS 4u /* behind each buffer: a string ends, a wide one too */

enum fl_description_kind {
    FL_DESCRIBE_FUNCTION = 1, /* types, library, name; body: fl_library_file */
    FL_DESCRIBE_TASK,         /* library (empty: the worker program itself), name */
    FL_DESCRIBE_PYTHON,       /* pickled: module, qualified name in parts, the callable's own pickle */
    FL_DESCRIBE_HOST,         /* argv of the interpreter, each ended by a zero */
    FL_DESCRIBE_SETUP,        /* pickled: what a Python host does before its first task */
    FL_DESCRIBE_NO_HOST       /* in the place of FL_DESCRIBE_HOST: why Python tasks are refused */
};

#define FL_USES_ERRNO 1u     /* errno is 0 before the call and comes back */
#define FL_MAX_TYPES 8192u

/* Followed by `types_size` bytes (the result's type, then the arguments'),
 * library and name, each ended by a zero, and `body_size` bytes. */
struct fl_description {
    uint32_t kind;
    uint32_t arguments;
    uint32_t types_size;
    uint32_t library_size; /* with its zero */
    uint32_t name_size;    /* with its zero */
    uint32_t flags;
    uint64_t body_size;
};

/* Which file the parent has open under a library's path. */
struct fl_library_file {
    uint64_t device, inode; /* 0: unknown */
};

#define FL_MAX_BUFFERS 4096u

struct fl_pickle {
    uint32_t buffers;      /* out-of-band buffers, 64-aligned, after the stream */
    uint32_t flags;
    uint64_t stream_size;
    /* uint64_t buffer_size[buffers]; bit 63: read-only; then the stream */
};

#define FL_PICKLE_KEYWORDS 1u /* the stream is (args, kwargs), not args */
#define FL_PICKLE_COPIES 2u   /* the buffers are bytes and bytearrays, which have memory of their own */
#define FL_BUFFER_READONLY (UINT64_C(1) << 63)

static inline uint64_t fl_cell_size(uint32_t type)
{
    static const uint8_t sizes[] = {
#define FL_SIZE(name, size) size,
        FL_TYPES(FL_SIZE)
#undef FL_SIZE
    };
    return type < FL_TYPE_COUNT ? sizes[type] : 0;
}

/* Bytes of one item of a scalar type in memory; 0 for the others. */
static inline uint64_t fl_item_size(uint32_t type)
{
    static const uint8_t sizes[FL_TYPE_COUNT] = {
        [FL_I8] = 1,  [FL_U8] = 1,  [FL_I16] = 2, [FL_U16] = 2, [FL_I32] = 4,  [FL_U32] = 4,
        [FL_I64] = 8, [FL_U64] = 8, [FL_F32] = 4, [FL_F64] = 8, [FL_F80] = 16,
    };
    return type < FL_TYPE_COUNT ? sizes[type] : 0;
}

/* Both sides: with this INOUT buffer too. */
static inline void fl_extent_add(struct fl_extent *e, uint64_t at, uint64_t length)
{
    uint64_t end = at + length + FL_BUFFER_ZEROS;

    at -= at % FL_BUFFER_ALIGN;
    if (e->size && e->at + e->size > end)
        end = e->at + e->size;
    if (e->size && e->at < at)
        at = e->at;
    e->at = at;
    e->size = end - at;
}

/* Where the cell of an argument of this type stands, if the one before it
 * ended at `end`. */
static inline uint64_t fl_cell_at(uint64_t end, uint32_t type)
{
    return type == FL_F80 || type == FL_STRUCT ? fl_round(end, 16) : end;
}

/* What is known of a reply kind: see FL_REPLIES. */
struct fl_reply_rule {
    uint8_t sized, requests, failure, serves, pickled;
};

/* clang-format off */
static inline struct fl_reply_rule fl_reply_rule(uint32_t kind)
{
    static const struct fl_reply_rule rules[] = {{0, 0, 1, 0, 0},
#define FL_RULE(name, sized, requests, failure, serves, pickled) \
    {sized, FL_ANSWERS_##requests, failure, serves, pickled},
        FL_REPLIES(FL_RULE)
#undef FL_RULE
    };
    return rules[kind < FL_REPLY_KINDS ? kind : FL_REPLY_UNSET];
}
/* clang-format on */

/* May a reply of this kind have bytes? Then its scalar says how far into the
 * window the worker may have written, which is no less than it has bytes there. */
static inline bool fl_reply_sized(uint32_t kind)
{
    return fl_reply_rule(kind).sized;
}

/* Does the future of such a reply raise? */
static inline bool fl_reply_fails(uint32_t kind)
{
    return fl_reply_rule(kind).failure;
}

/* Has its worker become an interpreter whose set-up succeeded? */
static inline bool fl_reply_serves(uint32_t kind)
{
    return fl_reply_rule(kind).serves;
}

static inline bool fl_reply_pickled(uint32_t kind)
{
    return fl_reply_rule(kind).pickled;
}

/* A reply's fields, each loaded once: what was checked is what is used. */
struct fl_reply {
    uint64_t size, scalar, started_ns, finished_ns;
    int32_t status;
    uint16_t kind;
};

/* Parent: load the reply of a slot that says DONE. `request` is the kind of the
 * request as the parent remembers it. False: no worker of this pool can have
 * written that. Plain loads, once each: a worker gone wild may store meanwhile,
 * and an honest one's stores come before the acquire that found DONE. */
static inline bool fl_reply_load(const struct fl_region *r, const struct fl_slot *slot, uint16_t request,
                                 struct fl_reply *reply)
{
    const volatile struct fl_slot *s = slot;
    struct fl_reply_rule rule;

    reply->kind = s->reply_kind;
    reply->size = s->reply_size;
    reply->scalar = s->reply_scalar;
    reply->started_ns = s->started_ns;
    reply->finished_ns = s->finished_ns;
    reply->status = s->reply_status;
    rule = fl_reply_rule(reply->kind);
    if (request >= FL_REQUEST_KINDS || !(rule.requests >> request & 1))
        return false;
    if (reply->kind == FL_REPLY_RETURNED && reply->size < sizeof(struct fl_returned))
        return false;
    return reply->size <= (rule.sized ? r->plan.max_payload : 0);
}

/* Either side: a pickle's head, and where its stream begins. False: it does not lie
 * inside `size` bytes. Here and in fl_pickle_buffer() every number is read once,
 * checked and then used: the other side may have gone wild, and be writing there. */
static inline bool fl_pickle_head(const char *payload, uint64_t size, struct fl_pickle *head, uint64_t *stream_at)
{
    if (size < sizeof *head)
        return false;
    memcpy(head, payload, sizeof *head);
    *stream_at = sizeof *head + 8 * (uint64_t)head->buffers;
    return head->buffers <= FL_MAX_BUFFERS && *stream_at <= size && head->stream_size <= size - *stream_at;
}

/* Buffer `i` of a pickle whose head has passed. `at`: the end of what is before it,
 * then where it begins. */
static inline bool fl_pickle_buffer(const char *payload, uint64_t size, uint32_t i, uint64_t *at, uint64_t *length,
                                    int *readonly)
{
    uint64_t said;

    memcpy(&said, payload + sizeof(struct fl_pickle) + 8 * (uint64_t)i, 8);
    *length = said & ~FL_BUFFER_READONLY;
    *readonly = (said & FL_BUFFER_READONLY) != 0;
    *at = fl_round(*at, FL_LINE);
    return *at <= size && *length <= size - *at;
}

/* Do the parts of a description fill no more than its `length` bytes? Strings
 * must end inside it: the loader and exec are given plain pointers. */
static inline bool fl_description_check(const struct fl_description *d, uint64_t length)
{
    const char *end = (const char *)(d + 1);
    uint64_t room = length - sizeof *d;
    bool named = d->kind == FL_DESCRIBE_FUNCTION || d->kind == FL_DESCRIBE_TASK;
    bool listed = d->kind == FL_DESCRIBE_HOST;

    if (d->arguments > FL_MAX_ARGUMENTS || d->types_size > FL_MAX_TYPES || d->body_size > room ||
        d->types_size + (uint64_t)d->library_size + d->name_size > room - d->body_size)
        return false;
    end += d->types_size + (uint64_t)d->library_size;
    if (named && (!d->library_size || end[-1] || !d->name_size || end[d->name_size - 1]))
        return false;
    end += d->name_size + d->body_size;
    return !listed || (d->body_size && !end[-1]);
}

/* Worker: the description with this id, checked, or NULL. It stays mapped
 * until fl_description_unmap: a process may have 65530 mappings in all. */
static inline const struct fl_description *fl_description_map(const struct fl_region *r, uint32_t id)
{
    const struct fl_plan *h = &r->plan;
    struct fl_function f;
    const struct fl_description *d;
    uint64_t start;
    char *at;

    if (!id || id >= h->functions)
        return NULL;
    f = r->functions[id];
    if (f.at < h->descriptions_at || f.at % FL_LINE || f.length < sizeof *d ||
        f.at - h->descriptions_at > h->descriptions_size ||
        f.length > h->descriptions_size - (f.at - h->descriptions_at))
        return NULL;
    start = f.at / FL_GRAIN * FL_GRAIN;
    at = (char *)mmap(NULL, f.at - start + f.length, PROT_READ, MAP_SHARED, r->fd, (off_t)start);
    if (at == MAP_FAILED)
        return NULL;
    d = (const struct fl_description *)(at + (f.at - start));
    if (fl_description_check(d, f.length))
        return d;
    munmap(at, f.at - start + f.length);
    return NULL;
}

static inline void fl_description_unmap(const struct fl_region *r, uint32_t id, const struct fl_description *d)
{
    uint64_t before = r->functions[id].at % FL_GRAIN;

    munmap((char *)d - before, before + r->functions[id].length);
}

static inline const uint8_t *fl_description_types(const struct fl_description *d)
{
    return (const uint8_t *)(d + 1);
}

static inline const char *fl_description_library(const struct fl_description *d)
{
    return (const char *)(d + 1) + d->types_size;
}

static inline const char *fl_description_name(const struct fl_description *d)
{
    return fl_description_library(d) + d->library_size;
}

static inline const char *fl_description_body(const struct fl_description *d)
{
    return fl_description_name(d) + d->name_size;
}

#endif
