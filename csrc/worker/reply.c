/* The way back: reply into slot or window, done, flag, and who is told. */
#include "worker.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* How long a parent thread may take the flag before the collector is called:
 * less than waking it costs, more than a caller needs from submit to result. */
#define REPORT_GRACE_NS 4000u

/* A chunk of a map is seldom waited for by itself, and to wake the collector
 * costs as much as to run a small one. So short ones are reported together:
 * after UNREPORTED_NS, or as soon as the ring holds no more than LOW_WATER for each
 * worker; in the time that these take the parent can publish others. The next
 * chunk may take for ever: only while the collector looks by itself. */
#define SHORT_CHUNK_NS 1000000u
#define UNREPORTED_NS 2000000u
#define LOW_WATER 4u

/* Stands behind the reply area while a task may write there: a slot's areas end
 * 64 bytes before the next slot begins (layout.h: header and areas are an odd
 * number of lines, the stride is an even one). */
#define GUARD UINT64_C(0x9d4ec1f0a75b3862)

static uint64_t *guard_of(const struct fl_worker *w)
{
    return (uint64_t *)(fl_slot_area(&w->region, w->call.index, FL_REPLY) + w->region.plan.slot_size);
}

_Noreturn void fl_end_corrupted(const struct fl_worker *w, const char *what)
{
    fprintf(stderr, "%.*s: %s\n", (int)FL_NAME_SIZE, w->region.header->name, what);
    abort();
}

void fl_leave_if_forked(const struct fl_worker *w)
{
    if (w->forked)
        _exit(0);
}

char *fl_reply_reserve(struct fl_worker *w, uint64_t size)
{
    struct fl_call *call = &w->call;
    uint64_t slot_size = w->region.plan.slot_size;
    struct fl_mapping *m = &w->windows[call->index][FL_REPLY];
    char *window, *area = fl_slot_area(&w->region, call->index, FL_REPLY);

    fl_leave_if_forked(w);
    call->reply_error = 0;
    if (size > w->region.plan.max_payload) {
        call->reply_wanted = size;
        return NULL;
    }
    call->reply_wanted = 0;
    if (size <= slot_size && (!call->reply || call->reply == area)) {
        if (!call->reply)
            *guard_of(w) = GUARD;
        call->reply_room = slot_size;
        return call->reply = area;
    }
    if (size > call->reply_reach)
        call->reply_reach = size;
    if (call->reply && call->reply != area && size <= call->reply_room)
        return call->reply;
    /* A longer mapping of the same pages: what stands there stays. */
    window = fl_call_window(w, FL_REPLY, size);
    if (!window) {
        call->reply_error = errno;
        call->reply_wanted = size;
        return NULL;
    }
    if (call->reply == area && call->reply_size)
        memcpy(window, area, call->reply_size);
    call->reply_room = m->size;
    return call->reply = window;
}

/* The task was condemned, and the parent is about to end this process: another
 * task that it claimed now would go with it. */
static void wait_to_be_killed(const struct fl_worker *w)
{
    while (!w->interrupted)
        pause();
}

/* The reply is not in its window after all, and has no bytes: nobody would
 * hear of the pages that were touched there, so they are given back. Not by way
 * of the descriptor, which a task may have closed. */
static void drop_window(struct fl_worker *w)
{
    struct fl_mapping *m = &w->windows[w->call.index][FL_REPLY];

    if (m->at)
        madvise(m->at, m->size, MADV_REMOVE);
}

void fl_reply_send(struct fl_worker *w, enum fl_reply_kind kind)
{
    struct fl_call *call = &w->call;
    struct fl_slot *s = call->slot;
    struct fl_block *block = &w->region.blocks[w->index];
    uint64_t finished = fl_now();

    fl_leave_if_forked(w);
    if (call->reply_wanted) {
        kind = call->reply_error ? FL_REPLY_NO_ROOM : FL_REPLY_TOO_LARGE;
        call->status = call->reply_error;
        call->reply_size = 0;
        s->reply_scalar = call->reply_wanted;
    }
    /* The parent looks where the size says: a short reply that grew in the
     * window first goes back to the slot. */
    if (call->reply_size && call->reply_size <= w->region.plan.slot_size) {
        char *area = fl_slot_area(&w->region, call->index, FL_REPLY);
        if (call->reply != area)
            memcpy(area, call->reply, call->reply_size);
    }
    if (call->reply == fl_slot_area(&w->region, call->index, FL_REPLY) && *guard_of(w) != GUARD)
        fl_end_corrupted(w, "a task wrote past the end of its reply");
    if (fl_reply_sized(kind))
        s->reply_scalar = call->reply_reach;
    else if (call->reply_reach)
        drop_window(w);
    s->reply_kind = (uint16_t)kind;
    s->reply_size = call->reply_size;
    s->reply_status = call->status;
    s->finished_ns = finished;
    if (!w->unreported)
        w->unreported_since = finished;
    w->short_chunk = s->request_kind == FL_CALL_MAP && finished - s->started_ns < SHORT_CHUNK_NS;
    fl_count(&block->tasks_done, 1);
    if (s->started_ns)
        fl_count(&block->run_ns, finished - s->started_ns);
    if (!fl_slot_finish(s, call->generation, w->index)) {
        if (fl_slot_look(s) != fl_slot_word(call->generation, w->index + 1, FL_CONDEMNED))
            fl_end_corrupted(w, "something wrote over the slot of a task that runs");
        wait_to_be_killed(w);
        return;
    }
    fl_flag_set(&w->region, call->index);
    w->unreported++;
}

void fl_reply_scalar(struct fl_worker *w, enum fl_reply_kind kind, uint64_t scalar)
{
    fl_leave_if_forked(w);
    w->call.reply_size = 0;
    w->call.slot->reply_scalar = scalar;
    fl_reply_send(w, kind);
}

void fl_reply_bytes(struct fl_worker *w, enum fl_reply_kind kind, const void *data, uint64_t size)
{
    char *at = fl_reply_reserve(w, size);

    if (at) {
        fl_copy(at, data, size);
        w->call.reply_size = size;
    }
    fl_reply_send(w, kind);
}

bool fl_reply_may_wait(struct fl_worker *w)
{
    return w->short_chunk && fl_now() - w->unreported_since < UNREPORTED_NS && fl_collector_will_look(&w->region) &&
           fl_ring_longer(&w->region, &w->cursor, LOW_WATER * w->region.plan.workers);
}

/* Has the parent taken all that is to be reported? */
static bool is_taken(struct fl_worker *w)
{
    struct fl_call *call = &w->call;

    if (w->unreported > 1)
        return !fl_flags_any(&w->region); /* others' flags too: then there is one call more */
    return fl_slot_look(call->slot) != fl_slot_word(call->generation, w->index + 1, FL_DONE);
}

void fl_reply_report(struct fl_worker *w)
{
    struct fl_region *r = &w->region;
    uint64_t until = 0;
    bool known;

    while (!(known = is_taken(w) || fl_collector_looks(r))) {
        if (!until)
            until = fl_now() + (r->header->spin_ns ? REPORT_GRACE_NS : 0);
        if (fl_now() >= until)
            break;
        fl_pause();
    }
    w->unreported = 0;
    if (!known && fl_collector_call(r, &w->os)) {
        fl_count(&r->blocks[w->index].collector_calls, 1);
        if (w->short_chunk)
            sched_yield(); /* to the collector: this worker's next chunk fills a time slice */
    }
}
