#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of a file system that is busy, full, read only or shut down:
fs_state_ops.py TEST DIR [ARGS...]

As fs_ops.py has them.
"""
from fs_ops import *


def churn(d, seed, workers, ops):
    """Several processes make, move and remove names in shared directories."""
    inside(d)
    for i in range(4):
        os.makedirs(f"d{i}", exist_ok=True)
    pids = []
    for w in range(int(workers)):
        pid = os.fork()
        if pid == 0:
            try:
                churn_one(random.Random(f"{seed} {w}"), int(ops))
            except BaseException as e:
                print(repr(e), file=sys.stderr)
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    assert all([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) == 0 for p in pids])


EXPECTED = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR,
            errno.EINVAL, errno.ELOOP, errno.EPERM, errno.ENODATA, errno.ENOSPC,
            errno.EXDEV, errno.EBUSY, errno.ENXIO, errno.ENAMETOOLONG}


def churn_one(rng, ops):
    def name():
        return f"d{rng.randrange(4)}/n{rng.randrange(40)}"

    actions = [
        lambda: write(name(), os.urandom(rng.randrange(9000))),
        lambda: os.mkdir(name()),
        lambda: os.unlink(name()),
        lambda: os.rmdir(name()),
        lambda: renameat2(name(), name(), rng.choice([0, 0, 0, 1, 2])),
        lambda: os.link(name(), name(), follow_symlinks=False),
        lambda: os.symlink("x" * rng.choice([5, 300, 2000]), name()),
        lambda: os.setxattr(name(), "user.a", os.urandom(rng.randrange(3000))),
        lambda: os.truncate(name(), rng.randrange(100000)),
        lambda: os.listdir(f"d{rng.randrange(4)}"),
        lambda: os.chmod(name(), rng.randrange(0o1000)),
        lambda: renameat2(name(), f"{name()}/in"),
    ]
    for _ in range(ops):
        try:
            rng.choice(actions)()
        except OSError as e:
            if e.errno not in EXPECTED:
                raise


def fill(d, leave):
    """Files until the disk is full; then what must work on a full disk."""
    inside(d)
    leave = int(leave)
    fill_with(".", leave)
    # Full: reading, unlinking, truncating and renaming work.
    st = os.statvfs(".")
    assert st.f_bavail <= leave // 4096 + 64, st.f_bavail
    kept = [n for n in os.listdir(".") if n.startswith("data")]
    for n in kept[:20]:
        assert read(n)[:1] == b"d"
    os.truncate(kept[0], 10)
    os.unlink(kept[1])
    renameat2(kept[0], kept[2])
    for n in kept[2:]:
        os.unlink(n)
    # And it is all there again, at once.
    write("after", b"y" * 1_000_000)
    assert len(read("after")) == 1_000_000


def fill_with(d, leave):
    inside(d)
    size, i, leave = 1 << 20, 0, int(leave)
    while size >= 4096:
        try:
            write(f"data{i}", b"d" * size)
            i += 1
            if os.statvfs(".").f_bavail * 4096 <= leave:
                return
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
            size //= 4


def fill_names(d):
    """Empty files until the disk is full of inodes and names."""
    inside(d)
    i = 0
    try:
        while True:
            os.mknod(f"{'n' * 200}{i}")
            i += 1
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    assert i > 100
    assert len(os.listdir(".")) == i
    for j in range(i):
        os.unlink(f"{'n' * 200}{j}")
    assert os.listdir(".") == []


def shutdown(d, how):
    fd = os.open(d, os.O_RDONLY)
    fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("=I", int(how)))


def dead(d):
    """After a shutdown everything fails with EIO, and nothing hangs."""
    fails(errno.EIO, os.listdir, d)
    fails(errno.EIO, os.mkdir, f"{d}/never")
    fails(errno.EIO, os.stat, f"{d}/not-cached-{os.getpid()}")
    fails(errno.EIO, write, f"{d}/never-file")


def read_only(d):
    os.chdir(d)
    fails(errno.EROFS, write, "new")
    fails(errno.EROFS, os.mkdir, "newdir")
    fails(errno.EROFS, os.unlink, "file")
    fails(errno.EROFS, renameat2, "file", "other")
    fails(errno.EROFS, os.link, "file", "other")
    fails(errno.EROFS, os.symlink, "x", "other")
    fails(errno.EROFS, os.chmod, "file", 0o600)
    fails(errno.EROFS, os.setxattr, "file", "user.x", b"1")
    fails(errno.EROFS, os.truncate, "file", 1)
    fails(errno.EROFS, os.utime, "file", (1, 1))
    assert read("file") == b"content\n"


def synced(d):
    """Prints what was made durable by fsync of the file, or of its directory."""
    inside(d)
    for i in range(20):
        fd = os.open(f"file{i}", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"%d" % i * 1000)
        os.fsync(fd)
        os.close(fd)
    write("moved-from", b"moved")
    fd = os.open("moved-from", os.O_RDONLY)
    os.fsync(fd)
    renameat2("moved-from", "moved-to")
    os.mkdir("sub")
    write("sub/x", b"x")
    os.sync()
    write("sub/named")
    fd = os.open("sub", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    write("perhaps", b"p")


def synced_after(d):
    os.chdir(d)
    for i in range(20):
        assert read(f"file{i}") == b"%d" % i * 1000
    assert read("moved-to") == b"moved" and not os.path.exists("moved-from")
    assert sorted(os.listdir("sub")) == ["named", "x"] and read("sub/x") == b"x"


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
