#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Large directories, large files, full volumes.

large_ops.py entries DIR COUNT        make them, then look at them
large_ops.py entries_after DIR COUNT  look at them again, by name and by listing
large_ops.py entries_gone DIR COUNT   remove them
large_ops.py sparse FILE COUNT        a file of 1 TiB with that many extents
large_ops.py sparse_after FILE COUNT  look at it, punch and cut it
large_ops.py fill DIR                 until not a block is left
large_ops.py space DIR                what is free: blocks and inodes
"""
import errno
import os
import random
import shutil
import stat
import sys

from data_lib import PAGE, PUNCH, KEEP, extents, fail, fallocate

TIB = 1 << 40


# Every tenth is a file of its own, so that there are inodes by the hundred thousand too; the
# others are further names of the last one.
def name(i):
    return f"{i:x}-a name of an ordinary length-{i * 2654435761 % 2**32:08x}"


def entries(top, count):
    os.mkdir(f"{top}/many")
    at = os.open(f"{top}/many", os.O_RDONLY)
    for i in range(count):
        if i % 10 == 0:
            last = name(i)
            os.mknod(last, stat.S_IFREG | 0o644, dir_fd=at)
        else:
            os.link(last, name(i), src_dir_fd=at, dst_dir_fd=at)
    os.fsync(at)
    look(top, count, 0)


def look(top, count, start):
    """Names are found, and no other; a listing has each once."""
    at = os.open(f"{top}/many", os.O_RDONLY)
    rng = random.Random(count)
    for i in [0, count - 1, *(rng.randrange(start, count) for _ in range(2000))]:
        if i >= start:
            s = os.stat(name(i), dir_fd=at)
            if s.st_nlink not in (10, count % 10) and start == 0:
                fail(f"entry {i} has {s.st_nlink} links")
        try:
            os.stat(name(count + i), dir_fd=at)
            fail(f"entry {count + i} was never made")
        except FileNotFoundError:
            pass
    seen = os.listdir(at)
    if len(seen) != count - start or set(seen) != {name(i) for i in range(start, count)}:
        fail(f"{len(seen)} entries are listed, {len(set(seen))} different ones, "
             f"{count - start} are there")


def entries_after(top, count):
    look(top, count, 0)


def entries_gone(top, count):
    """A tenth by name; the rest as rm does it, in the order of the listing."""
    at = os.open(f"{top}/many", os.O_RDONLY)
    for i in range(count // 10):
        os.unlink(name(i), dir_fd=at)
    look(top, count, count // 10)
    os.close(at)
    shutil.rmtree(f"{top}/many")


# --- A sparse file -------------------------------------------------------------------------

def places(count):
    """Where the extents are: spread over all of it, one in the last block."""
    step = TIB // count // PAGE * PAGE
    return [i * step for i in range(count - 1)] + [TIB - PAGE]


def mark(i):
    return i.to_bytes(8, "little") * (PAGE // 8)


def sparse(path, count):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    at = places(count)
    order = list(range(count))
    random.Random(count).shuffle(order)
    for i in order:
        os.pwrite(fd, mark(i), at[i])
    os.fsync(fd)
    whole(fd, path, at)


def whole(fd, path, at):
    s = os.fstat(fd)
    if s.st_size != TIB:
        fail(f"the size is {s.st_size}")
    # The tree of the extents is counted too.
    if not len(at) <= s.st_blocks // 8 <= len(at) * 1.1 + 10:
        fail(f"{s.st_blocks // 8} blocks for {len(at)} of data")
    is_at = [e[0] for e in extents(path)]
    if is_at != at:
        fail(f"{len(is_at)} extents, not {len(at)}, or elsewhere")
    # Data is where SEEK_DATA says, from one extent to the next.
    where = 0
    for i, a in enumerate(at[:3000]):
        where = os.lseek(fd, where, os.SEEK_DATA)
        if where != a:
            fail(f"data at {where}, not at {a}")
        where = os.lseek(fd, where, os.SEEK_HOLE)
        if os.pread(fd, PAGE, a) != mark(i):
            fail(f"the bytes at {a} are others")
        if where < TIB and os.pread(fd, PAGE, where) != bytes(PAGE):
            fail(f"the hole at {where} has bytes")


def sparse_after(path, count):
    fd = os.open(path, os.O_RDWR)
    at = places(count)
    whole(fd, path, at)
    # A third goes as a hole, a third by truncation.
    third = count // 3
    fallocate(fd, PUNCH | KEEP, at[third], at[2 * third] - at[third])
    if [e[0] for e in extents(path)] != at[:third] + at[2 * third:]:
        fail("the hole is not what was punched")
    os.ftruncate(fd, at[2 * third])
    if [e[0] for e in extents(path)] != at[:third]:
        fail("more or less was cut off")
    os.ftruncate(fd, TIB)
    if os.pread(fd, PAGE, at[-1]) != bytes(PAGE):
        fail("what was cut off is back")
    os.fsync(fd)


# --- A full volume ---------------------------------------------------------------------------

def until_full(what):
    try:
        while True:
            what()
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise


def fill(top):
    """By large files, then smaller pieces, then names: until each of them is refused."""
    os.mkdir(f"{top}/full")
    fd = os.open(f"{top}/full/large", os.O_WRONLY | os.O_CREAT)
    other = os.open(f"{top}/full/other", os.O_RDWR | os.O_CREAT)
    piece = os.urandom(1 << 20)
    # Buffered: what write took without an error, fsync must be able to write.
    until_full(lambda: os.write(fd, piece))
    os.fsync(fd)
    until_full(lambda: os.write(fd, piece[:PAGE]))
    os.fsync(fd)
    # Preallocated, to the last block.
    size = 1 << 20
    end = 0
    while size >= PAGE:
        try:
            fallocate(other, 0, end, size)
            end += size
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
            size //= 2
    n = 0

    def directory():
        nonlocal n
        os.mkdir(f"{top}/full/{n}")
        n += 1
    until_full(directory)

    def named():
        nonlocal n
        os.close(os.open(f"{top}/full/{n}-{'x' * 200}", os.O_WRONLY | os.O_CREAT))
        n += 1
    until_full(named)
    s = os.statvfs(top)
    if s.f_bavail > 8:
        fail(f"{s.f_bavail} blocks are said to be there")
    # What is there can be overwritten, and what was promised to it written.
    os.pwrite(fd, piece, 0)
    os.pwrite(other, b"promised" * (PAGE // 8), max(end - PAGE, 0)) if end else None
    os.fsync(fd)
    os.fsync(other)
    if os.pread(other, 8, end - PAGE) != b"promised" if end else False:
        fail("what fallocate promised cannot be written")
    got = os.open(f"{top}/full/large", os.O_RDONLY)
    if os.pread(got, len(piece), 0) != piece:
        fail("what was overwritten on a full volume is something else")
    print(f"{os.fstat(fd).st_size >> 20} MiB, {n} names")


def space(top):
    fd = os.open(top, os.O_RDONLY)
    s = os.fstatvfs(fd)
    print(s.f_bfree, s.f_bavail, s.f_files - s.f_ffree)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2], *map(int, sys.argv[3:]))
