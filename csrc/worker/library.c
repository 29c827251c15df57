/* Libraries and functions: opened once, looked up once. */
#include "worker.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static struct library {
    struct library *next;
    char *path;
    void *handle;
    void (*fini)(void);
} *libraries;

static bool start_plugin(struct library *l, char *why, size_t size)
{
    const uint32_t *version = dlsym(l->handle, "fuload_abi_version");
    union { void *symbol; int (*init)(void); void (*fini)(void); } at;
    int status;

    if (!version)
        return true;
    if (*version != FULOAD_ABI_VERSION) {
        snprintf(why, size, "%s was built for version %u of fuload.h, this worker has version %u",
                 l->path, *version, FULOAD_ABI_VERSION);
        return false;
    }
    at.symbol = dlsym(l->handle, "fuload_fini");
    if (at.symbol)
        l->fini = at.fini;
    at.symbol = dlsym(l->handle, "fuload_init");
    if (at.symbol && (status = at.init()) != 0) {
        snprintf(why, size, "%s: fuload_init returned %d", l->path, status);
        l->fini = NULL;
        return false;
    }
    return true;
}

static struct library *open_library(const char *path, char *why, size_t size)
{
    struct library *l;

    for (l = libraries; l; l = l->next)
        if (!strcmp(l->path, path))
            return l;
    l = calloc(1, sizeof *l);
    if (!l || !(l->path = strdup(path))) {
        free(l);
        snprintf(why, size, "out of memory");
        return NULL;
    }
    l->handle = dlopen(*path ? path : NULL, RTLD_NOW | RTLD_LOCAL);
    if (!l->handle)
        snprintf(why, size, "%s", dlerror());
    if (!l->handle || !start_plugin(l, why, size)) {
        if (l->handle)
            dlclose(l->handle);
        free(l->path);
        free(l);
        return NULL;
    }
    l->next = libraries;
    return libraries = l;
}

/* A worker program's own task. */
static void *find_own(const struct fl_worker *w, const char *name)
{
    const struct fuload_worker_task *t = w->tasks;
    union { void *symbol; int (*run)(fuload_task *task); } at;

    for (; t && t->name; t++)
        if (!strcmp(t->name, name)) {
            at.run = t->run;
            return at.symbol;
        }
    return NULL;
}

static void *find_symbol(struct fl_worker *w, const struct fl_description *d, char *why, size_t size)
{
    const char *path = fl_description_library(d), *name = fl_description_name(d), *error;
    struct library *l;
    void *symbol;

    if (d->kind == FL_DESCRIBE_TASK && !*path) {
        symbol = find_own(w, name);
        if (!symbol)
            snprintf(why, size, "the worker program has no task named %s", name);
        return symbol;
    }
    l = open_library(path, why, size);
    if (!l)
        return NULL;
    dlerror();
    symbol = dlsym(l->handle, name);
    if (!symbol) {
        error = dlerror();
        snprintf(why, size, "%s", error ? error : "the symbol is a null pointer");
    }
    return symbol;
}

const struct fl_callable *fl_callable_find(struct fl_worker *w, uint32_t id, char *why,
                                           size_t size, enum fl_reply_kind *kind)
{
    const struct fl_description *d;
    struct fl_callable *c;
    void *symbol;

    if (id < FL_MAX_FUNCTIONS && w->callables[id])
        return w->callables[id];
    d = fl_description_map(&w->region, id);
    if (!d || (d->kind != FL_DESCRIBE_FUNCTION && d->kind != FL_DESCRIBE_TASK)) {
        snprintf(why, size, "the request names no function");
        *kind = FL_REPLY_REFUSED;
        return NULL;
    }
    symbol = find_symbol(w, d, why, size);
    if (!symbol) {
        *kind = FL_REPLY_NO_LIBRARY;
        return NULL;
    }
    c = calloc(1, sizeof *c);
    if (c) {
        c->kind = d->kind;
        c->name = fl_description_name(d);
        c->at.symbol = symbol;
    }
    if (!c || (c->kind == FL_DESCRIBE_FUNCTION && !fl_signature_prepare(c, d))) {
        free(c);
        snprintf(why, size, "the function's types cannot be called");
        *kind = FL_REPLY_REFUSED;
        return NULL;
    }
    return w->callables[id] = c;
}

void fl_libraries_close(void)
{
    struct library *l;

    for (l = libraries; l; l = l->next)
        if (l->fini)
            l->fini();
}
