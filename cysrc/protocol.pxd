# The names of csrc/protocol that Cython uses. No numbers and no layouts here:
# the C headers hold them.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "protocol/doorbell.h" nogil:
    pass

cdef extern from "protocol/copy.h" nogil:
    void fl_copy(void *to, const void *data, size_t size)
    void fl_copy_fresh(void *to, const void *data, size_t size)

cdef extern from "protocol/message.h" nogil:
    ctypedef bint c_bool "_Bool"
    ctypedef struct fl_word:
        pass
    uint64_t fl_load "atomic_load"(fl_word *word)
    void fl_store "atomic_store"(fl_word *word, uint64_t value)

    # layout.h
    enum:
        FL_VERSION, FL_LINE, FL_GRAIN, FL_MAX_WORKERS, FL_MAX_SLOTS, FL_MAX_SLOT_SIZE, FL_NAME_SIZE, FL_MOST_WINDOWS
    ctypedef enum fl_half "enum fl_half":
        FL_REQUEST, FL_REPLY
    ctypedef struct fl_plan "struct fl_plan":
        uint32_t workers, slots, slot_size, ring_size, functions
        uint64_t max_payload, half_size, base_size
        uint64_t descriptions_at, descriptions_size, total_size
    ctypedef struct fl_header "struct fl_header":
        uint32_t cpus, max_pollers
        int32_t parent_pid
        uint32_t host_function, setup_function
        uint64_t spin_ns, late_ns, max_tasks, signal_mask
        char name[16]
        fl_word watchers, leave, ring_tail
    ctypedef struct fl_notices "struct fl_notices":
        fl_word collector, ring_head
    ctypedef struct fl_block "struct fl_block":
        fl_word slot, tasks_done, run_ns, relays, collector_calls, python, attached
    enum:
        FL_PYTHON_SERVES, FL_PYTHON_EXEC
        FL_ORDER_END
    ctypedef struct fl_function "struct fl_function":
        uint64_t at, length
    ctypedef struct fl_slot "struct fl_slot":
        uint32_t function
        uint16_t request_kind, reply_kind
        uint64_t request_size, reply_size, reply_scalar, started_ns, finished_ns
        int32_t reply_status
    ctypedef struct fl_region "struct fl_region":
        int fd
        char *base
        fl_plan plan
        fl_header *header
        fl_notices *notices
        fl_word *orders
        fl_word *states
        fl_block *blocks
        fl_word *flags
        fl_function *functions
        fl_word *pids
        uint32_t flag_words
        bint keep_from_children
        uint32_t windows
    ctypedef struct fl_mapping "struct fl_mapping":
        char *at
        size_t size
    uint64_t fl_round(uint64_t n, uint64_t grain)
    uint64_t fl_now()
    void fl_pause()
    bint fl_layout_possible(uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload,
                            uint64_t descriptions)
    uint64_t fl_descriptions_wanted(uint64_t max_payload)
    bint fl_layout_fit(fl_plan *h, uint32_t workers, uint32_t slots, uint32_t slot_size, uint64_t max_payload,
                       uint64_t most)
    void fl_region_bind(fl_region *r, int fd, void *base, const fl_plan *plan)
    bint fl_region_intact(fl_region *r)
    fl_slot *fl_slot_at(fl_region *r, uint32_t slot)
    char *fl_slot_area(fl_region *r, uint32_t slot, fl_half half)
    uint64_t fl_window_at(fl_region *r, uint32_t slot, fl_half half)
    char *fl_window_map(fl_region *r, fl_mapping *m, uint32_t slot, fl_half half, uint64_t size)
    void fl_window_unmap(fl_region *r, fl_mapping *m)

    # slot.h
    enum:
        FL_READY, FL_RUNNING, FL_DONE
        FL_EXIT_DESCRIPTORS
    uint32_t fl_word_owner(uint64_t word)
    uint32_t fl_word_state(uint64_t word)
    uint64_t fl_slot_look(fl_slot *s)
    uint64_t fl_slot_began(fl_slot *s)

    # ring.h
    void fl_ring_clear(fl_region *r)
    bint fl_ring_mend(fl_region *r, uint32_t *generations, void **held)

    # doorbell.h
    enum:
        FL_GONE, FL_STARTING, FL_BUSY, FL_POLLING, FL_ASLEEP, FL_CALLED
    ctypedef struct fl_os "struct fl_os":
        void *context
        uint64_t (*now)(void *context) noexcept nogil
        c_bool (*ring_worker)(void *context, uint32_t index) noexcept nogil
        void (*ring_collector)(void *context) noexcept nogil
        void (*give_way)(void *context) noexcept nogil
    ctypedef struct fl_census "struct fl_census":
        uint32_t starting, busy, polling, asleep, called
        int32_t warmest
    uint64_t fl_state_word(int state, uint32_t caller, uint64_t now)
    int fl_state_of(uint64_t word)
    void fl_bell_count(fl_region *r, fl_census *c)
    bint fl_bell_call(fl_region *r, uint32_t index, uint32_t caller)

    # message.h
    enum:
        FL_CALL_FUNCTION, FL_CALL_MAP, FL_CALL_TASK, FL_CALL_PYTHON, FL_CALL_PICKLED
        FL_REPLY_UNSET, FL_REPLY_SCALAR, FL_REPLY_RETURNED, FL_REPLY_BYTES
        FL_REPLY_OBJECT_BYTES, FL_REPLY_OBJECT_BYTEARRAY, FL_REPLY_OBJECT_TEXT
        FL_REPLY_NONE, FL_REPLY_FALSE, FL_REPLY_TRUE, FL_REPLY_INT, FL_REPLY_FLOAT
        FL_REPLY_PICKLE, FL_REPLY_RAISED, FL_REPLY_NOT_REBUILT, FL_REPLY_SETUP_FAILED
        FL_REPLY_STATUS, FL_REPLY_NO_LIBRARY, FL_REPLY_REFUSED, FL_REPLY_TOO_LARGE
        FL_REPLY_NO_REQUEST, FL_REPLY_NO_ROOM
        FL_VOID, FL_I8, FL_U8, FL_I16, FL_U16, FL_I32, FL_U32, FL_I64, FL_U64
        FL_F32, FL_F64, FL_F80, FL_ADDRESS, FL_STRUCT, FL_STRING, FL_WIDE_STRING, FL_POINTEE
        FL_ADDRESS_VALUE, FL_ADDRESS_IN, FL_ADDRESS_INOUT, FL_USES_ERRNO, FL_MAX_TYPES, FL_BUFFER_ZEROS
        FL_MAX_ARGUMENTS, FL_MAX_DEPTH, FL_BUFFER_ALIGN, FL_PICKLE_KEYWORDS, FL_PICKLE_COPIES
        FL_DESCRIBE_FUNCTION, FL_DESCRIBE_TASK, FL_DESCRIBE_PYTHON, FL_DESCRIBE_HOST, FL_DESCRIBE_SETUP, FL_DESCRIBE_NO_HOST
    uint64_t FL_BUFFER_READONLY
    ctypedef struct fl_address "struct fl_address":
        uint64_t value, mode
    ctypedef struct fl_returned "struct fl_returned":
        uint64_t scalar, size
    ctypedef struct fl_extent "struct fl_extent":
        uint64_t at, size
    void fl_extent_add(fl_extent *extent, uint64_t at, uint64_t length)
    ctypedef struct fl_description "struct fl_description":
        uint32_t kind, arguments, types_size, library_size, name_size, flags
        uint64_t body_size
    ctypedef struct fl_library_file "struct fl_library_file":
        uint64_t device, inode
    ctypedef struct fl_pickle "struct fl_pickle":
        uint32_t buffers, flags
        uint64_t stream_size
    ctypedef struct fl_map "struct fl_map":
        uint64_t count, reserved
    uint64_t fl_item_size(uint32_t type)
    uint64_t fl_cell_size(uint32_t type)
    uint64_t fl_cell_at(uint64_t end, uint32_t type)
    bint fl_request_python(uint32_t kind)
    bint fl_reply_sized(uint32_t kind)
    bint fl_reply_serves(uint32_t kind)
    bint fl_reply_pickled(uint32_t kind)
    ctypedef struct fl_reply "struct fl_reply":
        uint64_t size, scalar, started_ns, finished_ns
        int32_t status
        uint16_t kind
    bint fl_reply_load(fl_region *r, fl_slot *s, uint16_t request, fl_reply *reply)
    bint fl_reply_fails(uint32_t kind)
    bint fl_pickle_head(const char *payload, uint64_t size, fl_pickle *head, uint64_t *stream_at)
    bint fl_pickle_buffer(const char *payload, uint64_t size, uint32_t i, uint64_t *at, uint64_t *length, bint *readonly)
    const fl_description *fl_description_map(fl_region *r, uint32_t id)
    void fl_description_unmap(fl_region *r, uint32_t id, const fl_description *d)
    const char *fl_description_body(const fl_description *d)

# The parent's half, csrc/parent.
cdef extern from "parent/watch.h" nogil:
    bint fl_poll_contended(fl_word *contended_until, uint64_t now)
    void fl_watch_begin(fl_parent *p)
    void fl_watch(fl_parent *p, int32_t slot, uint32_t generation, uint64_t until)
    void fl_watch_end(fl_parent *p)

cdef extern from "parent/collector.h" nogil:
    ctypedef struct fl_collector_os "struct fl_collector_os":
        void *context
        void (*rest)(void *context, int most_ms) noexcept nogil
        c_bool (*take_calls)(void *context) noexcept nogil
    ctypedef struct fl_seat "struct fl_seat":
        bint taken, wanted, doomed, ended, serves, python
        uint32_t pid, deaf
        int newborn
        uint64_t seen, called
    void fl_seat_clear(fl_seat *seat)
    uint32_t fl_seat_pid(const fl_seat *seat)
    ctypedef struct fl_parent "struct fl_parent":
        fl_region *region
        fl_os os
        fl_collector_os collector_os
        c_bool (*ask_worker)(void *pool) noexcept
        void *pool
        uint32_t *generations
        void **held
        uint16_t *condemned
        uint32_t *free
        uint32_t free_count
        fl_seat *seats
        uint32_t started, watching
        uint64_t late_ns
        fl_word doorbells, contended_until
    void fl_seat_becomes_python(fl_parent *p, uint32_t worker, bint python)
    void fl_announce(fl_parent *p, uint32_t count)
    void fl_collector_kick(fl_parent *p)
    void fl_collector_watch_ring(fl_parent *p)
    uint32_t fl_collector_wait(fl_parent *p, int timeout_ms)
    void fl_collector_nudge(fl_parent *p)
    void fl_collector_maps(fl_parent *p, int32_t more)

# What it calls is ours, and may raise.
cdef extern from "parent/collector.h":
    int fl_collect(fl_parent *p, int (*finish)(void *pool, uint32_t slot) except -1) except -1

cdef extern from "parent/slots.h" nogil:
    ctypedef enum fl_outlook "enum fl_outlook":
        FL_NOT_YET, FL_CORRUPTED
    uint32_t fl_slots_next(fl_parent *p)
    uint32_t fl_slots_take(fl_parent *p)
    void fl_slots_release(fl_parent *p, uint32_t slot)
    void fl_slots_publish(fl_parent *p, uint32_t slot, void *task)
    bint fl_slots_lives(fl_parent *p, uint32_t owner)
    bint fl_slots_valid(fl_parent *p, uint32_t slot, uint64_t word)
    bint fl_slots_forged(fl_parent *p, uint32_t slot, uint64_t word)
    uint32_t fl_slots_runner(fl_parent *p, uint32_t slot, uint64_t word)
    fl_outlook fl_slots_look(fl_parent *p, uint32_t slot, uint64_t *word)
    bint fl_slots_cancel(fl_parent *p, uint32_t slot)
    bint fl_slots_condemn(fl_parent *p, uint32_t slot, uint32_t *worker)
    void fl_slots_condemn_corrupted(fl_parent *p, uint32_t slot, uint32_t worker)

cdef extern from "parent/burial.h" nogil:
    ctypedef enum fl_verdict "enum fl_verdict":
        FL_WILD, FL_KEPT, FL_AGAIN, FL_CRASHED
    ctypedef struct fl_death "struct fl_death":
        uint32_t worker
        bint suspicious, blameless
    void fl_burial_dead(fl_parent *p, uint32_t worker)
    fl_verdict fl_burial_judge(fl_parent *p, fl_death *d, uint32_t slot, uint64_t *word)
    bint fl_burial_expected(fl_parent *p, uint32_t worker)
    int32_t fl_burial_condemned(fl_parent *p, uint32_t worker, uint32_t begin)
    void fl_burial_end(fl_parent *p, uint32_t worker)

cdef extern from "parent/deadlines.h" nogil:
    ctypedef struct fl_deadlines "struct fl_deadlines":
        uint64_t now
    ctypedef struct fl_limit "struct fl_limit":
        uint64_t limit_ns, submitted_ns, began_ns
    uint64_t fl_deadline_after(uint64_t now, uint64_t limit_ns)
    fl_deadlines fl_deadlines_begin(uint64_t now)
    bint fl_deadlines_see(fl_deadlines *d, fl_parent *p, uint32_t slot, fl_limit *limit)
    uint64_t fl_deadlines_next(fl_deadlines *d, uint64_t unfinished, uint64_t least_ns)
