# Functions and classes by their names, as pickle refers to them.

cdef object named(dict modules, str module, tuple path):
    """What stands under this name now: `path` is its qualified name in parts.
    None if its module is not imported, or has nothing of that name."""
    value = modules.get(module)
    if value is None:
        return None
    try:
        for name in path:
            value = getattr(value, name)
    except Exception:
        return None
    return value
