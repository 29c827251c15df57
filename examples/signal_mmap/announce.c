/* What each worker does with the text that it finds in the mmap: say it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* One line in one write, so that lines of different workers do not mix. */
static int say(const char *text)
{
    char pid[32];
    struct iovec line[] = {
        {pid, (size_t)snprintf(pid, sizeof pid, "%ld: ", (long)getpid())},
        {(char *)text, strlen(text)},
        {"\n", 1},
    };

    return writev(STDOUT_FILENO, line, 3) < 0 ? errno : 0;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The round's file has a byte for each worker that came: the kernel appends
 * them one after the other, whoever writes. */
static int wait_for(int round, int workers, double patience)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    double due = seconds() + patience;
    struct stat came;

    for (;;) {
        if (fstat(round, &came) != 0)
            return errno;
        if (came.st_size >= workers)
            return 0;
        if (seconds() > due)
            return ETIMEDOUT;
        nanosleep(&moment, NULL);
    }
}

/* Says the text (nothing if it is NULL), and returns when as many workers have come to this round.
 *
 * A worker that waits here takes no second call, so `workers` calls of one
 * round are run by as many different workers. Returns 0 or an errno:
 * ETIMEDOUT if they have not all come within `patience` seconds. */
int announce(const char *text, const char *round_file, int workers, double patience)
{
    int round = open(round_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int error;

    if (round < 0)
        return errno;
    error = text ? say(text) : 0;
    if (!error && write(round, "", 1) != 1)
        error = errno;
    if (!error)
        error = wait_for(round, workers, patience);
    close(round);
    return error;
}
