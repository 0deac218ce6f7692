#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Vectors go with their files, whatever happens to those: queries_life_ops.py TEST MOUNT

Random changes of files against a model of what a search finds, for root and for a stranger.
"""
import os
import random
import shutil
import struct
import sys
import time

from queries_ops import SEED, compiled, keys, request
from vectors_ops import collection, create, floats, item, make, ok, open_, puts

STRANGER = 12345
EVER = 1 << 70


class World:
    """Files, their names and records, as they should be."""

    def __init__(self, mnt, rnd):
        self.rnd, self.top, self.root = rnd, f"{mnt}/life_of_files", open_(mnt)
        os.mkdir(self.top, 0o755)
        self.dirs = {"d0": 0o755, "d1": 0o755, "d2": 0o755}
        for d in self.dirs:
            os.mkdir(f"{self.top}/{d}", 0o755)
        self.cid = create(self.root, "life_of_files")
        self.names, self.files, self.records = {}, {}, {}
        self.next_file, self.next_key = 0, 1
        # Files without a name that somebody has open.
        self.open = {}

    def path(self, name):
        return f"{self.top}/{name}"

    def any_name(self):
        return self.rnd.choice(sorted(self.names))

    def new_name(self):
        return f"{self.rnd.choice(sorted(self.dirs))}/n{self.rnd.randrange(40)}"

    def drop_name(self, name):
        """A name is gone; with the last one the file is, unless it is open."""
        file = self.names.pop(name, None)
        if file is not None and file not in self.names.values() and file not in self.open:
            self.die(file)

    def die(self, file):
        self.files.pop(file)
        self.records = {k: r for k, r in self.records.items() if r["file"] != file}

    def changed(self, file, start, end):
        size = self.files[file]["size"]
        if start >= end:
            return
        end = EVER if end > size else end
        for r in self.records.values():
            whole = (r["off"], r["len"]) == (0, 0)
            if r["file"] == file and (whole or (start < r["off"] + r["len"] and r["off"] < end)):
                r["stale"] = True

    # --- What happens ---

    def create(self):
        name = self.new_name()
        if name in self.names:
            return
        size = self.rnd.choice([0, 10, 1000, 9000])
        os.close(make(self.path(name), b"x" * size))
        os.chmod(self.path(name), 0o644)
        self.files[self.next_file] = dict(size=size, mode=0o644)
        self.names[name] = self.next_file
        self.next_file += 1

    def embed(self):
        name = self.any_name()
        fd = open_(self.path(name), os.O_RDWR)
        items = []
        for _ in range(self.rnd.randint(1, 3)):
            # A new key, or one that some file has already.
            key = self.next_key
            if self.records and self.rnd.random() < 0.3:
                key = self.rnd.choice(sorted(self.records))
            self.next_key += 1
            vector = [self.rnd.randint(-9, 9) for _ in range(4)]
            off, len_ = self.rnd.choice([(0, 0), (0, 5), (5, 100), (4000, 500)])
            items.append(item(key, floats(vector), off=off, len_=len_))
            self.records[key] = dict(file=self.names[name], vector=vector, off=off, len=len_, stale=False)
        puts(fd, self.cid, items)
        os.close(fd)

    def write(self):
        name = self.any_name()
        file = self.names[name]
        size = self.files[file]["size"]
        at, n = self.rnd.choice([0, 3, 50, 4100, size]), self.rnd.choice([1, 10, 5000])
        if at > size:
            at = size
        fd = open_(self.path(name), os.O_RDWR)
        os.pwrite(fd, b"w" * n, at)
        os.close(fd)
        self.changed(file, at, at + n)
        self.files[file]["size"] = max(size, at + n)

    def truncate(self):
        name = self.any_name()
        file = self.names[name]
        size, new = self.files[file]["size"], self.rnd.choice([0, 7, 4200, 12000])
        os.truncate(self.path(name), new)
        if new != size:
            self.changed(file, min(size, new), EVER)
        self.files[file]["size"] = new

    def rename(self):
        old, new = self.any_name(), self.new_name()
        same = self.names.get(new) == self.names[old]
        os.rename(self.path(old), self.path(new))
        if old != new and not same:
            self.drop_name(new)
            self.names[new] = self.names.pop(old)

    def unlink(self):
        name = self.any_name()
        os.unlink(self.path(name))
        self.drop_name(name)

    def unlink_open(self):
        name = self.any_name()
        file = self.names[name]
        if list(self.names.values()).count(file) > 1 or len(self.open) > 2:
            return
        self.open[file] = open_(self.path(name))
        os.unlink(self.path(name))
        self.drop_name(name)

    def close(self):
        if self.open:
            file = self.rnd.choice(sorted(self.open))
            os.close(self.open.pop(file))
            self.die(file)

    def link(self):
        name, new = self.any_name(), self.new_name()
        if new not in self.names:
            os.link(self.path(name), self.path(new))
            self.names[new] = self.names[name]

    def copy(self):
        name, new = self.any_name(), self.new_name()
        if new not in self.names:
            shutil.copyfile(self.path(name), self.path(new))
            os.chmod(self.path(new), 0o644)
            self.files[self.next_file] = dict(size=self.files[self.names[name]]["size"], mode=0o644)
            self.names[new] = self.next_file
            self.next_file += 1

    def chmod(self):
        name, mode = self.any_name(), self.rnd.choice([0o644, 0o600])
        os.chmod(self.path(name), mode)
        self.files[self.names[name]]["mode"] = mode

    def chmod_dir(self):
        d, mode = self.rnd.choice(sorted(self.dirs)), self.rnd.choice([0o755, 0o755, 0o700])
        os.chmod(f"{self.top}/{d}", mode)
        self.dirs[d] = mode

    # --- What a search must find ---

    def seen(self, stranger):
        """Keys of the records that are to be found, and whether they are stale."""
        reached = {f for n, f in self.names.items() if not stranger or self.dirs[n.split("/")[0]] & 0o001}
        if stranger:
            reached = {f for f in reached if self.files[f]["mode"] & 0o004}
        return {k: r["stale"] for k, r in self.records.items() if r["file"] in reached}

    def check(self, stranger):
        query = [self.rnd.randint(-9, 9) for _ in range(4)]
        want = self.seen(stranger)
        distance = lambda key: sum((a - b) ** 2 for a, b in zip(query, self.records[key]["vector"]))
        hits = request(self.root, self.cid, [query], 1000)["lists"][0]
        got = {h["key"]: bool(h["flags"] & 1) for h in hits}
        assert got == want, (sorted(set(got.items()) ^ set(want.items())), stranger)
        found = [distance(h["key"]) for h in hits]
        assert found == sorted(found)
        k = self.rnd.randint(1, 5)
        fresh = request(self.root, self.cid, [query], k, 0, compiled(("no", ("flag", "stale"))))["lists"][0]
        best = sorted(distance(key) for key, stale in want.items() if not stale)[:k]
        assert [distance(h["key"]) for h in fresh] == best

    def check_as_stranger(self):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(STRANGER)
                os.setuid(STRANGER)
                self.check(True)
                code = 0
            except BaseException as e:
                print("stranger:", repr(e), flush=True)
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0


def changes(mnt):
    """Embed, rename, overwrite, truncate, unlink, copy, link, chmod, last close, in any order."""
    rnd = random.Random(SEED)
    w = World(mnt, rnd)
    steps = [w.create] * 4 + [w.embed] * 6 + [w.write] * 3 + [w.truncate, w.unlink, w.unlink_open, w.close, w.copy, w.chmod_dir] + \
        [w.rename] * 3 + [w.link] * 2 + [w.chmod] * 2
    for _ in range(8):
        w.create()
    for n in range(400):
        if not w.names:
            w.create()
        if w.names:
            step = rnd.choice(steps)
            step()
        if n % 4 == 0:
            w.check(False)
        if n % 25 == 0:
            w.check_as_stranger()
    while w.open:
        w.close()
    w.check(False)
    w.check_as_stranger()
    # What died has left nothing behind.
    live = struct.unpack_from("<Q", ok(w.root, "coll", collection(id=w.cid)), 24)[0]
    assert live == len(w.records), (live, len(w.records))


def races(mnt):
    """While rights and names change, what may be seen all the time is found, and what may not is not."""
    root = open_(mnt)
    cid = create(root, "life_races")
    top = f"{mnt}/life_races"
    for d in ("", "/a", "/b", "/shut"):
        os.mkdir(top + d, 0o755)
    os.chmod(top + "/shut", 0o700)
    always, never, sometimes = [], [], []
    for i in range(30):
        kind = (always, never, sometimes)[i % 3]
        name = f"{top}/{'shut' if kind is never and i % 2 else 'a'}/f{i}"
        fd = make(name)
        os.chmod(name, 0o600 if kind is never and i % 2 == 0 else 0o644)
        puts(fd, cid, [item(i, floats([i, 1, 0, 0]))])
        os.close(fd)
        kind.append((i, name))
    end = time.monotonic() + 4

    def changer():
        rnd = random.Random(SEED)
        where = {i: name for i, name in sometimes + always}
        shown = dict(sometimes)
        while time.monotonic() < end:
            i = rnd.choice(sorted(where))
            if i in shown and rnd.random() < 0.7:
                os.chmod(where[i], rnd.choice([0o600, 0o644]))
                continue
            # Another name before the old one goes: there is one all the time.
            new = f"{top}/{rnd.choice('ab')}/f{i}_{rnd.randrange(3)}"
            if new != where[i]:
                os.link(where[i], new)
                os.unlink(where[i])
                where[i] = new
                if rnd.random() < 0.5:
                    moved = f"{top}/{rnd.choice('ab')}/m{i}"
                    os.rename(new, moved)
                    where[i] = moved

    def searcher():
        os.setgroups([])
        os.setgid(STRANGER)
        os.setuid(STRANGER)
        must, never_ = {i for i, _ in always}, {i for i, _ in never}
        rounds = 0
        while time.monotonic() < end:
            for flags, filter_ in ((0, None), (0, compiled(("path_glob", b"life_races/**"))), (8, None)):
                got = {h["key"] for h in request(root, cid, [[0] * 4], 100, flags, filter_)["lists"][0]}
                assert must <= got and not never_ & got, (must - got, never_ & got)
                rounds += 1
        assert rounds > 10

    children = []
    for f in (changer, searcher, searcher):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                f()
                code = 0
            except BaseException as e:
                print(f.__name__, repr(e), flush=True)
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 3


def moving_link(mnt):
    """A file of which one link always has the name that a filter asks for, another one each time."""
    top = f"{mnt}/moving_link"
    for d in (top, f"{top}/many", f"{top}/few"):
        os.mkdir(d)
    fd = make(f"{top}/many/0")
    for n in range(1, 150):
        os.link(f"{top}/many/0", f"{top}/many/{n}")
    os.link(f"{top}/many/0", f"{top}/few/x0")
    root = open_(mnt)
    cid = create(root, "moving_link")
    puts(fd, cid, [item(1, floats([1, 0, 0, 0]))])
    pid = os.fork()
    if pid == 0:
        n = 0
        while os.getppid() != 1:
            os.link(f"{top}/few/x{n}", f"{top}/few/x{n + 1}")
            os.unlink(f"{top}/few/x{n}")
            n += 1
            if n % 50 == 0:
                time.sleep(.002)
        os._exit(0)
    missed, searches, end = 0, 0, time.time() + 4
    try:
        while time.time() < end:
            answer = request(root, cid, [[1, 0, 0, 0]], 1, filter_=compiled(("name_glob", b"x*")))
            missed += keys(answer) != [1]
            searches += 1
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert missed == 0, f"{missed} of {searches} searches missed it"


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
