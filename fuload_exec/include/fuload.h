/* fuload.h: C and C++ tasks for fuload-exec.
 *
 * A task is a function that reads a request (bytes) and gives a reply (bytes):
 *
 *     #include <fuload.h>
 *
 *     FULOAD_TASK(count_spaces)
 *     {
 *         size_t size, i, n = 0;
 *         const char *text = (const char *)fuload_request(task, &size);
 *         for (i = 0; i < size; i++)
 *             n += text[i] == ' ';
 *         return fuload_reply(task, &n, sizeof n);
 *     }
 *
 * Built with `python -m fuload_exec cc tasks.c -o tasks.so`, it runs by
 * `executor.submit(NativeTask("tasks.so", "count_spaces"), b"some text")`.
 *
 * Every function below is called in the worker, by the task, from the thread
 * that runs it, and blocks on nothing. A task returns 0 for success; any other
 * number becomes NativeTaskError with that status and the message of
 * fuload_fail. A task that crashes takes its worker along and nothing else.
 */
#ifndef FULOAD_H
#define FULOAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FULOAD_ABI_VERSION 1

/* Stands in every plug-in; a worker refuses one of another version. */
extern const uint32_t fuload_abi_version __attribute__((weak, visibility("default")));
const uint32_t fuload_abi_version = FULOAD_ABI_VERSION;

typedef struct fuload_task fuload_task;

struct fuload_api {
    const void *(*request)(fuload_task *task, size_t *size);
    void *(*reserve)(fuload_task *task, size_t size);
    int (*commit)(fuload_task *task, size_t size);
    int (*write)(fuload_task *task, const void *data, size_t size);
    int (*fail)(fuload_task *task, int status, const char *message);
    int (*cancelled)(fuload_task *task);
};

struct fuload_task {
    const struct fuload_api *api;
};

/* Define a task: FULOAD_TASK(name) { ... return 0; } with `task` in scope. */
#ifdef __cplusplus
#define FULOAD_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define FULOAD_EXPORT __attribute__((visibility("default")))
#endif
#define FULOAD_TASK(name)                      \
    FULOAD_EXPORT int name(fuload_task *task); \
    FULOAD_EXPORT int name(fuload_task *task __attribute__((unused)))

/* The request's bytes, read only, valid until the task returns; they begin at
 * a multiple of 8. */
static inline const void *fuload_request(fuload_task *task, size_t *size)
{
    return task->api->request(task, size);
}

/* Room for a reply of `size` bytes, in the slot itself, so that it need not be
 * copied; bytes written or committed before are kept, but may move, and the rest
 * holds anything. NULL if it is more than the pool's max_payload: return
 * fuload_fail's or any other status then, or 0, and the caller gets
 * PayloadTooLarge. */
static inline void *fuload_reserve(fuload_task *task, size_t size)
{
    return task->api->reserve(task, size);
}

/* The first `size` reserved bytes are the reply. Returns 0, or -1 if not as
 * many were reserved. */
static inline int fuload_commit(fuload_task *task, size_t size)
{
    return task->api->commit(task, size);
}

/* Append to the reply. Returns 0, or -1 past max_payload. */
static inline int fuload_write(fuload_task *task, const void *data, size_t size)
{
    return task->api->write(task, data, size);
}

/* The whole reply at once: what was written before is replaced. */
static inline int fuload_reply(fuload_task *task, const void *data, size_t size)
{
    task->api->commit(task, 0);
    return task->api->write(task, data, size);
}

/* Fail with a status and a message (copied): `return fuload_fail(task, 3, "…");`
 * Returns the status; a status of 0 is taken as -1. A task that called it has
 * failed, even if it returns 0, and what it replies from then on is refused. */
static inline int fuload_fail(fuload_task *task, int status, const char *message)
{
    return task->api->fail(task, status, message);
}

/* Non-zero once nobody waits for the reply: the task was terminated, is past its
 * timeout, or Ctrl-C has cancelled everything. Its worker is ended then: at once,
 * but after Ctrl-C by SIGTERM, and a tenth of a second later by SIGKILL. A task that
 * holds SIGTERM off may look now and then, tidy up and return in that time. */
static inline int fuload_cancelled(fuload_task *task)
{
    return task->api->cancelled(task);
}

/* A plug-in may define these. fuload_init runs once in each worker when the
 * library is opened; not 0 refuses the library. fuload_fini runs when the
 * worker leaves in order. */
__attribute__((visibility("default"))) int fuload_init(void);
__attribute__((visibility("default"))) void fuload_fini(void);

/* WORKER PROGRAMS. A program of one's own calls fuload_worker_main from main,
 * with its tasks by name; see `python -m fuload_exec config --libs`. Returns
 * the exit code. The list ends with an entry whose name is NULL; may be NULL. */
struct fuload_worker_task {
    const char *name;
    int (*run)(fuload_task *task);
};

/* Call it before fuload_worker_main if this program may be replaced by a Python
 * interpreter when a Python callable is submitted; else those are refused. */
void fuload_worker_allow_python(void);

int fuload_worker_main(int argc, char **argv, const struct fuload_worker_task *tasks);

#ifdef __cplusplus
}
#endif

#endif
