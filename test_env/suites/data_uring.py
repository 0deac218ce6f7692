#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Files through io_uring: data_uring.py FILE"""
import ctypes
import errno
import mmap
import os
import random
import struct
import sys

from data_lib import COLLAPSE, PAGE, PUNCH, KEEP, check, fail

READV, WRITEV, FSYNC, FALLOCATE = 1, 2, 3, 17
RWF_NOWAIT = 8
libc = ctypes.CDLL(None, use_errno=True)


class Ring:
    """An io_uring of 64 entries."""

    def __init__(self):
        params = ctypes.create_string_buffer(120)
        self.fd = libc.syscall(425, 64, params)
        if self.fd < 0:
            e = ctypes.get_errno()
            if e in (errno.ENOSYS, errno.EPERM):
                print("skip: no io_uring here")
                sys.exit(0)
            raise OSError(e, "io_uring_setup")
        words = struct.unpack("<30I", params.raw)
        # head, tail, ring_mask, ring_entries, flags, dropped, array, of the submission queue;
        # head, tail, ring_mask, ring_entries, overflow, cqes, of the completion queue.
        self.sq, self.cq = words[10:17], words[20:26]
        entries, cq_entries = words[0], words[1]
        size = max(self.sq[6] + entries * 4, self.cq[5] + cq_entries * 16)
        self.ring = mmap.mmap(self.fd, size, offset=0)
        self.sqes = mmap.mmap(self.fd, entries * 64, offset=0x10000000)

    def get(self, at):
        return struct.unpack_from("<I", self.ring, at)[0]

    def set(self, at, v):
        struct.pack_into("<I", self.ring, at, v)

    def run(self, requests):
        """Submits requests (op, fd, offset, address, length, flags), waits for all, returns results."""
        tail, mask = self.get(self.sq[1]), self.get(self.sq[2])
        for i, (op, fd, off, addr, n, flags) in enumerate(requests):
            slot = (tail + i) & mask
            struct.pack_into("<BBHiQQIIQ", self.sqes, slot * 64, op, 0, 0, fd, off, addr, n, flags, i)
            self.sqes[slot * 64 + 40:slot * 64 + 64] = b"\0" * 24
            self.set(self.sq[6] + 4 * slot, slot)
        self.set(self.sq[1], tail + len(requests))
        if libc.syscall(426, self.fd, len(requests), len(requests), 1, None, 0) != len(requests):
            raise OSError(ctypes.get_errno(), "io_uring_enter")
        head, mask = self.get(self.cq[0]), self.get(self.cq[2])
        results = {}
        for i in range(len(requests)):
            data, res, _ = struct.unpack_from("<QiI", self.ring, self.cq[5] + 16 * ((head + i) & mask))
            results[data] = res
        self.set(self.cq[0], head + len(requests))
        return [results[i] for i in range(len(requests))]


class Buffer:
    """Page-aligned memory with its iovec."""

    def __init__(self, size):
        self.map = mmap.mmap(-1, size)
        self.iov = ctypes.create_string_buffer(16)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        struct.pack_into("<QQ", self.iov, 0, start, size)
        self.addr = ctypes.addressof(self.iov)


def main():
    path, rnd, ring = sys.argv[1], random.Random(3), Ring()
    piece = 16 * PAGE
    for flags in (0, os.O_DIRECT):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags)
        model = bytearray(64 * piece)
        for _ in range(6):
            bufs = []
            requests = []
            for at in rnd.sample(range(64), 20):
                buf = Buffer(piece)
                buf.map[:] = rnd.randbytes(piece)
                model[at * piece:(at + 1) * piece] = buf.map[:]
                bufs.append(buf)
                requests.append((WRITEV, fd, at * piece, buf.addr, 1, 0))
            results = ring.run(requests)
            if results != [piece] * 20:
                fail(f"writes give {results}")
            if ring.run([(FSYNC, fd, 0, 0, 0, 0)]) != [0]:
                fail("fsync")
        size = os.fstat(fd).st_size
        # Their lengths go where addresses go.
        done = ring.run([(FALLOCATE, fd, 0, 4 * piece, PUNCH | KEEP, 0)])
        model[0:4 * piece] = b"\0" * (4 * piece)
        done += ring.run([(FALLOCATE, fd, 8 * piece, piece, COLLAPSE, 0)])
        del model[8 * piece:9 * piece]
        if done != [0, 0]:
            fail(f"fallocate gives {done}")
        size -= piece
        bufs = [Buffer(piece) for _ in range(size // piece)]
        results = ring.run([(READV, fd, i * piece, b.addr, 1, 0) for i, b in enumerate(bufs)][:60])
        for i, n in enumerate(results):
            check(bufs[i].map[:max(n, 0)], model[i * piece:min((i + 1) * piece, size)], f"piece {i}")
        # What would sleep says so; what is there comes. (An empty page cache must be read.)
        n = ring.run([(READV, fd, 5 * piece, bufs[0].addr, 1, RWF_NOWAIT)])[0]
        if n not in (piece, -errno.EAGAIN):
            fail(f"a read that must not wait gives {n}")
        os.close(fd)


main()
