# SPDX-License-Identifier: GPL-2.0
"""Probes of the contents of files: ranges, maps, direct I/O, mappings, limits."""
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import struct

from generic_lib import (APPEND, COLLAPSE, IMMUTABLE, INSERT, KEEP, PUNCH, WRITE_ZEROES,
                         ZERO, as_user, child, digest, error_name, fallocate, fiemap, ioctl,
                         merged, pattern, probe, segments, set_flags, syscall, with_fd)

B = 4096
MODES = [0, KEEP, PUNCH, PUNCH | KEEP, ZERO, ZERO | KEEP, COLLAPSE, INSERT, COLLAPSE | KEEP, INSERT | KEEP, PUNCH | KEEP | ZERO, COLLAPSE | INSERT,
         1 << 10, 4]
RANGES = [(0, B), (B, B), (1, B), (B, 1), (100, 50), (B - 1, 2), (3 * B, 4 * B), (3 * B + 7, 4 * B),
          (9 * B, B), (9 * B, 2 * B), (10 * B, B), (10 * B, 200), (11 * B, B), (20 * B, 2 * B),
          (0, 10 * B + 100), (0, 30 * B), (0, 0), (-B, B), (B, -B), (10 * B + 100, 1), (2 * B, 512)]


@probe
def fallocate_modes(rec):
    """Each mode on each range of a file of ten blocks and a bit."""
    for mode in MODES:
        for at, n in RANGES:
            path = rec.file("f", pattern(10 * B + 100))
            fd = os.open(path, os.O_RDWR)
            label = f"{mode:#x} {at}+{n}"
            rec.call(label, fallocate, fd, mode, at, n)
            os.fsync(fd)
            st = os.fstat(fd)
            blocks = sum(n for _, n, _ in fiemap(fd)[1]) // B
            rec.note(label + " after", (st.st_size, blocks, digest(path), segments(fd)))
            os.close(fd)
            os.unlink(path)


@probe
def fallocate_refused(rec):
    """Descriptors and files that it does not work on."""
    path = rec.file("f", pattern(4 * B))
    os.mkdir(rec.path("dir"))
    os.mkfifo(rec.path("fifo"))
    for name, flags in [("f", os.O_RDONLY), ("dir", os.O_RDONLY), ("fifo", os.O_RDWR),
                        ("f", os.O_RDWR | os.O_APPEND), ("f", os.O_PATH)]:
        for mode in [0, PUNCH | KEEP, ZERO, COLLAPSE, INSERT, WRITE_ZEROES]:
            rec.call(f"{name} {flags:o} {mode:#x}", with_fd, rec.path(name), flags,
                     lambda fd, mode=mode: fallocate(fd, mode, 0, B))
    for at, n in [(1 << 62, 1 << 62), ((1 << 63) - 1, 1), (0, (1 << 63) - 1), (1 << 45, B)]:
        for mode in [0, KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP, COLLAPSE, INSERT]:
            rec.call(f"{at:#x}+{n:#x} {mode:#x}", with_fd, path, os.O_RDWR,
                     lambda fd, a=at, n=n, m=mode: fallocate(fd, m, a, n))
    for flag in (IMMUTABLE, APPEND):
        fd = os.open(path, os.O_RDWR)
        set_flags(path, flag)
        for mode in [0, KEEP, PUNCH | KEEP, ZERO, COLLAPSE, INSERT]:
            rec.call(f"flag {flag:#x} {mode:#x}", fallocate, fd, mode, 0, B)
        set_flags(path, 0)
        os.close(fd)


@probe
def fallocate_insert_max(rec):
    """Inserting must not push data over the largest offset."""
    path = rec.file("f", b"x" * B)
    os.truncate(path, (1 << 44) - 3 * B)
    fd = os.open(path, os.O_RDWR)
    rec.call("over", fallocate, fd, INSERT, 0, 8 * B)
    rec.call("far over", fallocate, fd, INSERT, 0, 1 << 43)
    os.close(fd)


def with_limit(limit, f):
    """Runs f with RLIMIT_FSIZE; says what came of it and which signals came."""
    def run():
        got = []
        signal.signal(signal.SIGXFSZ, lambda n, _: got.append(signal.Signals(n).name))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            said = f()
        except OSError as e:
            said = error_name(e)
        return said, got
    return child(run)


@probe
def limit_of_size(rec):
    """RLIMIT_FSIZE."""
    limit = 2 * B + 100
    path = rec.file("f", b"")
    source = rec.file("source", pattern(4 * B))

    def opened(f, flags=0):
        return lambda: with_fd(path, os.O_RDWR | flags, f)

    def aligned(fd, at):
        return os.pwritev(fd, [mmap.mmap(-1, B)], at)

    def copied(fd):
        return with_fd(source, os.O_RDONLY, lambda s: os.copy_file_range(s, fd, 4 * B, 0, 0))

    def sent(fd):
        return with_fd(source, os.O_RDONLY, lambda s: os.sendfile(fd, s, 0, 4 * B))

    todo = {
        "short": opened(lambda fd: os.pwrite(fd, b"x" * 100, 0)),
        "over": opened(lambda fd: os.pwrite(fd, b"x" * 4 * B, 0)),
        "at": opened(lambda fd: os.pwrite(fd, b"x", limit)),
        "beyond": opened(lambda fd: os.pwrite(fd, b"x", limit + 5)),
        "none beyond": opened(lambda fd: os.pwrite(fd, b"", limit + 5)),
        "ftruncate": opened(lambda fd: os.ftruncate(fd, limit + 1)),
        "ftruncate to it": opened(lambda fd: os.ftruncate(fd, limit)),
        "truncate": lambda: os.truncate(path, limit + 1),
        "fallocate": opened(lambda fd: fallocate(fd, 0, 0, 3 * B)),
        "fallocate keep": opened(lambda fd: fallocate(fd, KEEP, 0, 3 * B)),
        "zero": opened(lambda fd: fallocate(fd, ZERO, 0, 3 * B)),
        "insert": opened(lambda fd: fallocate(fd, INSERT, 0, B)),
        "direct over": opened(lambda fd: aligned(fd, 2 * B), os.O_DIRECT),
        "direct at": opened(lambda fd: aligned(fd, 3 * B), os.O_DIRECT),
        "copy_file_range": opened(copied),
        "sendfile": opened(sent),
        "append": opened(lambda fd: os.write(fd, b"y" * B), os.O_APPEND),
    }
    for name, f in todo.items():
        os.truncate(path, 0)
        os.truncate(path, B)
        rec.note(name, (with_limit(limit, f), os.stat(path).st_size))


@probe
def maps(rec):
    """FIEMAP of written, unwritten, dirty and missing blocks."""
    path = rec.path("f")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    rec.note("empty", fiemap(fd))
    os.pwrite(fd, pattern(4 * B), 0)
    os.fsync(fd)
    fallocate(fd, 0, 8 * B, 8 * B)
    os.pwrite(fd, pattern(2 * B), 20 * B)
    os.fsync(fd)
    rec.note("all", merged(fiemap(fd)[1]))
    rec.note("last", [x[2] & 1 for x in fiemap(fd)[1]][-1])
    rec.note("from a hole", merged(fiemap(fd, 5 * B, B)[1]))
    rec.note("part of an extent", merged(fiemap(fd, B + 5, 10)[1]))
    rec.note("end of one", merged(fiemap(fd, 3 * B, 6 * B)[1]))
    rec.note("beyond the end", fiemap(fd, 100 * B, B))
    rec.note("count alone", fiemap(fd, count=0)[0])
    rec.note("room for one", (fiemap(fd, count=1)[0], [x[2] for x in fiemap(fd, count=1)[1]]))
    for flags in (0, 1, 2, 4, 8, 0x80000000):
        rec.call(f"flags {flags:#x}", lambda fl=flags: len(fiemap(fd, flags=fl)[1]) > 0)
    rec.call("no length", fiemap, fd, 0, 0)
    rec.call("start far", fiemap, fd, (1 << 63) + 5, 10)
    rec.call("long", lambda: len(fiemap(fd, B, (1 << 64) - 1)[1]))
    buf = bytearray(struct.pack("=QQIIII", 0, B, 0x40, 0, 1, 0) + bytes(56))
    try:
        fcntl.ioctl(fd, 0xC020660B, buf, True)
    except OSError as e:
        rec.note("unknown flag", (error_name(e), struct.unpack_from("=QQIIII", buf)[2]))
    # Preallocated behind the end.
    fallocate(fd, KEEP, 22 * B, 4 * B)
    rec.note("behind the end", merged(fiemap(fd)[1]))
    os.pwrite(fd, b"x", 9 * B)
    rec.note("dirty in unwritten", segments(fd))
    os.fsync(fd)
    rec.note("written in unwritten", merged(fiemap(fd)[1]))
    os.close(fd)
    rec.call("directory", lambda: with_fd(rec.dir, os.O_RDONLY, fiemap)[0] > 0)
    os.setxattr(path, "user.a", b"x" * 3000)
    rec.call("attributes", lambda: with_fd(path, os.O_RDONLY, lambda f: len(fiemap(f, flags=2)[1])))


@probe
def seeking(rec):
    """SEEK_DATA and SEEK_HOLE, everywhere."""
    fd = os.open(rec.path("f"), os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 40 * B + 7)
    os.pwrite(fd, b"x" * B, 4 * B)
    fallocate(fd, 0, 10 * B, 4 * B)
    rec.note("unwritten", segments(fd))
    os.pwrite(fd, b"y", 12 * B + 1)
    rec.note("dirty in unwritten", segments(fd))
    os.pwrite(fd, b"z", 30 * B + 5)
    rec.note("dirty in a hole", segments(fd))
    os.fsync(fd)
    rec.note("synced", segments(fd))
    fallocate(fd, PUNCH | KEEP, 4 * B, B)
    fallocate(fd, ZERO, 30 * B, B)
    rec.note("punched and zeroed", segments(fd))
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        for at in (-1, 0, 12 * B, 13 * B, 40 * B, 40 * B + 6, 40 * B + 7, 40 * B + 8, 1 << 62):
            rec.call(f"{whence} {at}", os.lseek, fd, at, whence)
    for whence, at in ((0, -1), (2, 5), (2, -(41 * B)), (1, -(1 << 62)), (7, 0), (0, 1 << 44),
                       (0, (1 << 44) + B)):
        rec.call(f"lseek {whence} {at}", os.lseek, fd, at, whence)
    os.ftruncate(fd, 0)
    rec.call("empty data", os.lseek, fd, 0, os.SEEK_DATA)
    rec.call("empty hole", os.lseek, fd, 0, os.SEEK_HOLE)
    os.close(fd)


def buffer(n, shift=0):
    """Memory that begins `shift` bytes behind the begin of a page."""
    area = mmap.mmap(-1, n + 2 * B)
    return memoryview(area)[shift:shift + n]


@probe
def direct(rec):
    """O_DIRECT with and without what devices ask for."""
    path = rec.file("f", pattern(6 * B + 100))
    os.sync()
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    for shift, n, at in [(0, B, 0), (1, B, 0), (4, B, 0), (512, B, 0), (256, B, 0), (0, 512, 0),
                         (0, 511, 0), (0, B, 512), (0, B, 100), (0, 100, 0), (0, 8 * B, 0),
                         (0, B, 6 * B), (0, 512, 6 * B), (0, B, 7 * B), (0, B, 1 << 40), (0, 0, 0),
                         (0, 0, 17), (0, 2 * B, 5 * B), (0, 512, 6 * B + 512)]:
        rec.call(f"read {n}@{at} memory {shift}", lambda s=shift, n=n, a=at: os.preadv(
            fd, [buffer(n, s)], a))
        data = buffer(n, shift)
        data[:] = pattern(n, 7)
        rec.call(f"write {n}@{at} memory {shift}", os.pwritev, fd, [data], at)
        rec.note(f"then {n}@{at} {shift}", (os.fstat(fd).st_size, os.fstat(fd).st_size < 1 << 30
                                           and digest(path)))
        os.ftruncate(fd, 6 * B + 100)
    os.close(fd)


@probe
def direct_and_cache(rec):
    """Direct writes beside mappings and buffered writes."""
    path = rec.file("f", pattern(8 * B))
    fd = os.open(path, os.O_RDWR)
    dfd = os.open(path, os.O_RDWR | os.O_DIRECT)
    m = mmap.mmap(fd, 8 * B)
    m[0:5] = b"first"
    data = buffer(B)
    data[:] = b"D" * B
    rec.call("over dirty pages", os.pwritev, dfd, [data], 0)
    rec.note("mapping sees it", m[0:5])
    m[B:B + 5] = b"dirty"
    got = buffer(2 * B)
    rec.call("read", os.preadv, dfd, [got], 0)
    rec.note("read dirty", bytes(got[B:B + 5]))
    # From a mapping of the very file, to where it is mapped.
    rec.call("out of itself", os.pwritev, dfd, [memoryview(m)[2 * B:3 * B]], 3 * B)
    rec.call("over itself", os.pwritev, dfd, [memoryview(m)[4 * B:5 * B]], 4 * B)
    rec.call("into itself", os.preadv, dfd, [memoryview(m)[5 * B:6 * B]], 0)
    rec.call("buffered out of itself", os.pwritev, fd, [memoryview(m)[0:2 * B]], B)
    rec.note("in the end", digest(path))
    os.close(fd)
    os.close(dfd)


@probe
def flags_of_writes(rec):
    """preadv2 and pwritev2."""
    path = rec.file("f", pattern(2 * B))
    for flags in (1, 2, 4, 8, 16, 32, 64, 128, 256, 1 << 20):
        for base in (0, os.O_APPEND, os.O_DIRECT):
            fd = os.open(path, os.O_RDWR | base)
            os.ftruncate(fd, 2 * B)
            os.fsync(fd)
            data = buffer(B)
            data[:] = b"w" * B
            label = f"{flags:#x} {base:o}"
            if flags != 64 or base != os.O_DIRECT:  # RWF_ATOMIC: the device decides
                rec.call("write " + label, os.pwritev, fd, [data], B, flags)
            rec.note("size " + label, os.fstat(fd).st_size)
            if flags != 8:
                rec.call("read " + label, os.preadv, fd, [buffer(B)], 0, flags)
            os.close(fd)


@probe
def mappings(rec):
    """Pages at and behind the end, and truncation below a mapping."""
    path = rec.file("f", b"a" * 100)
    fd = os.open(path, os.O_RDWR)

    def touch(at, write=False, size=4 * B):
        def run():
            m = mmap.mmap(fd, 0 if size is None else size) if os.fstat(fd).st_size >= size else None
            if m is None:
                address = libc_mmap(fd, size)
                if write:
                    ctypes.memset(address + at, 0x42, 1)
                    return "written"
                return ctypes.string_at(address + at, 1)
            if write:
                m[at] = 0x42
                return "written"
            return m[at]
        return child(run)

    for at in (0, 99, 100, B - 1, B, 3 * B):
        rec.note(f"read {at}", touch(at))
        rec.note(f"write {at}", touch(at, True))
    rec.note("size stays", os.fstat(fd).st_size)
    os.ftruncate(fd, 2 * B)
    rec.note("behind the old end", os.pread(fd, 2 * B, 100).strip(b"\0"))
    rec.note("read the new page", touch(B))
    m = mmap.mmap(fd, 2 * B)
    m[B + 5] = 0x41
    os.ftruncate(fd, B + 2)
    os.ftruncate(fd, 2 * B)
    rec.note("cut below a mapping", m[B + 5])
    os.ftruncate(fd, 0)

    def dead():
        return m[0]
    rec.note("all cut", child(dead))
    os.close(fd)
    for open_flags, prot, share in [(os.O_RDONLY, 3, 1), (os.O_WRONLY, 1, 1), (os.O_RDONLY, 3, 2),
                                    (os.O_RDWR, 7, 1), (os.O_RDWR, 3, 0x80003), (os.O_RDWR, 3, 3),
                                    (os.O_RDWR, 3, 0)]:
        def run(f=open_flags, p=prot, s=share):
            os.truncate(path, B)
            return with_fd(path, f, lambda fd: mmap_says(fd, B, p, s))
        rec.call(f"mmap {open_flags} {prot} {share:#x}", run)


def libc_mmap(fd, size, prot=3, flags=1):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
                          ctypes.c_int, ctypes.c_long]
    address = libc.mmap(None, size, prot, flags, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return address


def mmap_says(fd, size, prot, flags):
    libc_mmap(fd, size, prot, flags)
    return "mapped"


@probe
def copies(rec):
    """copy_file_range, sendfile, splice, and what shares blocks where that is possible."""
    a = rec.file("a", pattern(8 * B))
    b = rec.file("b", b"")
    os.mkdir(rec.path("dir"))
    fa, fb = os.open(a, os.O_RDWR), os.open(b, os.O_RDWR)
    fap = os.open(b, os.O_RDWR | os.O_APPEND)
    fr = os.open(a, os.O_RDONLY)
    fd = os.open(rec.path("dir"), os.O_RDONLY)
    r, w = os.pipe()
    c = os.copy_file_range
    todo = [
        ("all", lambda: c(fa, fb, 8 * B, 0, 0)), ("part", lambda: c(fa, fb, 100, 50, 7 * B + 1)),
        ("over the end", lambda: c(fa, fb, 8 * B, 4 * B, 0)), ("at the end", lambda: c(fa, fb, 5, 8 * B, 0)),
        ("beyond", lambda: c(fa, fb, 5, 100 * B, 0)), ("far", lambda: c(fa, fb, 5, 0, 20 * B)),
        ("none", lambda: c(fa, fb, 0, 0, 0)), ("overlap", lambda: c(fa, fa, 2 * B, 0, B)),
        ("same file", lambda: c(fa, fa, B, 0, 4 * B)), ("same place", lambda: c(fa, fa, B, 0, 0)),
        ("append", lambda: c(fa, fap, B, 0, 0)), ("read-only", lambda: c(fa, fr, B, 0, 0)),
        ("directory", lambda: c(fd, fb, B, 0, 0)), ("to a directory", lambda: c(fa, fd, B, 0, 0)),
        ("pipe", lambda: c(r, fb, B, None, 0)), ("flags", lambda: syscall(326, fa, 0, fb, 0, B, 1)),
        ("negative", lambda: c(fa, fb, B, -1, 0)), ("huge", lambda: c(fa, fb, (1 << 63) - 1, 0, 0)),
        ("huge place", lambda: c(fa, fb, B, 0, (1 << 63) - 100)),
        ("clone", lambda: ioctl(fb, 0x40049409, fa)),
        ("clone a range", lambda: ioctl(fb, 0x4020940D, struct.pack("=qQQQ", fa, 0, B, 0))),
        ("clone an odd range", lambda: ioctl(fb, 0x4020940D, struct.pack("=qQQQ", fa, 1, 5, 0))),
        ("clone nothing", lambda: ioctl(fb, 0x40049409, 4000)),
        ("dedupe", lambda: dedupe(fa, fb, B)), ("dedupe to a directory", lambda: dedupe(fa, fd, B)),
        ("sendfile", lambda: os.sendfile(fb, fa, 0, 3 * B)),
        ("sendfile append", lambda: os.sendfile(fap, fa, 0, B)),
        ("splice in", lambda: os.splice(fa, w, B, 3)), ("splice out", lambda: os.splice(r, fb, B, None, 11)),
        ("splice out to append", lambda: os.splice(r, fap, B)),
        ("splice at the end", lambda: os.splice(fa, w, B, 8 * B)),
    ]
    for name, f in todo:
        rec.call(name, f)
        rec.note(name + ": size", os.fstat(fb).st_size)
    os.fsync(fb)
    os.ftruncate(fb, min(os.fstat(fb).st_size, 1 << 20))
    rec.note("in the end", (digest(a), digest(b)))
    set_flags(b, IMMUTABLE)
    rec.call("immutable", c, fa, fb, B, 0, 0)
    set_flags(b, APPEND)
    rec.call("append only", c, fa, fb, B, 0, 0)
    set_flags(b, 0)
    for f in (fa, fb, fap, fr, fd, r, w):
        os.close(f)


def dedupe(source, target, n):
    """FIDEDUPERANGE: what it says of the range."""
    buf = bytearray(struct.pack("=QQHHI", 0, n, 1, 0, 0) + struct.pack("=qQQiI", target, 0, 0, 0, 0))
    fcntl.ioctl(source, 0xC0189436, buf, True)
    return struct.unpack_from("=qQQiI", buf, 24)[2:4]


@probe
def large_offsets(rec):
    """Where files must end."""
    path = rec.file("f")
    fd = os.open(path, os.O_RDWR)
    top = (1 << 63) - 1
    for at in (1 << 44, (1 << 44) + B, 1 << 50, top - 1, top):
        rec.call(f"pwrite {at:#x}", os.pwrite, fd, b"x", at)
        rec.call(f"pread {at:#x}", os.pread, fd, 1, at)
        rec.call(f"ftruncate {at:#x}", os.ftruncate, fd, at + (at < top))
        rec.call(f"fallocate {at:#x}", fallocate, fd, 0, at, 1)
        rec.note(f"size {at:#x}", os.fstat(fd).st_size)
    rec.call("pwrite -1", os.pwrite, fd, b"x", -1)
    rec.call("pread -1", os.pread, fd, 1, -1)
    rec.call("ftruncate -1", os.ftruncate, fd, -1)
    rec.call("truncate -1", os.truncate, path, -1)
    last = (1 << 44) - 2 * B
    rec.call("near the end", os.pwrite, fd, b"end", last - 3)
    rec.note("near the end: size", os.fstat(fd).st_size)
    rec.note("near the end: data", segments(fd))
    os.close(fd)


@probe
def swapping(rec):
    """swapon(2) wants all blocks, written or not, and no others."""
    size = 64 * B

    def header(path):
        fd = os.open(path, os.O_RDWR)
        page = bytearray(B)
        struct.pack_into("=III", page, 1024, 1, size // B - 1, 0)
        page[B - 10:] = b"SWAPSPACE2"
        os.pwrite(fd, page, 0)
        os.fsync(fd)
        os.close(fd)

    def swapon(path):
        syscall(167, ctypes.c_char_p(path.encode()), 0)

    def swapoff(path):
        syscall(168, ctypes.c_char_p(path.encode()))

    full = rec.file("full", bytes(size), 0o600)
    sparse = rec.file("sparse", b"", 0o600)
    os.truncate(sparse, size)
    unwritten = rec.file("unwritten", b"", 0o600)
    with_fd(unwritten, os.O_RDWR, fallocate, 0, 0, size)
    for path in (full, sparse, unwritten):
        header(path)
        name = os.path.basename(path)
        rec.call(f"swapon {name}", swapon, path)
        rec.call(f"write {name}", with_fd, path, os.O_RDWR, lambda fd: os.pwrite(fd, b"x", 8192))
        rec.call(f"truncate {name}", os.truncate, path, B)
        rec.call(f"punch {name}", with_fd, path, os.O_RDWR, lambda fd: fallocate(fd, 3, B, B))
        rec.call(f"direct {name}", with_fd, path, os.O_RDWR | os.O_DIRECT,
                 lambda fd: os.pwritev(fd, [buffer(B)], B))
        rec.call(f"flags {name}", set_flags, path, IMMUTABLE)
        try:
            set_flags(path, 0)
        except OSError:
            pass
        rec.call(f"swapoff {name}", swapoff, path)
    rec.call("no header", swapon, rec.file("none", bytes(size), 0o600))


@probe
def room_behind_the_end(rec):
    """What was allocated behind the end of a file goes by truncation, and by nothing else."""
    path = rec.file("f", b"x" * B)
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, KEEP, 0, 16 * B)
    rec.note("kept", os.fstat(fd).st_blocks)
    os.close(fd)
    rec.note("closed", os.stat(path).st_blocks)
    os.truncate(path, B)
    rec.note("truncated to its size", os.stat(path).st_blocks)
    with_fd(path, os.O_RDWR, fallocate, KEEP, 0, 16 * B)
    os.truncate(path, 3 * B)
    rec.note("grown", os.stat(path).st_blocks)
    fd = os.open(path, os.O_RDWR)
    for n in range(100):
        os.pwrite(fd, b"y" * 1000, n * 1000)
    os.close(fd)
    rec.note("written and closed", (os.stat(path).st_size, os.stat(path).st_blocks))


@probe
def a_full_disk(rec):
    """Writing to a mapped hole when nothing is left: a signal, and the file is whole."""
    holes = rec.file("holes")
    os.truncate(holes, 8 << 20)
    filler = os.open(rec.path("filler"), os.O_RDWR | os.O_CREAT)
    big = rec.path("big")
    fd = os.open(big, os.O_RDWR | os.O_CREAT)
    st = os.fstatvfs(filler)
    left = st.f_bfree * st.f_frsize
    for step in (1 << 24, 1 << 20, B):
        while left > 0:
            try:
                fallocate(filler, 0, os.fstat(filler).st_size, step)
            except OSError as e:
                assert e.errno == errno.ENOSPC, e
                break

    def touch_all():
        fd = os.open(holes, os.O_RDWR)
        address = libc_mmap(fd, 8 << 20)
        for at in range(0, 8 << 20, B):
            ctypes.memset(address + at, 0x55, 1)
        return "all written"
    rec.note("mapped hole", child(touch_all))
    rec.call("create", lambda: len(rec.file("small")) > 0)

    def write_on():
        while True:
            os.write(fd, b"x" * 65536)
    rec.note("write", child(write_on))
    rec.call("fallocate", fallocate, fd, 0, 0, 1 << 26)
    rec.call("direct", with_fd, big, os.O_RDWR | os.O_DIRECT,
             lambda f: os.pwritev(f, [buffer(1 << 20)], 1 << 30))
    rec.call("fsync", os.fsync, fd)
    os.close(fd)
    os.close(filler)
    for name in ("filler", "big", "holes"):
        os.unlink(rec.path(name))
    os.sync()
    rec.call("afterwards", lambda: len(rec.file("again", b"x" * 100000)) > 0)


@probe
def user_limits(rec):
    """What a user may do to the contents of another's file."""
    path = rec.file("f", pattern(2 * B), 0o644)
    os.chmod(rec.dir, 0o755)
    rec.note("write", as_user(lambda: os.open(path, os.O_RDWR)))
    rec.note("truncate", as_user(lambda: os.truncate(path, 0)))
    rec.note("noatime", as_user(lambda: os.open(path, os.O_RDONLY | os.O_NOATIME)))
    rec.note("FIBMAP", as_user(lambda: with_fd(path, os.O_RDONLY,
                                               lambda fd: ioctl(fd, 1, bytes(4)))))
