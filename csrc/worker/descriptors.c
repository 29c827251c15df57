/* The pool's descriptors in this process: which files they are, whether a task has
 * closed them, and what is written to them. */
#include "worker.h"

#include <fcntl.h>
#include <unistd.h>

static struct fl_file file_of(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return (struct fl_file){0, 0};
    return (struct fl_file){st.st_dev, st.st_ino};
}

static bool same_file(struct fl_file a, struct fl_file b)
{
    return a.device == b.device && a.inode == b.inode;
}

void fl_note_descriptors(struct fl_worker *w)
{
    w->region_file = file_of(w->region.fd);
    w->bell_file = file_of(w->bell);
}

static void set_inherited(int fd, bool inherited)
{
    fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC);
}

/* What this worker and the interpreter after it need, and what else a task
 * starts must not have. */
void fl_inherit_descriptors(const struct fl_worker *w, bool inherited)
{
    set_inherited(w->region.fd, inherited);
    set_inherited(w->bell, inherited);
    set_inherited(w->alarm, inherited);
    set_inherited(w->lender, inherited);
}

void fl_check_descriptors(const struct fl_worker *w)
{
    if (!same_file(file_of(w->region.fd), w->region_file) || !same_file(file_of(w->bell), w->bell_file))
        _exit(FL_EXIT_DESCRIPTORS);
}

void fl_sound_alarm(const struct fl_worker *w)
{
    uint64_t one = 1;

    /* The kernel has one file for all eventfds, so this one is like the bell. */
    if (!same_file(file_of(w->alarm), w->bell_file))
        _exit(FL_EXIT_DESCRIPTORS);
    while (write(w->alarm, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void fl_ring_collector(void *worker)
{
    struct fl_worker *w = worker;
    uint64_t one = 1;

    fl_check_descriptors(w);
    while (write(w->bell, &one, sizeof one) < 0 && errno == EINTR)
        ;
}
