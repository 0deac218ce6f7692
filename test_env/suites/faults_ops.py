#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Calls while the kernel refuses memory to this task.

faults_ops.py DIR SECONDS SEED     calls of all sorts
faults_ops.py written DIR SEED     files that are written back meanwhile
faults_ops.py same DIR SEED        those files are as they were written
faults_ops.py cut DIR SEED         files that are cut, and grow again
faults_ops.py mount DEVICE DIR     status 1 when that is refused
faults_ops.py remount DIR ro|rw    the same
"""
import ctypes
import errno
import mmap
import os
import random
import sys
import time

from data_lib import COLLAPSE, INSERT, KEEP, PUNCH, ZERO, fallocate, libc, link_open

# What the names say: a link to a directory is EPERM, a symlink to a long name ENAMETOOLONG.
ALLOWED = {errno.ENOMEM, errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR,
           errno.EINVAL, errno.ENODATA, errno.ENOSPC, errno.EXDEV, errno.ESTALE, errno.EPERM,
           errno.ENAMETOOLONG}


MS_RDONLY, MS_REMOUNT = 1, 32

# Open beforehand: to open it again would be refused, too.
SWITCH = os.open("/proc/self/make-it-fail", os.O_WRONLY)


def refuse(on):
    while True:
        try:
            os.pwrite(SWITCH, b"1" if on else b"0", 0)
            return
        except (MemoryError, OSError):
            if on:
                raise


class Calls:
    def __init__(self, top, seed):
        self.top = top
        self.rng = random.Random(seed)
        self.data = self.rng.randbytes(1 << 18)

    def name(self):
        """A name of some length, so that trees have levels; few enough to meet again."""
        n = self.rng.randrange(600)
        return f"{self.top}/d{n % 3}/{n:x}{'-' * (n % 7 * 20)}"

    def create(self):
        os.close(os.open(self.name(), os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    def write(self):
        fd = os.open(self.name(), os.O_RDWR | os.O_CREAT)
        try:
            for _ in range(4):
                n = self.rng.choice((100, 5000, 70_000, 1 << 18))
                os.pwrite(fd, self.data[:n], self.rng.randrange(1 << 21))
            if self.rng.random() < .3:
                os.fsync(fd)
        finally:
            os.close(fd)

    def read(self):
        fd = os.open(self.name(), os.O_RDONLY)
        try:
            os.pread(fd, 1 << 20, self.rng.randrange(1 << 20))
        finally:
            os.close(fd)

    def direct(self):
        fd = os.open(self.name(), os.O_RDWR | os.O_DIRECT)
        try:
            m = mmap.mmap(-1, 1 << 16)
            m.write(self.data[:1 << 16])
            os.pwritev(fd, [m], self.rng.randrange(256) * 4096)
            os.preadv(fd, [m], self.rng.randrange(256) * 4096)
        finally:
            os.close(fd)

    def ranges(self):
        fd = os.open(self.name(), os.O_RDWR)
        try:
            mode = self.rng.choice((0, KEEP, PUNCH | KEEP, ZERO, COLLAPSE, INSERT))
            fallocate(fd, mode, self.rng.randrange(256) * 4096, self.rng.randrange(1, 64) * 4096)
        finally:
            os.close(fd)

    def truncate(self):
        os.truncate(self.name(), self.rng.randrange(1 << 21))

    def unlink(self):
        os.unlink(self.name())

    def rename(self):
        os.rename(self.name(), self.name())

    def link(self):
        os.link(self.name(), self.name())

    def symlink(self):
        os.symlink("t" * self.rng.choice((10, 200, 3000)), self.name())

    def mkdir(self):
        name = self.name()
        os.mkdir(name)
        os.close(os.open(f"{name}/within", os.O_CREAT | os.O_WRONLY))
        os.unlink(f"{name}/within")
        os.rmdir(name)

    def tmpfile(self):
        fd = os.open(f"{self.top}/d0", os.O_TMPFILE | os.O_RDWR)
        try:
            os.write(fd, self.data[:9000])
            link_open(fd, self.name())
        finally:
            os.close(fd)

    def xattr(self):
        name = self.name()
        n = self.rng.randrange(9)
        os.setxattr(name, f"user.{n}", self.data[:self.rng.choice((3, 300, 9000))])
        os.getxattr(name, f"user.{self.rng.randrange(9)}")
        os.removexattr(name, f"user.{self.rng.randrange(9)}")

    def list(self):
        os.listdir(f"{self.top}/d{self.rng.randrange(3)}")

    def attributes(self):
        name = self.name()
        os.chmod(name, self.rng.randrange(0o1000))
        os.chown(name, self.rng.randrange(50), self.rng.randrange(50))
        os.utime(name)
        os.stat(name)

    def sync(self):
        fd = os.open(self.top, os.O_RDONLY)
        try:
            libc.syncfs(fd) if self.rng.random() < .2 else os.fsync(fd)
        finally:
            os.close(fd)


def calls(top, seconds, seed):
    for d in range(3):
        os.mkdir(f"{top}/d{d}")
    c = Calls(top, seed)
    each = [getattr(c, n) for n in ("create write write read direct ranges ranges truncate unlink "
                                    "rename link symlink mkdir tmpfile xattr list attributes "
                                    "sync").split()]
    refused = done = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        call = c.rng.choice(each)
        refuse(True)
        try:
            call()
            done += 1
        except MemoryError:
            refused += 1
        except OSError as e:
            refused += e.errno == errno.ENOMEM
            done += e.errno != errno.ENOMEM
            if e.errno not in ALLOWED:
                raise
        finally:
            refuse(False)
    print(f"{done} calls done, {refused} refused")
    if not refused or not done:
        sys.exit("nothing was refused, or everything")


def files(top, seed):
    """Names of files, and what is written to them: pieces with holes between them."""
    rng = random.Random(seed)
    for i in range(60):
        pieces = [(rng.randrange(1 << 20), rng.randbytes(rng.choice((100, 5000, 70_000))))
                  for _ in range(rng.randrange(1, 9))]
        yield f"{top}/f{i}", pieces


def written(top, seed):
    """What write() took is not lost because there was no memory when it was written back."""
    for name, pieces in files(top, seed):
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        for at, data in pieces:
            os.pwrite(fd, data, at)
        while True:
            refuse(True)
            try:
                os.fsync(fd)
                break
            except MemoryError:
                pass
            except OSError as e:
                if e.errno != errno.ENOMEM:
                    raise
            finally:
                refuse(False)
        os.close(fd)


def same(top, seed):
    for name, pieces in files(top, seed):
        want = bytearray(max(at + len(data) for at, data in pieces))
        for at, data in pieces:
            want[at:at + len(data)] = data
        with open(name, "rb") as f:
            if f.read() != want:
                sys.exit(f"{name}: not what was written")


def cut(top, seed):
    """What a refused truncate() leaves behind the end of file does not come back when the file grows: in
    core, dropped and read again, or without a name until then."""
    rng = random.Random(seed)
    drop = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
    refused, whole = 0, 1 << 20
    for i in range(60):
        name = f"{top}/cut{i}"
        if i % 2:
            fd = os.open(top, os.O_TMPFILE | os.O_RDWR)
        else:
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        # So many extents that they take a tree.
        data = bytearray(whole)
        for at in range(0, whole, 8192):
            data[at:at + 4096] = rng.randbytes(4096)
            os.pwrite(fd, data[at:at + 4096], at)
        os.fsync(fd)
        size = rng.randrange(whole - 4096)
        refuse(True)
        try:
            os.ftruncate(fd, size)
        except (MemoryError, OSError) as e:
            if not isinstance(e, MemoryError) and e.errno != errno.ENOMEM:
                raise
            refused += 1
        finally:
            refuse(False)
        if os.fstat(fd).st_size != size:
            size = whole
        if i % 2:
            link_open(fd, name)
        os.close(fd)
        if i % 4 > 1:
            os.sync()
            # What was looked at a moment ago is spared the first time.
            for _ in range(2):
                os.pwrite(drop, b"3", 0)
        fd = os.open(name, os.O_RDWR)
        now = os.fstat(fd).st_size
        if now != size:
            # It could not even begin, and the inode was dropped: the cut was not made, but for the rest
            # of the last block.
            end = size + -size % 4096
            data[size:end] = bytes(end - size)
            os.pwrite(fd, bytes(end - size), size)
        os.ftruncate(fd, 2 * whole)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if os.pread(fd, 2 * whole, 0) != data[:now] + bytes(2 * whole - now):
            sys.exit(f"{name}: {now} bytes, then zeroes are not what it holds")
        os.close(fd)
    print(f"{refused} of 60 cuts refused")
    if not 0 < refused < 60:
        sys.exit("nothing was refused, or everything")


def refused_mount(*args):
    """mount(2) alone: a program of its own would be refused memory itself. Status 1 when it is refused."""
    refuse(True)
    r = libc.mount(*args)
    e = ctypes.get_errno()
    refuse(False)
    if r != 0:
        if e != errno.ENOMEM:
            print(f"mount: {os.strerror(e)}")
            sys.exit(2)
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "mount":
        refused_mount(sys.argv[2].encode(), sys.argv[3].encode(), b"vexfs", 0, None)
    elif sys.argv[1] == "written":
        written(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "remount":
        flags = MS_REMOUNT | (MS_RDONLY if sys.argv[3] == "ro" else 0)
        refused_mount(None, sys.argv[2].encode(), None, flags, None)
    elif sys.argv[1] == "cut":
        cut(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "same":
        same(sys.argv[2], int(sys.argv[3]))
    else:
        calls(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
