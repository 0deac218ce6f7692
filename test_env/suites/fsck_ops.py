#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Damage for fsck to put right: fsck_ops.py COMMAND ARGS...

    fill MOUNT SEED           makes files, directories, links and attributes of every form
    record MOUNT FILE         notes what each inode holds, by its number
    damage DEVICE KIND SEED   damages metadata; prints the numbers of the inodes that it hits
    compare MOUNT FILE HIT    each inode of FILE that HIT does not name holds what it held
    delete MOUNT HIT          deletes whatever HIT does not name: that may be immutable now
    walk MOUNT                reads all that can be read; prints what failed

The format is written down here a second time, from Documentation/format.md, so that a
mistake in the file system's own reading of it does not hide here as well.
"""
import hashlib
import json
import mmap
import os
import random
import stat
import struct
import subprocess
import sys

BLOCK, SEAL, INODE = 4096, 8, 576
POLY = 0x82F63B78
TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (POLY if n & 1 else 0)
    TABLE.append(n)


def crc32c(crc, data):
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc


# --- What is on the volume -------------------------------------------------------


def fill(root, seed):
    r = random.Random(seed)

    def write(path, size):
        with open(path, "wb") as f:
            f.write(r.randbytes(size))

    os.makedirs(f"{root}/deep/er/and/deeper")
    os.mkdir(f"{root}/many")
    for i in range(1500):  # a directory whose tree has inner nodes
        write(f"{root}/many/{i:05d}-{'x' * r.randrange(60)}", r.choice([0, 10, 5000]))
    for i in range(40):
        d = f"{root}/dir{i}"
        os.mkdir(d)
        for k in range(r.randrange(12)):
            write(f"{d}/file{k}", r.randrange(40_000))
        os.symlink("../deep/er", f"{d}/short")
        os.symlink("/long" * r.randrange(60, 600), f"{d}/long")
        os.link(f"{root}/many/" + os.listdir(f"{root}/many")[i], f"{d}/second name")
        os.setxattr(d, "user.size", b"v" * r.choice([1, 900, 5000]))
    for i in range(4):  # files whose trees have inner nodes
        with open(f"{root}/deep/er/sparse{i}", "wb") as f:
            for k in range(900):
                os.pwrite(f.fileno(), r.randbytes(BLOCK), 2 * k * BLOCK)
    for i in range(60):
        path = f"{root}/deep/er/and/deeper/{i}"
        write(path, r.randrange(9000))
        for k in range(r.randrange(5)):
            os.setxattr(path, f"user.{k}{'n' * r.randrange(200)}", r.randbytes(r.choice([3, 700, 20_000])))
        os.chown(path, i, 2 * i)
        os.utime(path, ns=(i, 1_700_000_000_000_000_000 + i))
    os.mkfifo(f"{root}/deep/pipe")
    os.mknod(f"{root}/deep/node", stat.S_IFCHR | 0o600, os.makedev(12, 34))


def content(path, st):
    """What must not change about an inode that nothing hit."""
    one = [st.st_mode, st.st_uid, st.st_gid, st.st_rdev]
    names = sorted(os.listxattr(path, follow_symlinks=False))
    for name in names:
        one.append([name, hashlib.sha256(os.getxattr(path, name, follow_symlinks=False)).hexdigest()])
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as f:
            one += [st.st_size, st.st_mtime_ns, hashlib.sha256(f.read()).hexdigest()]
    elif stat.S_ISLNK(st.st_mode):
        one.append(os.readlink(path))
    return one


def inodes(root, hit=frozenset()):
    """All inodes by number: what each holds (those that were hit: anything, of any size), its paths, and the
    directories on the way to those."""
    found = {}

    def visit(path, above):
        st = os.lstat(path)
        one = found.setdefault(str(st.st_ino), dict(holds=None, paths={}))
        one["paths"][os.path.relpath(path, root)] = above
        if one["holds"] is None and st.st_ino not in hit:
            one["holds"] = content(path, st)
        if stat.S_ISDIR(st.st_mode):
            for name in sorted(os.listdir(path)):
                visit(f"{path}/{name}", above + [st.st_ino])

    visit(root, [])
    return found


def compare(root, before, hit):
    with open(before) as f:
        before = json.load(f)
    with open(hit) as f:
        hit = {int(line) for line in f}
    after, same, wrong = inodes(root, hit), 0, []
    for ino, was in before.items():
        if int(ino) in hit:
            continue
        now = after.get(ino, dict(holds=None, paths={}))
        if now["holds"] != was["holds"]:
            wrong.append(f"inode {ino}, {list(was['paths'])}: {was['holds']} is now {now['holds']}")
        # Where no directory on the way was hit, the name is where it was.
        for path, above in was["paths"].items():
            if not hit & set(above) and path not in now["paths"]:
                wrong.append(f"inode {ino}: {path} is now {list(now['paths'])}")
        same += 1
    print(f"{same} of {len(before)} inodes were not hit; {len(wrong)} of those changed")
    # What nobody sees are the inodes of collections, and the one that has their names.
    if all(str(ino) in before for ino in hit):
        names = subprocess.run(["vexctl", "collection", "list", root], check=True, stdout=subprocess.PIPE, text=True)
        if "everything" not in names.stdout:
            wrong.append(f"the collection is gone: {names.stdout}")
    if wrong:
        sys.exit("\n".join(wrong[:20]))


def delete(root, hit):
    with open(hit) as f:
        hit = {int(line) for line in f}
    for path, dirs, files in os.walk(root, topdown=False):
        for name in files + dirs:
            one = f"{path}/{name}"
            st = os.lstat(one)
            # What is in a directory that was hit may have to stay, and so may that one.
            if not hit & {st.st_ino, os.lstat(path).st_ino}:
                if not stat.S_ISDIR(st.st_mode):
                    os.unlink(one)
                elif not os.listdir(one):
                    os.rmdir(one)


def walk(root):
    def failed(e):
        print(e)

    for path, dirs, files in os.walk(root, onerror=failed):
        for name in dirs + files:
            try:
                content(f"{path}/{name}", os.lstat(f"{path}/{name}"))
            except OSError as e:
                failed(e)


# --- Damage ----------------------------------------------------------------------


class Volume:
    def __init__(self, path, seed):
        self.fd = os.open(path, os.O_RDWR)
        self.random = random.Random(seed)
        self.hit = set()
        block = self.read(0)
        assert block[8:16] == b"VEXFS\0\0\1", "no VexFS here"
        self.blocks, self.group_blocks, self.groups, self.seed = struct.unpack_from("<QQII", block, SEAL + 16)
        self.journal, self.journal_len = struct.unpack_from("<QQ", block, SEAL + 144)
        # Blocks of metadata that say that they lie where they lie, by what they are. Freed nodes are
        # among them; that a change of one of those is none is for the caller to know.
        self.of = {}
        volume = mmap.mmap(self.fd, self.blocks * BLOCK, prot=mmap.PROT_READ)
        for bno in range(self.blocks):
            magic, kind, own = struct.unpack_from("<4sIQ", volume, bno * BLOCK + SEAL)
            if magic in (b"VXGH", b"VXBM", b"VXIB", b"VXTN") and own == bno and self.used(volume, bno):
                self.of.setdefault((magic, kind if magic == b"VXTN" else 0), []).append(bno)

    def used(self, volume, bno):
        """Whether the bitmap says that a block is taken. (Groups of one region, as small volumes have.)"""
        group = bno // self.group_blocks
        start = group * self.group_blocks
        bit = bno - start
        if bit < 4:
            return True
        return volume[(start + 3) * BLOCK + SEAL + 24 + bit // 8] >> bit % 8 & 1

    def read(self, bno):
        return bytearray(os.pread(self.fd, BLOCK, bno * BLOCK))

    def write(self, bno, block, sealed=True):
        if sealed:
            crc = crc32c(0xFFFFFFFF, struct.pack("<IQ", self.seed, bno))
            struct.pack_into("<I", block, 0, crc32c(crc, block[4:]))
        os.pwrite(self.fd, block, bno * BLOCK)

    def strike(self, bno, at, length):
        """Notes whose bytes are in this part of a block's body."""
        block = self.read(bno)
        if block[8:12] == b"VXIB":
            for slot in range(7):
                start = 64 - SEAL + slot * INODE
                if at < start + INODE and at + length > start:
                    self.hit.add(bno << 3 | slot + 1)
        kind, owner = struct.unpack_from("<I8xQ", block, SEAL + 4)
        if block[8:12] == b"VXTN" and kind <= 2:
            self.hit.add(owner)

    def any(self, magic, kind=0):
        return self.random.choice(self.of[magic, kind])

    def whole(self, bno, data, sealed):
        self.strike(bno, 0, BLOCK)
        self.write(bno, bytearray(data), sealed)

    def zero(self, bno):
        self.whole(bno, bytes(BLOCK), False)

    def garbage(self, bno):
        self.whole(bno, self.random.randbytes(BLOCK), True)

    def field(self, bno):
        """Changes eight bytes, and makes the checksum fit."""
        at = self.random.randrange((BLOCK - SEAL) // 8) * 8
        self.strike(bno, at, 8)
        block = self.read(bno)
        block[SEAL + at:SEAL + at + 8] = self.random.choice(
            [bytes(8), b"\xff" * 8, self.random.randbytes(8), block[SEAL:SEAL + 8]])
        self.write(bno, block)

    def swap(self, a, b):
        """Writes two blocks to each other's place."""
        self.strike(a, 0, BLOCK)
        self.strike(b, 0, BLOCK)
        x, y = self.read(a), self.read(b)
        self.write(a, y, False)
        self.write(b, x, False)


def damage(path, kind, seed):
    v = Volume(path, seed)
    nodes = [b for k, all in v.of.items() if k[0] == b"VXTN" for b in all]
    if kind == "superblock":
        v.zero(0)
    elif kind == "journal":
        v.whole(v.journal, v.random.randbytes(BLOCK), False)
    elif kind == "bitmaps":
        for bno in v.of[b"VXBM", 0]:
            v.zero(bno)
    elif kind == "headers":
        for bno in v.of[b"VXGH", 0]:
            v.random.choice([v.zero, v.garbage])(bno)
    elif kind == "group":  # all that a group has at its start
        start = v.random.randrange(v.groups) * v.group_blocks
        for bno in range(start, start + 4):
            v.zero(bno)
    elif kind == "inodes":
        for _ in range(6):
            v.zero(v.any(b"VXIB"))
    elif kind == "directory":
        v.zero(v.any(b"VXTN", 1))
        v.garbage(v.any(b"VXTN", 1))
    elif kind == "attributes":
        v.garbage(v.any(b"VXTN", 2))
        v.zero(v.any(b"VXTN", 2))
    elif kind == "misplaced":
        v.swap(*v.random.sample(nodes, 2))
        v.swap(*v.random.sample(v.of[b"VXIB", 0], 2))
    elif kind == "root":
        block = struct.unpack_from("<Q", v.read(0), SEAL + 176)[0] >> 3
        v.zero(block)
    elif kind == "fields":
        every = sum(v.of.values(), [])
        for _ in range(60):
            v.field(v.random.choice(every))
    elif kind == "sprayed":  # a bit flips in many places: nothing is sealed any more
        every = sum(v.of.values(), [])
        for bno in v.random.sample(every, len(every) // 10):
            at = v.random.randrange(SEAL, BLOCK)
            block = v.read(bno)
            v.strike(bno, 0, BLOCK)
            block[at] ^= 1 << v.random.randrange(8)
            v.write(bno, block, False)
    else:
        sys.exit(f"no such damage: {kind}")
    os.fsync(v.fd)
    for ino in sorted(v.hit):
        print(ino)


def main():
    command, args = sys.argv[1], sys.argv[2:]
    if command == "fill":
        fill(args[0], int(args[1]))
    elif command == "record":
        with open(args[1], "w") as f:
            json.dump(inodes(args[0]), f)
    elif command == "damage":
        damage(args[0], args[1], int(args[2]))
    elif command == "compare":
        compare(*args)
    elif command == "delete":
        delete(*args)
    elif command == "walk":
        walk(args[0])
    else:
        sys.exit(__doc__)


main()
