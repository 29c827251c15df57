# The exceptions that tasks and calls end with. With their module comes multiprocessing,
# so it is imported when the first is raised.

def error_class(str name):
    """A class of _errors, or concurrent.futures' BrokenExecutor where that cannot be
    imported any more (no descriptors, no memory, the interpreter is about to end):
    no future stays without an end."""
    try:
        from . import _errors
        return getattr(_errors, name)
    except RecursionError:
        raise
    except (OSError, ImportError, MemoryError, RuntimeError):
        return BrokenExecutor


def remote_traceback(str text):
    """What stands for a traceback that is not of this process, as a cause."""
    try:
        from concurrent.futures.process import _RemoteTraceback
        return _RemoteTraceback(text)
    except RecursionError:
        raise
    except (OSError, ImportError, MemoryError, RuntimeError):
        return BrokenExecutor(text)
