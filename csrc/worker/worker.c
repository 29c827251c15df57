/* The worker's life: wait, claim, call, reply; leave when told to. */
#include "worker.h"

#include <stdlib.h>

static void leave_python(struct fl_worker *w)
{
    if (w->host.leave_python)
        w->host.leave_python(w->host.context);
}

static void enter_python(struct fl_worker *w)
{
    if (w->host.enter_python)
        w->host.enter_python(w->host.context);
}

static void begin_call(struct fl_worker *w, uint32_t index, uint32_t generation)
{
    struct fl_call *call = &w->call;
    struct fl_slot *s = fl_slot_at(&w->region, index);

    call->slot = s;
    call->index = index;
    call->generation = generation;
    call->request_size = s->request_size;
    call->request = fl_slot_area(&w->region, index, FL_REQUEST);
    call->reply = NULL;
    call->reply_room = call->reply_size = call->reply_wanted = call->reserved = call->reply_reach = 0;
    call->status = call->reply_error = 0;
}

/* Windows of other slots: what they hold is not this task's. */
static void unmap_others(struct fl_worker *w)
{
    uint32_t slot;

    for (slot = 0; slot < w->region.plan.slots; slot++)
        if (slot != w->call.index) {
            fl_window_unmap(&w->region, &w->windows[slot][FL_REQUEST]);
            fl_window_unmap(&w->region, &w->windows[slot][FL_REPLY]);
        }
}

char *fl_call_window(struct fl_worker *w, enum fl_half half, uint64_t size)
{
    struct fl_region *r = &w->region;
    struct fl_mapping *m = &w->windows[w->call.index][half];
    char *at;

    if (m->at && m->size >= size)
        return m->at;
    fl_check_descriptors(w);
    if (r->windows >= FL_MOST_WINDOWS)
        unmap_others(w);
    at = fl_window_map(r, m, w->call.index, half, size);
    if (at || errno != ENOMEM)
        return at;
    unmap_others(w);
    return fl_window_map(r, m, w->call.index, half, size);
}

/* A request longer than the slot stands in its window. */
static bool find_request(struct fl_worker *w)
{
    struct fl_call *call = &w->call;

    if (call->request_size <= w->region.plan.slot_size)
        return true;
    errno = EINVAL;
    call->request =
        call->request_size > w->region.plan.max_payload ? NULL : fl_call_window(w, FL_REQUEST, call->request_size);
    call->status = call->request ? 0 : errno;
    return call->request != NULL;
}

static void call_native(struct fl_worker *w)
{
    enum fl_reply_kind kind = FL_REPLY_REFUSED;
    const struct fl_callable *c;
    char why[1024];

    if (!fl_callable_known(w, w->call.slot->function))
        fl_check_descriptors(w); /* before the task begins: another worker gets it */
    fl_call_starts(w);
    c = fl_callable_find(w, w->call.slot->function, why, sizeof why, &kind);
    if (!c) {
        fl_reply_bytes(w, kind, why, strlen(why));
        return;
    }
    fl_signals_enter_native(w);
    leave_python(w);
    if (c->kind == FL_DESCRIBE_FUNCTION && w->call.slot->request_kind == FL_CALL_MAP)
        fl_call_map(w, c);
    else if (c->kind == FL_DESCRIBE_FUNCTION)
        fl_call_function(w, c);
    else
        fl_call_task(w, c);
    enter_python(w);
    fl_signals_leave_native(w);
}

static void call(struct fl_worker *w)
{
    struct fl_slot *s = w->call.slot;

    if (!find_request(w)) {
        fl_reply_scalar(w, FL_REPLY_NO_REQUEST, w->call.request_size);
    } else if (!fl_request_python(s->request_kind)) {
        call_native(w);
    } else {
        w->host.call_python(w);
    }
    /* Release: who sees this sees that the slot is done. */
    atomic_store_explicit(&w->region.blocks[w->index].slot, 0, memory_order_release);
}

/* Poll for a while, if few others do. A poller that has lost its CPU keeps the
 * parent from ringing another for as long as it takes to get it back: once that
 * has happened it sleeps instead, and a signal gets it a CPU at once.
 * True: there is something to do. */
static bool poll_for_work(struct fl_worker *w)
{
    struct fl_region *r = &w->region;
    uint64_t now = w->os.now(w->os.context), until = now + r->header->spin_ns;
    uint32_t i;

    if (fl_poll_contended(&w->contended_until, now) || !fl_bell_may_poll(r, w->index))
        return false;
    atomic_store_explicit(&r->states[w->index], fl_state_word(FL_POLLING, 0, 0), memory_order_release);
    do {
        for (i = 0; i < FL_POLL_LOOKS; i++) {
            if (fl_ring_pending(r, &w->cursor) || fl_leaving(r) || w->interrupted)
                return true;
            fl_pause();
        }
    } while (fl_poll_on(&w->os, until, r->header->late_ns, &w->contended_until));
    return false;
}

/* Nothing to claim. */
static void wait_for_work(struct fl_worker *w)
{
    struct fl_region *r = &w->region;

    if (poll_for_work(w))
        return;
    fl_signals_sleep();
    fl_bell_sleep(r, &w->os, w->index, &w->cursor);
    fl_signals_wake(w);
}

/* Has it run as many tasks as one worker of this pool may? */
static bool retired(struct fl_region *r, uint32_t index)
{
    return r->header->max_tasks &&
           atomic_load_explicit(&r->blocks[index].tasks_done, memory_order_relaxed) >= r->header->max_tasks;
}

/* The task that it claimed before its exec. Its block says which, and so any task
 * of the pool may have written there: the slot's word has to say so too. */
static void resume_call(struct fl_worker *w, uint32_t slot)
{
    uint64_t word = slot < w->region.plan.slots ? fl_slot_look(fl_slot_at(&w->region, slot)) : 0;

    if (fl_word_owner(word) != w->index + 1)
        fl_end_corrupted(w, "something wrote over what this worker is to run");
    begin_call(w, slot, fl_word_generation(word));
    call(w);
}

int fl_serve(struct fl_worker *w, int32_t resume)
{
    struct fl_region *r = &w->region;
    bool waited = true;

    if (resume >= 0)
        resume_call(w, (uint32_t)resume);
    for (;;) {
        bool last = w->interrupted || w->last_task || retired(r, w->index);
        uint32_t generation;
        int32_t slot;

        if (w->unreported && (last || !fl_reply_may_wait(w)))
            fl_reply_report(w);
        if (last) /* the parent starts another when it has buried this one */
            return w->interrupted ? 130 : 0;
        slot = fl_ring_claim(r, w->index, &w->cursor, &generation);
        if (w->unreported && (slot < 0 || fl_slot_at(r, (uint32_t)slot)->request_kind != FL_CALL_MAP))
            fl_reply_report(w);
        if (slot < 0) {
            if (fl_bell_may_leave(r, &w->cursor))
                return 0;
            leave_python(w);
            wait_for_work(w);
            enter_python(w);
            waited = true;
            continue;
        }
        begin_call(w, (uint32_t)slot, generation);
        if (waited && fl_bell_busy(r, &w->os, w->index, &w->cursor))
            fl_count(&r->blocks[w->index].relays, 1);
        waited = false;
        call(w);
    }
}
