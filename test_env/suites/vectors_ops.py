#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of the vectors' and the general ioctls: vectors_ops.py TEST MOUNT [ARGS...]

Each test exits 0 if all is as it should be. The structures are packed by hand here,
so that these tests depend on nothing but the header's text.
"""
import ctypes
import errno
import fcntl
import json
import os
import random
import struct
import sys
import time

NR = dict(abi=0, path=1, create=0x10, coll=0x11, drop=0x12, mark=0x18, put=0x19, get=0x1A, delete=0x1B, list=0x1C,
          search=0x20)
SIZE = dict(abi=48, path=40, create=320, coll=320, drop=320, mark=40, put=32, get=88, delete=40, list=40, search=128)
# What the first version of the ABI had.
LOW = dict(SIZE, abi=16, search=56)
L2, COSINE, IP, HAMMING = 1, 2, 3, 4
F32, F16, INT8, BINARY = 1, 2, 3, 4
# What goes together.
KINDS = [(t, m) for t in (F32, F16, INT8) for m in (L2, COSINE, IP)] + [(BINARY, HAMMING)]
SEARCH_STORED = 0x200
keep = []


def io(name):
    return 0xF700 | NR[name]


def call(fd, name, data):
    """The ioctl with this structure; returns the errno (0: none) and the structure afterwards."""
    buf = bytearray(data)
    try:
        fcntl.ioctl(fd, io(name), buf, True)
        return 0, bytes(buf)
    except OSError as e:
        return e.errno, bytes(buf)


def through_compat_entry():
    """Makes `call` do what a program of 32 bits does: int 0x80, from where the kernel goes to compat_ioctl."""
    global call
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    map_32bit, rwx = 0x40, 7
    area = libc.mmap(None, 1 << 20, rwx, 0x22 | map_32bit, -1, 0)
    assert area and area + (1 << 20) <= 1 << 32, hex(area)
    # push rbx; mov ebx, edi; mov ecx, esi; mov eax, 54 (ioctl); int 0x80; pop rbx; ret. (edx is where it belongs.)
    code = bytes.fromhex("53 89fb 89f1 b836000000 cd80 5b c3")
    ctypes.memmove(area, code, len(code))
    ioctl = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)(area)
    room = area + 4096

    def call32(fd, name, data):
        ctypes.memmove(room, bytes(data), len(data))
        r = ioctl(fd, io(name), room)
        return -r if r < 0 else 0, ctypes.string_at(room, len(data))

    call = call32


def compat(mnt):
    """All structures are the same through the compat entry, and what is wrong there is refused, too."""
    through_compat_entry()
    e, _ = call(make(f"{mnt}/abi32"), "coll", collection(b"no such thing"))
    assert e == errno.ENOENT, errno.errorcode.get(e, e)
    abi_sizes(mnt)
    abi_limits(mnt)


def ok(fd, name, data):
    e, out = call(fd, name, data)
    assert e == 0, f"{name}: {errno.errorcode[e]}"
    return out


def expect(code, fd, name, data):
    e, _ = call(fd, name, data)
    got = errno.errorcode.get(e, e)
    assert e == code, f"{name}: {got}, not {errno.errorcode[code] if code else 0}"


def address(data):
    """A place in memory with these bytes."""
    buf = ctypes.create_string_buffer(bytes(data), max(len(data), 1))
    keep.append(buf)
    return ctypes.addressof(buf), buf


def floats(v):
    return struct.pack(f"<{len(v)}f", *v)


def collection(name=b"", id=0, dim=0, type=1, metric=L2, flags=0, size=320, model=b""):
    return struct.pack("<6I3QqII64s192s", size, flags, id, dim, type, metric, 0, 0, 0, 0, 0, 0, name, model)


def coll_id(out):
    return struct.unpack_from("<I", out, 8)[0]


def create(fd, name, dim=4, metric=L2, type=1):
    return coll_id(ok(fd, "create", collection(name.encode(), dim=dim, metric=metric, type=type)))


def as_stored(type_, v):
    """A vector as the collection stores it."""
    if type_ == BINARY:
        bits = "".join(str(int(x)) for x in v) + "0" * (-len(v) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")
    return struct.pack(f"<{len(v)}" + {F32: "f", F16: "e", INT8: "b"}[type_], *v)


def item(key, vector, fd=-1, off=0, len_=0, version=0, flags=0, vlen=None):
    at = address(vector)[0] if isinstance(vector, bytes) else vector
    return struct.pack("<QQIiQQQiI", key, at, len(vector) if vlen is None else vlen, fd, off, len_, version, 99, flags)


def put(fd, cid, items, flags=0, item_size=56, count=None, size=32):
    at, buf = address(b"".join(items))
    n = len(items) if count is None else count
    e, out = call(fd, "put", struct.pack("<4IQII", size, flags, cid, n, at, item_size, 0))
    status = [struct.unpack_from("<i", buf.raw, i * item_size + 48)[0] for i in range(len(items))]
    return e, status, struct.unpack_from("<I", out, 28)[0]


def puts(fd, cid, items, flags=0):
    e, status, done = put(fd, cid, items, flags)
    assert e == 0, errno.errorcode[e]
    assert status == [0] * len(items) and done == len(items), status


def record(raw, at=0):
    return dict(zip("key ino off len version generation flags score slot".split(), struct.unpack_from("<5Q4I", raw, at)))


def search_arg(cid, dim, nq, k, vectors, hits, counts, flags=0, size=56, hit_size=56):
    return struct.pack("<6I3QII", size, flags, cid, dim, nq, k, vectors, hits, counts, hit_size, 0) + bytes(size - 56)


def search(fd, cid, queries, k, flags=0, type_=F32):
    hits, hbuf = address(bytes(56 * k * len(queries)))
    counts, cbuf = address(bytes(4 * len(queries)))
    q = address(b"".join(as_stored(type_, q) for q in queries))[0]
    ok(fd, "search", search_arg(cid, len(queries[0]), len(queries), k, q, hits, counts, flags))
    n = struct.unpack(f"<{len(queries)}I", cbuf.raw)
    return [[record(hbuf.raw, 56 * (i * k + j)) for j in range(n[i])] for i in range(len(queries))]


def keys_of(fd, cid, query, k=10, flags=0):
    return [h["key"] for h in search(fd, cid, [query], k, flags)[0]]


def get_arg(cid, key, vector=0, vlen=0, flags=0, size=88):
    return struct.pack("<4IQQ", size, flags, cid, vlen, key, vector) + bytes(56)


def list_arg(cid, count, cursor=0, records=0, flags=0, size=40, record_size=56):
    return struct.pack("<4IQQII", size, flags, cid, count, cursor, records, record_size, 0)


def listing(fd, cid, flags=0, room=3):
    at, buf = address(bytes(56 * room))
    cursor, all_ = 0, []
    while True:
        out = ok(fd, "list", list_arg(cid, room, cursor, at, flags))
        _, f, _, n, cursor = struct.unpack_from("<4IQ", out)
        all_ += [record(buf.raw, 56 * i) for i in range(n)]
        if f & 2:
            return all_


def delete_arg(cid, count, keys=0, status=0, flags=0, size=40):
    return struct.pack("<4I3Q", size, flags, cid, count, keys, status, 0)


def delete(fd, cid, keys):
    at, _ = address(struct.pack(f"<{len(keys)}Q", *keys))
    st, buf = address(bytes(4 * len(keys)))
    out = ok(fd, "delete", delete_arg(cid, len(keys), at, st))
    return list(struct.unpack(f"<{len(keys)}i", buf.raw)), struct.unpack_from("<Q", out, 32)[0]


def open_(path, flags=os.O_RDONLY):
    return os.open(path, flags)


def make(path, text=b"some text\n"):
    with open(path, "wb") as f:
        f.write(text)
    return os.open(path, os.O_RDWR)


def unprivileged(f):
    """Runs f in a child that is nobody in particular."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            f()
            code = 0
        except BaseException as e:
            print("as nobody:", repr(e))
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- Vectors ------------------------------------------------------------------


def batch_errors(mnt):
    """Each item has a status of its own; the good ones go in."""
    nan, inf = float("nan"), float("inf")
    for metric, zero in ((L2, 0), (COSINE, -errno.EINVAL), (IP, 0)):
        fd = make(f"{mnt}/batch{metric}")
        cid = create(fd, f"batch{metric}", metric=metric)
        v = floats([1, 2, 3, 4])
        other = open_("/dev/null")
        cases = [
            (item(1, v), 0), (item(2, floats([nan, 0, 0, 1])), -errno.EINVAL), (item(3, floats([1, inf, 0, 0])), -errno.EINVAL),
            (item(4, floats([1, 2, 3])), -errno.EINVAL), (item(5, floats([0] * 4)), zero), (item(6, floats([1e19] * 4)), -errno.EINVAL),
            (item(7, 8, vlen=16), -errno.EFAULT), (item(8, v, fd=999), -errno.EBADF), (item(9, v, fd=other), -errno.EXDEV),
            (item(10, v, off=1 << 63, len_=1), -errno.EINVAL), (item(11, v, off=2**64 - 1, len_=2), -errno.EINVAL),
            (item(12, v, version=1000), -errno.EINVAL), (item(13, v, flags=1), -errno.EINVAL), (item(14, v, off=3, len_=4), 0),
            (item(1, floats([4, 3, 2, 1])), 0), (item(15, v, fd=-7), -errno.EBADF),
        ]
        e, status, done = put(fd, cid, [c[0] for c in cases])
        assert e == 0
        assert status == [c[1] for c in cases], (status, [c[1] for c in cases])
        assert done == sum(s == 0 for s in status)
        found = {r["key"] for r in listing(fd, cid)}
        assert found == {1, 14} | ({5} if zero == 0 else set()), found
        at, buf = address(bytes(16))
        ok(fd, "get", get_arg(cid, 1, at, 16))
        assert buf.raw == floats([4, 3, 2, 1]), "the later of two items with one key stays"
        # What may replace and what may not.
        e, status, done = put(fd, cid, [item(1, v), item(20, v), item(20, v)], flags=2)
        assert (e, status, done) == (0, [-errno.EEXIST, 0, -errno.EEXIST], 1), status


def rights(mnt):
    """Put needs write access, get and search read access, to old owners too; what is out of reach is not there."""
    os.makedirs(f"{mnt}/rights/closed", exist_ok=True)
    os.chmod(f"{mnt}/rights", 0o755)
    root = open_(mnt)
    cid = create(root, "rights")
    v = floats([1, 0, 0, 0])
    names = {"open": 0o666, "readable": 0o644, "secret": 0o600, "closed/inside": 0o666}
    fds = {}
    for i, (name, mode) in enumerate(names.items()):
        fds[name] = make(f"{mnt}/rights/{name}")
        os.fchmod(fds[name], mode)
        puts(fds[name], cid, [item(i, v)])
    os.chmod(f"{mnt}/rights/closed", 0o700)
    assert keys_of(root, cid, [1, 0, 0, 0]) == [0, 1, 2, 3]
    secret = os.fstat(fds["secret"])

    def nobody():
        top = open_(mnt)
        assert keys_of(top, cid, [1, 0, 0, 0]) == [0, 1], keys_of(top, cid, [1, 0, 0, 0])
        assert [r["key"] for r in listing(top, cid)] == [0, 1]
        expect(errno.ENOENT, top, "get", get_arg(cid, 2))
        expect(errno.ENOENT, top, "get", get_arg(cid, 3))
        expect(0, top, "get", get_arg(cid, 1))
        buf = address(bytes(100))[0]
        g = fds_generation["secret"]
        expect(errno.ENOENT, top, "path", struct.pack("<IIQIIQII", 40, 0, secret.st_ino, g, 100, buf, 0, 0))
        mine = open_(f"{mnt}/rights/open")
        read_only = open_(f"{mnt}/rights/readable")
        e, status, _ = put(mine, cid, [item(10, v), item(11, v, fd=read_only), item(2, v), item(1, v), item(0, v)])
        assert e == 0 and status == [0, -errno.EACCES, -errno.EACCES, -errno.EACCES, 0], status
        assert delete(top, cid, [10, 1, 2, 77]) == ([0, -errno.EACCES, -errno.EACCES, -errno.ENOENT], 1)
        expect(errno.EACCES, read_only, "delete", delete_arg(cid, 0, flags=1))
        expect(errno.EACCES, read_only, "mark", struct.pack("<IIQQQII", 40, 0, 0, 0, 0, 0, 0))
        expect(errno.EACCES, top, "create", collection(b"mine", dim=4))
        expect(errno.EPERM, top, "drop", collection(id=cid))

    fds_generation = {r["key"]: r["generation"] for r in listing(root, cid)}
    fds_generation["secret"] = fds_generation[2]
    unprivileged(nobody)
    assert keys_of(root, cid, [1, 0, 0, 0]) == [1, 2, 3, 0] or sorted(keys_of(root, cid, [1, 0, 0, 0])) == [0, 1, 2, 3]


def scope(mnt):
    """A search below a directory finds what lies there, by any link; a file's own finds the file."""
    os.makedirs(f"{mnt}/scope/a/b")
    os.makedirs(f"{mnt}/scope/c")
    root = open_(mnt)
    cid = create(root, "scope")
    v = floats([1, 0, 0, 0])
    for key, name in enumerate(["scope/a/x", "scope/a/b/y", "scope/c/z"]):
        puts(make(f"{mnt}/{name}"), cid, [item(key, v)])
    at = lambda name: keys_of(open_(f"{mnt}/{name}"), cid, [1, 0, 0, 0], flags=1)
    assert at("") == [0, 1, 2] and at("scope/a") == [0, 1] and at("scope/c") == [2]
    assert at("scope/a/x") == [0] and keys_of(open_(f"{mnt}/scope/a/x"), cid, [1, 0, 0, 0]) == [0, 1, 2]
    os.link(f"{mnt}/scope/c/z", f"{mnt}/scope/a/z2")
    assert at("scope/a") == [0, 1, 2]
    os.unlink(f"{mnt}/scope/c/z")
    assert at("scope/c") == [] and at("scope/a") == [0, 1, 2]
    os.rename(f"{mnt}/scope/a/b", f"{mnt}/scope/c/b")
    assert at("scope/a") == [0, 2] and at("scope/c") == [1]
    hit = search(root, cid, [[1, 0, 0, 0]], 3)[0][1]
    buf, raw = address(bytes(100))
    path = struct.pack("<IIQIIQII", 40, 0, hit["ino"], hit["generation"], 100, buf, 0, 0)
    n = struct.unpack_from("<I", ok(root, "path", path), 32)[0]
    assert raw.raw[:n] == b"scope/c/b/y", raw.raw[:n]


def life(mnt):
    """Rename keeps, unlink drops, write makes stale, a copy has nothing, a mark holds."""
    root = open_(mnt)
    cid = create(root, "life")
    fd = make(f"{mnt}/life", b"x" * 1000)
    v = floats([1, 0, 0, 0])
    puts(fd, cid, [item(1, v), item(2, v, off=0, len_=100), item(3, v, off=500, len_=100)])
    stale = lambda: [r["key"] for r in listing(fd, cid, 1) if r["flags"] & 1]
    assert stale() == []
    os.pwrite(fd, b"y", 550)
    assert stale() == [1, 3], stale()
    os.rename(f"{mnt}/life", f"{mnt}/life2")
    assert keys_of(root, cid, [1, 0, 0, 0]) == [1, 2, 3]
    puts(fd, cid, [item(1, v), item(3, v, off=500, len_=100)])
    assert stale() == []
    os.ftruncate(fd, 300)
    assert stale() == [1, 3], stale()
    # A write between mark and put makes what is put stale.
    mark = struct.unpack_from("<Q", ok(fd, "mark", struct.pack("<IIQQQII", 40, 0, 0, 0, 0, 0, 0)), 8)[0]
    os.pwrite(fd, b"z", 10)
    puts(fd, cid, [item(1, v, version=mark), item(2, v, off=50, len_=20, version=mark)])
    assert stale() == [1, 3] or 1 in stale(), stale()
    assert 2 not in stale(), stale()
    # By mmap, too.
    import mmap
    puts(fd, cid, [item(2, v, off=0, len_=100)])
    m = mmap.mmap(fd, 300)
    assert m[0:1] == b"x" and 2 not in stale()
    m[60:61] = b"q"
    assert 2 in stale(), stale()
    m.close()
    os.system(f"cp {mnt}/life2 {mnt}/life3")
    assert len(listing(open_(f"{mnt}/life3"), cid, 1)) == 0
    os.unlink(f"{mnt}/life2")
    assert keys_of(root, cid, [1, 0, 0, 0]) == [], "an unlinked file is no hit, open or not"
    os.close(fd)
    info = ok(root, "coll", collection(id=cid))
    assert struct.unpack_from("<Q", info, 24)[0] == 0, "its records are gone"


def churn(mnt):
    """Slots are used again, and never show another's vector."""
    rnd = random.Random(int(os.environ.get("VEXFS_SEED", "1")))
    root = open_(mnt)
    cid = create(root, "churn")
    fd = make(f"{mnt}/churn")
    model = {}
    for _ in range(30):
        keys = [rnd.randrange(300) for _ in range(60)]
        if rnd.random() < 0.3:
            delete(root, cid, keys)
            for k in keys:
                model.pop(k, None)
        else:
            news = {k: [rnd.randint(-99, 99) for _ in range(4)] for k in keys}
            puts(fd, cid, [item(k, floats(v)) for k, v in news.items()])
            model.update(news)
        if rnd.random() < 0.3:
            os.sync()
        at, buf = address(bytes(16))
        for k in rnd.sample(range(300), 20):
            e, _ = call(root, "get", get_arg(cid, k, at, 16))
            assert e == (0 if k in model else errno.ENOENT)
            assert k not in model or buf.raw == floats(model[k])
    assert [r["key"] for r in listing(root, cid, room=7)] == sorted(model)
    slots = struct.unpack_from("<Q", ok(root, "coll", collection(id=cid)), 32)[0]
    assert slots < 1200, f"{slots} slots for 300 keys"


def drop(mnt):
    """A dropped collection is gone with its space, names can be used again, ids are not."""
    root = open_(mnt)
    fd = make(f"{mnt}/drop")
    cid = create(root, "drop", 1024)
    before = os.statvfs(mnt).f_bfree
    v = floats([1] * 1024)
    for i in range(4):
        puts(fd, cid, [item(1000 * i + j, v) for j in range(1000)])
    assert before - os.statvfs(mnt).f_bfree > 3500
    expect(errno.EEXIST, root, "create", collection(b"drop", dim=4))
    ok(root, "drop", collection(id=cid))
    os.sync()
    assert before - os.statvfs(mnt).f_bfree < 300, before - os.statvfs(mnt).f_bfree
    assert create(root, "drop") > cid
    expect(errno.ENOENT, root, "coll", collection(id=cid))
    os.unlink(f"{mnt}/drop")


def together(mnt):
    """Puts, deletes, unlinks and searches at once: hits are always right, and nobody waits for ever."""
    cid = create(open_(mnt), "together", 16)
    end = time.monotonic() + 8
    value = lambda key: [float((key * p) % 17 - 8) for p in range(1, 17)]

    def writer(seed):
        rnd = random.Random(seed)
        top = open_(mnt)
        while time.monotonic() < end:
            keep.clear()
            name = f"{mnt}/together{seed}_{rnd.randrange(4)}"
            fd = make(name)
            first = rnd.randrange(400)
            puts(fd, cid, [item(k, floats(value(k))) for k in range(first, first + 100)])
            if rnd.random() < 0.5:
                os.unlink(name)
            os.close(fd)
            delete(top, cid, [rnd.randrange(500) for _ in range(30)])
            if rnd.random() < 0.3:
                os.sync()

    def searcher(seed):
        rnd = random.Random(seed)
        top = open_(mnt)
        while time.monotonic() < end:
            keep.clear()
            query = value(rnd.randrange(500))
            for hit in search(top, cid, [query], 20)[0]:
                want = sum((a - b) ** 2 for a, b in zip(query, value(hit["key"])))
                got = struct.unpack("<f", struct.pack("<I", hit["score"]))[0]
                assert got == want, (hit, got, want)

    children = []
    for f, seed in ((writer, 1), (writer, 2), (searcher, 3), (searcher, 4)):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                f(seed)
                code = 0
            except BaseException as e:
                print(f.__name__, repr(e), flush=True)
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4


def truth(mnt, out, ivecs, queries):
    """Compares the JSON of a search with ground truth."""
    raw = open(ivecs, "rb").read()
    dim = struct.unpack_from("<i", raw)[0]
    row = 4 + 4 * dim
    lines = [json.loads(line) for line in open(out)]
    assert len(lines) == int(queries)
    for line in lines:
        want = list(struct.unpack_from("<10i", raw, row * line["query"] + 4))
        got = [h["key"] for h in line["hits"]]
        assert got == want, (line["query"], got, want)


# --- The ABI ------------------------------------------------------------------


def args_of(cid):
    """A good structure for each call."""
    v, _ = address(floats([1, 0, 0, 0]))
    hits, _ = address(bytes(56 * 4))
    counts, _ = address(bytes(4))
    buf, _ = address(bytes(4096))
    it, _ = address(item(5, floats([1, 0, 0, 0])))
    key, _ = address(struct.pack("<Q", 77))
    return {
        "abi": struct.pack("<4IQQ16s", 48, 0, 0, 0, 0, 0, bytes(16)),
        "path": struct.pack("<IIQIIQII", 40, 0, args_of.ino, args_of.generation, 4096, buf, 0, 0),
        "coll": collection(id=cid),
        "mark": struct.pack("<IIQQQII", 40, 0, 0, 0, 0, 0, 0),
        "put": struct.pack("<4IQII", 32, 0, cid, 1, it, 56, 0),
        "get": get_arg(cid, 5, v, 16),
        "list": list_arg(cid, 4, 0, hits),
        "delete": delete_arg(cid, 1, key),
        "search": search_arg(cid, 4, 1, 4, v, hits, counts, size=128),
    }


def abi_sizes(mnt):
    """Wrong sizes, unknown tails, unknown flags, reserved fields, bad pointers."""
    fd = make(f"{mnt}/abi")
    cid = create(fd, "abi")
    puts(fd, cid, [item(5, floats([1, 0, 0, 0]))])
    r = listing(fd, cid)[0]
    args_of.ino, args_of.generation = r["ino"], r["generation"]
    good = args_of(cid)
    good["create"] = collection(b"abi2", dim=4)
    good["drop"] = collection(b"abi2")
    for name, arg in good.items():
        for size in (0, 4, LOW[name] - 1):
            expect(errno.EINVAL, fd, name, struct.pack("<I", size) + arg[4:])
        for size in (4097, 1 << 31, (1 << 32) - 1):
            expect(errno.E2BIG, fd, name, struct.pack("<I", size) + arg[4:] + bytes(4096))
        long = SIZE[name] + 24
        expect(errno.E2BIG, fd, name, struct.pack("<I", long) + arg[4:] + b"\0" * 20 + b"\1\0\0\0")
        bad_flag = 1 << 31
        expect(errno.EINVAL, fd, name, arg[:4] + struct.pack("<I", bad_flag) + arg[8:])
        libc = ctypes.CDLL(None, use_errno=True)
        for pointer in (0, 8, 0x7FFFFFFFF000, 0xFFFFFFFFFFFFF000):
            assert libc.ioctl(fd, ctypes.c_ulong(io(name)), ctypes.c_void_p(pointer)) == -1
            assert ctypes.get_errno() == errno.EFAULT, (name, hex(pointer), ctypes.get_errno())
    for name in ("create", "coll", "path", "mark", "put", "get", "list", "delete", "search", "drop", "abi"):
        arg = good[name] if name != "coll" else collection(b"abi2")
        ok(fd, name, struct.pack("<I", SIZE[name] + 8) + arg[4:] + bytes(8))
    out = ok(fd, "abi", struct.pack("<IIII", 16, 0, 0, 0))
    assert struct.unpack_from("<III", out) == (48, 0, 1)
    for name, at in (("path", 36), ("mark", 36), ("list", 36), ("search", 52)):
        arg = bytearray(good[name])
        struct.pack_into("<I", arg, at, 1)
        expect(errno.EINVAL, fd, name, arg)
    for nr in (0x03, 0x0F, 0x13, 0x1D, 0x22, 0x2F, 0x30, 0xFF):
        try:
            fcntl.ioctl(fd, 0xF700 | nr, bytearray(64), True)
            raise AssertionError(hex(nr))
        except OSError as e:
            assert e.errno == errno.ENOTTY, (hex(nr), e)


def abi_limits(mnt):
    """Huge counts, wrong dimensions, bad inner pointers, things that are not there."""
    fd = make(f"{mnt}/limits")
    cid = create(fd, "limits")
    v, _ = address(floats([1, 0, 0, 0]))
    buf, _ = address(bytes(8192))
    big = (1 << 32) - 1
    for nq, k, code in ((0, 1, errno.EINVAL), (1, 0, errno.EINVAL), (257, 1, errno.E2BIG), (1, 4097, errno.E2BIG),
                        (256, 4096, errno.E2BIG), (big, big, errno.E2BIG), (17, 4096, errno.E2BIG)):
        expect(code, fd, "search", search_arg(cid, 4, nq, k, v, buf, buf))
    expect(errno.EINVAL, fd, "search", search_arg(cid, 5, 1, 1, v, buf, buf))
    for size in (0, 8, 55, 57, 60):
        expect(errno.EINVAL, fd, "search", search_arg(cid, 4, 1, 1, v, buf, buf, hit_size=size))
    puts(fd, cid, [item(1, floats([1, 0, 0, 0]))])
    for bad in (0, 8, 1 << 47, (1 << 64) - 8):
        expect(errno.EFAULT, fd, "search", search_arg(cid, 4, 1, 1, bad, buf, buf))
        expect(errno.EFAULT, fd, "search", search_arg(cid, 4, 1, 1, v, bad, buf))
        expect(errno.EFAULT, fd, "search", search_arg(cid, 4, 1, 1, v, buf, bad))
        expect(errno.EFAULT, fd, "put", struct.pack("<4IQII", 32, 0, cid, 1, bad, 56, 0))
        expect(errno.EFAULT, fd, "get", get_arg(cid, 1, bad, 16))
        expect(errno.EFAULT, fd, "list", list_arg(cid, 1, 0, bad))
        expect(errno.EFAULT, fd, "delete", delete_arg(cid, 1, bad))
    for q in ([float("nan"), 0, 0, 0], [float("inf"), 0, 0, 0], [3e38] * 4):
        expect(errno.EINVAL, fd, "search", search_arg(cid, 4, 1, 1, address(floats(q))[0], buf, buf))
    expect(errno.E2BIG, fd, "put", struct.pack("<4IQII", 32, 0, cid, 4097, buf, 56, 0))
    expect(errno.E2BIG, fd, "put", struct.pack("<4IQII", 32, 0, cid, big, buf, 56, 0))
    expect(errno.E2BIG, fd, "list", list_arg(cid, 65537, 0, buf))
    expect(errno.E2BIG, fd, "delete", delete_arg(cid, 65537, buf))
    expect(errno.EINVAL, fd, "delete", delete_arg(cid, 1, buf, flags=1))
    ok(fd, "put", struct.pack("<4IQII", 32, 0, cid, 0, 0, 56, 0))
    for n in (0, 15, 17, 64):
        expect(errno.EINVAL if n else 0, fd, "get", get_arg(cid, 1, buf, n))
    for name, arg in (("get", get_arg(cid, 2)), ("get", get_arg(999, 1)), ("coll", collection(id=999)), ("coll", collection(b"no")),
                      ("drop", collection(id=999)), ("list", list_arg(999, 1, 0, buf)), ("delete", delete_arg(999, 0)),
                      ("search", search_arg(999, 4, 1, 1, v, buf, buf)), ("put", struct.pack("<4IQII", 32, 0, 999, 0, 0, 56, 0)),
                      ("coll", collection(id=big, flags=1))):
        expect(errno.ENOENT, fd, name, arg)
    for bad in (dict(dim=0), dict(dim=4097), dict(type=0), dict(type=99), dict(metric=0), dict(metric=99), dict(name=b"a/b"),
                dict(name=b""), dict(name=b"x" * 64), dict(name=b".."), dict(name=b"a\nb"), dict(name=b"a\0b"), dict(model=b"m" * 192)):
        expect(errno.EINVAL, fd, "create", collection(**{**dict(name=b"good", dim=4), **bad}))
    # Numbers that are no inodes: nothing is found, and nothing is taken for damage.
    rnd = random.Random(1)
    for ino in [0, 1, 7, 8, 255, 2**63, 2**64 - 1] + [rnd.randrange(2**20) for _ in range(500)]:
        e, _ = call(fd, "path", struct.pack("<IIQIIQII", 40, 0, ino, 1, 4096, buf, 0, 0))
        assert e in (errno.ESTALE, errno.ENOENT), (ino, e)
    make(f"{mnt}/still_writable")
    # Sockets, pipes and other file systems do not know these calls; O_PATH descriptors know none.
    for other in (os.pipe()[0], open_("/"), open_("/dev/null")):
        expect(errno.ENOTTY, other, "abi", struct.pack("<IIII", 16, 0, 0, 0))
    expect(errno.EBADF, os.open(mnt, os.O_PATH), "abi", struct.pack("<IIII", 16, 0, 0, 0))
    # Directories own no vectors.
    e, status, _ = put(open_(mnt), cid, [item(9, floats([1, 0, 0, 0]))])
    assert (e, status) == (0, [-errno.EINVAL])


def abi_random(mnt):
    """Random structures: any errno, no harm."""
    rnd = random.Random(int(os.environ.get("VEXFS_SEED", "1")))
    fd = make(f"{mnt}/random")
    cid = create(fd, "random")
    room, _ = address(bytes(1 << 16))
    for _ in range(5_000):
        name = rnd.choice(list(NR))
        words = [rnd.choice([0, 1, 2, 4, 5, 56, cid, 4096, 2**31, 2**32 - 1, rnd.randrange(2**32)]) for _ in range(SIZE[name] // 4)]
        words[0] = rnd.choice([SIZE[name]] * 8 + [0, 2**32 - 1])
        words[1] = rnd.choice([0, 0, 0, 1, 2, 3, rnd.randrange(2**32)])
        arg = bytearray(struct.pack(f"<{len(words)}I", *words))
        for at in range(8, SIZE[name] - 8, 8):
            if rnd.random() < 0.4:
                struct.pack_into("<Q", arg, at, room)
        call(fd, name, arg)
    make(f"{mnt}/still_writable2")


def read_only(mnt):
    """On a read-only mount what changes is refused, what reads works."""
    fd = open_(f"{mnt}/abi")
    cid = coll_id(ok(fd, "coll", collection(b"abi")))
    args_of.ino = args_of.generation = 0
    good = args_of(cid)
    for name in ("put", "delete", "mark"):
        expect(errno.EROFS, fd, name, good[name])
    expect(errno.EROFS, fd, "create", collection(b"ro", dim=4))
    expect(errno.EROFS, fd, "drop", collection(id=cid))
    assert keys_of(fd, cid, [1, 0, 0, 0]) == [5]


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
