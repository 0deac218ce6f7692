#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What fsync promises, held against what is there after the file system was stopped.

conform_ops.py promise DIR LOG SEED   until the file system stops; LOG is elsewhere
conform_ops.py kept DIR LOG           all that was promised is there
conform_ops.py edges FILE             the end of a file, mapped and not
"""
import errno
import hashlib
import mmap
import os
import random
import sys

from data_lib import COLLAPSE, INSERT, KEEP, PAGE, PUNCH, ZERO, fail, fallocate, link_open

GONE = "-"


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


class Promises:
    """Each change is logged before it begins, and when fsync said that it is durable."""

    def __init__(self, top, log, seed):
        self.top = top
        self.log = open(log, "a")
        self.rng = random.Random(seed)
        self.bytes = {}

    def say(self, what, changes):
        for name, state in changes.items():
            self.log.write(f"{what} {name} {state}\n")
        self.log.flush()

    def change(self, changes, calls):
        """`changes`: what the names come to hold, None for nothing."""
        states = {n: GONE if d is None else digest(d) for n, d in changes.items()}
        self.say("may", states)
        calls()
        self.say("is", states)
        self.bytes.update(changes)

    def sync_dir(self):
        fd = os.open(self.top, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def some(self):
        there = [n for n, d in self.bytes.items() if d is not None]
        return self.rng.choice(there) if there else None

    def create(self, tmp):
        name = f"f{self.rng.randrange(300)}"
        if self.bytes.get(name) is not None:
            return
        data = self.rng.randbytes(self.rng.choice((0, 10, 4096, 70_000)))

        def calls():
            flags = os.O_TMPFILE if tmp else os.O_CREAT | os.O_EXCL
            fd = os.open(self.top if tmp else f"{self.top}/{name}", flags | os.O_RDWR)
            os.pwrite(fd, data, 0)
            if tmp:
                link_open(fd, f"{self.top}/{name}")
            os.fsync(fd)
            os.close(fd)
        self.change({name: data}, calls)

    def change_bytes(self, name):
        """Several calls, one fsync: in between anything may be there, so it goes by a name of
        which nothing is promised meanwhile."""
        old = bytearray(self.bytes[name])
        self.say("any", {name: "?"})
        fd = os.open(f"{self.top}/{name}", os.O_RDWR)
        for _ in range(self.rng.randrange(1, 5)):
            at = self.rng.randrange(40) * PAGE
            n = self.rng.randrange(1, 9) * PAGE
            how = self.rng.randrange(7)
            if how == 0:
                more = self.rng.randbytes(self.rng.randrange(1, n))
                at = self.rng.randrange(len(old) + 1)
                os.pwrite(fd, more, at)
                old[at:at + len(more)] = more
            elif how == 1:
                os.ftruncate(fd, at + 77)
                old = bytearray(old[:at + 77].ljust(at + 77, b"\0"))
            elif how in (2, 3):
                mode = PUNCH | KEEP if how == 2 else ZERO
                fallocate(fd, mode, at + 5, n)
                if how == 3:
                    old.extend(bytes(max(0, at + 5 + n - len(old))))
                end = min(len(old), at + 5 + n)
                old[at + 5:end] = bytes(max(0, end - at - 5))
            elif how == 4:
                fallocate(fd, KEEP, at, n)
            elif how == 5 and at + n < len(old):
                fallocate(fd, COLLAPSE, at, n)
                del old[at:at + n]
            elif how == 6 and at < len(old):
                fallocate(fd, INSERT, at, n)
                old[at:at] = bytes(n)
        os.fsync(fd) if self.rng.random() < .5 else os.fdatasync(fd)
        os.close(fd)
        self.bytes[name] = bytes(old)
        self.say("is", {name: digest(old)})

    def rename(self, name):
        to = f"f{self.rng.randrange(300)}"
        if to == name:
            return
        data = self.bytes[name]

        def calls():
            os.rename(f"{self.top}/{name}", f"{self.top}/{to}")
            self.sync_dir()
        self.change({name: None, to: data}, calls)

    def unlink(self, name):
        def calls():
            os.unlink(f"{self.top}/{name}")
            self.sync_dir()
        self.change({name: None}, calls)

    def run(self):
        while True:
            name = self.some()
            how = self.rng.randrange(10)
            if name is None or how < 4:
                self.create(how == 0)
            elif how < 7:
                self.change_bytes(name)
            elif how < 9:
                self.rename(name)
            else:
                self.unlink(name)


def promise(top, log, seed):
    os.makedirs(top, exist_ok=True)
    p = Promises(top, log, int(seed))
    for name in os.listdir(top):
        with open(f"{top}/{name}", "rb") as f:
            p.bytes[name] = f.read()
        p.say("is", {name: digest(p.bytes[name])})
    try:
        p.run()
    except OSError as e:
        if e.errno not in (errno.EIO, errno.EROFS, errno.ENOSPC):
            raise
        if e.errno == errno.ENOSPC:
            fail("the volume is too small for this")


def kept(top, log):
    allowed = {}
    count = 0
    for line in open(log):
        what, name, state = line.split()
        if what == "is":
            allowed[name] = {state}
            count += 1
        else:
            allowed.setdefault(name, {GONE}).add(state)
    if count < 10:
        fail(f"only {count} promises were made")
    for name, states in allowed.items():
        try:
            with open(f"{top}/{name}", "rb") as f:
                state = digest(f.read())
        except FileNotFoundError:
            state = GONE
        if state not in states and not ("?" in states and state != GONE):
            fail(f"{name} is {state}, not one of {states}")
    print(f"{count} promises kept")


def edges(path):
    """Bytes behind the end, written through a mapping, never come to be seen."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for size in (1, 100, PAGE - 1, PAGE + 5, 3 * PAGE + 2048):
        for grow in ("truncate", "write", "fallocate", "append", "direct"):
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"x" * size, 0)
            whole = -(-size // PAGE) * PAGE
            # (Python maps no more than there is.)
            os.ftruncate(fd, whole)
            m = mmap.mmap(fd, whole)
            os.ftruncate(fd, size)
            m[size:] = b"Z" * (len(m) - size)
            m.flush()
            end = 6 * PAGE
            if grow == "truncate":
                os.ftruncate(fd, end)
            elif grow == "write":
                os.pwrite(fd, b"", end)
                os.pwrite(fd, b"y", end - 1)
            elif grow == "fallocate":
                fallocate(fd, 0, 0, end)
            elif grow == "append":
                end = size + 1
                other = os.open(path, os.O_WRONLY | os.O_APPEND)
                os.write(other, b"y")
                os.close(other)
            else:
                other = os.open(path, os.O_WRONLY | os.O_DIRECT)
                buf = mmap.mmap(-1, PAGE)
                buf.write(b"y" * PAGE)
                os.pwrite(other, buf, end - PAGE)
                os.close(other)
            m.close()
            for again in (False, True):
                got = os.pread(fd, 8 * PAGE, 0)
                if len(got) != end or got[:size] != b"x" * size or b"Z" in got:
                    fail(f"{size} bytes, grown by {grow}: {len(got)} bytes, {got.count(b'Z')} of "
                         f"them from behind the end{', read again' if again else ''}")
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
