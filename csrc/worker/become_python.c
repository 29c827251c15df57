/* From the C program to the interpreter: same pid, same descriptors, same slot. */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST_ARGUMENTS 64

void fl_become_python(struct fl_worker *w)
{
    const struct fl_description *d;
    char *argv[MOST_ARGUMENTS + 1], *at, *end, why[256];
    int n = 0;

    fl_check_descriptors(w);
    d = fl_description_map(&w->region, w->region.header->host_function);
    if (!d || d->kind != FL_DESCRIBE_HOST) {
        static const char none[] = "this pool has no Python interpreter for its workers";
        fl_reply_bytes(w, FL_REPLY_REFUSED, none, sizeof none - 1);
        return;
    }
    at = (char *)fl_description_body(d);
    for (end = at + d->body_size; at < end && n < MOST_ARGUMENTS; at += strlen(at) + 1)
        argv[n++] = at;
    argv[n] = NULL;
    fl_libraries_close();
    fl_detach_for_exec(w);
    fl_signals_sleep(); /* until the host has its handlers, signals stay pending */
    fflush(NULL); /* what C functions printed would be lost in the exec */
    execv(argv[0], argv);
    fl_signals_wake(w);
    snprintf(why, sizeof why, "cannot exec %s: %s", argv[0], strerror(errno));
    fl_description_unmap(&w->region, w->region.header->host_function, d);
    fl_reply_bytes(w, FL_REPLY_REFUSED, why, strlen(why));
}
