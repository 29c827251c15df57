/* Libraries and functions: opened once, looked up once. */
#include "worker.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>

static struct library {
    struct library *next;
    char *path;
    struct fl_library_file file;
    void *handle;
    bool plugin;
    void (*fini)(void);
} *libraries;

/* Of this very library: dlsym finds those of its dependencies too. */
static void *own_symbol(void *handle, const char *name)
{
    struct link_map *own = NULL;
    void *symbol = dlsym(handle, name), *owner = NULL;
    Dl_info info;

    if (!symbol || dlinfo(handle, RTLD_DI_LINKMAP, &own) != 0 || !dladdr1(symbol, &info, &owner, RTLD_DL_LINKMAP))
        return NULL;
    return owner == own ? symbol : NULL;
}

static bool start_plugin(struct library *l, char *why, size_t size)
{
    const uint32_t *version = own_symbol(l->handle, "fuload_abi_version");
    union {
        void *symbol;
        int (*init)(void);
        void (*fini)(void);
    } at;
    int status;

    l->plugin = version != NULL;
    if (!version)
        return true;
    if (*version != FULOAD_ABI_VERSION) {
        snprintf(why, size, "%s was built for version %u of fuload.h, this worker has version %u", l->path, *version,
                 FULOAD_ABI_VERSION);
        return false;
    }
    at.symbol = own_symbol(l->handle, "fuload_fini");
    if (at.symbol)
        l->fini = at.fini;
    at.symbol = own_symbol(l->handle, "fuload_init");
    if (at.symbol && (status = at.init()) != 0) {
        snprintf(why, size, "%s: fuload_init returned %d", l->path, status);
        l->fini = NULL;
        return false;
    }
    return true;
}

/* The file that the parent has open, unless it was replaced since. */
static void *open_file(const char *path, struct fl_library_file file, char *why, size_t size)
{
    struct stat st;
    void *handle;

    if (file.inode && stat(path, &st) == 0 && (st.st_dev != file.device || st.st_ino != file.inode)) {
        snprintf(why, size, "%s is not the file any more that the parent has open: it was replaced", path);
        return NULL;
    }
    handle = dlopen(*path ? path : NULL, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        snprintf(why, size, "%s", dlerror());
    return handle;
}

static struct library *open_library(const char *path, struct fl_library_file file, char *why, size_t size)
{
    struct library *l, *known;

    for (l = libraries; l; l = l->next)
        if (!strcmp(l->path, path) && l->file.device == file.device && l->file.inode == file.inode)
            return l;
    l = calloc(1, sizeof *l);
    if (!l || !(l->path = strdup(path))) {
        free(l);
        snprintf(why, size, "out of memory");
        return NULL;
    }
    l->file = file;
    l->handle = open_file(path, file, why, size);
    for (known = libraries; known && known->handle != l->handle; known = known->next)
        ;
    if (known || !l->handle || !start_plugin(l, why, size)) {
        if (l->handle)
            dlclose(l->handle);
        free(l->path);
        free(l);
        return known; /* the same under another path */
    }
    l->next = libraries;
    return libraries = l;
}

/* A worker program's own task. */
static void *find_own(const struct fl_worker *w, const char *name)
{
    const struct fuload_worker_task *t = w->tasks;
    union {
        void *symbol;
        int (*run)(fuload_task *task);
    } at;

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
    struct fl_library_file file = {0, 0};
    struct library *l;
    void *symbol;

    if (d->kind == FL_DESCRIBE_TASK && !*path) {
        symbol = find_own(w, name);
        if (!symbol)
            snprintf(why, size, "the worker program has no task named %s", name);
        return symbol;
    }
    if (d->kind == FL_DESCRIBE_FUNCTION && d->body_size == sizeof file)
        memcpy(&file, fl_description_body(d), sizeof file);
    l = open_library(path, file, why, size);
    if (!l)
        return NULL;
    if (d->kind == FL_DESCRIBE_TASK && !l->plugin) {
        snprintf(why, size, "%s was not built with fuload.h: it has no fuload_abi_version", path);
        return NULL;
    }
    dlerror();
    symbol = dlsym(l->handle, name);
    if (!symbol) {
        error = dlerror();
        snprintf(why, size, "%s", error ? error : "the symbol is a null pointer");
    }
    return symbol;
}

static struct fl_callable *look_up(struct fl_worker *w, const struct fl_description *d, char *why, size_t size,
                                   enum fl_reply_kind *kind)
{
    void *symbol = find_symbol(w, d, why, size);
    struct fl_callable *c;

    if (!symbol) {
        *kind = FL_REPLY_NO_LIBRARY;
        return NULL;
    }
    c = calloc(1, sizeof *c);
    if (c) {
        c->kind = d->kind;
        c->at.symbol = symbol;
    }
    if (!c || (c->kind == FL_DESCRIBE_FUNCTION && !fl_signature_prepare(c, d))) {
        free(c);
        snprintf(why, size, "the function's types cannot be called");
        *kind = FL_REPLY_REFUSED;
        return NULL;
    }
    return c;
}

const struct fl_callable *fl_callable_find(struct fl_worker *w, uint32_t id, char *why, size_t size,
                                           enum fl_reply_kind *kind)
{
    const struct fl_description *d;

    if (fl_callable_known(w, id))
        return w->callables[id];
    d = fl_description_map(&w->region, id);
    if (d && (d->kind == FL_DESCRIBE_FUNCTION || d->kind == FL_DESCRIBE_TASK)) {
        w->callables[id] = look_up(w, d, why, size, kind);
    } else {
        snprintf(why, size, "the request names no function");
        *kind = FL_REPLY_REFUSED;
    }
    if (!d)
        return NULL;
    fl_description_unmap(&w->region, id, d);
    return w->callables[id];
}

void fl_libraries_close(void)
{
    struct library *l;

    for (l = libraries; l; l = l->next)
        if (l->fini) {
            void (*fini)(void) = l->fini;

            l->fini = NULL;
            fini();
        }
}
