# Functions and classes by their names, as pickle refers to them.

import sys

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object dictionary, object key) except? NULL
    PyObject *PyModule_GetDict(object module)

cdef object ModuleType = type(sys)


cdef object named(dict modules, str module, tuple path):
    """What stands under this name now: `path` is its qualified name in parts.
    None if its module is not imported, or has nothing of that name."""
    value = modules.get(module)
    if value is None:
        return None
    try:
        for name in path:
            value = member(value, name)
    except Exception:
        return None
    return value


cdef inline object member(object value, str name):
    """getattr(), sooner where a module has it itself."""
    cdef PyObject *found = NULL
    if type(value) is ModuleType:
        found = PyDict_GetItemWithError(<object>PyModule_GetDict(value), name)
    return <object>found if found != NULL else getattr(value, name)
