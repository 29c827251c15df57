/* The loop itself: csrc/worker/worker.c and reply.c in threads, on one region,
 * and csrc/parent on the other side, whose collector is the main thread. What
 * the workers need besides, signals and libraries, is replaced below; a task is
 * a request for so many bytes. */
#include <semaphore.h>

#define CREW_SLOTS 64u
#include "bell.h"
#include "worker/worker.h"

#define WORKERS 4u
#define SLOTS CREW_SLOTS
#define SLOT_SIZE 64u
#define MAX_PAYLOAD (3u * FL_GRAIN)

static struct crew crew;
static struct fl_region *const region = &crew.region;
static struct fl_parent *const parent = &crew.parent;
static struct fl_worker workers[WORKERS];
static sem_t signals[WORKERS];

/* ---- instead of signals.c and library.c ------------------------------------------- */

void fl_signals_sleep(void) {}
void fl_signals_wake(struct fl_worker *w) { (void)w; }
void fl_signals_enter_native(struct fl_worker *w) { (void)w; }
void fl_signals_leave_native(struct fl_worker *w) { (void)w; }
void fl_check_descriptors(const struct fl_worker *w) { (void)w; }
void fl_call_function(struct fl_worker *w, const struct fl_callable *c) { (void)w, (void)c; }
void fl_call_task(struct fl_worker *w, const struct fl_callable *c) { (void)w, (void)c; }

const struct fl_callable *fl_callable_find(struct fl_worker *w, uint32_t id, char *why, size_t size,
                                           enum fl_reply_kind *kind)
{
    static const struct fl_callable mapped = {.kind = FL_DESCRIBE_FUNCTION};

    (void)id;
    if (w->call.slot->request_kind == FL_CALL_MAP)
        return &mapped;
    snprintf(why, size, "there are no libraries here");
    *kind = FL_REPLY_NO_LIBRARY;
    return NULL;
}

static uint64_t now(void *unused)
{
    (void)unused;
    return fl_now();
}

static bool wait_signal(void *worker)
{
    while (sem_wait(&signals[((struct fl_worker *)worker)->index]) != 0)
        ;
    return true;
}

static bool ring_worker(void *unused, uint32_t index)
{
    (void)unused;
    return sem_post(&signals[index]) == 0;
}

static void ring_collector(void *unused)
{
    (void)unused;
    ring_bell();
}

static fl_word finished;
static fl_word wait_for_finished; /* all tasks but the first do not return before so many are */

/* ---- tasks --------------------------------------------------------------------------- */

/* The request is a key, and padding: the reply is as long, of the key's bytes. */
static void run_task(struct fl_worker *w)
{
    uint64_t key, size = w->call.request_size;
    bool map = w->call.slot->request_kind == FL_CALL_MAP;
    char *reply;

    memcpy(&key, w->call.request, sizeof key);
    CHECK(w->call.request[size - 1] == (char)key);
    while (key > 1 && atomic_load(&finished) < atomic_load(&wait_for_finished))
        step_aside();
    if (key % 7 == 0 && !map) {
        fl_reply_scalar(w, FL_REPLY_INT, key);
        return;
    }
    reply = fl_reply_reserve(w, key % 11 == 0 ? MAX_PAYLOAD + 1 : size);
    if (reply) {
        memset(reply, (int)(key % 251), size);
        w->call.reply_size = size;
    }
    fl_reply_send(w, map ? FL_REPLY_BYTES : FL_REPLY_PICKLE);
}

static fl_word held; /* chunks that were begun while nobody was told of the one before */

void fl_call_map(struct fl_worker *w, const struct fl_callable *c)
{
    (void)c;
    if (w->unreported)
        atomic_fetch_add(&held, 1);
    run_task(w);
}

static void give_way(void *unused)
{
    (void)unused;
    step_aside();
}

static const struct fl_os os = {NULL, now, wait_signal, ring_worker, ring_collector, give_way};

static void *serve_tasks(void *worker)
{
    CHECK(fl_serve(worker, -1) == 0);
    return NULL;
}

/* ---- the parent ------------------------------------------------------------------------ */

static struct task {
    uint64_t key, size;
} tasks[SLOTS]; /* by slot */
static struct fl_mapping windows[SLOTS][2];
static pthread_t threads[WORKERS];
static uint64_t submitted, maps; /* of a hundred tasks, chunks of maps */
static bool dozes;               /* the collector counts those, and looks now and then */

static void open_pool(uint64_t spin_ns, uint32_t cpus)
{
    uint32_t i;

    memset(&crew, 0, sizeof crew);
    open_region(region, WORKERS, SLOTS, SLOT_SIZE, MAX_PAYLOAD);
    region->header->spin_ns = spin_ns;
    region->header->cpus = cpus;
    open_bell();
    connect_parent(&crew, os);
    parent->collector_os = (struct fl_collector_os){NULL, rest, take_calls};
    for (i = 0; i < SLOTS; i++)
        parent->free[parent->free_count++] = SLOTS - 1 - i;
    submitted = finished = 0;
    for (i = 0; i < WORKERS; i++) {
        struct fl_worker *w = &workers[i];

        memset(w, 0, sizeof *w);
        w->region = *region;
        w->index = i;
        w->cursor = fl_ring_head(region);
        w->os = os;
        w->os.context = w;
        w->host.call_python = run_task;
        w->windows = calloc(SLOTS, sizeof *w->windows);
        w->callables = calloc(w->region.plan.functions, sizeof *w->callables);
        sem_init(&signals[i], 0, 0);
        set_state(&crew, i, FL_BUSY, 0);
    }
}

static void start_workers(uint32_t first)
{
    uint32_t i;

    for (i = first; i < WORKERS; i++)
        threads[i] = begin(serve_tasks, &workers[i]);
}

static void close_pool(void)
{
    uint64_t done = 0;
    uint32_t i, slot;
    int left;

    dismiss(&crew);
    for (i = 0; i < WORKERS; i++) {
        end(threads[i]);
        sem_getvalue(&signals[i], &left);
        CHECK(left == 0); /* each signal was collected */
        done += atomic_load(&region->blocks[i].tasks_done);
        CHECK(atomic_load(&region->blocks[i].slot) == 0);
        for (slot = 0; slot < 2 * SLOTS; slot++)
            fl_window_unmap(&workers[i].region, &workers[i].windows[slot / 2][slot % 2]);
        free(workers[i].windows);
        free(workers[i].callables);
        sem_destroy(&signals[i]);
    }
    CHECK(done == submitted && finished == submitted);
    CHECK(atomic_load(&parent->maps) == 0);
    for (slot = 0; slot < 2 * SLOTS; slot++)
        fl_window_unmap(region, &windows[slot / 2][slot % 2]);
    close(bell);
    close_region(region);
}

static char *area(uint32_t slot, enum fl_half half, uint64_t size)
{
    if (size <= SLOT_SIZE)
        return fl_slot_area(region, slot, half);
    return fl_window_map(region, &windows[slot][half], slot, half, size);
}

static void count_map(const struct fl_slot *s, int32_t more)
{
    if (dozes && s->request_kind == FL_CALL_MAP)
        fl_collector_maps(parent, more);
}

static uint32_t submit(uint64_t size)
{
    uint32_t slot = fl_slots_take(parent);
    struct fl_slot *s = fl_slot_at(region, slot);
    struct task *t = &tasks[slot];
    char *request = area(slot, FL_REQUEST, size);

    *t = (struct task){++submitted, size};
    request[size - 1] = (char)t->key;
    memcpy(request, &t->key, sizeof t->key);
    s->request_kind = submitted % 13 == 0 ? FL_CALL_FUNCTION : submitted % 100 < maps ? FL_CALL_MAP : FL_CALL_PYTHON;
    s->request_size = size;
    count_map(s, 1);
    publish_and_announce(&crew, slot);
    return slot;
}

static bool all_are(const char *at, uint64_t size, char expected)
{
    while (size--)
        if (*at++ != expected)
            return false;
    return true;
}

static void check_reply(uint32_t slot)
{
    const struct fl_slot *s = fl_slot_at(region, slot);
    uint64_t key = tasks[slot].key, size = tasks[slot].size;
    bool map = s->request_kind == FL_CALL_MAP;
    struct fl_reply reply;

    CHECK(fl_reply_load(region, s, s->request_kind, &reply));
    CHECK(reply.kind == s->reply_kind && reply.size == s->reply_size && reply.scalar == s->reply_scalar);
    CHECK(s->finished_ns >= s->started_ns);
    if (s->request_kind == FL_CALL_FUNCTION) {
        CHECK(s->reply_kind == FL_REPLY_NO_LIBRARY);
    } else if (key % 7 == 0 && !map) {
        CHECK(s->reply_kind == FL_REPLY_INT && s->reply_scalar == key && !s->reply_size);
    } else if (key % 11 == 0) {
        CHECK(s->reply_kind == FL_REPLY_TOO_LARGE && s->reply_scalar == MAX_PAYLOAD + 1);
    } else {
        CHECK(s->reply_kind == (map ? FL_REPLY_BYTES : FL_REPLY_PICKLE) && s->reply_size == size);
        CHECK(all_are(area(slot, FL_REPLY, size), size, (char)(key % 251)));
    }
}

static int finish(void *unused, uint32_t slot)
{
    enum fl_outlook outlook = FL_NOT_YET;
    uint64_t word;

    (void)unused;
    if (parent->held[slot])
        outlook = fl_slots_look(parent, slot, &word);
    CHECK(outlook != FL_CORRUPTED);
    if (outlook == FL_ENDED) {
        check_reply(slot);
        count_map(fl_slot_at(region, slot), -1);
        parent->held[slot] = NULL;
        fl_slots_release(parent, slot);
        finished++;
    }
    return 0;
}

static void sleep_until_called(void)
{
    fl_collector_wait(parent, -1); /* all workers are started */
}

static void watch_flags(void)
{
    fl_watch_begin(parent);
    fl_watch(parent, -1, 0, UINT64_MAX);
    fl_watch_end(parent);
}

static uint64_t draw_size(uint64_t *seed)
{
    switch (draw_below(seed, 8)) {
    case 0: return SLOT_SIZE - 1 + draw_below(seed, 3);
    case 1: return 16 + draw_below(seed, 5000);
    case 2: return draw_below(seed, 40) ? 16 : MAX_PAYLOAD - draw_below(seed, 3);
    default: return 16 + draw_below(seed, SLOT_SIZE - 16);
    }
}

static void run_tasks(uint64_t count, uint32_t at_once, void (*wait)(void))
{
    uint64_t seed = 71;

    while (finished < count && !failed()) {
        if (enough())
            count = submitted;
        while (submitted < count && submitted < finished + at_once)
            submit(draw_size(&seed));
        wait();
        fl_collect(parent, finish);
    }
}

static void run_pool(uint64_t spin_ns, uint32_t cpus, uint32_t at_once, void (*wait)(void))
{
    open_pool(spin_ns, cpus);
    start_workers(0);
    run_tasks(ROUNDS(20000), at_once, wait);
    close_pool();
}

static void sleeping_workers_call_the_collector(void)
{
    run_pool(0, 2, 1, sleep_until_called);
    run_pool(0, 4, SLOTS, sleep_until_called);
    run_pool(0, 1, 3, sleep_until_called);
}

static void polling_workers_call_the_collector(void)
{
    run_pool(20000, 2, 1, sleep_until_called);
    run_pool(20000, 4, SLOTS, sleep_until_called);
    run_pool(1000, 1, 3, sleep_until_called);
}

static void watchers_see_each_reply(void)
{
    run_pool(0, 2, 1, watch_flags);
    run_pool(20000, 4, SLOTS, watch_flags);
}

/* Of chunks that a worker holds back it must tell before it waits, leaves, or
 * runs something else: nobody else would. */
static void chunks_are_reported_together(void)
{
    atomic_store(&held, 0);
    dozes = true;
    for (maps = 50; maps <= 100; maps += 25) {
        run_pool(0, 4, SLOTS, sleep_until_called);
        run_pool(20000, 2, SLOTS, sleep_until_called);
        run_pool(0, 2, 20, sleep_until_called);
        run_pool(0, 4, SLOTS, watch_flags);
    }
    CHECK(atomic_load(&held) > 100);
    dozes = false;
    for (maps = 50; maps <= 100; maps += 25)
        run_pool(0, 4, SLOTS, sleep_until_called);
    maps = 0;
}

static void rest_until_called(void *unused, int most_ms)
{
    (void)most_ms;
    rest(unused, -1);
}

/* A chunk, and behind it more than enough to hold its report back: what comes
 * next is no chunk, or has been cancelled. Then the collector must be called: it
 * does not look by itself, though it says so. */
static void report_one_chunk_of(bool cancel, uint64_t maps_behind)
{
    uint32_t i, slot;

    open_pool(0, 4);
    if (!maps_behind)
        parent->collector_os.rest = rest_until_called;
    maps = 100;
    submit(16);
    maps = maps_behind;
    for (i = 1; i < SLOTS; i++) {
        slot = submit(16);
        if (cancel && CHECK(fl_slots_cancel(parent, slot))) {
            count_map(fl_slot_at(region, slot), -1);
            fl_slots_release(parent, slot);
        }
    }
    if (cancel)
        submitted = 1;
    wait_for_finished = 1;
    /* One worker, or another might report in its place. The collector sleeps
     * from the start. */
    atomic_store(&region->notices->collector, dozes ? FL_COLLECTOR_DOZING : FL_COLLECTOR_ASLEEP);
    threads[0] = begin(serve_tasks, &workers[0]);
    while (finished < submitted) {
        sleep_until_called();
        fl_collect(parent, finish);
    }
    maps = 0;
    wait_for_finished = 0;
    start_workers(1);
    close_pool();
}

static void report_one_chunk(bool cancel, uint64_t maps_behind)
{
    dozes = true;
    report_one_chunk_of(cancel, maps_behind);
    dozes = false;
    report_one_chunk_of(cancel, maps_behind);
}

static void a_chunk_is_reported_before_other_work(void)
{
    report_one_chunk(false, 0);
}

static void a_chunk_is_seen_while_the_next_one_runs(void)
{
    report_one_chunk(false, 100);
}

static void a_chunk_is_reported_before_sleep(void)
{
    report_one_chunk(true, 0);
}

static void workers_that_retire_report(void)
{
    uint64_t round;

    maps = 100;
    for (round = 0; round < ROUNDS(300) && !failed(); round++) {
        open_pool(0, 4);
        region->header->max_tasks = SLOTS / WORKERS;
        start_workers(0);
        run_tasks(SLOTS, SLOTS, sleep_until_called);
        close_pool();
    }
    maps = 0;
}

static void workers_leave_at_once(void)
{
    uint64_t round;

    for (round = 0; round < ROUNDS(400); round++) {
        open_pool(round % 2 * 5000, 4);
        start_workers(0);
        submit(16);
        submit(100);
        while (finished < (round % 4 ? 2u : 0u))
            fl_collect(parent, finish);
        atomic_store(&region->header->leave, 1);
        while (finished < 2)
            fl_collect(parent, finish);
        close_pool();
    }
}

int main(void)
{
    RUN(sleeping_workers_call_the_collector);
    RUN(polling_workers_call_the_collector);
    RUN(watchers_see_each_reply);
    RUN(chunks_are_reported_together);
    RUN(a_chunk_is_reported_before_other_work);
    RUN(a_chunk_is_seen_while_the_next_one_runs);
    RUN(a_chunk_is_reported_before_sleep);
    RUN(workers_that_retire_report);
    RUN(workers_leave_at_once);
    return verdict();
}
