#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the section staging_waits does that the shell cannot. Each command exits 0 when
what it looked for is so."""

import ctypes
import errno
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time

from staging_ops import PAGE, attach, batch, expect, ioctl, item, libc, status

REQUEST = 128
RECALL, CANCEL = 1, 5
OK, LOST = 0, 3


def state(path):
    """ino, generation and version of a file."""
    fd = os.open(path, os.O_RDONLY)
    _, e, out = ioctl(fd, "state", struct.pack("=I", 104) + bytes(100))
    expect("state", e, 0)
    os.close(fd)
    _, _, ino, gen, _, version = struct.unpack_from("=IIQIIQ", out)
    return ino, gen, version


def one(path, what):
    """Archives, releases or prefetches one file; returns the errno."""
    fd = os.open(path, os.O_RDONLY)
    head, buf = batch([item()])
    expect(what, ioctl(fd, what, head)[1], 0)
    os.close(fd)
    return status(buf)


def parsed(request):
    """op, cookie, ino, length, version, attempt"""
    _, op, _, cookie, ino, _, _, _, length, _, version = struct.unpack_from("=IHHQQIIQQQQ", request)
    attempt = struct.unpack_from("=I", request, 116)[0]
    return op, cookie, ino, length, version, attempt


def complete(q, cookie, how, error=0):
    arg = struct.pack("=IIQQQIIQQ", 56, 0, cookie, 0, 0, how, error, 0, 0)
    return ioctl(q, "complete", arg)[1]


def errno_of(f):
    try:
        f()
    except OSError as e:
        return e.errno
    return 0


def reads_errno(path, name, how="block"):
    """Reading the file fails with this error."""
    fd = os.open(path, os.O_RDONLY | (os.O_NONBLOCK if how == "nonblock" else 0))
    expect("read", errno_of(lambda: os.read(fd, 10)), getattr(errno, name))


def splice(path, other, seconds):
    """Splices the file to a pipe over and over while it is released all the time."""
    want = open(other, "rb").read()
    end = time.time() + float(seconds)
    released = [0]

    def release():
        while time.time() < end:
            released[0] += one(path, "release") == 0

    thread = threading.Thread(target=release)
    thread.start()
    fd = os.open(path, os.O_RDONLY)
    r, w = os.pipe()
    rounds = 0
    while time.time() < end:
        at = 0
        while at < len(want):
            n = os.splice(fd, w, 65536, offset_src=at)
            got = b""
            while len(got) < n:
                got += os.read(r, n - len(got))
            if n == 0 or got != want[at : at + n]:
                sys.exit(f"{n} bytes at {at}, or others")
            at += n
        rounds += 1
    thread.join()
    if rounds == 0 or released[0] == 0:
        sys.exit(f"{rounds} rounds, {released[0]} releases")


def remount(mnt, path, other, _done):
    """An agent whose bytes lie in a mapping of a file that is offline itself: its call goes on
    until that comes."""
    q = attach(mnt)
    result = []
    reader = threading.Thread(target=lambda: result.append(errno_of(lambda: open(path, "rb").read())))
    reader.start()
    _, cookie, _, length, version, _ = parsed(os.read(q, REQUEST))
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
    fd = os.open(other, os.O_RDONLY)
    at = libc.mmap(None, os.fstat(fd).st_size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    arg = struct.pack("=IIQQQQQQQ", 64, 0, cookie, version, 0, length, at, 0, 0)
    expect("data", ioctl(q, "data", arg)[1], 0)
    reader.join()
    # It may have looked while the second chunk was on its way, and the remount too.
    expect("read", result[0], 0, errno.EROFS)
    for _ in range(100):
        if os.statvfs(mnt).f_flag & os.ST_RDONLY:
            break
        time.sleep(0.1)
    expect("complete", complete(q, cookie, OK), errno.EROFS)


def limited(mnt, most):
    """A queue with at most so many requests in flight."""
    root = os.open(mnt, os.O_RDONLY)
    arg = struct.pack("=IIII", 72, 0, 1, most) + bytes(56)
    r, e, _ = ioctl(root, "attach", arg)
    expect("attach", e, 0)
    os.close(root)
    return r


def queue_fault(mnt):
    """Memory that is there for one request and a half."""
    q = limited(mnt, 3)
    os.set_blocking(q, False)
    for n in (1, 2, 3):
        expect("prefetch", one(f"{mnt}/f{n}", "prefetch"), 0)
    area = mmap.mmap(-1, 2 * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.read.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    expect("mprotect", libc.mprotect(base + PAGE, PAGE, 0), 0)

    def read(at):
        n = libc.read(q, at, 3 * REQUEST)
        return n, ctypes.get_errno() if n < 0 else 0

    # Nothing is told, nothing is lost, however often.
    for _ in range(10):
        expect("read to nowhere", read(base + PAGE), (-1, errno.EFAULT))
    n, _ = read(base + PAGE - REQUEST * 3 // 2)
    expect("read to half of it", n, REQUEST)
    first = parsed(area[PAGE - REQUEST * 3 // 2 : PAGE - REQUEST // 2])
    rest = os.read(q, 4096)
    expect("the rest", len(rest), 2 * REQUEST)
    all3 = [first, parsed(rest[:REQUEST]), parsed(rest[REQUEST:])]
    if {r[2] for r in all3} != {state(f"{mnt}/f{n}")[0] for n in (1, 2, 3)}:
        sys.exit(f"odd requests {all3}")
    expect("attempts", max(r[5] for r in all3), 0)
    # There is room for three, and these are they.
    expect("prefetch", one(f"{mnt}/f4", "prefetch"), 0)
    expect("read without room", errno_of(lambda: os.read(q, 4096)), errno.EAGAIN)
    expect("complete", complete(q, first[1], LOST), 0)
    expect("read with room", len(os.read(q, 4096)), REQUEST)


def queue_cancel(mnt):
    """An agent that has all it may have learns that nobody waits any more."""
    q = limited(mnt, 1)
    os.set_blocking(q, False)
    reader = os.fork()
    if reader == 0:
        open(f"{mnt}/f1", "rb").read()
        os._exit(1)
    p = select.poll()
    p.register(q, select.POLLIN)
    expect("poll", len(p.poll(20000)), 1)
    op, cookie = parsed(os.read(q, 4096))[:2]
    expect("op", op, RECALL)
    expect("prefetch", one(f"{mnt}/f2", "prefetch"), 0)
    expect("poll without room", len(p.poll(500)), 0)
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
    expect("poll for the cancellation", len(p.poll(20000)), 1)
    got = os.read(q, 4096)
    expect("one", len(got), REQUEST)
    expect("cancellation", parsed(got)[:2], (CANCEL, cookie))
    expect("poll after it", len(p.poll(500)), 0)


def queue_errors(mnt):
    """What a reader gets of what an agent says: errors that mean the same to both."""
    q = attach(mnt)
    for said, got in (
        (0, errno.EIO), (errno.EIO, errno.EIO), (errno.ENOSPC, errno.ENOSPC), (errno.EDQUOT, errno.EDQUOT),
        (errno.ENOMEM, errno.ENOMEM), (errno.EINTR, errno.EIO), (errno.ENOENT, errno.EIO),
        (errno.ESTALE, errno.EIO), (errno.EAGAIN, errno.EIO), (512, errno.EIO), (4095, errno.EIO),
    ):
        result = []
        reader = threading.Thread(target=lambda: result.append(errno_of(lambda: open(f"{mnt}/f1", "rb").read())))
        reader.start()
        cookie = parsed(os.read(q, REQUEST))[1]
        expect("complete", complete(q, cookie, LOST, 4096), errno.EINVAL)
        expect("complete", complete(q, cookie, LOST, said), 0)
        reader.join()
        expect(f"read after {said}", result[0], got)


def nowait(mnt, path):
    """A write that must not wait does not wait for a new version to be durable."""
    fd = os.open(path, os.O_RDWR)
    os.pread(fd, 100000, 0)

    def mark():
        _, e, out = ioctl(fd, 0x18, struct.pack("=I", 40) + bytes(36))
        expect("mark", e, 0)
        return state(path)[2]

    version = mark()
    for at in (0, PAGE, 99990):
        write = lambda: os.pwritev(fd, [b"x"], at, os.RWF_NOWAIT)
        expect(f"write at {at}", errno_of(write), errno.EAGAIN)
    expect("version", state(path)[2], version)
    os.pwrite(fd, b"x", 0)
    expect("version after a write", state(path)[2], version + 1)


def put_settles(mnt, path):
    """A record of the contents "as they are now" is made stale by a write through a page that was
    dirty and writable then already."""
    import vectors_ops as v
    fd = os.open(path, os.O_RDWR)
    collection = v.create(fd, "settled", dim=2)
    m = mmap.mmap(fd, PAGE)
    m[0:3] = b"one"
    v.puts(fd, collection, [v.item(1, v.floats([1, 0]))])
    stale = lambda: v.search(fd, collection, [[1, 0]], 1)[0][0]["flags"] & 1
    expect("stale at first", stale(), 0)
    m[0:3] = b"two"
    expect("stale after a change", stale(), 1)
    # So is one that names the present version without having asked for it.
    _, _, version = state(path)
    m[0:3] = b"six"
    v.puts(fd, collection, [v.item(1, v.floats([1, 0]), version=version)])
    expect("stale at first", stale(), 0)
    m[0:3] = b"ten"
    expect("stale after a change", stale(), 1)


def cut_offline(mnt, path):
    """A file whose last offline block is cut off is not offline any more, as records show."""
    import vectors_ops as v
    fd = os.open(path, os.O_RDWR)
    size = os.fstat(fd).st_size
    collection = v.create(fd, "cut", dim=2)
    v.puts(fd, collection, [v.item(1, v.floats([1, 0]))])
    shown = lambda: v.search(fd, collection, [[1, 0]], 1)[0][0]["flags"] & 2
    expect("offline at first", shown(), 2)
    os.ftruncate(fd, size - PAGE)
    expect("offline when something is left", shown(), 2)
    os.ftruncate(fd, 0)
    expect("offline when nothing is left", shown(), 0)


def pinned(mnt, path, disk):
    """Pages of the file that a slow disk reads and writes."""
    size = os.stat(path).st_size
    fd = os.open(path, os.O_RDWR)
    ino, gen, version = state(path)
    q = attach(mnt)

    def begin():
        return ioctl(q, "begin", struct.pack("=IIQI", 96, 0, ino, gen) + bytes(76))[1]

    def during(transfer, look):
        thread = threading.Thread(target=transfer)
        thread.start()
        time.sleep(0.7)
        look()
        thread.join()

    # The disk reads the page.
    out = os.open(disk, os.O_WRONLY | os.O_DIRECT)
    m = mmap.mmap(fd, size, prot=mmap.PROT_READ)
    page = memoryview(m)[:PAGE]
    during(
        lambda: os.pwritev(out, [page], 0),
        lambda: expect("release of a page that is read", one(path, "release"), errno.EBUSY),
    )
    expect("version", state(path)[2], version)
    expect("begin afterwards", begin(), 0)
    # The disk writes the page.
    into = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    m = mmap.mmap(fd, size)
    page = memoryview(m)[PAGE : 2 * PAGE]
    during(
        lambda: os.preadv(into, [page], 0),
        lambda: expect("begin while a page is written", begin(), errno.EBUSY),
    )
    expect("begin afterwards", begin(), 0)
    if state(path)[2] == version:
        sys.exit("no new version")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
