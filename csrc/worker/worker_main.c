/* The program fuload-worker; fuload_worker_main is also what a worker program
 * of a user's own calls. */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

static bool python_allowed;

void fuload_worker_allow_python(void)
{
    python_allowed = true;
}

static void refuse_python(struct fl_worker *w)
{
    static const char why[] = "this pool's worker program runs no Python callables";

    fl_reply_bytes(w, FL_REPLY_REFUSED, why, sizeof why - 1);
}

int fuload_worker_main(int argc, char **argv, const struct fuload_worker_task *tasks)
{
    static struct fl_worker w;
    const char *why = fl_attach(&w);
    int code;

    (void)argc;
    if (why) {
        fprintf(stderr, "%s: cannot serve: %s\n", argv[0] ? argv[0] : "fuload-worker", why);
        return 3;
    }
    w.tasks = tasks;
    w.host.call_python = python_allowed ? fl_become_python : refuse_python;
    code = fl_serve(&w, -1);
    if (!w.interrupted)
        fl_libraries_close();
    return code;
}
