# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: binding=True, embedsignature=False, auto_pickle=False, freethreading_compatible=False
"""The parent's side of a pool.

The path of a task, and where each step stands:

    submit()                    pool.pxi       Pool.submit
      may it come in            door.pxi       open, full, or turned away
      what kind of callable     catalogue.pxi  described once per pool
                                types.pxi      ctypes' declarations; library.pxi  where a function lives
      arguments into bytes      pack.pxi       cells.pxi, buffers.pxi  C values; frames.pxi  pickles;
                                arrays.pxi     many calls in one request
      a slot, or the queue      slots.pxi      reserve, publish; queue.pxi, windows.pxi
      ring the doorbell         csrc/parent    collector.h, slots.h; bell.pxi  the system's part
    the worker runs it          csrc/worker
    result()                    future.pxi     waiting.pxi  poll, sleep
      what has finished         turn.pxi       flags; the collector's turn
      take the reply            pool.pxi       Pool.finish; reply.pxi  out of the slot
      the future has ended      ending.pxi     store, announce, call back; counts.pxi
                                conditions.pxi who sleeps in wait() or as_completed()
      bytes into a value        unpack.pxi     only when somebody looks
    map()                       columns.pxi    a chunk's arguments and results; map_results.pxi  its iterator
    a worker dies               crew.pxi       what the supervisor's thread tells and asks
                                burial.pxi     what becomes of its tasks
                                look.pxi, verdicts.pxi  what no worker may have written

Everything here runs under the interpreter's lock, except the waits. No code of
the user's runs between taking a slot and publishing it, nor while a future is
being resolved: arguments are converted before, results when they are asked
for, and callbacks are called by the collector thread. So submit() may be
called from signal handlers and from __del__, in the middle of another
submit().
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE, PyBytes_CheckExact
from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_READ, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release,
                             PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_AsDouble, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.long cimport (PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLongMask, PyLong_CheckExact,
                           PyLong_FromLongLong)
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport (PyUnicode_AsUTF8AndSize, PyUnicode_DATA, PyUnicode_DecodeUTF8, PyUnicode_GET_LENGTH,
                              PyUnicode_New)
from libc.errno cimport EEXIST, EFBIG, EINTR, ENOMEM, ENOSPC, errno
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from protocol cimport *

import ctypes
import os
import sys
import threading
import weakref
from _pickle import PickleBuffer, dumps as pickle_dumps, loads as pickle_loads
from _thread import allocate_lock, get_ident, start_new_thread
from concurrent.futures import BrokenExecutor, CancelledError, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures._base import LOGGER as LOGGER, _Waiter
from types import FunctionType as _FunctionType, GenericAlias

from . import _pickling as pickling, _refusals
from ._glance import glance

cdef extern from "Python.h":
    PyTypeObject *Py_TYPE(PyObject *o)
    unsigned long PyThread_get_thread_ident()


def say(log, text, *args):
    """Log it. Handlers are code of the user's: what one raises ends no thread of ours."""
    try:
        log(text, *args)
    except Exception:
        pass


cdef class Pool
cdef class CoreFuture
cdef class Submitter

include "errors.pxi"
include "memory.pxi"
include "registry.pxi"
include "bell.pxi"
include "copies.pxi"
include "names.pxi"
include "interrupt.pxi"
include "threads.pxi"
include "roster.pxi"
include "start.pxi"

include "states.pxi"
include "types.pxi"
include "library.pxi"
include "door.pxi"
include "catalogue.pxi"
include "buffers.pxi"
include "cells.pxi"
include "frames.pxi"
include "columns.pxi"

include "queue.pxi"
include "counts.pxi"
include "conditions.pxi"
include "ending.pxi"
include "windows.pxi"
include "slots.pxi"
include "pack.pxi"
include "arrays.pxi"

include "cancel.pxi"
include "deadlines.pxi"
include "verdicts.pxi"
include "burial.pxi"
include "crew.pxi"
include "look.pxi"
include "turn.pxi"

include "reply.pxi"
include "unpack.pxi"
include "waiting.pxi"
include "future.pxi"
include "map_results.pxi"

include "pool.pxi"
include "submitter.pxi"
