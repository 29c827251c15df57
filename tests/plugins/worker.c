/* A worker program of one's own, with state in its globals. */
#include <fuload.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int calls, arguments;
static char **texts;

static int echo(fuload_task *task)
{
    size_t size;
    const void *at = fuload_request(task, &size);

    return fuload_reply(task, at, size);
}

static int count(fuload_task *task)
{
    int answer[2] = {++calls, (int)getpid()};

    return fuload_reply(task, answer, sizeof answer);
}

static int argv_of(fuload_task *task)
{
    int i;

    for (i = 0; i < arguments; i++)
        fuload_write(task, texts[i], strlen(texts[i]) + 1);
    return 0;
}

static int say(fuload_task *task)
{
    size_t size;
    const char *at = fuload_request(task, &size);

    fprintf(stderr, "%.*s\n", (int)size, at);
    return 0;
}

static int fail(fuload_task *task)
{
    return fuload_fail(task, 5, "on purpose");
}

static int crash(fuload_task *task)
{
    (void)task;
    abort();
}

static const struct fuload_worker_task tasks[] = {
    {"echo", echo}, {"count", count}, {"argv", argv_of}, {"say", say}, {"fail", fail}, {"crash", crash}, {NULL, NULL},
};

int main(int argc, char **argv)
{
    arguments = argc;
    texts = argv;
    if (getenv("SAY_FIRST"))
        fprintf(stderr, "%s\n", getenv("SAY_FIRST"));
    if (getenv("LEAVE_FIRST"))
        return atoi(getenv("LEAVE_FIRST"));
    if (getenv("CRASH_FIRST"))
        abort();
    if (getenv("ALLOW_PYTHON"))
        fuload_worker_allow_python();
    return fuload_worker_main(argc, argv, getenv("NO_TASKS") ? NULL : tasks);
}
