#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the staging suite does to files that the shell cannot: mappings, holes, the
raw ABI. Each command exits 0 when what it looked for is so."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import struct
import sys
import threading

NR = {
    "attach": 0x40, "archive": 0x41, "release": 0x42, "prefetch": 0x43,
    "state": 0x44, "upsert": 0x48, "list": 0x49, "begin": 0x50, "read": 0x51,
    "commit": 0x52, "data": 0x53, "complete": 0x54,
}
SIZE = {
    "attach": 72, "archive": 40, "release": 40, "prefetch": 40, "state": 104,
    "upsert": 128, "list": 40, "begin": 96, "read": 64, "commit": 56,
    "data": 64, "complete": 56,
}
MOUNT_CALLS = ["attach", "archive", "release", "prefetch", "state", "upsert", "list"]
QUEUE_CALLS = ["begin", "read", "commit", "data", "complete", "upsert", "list"]
PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)


def ioctl(fd, name, arg):
    """Calls an ioctl with bytes or an address; returns (result, errno, bytes)."""
    cmd = 0xF7 << 8 | NR.get(name, name)
    if isinstance(arg, int):
        r = libc.ioctl(fd, ctypes.c_ulong(cmd), ctypes.c_void_p(arg))
        return r, ctypes.get_errno() if r < 0 else 0, b""
    buf = ctypes.create_string_buffer(bytes(arg), len(arg))
    r = libc.ioctl(fd, ctypes.c_ulong(cmd), buf)
    return r, ctypes.get_errno() if r < 0 else 0, buf.raw


def expect(what, got, *wanted):
    if got not in wanted:
        name = errno.errorcode.get(got, got)
        names = [errno.errorcode.get(w, w) for w in wanted]
        sys.exit(f"{what}: {name}, not {' or '.join(map(str, names))}")


def sized(name, size=None, tail=b""):
    n = SIZE[name] if size is None else size
    return struct.pack("=I", n + len(tail)) + bytes(n - 4) + tail


def attach(mnt):
    root = os.open(mnt, os.O_RDONLY)
    r, e, _ = ioctl(root, "attach", struct.pack("=IIII", 72, 0, 1, 0) + bytes(56))
    expect("attach", e, 0)
    os.close(root)
    return r


def sample(path, size, seed):
    """A file with holes and data that tell their place."""
    rng = random.Random(int(seed))
    size = int(size)
    with open(path, "wb") as f:
        f.truncate(size)
        at = 0
        while at < size:
            n = min(rng.choice([100, PAGE, 3 * PAGE, 70000, 1 << 20]), size - at)
            if at == 0 or rng.random() < 0.7:
                f.seek(at)
                f.write(rng.randbytes(n))
            at += n


def layout(path):
    """Data and holes, as lseek tells them."""
    out, at = [], 0
    with open(path, "rb") as f:
        end = os.fstat(f.fileno()).st_size
        while at < end:
            try:
                data = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError as e:
                if e.errno == errno.ENXIO:
                    break
                raise
            hole = os.lseek(f.fileno(), data, os.SEEK_HOLE)
            out.append(f"{data}-{hole}")
            at = hole
    print(" ".join(out))


def fiemap(path):
    """Extents: logical, length, and u for those at an unknown place."""
    room = 512
    with open(path, "rb") as f:
        req = struct.pack("=QQIIII", 0, 2**64 - 1, 0, 0, room, 0) + bytes(room * 56)
        buf = bytearray(req)
        fcntl.ioctl(f.fileno(), 0xC020660B, buf)
        n = struct.unpack_from("=I", buf, 20)[0]
        for i in range(n):
            logical, _phys, length = struct.unpack_from("=QQQ", buf, 32 + i * 56)
            flags = struct.unpack_from("=I", buf, 32 + i * 56 + 40)[0]
            print(logical, length, "u" if flags & 2 else "-")


def map_equal(path, other):
    """The mapped file has the other one's bytes, read back to front."""
    want = open(other, "rb").read()
    with open(path, "rb") as f:
        with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
            for at in range((len(want) - 1) // PAGE * PAGE, -1, -PAGE):
                if m[at : at + PAGE] != want[at : at + PAGE]:
                    sys.exit(f"other bytes at {at}")


def map_write(path, pos, text):
    """Writes through a mapping."""
    with open(path, "r+b") as f:
        with mmap.mmap(f.fileno(), 0) as m:
            m[int(pos) : int(pos) + len(text)] = text.encode()
            m.flush()


def touch_mapping(path, pos):
    """How a process ends that reads a byte of the mapped file."""
    pid = os.fork()
    if pid == 0:
        with open(path, "rb") as f:
            m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
            m[int(pos)]
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def map_dies(path, pos=0):
    """Touching the mapping there ends in SIGBUS."""
    status = touch_mapping(path, pos)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != 7:
        sys.exit(f"status {status:#x}")


def map_lives(path, pos):
    """Touching the mapping there goes well."""
    status = touch_mapping(path, pos)
    if status != 0:
        sys.exit(f"status {status:#x}")


def nonblock(path, how="flag"):
    """A read that must not wait says EAGAIN."""
    fd = os.open(path, os.O_RDONLY | (os.O_NONBLOCK if how == "flag" else 0))
    try:
        if how == "flag":
            os.read(fd, 10)
        else:
            os.preadv(fd, [bytearray(10)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return
    sys.exit("it did not fail")


def pwrite(path, pos, text):
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, text.encode(), int(pos))
    os.close(fd)


def scribble(path, seconds):
    """Writes to random places all the time, and keeps a copy: path.copy."""
    import time
    end = time.time() + float(seconds)
    size = os.stat(path).st_size
    a, b = os.open(path, os.O_WRONLY), os.open(path + ".copy", os.O_WRONLY)
    n = 0
    while time.time() < end:
        at, text = random.randrange(size), os.urandom(random.randrange(1, 5000))
        text = text[: size - at]
        os.pwrite(a, text, at)
        os.pwrite(b, text, at)
        n += 1
    print(n, "writes")


def shutdown(mnt, how="2"):
    """FS_IOC_SHUTDOWN: 2 without flushing the journal."""
    fd = os.open(mnt, os.O_RDONLY)
    fcntl.ioctl(fd, 0x8004587D, struct.pack("=I", int(how)))


def abi_sizes(mnt, path):
    """Every call with wrong sizes, bad pointers, unknown flags and tails."""
    fd, queue = os.open(path, os.O_RDONLY), attach(mnt)
    for on, names in ((fd, MOUNT_CALLS), (queue, QUEUE_CALLS)):
        for name in names:
            for size in (0, 4, SIZE[name] - 8, SIZE[name] - 1):
                arg = struct.pack("=I", size) + bytes(SIZE[name])
                expect(f"{name} of size {size}", ioctl(on, name, arg)[1], errno.EINVAL)
            known = ioctl(on, name, sized(name, tail=bytes(64)))[1]
            plain = ioctl(on, name, sized(name))[1]
            if name != "attach":
                expect(f"{name} with an empty tail", known, plain)
            tail = bytes(63) + b"\1"
            expect(f"{name} with a tail", ioctl(on, name, sized(name, tail=tail))[1], errno.E2BIG)
            big = struct.pack("=I", 2**31) + bytes(SIZE[name])
            expect(f"{name} of size 2^31", ioctl(on, name, big)[1], errno.E2BIG)
            for address in (0, 1, 2**47 - 8, 2**64 - 4096):
                expect(f"{name} at {address:#x}", ioctl(on, name, address)[1], errno.EFAULT)
            flags = bytearray(sized(name))
            flags[4:8] = b"\0\0\0\x80"
            expect(f"{name} with an unknown flag", ioctl(on, name, flags)[1], errno.EINVAL)
    for nr in range(0x40, 0x60):
        if nr not in NR.values():
            expect(f"number {nr:#x}", ioctl(fd, nr, bytes(128))[1], errno.ENOTTY)
            expect(f"number {nr:#x}, queue", ioctl(queue, nr, bytes(128))[1], errno.ENOTTY)
    for name in ("begin", "data"):
        expect(f"{name} on a file", ioctl(fd, name, sized(name))[1], errno.ENOTTY)
    expect("attach on a queue", ioctl(queue, "attach", sized("attach"))[1], errno.ENOTTY)


def batch(items, item_size=64, count=None, size=40):
    n = len(items) if count is None else count
    buf = ctypes.create_string_buffer(b"".join(items) or b"\0", max(1, sum(map(len, items))))
    head = struct.pack("=IIIIQIIQ", size, 0, n, item_size, ctypes.addressof(buf), 0, 0, 0)
    return head, buf


def item(ino=0, gen=0, version=0, off=0, length=0):
    return struct.pack("=QIiQQQQQQ", ino, gen, 0, version, off, length, 0, 0, 0)


def status(buf, n=0):
    return -struct.unpack_from("=i", buf.raw, n * 64 + 12)[0]


def abi_batches(mnt, path):
    """Batches: huge counts, bad items, things that are no files."""
    fd = os.open(path, os.O_RDONLY)
    root = os.open(mnt, os.O_RDONLY)
    st = os.fstat(fd)
    for name in ("archive", "release", "prefetch"):
        for count, want in ((1025, errno.E2BIG), (2**32 - 1, errno.E2BIG), (0, 0)):
            head, buf = batch([item()], count=count)
            expect(f"{name} of {count}", ioctl(fd, name, head)[1], want)
        for size, want in ((0, errno.EINVAL), (56, errno.EINVAL), (63, errno.EINVAL), (4104, errno.E2BIG)):
            head, buf = batch([item()], item_size=size)
            expect(f"{name}, items of {size}", ioctl(fd, name, head)[1], want)
        head = struct.pack("=IIIIQIIQ", 40, 0, 1, 64, 1 << 46, 0, 0, 0)
        expect(f"{name}, items nowhere", ioctl(fd, name, head)[1], errno.EFAULT)
        bad = [
            (item(ino=st.st_ino, gen=1), errno.ESTALE), (item(ino=1, gen=1), errno.ESTALE),
            (item(ino=2**63, gen=0), errno.ESTALE), (item(ino=2**64 - 1, gen=0), errno.ESTALE),
            (item(off=1), errno.EINVAL), (item(length=5), errno.EINVAL),
        ]
        head, buf = batch([b for b, _ in bad])
        expect(name, ioctl(fd, name, head)[1], 0)
        for n, (_, want) in enumerate(bad):
            expect(f"{name}, item {n}", status(buf, n), want)
        head, buf = batch([item()])
        expect(name, ioctl(root, name, head)[1], 0)
        expect(f"{name} of a directory", status(buf), errno.EISDIR)
    # Every inode number there is: internal ones must not be touched.
    inos = [item(ino=n, gen=0) for n in range(256, 1024)]
    for name in ("archive", "release", "prefetch"):
        head, buf = batch(inos)
        expect(name, ioctl(root, name, head)[1], 0)
        for n in range(len(inos)):
            if status(buf, n) == 0:
                sys.exit(f"{name}: inode {256 + n} was found with generation 0")
    # A file opened O_PATH is none.
    opath = os.open(path, os.O_PATH)
    expect("O_PATH", ioctl(opath, "state", sized("state"))[1], errno.EBADF)


def abi_agent(mnt, path):
    """An agent that lies."""
    q = attach(mnt)
    fd = os.open(path, os.O_RDONLY)
    st = os.fstat(fd)
    r, e, out = ioctl(fd, "state", sized("state"))
    expect("state", e, 0)
    _, _, ino, gen, _, version, size, offline = struct.unpack_from("=IIQIIQQQ", out)
    if ino != st.st_ino or size != st.st_size:
        sys.exit("state tells another file")
    os.set_blocking(q, False)
    for n in (0, 1, 127):
        try:
            os.read(q, n)
            expect("short read", 0, errno.EINVAL)
        except OSError as e:
            expect(f"read of {n}", e.errno, errno.EINVAL)
    try:
        os.read(q, 4096)
    except BlockingIOError:
        pass
    # Cookies that nobody gave out.
    for cookie in (0, 1, 1 << 32, 2**64 - 1):
        arg = struct.pack("=IIQQQQQQQ", 64, 0, cookie, 1, 0, 0, 0, 0, 0)
        expect("data", ioctl(q, "data", arg)[1], errno.ENOENT)
        arg = struct.pack("=IIQQQIIQQ", 56, 0, cookie, 0, 0, 0, 0, 0, 0)
        expect("complete", ioctl(q, "complete", arg)[1], errno.ENOENT)
    # Begin, and commits of what is not so.
    arg = struct.pack("=IIQI", 96, 0, ino, gen) + bytes(76)
    r, e, out = ioctl(q, "begin", arg)
    expect("begin", e, 0)
    version = struct.unpack_from("=Q", out, 40)[0]
    vol = struct.pack("=IBBH16s32sqIIQQQQQ", 0, 1, 0, 0, os.urandom(16), b"T", 0, 1, 0, 0, 0, 0, 0, 0)
    r, e, out = ioctl(q, "upsert", struct.pack("=II", 128, 0) + vol + bytes(8))
    expect("upsert", e, 0)
    volume = struct.unpack_from("=I", out, 8)[0]

    def copy(number=0, state=1, algorithm=1, vol=volume, ver=version, off=0, length=st.st_size):
        return struct.pack("=BBBBIQQQIIQQq32s", number, state, algorithm, 0, vol, ver, off, length, 1, 0, 0, 4096, 0, bytes(32))

    def commit(c, count=1, ver=version, item_size=96, generation=gen):
        buf = ctypes.create_string_buffer(c, len(c))
        arg = struct.pack("=IIQIIQQIIQ", 56, 0, ino, generation, count, ver, ctypes.addressof(buf), item_size, 0, 0)
        return ioctl(q, "commit", arg)[1]

    expect("copy number", commit(copy(number=16)), errno.EINVAL)
    expect("state", commit(copy(state=2)), errno.EINVAL)
    expect("algorithm", commit(copy(algorithm=9)), errno.EINVAL)
    expect("no such volume", commit(copy(vol=60000)), errno.ENOENT)
    expect("volume 0", commit(copy(vol=0)), errno.ENOENT)
    expect("offset", commit(copy(off=4096)), errno.EINVAL)
    expect("length", commit(copy(length=st.st_size + 1)), errno.ESTALE)
    expect("two versions", commit(copy(ver=version + 1)), errno.EINVAL)
    expect("another version", commit(copy(ver=version + 1), ver=version + 1), errno.ESTALE)
    expect("generation", commit(copy(), generation=gen ^ 1), errno.ESTALE)
    expect("no copies", commit(copy(), count=0), errno.EINVAL)
    expect("17 copies", commit(copy() * 17, count=17), errno.EINVAL)
    expect("items of 88", commit(copy(), item_size=88), errno.EINVAL)
    # Reads of another version, and beyond the end.
    buf = ctypes.create_string_buffer(8192)

    def read(ver, off, n, to=None):
        address = ctypes.addressof(buf) if to is None else to
        arg = struct.pack("=IIQIIQQQQQ", 64, 0, ino, gen, 0, ver, off, address, n, 0)
        return ioctl(q, "read", arg)[:2]

    expect("read of another version", read(version + 1, 0, 10)[1], errno.ESTALE)
    expect("read beyond the end", read(version, 2**62, 10)[0], 0)
    expect("read of too much", read(version, 0, 2**32)[1], errno.EINVAL)
    expect("read to nowhere", read(version, 0, 10, 1 << 46)[1], errno.EFAULT)
    expect("read", read(version, 0, 100)[0], min(100, st.st_size))
    if buf.raw[:100] != open(path, "rb").read(100).ljust(100, b"\0")[:100]:
        sys.exit("other bytes")
    # After a change nothing of this version is left.
    pwrite(path, 0, "!")
    expect("commit after a change", commit(copy()), errno.ESTALE)
    expect("read after a change", read(version, 0, 10)[1], errno.ESTALE)


def abi_wrong_bytes(mnt, path):
    """An agent that delivers other bytes, in other places; then the right ones."""
    q = attach(mnt)
    want = open(path + ".orig", "rb").read()
    fd = os.open(path, os.O_RDONLY)
    got = []
    reader = threading.Thread(target=lambda: got.append(open(path, "rb").read()))
    reader.start()
    req = os.read(q, 128)
    (size, op, _prio, cookie, ino, gen, _uid, off, length, fsize, version) = struct.unpack_from("=IHHQQIIQQQQ", req)
    if (size, op, off, fsize) != (128, 1, 0, len(want)):
        sys.exit(f"odd request {(size, op, off, fsize)}")
    keep = []

    def data(off, b, ver=version, n=None):
        buf = ctypes.create_string_buffer(b, max(1, len(b)))
        keep.append(buf)
        arg = struct.pack("=IIQQQQQQQ", 64, 0, cookie, ver, off, len(b) if n is None else n, ctypes.addressof(buf), 0, 0)
        return ioctl(q, "data", arg)[1]

    chunk = 1 << 20
    wrong = bytearray(want[:chunk])
    wrong[77] ^= 1
    expect("a wrong bit", data(0, bytes(wrong)), errno.EBADMSG)
    expect("another chunk's bytes", data(chunk, want[:chunk]), errno.EBADMSG)
    expect("not at a chunk", data(PAGE, want[PAGE : PAGE + chunk]), errno.EINVAL)
    expect("half a chunk", data(0, want[:PAGE]), errno.EINVAL)
    expect("beyond the end", data(len(want) // chunk * chunk, want[:chunk]), errno.EINVAL)
    expect("another version", data(0, want[:chunk], ver=version + 1), errno.EINVAL)
    expect("too much", data(0, b"x", n=1 << 40), errno.EINVAL)
    expect("length overflows", data(2**64 - chunk, b"x", n=chunk * 2), errno.EINVAL)
    expect("nowhere", ioctl(q, "data", struct.pack("=IIQQQQQQQ", 64, 0, cookie, version, 0, chunk, 1 << 46, 0, 0))[1], errno.EFAULT)
    other = attach(mnt)
    done = struct.pack("=IIQQQIIQQ", 56, 0, cookie, 0, 0, 0, 0, 0, 0)
    expect("another agent completes", ioctl(other, "complete", done)[1], errno.ENOENT)
    expect("status", ioctl(q, "complete", struct.pack("=IIQQQIIQQ", 56, 0, cookie, 0, 0, 99, 0, 0, 0))[1], errno.EINVAL)
    if got:
        sys.exit("the reader has something already")
    expect("the whole", data(0, want), 0)
    expect("again", data(0, want), 0)
    expect("complete", ioctl(q, "complete", done)[1], 0)
    expect("twice", ioctl(q, "complete", done)[1], errno.ENOENT)
    reader.join()
    if got[0] != want:
        sys.exit("other bytes")
    os.close(fd)


def abi_lazy_agent(mnt, path):
    """An agent that says OK without having brought anything: EIO, not zeroes."""
    q = attach(mnt)
    result = []

    def read():
        try:
            result.append(open(path, "rb").read())
        except OSError as e:
            result.append(e.errno)

    reader = threading.Thread(target=read)
    reader.start()
    cookie = struct.unpack_from("=Q", os.read(q, 128), 8)[0]
    expect("complete", ioctl(q, "complete", struct.pack("=IIQQQIIQQ", 56, 0, cookie, 0, 0, 0, 0, 0, 0))[1], 0)
    reader.join()
    expect("read", result[0], errno.EIO)


def abi_unprivileged(mnt, path):
    """Without CAP_SYS_ADMIN (run as another user)."""
    fd = os.open(path, os.O_RDONLY)
    for name in ("attach", "archive", "release", "upsert", "list"):
        expect(name, ioctl(fd, name, sized(name))[1], errno.EPERM)
    expect("state of the open file", ioctl(fd, "state", sized("state"))[1], 0)
    other = struct.pack("=IIQ", 104, 0, os.fstat(fd).st_ino) + bytes(88)
    expect("state by number", ioctl(fd, "state", other)[1], errno.EPERM)
    head, buf = batch([item(ino=os.fstat(fd).st_ino, gen=1), item()])
    expect("prefetch", ioctl(fd, "prefetch", head)[1], 0)
    expect("prefetch by number", status(buf, 0), errno.EPERM)
    expect("prefetch of the open file", status(buf, 1), 0)


def abi_queue_gone(mnt, path, umount):
    """A queue whose file system was unmounted."""
    import select
    import subprocess
    q = attach(mnt)
    waiting = threading.Thread(target=lambda: errors.append(read_errno(q)))
    errors = []

    def read_errno(fd):
        try:
            os.read(fd, 128)
        except OSError as e:
            return e.errno

    waiting.start()
    subprocess.check_call(["umount", mnt])
    waiting.join()
    expect("the waiting read", errors[0], errno.ENODEV)
    expect("read", read_errno(q), errno.ENODEV)
    for name in QUEUE_CALLS:
        expect(name, ioctl(q, name, sized(name))[1], errno.ENODEV)
    p = select.poll()
    p.register(q, select.POLLIN)
    events = p.poll(0)[0][1]
    if not events & select.POLLHUP or not events & select.POLLERR:
        sys.exit(f"poll says {events:#x}")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
