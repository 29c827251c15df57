/* A task written with fuload.h: its view of the slot. */
#include "worker.h"

static struct fl_call *call_of(fuload_task *task)
{
    return (struct fl_call *)task; /* its first member */
}

static struct fl_worker *worker_of(fuload_task *task)
{
    return (struct fl_worker *)((char *)task - offsetof(struct fl_worker, call));
}

static const void *request(fuload_task *task, size_t *size)
{
    *size = call_of(task)->request_size;
    return call_of(task)->request;
}

/* After fuload_fail the reply is its message, and stays. */

static void *reserve(fuload_task *task, size_t size)
{
    struct fl_call *call = call_of(task);
    void *at = call->status ? NULL : fl_reply_reserve(worker_of(task), size);

    if (at && call->reserved < size)
        call->reserved = size;
    return at;
}

static int commit(fuload_task *task, size_t size)
{
    struct fl_call *call = call_of(task);

    if (call->status || size > call->reserved)
        return -1;
    call->reply_size = size;
    return 0;
}

static int append(fuload_task *task, const void *data, size_t size)
{
    struct fl_call *call = call_of(task);
    uint64_t before = call->reply_size;
    char *at;

    if (call->status || size > UINT64_MAX - before || !(at = fl_reply_reserve(worker_of(task), before + size)))
        return -1;
    fl_copy(at + before, data, size);
    call->reply_size = before + size;
    if (call->reserved < call->reply_size)
        call->reserved = call->reply_size;
    return 0;
}

static int fail(fuload_task *task, int status, const char *message)
{
    uint64_t most = worker_of(task)->region.plan.max_payload, wanted = call_of(task)->reply_wanted;

    call_of(task)->reply_size = 0;
    call_of(task)->status = 0;
    if (message) /* a message that is too long is cut: it is what went wrong that counts */
        append(task, message, strnlen(message, most));
    call_of(task)->reply_wanted = wanted; /* a reply that was too large is the reason that the caller gets */
    return call_of(task)->status = status ? status : -1;
}

static int cancelled(fuload_task *task)
{
    struct fl_worker *w = worker_of(task);

    return fl_word_state(fl_slot_look(w->call.slot)) != FL_RUNNING || fl_leaving(&w->region);
}

static const struct fuload_api api = {request, reserve, commit, append, fail, cancelled};

void fl_call_task(struct fl_worker *w, const struct fl_callable *c)
{
    struct fl_call *call = &w->call;
    int status;

    call->task.api = &api;
    status = c->at.task(&call->task);
    if (!status)
        status = call->status; /* fuload_fail was called, whatever came after it */
    if (status && !call->status)
        call->reply_size = 0; /* a plain non-zero return: no message */
    call->status = status;
    fl_reply_send(w, status ? FL_REPLY_STATUS : FL_REPLY_BYTES);
}
