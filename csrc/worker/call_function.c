/* A C function called by its declared types. libffi makes the call, but for
 * the signatures that are worth a path of their own. */
#include "worker.h"

#include <ffi.h>
#include <stdlib.h>
#include <wchar.h>

struct fl_signature {
    ffi_cif cif;
    ffi_type *result;
    uint32_t result_code;
    uint32_t result_size;   /* STRUCT, POINTEE */
    uint32_t arguments;
    uint32_t cells;         /* bytes that the cells take */
    bool errno_wanted;
    void (*direct)(void (*function)(void), const char *cells, uint64_t *result);
    ffi_type *types[FL_MAX_ARGUMENTS];
    uint8_t codes[FL_MAX_ARGUMENTS];
    uint16_t at[FL_MAX_ARGUMENTS];
};

static ffi_type *const ffi_types[FL_TYPE_COUNT] = {
    [FL_VOID] = &ffi_type_void,       [FL_I8] = &ffi_type_sint8,       [FL_U8] = &ffi_type_uint8,
    [FL_I16] = &ffi_type_sint16,      [FL_U16] = &ffi_type_uint16,     [FL_I32] = &ffi_type_sint32,
    [FL_U32] = &ffi_type_uint32,      [FL_I64] = &ffi_type_sint64,     [FL_U64] = &ffi_type_uint64,
    [FL_F32] = &ffi_type_float,       [FL_F64] = &ffi_type_double,     [FL_F80] = &ffi_type_longdouble,
    [FL_ADDRESS] = &ffi_type_pointer, [FL_STRING] = &ffi_type_pointer, [FL_WIDE_STRING] = &ffi_type_pointer,
    [FL_POINTEE] = &ffi_type_pointer,
};

/* libffi takes 23 ns for cos, a call through the function's own type 8. */
/* clang-format off */
#define DIRECT(name, result_c, arguments_c, call)                                          \
    static void name(void (*function)(void), const char *cells, uint64_t *result)         \
    {                                                                                      \
        union { uint64_t bits; result_c value; } r = {0};                                  \
        const union cell { double d; int32_t i; int64_t l; } *c = (const void *)cells;     \
        r.value = ((result_c(*) arguments_c)function) call;                                \
        *result = r.bits;                                                                  \
    }
/* clang-format on */

DIRECT(call_d_d, double, (double), (c[0].d))
DIRECT(call_d_dd, double, (double, double), (c[0].d, c[1].d))
DIRECT(call_d_ddd, double, (double, double, double), (c[0].d, c[1].d, c[2].d))
DIRECT(call_i_i, int32_t, (int32_t), (c[0].i))
DIRECT(call_i_ii, int32_t, (int32_t, int32_t), (c[0].i, c[1].i))
DIRECT(call_l_l, int64_t, (int64_t), (c[0].l))
DIRECT(call_l_ll, int64_t, (int64_t, int64_t), (c[0].l, c[1].l))

static const struct {
    uint8_t result, arguments, types[3];
    void (*call)(void (*function)(void), const char *cells, uint64_t *result);
} direct_calls[] = {
    {FL_F64, 1, {FL_F64}, call_d_d},
    {FL_F64, 2, {FL_F64, FL_F64}, call_d_dd},
    {FL_F64, 3, {FL_F64, FL_F64, FL_F64}, call_d_ddd},
    {FL_I32, 1, {FL_I32}, call_i_i},
    {FL_I32, 2, {FL_I32, FL_I32}, call_i_ii},
    {FL_I64, 1, {FL_I64}, call_l_l},
    {FL_I64, 2, {FL_I64, FL_I64}, call_l_ll},
};

static void choose_direct(struct fl_signature *g)
{
    size_t i;

    for (i = 0; i < sizeof direct_calls / sizeof *direct_calls && !g->errno_wanted; i++)
        if (direct_calls[i].result == g->result_code && direct_calls[i].arguments == g->arguments &&
            !memcmp(direct_calls[i].types, g->codes, g->arguments))
            g->direct = direct_calls[i].call;
}

/* -- types out of a description ------------------------------------------- */

struct reader {
    const uint8_t *at, *end;
};

static bool take(struct reader *r, void *to, size_t size)
{
    if ((size_t)(r->end - r->at) < size)
        return false;
    memcpy(to, r->at, size);
    r->at += size;
    return true;
}

static ffi_type *read_type(struct reader *r, uint8_t *code, uint16_t *size, int depth);

/* A structure, its members' types behind it; never freed, like its signature. */
static ffi_type *read_struct(struct reader *r, uint16_t *size, int depth)
{
    ffi_type *t = calloc(1, sizeof *t);
    uint8_t count, code, i;
    uint16_t inner;
    ffi_cif probe;

    if (!t || depth > FL_MAX_DEPTH || !take(r, size, 2) || !take(r, &count, 1) ||
        !(t->elements = calloc(count + 1u, sizeof *t->elements)))
        goto refuse;
    t->type = FFI_TYPE_STRUCT;
    for (i = 0; i < count; i++)
        if (!(t->elements[i] = read_type(r, &code, &inner, depth + 1)))
            goto refuse;
    /* libffi lays it out here; it must come out as long as ctypes has it. */
    if (count == 0 || ffi_prep_cif(&probe, FFI_DEFAULT_ABI, 0, t, NULL) != FFI_OK || t->size != *size)
        goto refuse;
    return t;
refuse:
    if (t)
        free(t->elements);
    free(t);
    return NULL;
}

static ffi_type *read_type(struct reader *r, uint8_t *code, uint16_t *size, int depth)
{
    *size = 0;
    if (!take(r, code, 1) || *code >= FL_TYPE_COUNT)
        return NULL;
    if (*code == FL_STRUCT)
        return read_struct(r, size, depth);
    if (*code == FL_POINTEE && !take(r, size, 2))
        return NULL;
    return ffi_types[*code];
}

bool fl_signature_prepare(struct fl_callable *c, const struct fl_description *d)
{
    struct fl_signature *g = calloc(1, sizeof *g);
    struct reader r = {fl_description_types(d), fl_description_types(d) + d->types_size};
    uint8_t code;
    uint16_t size;
    uint64_t end = 0;
    uint32_t i;

    if (!g || !(g->result = read_type(&r, &code, &size, 0)))
        goto refuse;
    g->result_code = code;
    g->result_size = size;
    g->arguments = d->arguments;
    g->errno_wanted = d->flags & FL_USES_ERRNO;
    for (i = 0; i < d->arguments; i++) {
        if (!(g->types[i] = read_type(&r, &code, &size, 0)) || code == FL_VOID || code > FL_STRUCT)
            goto refuse;
        g->codes[i] = code;
        g->at[i] = (uint16_t)fl_cell_at(end, code);
        end = g->at[i] + (code == FL_STRUCT ? fl_round(size, 8) : fl_cell_size(code));
        if (end > UINT16_MAX)
            goto refuse;
    }
    g->cells = (uint32_t)end;
    choose_direct(g);
    if (ffi_prep_cif(&g->cif, FFI_DEFAULT_ABI, g->arguments, g->result, g->types) != FFI_OK)
        goto refuse;
    c->signature = g;
    return true;
refuse:
    free(g);
    return false;
}

/* -- the call ----------------------------------------------------------------- */

struct frame {
    void *values[FL_MAX_ARGUMENTS];
    void *addresses[FL_MAX_ARGUMENTS];
    struct fl_extent extent;
    uint64_t returned;      /* bytes of fl_returned and the block, 0: none */
};

static struct fl_address address_at(const struct fl_signature *g, const struct fl_call *call, uint32_t i)
{
    struct fl_address a;

    memcpy(&a, call->request + g->at[i], sizeof a);
    return a;
}

/* What of the request comes back. False: a buffer lies outside it. */
static bool measure(const struct fl_signature *g, const struct fl_call *call, struct frame *f)
{
    uint32_t i;

    memset(&f->extent, 0, sizeof f->extent);
    for (i = 0; i < g->arguments; i++) {
        struct fl_address a;
        uint64_t length;

        if (g->codes[i] != FL_ADDRESS)
            continue;
        a = address_at(g, call, i);
        length = a.mode >> 8;
        if ((a.mode & 0xff) == FL_ADDRESS_VALUE)
            continue;
        if (a.value > call->request_size || length > call->request_size - a.value ||
            FL_BUFFER_ZEROS > call->request_size - a.value - length)
            return false;
        if ((a.mode & 0xff) == FL_ADDRESS_INOUT)
            fl_extent_add(&f->extent, a.value, length);
    }
    f->returned = f->extent.size ? sizeof(struct fl_returned) + f->extent.size : 0;
    return true;
}

/* Pointers to the argument values; INOUT buffers go to the reply, where the
 * call shall write. */
static void place(const struct fl_signature *g, const struct fl_call *call, struct frame *f)
{
    char *block = call->reply + sizeof(struct fl_returned);
    uint32_t i;

    if (f->returned)
        fl_copy(block, call->request + f->extent.at, f->extent.size);
    for (i = 0; i < g->arguments; i++) {
        struct fl_address a;

        f->values[i] = (void *)(call->request + g->at[i]);
        if (g->codes[i] != FL_ADDRESS)
            continue;
        a = address_at(g, call, i);
        f->values[i] = &f->addresses[i];
        if ((a.mode & 0xff) == FL_ADDRESS_VALUE)
            f->addresses[i] = (void *)(uintptr_t)a.value;
        else if ((a.mode & 0xff) == FL_ADDRESS_IN)
            f->addresses[i] = (void *)(call->request + a.value);
        else
            f->addresses[i] = block + (a.value - f->extent.at);
    }
}

union result {
    uint64_t bits;
    ffi_arg word;
    void *pointer;
    char room[16];
};

/* What comes back instead of a number: where it is, and how much; NULL for a
 * number and for a null pointer. A string may lie in the reply itself, which
 * may move, so it is copied first. */
static bool result_bytes(const struct fl_signature *g, union result *result, void *structure, const void **bytes,
                         uint64_t *size, void **copied)
{
    const char *p = result->pointer;

    *size = 0;
    *copied = NULL;
    switch (g->result_code) {
    case FL_F80:
        *bytes = result, *size = 16;
        return true;
    case FL_STRUCT:
        *bytes = structure, *size = g->result_size;
        return true;
    case FL_STRING:
        *size = p ? strlen(p) : 0;
        break;
    case FL_WIDE_STRING:
        *size = p ? wcslen((const wchar_t *)p) * sizeof(wchar_t) : 0;
        break;
    case FL_POINTEE:
        *size = p ? g->result_size : 0;
        break;
    default:
        return true;
    }
    result->bits = p != NULL;
    if (!p)
        return true;
    if (!(*copied = malloc(*size + 1)))
        return false;
    memcpy(*copied, p, *size);
    *bytes = *copied;
    return true;
}

static void refuse(struct fl_worker *w, const char *why)
{
    w->call.reply_size = 0;
    fl_reply_bytes(w, FL_REPLY_REFUSED, why, strlen(why));
}

static void send_returned(struct fl_worker *w, const struct frame *f, uint64_t scalar, const void *bytes, uint64_t size)
{
    uint64_t at = fl_round(f->returned, FL_BUFFER_ALIGN);
    struct fl_returned head = {scalar, size};
    char *to;

    w->call.reply_size = f->returned; /* what must be kept if the reply moves */
    to = fl_reply_reserve(w, at + size);
    if (to) {
        memcpy(to, &head, sizeof head);
        if (size)
            fl_copy(to + at, bytes, size);
        w->call.reply_size = at + size;
    }
    fl_reply_send(w, FL_REPLY_RETURNED);
}

void fl_call_function(struct fl_worker *w, const struct fl_callable *c)
{
    const struct fl_signature *g = c->signature;
    union result result = {0};
    const void *bytes = NULL;
    void *structure = NULL, *copied = NULL;
    struct frame f;
    uint64_t size;

    if (w->call.request_size < g->cells) {
        refuse(w, "the request does not hold the function's arguments");
        return;
    }
    if (g->direct) {
        g->direct(c->at.function, w->call.request, &result.bits);
        fl_reply_scalar(w, FL_REPLY_SCALAR, result.bits);
        return;
    }
    if (!measure(g, &w->call, &f)) {
        refuse(w, "the request does not hold the function's buffers");
        return;
    }
    if (f.returned && !fl_reply_reserve(w, f.returned)) {
        fl_reply_send(w, FL_REPLY_RETURNED); /* too large, and says so */
        return;
    }
    if (g->result_code == FL_STRUCT && !(structure = calloc(1, g->result_size + 16u))) {
        refuse(w, "out of memory");
        return;
    }
    place(g, &w->call, &f);
    if (g->errno_wanted)
        errno = 0;
    ffi_call((ffi_cif *)&g->cif, c->at.function, structure ? structure : (void *)&result, f.values);
    if (g->errno_wanted)
        w->call.status = errno;
    if (!result_bytes(g, &result, structure, &bytes, &size, &copied))
        refuse(w, "out of memory");
    else if (f.returned)
        send_returned(w, &f, result.bits, bytes, size);
    else if (bytes)
        fl_reply_bytes(w, FL_REPLY_BYTES, bytes, size);
    else
        fl_reply_scalar(w, FL_REPLY_SCALAR, result.bits);
    free(structure);
    free(copied);
}

/* -- one function, many times ------------------------------------------------- */

/* Where each argument's items are, and how far the next is: 0 for a number
 * that stays. False: they lie outside the request. */
static bool place_items(const struct fl_signature *g, const struct fl_call *call, uint64_t count,
                        struct fl_address *numbers, const char **items, uint64_t *steps)
{
    const char *cells = call->request + sizeof(struct fl_map);
    uint32_t i;

    if (call->request_size < sizeof(struct fl_map) + sizeof *numbers * g->arguments)
        return false;
    memcpy(numbers, cells, sizeof *numbers * g->arguments);
    for (i = 0; i < g->arguments; i++) {
        uint64_t size = fl_item_size(g->codes[i]);

        if (!size)
            return false;
        steps[i] = numbers[i].mode == FL_ADDRESS_IN ? size : 0;
        items[i] = cells + sizeof *numbers * i; /* the number stands in its cell */
        if (!steps[i])
            continue;
        if (numbers[i].value > call->request_size || count > (call->request_size - numbers[i].value) / size)
            return false;
        items[i] = call->request + numbers[i].value;
    }
    return true;
}

typedef double (*function_d_d)(double);
typedef double (*function_d_dd)(double, double);

static double item(const char *at, uint64_t step, uint64_t i)
{
    return *(const double *)(at + step * i);
}

static void map_generic(const struct fl_signature *g, void (*function)(void), const char **items, const uint64_t *steps,
                        uint64_t count, char *out)
{
    uint64_t result_size = fl_item_size(g->result_code), k;
    void *values[FL_MAX_ARGUMENTS];
    union result result = {0};
    uint32_t i;

    for (i = 0; i < g->arguments; i++)
        values[i] = (void *)items[i];
    for (k = 0; k < count; k++) {
        ffi_call((ffi_cif *)&g->cif, function, &result, values);
        memcpy(out + k * result_size, &result, result_size);
        for (i = 0; i < g->arguments; i++)
            values[i] = (char *)values[i] + steps[i];
    }
}

static void map_items(const struct fl_signature *g, void (*function)(void), const char **items, const uint64_t *steps,
                      uint64_t count, char *out)
{
    uint64_t k;

    if (g->direct == call_d_d)
        for (k = 0; k < count; k++)
            ((double *)out)[k] = ((function_d_d)function)(item(items[0], steps[0], k));
    else if (g->direct == call_d_dd)
        for (k = 0; k < count; k++)
            ((double *)out)[k] = ((function_d_dd)function)(item(items[0], steps[0], k), item(items[1], steps[1], k));
    else
        map_generic(g, function, items, steps, count, out);
}

void fl_call_map(struct fl_worker *w, const struct fl_callable *c)
{
    const struct fl_signature *g = c->signature;
    struct fl_address numbers[FL_MAX_ARGUMENTS];
    const char *items[FL_MAX_ARGUMENTS];
    uint64_t steps[FL_MAX_ARGUMENTS], size = fl_item_size(g->result_code);
    struct fl_map head = {0, 0};
    char *out;

    if (w->call.request_size >= sizeof head)
        memcpy(&head, w->call.request, sizeof head);
    if ((!size && g->result_code != FL_VOID) || !place_items(g, &w->call, head.count, numbers, items, steps) ||
        (size && head.count > UINT64_MAX / size)) {
        refuse(w, "the request does not hold what the function is mapped over");
        return;
    }
    out = fl_reply_reserve(w, size * head.count);
    if (out) {
        map_items(g, c->at.function, items, steps, head.count, out);
        w->call.reply_size = size * head.count;
    }
    fl_reply_send(w, FL_REPLY_BYTES);
}
