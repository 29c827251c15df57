/* Loaded before libc into a program: the n-th call of these functions that the
 * package's core makes, fails. Calls of others pass. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static long left; /* calls of the core until one fails; 0: none does */
static const char *failed;

/* Fail the n-th call from now on; which one has failed since the last time. */
const char *fail_call(long n)
{
    const char *before = failed;

    left = n;
    failed = NULL;
    return before;
}

static int fails(const char *name, void *caller)
{
    Dl_info from;

    if (!left || !dladdr(caller, &from) || !strstr(from.dli_fname, "/_core.") || --left)
        return 0;
    failed = name;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSE(name, number, value)                       \
    if (fails(#name, __builtin_return_address(0)))        \
        return errno = (number), (value)

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);

void *malloc(size_t size)
{
    REFUSE(malloc, ENOMEM, NULL);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    REFUSE(calloc, ENOMEM, NULL);
    return __libc_calloc(count, size);
}

int memfd_create(const char *name, unsigned flags)
{
    REFUSE(memfd_create, EMFILE, -1);
    return NEXT(memfd_create)(name, flags);
}

int eventfd(unsigned value, int flags)
{
    REFUSE(eventfd, EMFILE, -1);
    return NEXT(eventfd)(value, flags);
}

int ftruncate(int fd, off_t length)
{
    REFUSE(ftruncate, EFBIG, -1);
    return NEXT(ftruncate)(fd, length);
}

int fcntl(int fd, int command, ...)
{
    va_list rest;
    void *argument;

    va_start(rest, command);
    argument = va_arg(rest, void *);
    va_end(rest);
    REFUSE(fcntl, EPERM, -1);
    return NEXT(fcntl)(fd, command, argument);
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    REFUSE(mmap, ENOMEM, MAP_FAILED);
    return NEXT(mmap)(at, length, protection, flags, fd, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    if (!(mode & FALLOC_FL_PUNCH_HOLE))
        REFUSE(fallocate, ENOSPC, -1);
    return NEXT(fallocate)(fd, mode, offset, length);
}

int madvise(void *at, size_t length, int advice)
{
    /* MADV_DONTDUMP is a kindness: nobody has to look. */
    if (advice != MADV_DONTDUMP)
        REFUSE(madvise, EINVAL, -1);
    return NEXT(madvise)(at, length, advice);
}
