/* Tasks that do harm. */
#include <fuload.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static jmp_buf place;
static volatile int spent;

FULOAD_TASK(echo)
{
    size_t size;
    const void *at = fuload_request(task, &size);

    return fuload_reply(task, at, size);
}

FULOAD_TASK(pid)
{
    int pid = (int)getpid();

    return fuload_reply(task, &pid, sizeof pid);
}

/* Works for a while: (microseconds, text) gives the text. */
FULOAD_TASK(echo_late)
{
    size_t size;
    const char *at = fuload_request(task, &size);
    uint64_t microseconds;

    memcpy(&microseconds, at, 8);
    usleep((useconds_t)microseconds);
    return fuload_reply(task, at + 8, size - 8);
}

/* (room, bytes, pattern): writes `bytes` bytes past a reply of `room` bytes. */
FULOAD_TASK(write_past)
{
    size_t size;
    uint64_t given[2];
    const char *at = fuload_request(task, &size);
    char *reply;

    memcpy(given, at, sizeof given);
    reply = fuload_reserve(task, given[0]);
    memset(reply, 'r', given[0]);
    memcpy(reply + given[0], at + sizeof given, given[1]);
    return fuload_commit(task, given[0]);
}

FULOAD_TASK(fork_and_return)
{
    pid_t child = fork();

    return fuload_reply(task, &child, sizeof child);
}

/* The child lives on for a moment, and returns then. */
FULOAD_TASK(fork_and_return_late)
{
    pid_t child = fork();

    if (child == 0)
        usleep(20000);
    return fuload_reply(task, &child, sizeof child);
}

FULOAD_TASK(fork_and_crash)
{
    pid_t child = fork();

    if (child == 0)
        abort();
    return fuload_reply(task, &child, sizeof child);
}

FULOAD_TASK(call_exit)
{
    exit(7);
}

FULOAD_TASK(call__exit)
{
    _exit(8);
}

FULOAD_TASK(call_pthread_exit)
{
    pthread_exit(NULL);
}

FULOAD_TASK(crash)
{
    return raise(SIGSEGV);
}

static int deep(int n)
{
    volatile char room[4096];

    room[0] = (char)n;
    return n < 0 ? 0 : deep(n + 1) + room[0];
}

FULOAD_TASK(overflow_the_stack)
{
    return deep(0);
}

FULOAD_TASK(jump_from)
{
    setjmp(place);
    return 0;
}

/* Out of this task, into one that has returned. Once: it may come back. */
FULOAD_TASK(jump_out)
{
    if (spent++)
        return 0;
    longjmp(place, 1);
}

FULOAD_TASK(block_signals)
{
    sigset_t all;

    sigfillset(&all);
    return pthread_sigmask(SIG_SETMASK, &all, NULL);
}

FULOAD_TASK(unblock_signals)
{
    sigset_t none;

    sigemptyset(&none);
    return pthread_sigmask(SIG_SETMASK, &none, NULL);
}

FULOAD_TASK(ignore_usr1)
{
    return signal(SIGUSR1, SIG_IGN) == SIG_ERR;
}

FULOAD_TASK(default_usr1)
{
    return signal(SIGUSR1, SIG_DFL) == SIG_ERR;
}

static void leave(int number)
{
    _exit(100 + number);
}

FULOAD_TASK(handle_usr1)
{
    return signal(SIGUSR1, leave) == SIG_ERR;
}

FULOAD_TASK(raise_usr1)
{
    return raise(SIGUSR1) | kill(getpid(), SIGUSR1);
}

FULOAD_TASK(close_descriptors)
{
    int fd;

    for (fd = 3; fd < 1024; fd++)
        close(fd);
    return 0;
}

/* Writes over the pool's header, sizes and offsets. */
FULOAD_TASK(write_over_the_header)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start, end, offset;
    char line[512];

    (void)task;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:fuload") && sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && !offset)
            memset((void *)start, 0x77, 4096);
    return 1;
}

/* Holds SIGTERM off; the request is a folder: a file "began" there, then, once it
 * is cancelled, a file "tidied". */
FULOAD_TASK(tidy_up)
{
    size_t size;
    const char *folder = fuload_request(task, &size);
    char path[512];
    sigset_t term;
    FILE *file;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    snprintf(path, sizeof path, "%.*s/began", (int)size, folder);
    if ((file = fopen(path, "w")))
        fclose(file);
    while (!fuload_cancelled(task))
        usleep(1000);
    snprintf(path, sizeof path, "%.*s/tidied", (int)size, folder);
    if ((file = fopen(path, "w")))
        fclose(file);
    return 0;
}

/* Deaf to all that asks politely. */
FULOAD_TASK(ignore_and_loop)
{
    volatile int running = 1;

    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    while (running)
        ;
    return 0;
}

FULOAD_TASK(ignore_everything)
{
    int number;

    for (number = 1; number < 65; number++)
        if (number != SIGUSR1)
            signal(number, SIG_IGN);
    return 0;
}

static void *idle(void *none)
{
    for (;;)
        pause();
    return none;
}

FULOAD_TASK(leave_a_thread)
{
    pthread_t thread;

    return pthread_create(&thread, NULL, idle, NULL);
}

FULOAD_TASK(change_directory)
{
    return chdir("/");
}

FULOAD_TASK(fill_the_environment)
{
    return setenv("FULOAD_WORKER", "9:9:9:9:9", 1);
}
