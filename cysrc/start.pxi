# Starting workers: what csrc/parent/start.h does, several times in one go.

cdef extern from "parent/start.h":
    ctypedef struct fl_start_one "struct fl_start":
        const char *program
        char **argv
        char **envp
        const int *kept
        size_t kept_count
        int error_file
        bint deaf
        uint32_t *pid_at
        int *pidfd_at
        int pid, error
        const char *failed
    bint fl_start(fl_start_one *s) nogil


cdef class Texts:
    """The char ** of some bytes; they must live as long. One place is spare."""
    cdef list texts
    cdef char **at

    def __cinit__(self, texts):
        cdef Py_ssize_t i
        self.texts = list(texts)
        self.at = <char **>calloc(<size_t>len(self.texts) + 2, sizeof(char *))
        if self.at == NULL:
            raise MemoryError("no memory for a worker's arguments and environment")
        for i in range(len(self.texts)):
            self.at[i] = PyBytes_AS_STRING(self.texts[i])

    def __dealloc__(self):
        free(self.at)


def start_workers(Pool pool, bytes program, argv, environment, kept, places, bint interpreters):
    """Start a worker for each place: (its index, its FULOAD_WORKER, the descriptor
    that becomes its standard error or -1, one more that it inherits or -1). All in
    one go, without the interpreter's lock; one that cannot be started is the last.
    `interpreters`: the program is Python, which is to serve as a worker at once.

    Returns ([(pid, pidfd), ...], None or (errno, what failed)).
    """
    cdef Texts arguments = Texts(argv), variables = Texts(environment)
    cdef Py_ssize_t i, shared = len(variables.texts), wanted = len(places), begun = 0
    cdef size_t count = <size_t>len(kept)
    cdef int *descriptors = <int *>calloc(count + 1, sizeof(int))
    cdef fl_start_one *one
    cdef fl_start_one *all = <fl_start_one *>calloc(<size_t>wanted + 1, sizeof(fl_start_one))
    cdef Texts own = Texts(place[1] for place in places)
    cdef int *extra = <int *>calloc(<size_t>wanted + 1, sizeof(int))
    try:
        if descriptors == NULL or all == NULL or extra == NULL:
            raise MemoryError("no memory to start workers")
        for i in range(<Py_ssize_t>count):
            descriptors[i] = kept[i]
        for i in range(wanted):
            all[i].program = PyBytes_AS_STRING(program)
            all[i].argv = arguments.at
            all[i].envp = variables.at
            all[i].kept = descriptors
            all[i].pid_at = &pool.parent.seats[<uint32_t>places[i][0]].pid
            all[i].pidfd_at = &pool.parent.seats[<uint32_t>places[i][0]].newborn
            all[i].error_file = places[i][2]
            all[i].deaf = interpreters
            if interpreters:
                fl_seat_becomes_python(&pool.parent, <uint32_t>places[i][0], True)
            extra[i] = places[i][3]
        with nogil:
            while begun < wanted:
                one = &all[begun]
                variables.at[shared] = own.at[begun]
                descriptors[count] = extra[begun]
                one.kept_count = count + (extra[begun] >= 0)
                begun += 1
                if not fl_start(one):
                    break
        started = [(all[i].pid, all[i].pidfd_at[0]) for i in range(begun) if all[i].pid > 0]
        if len(started) == begun:
            return started, None
        for i in range(len(started), wanted):
            fl_seat_becomes_python(&pool.parent, <uint32_t>places[i][0], False)
        return started, (all[begun - 1].error, os.fsdecode(all[begun - 1].failed))
    finally:
        free(descriptors)
        free(all)
        free(extra)
