"""What every program that the tests start begins with."""

PROLOGUE = """\
import ctypes, json, os, signal, sys, threading, time
from concurrent.futures import CancelledError, as_completed, wait
from fuload_exec import FuloadExecutor, WorkerCrashed
import zoo
from zoo import report, until

libc = ctypes.CDLL("libc.so.6")
libc.usleep.argtypes, libc.usleep.restype = [ctypes.c_uint], ctypes.c_int
libc.abs.argtypes, libc.abs.restype = [ctypes.c_int], ctypes.c_int
FOLDER = os.path.dirname(os.path.abspath(__file__))
"""
