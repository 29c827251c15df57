"""zlib and OpenSSL's libcrypto as they are, declared with ctypes: no line of C.

python examples/zlib_openssl.py
"""

from __future__ import annotations

import binascii
import ctypes
import ctypes.util
import hashlib
import sys
import zlib

from fuload_exec import FuloadExecutor

# 64 blocks of 256 KiB that compress well.
BLOCKS = [bytes((i + n * n) % 251 for n in range(4096)) * 64 for i in range(64)]


def main() -> int:
    with FuloadExecutor() as executor:
        right = [check_crc32(executor), check_sha256(executor), check_compress(executor)]
    return 0 if all(right) else 1


def library(name: str, package: str) -> ctypes.CDLL:
    found = ctypes.util.find_library(name)
    if found is None:
        raise SystemExit(f"lib{name} is missing: 'apt-get install {package}' brings it.")
    return ctypes.CDLL(found)


def check_crc32(executor: FuloadExecutor) -> bool:
    """A buffer in, a number out."""
    crc32 = library("z", "zlib1g").crc32
    crc32.argtypes, crc32.restype = [ctypes.c_ulong, ctypes.c_char_p, ctypes.c_uint], ctypes.c_ulong
    futures = [executor.submit(crc32, 0, block, len(block)) for block in BLOCKS]
    return show("crc32", [f.result() for f in futures] == [binascii.crc32(block) for block in BLOCKS])


def check_sha256(executor: FuloadExecutor) -> bool:
    """A buffer in, 32 bytes out: the function writes them to its last argument.
    It returns where it wrote, an address in the worker, so that is not asked for."""
    sha256 = library("crypto", "libssl3").SHA256
    sha256.argtypes, sha256.restype = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p], None
    digests = [bytearray(32) for _ in BLOCKS]
    for future in [executor.submit(sha256, block, len(block), digest) for block, digest in zip(BLOCKS, digests)]:
        future.result()
    return show("sha256", digests == [hashlib.sha256(block).digest() for block in BLOCKS])


def check_compress(executor: FuloadExecutor) -> bool:
    """The length is in and out: the room before the call, what was used after it."""
    compress = library("z", "zlib1g").compress
    compress.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_ulong), ctypes.c_char_p, ctypes.c_ulong]
    compress.restype = ctypes.c_int
    outputs = [bytearray(len(block) + 1024) for block in BLOCKS]
    lengths = [ctypes.c_ulong(len(output)) for output in outputs]
    futures = [
        executor.submit(compress, output, length, block, len(block)) for output, length, block in zip(outputs, lengths, BLOCKS)
    ]
    statuses = {future.result() for future in futures}
    unpacked = [zlib.decompress(output[: length.value]) for output, length in zip(outputs, lengths)]
    return show("compress", statuses == {0} and unpacked == BLOCKS)


def show(name: str, right: bool) -> bool:
    size = sum(map(len, BLOCKS)) / 1e6
    print(f"{name}: {len(BLOCKS)} blocks, {size:.1f} MB, {'as Python has it' if right else 'WRONG'}")
    return right


if __name__ == "__main__":
    sys.exit(main())
