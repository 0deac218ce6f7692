# SPDX-License-Identifier: GPL-2.0
"""Random operations on a file, each checked against a model in memory."""
import ctypes
import errno
import hashlib
import mmap
import os
import random
import sys

from data_lib import (COLLAPSE, INSERT, KEEP, PAGE, PUNCH, ZERO, check, fail, fallocate)


class Fsx:
    """A file and what should be in it."""

    def __init__(self, path, seed, size, direct):
        self.path, self.size, self.direct = path, size, direct
        self.random = random.Random(seed)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.dfd = os.open(path, os.O_RDWR | os.O_DIRECT) if direct else None
        self.model = bytearray()
        self.buf = mmap.mmap(-1, max(size, PAGE))
        self.log = []

    def span(self, limit):
        at = self.random.randrange(limit)
        n = int(min(limit - at, 1 << self.random.randrange(0, 18)))
        n = self.random.randint(1, max(n, 1))
        if self.random.random() < .25:
            at &= ~(PAGE - 1)
        if self.random.random() < .25:
            n = min(max(PAGE, n & ~(PAGE - 1)), limit - at)
        return at, n

    def put(self, at, data):
        if len(self.model) < at:
            self.model += b"\0" * (at - len(self.model))
        self.model[at:at + len(data)] = data

    def write(self):
        at, n = self.span(self.size)
        self.log.append(f"write {at} {n}")
        data = self.random.randbytes(n)
        done = 0
        while done < n:
            done += os.pwrite(self.fd, data[done:], at + done)
        self.put(at, data)

    def append(self):
        n = self.random.randint(1, 20000)
        if len(self.model) + n > self.size:
            return self.truncate()
        self.log.append(f"append {len(self.model)} {n}")
        data = self.random.randbytes(n)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            if os.write(fd, data) != n:
                fail("short append")
        finally:
            os.close(fd)
        self.put(len(self.model), data)

    def direct_write(self):
        at, n = self.span(self.size)
        unit = 512 if self.random.random() < .5 else PAGE
        at, n = at & -unit, max(n & -unit, unit)
        n = min(n, self.size - at) & -unit
        if n <= 0:
            return
        self.log.append(f"direct write {at} {n}")
        data = self.random.randbytes(n)
        self.buf[:n] = data
        if os.pwritev(self.dfd, [memoryview(self.buf)[:n]], at) != n:
            fail(f"short direct write at {at} of {n}")
        self.put(at, data)

    def direct_read(self):
        if not self.model:
            return
        at, n = self.span(len(self.model))
        at, n = at & ~511, max((n + 511) & ~511, 512)
        n = min(n, len(self.buf) & ~511)
        self.log.append(f"direct read {at} {n}")
        got = os.preadv(self.dfd, [memoryview(self.buf)[:n]], at)
        check(self.buf[:got], self.model[at:at + n], f"direct read {at} {n}")

    def read(self):
        if not self.model:
            return
        at, n = self.span(len(self.model))
        self.log.append(f"read {at} {n}")
        check(os.pread(self.fd, n, at), self.model[at:at + n], f"read {at} {n}")

    def truncate(self):
        n = self.random.randrange(self.size)
        if self.random.random() < .1:
            n = 0
        self.log.append(f"truncate {len(self.model)} -> {n}")
        os.ftruncate(self.fd, n)
        if n < len(self.model):
            del self.model[n:]
        else:
            self.put(n, b"")

    def allocate(self):
        at, n = self.span(self.size)
        keep = self.random.random() < .5
        self.log.append(f"allocate {at} {n} {keep}")
        fallocate(self.fd, KEEP if keep else 0, at, n)
        if not keep:
            self.put(max(at + n, len(self.model)), b"")

    def punch(self):
        at, n = self.span(self.size)
        self.log.append(f"punch {at} {n}")
        fallocate(self.fd, PUNCH | KEEP, at, n)
        have = max(min(n, len(self.model) - at), 0)
        if have:
            self.model[at:at + have] = b"\0" * have

    def zero(self):
        at, n = self.span(self.size)
        keep = self.random.random() < .5
        self.log.append(f"zero {at} {n} {keep}")
        fallocate(self.fd, ZERO | (KEEP if keep else 0), at, n)
        have = max(min(n, len(self.model) - at), 0) if keep else n
        if have:
            self.put(at, b"\0" * have)

    def collapse(self):
        at, n = (x & -PAGE for x in self.span(self.size))
        if n == 0 or at + n >= len(self.model):
            return
        self.log.append(f"collapse {at} {n}")
        fallocate(self.fd, COLLAPSE, at, n)
        del self.model[at:at + n]

    def insert(self):
        at, n = (x & -PAGE for x in self.span(self.size))
        n = min(n, (self.size - len(self.model)) & -PAGE)
        if n <= 0 or at >= len(self.model):
            return
        self.log.append(f"insert {at} {n}")
        fallocate(self.fd, INSERT, at, n)
        self.model[at:at] = b"\0" * n

    def map(self, write):
        if not self.model:
            return
        at, n = self.span(len(self.model))
        base = at & ~(PAGE - 1)
        with mmap.mmap(self.fd, at - base + n, offset=base) as m:
            if write:
                self.log.append(f"map write {at} {n}")
                data = self.random.randbytes(n)
                m[at - base:at - base + n] = data
                self.put(at, data)
                # Behind the end of file, in its page: must never be seen again.
                if at + n == len(self.model) and (at + n) % PAGE:
                    tail = PAGE - (at + n) % PAGE
                    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(m)) + at - base + n,
                                  0xEE, min(tail, 64))
                if self.random.random() < .2:
                    m.flush()
            else:
                self.log.append(f"map read {at} {n}")
                check(m[at - base:at - base + n], self.model[at:at + n], f"map read {at} {n}")

    def sync(self):
        self.log.append("fsync")
        (os.fsync if self.random.random() < .5 else os.fdatasync)(self.fd)

    def forget(self):
        self.log.append("drop the page cache")
        os.fdatasync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def seek(self):
        """Data is never reported as a hole."""
        if not self.model:
            return
        at = self.random.randrange(len(self.model))
        self.log.append(f"seek {at}")
        try:
            data = os.lseek(self.fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            data = len(self.model)
        if any(self.model[at:data]):
            fail(f"SEEK_DATA from {at} skips data before {data}")
        hole = os.lseek(self.fd, at, os.SEEK_HOLE)
        if not at <= hole <= len(self.model):
            fail(f"SEEK_HOLE from {at} says {hole} of {len(self.model)}")

    def run(self, count):
        ops = [(self.write, 20), (self.append, 8), (self.read, 15), (self.truncate, 10),
               (lambda: self.map(True), 12), (lambda: self.map(False), 8), (self.sync, 3),
               (self.forget, 3), (self.seek, 3), (self.allocate, 5), (self.punch, 7),
               (self.zero, 7), (self.collapse, 6), (self.insert, 6)]
        if self.direct:
            ops += [(self.direct_write, 10), (self.direct_read, 8)]
        try:
            for i in range(count):
                self.random.choices([o for o, _ in ops], [w for _, w in ops])[0]()
                size = os.fstat(self.fd).st_size
                if size != len(self.model):
                    fail(f"size {size} for {len(self.model)}")
                if i % 100 == 99:
                    self.forget()
                    check(os.pread(self.fd, self.size + 1, 0), self.model, "whole file")
        except BaseException:
            print("\n".join(self.log[-40:]), file=sys.stderr)
            raise
        self.forget()
        check(os.pread(self.fd, self.size + 1, 0), self.model, "whole file at the end")
        print(hashlib.sha256(self.model).hexdigest())
