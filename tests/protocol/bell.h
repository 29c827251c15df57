/* The collector's eventfd, for tests whose threads sleep in the kernel. */
#ifndef BELL_H
#define BELL_H

#include <poll.h>
#include <sys/eventfd.h>

#include "crew.h"

static int bell;

static inline void open_bell(void)
{
    bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static inline void ring_bell(void)
{
    uint64_t one = 1;

    CHECK(write(bell, &one, sizeof one) == sizeof one);
}

static inline void rest(void *unused, int most_ms)
{
    struct pollfd p = {.fd = bell, .events = POLLIN};

    (void)unused;
    while (poll(&p, 1, most_ms) < 0)
        ;
}

static inline bool take_calls(void *unused)
{
    uint64_t count;

    (void)unused;
    return CHECK(read(bell, &count, sizeof count) == sizeof count || errno == EAGAIN);
}

#endif
