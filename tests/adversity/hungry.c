/* Tasks that take much memory for their reply; the request is how many bytes. */
#include <fuload.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static char *touched(fuload_task *task)
{
    size_t size;
    const size_t *wanted = fuload_request(task, &size);
    char *at = fuload_reserve(task, *wanted);

    if (at)
        memset(at, 1, *wanted);
    return at;
}

FULOAD_TASK(little)
{
    return touched(task) ? fuload_commit(task, 8) : 1;
}

FULOAD_TASK(nothing)
{
    return touched(task) ? 0 : 1;
}

FULOAD_TASK(fails)
{
    return touched(task) ? fuload_fail(task, 5, "so it is") : 1;
}

FULOAD_TASK(says_no_more)
{
    return touched(task) ? 7 : 1;
}

FULOAD_TASK(asks_for_too_much)
{
    return touched(task) && !fuload_reserve(task, (size_t)-1) ? 0 : 1;
}

FULOAD_TASK(dies)
{
    if (touched(task))
        kill(getpid(), 9);
    return 1;
}

FULOAD_TASK(leaves)
{
    if (touched(task))
        _exit(0);
    return 1;
}

FULOAD_TASK(hangs)
{
    if (touched(task))
        for (;;)
            pause();
    return 1;
}
