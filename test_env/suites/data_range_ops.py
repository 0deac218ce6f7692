#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Ranges of files: what fallocate must do and must refuse.

data_range_ops.py errors FILE
data_range_ops.py blocks FILE
data_range_ops.py many FILE [COUNT]       moving thousands of extents
data_range_ops.py full FILE               on a small volume, of which it takes all
data_range_ops.py swap FILE               an active swap file cannot be changed
data_range_ops.py direct FILE             what is aligned, and what is not
data_range_ops.py map FILE                FIEMAP and SEEK_*
data_range_ops.py collapse|insert|punch|zero FILE AT LEN
"""
import argparse
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import struct
import subprocess

from data_lib import (COLLAPSE, INSERT, KEEP, PAGE, PUNCH, ZERO, check, extents, fail, fallocate,
                      libc, pattern)

TOP = 1 << 44


def refused(what, fd, mode, at, n):
    try:
        fallocate(fd, mode, at, n)
    except OSError as e:
        if e.errno != what:
            fail(f"mode {mode:#x}, {n} bytes at {at}: {errno.errorcode[e.errno]}, "
                 f"not {errno.errorcode[what]}")
        return
    fail(f"mode {mode:#x}, {n} bytes at {at} is done, not refused")


def new(path, data=b""):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.pwrite(fd, data, 0)
    return fd


def blocks(fd):
    os.fsync(fd)
    return os.fstat(fd).st_blocks // 8


def errors(path):
    data = pattern(10 * PAGE + 100, 1)
    fd = new(path, data)
    for mode in (COLLAPSE, INSERT):
        refused(errno.EINVAL, fd, mode, 1, PAGE)
        refused(errno.EINVAL, fd, mode, PAGE, 511)
        refused(errno.EOPNOTSUPP, fd, mode | KEEP, 0, PAGE)
    refused(errno.EINVAL, fd, COLLAPSE, 0, 11 * PAGE)
    refused(errno.EINVAL, fd, COLLAPSE, 8 * PAGE, 3 * PAGE)
    refused(errno.EINVAL, fd, INSERT, 11 * PAGE, PAGE)
    refused(errno.EFBIG, fd, INSERT, 0, TOP - PAGE)
    refused(errno.EFBIG, fd, 0, TOP - 10, 11)
    refused(errno.EINVAL, fd, 0, 0, 0)
    refused(errno.EOPNOTSUPP, fd, PUNCH, 0, PAGE)
    refused(errno.EOPNOTSUPP, fd, PUNCH | ZERO | KEEP, 0, PAGE)
    refused(errno.EOPNOTSUPP, fd, 0x100 | KEEP, 0, PAGE)
    ro = os.open(path, os.O_RDONLY)
    refused(errno.EBADF, ro, 0, 0, PAGE)
    os.close(ro)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * PAGE, old[1]))
    for mode in (0, ZERO):
        refused(errno.EFBIG, fd, mode, 10 * PAGE, 11 * PAGE)
    refused(errno.EFBIG, fd, INSERT, PAGE, 10 * PAGE)
    fallocate(fd, KEEP, 0, 30 * PAGE)
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    check(os.pread(fd, 1 << 20, 0), data, "after all that was refused")
    # The largest file there can be.
    fallocate(fd, 0, TOP - PAGE, PAGE)
    if os.fstat(fd).st_size != TOP:
        fail(f"the largest file has {os.fstat(fd).st_size} bytes")


def block_counts(path):
    data = pattern(64 * PAGE, 2)
    fd = new(path, data)

    def expect(n, what):
        if blocks(fd) != n:
            fail(f"{what}: {blocks(fd)} blocks, not {n}")

    expect(64, "written")
    fallocate(fd, PUNCH | KEEP, 10 * PAGE + 1, 2 * PAGE)
    expect(63, "one whole block punched")
    want = bytearray(data)
    want[10 * PAGE + 1:12 * PAGE + 1] = b"\0" * (2 * PAGE)
    check(os.pread(fd, 1 << 20, 0), want, "punched")
    fallocate(fd, 0, 0, 64 * PAGE)
    expect(64, "filled up")
    check(os.pread(fd, 1 << 20, 0), want, "filled up")
    fallocate(fd, KEEP, 64 * PAGE, 16 * PAGE)
    expect(80, "room behind the end")
    if os.fstat(fd).st_size != 64 * PAGE:
        fail("keeping the size changed it")
    # Growing keeps the room, and it reads as zeroes.
    os.ftruncate(fd, 70 * PAGE)
    expect(80, "grown into the room")
    check(os.pread(fd, 1 << 20, 0), want + b"\0" * (6 * PAGE), "grown")
    os.ftruncate(fd, 70 * PAGE)
    expect(70, "cut to the size that it has")
    fallocate(fd, ZERO, 0, 32 * PAGE)
    want = b"\0" * (32 * PAGE) + bytes(want[32 * PAGE:]) + b"\0" * (6 * PAGE)
    expect(70, "zeroed in place")
    check(os.pread(fd, 1 << 20, 0), want, "zeroed")
    if not any(e[3] & 0x800 for e in extents(path)):
        fail("zeroing leaves nothing unwritten")
    fallocate(fd, COLLAPSE, 30 * PAGE, 10 * PAGE)
    want = want[:30 * PAGE] + want[40 * PAGE:]
    expect(60, "collapsed")
    check(os.pread(fd, 1 << 20, 0), want, "collapsed")
    fallocate(fd, INSERT, 5 * PAGE, 100 * PAGE)
    want = want[:5 * PAGE] + b"\0" * (100 * PAGE) + want[5 * PAGE:]
    expect(60, "inserted")
    check(os.pread(fd, 1 << 20, 0), want, "inserted")
    fallocate(fd, PUNCH | KEEP, 0, 1 << 40)
    expect(0, "all punched")
    if os.fstat(fd).st_size != len(want) or any(os.pread(fd, 1 << 20, 0)):
        fail("punching everything leaves something")
    # Written, never written back, punched: the size must still be on disk.
    os.close(fd)
    fd = new(path, data)
    fallocate(fd, PUNCH | KEEP, 0, 64 * PAGE)
    os.close(fd)


def many(path, count):
    """Every other block is a hole, so that each block is an extent of its own."""
    fd = new(path)
    for i in range(count):
        os.pwrite(fd, b"%016d" % i, 2 * i * PAGE)
    os.fsync(fd)

    def look(gap_at, gap):
        for i in list(range(0, count, max(count // 500, 1))) + [count - 1]:
            at = 2 * i * PAGE + (gap if 2 * i >= gap_at else 0)
            check(os.pread(fd, 16, at), b"%016d" % i, f"block {i}")

    look(0, 0)
    at = count // 3 * 2
    for n in (PAGE, 1000 * PAGE):
        fallocate(fd, INSERT, at * PAGE, n)
        look(at, n)
        fallocate(fd, COLLAPSE, at * PAGE, n)
        look(at, 0)
    fallocate(fd, COLLAPSE, 0, 2 * (count // 2) * PAGE)
    for i in range(count // 2, count, max(count // 500, 1)):
        check(os.pread(fd, 16, 2 * (i - count // 2) * PAGE), b"%016d" % i, f"block {i} collapsed")
    fallocate(fd, PUNCH | KEEP, 0, os.fstat(fd).st_size + PAGE)
    if blocks(fd) != 0:
        fail(f"{blocks(fd)} blocks are left")


def full(path):
    """Allocating more than there is fails, harms nobody, and gives all of it back."""
    free = lambda: os.statvfs(path).f_bavail
    other = new(path + ".other", pattern(1 << 20, 3))
    os.fsync(other)
    fd = new(path)
    os.fsync(fd)
    before = free()
    refused(errno.ENOSPC, fd, 0, 0, (before + 5000) * PAGE)
    # What was written can still be written over, punched and moved.
    os.pwrite(other, b"over", 0)
    fallocate(other, PUNCH | KEEP, 5 * PAGE, 3 * PAGE)
    os.fsync(other)
    os.ftruncate(fd, 0)
    os.fsync(fd)
    if abs(free() - before) > 8:
        fail(f"{before} blocks were free, {free()} are")
    fallocate(fd, KEEP, 0, (before - 300) * PAGE)
    os.pwrite(fd, b"into the room", 0)
    os.fsync(fd)
    os.unlink(path)
    os.close(fd)
    os.close(other)


def swap(path):
    fd = new(path)
    os.fchmod(fd, 0o600)
    n = 4 << 20
    swapon = lambda: libc.swapon(os.fsencode(path), 0)

    def make(what):
        os.fsync(fd)
        subprocess.run(["mkswap", "-q", path], check=True)
        if swapon() != 0:
            fail(f"swapon of a file {what}: {os.strerror(ctypes.get_errno())}")

    # With a hole it is refused.
    os.ftruncate(fd, n)
    subprocess.run(["mkswap", "-q", path], check=True)
    if swapon() == 0 or ctypes.get_errno() != errno.EINVAL:
        fail("a swap file with holes is taken")
    fallocate(fd, 0, 0, n)
    make("with room that was never written to")
    libc.swapoff(os.fsencode(path))
    os.pwrite(fd, b"\0" * n, 0)
    make("that was written")
    try:
        for mode in (0, PUNCH | KEEP, COLLAPSE, ZERO, INSERT):
            refused(errno.ETXTBSY, fd, mode, PAGE, PAGE)
        for what, f in (("write", lambda: os.pwrite(fd, b"x", 0)),
                        ("cut", lambda: os.ftruncate(fd, PAGE))):
            try:
                f()
                fail(f"{what} of an active swap file works")
            except OSError as e:
                if e.errno != errno.ETXTBSY:
                    raise
    finally:
        if libc.swapoff(os.fsencode(path)) != 0:
            fail("swapoff")
    os.pwrite(fd, b"x", 0)


def direct(path):
    """The alignment that statx tells is the one that is asked for."""
    fd = new(path, pattern(1 << 20, 4))
    os.fsync(fd)
    buf = ctypes.create_string_buffer(256)
    if libc.statx(fd, b"", 0x1000, 0x2000, buf) != 0:
        fail("statx")
    mask, mem, off = struct.unpack_from("<I", buf.raw)[0], *struct.unpack_from("<II", buf.raw, 0x98)
    if not mask & 0x2000 or not 0 < mem <= PAGE or off not in (512, 1024, 2048, PAGE):
        fail(f"statx: mask {mask:#x}, {mem}, {off}")
    d = os.open(path, os.O_RDWR | os.O_DIRECT)
    m = mmap.mmap(-1, 1 << 16)
    for at, n, start in ((0, off, 0), (off, off, 0), (0, 3 * off, off), (0, 1 << 15, 0)):
        if os.preadv(d, [memoryview(m)[start:start + n]], at) != n:
            fail(f"direct read of {n} at {at}")
        if os.pwritev(d, [memoryview(m)[start:start + n]], at) != n:
            fail(f"direct write of {n} at {at}")
    for at, n, start in ((1, off, 0), (0, off - 1, 0), (0, off, 1)):
        for what in (os.preadv, os.pwritev):
            try:
                what(d, [memoryview(m)[start:start + n]], at)
                fail(f"{what.__name__} of {n} at {at}, memory {start}, is not refused")
            except OSError as e:
                if e.errno != errno.EINVAL:
                    raise
    # Flags that we do not know are refused by name, not done by half.
    try:
        os.pwritev(d, [memoryview(m)[:PAGE]], 0, 0x40)
        fail("RWF_ATOMIC is taken")
    except OSError as e:
        if e.errno != errno.EOPNOTSUPP:
            raise
    os.pwritev(d, [memoryview(m)[:PAGE]], 0, os.RWF_DSYNC)
    try:
        os.pwritev(d, [memoryview(m)[:PAGE]], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        # A new time of change may have to wait for the journal.
        pass
    check(os.pread(fd, 1 << 20, 1 << 16), pattern(1 << 20, 4)[1 << 16:], "the rest")


def where(path):
    fd = new(path)
    os.pwrite(fd, b"a" * PAGE, 10 * PAGE)
    os.pwrite(fd, b"b" * PAGE, 100 * PAGE)
    fallocate(fd, KEEP, 200 * PAGE, 5 * PAGE)
    os.fsync(fd)
    found = [(e[0] // PAGE, e[2] // PAGE, e[3]) for e in extents(path)]
    if found != [(10, 1, 0), (100, 1, 0), (200, 5, 0x801)]:
        fail(f"extents {found}")
    if len({e[1] for e in extents(path)}) != 3 or not all(e[1] for e in extents(path)):
        fail("extents share their place")
    seek = [os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_DATA),
            os.lseek(fd, 11 * PAGE, os.SEEK_DATA), os.lseek(fd, 100 * PAGE + 1, os.SEEK_HOLE)]
    if seek != [0, 10 * PAGE, 100 * PAGE, 101 * PAGE]:
        fail(f"seeks give {seek}")
    os.ftruncate(fd, 300 * PAGE)
    try:
        os.lseek(fd, 101 * PAGE, os.SEEK_DATA)
        fail("room without data is data")
    except OSError as e:
        if e.errno != errno.ENXIO:
            raise
    # The attribute tree is not shown.
    request = bytearray(struct.pack("=QQIIII", 0, 1 << 40, 2, 0, 1, 0) + b"\0" * 56)
    try:
        fcntl.ioctl(fd, 0xC020660B, request, True)
        fail("FIEMAP_FLAG_XATTR is taken")
    except OSError as e:
        if e.errno != errno.EBADR or struct.unpack_from("=I", request, 16)[0] != 2:
            raise


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what")
    p.add_argument("file")
    p.add_argument("rest", nargs="*", type=int)
    a = p.parse_args()
    modes = {"collapse": COLLAPSE, "insert": INSERT, "punch": PUNCH | KEEP, "zero": ZERO | KEEP}
    if a.what in modes:
        fallocate(os.open(a.file, os.O_RDWR), modes[a.what], *a.rest)
    elif a.what == "many":
        many(a.file, *a.rest)
    else:
        {"errors": errors, "blocks": block_counts, "full": full, "swap": swap,
         "direct": direct, "map": where}[a.what](a.file)


main()
