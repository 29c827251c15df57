/* Every function of fuload.h, used as a task would. */
#include <fuload.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int inits;

static void note(const char *what)
{
    const char *path = getenv("PLUGIN_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;

    if (file) {
        fprintf(file, "%s %d\n", what, (int)getpid());
        fclose(file);
    }
}

int fuload_init(void)
{
    note("init");
    inits++;
    return getenv("INIT_STATUS") ? atoi(getenv("INIT_STATUS")) : 0;
}

void fuload_fini(void)
{
    note("fini");
}

static uint64_t number(fuload_task *task, size_t index)
{
    uint64_t found = 0;
    size_t size;
    const char *at = fuload_request(task, &size);

    if (size >= 8 * (index + 1))
        memcpy(&found, at + 8 * index, 8);
    return found;
}

FULOAD_TASK(echo)
{
    size_t size;
    const void *at = fuload_request(task, &size);

    return fuload_reply(task, at, size);
}

FULOAD_TASK(request_size)
{
    size_t size;

    fuload_request(task, &size);
    return fuload_reply(task, &size, sizeof size);
}

FULOAD_TASK(nothing)
{
    return 0;
}

/* Straight into the slot. */
FULOAD_TASK(upper)
{
    size_t size, i;
    const char *text = fuload_request(task, &size);
    char *reply = fuload_reserve(task, size);

    if (!reply)
        return fuload_fail(task, 3, "no room");
    for (i = 0; i < size; i++)
        reply[i] = text[i] >= 'a' && text[i] <= 'z' ? text[i] - 32 : text[i];
    return fuload_commit(task, size);
}

/* (count, size): the numbers from 0, each in a piece of `size` bytes. */
FULOAD_TASK(pieces)
{
    uint64_t count = number(task, 0), size = number(task, 1), i;
    char *piece = malloc(size + 1);

    for (i = 0; i < count; i++) {
        memset(piece, (int)(i % 251), size);
        if (fuload_write(task, piece, size) != 0)
            break;
    }
    free(piece);
    return 0;
}

/* (step, steps): reserve more each time, and fill only what is new. */
FULOAD_TASK(grow)
{
    uint64_t step = number(task, 0), steps = number(task, 1), i;

    for (i = 0; i < steps; i++) {
        char *reply = fuload_reserve(task, step * (i + 1));
        if (!reply)
            return 1;
        memset(reply + step * i, (int)(i % 251), step);
        if (fuload_commit(task, step * (i + 1)) != 0)
            return 2;
    }
    return 0;
}

FULOAD_TASK(head_and_body)
{
    uint64_t size = number(task, 0);
    char *reply;

    if (fuload_write(task, "head", 4) != 0)
        return 1;
    reply = fuload_reserve(task, 4 + size);
    if (!reply)
        return 2;
    memset(reply + 4, 'b', size);
    if (fuload_commit(task, 4 + size) != 0)
        return 3;
    return fuload_write(task, "tail", 4);
}

/* More is reserved than is committed. */
FULOAD_TASK(shrink)
{
    char *reply = fuload_reserve(task, number(task, 0));

    if (!reply)
        return 1;
    memset(reply, 's', number(task, 1));
    return fuload_commit(task, number(task, 1));
}

FULOAD_TASK(replaced)
{
    uint64_t i, size = number(task, 0);

    for (i = 0; i < size; i++)
        fuload_write(task, "x", 1);
    return fuload_reply(task, "at once", 7);
}

/* A part of the reply is written again, from where it stands. */
FULOAD_TASK(overlap)
{
    char *reply = fuload_reserve(task, 10);

    memcpy(reply, "0123456789", 10);
    return fuload_reply(task, reply + 2, 5);
}

FULOAD_TASK(commit_unreserved)
{
    int answers[2];

    answers[0] = fuload_commit(task, 1);
    answers[1] = fuload_commit(task, 0);
    return fuload_reply(task, answers, sizeof answers);
}

/* (size): reserve it, and say nothing if there is no room. */
FULOAD_TASK(make)
{
    uint64_t size = number(task, 0);
    char *reply = fuload_reserve(task, size);

    if (!reply)
        return 0;
    if (size) {
        reply[0] = 'm';
        reply[size - 1] = 'm';
    }
    return fuload_commit(task, size);
}

FULOAD_TASK(give_up_politely)
{
    if (!fuload_reserve(task, number(task, 0)))
        return fuload_fail(task, 9, "too much");
    return 0;
}

/* A status (8 bytes) and a message. */
FULOAD_TASK(fail)
{
    size_t size;
    const char *at = fuload_request(task, &size);
    char *message = calloc(1, size - 7);
    int status;

    memcpy(message, at + 8, size - 8);
    status = fuload_fail(task, (int)(int64_t)number(task, 0), message);
    free(message);
    return status;
}

FULOAD_TASK(fail_without_message)
{
    fuload_write(task, "dropped", 7);
    return fuload_fail(task, 4, NULL);
}

FULOAD_TASK(plain_status)
{
    fuload_write(task, "dropped", 7);
    return (int)(int64_t)number(task, 0);
}

FULOAD_TASK(fail_and_return_0)
{
    fuload_fail(task, 6, "forgotten");
    return 0;
}

FULOAD_TASK(is_cancelled)
{
    int answer = fuload_cancelled(task);

    return fuload_reply(task, &answer, sizeof answer);
}

FULOAD_TASK(count_inits)
{
    int answer[2] = {inits, (int)getpid()};

    return fuload_reply(task, answer, sizeof answer);
}

FULOAD_TASK(crash)
{
    abort();
}

/* What follows a failure changes nothing of it. */
FULOAD_TASK(fail_and_reply)
{
    int answers[3];

    fuload_fail(task, 9, "nine");
    answers[0] = fuload_reply(task, "data", 4);
    answers[1] = fuload_write(task, "more", 4);
    answers[2] = fuload_reserve(task, 10) != NULL;
    return answers[0] == -1 && answers[1] == -1 && !answers[2] ? 0 : 77;
}

FULOAD_TASK(commit_too_much)
{
    int answers[3];

    fuload_reserve(task, 10);
    answers[0] = fuload_commit(task, 11);
    answers[1] = fuload_commit(task, 10);
    fuload_write(task, "x", 1);
    answers[2] = fuload_commit(task, 12);
    return fuload_reply(task, answers, sizeof answers);
}
