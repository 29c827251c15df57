# cython: language_level=3
"""A task in Cython, without Python objects: it runs in a C worker, where there
is no interpreter. So everything in it is C: types declared, `noexcept nogil`,
nothing imported but with cimport. Request: a limit, 8 bytes. Reply: how many
primes there are below it, 8 bytes."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from "fuload.h" nogil:
    ctypedef struct fuload_task:
        pass
    const void *fuload_request(fuload_task *task, size_t *size)
    int fuload_reply(fuload_task *task, const void *data, size_t size)
    int fuload_fail(fuload_task *task, int status, const char *message)


cdef uint64_t sieve(char *composite, uint64_t limit) noexcept nogil:
    cdef uint64_t i, k, count = 0
    for i in range(2, limit):
        if composite[i]:
            continue
        count += 1
        k = i * i
        while k < limit:
            composite[k] = 1
            k += i
    return count


# public: a C symbol of this name, which is how a worker finds it.
cdef public int count_primes(fuload_task *task) noexcept nogil:
    cdef size_t size
    cdef uint64_t limit, count
    cdef char *composite
    cdef const void *request = fuload_request(task, &size)
    if size != sizeof(limit):
        return fuload_fail(task, 1, "the request must be a limit of 8 bytes")
    memcpy(&limit, request, sizeof(limit))
    composite = <char *>calloc(limit + 1, 1)
    if composite == NULL:
        return fuload_fail(task, 2, "out of memory")
    count = sieve(composite, limit)
    free(composite)
    return fuload_reply(task, &count, sizeof(count))
