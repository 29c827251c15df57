# Where a ctypes function lives: the file that is open here, and the name in it.

cdef extern from "<dlfcn.h>" nogil:
    ctypedef struct Dl_info:
        const char *dli_fname
    void *dlopen(const char *path, int flags)
    void *dlsym(void *handle, const char *name)
    char *dlerror()
    int dlclose(void *handle)
    int dlinfo(void *handle, int request, void *info)
    int dladdr(const void *address, Dl_info *info)
    int dladdr1(const void *address, Dl_info *info, void **extra, int flags)
    int RTLD_DI_LINKMAP, RTLD_DI_ORIGIN, RTLD_DL_LINKMAP, RTLD_LAZY, RTLD_NOLOAD


cdef extern from "<link.h>" nogil:
    struct link_map:
        const char *l_name


cdef extern from "<limits.h>":
    int PATH_MAX


cdef object library_path(void *handle, void *address, str name):
    """The file that holds the function: the one that is open here, not what a
    second search would find."""
    cdef link_map *map = NULL
    cdef Dl_info found
    cdef char origin[4096 + 1]
    cdef bytes path = b""
    if dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 and map != NULL and map.l_name != NULL:
        path = map.l_name
    if path and not path.startswith(b"/") and dlinfo(handle, RTLD_DI_ORIGIN, origin) == 0:
        path = os.path.join(<bytes>origin, os.path.basename(path))
    if path.startswith(b"/proc/self/"):
        path = b"/proc/%d/%s" % (getpid(), path[len(b"/proc/self/"):])
    if not path:
        # The main program's handle searches all libraries that are loaded.
        if dladdr(address, &found) == 0 or found.dli_fname == NULL:
            raise TypeError(f"{name}(): the library that holds it cannot be told")
        path = os.path.abspath(found.dli_fname)
        if not is_library(path):
            raise TypeError(f"{name}() is part of this program itself ({os.fsdecode(path)}), not of a shared library "
                            f"that a worker could open")
    return path


cdef extern from *:
    """
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/stat.h>
    /* The file that is mapped at this address, into `path`. 0: none is. */
    static int file_mapped_at(uintptr_t address, char *path, size_t size)
    {
        FILE *maps = fopen("/proc/self/maps", "re");
        char *line = NULL;
        size_t room = 0;
        int found = 0;

        while (maps && !found && getline(&line, &room, maps) > 0) {
            unsigned long start, end;
            int at = 0;

            if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &at) < 2 || address < start || address >= end)
                continue;
            line[strcspn(line, "\\n")] = 0;
            if (line[at] != '/' || strlen(line + at) >= size)
                break;
            strcpy(path, line + at);
            found = 1;
        }
        free(line);
        if (maps)
            fclose(maps);
        return found;
    }
    static int identify_file(const char *path, struct fl_library_file *file)
    {
        struct stat st;

        if (stat(path, &st) != 0)
            return 0;
        file->device = st.st_dev;
        file->inode = st.st_ino;
        return 1;
    }
    """
    bint file_mapped_at(uintptr_t address, char *path, size_t size)
    bint identify_file(const char *path, fl_library_file *file)


cdef tuple file_in_use(bytes path, uintptr_t address):
    """(path, struct fl_library_file) of the file that is mapped here. The path
    is the given one if it still leads there; a symbolic link may have been
    turned, a file moved or replaced. No Python code runs here: signal handlers
    that submit would pile up in the middle of it."""
    cdef fl_library_file file, other
    cdef char actual[4096 + 16]
    file.device = file.inode = 0
    if path.startswith(b"/proc/") or not file_mapped_at(address, actual, sizeof(actual)):
        return path, (<char *>&file)[:sizeof(file)]
    if (<bytes>actual).endswith(b" (deleted)"):
        file.inode = ~<uint64_t>0  # nothing that stands there now is it
    elif identify_file(actual, &file) and \
            (not identify_file(path, &other) or other.device != file.device or other.inode != file.inode):
        path = actual
    return path, (<char *>&file)[:sizeof(file)]


def holds(handle, str name):
    """Whether this very library has the symbol, not one that it depends on."""
    cdef void *address = dlsym(<void *><uintptr_t>handle, name.encode())
    cdef link_map *own = NULL
    cdef link_map *owner = NULL
    cdef Dl_info found
    return address != NULL and dlinfo(<void *><uintptr_t>handle, RTLD_DI_LINKMAP, &own) == 0 and \
        dladdr1(address, &found, <void **>&owner, RTLD_DL_LINKMAP) != 0 and owner == own


cdef bint is_library(bytes path):
    """Not the main program: it would be open as a library already."""
    cdef void *handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD)
    if handle == NULL:
        return False
    dlclose(handle)
    return True


cdef tuple found_in_library(object fn):
    """(path, name, struct fl_library_file) of a ctypes function; TypeError if no
    worker can find it."""
    cdef void *address = (<void **><uintptr_t>ctypes.addressof(fn))[0]
    name = getattr(fn, "__name__", None)
    objects = getattr(fn, "_objects", None)
    library = objects.get("0") if isinstance(objects, dict) else None
    if name is None and isinstance(library, ctypes.CDLL):
        raise TypeError(f"this function of {library._name} has no name, since a prototype made it: take it from the "
                        f"library as an attribute")
    if not isinstance(name, str) or not isinstance(library, ctypes.CDLL):
        raise TypeError(f"{name + '()' if isinstance(name, str) else 'this ctypes function'} was made from an address or a "
                        f"Python callable, not taken from a library: only functions of a ctypes.CDLL can be called in "
                        f"a worker")
    if type(fn)._flags_ & 4:
        raise TypeError(f"{name}() belongs to a ctypes.PyDLL: it needs the interpreter's lock, and workers for C "
                        f"functions have no interpreter")
    handle = <void *><uintptr_t>library._handle
    if dlsym(handle, name.encode()) != address:
        raise TypeError(f"{name}() is no symbol of {library._name} under that name")
    path, file = file_in_use(library_path(handle, address, name), <uintptr_t>address)
    return path, name, file


def mapped_file(uintptr_t address):
    """The path of the file that is mapped there, or None."""
    cdef char path[4096 + 16]
    return os.fsdecode(path) if file_mapped_at(address, path, sizeof(path)) else None


cdef int refuse_foreign(object fn) except -1:
    """A C function that another library has made says that it cannot be pickled,
    in words that are no help."""
    kind = type(fn).__module__
    if type(fn) is not BuiltinType and not (isinstance(kind, str) and kind.startswith(("numba.", "_cffi_backend"))):
        return 0
    from ._foreign import how_to_pass
    told = how_to_pass(fn)
    if told is not None:
        raise TypeError(f"{getattr(fn, '__name__', repr(fn))} {told}")
    return 0


def function_library(fn):
    """(path, name) of a ctypes function; TypeError if a worker cannot find it."""
    path, name, _ = found_in_library(fn)
    return os.fsdecode(path), name
