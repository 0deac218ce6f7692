#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Delayed allocation, and room behind the end of files that grow behind what is on disk.

data_room_ops.py delayed DIR      what is written has no place until it is written back, but counts
data_room_ops.py short DIR        what a write that falls short had been promised
data_room_ops.py together DIR     files that grow side by side have few extents, and no room when closed
data_room_ops.py again DIR        a file that is opened for each write; holes; what was asked for stays
data_room_ops.py crash DIR        the file system is shut down while files have room
data_room_ops.py recovered DIR    ... and what must be true after the next mount
data_room_ops.py full DIR         a full disk takes the room back
data_room_ops.py mapped DIR       a map that fills the disk has all of it
data_room_ops.py frozen DIR       closing a file does not wait for a thaw
"""
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import sys
import time

from data_lib import KEEP, PAGE, check, extents, fail, fallocate, libc, pattern

FS_IOC_SHUTDOWN = 0x8004587D
# Tree nodes that a file may have beside its data: they stay when extents are joined.
NODES = 16


def blocks(path_or_fd):
    return os.stat(path_or_fd).st_blocks // 8


def exact(path):
    """A file has the blocks that its bytes need, and no more."""
    want = -(-os.stat(path).st_size // PAGE)
    if not want <= blocks(path) <= want + NODES:
        fail(f"{path}: {blocks(path)} blocks for {want}")


def available(at):
    v = os.statvfs(at)
    return v.f_bavail


def grow(fd, pages, byte=b"x"):
    """Writes pages; the first are on disk before the others, so that these get room."""
    for i in range(pages):
        os.write(fd, byte * PAGE)
        if i == 31:
            os.fsync(fd)


def places(path):
    """The flags of a file's extents, without syncing it first."""
    return [e[3] for e in extents(path, sync=False)]


def delayed(base):
    DELALLOC = 4
    os.sync()
    before, free = available(base), os.statvfs(base).f_bfree
    count, size, step = 2, 8 << 20, 2 * PAGE
    files = [os.open(f"{base}/d{i}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for i in range(count)]
    data = [pattern(size, i) for i in range(count)]
    for at in range(0, size, step):
        for fd, bytes_ in zip(files, data):
            os.write(fd, bytes_[at:at + step])
    # Promised is shown as used, by the file and by the file system. (Some may be on disk by now.)
    taken = sum(blocks(fd) for fd in files)
    if not count * size // PAGE <= taken <= count * size // PAGE + NODES:
        fail(f"{taken} blocks are shown")
    if before - available(base) < taken or free - os.statvfs(base).f_bfree < taken:
        fail("what is promised does not count as used")
    for i, fd in enumerate(files):
        os.fsync(fd)
        os.close(fd)
        # One piece, or two where the volume's regions meet.
        n = len(extents(f"{base}/d{i}"))
        if n > 2:
            fail(f"two files that were written in turns: {n} extents")
        exact(f"{base}/d{i}")
        with open(f"{base}/d{i}", "rb") as f:
            check(f.read(), data[i], f"d{i}")

    # A hole that is filled back to front, through a descriptor and through a map, is one extent.
    for name in ("back", "map"):
        fd = os.open(f"{base}/{name}", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.ftruncate(fd, 256 * PAGE)
        if name == "map":
            with mmap.mmap(fd, 256 * PAGE) as m:
                for i in reversed(range(256)):
                    m[i * PAGE] = 1
        else:
            for i in reversed(range(256)):
                os.pwrite(fd, b"b" * PAGE, i * PAGE)
        if DELALLOC not in [f & DELALLOC for f in places(f"{base}/{name}")]:
            fail("blocks have a place before they are written back")
        if os.lseek(fd, 0, os.SEEK_DATA) != 0 or os.lseek(fd, 0, os.SEEK_HOLE) != 256 * PAGE:
            fail("what has no place yet is no data")
        os.fsync(fd)
        os.close(fd)
        if len(extents(f"{base}/{name}")) > 2:
            fail(f"{name}: {len(extents(f'{base}/{name}'))} extents")

    # What goes before it is written back takes nothing and leaves nothing: cut off, punched,
    # replaced, removed.
    os.sync()
    before = available(base)
    fd = os.open(f"{base}/gone", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for i in range(0, 400, 2):
        os.pwrite(fd, b"g" * PAGE, i * PAGE)
    os.ftruncate(fd, 100 * PAGE)
    if not 50 <= blocks(fd) <= 50 + NODES:
        fail(f"{blocks(fd)} blocks are left after a truncation")
    os.ftruncate(fd, 0)
    if blocks(fd) != 0 or available(base) < before - NODES:
        fail(f"{blocks(fd)} blocks, {before - available(base)} fewer free")
    os.pwrite(fd, b"g" * 64 * PAGE, 0)
    os.unlink(f"{base}/gone")
    os.close(fd)
    if available(base) < before - NODES:
        fail(f"{before - available(base)} blocks of a file that has gone are not free")
    fd = os.open(f"{base}/direct", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.pwrite(fd, b"o" * 16 * PAGE, 0)
    past = os.open(f"{base}/direct", os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 4 * PAGE) as m:
        m.write(b"n" * 4 * PAGE)
        os.pwritev(past, [m], 4 * PAGE)
        check(os.pread(fd, 16 * PAGE, 0), b"o" * 4 * PAGE + b"n" * 4 * PAGE + b"o" * 8 * PAGE,
              "direct I/O among delayed blocks")
    fallocate(fd, 0, 0, 32 * PAGE)
    os.pwrite(fd, b"p" * PAGE, 40 * PAGE)
    fallocate(fd, 0, 32 * PAGE, 16 * PAGE)
    if blocks(fd) != 48:
        fail(f"{blocks(fd)} blocks of 48 that were asked for")
    os.close(past)
    os.close(fd)


def short(base):
    os.sync()
    before = available(base)
    fd = os.open(f"{base}/short", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    # Two pages that are there, and then some that are not: the write ends in the middle.
    area = mmap.mmap(-1, 64 * PAGE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc.mprotect(ctypes.c_void_p(at + 2 * PAGE), ctypes.c_size_t(62 * PAGE), 0)
    libc.write.restype = ctypes.c_ssize_t
    n = libc.write(fd, ctypes.c_void_p(at), ctypes.c_size_t(64 * PAGE))
    if n != 2 * PAGE or blocks(fd) != 2:
        fail(f"{n} bytes were written, {blocks(fd)} blocks are taken")
    # The same within a file, among pages that are dirty.
    os.ftruncate(fd, 128 * PAGE)
    os.pwrite(fd, b"d" * PAGE, 10 * PAGE)
    libc.pwrite.restype = ctypes.c_ssize_t
    n = libc.pwrite(fd, ctypes.c_void_p(at), ctypes.c_size_t(64 * PAGE), ctypes.c_long(4 * PAGE))
    if n != 2 * PAGE or blocks(fd) != 5:
        fail(f"{n} bytes were written, {blocks(fd)} blocks are taken, not 5")
    os.fsync(fd)
    if blocks(fd) != 5:
        fail(f"{blocks(fd)} blocks after a sync")
    check(os.pread(fd, PAGE, 10 * PAGE), b"d" * PAGE, "a page that was dirty")
    os.ftruncate(fd, 0)
    os.close(fd)
    os.sync()
    if available(base) < before - NODES:
        fail("promises are left over")


def together(base):
    count, size, step = 4, 8 << 20, 2 * PAGE
    before = available(base)
    files = [os.open(f"{base}/f{i}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for i in range(count)]
    data = [pattern(size, i) for i in range(count)]
    for at in range(0, size, step):
        for fd, bytes_ in zip(files, data):
            os.write(fd, bytes_[at:at + step])
            if at % (16 * step) == 0:
                os.fsync(fd)
    # What is taken is shown.
    taken = sum(blocks(fd) for fd in files)
    if taken <= count * size // PAGE:
        fail(f"no room: {taken} blocks")
    if before - available(base) < taken:
        fail("room does not count as used")
    for fd in files:
        os.fsync(fd)
        os.close(fd)
    for i in range(count):
        path = f"{base}/f{i}"
        exact(path)
        n = len(extents(path))
        if n > 32:
            fail(f"{n} extents")
        with open(path, "rb") as f:
            check(f.read(), data[i], path)


def again(base):
    log = f"{base}/log"
    for i in range(200):
        with open(log, "ab") as f:
            f.write(bytes([i]) * PAGE)
        exact(log)
    # A gap: room that was left there is no part of the file.
    fd = os.open(f"{base}/gap", os.O_RDWR | os.O_CREAT)
    grow(fd, 64)
    os.truncate(fd, 4 << 20)
    if blocks(fd) > 64 + NODES:
        fail(f"growing left {blocks(fd)} blocks in a hole")
    os.pwrite(fd, b"y", 8 << 20)
    os.close(fd)
    if os.stat(f"{base}/gap").st_blocks // 8 > 65 + NODES:
        fail("a gap has blocks")
    # What was asked for stays, also behind what was not.
    fd = os.open(f"{base}/asked", os.O_RDWR | os.O_CREAT)
    grow(fd, 256)
    fallocate(fd, KEEP, 1 << 20, 2 << 20)
    os.write(fd, b"x" * PAGE)
    os.close(fd)
    want = (3 << 20) // PAGE
    if not want <= blocks(f"{base}/asked") <= want + NODES:
        fail(f"{blocks(f'{base}/asked')} blocks for {want}")
    # Without a name, and with one again.
    fd = os.open(base, os.O_TMPFILE | os.O_RDWR)
    grow(fd, 256, b"z")
    AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
    proc = f"/proc/self/fd/{fd}".encode()
    if libc.linkat(AT_FDCWD, proc, AT_FDCWD, f"{base}/named".encode(), AT_SYMLINK_FOLLOW):
        fail("linkat")
    os.write(fd, b"z" * PAGE)
    os.close(fd)
    exact(f"{base}/named")


def crash(base):
    files = [os.open(f"{base}/c{i}", os.O_RDWR | os.O_CREAT) for i in range(8)]
    for i, fd in enumerate(files):
        data = pattern((i + 1) << 20, i)
        for at in range(0, len(data), 4 * PAGE):
            os.write(fd, data[at:at + 4 * PAGE])
            if at == len(data) // 2:
                os.fsync(fd)
        os.fsync(fd)
        if blocks(fd) <= len(data) // PAGE:
            fail("no room")
    top = os.open(base, os.O_RDONLY)
    fcntl.ioctl(top, FS_IOC_SHUTDOWN, struct.pack("I", 1))


def recovered(base):
    for i in range(8):
        path = f"{base}/c{i}"
        with open(path, "rb") as f:
            check(f.read(), pattern((i + 1) << 20, i), path)
        exact(path)


def full(base):
    files = [os.open(f"{base}/r{i}", os.O_RDWR | os.O_CREAT) for i in range(6)]
    for fd in files:
        grow(fd, 300)
    room = sum(blocks(fd) for fd in files) - 6 * 300
    if room < 256:
        fail(f"{room} blocks of room")
    before = available(base)
    fill = os.open(f"{base}/fill", os.O_WRONLY | os.O_CREAT)
    done = 0
    try:
        while True:
            done += os.write(fill, b"f" * 65536)
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
    if done // PAGE < before + room - 64:
        fail(f"{done // PAGE} blocks were to be had of {before} and {room}")
    for fd in files:
        if blocks(fd) > 300 + NODES:
            fail(f"{blocks(fd)} blocks on a full disk")
    os.unlink(f"{base}/fill")
    os.close(fill)
    for fd in files:
        os.write(fd, b"x" * PAGE)
        os.close(fd)
    for i in range(6):
        exact(f"{base}/r{i}")


def mapped(base):
    """Each fault is promised more than a block: what is too much is there for the last ones."""
    os.sync()
    free = available(base)
    fd = os.open(f"{base}/mapped", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 2 * free * PAGE)
    count = mmap.mmap(-1, PAGE)
    child = os.fork()
    if not child:
        m = mmap.mmap(fd, 2 * free * PAGE)
        # Or the kernel makes large folios, each of which is had as a whole or not at all.
        m.madvise(mmap.MADV_RANDOM)
        for i in range(2 * free):
            m[i * PAGE] = 1 + i % 255
            count[:8] = struct.pack("<q", i + 1)
        os._exit(0)
    how = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(how) or os.WTERMSIG(how) != signal.SIGBUS:
        fail(f"status {how}, not SIGBUS")
    done = struct.unpack("<q", count[:8])[0]
    if done < free - NODES:
        fail(f"{done} pages were to be had of {free}")
    os.fsync(fd)
    for i in range(done):
        if os.pread(fd, 1, i * PAGE) != bytes([1 + i % 255]):
            fail(f"page {i} of {done} is lost")
    os.close(fd)
    os.unlink(f"{base}/mapped")


def frozen(base):
    FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
    path = f"{base}/frozen"
    top = os.open(base, os.O_RDONLY)
    rescue = os.fork()
    if not rescue:
        time.sleep(6)
        fcntl.ioctl(top, FITHAW, 0)
        os._exit(0)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    grow(fd, 300)
    fcntl.ioctl(top, FIFREEZE, 0)
    begin = time.monotonic()
    os.close(fd)
    took = time.monotonic() - begin
    if took > 5:
        fail("closing waited for the thaw")
    os.kill(rescue, signal.SIGKILL)
    os.waitpid(rescue, 0)
    fcntl.ioctl(top, FITHAW, 0)
    os.sync()
    exact(path)


if __name__ == "__main__":
    {"delayed": delayed, "short": short, "together": together, "again": again, "crash": crash, "recovered": recovered,
     "full": full, "mapped": mapped, "frozen": frozen}[sys.argv[1]](sys.argv[2])
