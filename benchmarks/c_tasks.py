"""The C functions that workers run, as ctypes declares them, and each as a
module-level Python function for the pools that cannot pickle a ctypes one."""

import ctypes

_libm = ctypes.CDLL("libm.so.6")
_libz = ctypes.CDLL("libz.so.1")
_libc = ctypes.CDLL("libc.so.6")

cos = _libm.cos
cos.argtypes, cos.restype = [ctypes.c_double], ctypes.c_double

crc32 = _libz.crc32
crc32.argtypes, crc32.restype = [ctypes.c_ulong, ctypes.c_void_p, ctypes.c_uint], ctypes.c_ulong

usleep = _libc.usleep
usleep.argtypes, usleep.restype = [ctypes.c_uint], ctypes.c_int


def call_cos(angle):
    return cos(angle)


def call_crc32(start, data, size):
    return crc32(start, data, size)
