#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of queries and filters against a model: queries_ops.py TEST MOUNT

Each test exits 0 if all is as it should be. Structures are packed by hand.
"""
import errno
import os
import random
import stat
import struct
import sys
import time

from vectors_ops import (L2, address, call, collection, create, expect, floats, io, item, make, ok, open_, puts, record)

SUBTREE, EXACT, FUSE, GROUP, WITHIN, LIKE_KEY, LIKE_FILE, OTHERS, PREPARED = (1 << i for i in range(9))
TRUNCATED = 1
BEGUN, END = 1, 2
OPS = dict(uint=1, sint=2, time=3, field=4, flag=5, xattr_number=6, xattr=7, xattr_eq=8, xattr_glob=9, path_glob=10,
           name_glob=11, under=12, eq=16, ne=17, lt=18, le=19, gt=20, ge=21, bits=22, isin=23, both=32, either=33, no=34)
FIELDS = dict(key=1, off=2, len=3, version=4, ino=5, uid=16, gid=17, mode=18, type=19, size=20, blocks=21, nlink=22,
              project=23, atime=24, mtime=25, ctime=26, btime=27)
FLAGS = dict(stale=1, offline=2, archived=3, whole=4)
EXPLAIN = ("size flags plan ef total_ns known nodes nodes_missing tail scanned scored pages pages_missed asked "
           "refused_dead refused_sight refused_scope refused_filter filter_runs remembered plan_ns graph_ns scan_ns "
           "score_ns admit_ns tell_ns").split()
SEED = int(os.environ.get("VEXFS_SEED", "1"))


class Program:
    """A filter that is being put together."""

    def __init__(self):
        self.insns, self.data = b"", b""

    def op(self, name, field=0, len_=0, value=0):
        number = OPS[name] if isinstance(name, str) else name
        self.insns += struct.pack("<HHIQ", number, field, len_, value & (1 << 64) - 1)
        return self

    def text(self, name, text):
        self.data += bytes(-len(self.data) % 8)
        self.op(name, 0, len(text), len(self.data))
        self.data += text
        return self

    def raw(self, size=40, flags=0, insn_size=16, count=None, data_len=None):
        n = len(self.insns) // 16 if count is None else count
        d = len(self.data) if data_len is None else data_len
        return struct.pack("<4IQQII", size, flags, n, insn_size, address(self.insns)[0], address(self.data)[0], d, 0)


def compiled(expr, p=None):
    """A program for an expression of nested tuples: see `truth`."""
    p = Program() if p is None else p
    kind, *args = expr
    if kind in ("both", "either"):
        for a in args:
            compiled(a, p)
        return p.op(kind)
    if kind == "no":
        return compiled(args[0], p).op("no")
    if kind == "flag":
        return p.op("flag", FLAGS[args[0]])
    if kind == "cmp":
        cmp, field, number = args
        if field.startswith("user.") or field.startswith("trusted."):
            p.text("xattr_number", field.encode())
        else:
            p.op("field", FIELDS[field])
        if isinstance(number, tuple):
            p.op("time", 0, number[1], number[0])
        else:
            p.op("sint" if number < 0 else "uint", 0, 0, number)
        return p.op(cmp)
    if kind == "bits":
        return p.op("field", FIELDS["mode"]).op("uint", value=args[0]).op("bits").op("uint", value=0).op("ne")
    if kind == "in":
        p.op("field", FIELDS[args[0]])
        return p.text("isin", struct.pack(f"<{len(args[1])}Q", *sorted(args[1])))
    if kind == "under":
        return p.op("under", 0, args[1], args[0])
    return p.text(kind, args[0] if len(args) == 1 else args[0] + b"\0" + args[1])


def glob(pattern, text):
    """The few patterns that are used here."""
    import re
    out, i = "", 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            out, i = out + "(.*/)?", i + 3
        elif pattern.startswith("**", i):
            out, i = out + ".*", i + 2
        elif pattern[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif pattern[i] == "?":
            out, i = out + "[^/]", i + 1
        else:
            out, i = out + re.escape(pattern[i]), i + 1
    return re.fullmatch(out, text) is not None


def truth(expr, rec, f, path):
    """What an expression says of a record of the model, its file, and one of that one's paths."""
    kind, *args = expr
    if kind == "both":
        return truth(args[0], rec, f, path) and truth(args[1], rec, f, path)
    if kind == "either":
        return truth(args[0], rec, f, path) or truth(args[1], rec, f, path)
    if kind == "no":
        return not truth(args[0], rec, f, path)
    if kind == "flag":
        return dict(stale=rec["stale"], offline=False, archived=False, whole=(rec["off"], rec["len"]) == (0, 0))[args[0]]
    st = f["stat"]
    fields = dict(key=rec["key"], off=rec["off"], len=rec["len"], ino=st.st_ino, uid=st.st_uid, gid=st.st_gid,
                  mode=stat.S_IMODE(st.st_mode), type=stat.S_IFMT(st.st_mode), size=st.st_size, blocks=st.st_blocks,
                  nlink=st.st_nlink, project=0, atime=st.st_atime_ns, mtime=st.st_mtime_ns, ctime=st.st_ctime_ns)
    if kind == "cmp":
        cmp, field, number = args
        if "." in field:
            value = f["xattr"].get(field)
            if value is None or not value.lstrip(b"+-").isdigit():
                return False
            value = int(value)
        else:
            value = fields[field]
        number = number[0] * 10**9 + number[1] if isinstance(number, tuple) else number
        return dict(eq=value == number, ne=value != number, lt=value < number, le=value <= number, gt=value > number,
                    ge=value >= number)[cmp]
    if kind == "bits":
        return fields["mode"] & args[0] != 0
    if kind == "in":
        return fields[args[0]] in args[1]
    if kind == "under":
        return any(p.startswith(f["dirs"][args[0]] + "/") for p in f["paths"])
    if kind == "path_glob":
        return glob(args[0].decode(), path)
    if kind == "name_glob":
        return glob(args[0].decode(), path.rsplit("/", 1)[-1])
    value = f["xattr"].get(args[0].decode())
    if kind == "xattr":
        return value is not None
    return value is not None and (value == args[1] if kind == "xattr_eq" else glob(args[1].decode(), value.decode()))


def request(fd, cid, queries, k, flags=0, filter_=None, want=0, size=128, **more):
    """A search with everything; returns the errno, the lists of hits, the structure, cursors and explanation."""
    m = dict(ef=0, radius=0.0, window=0, like_fd=0, filter_fd=0, like_key=0, filter=0, cursors=None, ns=0, pages=0, n=None,
             dim=4, explain=0)
    m.update(more)
    n = len(queries) if m["n"] is None else m["n"]
    lists = 1 if flags & FUSE else n
    hits, hbuf = address(bytes(56 * k * lists))
    counts, cbuf = address(bytes(4 * lists))
    q = address(b"".join(floats(q) for q in queries))[0]
    cursors, curbuf = address(m["cursors"]) if m["cursors"] is not None else (0, None)
    explain, ebuf = address(struct.pack("<I", 200) + bytes(196)) if m["explain"] else (0, None)
    f = 0 if filter_ is None else address(filter_ if isinstance(filter_, bytes) else filter_.raw())[0]
    radius = struct.unpack("<I", struct.pack("<f", m["radius"]))[0]
    arg = struct.pack("<6I3QII4Iii6Q", size, flags, cid, m["dim"], n, k, q, hits, counts, 56, 0, m["ef"], radius, m["window"], 77,
                      m["like_fd"], m["filter_fd"], m["like_key"], f, cursors, m["ns"], m["pages"], explain)
    e, out = call(fd, "search", arg)
    if want is not None:
        assert e == want, (errno.errorcode.get(e, e), errno.errorcode.get(want, want))
    if e:
        return e
    found = struct.unpack(f"<{lists}I", cbuf.raw[:4 * lists])
    result = [[record(hbuf.raw, 56 * (i * k + j)) for j in range(found[i])] for i in range(lists)]
    told = dict(zip(EXPLAIN, struct.unpack("<4I22Q", ebuf.raw[:192]))) if ebuf else None
    return dict(lists=result, result=struct.unpack_from("<I", out, 68)[0], queries=struct.unpack_from("<I", out, 16)[0],
                cursors=curbuf.raw[:24 * lists] if curbuf else None, told=told)


def keys(answer, at=0):
    return [h["key"] for h in answer["lists"][at]]


def score(hit):
    return struct.unpack("<f", struct.pack("<I", hit["score"]))[0]


class Corpus:
    """Files of all kinds with records, and what is known of them."""

    def __init__(self, mnt, name, rnd, files=48):
        self.mnt, self.top, self.rnd = mnt, f"{mnt}/{name}", rnd
        self.root = open_(mnt)
        self.cid = create(self.root, name)
        self.records, self.files = {}, {}
        self.dirs = {}
        # Where directories are that were moved.
        self.place = {}
        for d in ("", "/a", "/a/sub", "/b"):
            os.mkdir(self.top + d)
            fd = open_(self.top + d)
            self.dirs[d] = (os.fstat(fd).st_ino, self.generation(fd))
            os.close(fd)
        for i in range(files):
            d = rnd.choice(["", "/a", "/a/sub", "/b"])
            self.file(f"{d}/{rnd.choice(['note', 'main', 'x'])}{i}.{rnd.choice(['txt', 'c', 'md'])}")
        names = sorted(self.files)
        for i in range(4):
            # Further names for some.
            self.link(names[i * 5], f"/b/link{i}.lnk")

    @staticmethod
    def generation(fd):
        import fcntl
        return struct.unpack("<I", fcntl.ioctl(fd, 0x80087601, bytes(8))[:4])[0]

    def file(self, path):
        rnd, full = self.rnd, self.top + path
        fd = make(full, b"t" * rnd.choice([0, 1, 100, 5000, 70000]))
        for x in ("user.tag", "user.n"):
            if rnd.random() < 0.5:
                os.setxattr(full, x, rnd.choice([b"red", b"green", b"5", b"-7", b"12"]))
        if rnd.random() < 0.3:
            os.setxattr(full, "trusted.t", b"1")
        for j in range(rnd.choice([1, 1, 2, 3])):
            self.put(fd, path, len(self.records) + 1000 * j + 1, [rnd.randint(-9, 9) for _ in range(4)],
                     *rnd.choice([(0, 0), (0, 50), (j * 10, 10)]))
        os.chmod(full, rnd.choice([0o644, 0o600, 0o755, 0o4755, 0o444]))
        os.chown(full, rnd.choice([0, 0, 1000, 70000]), rnd.choice([0, 5, 1000]))
        os.utime(full, ns=(rnd.choice([0, 10**18, 5 * 10**9]), rnd.choice([-(10**9) + 5, 3, 10**18 + 7])))
        os.close(fd)
        self.files[path] = [path]

    def put(self, fd, path, key, vector, off, len_):
        puts(fd, self.cid, [item(key, floats(vector), off=off, len_=len_)])
        self.records[key] = dict(key=key, vector=vector, off=off, len=len_, path=path, stale=False)

    def link(self, path, new):
        os.link(self.top + path, self.top + new)
        self.files[path].append(new)

    def best(self, query, expr=None, files=False, radius=None):
        """Keys of all hits in order."""
        base = os.path.basename(self.top)
        dirs = {ino: base + self.place.get(d, d) for d, (ino, _) in self.dirs.items()}
        slots = {r["key"]: r["slot"] for r in request(self.root, self.cid, [query], 4000)["lists"][0]}
        found = []
        for key, rec in self.records.items():
            names = [base + p for p in self.files[rec["path"]]]
            full = f"{self.mnt}/{names[0]}"
            f = dict(stat=os.stat(full), paths=names, dirs=dirs,
                     xattr={x: os.getxattr(full, x) for x in os.listxattr(full)})
            if expr is None or any(truth(expr, rec, f, p) for p in names):
                d = sum((a - b) ** 2 for a, b in zip(query, rec["vector"]))
                if radius is None or d <= radius:
                    found.append((d, slots[key], key, rec["path"]))
        found.sort()
        seen = set()
        return [k for _, _, k, p in found if not (files and (p in seen or seen.add(p)))]

    def any_expr(self, depth):
        rnd = self.rnd
        if depth and rnd.random() < 0.6:
            kind = rnd.choice(["both", "either", "no"])
            return (kind, self.any_expr(depth - 1)) + ((self.any_expr(depth - 1),) if kind != "no" else ())
        base = os.path.basename(self.top)
        stats = os.stat(self.top + rnd.choice(sorted(self.files)))
        return rnd.choice([
            ("flag", rnd.choice(["stale", "offline", "archived", "whole"])),
            ("cmp", rnd.choice(["eq", "ne", "lt", "ge"]), "size", rnd.choice([0, 100, 5000])),
            ("cmp", rnd.choice(["eq", "le", "gt"]), "uid", rnd.choice([0, 1000, 70000])),
            ("cmp", "eq", "gid", rnd.choice([0, 5])),
            ("cmp", rnd.choice(["lt", "ge", "eq"]), "mtime", rnd.choice([(-1, 5), (0, 3), (10**9, 7), (0, 4)])),
            ("cmp", rnd.choice(["lt", "ge"]), "ctime", (stats.st_ctime_ns // 10**9, stats.st_ctime_ns % 10**9)),
            ("cmp", "ge", "nlink", 2),
            ("cmp", "eq", "type", stat.S_IFREG),
            ("cmp", "lt", "key", rnd.randrange(100)),
            ("cmp", rnd.choice(["gt", "le"]), "len", rnd.choice([0, 10])),
            ("cmp", "eq", "ino", stats.st_ino),
            ("cmp", rnd.choice(["lt", "ge", "ne"]), "user.n", rnd.choice([-7, 5, 0])),
            ("bits", rnd.choice([0o111, 0o4000, 0o200])),
            ("in", "key", rnd.sample(sorted(self.records), 10)),
            ("in", "ino", [stats.st_ino]),
            ("under", *self.dirs[rnd.choice(["/a", "/b", "/a/sub"])]),
            ("path_glob", rnd.choice([b"**/*.c", b"*/a/**", base.encode() + b"/*", b"**/sub/?ain*.txt", b"**.md"])),
            ("name_glob", rnd.choice([b"*.c", b"note*", b"link?.lnk", b"*1*"])),
            ("xattr", rnd.choice([b"user.tag", b"user.none", b"trusted.t"])),
            ("xattr_eq", b"user.tag", rnd.choice([b"red", b"5", b""])),
            ("xattr_glob", b"user.tag", rnd.choice([b"r*", b"?????", b"*"])),
        ])


def filters(mnt):
    """All that a filter can ask for, alone and in any combination."""
    rnd = random.Random(SEED)
    c = Corpus(mnt, "filters", rnd)
    # One file changes: its records are stale.
    changed = c.records[sorted(c.records)[3]]["path"]
    with open(c.top + changed, "ab") as f:
        f.write(b"more")
    for rec in c.records.values():
        if rec["path"] == changed:
            end = os.path.getsize(c.top + changed) - 4
            rec["stale"] = (rec["off"], rec["len"]) == (0, 0) or rec["off"] + rec["len"] > end
    for depth in [0] * 60 + [1] * 40 + [3] * 60:
        expr = c.any_expr(depth)
        query = [rnd.randint(-9, 9) for _ in range(4)]
        k = rnd.choice([1, 5, 300])
        files = rnd.random() < 0.3
        got = keys(request(c.root, c.cid, [query], k, GROUP if files else 0, compiled(expr)))
        want = c.best(query, expr, files)[:k]
        assert got == want, (expr, got, want)
    # Blocks and creation: no model, but a sense.
    now = int(time.time())
    for expr, all_ in ((("cmp", "gt", "btime", (now - 3600, 0)), True), (("cmp", "gt", "btime", (now + 3600, 0)), False),
                       (("cmp", "gt", "version", 0), True), (("cmp", "eq", "project", 0), True)):
        n = len(keys(request(c.root, c.cid, [[0] * 4], 300, 0, compiled(expr))))
        assert n == (len(c.records) if all_ else 0), (expr, n)


def rights(mnt):
    """A filter tells nobody of what they may not see."""
    rnd = random.Random(SEED)
    c = Corpus(mnt, "qrights", rnd, 20)
    os.chmod(c.top, 0o755)
    os.chmod(c.top + "/b", 0o700)
    mine = [k for k in c.best([0] * 4) if os.stat(c.top + c.records[k]["path"]).st_mode & 0o004]
    mine = [k for k in mine if any(not p.startswith("/b") for p in c.files[c.records[k]["path"]])]
    everything = compiled(("no", ("cmp", "eq", "key", 0)))
    attr = compiled(("xattr", b"trusted.t"))
    root_sees = len(keys(request(c.root, c.cid, [[0] * 4], 300, 0, attr)))
    hidden = compiled(("under", *c.dirs["/b"]))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgid(12345)
            os.setuid(12345)
            a = request(c.root, c.cid, [[0] * 4], 300, 0, everything, explain=1)
            assert sorted(keys(a)) == sorted(mine), (keys(a), mine)
            told = a["told"]
            assert told["flags"] == 0 and told["plan"] and told["total_ns"] and not told["asked"] and not told["scanned"], told
            assert keys(request(c.root, c.cid, [[0] * 4], 300, 0, attr)) == []
            request(c.root, c.cid, [[0] * 4], 300, 0, hidden, want=errno.ENOENT)
            secret = [k for k in c.records if k not in mine][0]
            request(c.root, c.cid, [], 3, LIKE_KEY, want=errno.ENOENT, like_key=secret, n=1)
            code = 0
        except BaseException as e:
            print(repr(e), flush=True)
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert root_sees > 0
    request(c.root, c.cid, [[0] * 4], 3, 0, compiled(("under", c.dirs["/a"][0], c.dirs["/a"][1] ^ 1)), want=errno.ENOENT)


def forms(mnt):
    """Radius, groups, pages, fusion, like this, and what of it goes together."""
    rnd = random.Random(SEED)
    c = Corpus(mnt, "forms", rnd)
    for _ in range(25):
        query = [rnd.randint(-9, 9) for _ in range(4)]
        files, radius = rnd.random() < 0.5, rnd.choice([None, 0, 50, 200])
        flags = (GROUP if files else 0) | (WITHIN if radius is not None else 0)
        expr = rnd.choice([None, c.any_expr(1)])
        truth_ = c.best(query, expr, files, radius)
        more = dict(filter_=None if expr is None else compiled(expr), radius=float(radius or 0))
        assert keys(request(c.root, c.cid, [query], 400, flags, **more)) == truth_
        # The same in pages.
        k, cursor, pages = rnd.randint(1, 20), bytes(24), []
        while True:
            a = request(c.root, c.cid, [query], k, flags, cursors=cursor, **more)
            pages += keys(a)
            cursor = a["cursors"]
            if struct.unpack_from("<I", cursor, 12)[0] & END:
                break
            assert len(keys(a)) == k
        assert pages == truth_, (pages, truth_)
        assert keys(request(c.root, c.cid, [query], k, flags, cursors=cursor, **more)) == []
    # Fusion, with the sums of a model.
    for _ in range(10):
        queries = [[rnd.randint(-9, 9) for _ in range(4)] for _ in range(rnd.randint(1, 5))]
        files, window = rnd.random() < 0.5, rnd.choice([3, 10, 400])
        sums = {}
        for q in queries:
            for r, key in enumerate(c.best(q, None, files)[:window]):
                thing = c.records[key]["path"] if files else key
                sums[thing] = sums.get(thing, 0) + 1 / (61 + r)
        flags = FUSE | (GROUP if files else 0)
        hits = request(c.root, c.cid, queries, 500, flags, window=window)["lists"][0]
        got = [c.records[h["key"]]["path"] if files else h["key"] for h in hits]
        assert set(got) == set(sums) and len(got) == len(sums)
        for h, thing in zip(hits, got):
            assert abs(score(h) - sums[thing]) < 1e-6 * sums[thing]
        assert all(score(a) >= score(b) for a, b in zip(hits, hits[1:]))
        cursor, pages = bytes(24), []
        while not struct.unpack_from("<I", cursor, 12)[0] & END:
            a = request(c.root, c.cid, queries, 7, flags, window=window, cursors=cursor)
            pages, cursor = pages + keys(a), a["cursors"]
        assert pages == [h["key"] for h in hits]
    # Like a record, like a file.
    key = sorted(c.records)[7]
    rec = c.records[key]
    a = request(c.root, c.cid, [], 10, LIKE_KEY, n=1, like_key=key)
    assert keys(a) == c.best(rec["vector"])[:10] and score(a["lists"][0][0]) == 0
    others = [k for k in c.best(rec["vector"]) if c.records[k]["path"] != rec["path"]]
    assert keys(request(c.root, c.cid, [], 10, LIKE_KEY | OTHERS, n=1, like_key=key)) == others[:10]
    own = [k for k, r in c.records.items() if r["path"] == rec["path"]]
    fd = open_(c.top + rec["path"])
    a = request(c.root, c.cid, [], 5, LIKE_FILE, n=9, like_fd=fd)
    assert a["queries"] == len(own)
    by_slot = sorted(own, key=lambda k: c.best([0] * 4).index(k))
    assert sorted(keys(a, i)[0] for i in range(len(own))) == sorted(c.best(c.records[k]["vector"])[0] for k in by_slot)
    fused = request(c.root, c.cid, [], 5, LIKE_FILE | FUSE | OTHERS | GROUP, n=9, like_fd=fd)
    assert all(h["ino"] != os.fstat(fd).st_ino for h in fused["lists"][0]) and len(fused["lists"][0]) == 5
    empty = make(f"{mnt}/forms_empty")
    request(c.root, c.cid, [], 5, LIKE_FILE, n=9, like_fd=empty, want=errno.ENODATA)


def plans(mnt):
    """Where few records can be hits, only they are compared; the answers are the same."""
    rnd = random.Random(SEED)
    c = Corpus(mnt, "plans", rnd, 30)
    # Many more elsewhere, so that it is worth it.
    fd = make(f"{mnt}/plans_many")
    for i in range(3):
        puts(fd, c.cid, [item(10**6 + i * 1000 + j, floats([rnd.randint(-9, 9) for _ in range(4)])) for j in range(1000)])
    query = [1, 2, 3, 4]
    some = rnd.sample(sorted(c.records), 9)
    whole = request(c.root, c.cid, [query], 4000, explain=1)
    assert whole["told"]["plan"] == 1 and whole["told"]["scanned"] >= 3000, whole["told"]
    order = [k for k in keys(whole) if k < 10**6]
    path = c.records[some[0]]["path"]
    ino = os.stat(c.top + path).st_ino
    under = lambda d: [k for k in order if any(p.startswith(d + "/") for p in c.files[c.records[k]["path"]])]
    dir_b = open_(c.top + "/b")
    the_file = open_(c.top + path)
    own = [k for k in order if c.records[k]["path"] == path]
    for fd, flags, expr, want in (
            (c.root, 0, ("in", "key", some), [k for k in order if k in some]),
            (c.root, 0, ("cmp", "eq", "key", some[0]), [some[0]]),
            (c.root, 0, ("both", ("cmp", "ge", "size", 0), ("in", "key", some + [5555555])), [k for k in order if k in some]),
            (c.root, 0, ("in", "ino", [ino, 1]), own),
            (c.root, 0, ("cmp", "eq", "ino", ino), own),
            (c.root, 0, ("under", *c.dirs["/a"]), under("/a")),
            (dir_b, SUBTREE, None, under("/b")),
            (dir_b, SUBTREE, ("under", *c.dirs["/a/sub"]), [k for k in under("/b") if k in under("/a/sub")]),
            (the_file, SUBTREE, None, own)):
        a = request(fd, c.cid, [query], 4000, flags, None if expr is None else compiled(expr), explain=1)
        assert keys(a) == want, (expr, keys(a), want)
        told = a["told"]
        assert told["plan"] == 2 and told["known"] <= len(order) and told["scanned"] < 200, (expr, told)
    a = request(c.root, c.cid, [query], 10, 0, compiled(("either", ("in", "key", some), ("cmp", "eq", "uid", 4711))), explain=1)
    told = a["told"]
    assert told["plan"] == 1 and told["flags"] == 1 and told["refused_filter"] > 0 and told["filter_runs"] > 0, told
    assert told["asked"] >= 9 and told["total_ns"] > told["scan_ns"] > 0 and told["admit_ns"] > 0, told


def budgets(mnt):
    """A search that may not go on says so, and what it found is right as far as it goes."""
    root = open_(mnt)
    cid = create(root, "budgets", 512)
    fd = make(f"{mnt}/budgets")
    for i in range(8):
        puts(fd, cid, [item(i * 1000 + j, floats([(i * 1000 + j) % 97] + [1] * 511)) for j in range(1000)])
    query = [[0] * 512]
    a = request(root, cid, query, 5, dim=512, ns=10**12, pages=10**9)
    assert a["result"] == 0 and len(keys(a)) == 5
    a = request(root, cid, query, 5, dim=512, ns=1, cursors=bytes(24))
    assert a["result"] == TRUNCATED and keys(a) == [] and a["cursors"] == bytes(24)
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")
    a = request(root, cid, query, 5, dim=512, pages=64, explain=1)
    told = a["told"]
    assert a["result"] == TRUNCATED and 64 <= told["pages_missed"] < 3000 and told["scanned"] < 8000, told
    a = request(root, cid, query, 5, dim=512, explain=1)
    assert a["result"] == 0 and a["told"]["scanned"] >= 8000
    assert [score(h) for h in a["lists"][0]] == [511.0] * 5


def wrong(mnt):
    """What is refused, and with which error."""
    root = open_(mnt)
    cid = create(root, "wrong")
    fd = make(f"{mnt}/wrong")
    puts(fd, cid, [item(1, floats([1, 0, 0, 0])), item(2, floats([0, 1, 0, 0]))])
    q = [[1, 0, 0, 0]]
    bad = lambda code, *a, **m: request(root, cid, q, *(a or (1,)), want=code, **m)
    bad(errno.EINVAL, radius=1.0)
    bad(errno.EINVAL, 1, WITHIN, radius=float("nan"))
    bad(errno.EINVAL, window=1)
    bad(errno.EINVAL, like_fd=1)
    bad(errno.EINVAL, like_key=1)
    bad(errno.EINVAL, filter_fd=1)
    bad(errno.EINVAL, 1, OTHERS)
    bad(errno.EINVAL, 1, LIKE_KEY | LIKE_FILE, like_key=1)
    bad(errno.EINVAL, 1, LIKE_KEY, like_key=1, n=2)
    bad(errno.ENOENT, 1, LIKE_KEY, like_key=77)
    bad(errno.EBADF, 1, LIKE_FILE, like_fd=999)
    other = open_("/")
    bad(errno.EXDEV, 1, LIKE_FILE, like_fd=other)
    bad(errno.E2BIG, ef=65537)
    bad(errno.E2BIG, 1, FUSE, window=4097)
    bad(errno.EINVAL, 1, 1 << 30)
    bad(errno.EINVAL, cursors=struct.pack("<QIIQ", 0, 0, 4, 0))
    bad(errno.E2BIG, 1, GROUP, cursors=struct.pack("<QIIQ", 0, 0, 1, 1 << 40))
    keys_in = Program().op("field", 1).text("isin", struct.pack("<2Q", 1, 2))
    assert keys(request(root, cid, q, 5, 0, keys_in)) == [1, 2]
    # Sizes of the filter.
    for size, code in ((0, errno.EINVAL), (39, errno.EINVAL), (4097, errno.E2BIG), (40, 0)):
        bad(code, 5, 0, keys_in.raw(size=size))
    bad(errno.EINVAL, 5, 0, keys_in.raw(flags=1))
    bad(errno.EINVAL, 5, 0, keys_in.raw(insn_size=8))
    bad(errno.EINVAL, 5, 0, keys_in.raw(insn_size=20))
    bad(errno.E2BIG, 5, 0, keys_in.raw(count=257))
    bad(errno.E2BIG, 5, 0, keys_in.raw(data_len=(8 << 20) + 1))
    bad(errno.EINVAL, 5, 0, keys_in.raw(data_len=8))
    bad(errno.EINVAL, 5, 0, keys_in.raw(count=0))
    flag = lambda: Program().op("flag", 4)
    for program, code in (
            (flag(), 0), (Program().op("field", 1), errno.EINVAL), (flag().op("both"), errno.EINVAL), (flag().op("flag", 4), errno.EINVAL),
            (flag().op("eq"), errno.EINVAL), (Program().op("uint").op("no"), errno.EINVAL), (Program().op("flag", 9), errno.EINVAL),
            (Program().op("field", 6).op("uint").op("eq"), errno.EINVAL), (Program().op(99), errno.EINVAL),
            (flag().op("no", 1), errno.EINVAL), (Program().op("time", 0, 10**9).op("uint").op("eq"), errno.EINVAL),
            (Program().text("path_glob", b"["), errno.EINVAL), (Program().text("path_glob", b"a" * 1025), errno.E2BIG),
            (Program().text("xattr", b"user."), errno.EINVAL), (Program().text("xattr", b"system.posix_acl_access"), errno.EINVAL),
            (Program().text("xattr_eq", b"user.a"), errno.EINVAL), (Program().text("xattr_eq", b"user.a\0"), 0),
            (Program().op("field", 1).text("isin", struct.pack("<2Q", 2, 1)), errno.EINVAL),
            (Program().op("field", 1).text("isin", b"1234567"), errno.EINVAL)):
        bad(code, 5, 0, program)
    for at in (8, 1 << 47):
        arg = bytearray(keys_in.raw())
        struct.pack_into("<Q", arg, 16, at)
        bad(errno.EFAULT, 5, 0, bytes(arg))
    # Random programs: any errno, no harm.
    rnd = random.Random(SEED)
    for _ in range(3000):
        p = Program()
        p.data = rnd.randbytes(rnd.choice([0, 8, 64]))
        for _ in range(rnd.randint(1, 12)):
            p.op(rnd.choice(list(OPS.values()) + [rnd.randrange(70)]), rnd.choice([0, 1, 4, 16, 20]),
                 rnd.choice([0, 0, 8, 16, 2**32 - 1]), rnd.choice([0, 0, 8, 2**64 - 1]))
        request(root, cid, q, 5, 0, p, want=None)
    assert keys(request(root, cid, q, 5)) == [1, 2]


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
