#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Room behind the end of files that grow.

data_room_ops.py together DIR     files that grow side by side have few extents, and no room when closed
data_room_ops.py again DIR        a file that is opened for each write; holes; what was asked for stays
data_room_ops.py crash DIR        the file system is shut down while files have room
data_room_ops.py recovered DIR    ... and what must be true after the next mount
data_room_ops.py full DIR         a full disk takes the room back
data_room_ops.py frozen DIR       closing a file does not wait for a thaw
"""
import errno
import fcntl
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


def together(base):
    count, size, step = 4, 8 << 20, 2 * PAGE
    before = available(base)
    files = [os.open(f"{base}/f{i}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for i in range(count)]
    data = [pattern(size, i) for i in range(count)]
    for at in range(0, size, step):
        for fd, bytes_ in zip(files, data):
            os.write(fd, bytes_[at:at + step])
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
    for i in range(64):
        os.write(fd, b"x" * PAGE)
    os.truncate(fd, 4 << 20)
    if blocks(fd) > 64 + NODES:
        fail(f"growing left {blocks(fd)} blocks in a hole")
    os.pwrite(fd, b"y", 8 << 20)
    os.close(fd)
    if os.stat(f"{base}/gap").st_blocks // 8 > 65 + NODES:
        fail("a gap has blocks")
    # What was asked for stays, also behind what was not.
    fd = os.open(f"{base}/asked", os.O_RDWR | os.O_CREAT)
    for i in range(256):
        os.write(fd, b"x" * PAGE)
    fallocate(fd, KEEP, 1 << 20, 2 << 20)
    os.write(fd, b"x" * PAGE)
    os.close(fd)
    want = (3 << 20) // PAGE
    if not want <= blocks(f"{base}/asked") <= want + NODES:
        fail(f"{blocks(f'{base}/asked')} blocks for {want}")
    # Without a name, and with one again.
    fd = os.open(base, os.O_TMPFILE | os.O_RDWR)
    for i in range(256):
        os.write(fd, b"z" * PAGE)
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
        for i in range(300):
            os.write(fd, b"x" * PAGE)
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
    for i in range(300):
        os.write(fd, b"x" * PAGE)
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
    {"together": together, "again": again, "crash": crash, "recovered": recovered,
     "full": full, "frozen": frozen}[sys.argv[1]](sys.argv[2])
