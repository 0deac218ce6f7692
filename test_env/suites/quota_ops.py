#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of quota: quota_ops.py TEST DIR [ARGS...]

By quotactl(2) itself, on a volume that was made with -O quota. Each test works below DIR,
the root of the volume, and exits 0 if all is as it should be.
"""
import ctypes
import errno
import fcntl
import os
import random
import socket
import struct
import sys
import time

from fs_ops import check, fails, libc, write

USER, GROUP, PROJECT = 0, 1, 2
QUOTAON, QUOTAOFF = 0x800002, 0x800003
GETFMT, GETINFO, SETINFO = 0x800004, 0x800005, 0x800006
GETQUOTA, SETQUOTA, GETNEXTQUOTA, SYNC = 0x800007, 0x800008, 0x800009, 0x800001
BLIMITS, ILIMITS = 1, 4
BTIME, ITIME = 16, 32
KIB, BLOCK = 1024, 4096
DQBLK = "=QQQQQQQQI4x"
NEXT = "=QQQQQQQQII"
INFO = "=QQII"
FSGETXATTR, FSSETXATTR = 0x801C581F, 0x401C5820
PROJINHERIT = 0x200
PR_CAPBSET_DROP, CAP_SYS_RESOURCE = 24, 24


def quotactl(cmd, qtype, d, id, data=None):
    data = bytearray(data or bytes(256))
    arg = (ctypes.c_char * len(data)).from_buffer(data)
    fd = os.open(d, os.O_RDONLY)
    try:
        # quotactl_fd: the mount, not the device.
        check(libc.syscall(443, fd, ctypes.c_uint(cmd << 8 | qtype), ctypes.c_uint(id), arg))
    finally:
        os.close(fd)
    return data


class Quota:
    def __init__(self, data, form=DQBLK):
        v = struct.unpack_from(form, data)
        bhard, bsoft, self.space, self.ihard, self.isoft, self.inodes = v[:6]
        self.btime, self.itime = v[6:8]
        self.bhard, self.bsoft, self.id = bhard * KIB, bsoft * KIB, v[-1]


def get(d, qtype, id):
    return Quota(quotactl(GETQUOTA, qtype, d, id))


def limit(d, qtype, id, bhard=None, bsoft=0, ihard=None, isoft=0):
    valid = (bhard is not None and BLIMITS) | (ihard is not None and ILIMITS)
    data = struct.pack(DQBLK, (bhard or 0) // KIB, bsoft // KIB, 0, ihard or 0, isoft, 0, 0, 0, valid)
    quotactl(SETQUOTA, qtype, d, id, data)


def project(path, id, inherit=False):
    fd = os.open(path, os.O_RDONLY)
    a = bytearray(28)
    fcntl.ioctl(fd, FSGETXATTR, a)
    flags, _, _, _, _ = struct.unpack_from("=IIIII", a)
    struct.pack_into("=I", a, 0, flags | (PROJINHERIT if inherit else 0))
    struct.pack_into("=I", a, 12, id)
    fcntl.ioctl(fd, FSSETXATTR, bytes(a))
    os.close(fd)


def projid(path):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    a = bytearray(28)
    fcntl.ioctl(fd, FSGETXATTR, a)
    os.close(fd)
    return struct.unpack_from("=I", a, 12)[0]


def child(f, uid=0, gid=None):
    """Runs f as a user, for whom limits hold; says what it raised."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        try:
            if uid:
                os.setresgid(gid or uid, gid or uid, gid or uid)
                os.setresuid(uid, uid, uid)
            else:
                # Root's other rights, but not the one to get over limits.
                header = struct.pack("=Ii", 0x20080522, 0)
                data = bytearray(24)
                check(libc.syscall(125, header, (ctypes.c_char * 24).from_buffer(data)))
                caps = list(struct.unpack("=6I", data))
                caps[0] &= ~(1 << CAP_SYS_RESOURCE)
                caps[1] &= ~(1 << CAP_SYS_RESOURCE)
                check(libc.syscall(126, header, struct.pack("=6I", *caps)))
            f()
            os.write(w, b"0")
        except OSError as e:
            os.write(w, str(e.errno).encode())
        finally:
            os._exit(0)
    os.close(w)
    said = os.read(r, 100)
    os.close(r)
    assert os.waitpid(pid, 0)[1] == 0
    assert said, "the child failed"
    return int(said)


def space(path, n):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(fd, 0, n)
    finally:
        os.close(fd)


def sums(d):
    """What everybody has, by what stat(2) says of each inode."""
    found, seen = {}, set()
    todo = [d]
    while todo:
        path = todo.pop()
        s = os.lstat(path)
        if s.st_ino not in seen:
            seen.add(s.st_ino)
            special = os.path.islink(path) or not (os.path.isdir(path) or os.path.isfile(path))
            owners = [(USER, s.st_uid), (GROUP, s.st_gid)]
            if not special:
                owners.append((PROJECT, projid(path)))
            for owner in owners:
                was = found.get(owner, (0, 0))
                found[owner] = (was[0] + s.st_blocks * 512, was[1] + 1)
        if os.path.isdir(path) and not os.path.islink(path):
            todo += [os.path.join(path, name) for name in os.listdir(path)]
    return found


def agrees(d, types=(USER, GROUP)):
    os.sync()
    for (qtype, id), (blocks, inodes) in sums(d).items():
        q = get(d, qtype, id)
        if qtype in types:
            assert (q.space, q.inodes) == (blocks, inodes), (qtype, id, q.space, q.inodes, blocks, inodes)


def usage(d):
    os.chmod(d, 0o777)
    for uid in (1000, 1001, 70000):
        def work():
            os.mkdir(f"{d}/{uid}")
            for n in range(30):
                write(f"{d}/{uid}/{n}", b"x" * n * 3000)
            os.symlink("t" * 3000, f"{d}/{uid}/long")
            os.mkfifo(f"{d}/{uid}/fifo")
            os.link(f"{d}/{uid}/3", f"{d}/{uid}/again")
            for n in range(300):
                os.setxattr(f"{d}/{uid}/5", f"user.{n}", b"v" * 100)
        assert child(work, uid, 50 + uid % 2) == 0
        agrees(d)
    os.truncate(f"{d}/1000/29", 100)
    os.chown(f"{d}/1000/28", 1001, 99)
    os.chown(f"{d}/1000/27", -1, 99)
    os.unlink(f"{d}/1000/26")
    os.rename(f"{d}/1000/25", f"{d}/1001/25")
    os.rename(f"{d}/1000/24", f"{d}/1001/23")
    agrees(d)
    fd = os.open(f"{d}/1000/22", os.O_RDONLY)
    before = get(d, USER, 1000)
    os.unlink(f"{d}/1000/22")
    assert get(d, USER, 1000).space == before.space
    os.close(fd)
    agrees(d)
    assert get(d, USER, 1000).inodes == before.inodes - 1
    # Nobody has this one.
    assert get(d, USER, 4242).space == 0 and get(d, USER, 4242).inodes == 0


def usage_after(d):
    agrees(d)
    for name in os.listdir(d):
        os.system(f"rm -r {d}/{name}")
    agrees(d)
    for uid in (1000, 1001, 70000):
        q = get(d, USER, uid)
        assert (q.space, q.inodes) == (0, 0), (uid, q.space, q.inodes)


def blocks(d):
    os.chmod(d, 0o777)
    limit(d, USER, 1000, bhard=100 * BLOCK)
    q = get(d, USER, 1000)
    assert (q.bhard, q.bsoft, q.ihard) == (100 * BLOCK, 0, 0)

    def fill():
        fd = os.open(d + "/f", os.O_WRONLY | os.O_CREAT)
        for _ in range(200):
            os.write(fd, b"x" * BLOCK)
    assert child(fill, 1000) == errno.EDQUOT
    os.sync()
    q = get(d, USER, 1000)
    assert q.space == 100 * BLOCK, q.space
    assert os.stat(d + "/f").st_size == 100 * BLOCK
    assert child(lambda: space(d + "/g", BLOCK), 1000) == errno.EDQUOT
    assert child(lambda: open(d + "/empty", "w").close(), 1000) == 0
    assert child(lambda: write(d + "/small", b"x"), 1000) == errno.EDQUOT
    # Overwriting takes nothing, others have their own limits, root none.
    def again():
        fd = os.open(d + "/f", os.O_WRONLY)
        os.pwrite(fd, b"y" * 50 * BLOCK, 0)
        os.fsync(fd)
    assert child(again, 1000) == 0
    assert child(lambda: space(d + "/h", 200 * BLOCK), 1001) == 0
    write(d + "/root", b"x" * BLOCK)
    os.chown(d + "/root", 1000, 1000)
    os.sync()
    assert get(d, USER, 1000).space == 101 * BLOCK
    # What is given back can be had again.
    os.truncate(d + "/f", 90 * BLOCK)
    assert child(lambda: space(d + "/g", 9 * BLOCK), 1000) == 0
    assert child(lambda: space(d + "/i", BLOCK), 1000) == errno.EDQUOT
    # Through a mapping: SIGBUS, not more than the limit.
    def fault():
        import mmap
        fd = os.open(d + "/map", os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, BLOCK)
        m = mmap.mmap(fd, BLOCK)
        m[0] = 1
    pid = os.fork()
    if pid == 0:
        os.setresuid(1000, 1000, 1000)
        fault()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == 7
    agrees(d)
    limit(d, USER, 1000, bhard=0)
    assert child(lambda: space(d + "/i", 300 * BLOCK), 1000) == 0


def inodes(d):
    os.chmod(d, 0o777)
    limit(d, GROUP, 1000, ihard=10)
    def fill():
        for n in range(20):
            os.mkdir(f"{d}/{n}") if n % 2 else write(f"{d}/{n}")
    assert child(fill, 1000) == errno.EDQUOT
    assert get(d, GROUP, 1000).inodes == 10
    assert child(lambda: os.symlink("x", d + "/l"), 1000) == errno.EDQUOT
    assert child(lambda: os.close(os.open(d, os.O_TMPFILE | os.O_RDWR)), 1000) == errno.EDQUOT
    assert child(lambda: os.rename(d + "/0", d + "/r"), 1000) == 0
    assert child(lambda: os.link(d + "/r", d + "/l"), 1000) == 0
    os.unlink(d + "/r")
    assert get(d, GROUP, 1000).inodes == 10
    os.unlink(d + "/l")
    assert get(d, GROUP, 1000).inodes == 9
    assert child(lambda: os.symlink("x", d + "/l"), 1000) == 0
    # As another group it may.
    assert child(lambda: os.symlink("x", d + "/l2"), 1000, 1001) == 0


def grace(d):
    os.chmod(d, 0o777)
    quotactl(SETINFO, USER, d, 0, struct.pack(INFO, 2, 3, 0, 3))
    b, i, flags, _ = struct.unpack_from(INFO, quotactl(GETINFO, USER, d, 0))
    assert (b, i) == (2, 3), (b, i)
    b, i, _, _ = struct.unpack_from(INFO, quotactl(GETINFO, GROUP, d, 0))
    assert (b, i) == (7 * 86400, 7 * 86400)
    limit(d, USER, 1000, bsoft=10 * BLOCK, bhard=30 * BLOCK)
    assert child(lambda: space(d + "/f", 10 * BLOCK), 1000) == 0
    assert get(d, USER, 1000).btime == 0
    begin = int(time.time())
    assert child(lambda: space(d + "/g", 5 * BLOCK), 1000) == 0
    q = get(d, USER, 1000)
    assert begin + 1 <= q.btime <= time.time() + 2, (begin, q.btime)
    time.sleep(3.2)
    assert child(lambda: space(d + "/h", BLOCK), 1000) == errno.EDQUOT
    os.unlink(d + "/g")
    os.sync()
    assert get(d, USER, 1000).btime == 0
    assert child(lambda: space(d + "/h", BLOCK), 1000) == 0
    # The time can be set, too.
    end = int(time.time()) + 1000
    quotactl(SETQUOTA, USER, d, 1000, struct.pack(DQBLK, 0, 0, 0, 0, 0, 0, end, 0, BTIME))
    assert get(d, USER, 1000).btime == end
    assert child(lambda: space(d + "/i", 2 * BLOCK), 1000) == 0


class Warnings:
    """What the kernel tells by netlink of owners who pass their limits."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.socket.bind((0, 0))
        self.socket.settimeout(.5)
        name = b"VFS_DQUOT\0"
        attribute = struct.pack("=HH", 4 + len(name), 2) + name + bytes(-len(name) % 4)
        body = struct.pack("=BBH", 3, 1, 0) + attribute  # CTRL_CMD_GETFAMILY by name
        self.socket.send(struct.pack("=IHHII", 16 + len(body), 16, 1, 1, 0) + body)
        family = self.attributes(self.socket.recv(65536)[20:])
        group = self.attributes(self.attributes(family[7])[1])
        self.socket.setsockopt(270, 1, struct.unpack("=I", group[2])[0])

    @staticmethod
    def attributes(data):
        found, at = {}, 0
        while at + 4 <= len(data):
            n, kind = struct.unpack_from("=HH", data, at)
            found[kind & 0x3FFF] = data[at + 4:at + n]
            at += n + 3 & ~3
        return found

    def told(self):
        """All that came: (type, owner, what)."""
        out = []
        while True:
            try:
                got = self.attributes(self.socket.recv(65536)[20:])
            except TimeoutError:
                return out
            qtype, = struct.unpack("=I", got[1])
            owner, = struct.unpack("=Q", got[2])
            what, = struct.unpack("=I", got[3])
            if not out or out[-1] != (qtype, owner, what):
                out.append((qtype, owner, what))


def warnings(d):
    os.chmod(d, 0o777)
    IHARD, BHARD, BLONG, BSOFT, BHARDBELOW, BSOFTBELOW = 1, 4, 5, 6, 9, 10
    heard = Warnings()
    quotactl(SETINFO, USER, d, 0, struct.pack(INFO, 1, 1, 0, 3))
    limit(d, USER, 1000, bsoft=10 * BLOCK, bhard=20 * BLOCK, ihard=3)
    assert child(lambda: space(d + "/f", 10 * BLOCK), 1000) == 0
    assert heard.told() == []
    assert child(lambda: space(d + "/g", 5 * BLOCK), 1000) == 0
    assert heard.told() == [(USER, 1000, BSOFT)]
    assert child(lambda: space(d + "/h", 6 * BLOCK), 1000) == errno.EDQUOT
    told = heard.told()
    assert told == [(USER, 1000, BHARD)], told
    assert child(lambda: space(d + "/i", BLOCK), 1000) == errno.EDQUOT
    assert (USER, 1000, IHARD) in heard.told()
    # It got what there was; below the hard limit the time runs on.
    os.unlink(d + "/h")
    os.sync()
    told = heard.told()
    assert (USER, 1000, BHARDBELOW) in told and (USER, 1000, BSOFTBELOW) not in told, told
    time.sleep(2.2)
    assert child(lambda: space(d + "/g", 7 * BLOCK), 1000) == errno.EDQUOT
    told = heard.told()
    assert (USER, 1000, BLONG) in told, told
    os.truncate(d + "/g", 0)
    os.truncate(d + "/f", 5 * BLOCK)
    os.sync()
    told = heard.told()
    assert (USER, 1000, BSOFTBELOW) in told and (USER, 1000, BSOFT) not in told, told


def transfer(d):
    os.chmod(d, 0o777)
    limit(d, USER, 1001, bhard=20 * BLOCK)
    limit(d, PROJECT, 5, bhard=20 * BLOCK, ihard=3)
    for name, n in (("a", 15), ("b", 15)):
        assert child(lambda: space(f"{d}/{name}", n * BLOCK), 1000) == 0
    # Root without the right to get over limits.
    assert child(lambda: os.chown(d + "/a", 1001, -1)) == 0
    assert child(lambda: os.chown(d + "/b", 1001, -1)) == errno.EDQUOT
    assert os.stat(d + "/b").st_uid == 1000
    assert child(lambda: os.chown(d + "/b", -1, 1001)) == 0
    agrees(d)
    assert child(lambda: project(d + "/a", 5)) == 0
    assert child(lambda: project(d + "/b", 5)) == errno.EDQUOT
    assert projid(d + "/b") == 0
    q = get(d, PROJECT, 5)
    assert (q.space, q.inodes) == (15 * BLOCK, 1)
    os.mkdir(d + "/p", 0o777)
    os.chmod(d + "/p", 0o777)
    project(d + "/p", 5, True)
    assert child(lambda: space(d + "/p/f", 5 * BLOCK), 1000) == 0
    assert child(lambda: space(d + "/p/f", 6 * BLOCK), 1000) == errno.EDQUOT
    assert child(lambda: write(d + "/p/g"), 1002) == errno.EDQUOT
    q = get(d, PROJECT, 5)
    assert (q.space, q.inodes) == (20 * BLOCK, 3)
    agrees(d, (USER, GROUP, PROJECT))


def threads(d):
    """Several that share a limit get all of it together, and no more."""
    os.chmod(d, 0o777)
    limit(d, USER, 1000, bhard=1000 * BLOCK, ihard=200)
    pids = []
    for k in range(6):
        pid = os.fork()
        if pid == 0:
            os.setresuid(1000, 1000, 1000)
            rnd = random.Random(k)
            refused = 0
            while refused < 50:
                path = f"{d}/{k}.{rnd.randrange(60)}"
                try:
                    if rnd.random() < 0.1:
                        os.unlink(path)
                    else:
                        space(path, rnd.randrange(1, 20) * BLOCK)
                except FileNotFoundError:
                    pass
                except OSError as e:
                    if e.errno != errno.EDQUOT:
                        os._exit(1)
                    refused += 1
                q = get(d, USER, 1000)
                if q.space > 1000 * BLOCK or q.inodes > 200:
                    os._exit(2)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    agrees(d)


def control(d):
    limit(d, USER, 7, ihard=5)
    limit(d, USER, 4000000000, ihard=6)
    ids, at = [], 0
    while True:
        try:
            q = Quota(quotactl(GETNEXTQUOTA, USER, d, at), NEXT)
        except OSError as e:
            assert e.errno == errno.ENOENT
            break
        ids.append((q.id, q.ihard))
        at = q.id + 1
    assert ids == [(0, 0), (7, 5), (4000000000, 6)], ids
    quotactl(QUOTAOFF, USER, d, 0)
    assert "usrquota" not in mounted(d) and "grpquota" in mounted(d)
    assert get(d, USER, 7).ihard == 5
    os.chmod(d, 0o777)
    limit(d, USER, 1000, ihard=1)
    assert child(lambda: [write(f"{d}/{n}") for n in range(3)], 1000) == 0
    assert get(d, USER, 1000).inodes == 3
    quotactl(QUOTAON, USER, d, 0)
    fails(errno.EBUSY, quotactl, QUOTAON, USER, d, 0)
    assert child(lambda: write(d + "/more"), 1000) == errno.EDQUOT
    # Users may look at their own, and change nothing.
    assert child(lambda: get(d, USER, 1000), 1000) == 0
    assert child(lambda: get(d, USER, 7), 1000) == errno.EPERM
    assert child(lambda: limit(d, USER, 1000, ihard=0), 1000) == errno.EPERM
    fails(errno.EINVAL, quotactl, GETQUOTA, 3, d, 0)
    # What is used is not for others to say.
    data = struct.pack(DQBLK, 0, 0, 4096, 0, 0, 9, 0, 0, 2 | 8)
    fails(errno.EINVAL, quotactl, SETQUOTA, USER, d, 7, data)


def mounted(d):
    for line in open("/proc/mounts"):
        if line.split()[1] == d:
            return line.split()[3].split(",")


def load(d, until):
    """Keeps everybody busy until a file is there."""
    os.chmod(d, 0o777)
    k = 0
    while not os.path.exists(until):
        k += 1
        path = f"{d}/{k % 50}"
        try:
            os.truncate(path, k % 7 * 5000) if k % 3 else space(path, k % 11 * 7000 + 1)
            os.chown(path, k % 5, k % 3)
            if k % 13 == 0:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as e:
            assert e.errno in (errno.EIO, errno.EROFS, errno.ESHUTDOWN), e
            return


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
