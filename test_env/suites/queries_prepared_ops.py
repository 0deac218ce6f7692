#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of prepared filters: queries_prepared_ops.py TEST MOUNT DEVICE

Each test exits 0 if all is as it should be.
"""
import errno
import fcntl
import os
import random
import resource
import subprocess
import sys
import threading
import time

from queries_ops import FLAGS, PREPARED, SEED, Corpus, Program, address, compiled, keys, request
from vectors_ops import create, delete, floats, item, make, open_, puts, unprivileged

PLAN_PREPARED = 5


def prepare(fd, program, want=0):
    """A descriptor for a filter, or the errno."""
    raw = program if isinstance(program, bytes) else program.raw()
    buf = bytearray(raw)
    try:
        got = fcntl.ioctl(fd, 0xF721, buf, True)
    except OSError as e:
        assert e.errno == want, (errno.errorcode[e.errno], want)
        return None
    assert want == 0 and got > 2
    return got


def ask(c, query, k, fd, **more):
    return request(c.root, c.cid, [query], k, PREPARED, filter_fd=fd, **more)


class Changing(Corpus):
    """A corpus that changes in all the ways that a filter could see."""

    def expr(self, depth):
        """An expression without what the model does not keep up."""
        while True:
            expr = self.any_expr(depth)
            if "stale" not in repr(expr):
                return expr

    def step(self):
        rnd = self.rnd
        path = rnd.choice(sorted(self.files))
        name = rnd.choice(self.files[path])
        full = self.top + name
        kind = rnd.randrange(14)
        if kind == 0:
            os.chmod(full, rnd.choice([0o644, 0o600, 0o755, 0o4755]))
        elif kind == 1:
            os.chown(full, rnd.choice([0, 1000, 70000]), rnd.choice([0, 5]))
        elif kind == 2:
            os.utime(full, ns=(5, rnd.choice([3, 10**18 + 7])))
        elif kind == 3:
            with open(full, "ab") as f:
                f.write(b"x" * rnd.choice([1, 5000]))
        elif kind == 4:
            os.truncate(full, rnd.choice([0, 100, 6000]))
        elif kind == 5:
            os.setxattr(full, rnd.choice(["user.tag", "user.n"]), rnd.choice([b"red", b"5", b"-7"]))
        elif kind == 6:
            for x in os.listxattr(full):
                os.removexattr(full, x)
        elif kind == 7:
            self.move(path, name, f"/{rnd.choice(['a', 'b'])}/moved{rnd.randrange(10**6)}.{rnd.choice(['c', 'md'])}")
        elif kind == 8:
            self.link(path, f"/b/other{rnd.randrange(10**6)}.lnk")
        elif kind == 9:
            # All that lies below lies elsewhere.
            old = self.place.get("/a/sub", "/a/sub")
            new = "/b/sub" if old == "/a/sub" else "/a/sub"
            os.rename(self.top + old, self.top + new)
            self.place["/a/sub"] = new
            for names in self.files.values():
                names[:] = [new + n[len(old):] if n.startswith(old + "/") else n for n in names]
        elif kind == 10:
            fd = open_(full, os.O_RDWR)
            key = rnd.choice(sorted(self.records)) if rnd.random() < 0.5 else 10**6 + rnd.randrange(10**6)
            self.put(fd, path, key, [rnd.randint(-9, 9) for _ in range(4)], 0, 0)
            os.close(fd)
        elif kind == 11 and len(self.records) > 20:
            key = rnd.choice(sorted(self.records))
            delete(self.root, self.cid, [key])
            del self.records[key]
        elif kind == 12:
            # A file that comes with all it has.
            self.file(f"/a/new{rnd.randrange(10**6)}.{rnd.choice(['txt', 'c'])}")
        elif kind == 13 and len(self.files[path]) > 1:
            os.unlink(full)
            self.files[path].remove(name)

    def link(self, path, new):
        os.link(self.top + self.files[path][0], self.top + new)
        self.files[path].append(new)

    def move(self, path, name, to):
        os.rename(self.top + name, self.top + to)
        self.files[path][self.files[path].index(name)] = to


def matches(mnt, _):
    """A prepared filter lets in what the same filter does, whatever changed since; for everybody."""
    rnd = random.Random(SEED)
    c = Changing(mnt, "prepared", rnd)
    os.chmod(c.top, 0o755)
    exprs = [c.expr(d) for d in [0] * 24 + [1] * 12 + [2] * 6]
    # Some that ask for one thing each, so that each is there.
    exprs += [("under", *c.dirs["/a/sub"]), ("no", ("under", *c.dirs["/b"])), ("cmp", "ge", "size", 5000), ("cmp", "eq", "uid", 1000),
              ("xattr_eq", b"user.tag", b"red"), ("name_glob", b"*.c"), ("cmp", "ge", "nlink", 2), ("in", "key", sorted(c.records)[::3]),
              ("cmp", "lt", "mtime", (0, 4)), ("xattr", b"trusted.t"), ("no", ("xattr", b"trusted.t")), ("bits", 0o111)]
    fds = [prepare(c.root, compiled(e)) for e in exprs]
    used = 0

    def check():
        nonlocal used
        at = rnd.randrange(len(exprs))
        query, k = [rnd.randint(-9, 9) for _ in range(4)], rnd.choice([1, 5, 400])
        a = ask(c, query, k, fds[at], explain=1)
        used += a["told"]["plan"] == PLAN_PREPARED
        want = c.best(query, exprs[at])[:k]
        assert keys(a) == want, (exprs[at], keys(a), want, a["told"])

    def check_as_stranger():
        at = rnd.randrange(len(exprs))
        query = [rnd.randint(-9, 9) for _ in range(4)]
        # None of both, if a directory is not there for somebody.
        found = lambda answer: answer if isinstance(answer, int) else keys(answer)
        with_fd = found(ask(c, query, 400, fds[at], want=None))
        without = found(request(c.root, c.cid, [query], 400, 0, compiled(exprs[at]), want=None))
        assert with_fd == without, (exprs[at], with_fd, without)

    for at in range(len(exprs)):
        check()
    for n in range(500):
        c.step()
        check()
        if n % 10 == 0:
            os.chmod(c.top + "/b", rnd.choice([0o700, 0o755]))
            unprivileged(check_as_stranger)
    assert used > 300, used


def many(mnt, _):
    """Of many records few match: only they are compared, in all queries of a call, and puts are seen at once."""
    rnd = random.Random(SEED)
    root = open_(mnt)
    cid = create(root, "prepared_many")
    fd = make(f"{mnt}/prepared_many")
    vector = lambda: [rnd.randint(-99, 99) for _ in range(4)]
    have = {}
    for i in range(0, 8000, 1000):
        batch = {i + j: vector() for j in range(1000)}
        puts(fd, cid, [item(k, floats(v)) for k, v in batch.items()])
        have.update(batch)
    some = sorted(rnd.sample(sorted(have), 80)) + [10**6, 10**6 + 1]
    filter_fd = prepare(root, compiled(("in", "key", some)))

    def best(query, k):
        d = lambda key: (sum((a - b) ** 2 for a, b in zip(query, have[key])))
        return sorted(d(key) for key in some if key in have)[:k]

    def check(plan=PLAN_PREPARED):
        queries = [vector() for _ in range(40)]
        a = request(root, cid, queries, 7, PREPARED, filter_fd=filter_fd, explain=1)
        for at, query in enumerate(queries):
            got = [sum((x - y) ** 2 for x, y in zip(query, have[k])) for k in keys(a, at)]
            assert got == best(query, 7), (at, got, best(query, 7))
        assert a["told"]["plan"] == plan and a["told"]["scanned"] < 800, a["told"]

    check()
    for key in some[:3] + [10**6]:
        have[key] = vector()
        puts(fd, cid, [item(key, floats(have[key]))])
        check()
    delete(root, cid, some[5:8])
    for key in some[5:8]:
        del have[key]
    check()
    # More changes than are remembered one by one.
    for i in range(0, 8000, 1000):
        puts(fd, cid, [item(k, floats(have[k])) for k in range(i, i + 1000) if k in have])
    a = request(root, cid, [vector()], 7, PREPARED, filter_fd=filter_fd)
    assert len(keys(a)) == 7
    # It is found out anew, but not all the time.
    end = time.monotonic() + 60
    while request(root, cid, [vector()], 7, PREPARED, filter_fd=filter_fd, explain=1)["told"]["plan"] != PLAN_PREPARED:
        assert time.monotonic() < end
        time.sleep(0.1)
    check()
    # Used by several at once, while records come and go.
    stop, failed = threading.Event(), []

    def searcher():
        fixed = set(some[8:60])
        while not stop.is_set():
            got = set(keys(request(root, cid, [[0] * 4], 100, PREPARED, filter_fd=filter_fd)))
            if not fixed <= got or not got <= set(some):
                failed.append(fixed - got)
                return

    threads = [threading.Thread(target=searcher) for _ in range(4)]
    for t in threads:
        t.start()
    for n in range(150):
        key = rnd.choice(some[60:80])
        if rnd.random() < 0.5 or key not in have:
            have[key] = vector()
            puts(fd, cid, [item(key, floats(have[key]))])
        else:
            delete(root, cid, [key])
            del have[key]
    stop.set()
    for t in threads:
        t.join()
    assert not failed, failed
    # For another collection the same descriptor finds other records.
    other = create(root, "prepared_other")
    puts(fd, other, [item(k, floats([k % 50, 0, 0, 0])) for k in some[:30]] + [item(5 * 10**6, floats([0] * 4))])
    assert sorted(keys(request(root, other, [[0] * 4], 100, PREPARED, filter_fd=filter_fd))) == sorted(some[:30])
    check()


def wrong(mnt, device):
    """What is no filter is refused; a filter is in nobody's way, and ends with its descriptor."""
    root = open_(mnt)
    cid = create(root, "prepared_wrong")
    fd = make(f"{mnt}/prepared_wrong")
    puts(fd, cid, [item(1, floats([1, 0, 0, 0]))])
    whole = Program().op("flag", FLAGS["whole"])
    q = [[0] * 4]
    for bad, code in ((whole.raw(size=39), errno.EINVAL), (whole.raw(flags=1), errno.EINVAL), (whole.raw(count=0), errno.EINVAL),
                      (whole.raw(count=257), errno.E2BIG), (Program().op(99).raw(), errno.EINVAL)):
        prepare(root, bad, code)
    request(root, cid, q, 1, PREPARED, filter_fd=-1, want=errno.EBADF)
    request(root, cid, q, 1, PREPARED, filter_fd=fd, want=errno.EBADF)
    request(root, cid, q, 1, PREPARED, filter_fd=999, want=errno.EBADF)
    filter_fd = prepare(root, whole)
    assert os.readlink(f"/proc/self/fd/{filter_fd}") == "anon_inode:[vexfs-filter]"
    assert not os.get_inheritable(filter_fd)
    request(root, cid, q, 1, PREPARED, filter_=whole, filter_fd=filter_fd, want=errno.EINVAL)
    request(root, cid, q, 1, 0, filter_fd=filter_fd, want=errno.EINVAL)
    assert keys(request(root, cid, q, 1, PREPARED, filter_fd=filter_fd)) == [1]
    for f in (lambda: os.read(filter_fd, 1), lambda: os.write(filter_fd, b"x"), lambda: fcntl.ioctl(filter_fd, 0xF721, bytearray(whole.raw()), True)):
        try:
            f()
            raise AssertionError("a filter can be searched with, and no more")
        except OSError as e:
            assert e.errno in (errno.EINVAL, errno.EBADF, errno.ENOTTY), e
    # No more descriptors.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (filter_fd + 1, limit[1]))
    prepare(root, whole, errno.EMFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    twin = os.dup(filter_fd)
    os.close(filter_fd)
    assert keys(request(root, cid, q, 1, PREPARED, filter_fd=twin)) == [1]
    # Frozen, it finds as before; unmounted, it is of no file system any more.
    subprocess.run(["fsfreeze", "-f", mnt], check=True)
    assert keys(request(root, cid, q, 1, PREPARED, filter_fd=twin)) == [1]
    frozen = prepare(root, whole)
    subprocess.run(["fsfreeze", "-u", mnt], check=True)
    assert keys(request(root, cid, q, 1, PREPARED, filter_fd=frozen)) == [1]
    os.close(root)
    os.close(fd)
    subprocess.run(["umount", mnt], check=True)
    subprocess.run(["mount", "-t", "vexfs", device, mnt], check=True)
    root = open_(mnt)
    request(root, cid, q, 1, PREPARED, filter_fd=twin, want=errno.EXDEV)
    again = prepare(root, whole)
    assert keys(request(root, cid, q, 1, PREPARED, filter_fd=again)) == [1]


def main():
    globals()[sys.argv[1]](sys.argv[2], sys.argv[3])


if __name__ == "__main__":
    main()
