/* From the C program to the interpreter: same pid, same descriptors, same slot. */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST_ARGUMENTS 64

/* As the parent says now; mapped once for each that it has said. */
static const struct fl_description *find_host(const struct fl_worker *w)
{
    static const struct fl_description *host;
    static uint32_t known;
    uint32_t id = w->region.header->host_function;

    if (id != known) {
        if (host)
            fl_description_unmap(&w->region, known, host);
        host = fl_description_map(&w->region, id);
        known = host ? id : 0;
    }
    return host;
}

static void refuse(struct fl_worker *w, const char *program)
{
    char why[4352];

    snprintf(why, sizeof why, "cannot exec %s: %s", program, strerror(errno));
    fl_reply_bytes(w, FL_REPLY_REFUSED, why, strlen(why));
}

void fl_become_python(struct fl_worker *w)
{
    fl_word *stage = &w->region.blocks[w->index].python;
    const struct fl_description *d;
    char *argv[MOST_ARGUMENTS + 1], *at, *end;
    int n = 0;

    fl_check_descriptors(w);
    d = find_host(w);
    if (d && d->kind == FL_DESCRIBE_NO_HOST) {
        fl_reply_bytes(w, FL_REPLY_REFUSED, fl_description_body(d), d->body_size);
        return;
    }
    if (!d || d->kind != FL_DESCRIBE_HOST) {
        static const char none[] = "this pool has no Python interpreter for its workers";
        fl_reply_bytes(w, FL_REPLY_REFUSED, none, sizeof none - 1);
        return;
    }
    at = (char *)fl_description_body(d);
    for (end = at + d->body_size; at < end && n < MOST_ARGUMENTS; at += strlen(at) + 1)
        argv[n++] = at;
    argv[n] = NULL;
    /* Most often it is not there any more: nothing is changed for that. */
    if (access(argv[0], X_OK) != 0) {
        refuse(w, argv[0]);
        return;
    }
    fl_libraries_close();
    fl_detach_for_exec(w);
    fl_signals_sleep(); /* until the host has its handlers, signals stay pending */
    fflush(NULL); /* what C functions printed would be lost in the exec */
    atomic_store_explicit(stage, FL_PYTHON_EXEC, memory_order_relaxed);
    execv(argv[0], argv);
    /* The plug-ins are finished, so this process cannot serve on. */
    atomic_store_explicit(stage, FL_PYTHON_NO, memory_order_relaxed);
    w->last_task = true;
    refuse(w, argv[0]);
    fl_stay_after_exec(w);
}
