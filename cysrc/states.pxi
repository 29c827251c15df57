# A future's states, and what its outcome is.

cdef enum Status:
    PENDING            # in the queue, in a slot, or a future of the user's own
    RUNNING_BY_HAND    # set_running_or_notify_cancel() was called
    SETTLED            # outcome known, waits for the collector to announce it
    CANCELLED_UNSAID   # cancel() of a user's own future
    CANCELLED
    FINISHED


cdef enum Outcome:
    HAS_NOTHING
    HAS_RESULT         # _value is it
    HAS_EXCEPTION      # _value is it
    HAS_REPLY          # kind, scalar and _value are raw, nobody has looked yet
    HAS_CRASH          # _value is (the request, what is known of why), scalar and code are the exit code
    HAS_TIMEOUT        # _value is the request
