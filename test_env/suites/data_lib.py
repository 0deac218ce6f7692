# SPDX-License-Identifier: GPL-2.0
"""What the tests of file data share."""
import ctypes
import fcntl
import hashlib
import os
import struct
import sys

PAGE = 4096
KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, at, n):
    if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(n)) != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), f"fallocate mode {mode:#x}, {n} bytes at {at}")


def link_open(fd, path):
    """Gives an open file, one of O_TMPFILE too, a name. (Python's link() follows no link.)"""
    AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
    if libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, path.encode(),
                   AT_SYMLINK_FOLLOW) != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), path)


def fail(message):
    print(f"data_ops: {message}", file=sys.stderr)
    sys.exit(1)


def check(got, want, what):
    if got == want:
        return
    n = min(len(got), len(want))
    at = next((i for i in range(n) if got[i] != want[i]), n)
    fail(f"{what}: {len(got)} bytes for {len(want)}, differ at {at}: "
         f"{bytes(got[at:at + 16]).hex()} for {bytes(want[at:at + 16]).hex()}")


def pattern(size, seed):
    """Bytes that tell a block from every other and a seed from the next."""
    out = bytearray()
    block = 0
    while len(out) < size:
        d = hashlib.blake2b(struct.pack("<QQ", seed, block)).digest()
        out += d * (PAGE // len(d))
        block += 1
    return bytes(out[:size])


def extents(path, sync=True):
    """The extents of a file: (logical, physical, length, flags)."""
    FS_IOC_FIEMAP = 0xC020660B
    found = []
    start = 0
    with open(path, "rb") as f:
        while True:
            count = 256
            buf = bytearray(struct.pack("=QQIIII", start, (1 << 64) - 1 - start, int(sync), 0, count, 0)
                            + b"\0" * 56 * count)
            fcntl.ioctl(f, FS_IOC_FIEMAP, buf, True)
            mapped = struct.unpack_from("=QQIIII", buf)[3]
            for i in range(mapped):
                e = struct.unpack_from("=QQQQQIIII", buf, 32 + 56 * i)
                found.append((e[0], e[1], e[2], e[5]))
            if not mapped or found[-1][3] & 1:
                return found
            start = found[-1][0] + found[-1][2]
