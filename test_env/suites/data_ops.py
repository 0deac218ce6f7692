#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Operations on file data, each checked against a model in memory.

data_ops.py fsx FILE [--seed N] [--ops N] [--size N] [--direct]
data_ops.py sparse FILE | append FILE | direct FILE | mmap FILE | rwf FILE
data_ops.py extents FILE          print the number of extents (FIEMAP)
data_ops.py where FILE            print the extents: logical, physical, length, flags
data_ops.py pattern FILE SIZE SEED      write a pattern, fsync
data_ops.py verify FILE SIZE SEED       compare with the pattern
data_ops.py fill FILE             write until ENOSPC, check what was written
data_ops.py work DIR LOG --seed N       change files until the power goes
data_ops.py recovered DIR LOG           what must be true after that
"""
import argparse
import errno
import hashlib
import mmap
import os
import random
import struct
import time

from data_fsx import Fsx
from data_lib import PAGE, check, extents, fail, pattern


def sparse(path):
    top = 1 << 44
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    marks = [0, PAGE - 1, (1 << 32) - 3, (1 << 32) + PAGE, (1 << 40) + 12345, top - 7]
    for i, at in enumerate(marks):
        os.pwrite(fd, b"mark%03d" % i, at)
    size = max(marks) + 7
    if os.fstat(fd).st_size != size:
        fail(f"size is {os.fstat(fd).st_size} for {size}")
    if os.fstat(fd).st_blocks > 1000:
        fail("holes take space")
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for i, at in enumerate(marks):
        check(os.pread(fd, 7, at), b"mark%03d" % i, f"mark at {at}")
    check(os.pread(fd, 100, 1 << 35), b"\0" * 100, "hole")
    at = os.lseek(fd, (1 << 33), os.SEEK_DATA)
    if not (1 << 33) <= at <= marks[4]:
        fail(f"SEEK_DATA finds {at}")
    os.ftruncate(fd, (1 << 40) + 12348)
    check(os.pread(fd, 100, (1 << 40) + 12345), b"mar", "cut mark")
    os.ftruncate(fd, top)
    check(os.pread(fd, 7, (1 << 40) + 12345), b"mar\0\0\0\0", "grown again")
    os.ftruncate(fd, 0)
    os.fsync(fd)
    if os.fstat(fd).st_blocks != 0:
        fail(f"an empty file has {os.fstat(fd).st_blocks} sectors")
    os.close(fd)


def append(path):
    """Small and odd appends, reopened; with gaps; by two descriptors in turns."""
    model = bytearray()
    rnd = random.Random(7)
    if os.path.exists(path):
        os.unlink(path)
    a = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    b = os.open(path, os.O_WRONLY | os.O_APPEND)
    for i in range(300):
        data = rnd.randbytes(rnd.choice([1, 100, 511, 4095, 4096, 4097, 70000]))
        os.write((a, b)[i & 1], data)
        model += data
        if i % 50 == 49:
            # A gap behind the end of file.
            fd = os.open(path, os.O_WRONLY)
            at = len(model) + rnd.randrange(1, 10000)
            os.pwrite(fd, b"gap", at)
            os.close(fd)
            model += b"\0" * (at - len(model)) + b"gap"
    os.fsync(a)
    os.posix_fadvise(a, 0, 0, os.POSIX_FADV_DONTNEED)
    with open(path, "rb") as f:
        check(f.read(), model, "appended file")


def direct(path):
    if os.path.exists(path):
        os.unlink(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    n = 1 << 20
    buf = mmap.mmap(-1, n)
    want = pattern(4 * n, 3)
    for i in range(4):
        buf[:] = want[i * n:(i + 1) * n]
        if os.pwritev(fd, [buf], i * n) != n:
            fail("short direct write")
    for i in range(4):
        if os.preadv(fd, [buf], i * n) != n:
            fail("short direct read")
        check(buf[:], want[i * n:(i + 1) * n], f"direct read of piece {i}")
    with open(path, "rb") as f:
        check(f.read(), want, "buffered read of direct writes")
    # Unaligned ones are refused.
    try:
        os.pwritev(fd, [memoryview(buf)[:100]], 0)
        fail("a direct write of 100 bytes is accepted")
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
    # 512 bytes at the end of file: the rest of the block must be zero.
    end = 4 * n
    buf[:512] = b"z" * 512
    os.pwritev(fd, [memoryview(buf)[:512]], end + 8192 + 512)
    os.close(fd)
    with open(path, "rb") as f:
        f.seek(end)
        check(f.read(), b"\0" * (8192 + 512) + b"z" * 512, "tail of a direct write")
    # A buffered page, dirty, below a direct read and write.
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    with open(path, "r+b", buffering=0) as f:
        f.write(b"dirty")
        os.preadv(fd, [memoryview(buf)[:PAGE]], 0)
        check(buf[:5], b"dirty", "direct read of dirty data")
        buf[:PAGE] = b"d" * PAGE
        os.pwritev(fd, [memoryview(buf)[:PAGE]], 0)
        f.seek(0)
        check(f.read(PAGE), b"d" * PAGE, "buffered read after a direct write")
    os.close(fd)


def map_file(path):
    n = 3 * 1024 * 1024 + 1234
    with open(path, "wb") as f:
        f.truncate(n)
    want = pattern(n, 11)
    with open(path, "r+b") as f:
        with mmap.mmap(f.fileno(), n) as m:
            for i in range(0, n, 100001):
                m[i:i + 100001] = want[i:i + 100001]
            m.flush()
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            check(m[:], want, "map after flush")
        check(f.read(), want, "read of a mapped file")
    # A mapping keeps a file that grows, and faults beyond the end are errors of
    # the process, not ours.
    pid = os.fork()
    if pid == 0:
        with open(path, "r+b") as f:
            m = mmap.mmap(f.fileno(), n)
            os.ftruncate(f.fileno(), PAGE)
            m[2 * PAGE]
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != 7:
        fail(f"a fault behind the end of file ends with status {status}")


def rwf(path):
    """O_SYNC, RWF_*, splice and copy_file_range."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_SYNC)
    os.write(fd, b"a" * 10000)
    os.pwritev(fd, [b"b" * 5000], 2000, os.RWF_DSYNC)
    os.pwritev(fd, [b"c" * 10], 0, os.RWF_APPEND)
    want = b"a" * 2000 + b"b" * 5000 + b"a" * 3000 + b"c" * 10
    check(os.pread(fd, 20000, 0), want, "after RWF")
    try:
        buf = bytearray(10010)
        got = os.preadv(fd, [buf], 0, os.RWF_NOWAIT)
        check(buf[:got], want[:got], "RWF_NOWAIT read")
        # Needs blocks: must not sleep for them.
        os.pwritev(fd, [b"x" * 8192], 1 << 20, os.RWF_NOWAIT)
        want = None
    except OSError as e:
        if e.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
            raise
    if want is None:
        os.ftruncate(fd, 10010)
        want = b"a" * 2000 + b"b" * 5000 + b"a" * 3000 + b"c" * 10
    out = os.open(path + ".copy", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    done = 0
    while done < len(want):
        done += os.copy_file_range(fd, out, len(want) - done, done, done)
    check(os.pread(out, 20000, 0), want, "copy_file_range")
    r, w = os.pipe()
    n = os.splice(fd, w, 8000, offset_src=1000)
    m = os.splice(r, out, n, offset_dst=50000)
    check(os.pread(out, m, 50000), want[1000:1000 + m], "splice")
    os.unlink(path + ".copy")


def nowait(path):
    """Requests that must not wait meet others that hold what they want."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(fd, bytes(64 << 10))
    end = time.monotonic() + 6
    children = []
    for child in range(6):
        pid = os.fork()
        if pid:
            children.append(pid)
            continue
        at = 0
        while time.monotonic() < end:
            if child < 2:
                # The size and the blocks change all the time.
                os.pwrite(fd, b"y" * 5000, (1 << 20) + (at << 14))
                if at % 8 == 7:
                    os.fdatasync(fd)
                    os.ftruncate(fd, 64 << 10)
            else:
                try:
                    if child % 2:
                        os.pwritev(fd, [b"x" * 700], at % 64 << 10, os.RWF_NOWAIT)
                    else:
                        os.preadv(fd, [bytearray(700)], at % 64 << 10, os.RWF_NOWAIT)
                except OSError as e:
                    if e.errno != errno.EAGAIN:
                        raise
            at = (at + 1) % 4096
        os._exit(0)
    for pid in children:
        check(os.waitpid(pid, 0)[1], 0, "a child of nowait")
    # Nothing was unlocked that was not locked: others can still lock it.
    os.ftruncate(fd, 100)
    check(len(os.pread(fd, 100, 90)), 10, "bytes before the new end")


def fill(path):
    """Until ENOSPC: nothing that write accepted may be lost."""
    piece = 1 << 18
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    done = 0
    sums = []
    while True:
        data = pattern(piece, done)
        try:
            n = os.write(fd, data)
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
            break
        sums.append((n, hashlib.sha256(data[:n]).digest()))
        done += n
    os.fsync(fd)
    if os.fstat(fd).st_size != done:
        fail(f"size {os.fstat(fd).st_size} for {done} bytes written")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    at = 0
    for n, want in sums:
        if hashlib.sha256(os.pread(fd, n, at)).digest() != want:
            fail(f"bytes from {at} changed on the full disk")
        at += n
    # Overwriting needs no space.
    os.pwrite(fd, b"over", 0)
    os.fsync(fd)
    print(done)


CELL = 16


def cells(number, version, at, size):
    """Bytes that say which file, which change and which place they belong to."""
    return b"".join(struct.pack("<IIQ", number, version, o) for o in range(at, at + size, CELL))


class Log:
    """Promises, kept outside of the disk under test."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, *words):
        os.write(self.fd, (" ".join(map(str, words)) + "\n").encode())
        os.fsync(self.fd)


def work(where, log_path, seed):
    """Changes files. Before a file is touched the log says so; after its fsync, what is in it."""
    rnd = random.Random(seed)
    log = Log(log_path)
    version = seed << 16 & 0xFFFF0000
    while True:
        number = rnd.randrange(1, 20)
        path = f"{where}/{number}"
        log.add("touch", number)
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        for _ in range(rnd.randrange(1, 12)):
            version += 1
            size = os.fstat(fd).st_size
            at = rnd.randrange(0, max(size * 5 // 4, 1 << 18)) & -CELL
            n = min(1 << rnd.randrange(4, 20), (8 << 20) - at)
            what = rnd.randrange(8)
            if what == 0:
                os.ftruncate(fd, at)
            elif what == 1 and n > 0:
                if at + n > size:
                    os.ftruncate(fd, at + n)
                base = at & -PAGE
                with mmap.mmap(fd, at - base + n, offset=base) as m:
                    m[at - base:] = cells(number, version, at, n)
            elif what == 2 and n >= PAGE:
                at &= -PAGE
                buf = mmap.mmap(-1, n & -PAGE)
                buf[:] = cells(number, version, at, n & -PAGE)
                d = os.open(path, os.O_WRONLY | os.O_DIRECT)
                os.pwritev(d, [buf], at)
                os.close(d)
            elif n > 0:
                os.pwrite(fd, cells(number, version, at, n), at)
        if rnd.randrange(4):
            (os.fsync if rnd.randrange(2) else os.fdatasync)(fd)
            data = os.pread(fd, 1 << 24, 0)
            log.add("synced", number, len(data), hashlib.sha256(data).hexdigest())
        if rnd.randrange(10) == 0:
            os.unlink(path)
            log.add("gone", number)
        os.close(fd)


def recovered(where, log_path):
    state = {}
    with open(log_path) as f:
        for line in f:
            words = line.split()
            state[int(words[1])] = words
    exact = 0
    for number, words in state.items():
        path = f"{where}/{number}"
        if words[0] == "gone":
            # The unlink itself was not synced.
            pass
        try:
            with open(path, "rb") as f:
                data = f.read()
        except FileNotFoundError:
            if words[0] == "synced":
                fail(f"{path} is lost, with {words[2]} bytes that were synced")
            continue
        if words[0] == "synced":
            if len(data) != int(words[2]):
                fail(f"{path} has {len(data)} bytes of {words[2]} that were synced")
            if hashlib.sha256(data).hexdigest() != words[3]:
                fail(f"{path} is not what was synced")
            exact += 1
        # Whatever else happened: a file holds its own bytes, in their place, or zeroes.
        if len(data) % CELL:
            fail(f"{path} has a size that it never had: {len(data)}")
        for at in range(0, len(data), CELL):
            cell = data[at:at + CELL]
            if cell != b"\0" * CELL:
                owner, _, place = struct.unpack("<IIQ", cell)
                if owner != number or place != at:
                    fail(f"{path} at {at} has bytes of file {owner} at {place}")
    print(f"{exact} of {len(state)} files exactly as synced")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what")
    p.add_argument("file")
    p.add_argument("rest", nargs="*")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--ops", type=int, default=1000)
    p.add_argument("--size", type=int, default=1 << 20)
    p.add_argument("--direct", action="store_true")
    a = p.parse_args()
    if a.what == "fsx":
        Fsx(a.file, a.seed, a.size, a.direct).run(a.ops)
    elif a.what == "work":
        work(a.file, a.rest[0], a.seed)
    elif a.what == "recovered":
        recovered(a.file, a.rest[0])
    elif a.what == "extents":
        print(len(extents(a.file)))
    elif a.what == "where":
        for e in extents(a.file):
            print(e[0], e[1], e[2], hex(e[3]))
    elif a.what == "pattern":
        fd = os.open(a.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        data = pattern(int(a.rest[0]), int(a.rest[1]))
        done = 0
        while done < len(data):
            done += os.write(fd, data[done:])
        os.fsync(fd)
    elif a.what == "verify":
        with open(a.file, "rb") as f:
            check(f.read(), pattern(int(a.rest[0]), int(a.rest[1])), a.file)
    else:
        {"sparse": sparse, "append": append, "direct": direct, "mmap": map_file,
         "rwf": rwf, "nowait": nowait, "fill": fill}[a.what](a.file)


main()
