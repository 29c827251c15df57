"""What test_payloads.py runs in workers, which import nothing else of it."""

from __future__ import annotations

import hashlib

kept = []


def keep(value, view=False):
    kept.append(value[1:-1] if view else value)


def digests():
    return [hashlib.sha256(value).hexdigest() for value in kept]


def raise_long(size):
    raise ValueError("x" * size)


def change(array):
    array += 1
    return array


def mapping_of(array):
    """The line of this process's mappings in which the array stands."""
    at = array.__array_interface__["data"][0]
    for line in open("/proc/self/maps"):
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= at < end:
            return at, line


def keep_and_look(array):
    kept.append(array)
    return mapping_of(array)


def look_again():
    return mapping_of(kept[0]), kept[0].sum()
