#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of names, attributes and system calls: fs_ops.py TEST DIR [ARGS...]

Each test works below DIR, which is on the file system under test, and exits 0 if
all is as it should be. Tests with a name that ends in _after check, after a remount,
what the test of the same name left.
"""
import ctypes
import errno
import fcntl
import os
import random
import socket
import stat
import struct
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
FS_IOC_SHUTDOWN = 0x8004587D
FS_IOC_GETVERSION = 0x80087601


def check(result):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return result


def renameat2(old, new, flags=0):
    old, new = os.fsencode(old), os.fsencode(new)
    return check(libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags))


def link_open(fd, new):
    """A name for an open file."""
    path = b"/proc/self/fd/%d" % fd
    check(libc.linkat(AT_FDCWD, path, AT_FDCWD, os.fsencode(new), AT_SYMLINK_FOLLOW))


def fails(code, f, *args, **kw):
    try:
        f(*args, **kw)
    except OSError as e:
        assert e.errno == code, f"{f.__name__}{args}: {e}, not {os.strerror(code)}"
        return
    raise AssertionError(f"{f.__name__}{args} succeeded, not {os.strerror(code)}")


def write(path, data=b"", mode=0o644):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def ino(path):
    return os.stat(path, follow_symlinks=False).st_ino


def statx(path):
    """Birth time and attributes."""
    buf = ctypes.create_string_buffer(256)
    check(libc.statx(AT_FDCWD, os.fsencode(path), 0x100, 0xFFF, buf))
    mask, = struct.unpack_from("=I", buf.raw, 0)
    sec, nsec = struct.unpack_from("=qI", buf.raw, 0x50)
    assert mask & 0x800, "no birth time"
    return sec * 10**9 + nsec


def inside(d):
    os.makedirs(d, exist_ok=True)
    os.chdir(d)


# --- Names ----------------------------------------------------------------------

def names(d):
    inside(d)
    write("f", b"one")
    fails(errno.EEXIST, os.mkdir, "f")
    fails(errno.EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails(errno.ENOENT, os.stat, "g")
    fails(errno.ENOENT, os.unlink, "g")
    fails(errno.ENOTDIR, os.stat, "f/x")
    fails(errno.ENOTDIR, os.rmdir, "f")
    os.mkdir("d")
    fails(errno.EISDIR, os.unlink, "d")
    fails(errno.EISDIR, os.open, "d", os.O_WRONLY)
    write("d/x")
    fails(errno.ENOTEMPTY, os.rmdir, "d")
    os.unlink("d/x")
    assert os.stat("d").st_nlink == 2
    for i in range(5):
        os.mkdir(f"d/{i}")
    assert os.stat("d").st_nlink == 7
    for i in range(5):
        os.rmdir(f"d/{i}")
    assert os.stat("d").st_nlink == 2
    os.rmdir("d")
    fails(errno.ENOENT, os.rmdir, "d")
    # Lengths and bytes.
    long = b"n" * 255
    write(long)
    assert os.listdir(b".").count(long) == 1
    fails(errno.ENAMETOOLONG, write, b"n" * 256)
    fails(errno.ENAMETOOLONG, os.stat, b"n" * 256)
    odd = [bytes([b]) * n for b in (1, 10, 32, 127, 128, 255) for n in (1, 2, 3, 254)]
    for name in odd:
        write(name, name)
    for name in odd:
        assert read(name) == name
        os.unlink(name)
    os.unlink(long)
    os.unlink("f")
    assert os.listdir(".") == []


def links(d):
    inside(d)
    write("a", b"shared")
    os.link("a", "b")
    assert ino("a") == ino("b") and os.stat("a").st_nlink == 2
    os.mkdir("sub")
    os.link("a", "sub/c")
    fails(errno.EPERM, os.link, "sub", "dirlink")
    fails(errno.EEXIST, os.link, "a", "b")
    fails(errno.ENOENT, os.link, "gone", "x")
    write("b", b"changed")
    assert read("sub/c") == b"changed"
    os.unlink("a")
    assert os.stat("b").st_nlink == 2
    for i in range(1000):
        os.link("b", f"sub/l{i}")
    assert os.stat("b").st_nlink == 1002
    for i in range(1000):
        os.unlink(f"sub/l{i}")
    assert os.stat("b").st_nlink == 2


def links_after(d):
    os.chdir(d)
    assert read("b") == read("sub/c") == b"changed"
    assert ino("b") == ino("sub/c") and os.stat("b").st_nlink == 2


SYMLINKS = [1, 2, 100, 179, 180, 181, 182, 999, 1000, 1001, 2000, 3001, 4094, 4095]


def symlinks(d):
    inside(d)
    for n in SYMLINKS:
        os.symlink("t" * n, f"l{n}")
    fails(errno.EEXIST, os.symlink, "x", "l1")
    fails(errno.ENAMETOOLONG, os.symlink, "t" * 4096, "toolong")
    os.mkdir("dir")
    write("dir/file", b"through")
    os.symlink("dir", "to-dir")
    assert read("to-dir/file") == b"through"
    os.symlink("loop", "loop")
    fails(errno.ELOOP, read, "loop")
    fails(errno.ENOENT, read, "l100")
    symlinks_after(d)


def symlinks_after(d):
    os.chdir(d)
    for n in SYMLINKS:
        assert os.readlink(f"l{n}") == "t" * n
        assert os.lstat(f"l{n}").st_size == n
        assert stat.S_ISLNK(os.lstat(f"l{n}").st_mode)
    assert read("to-dir/file") == b"through"


def nodes(d):
    inside(d)
    os.mkfifo("fifo", 0o600)
    os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod("big", 0o600 | stat.S_IFBLK, os.makedev(4095, 1048575))
    os.mknod("plain", 0o600 | stat.S_IFREG)
    s = socket.socket(socket.AF_UNIX)
    s.bind("sock")
    nodes_after(d)


def nodes_after(d):
    os.chdir(d)
    kinds = {"fifo": stat.S_ISFIFO, "null": stat.S_ISCHR, "big": stat.S_ISBLK,
             "plain": stat.S_ISREG, "sock": stat.S_ISSOCK}
    for name, is_kind in kinds.items():
        assert is_kind(os.lstat(name).st_mode), name
    assert os.stat("null").st_rdev == os.makedev(1, 3)
    assert os.stat("big").st_rdev == os.makedev(4095, 1048575)
    assert read("null") == b""
    t = threading.Thread(target=lambda: write("fifo", b"through the pipe"))
    t.start()
    assert read("fifo") == b"through the pipe"
    t.join()
    types = {e.name: e for e in os.scandir(".")}
    assert types["plain"].is_file(follow_symlinks=False)


def rename(d):
    inside(d)
    # Plain, in and across directories.
    os.mkdir("d1"), os.mkdir("d2")
    write("d1/a", b"A")
    renameat2("d1/a", "d1/b")
    renameat2("d1/b", "d2/c")
    assert read("d2/c") == b"A" and os.listdir("d1") == []
    # Onto something.
    write("d1/x", b"X")
    old = ino("d1/x")
    renameat2("d1/x", "d2/c")
    assert read("d2/c") == b"X" and ino("d2/c") == old
    fails(errno.ENOENT, renameat2, "d1/x", "d2/c")
    # Two names of one inode: nothing happens.
    os.link("d2/c", "d2/same")
    renameat2("d2/c", "d2/same")
    assert sorted(os.listdir("d2")) == ["c", "same"]
    os.unlink("d2/same")
    # Directories.
    os.makedirs("d1/sub/deep")
    n1, n2 = os.stat("d1").st_nlink, os.stat("d2").st_nlink
    renameat2("d1/sub", "d2/sub")
    assert os.stat("d1").st_nlink == n1 - 1 and os.stat("d2").st_nlink == n2 + 1
    assert ino("d2/sub/..") == ino("d2")
    fails(errno.EINVAL, renameat2, "d2/sub", "d2/sub/deep/below")
    fails(errno.ENOTEMPTY, renameat2, "d1", "d2")
    fails(errno.ENOTDIR, renameat2, "d1", "d2/c")
    fails(errno.EISDIR, renameat2, "d2/c", "d1")
    os.mkdir("empty")
    renameat2("d2/sub", "empty")
    assert os.listdir("empty") == ["deep"]
    # Not over something.
    write("n1", b"1"), write("n2", b"2")
    fails(errno.EEXIST, renameat2, "n1", "n2", NOREPLACE)
    renameat2("n1", "n3", NOREPLACE)
    assert read("n3") == b"1"
    # Exchange: files, directories, both, and across directories.
    renameat2("n2", "n3", EXCHANGE)
    assert read("n2") == b"1" and read("n3") == b"2"
    fails(errno.ENOENT, renameat2, "n2", "none", EXCHANGE)
    renameat2("n2", "empty", EXCHANGE)
    assert read("empty") == b"1" and os.listdir("n2") == ["deep"]
    os.mkdir("d1/in1"), write("d1/in1/f1")
    os.mkdir("d2/in2"), write("d2/in2/f2")
    renameat2("d1/in1", "d2/in2", EXCHANGE)
    assert os.listdir("d1/in1") == ["f2"] and os.listdir("d2/in2") == ["f1"]
    assert ino("d1/in1/..") == ino("d1") and ino("d2/in2/..") == ino("d2")
    # A directory and a file, across: the link counts follow the directory.
    write("d2/file", b"F")
    n1, n2 = os.stat("d1").st_nlink, os.stat("d2").st_nlink
    renameat2("d1/in1", "d2/file", EXCHANGE)
    assert read("d1/in1") == b"F" and os.listdir("d2/file") == ["f2"]
    assert (os.stat("d1").st_nlink, os.stat("d2").st_nlink) == (n1 - 1, n2 + 1)
    fails(errno.EINVAL, renameat2, "d2/file", "d2", EXCHANGE)
    # Whiteout.
    write("w", b"W")
    renameat2("w", "w2", WHITEOUT)
    st = os.lstat("w")
    assert stat.S_ISCHR(st.st_mode) and st.st_rdev == 0 and read("w2") == b"W"
    renameat2("w2", "d1/w", WHITEOUT)
    assert stat.S_ISCHR(os.lstat("w2").st_mode) and read("d1/w") == b"W"
    fails(errno.EINVAL, renameat2, "n2", "n3", EXCHANGE | NOREPLACE)
    # Over an open file, and a directory in use.
    write("victim", b"old")
    fd = os.open("victim", os.O_RDONLY)
    write("new", b"new")
    renameat2("new", "victim")
    assert os.read(fd, 10) == b"old" and os.fstat(fd).st_nlink == 0
    os.close(fd)
    assert read("victim") == b"new"


def rename_after(d):
    os.chdir(d)
    assert read("victim") == b"new" and read("d1/w") == b"W" and read("d1/in1") == b"F"
    assert os.listdir("n2") == ["deep"] and os.listdir("d2/file") == ["f2"]
    assert ino("d2/file/..") == ino("d2")


def unlinked(d):
    """Files and directories that are removed while they are open."""
    inside(d)
    free = os.statvfs(".").f_bfree
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.unlink("f")
    os.write(fd, b"x" * 4_000_000)
    os.fsync(fd)
    assert os.fstat(fd).st_nlink == 0 and os.pread(fd, 5, 3_999_990) == b"xxxxx"
    fails(errno.ENOENT, link_open, fd, "again")
    os.close(fd)
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir("d")
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    fails(errno.ENOENT, os.mkdir, "x", dir_fd=fd)
    assert os.listdir(fd) == []
    os.close(fd)
    os.sync()
    assert abs(os.statvfs(".").f_bfree - free) < 50


def tmpfile(d):
    inside(d)
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"no name yet")
    assert os.fstat(fd).st_nlink == 0 and os.listdir(".") == []
    link_open(fd, "named")
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    fails(errno.ENOENT, link_open, fd, "never")
    os.write(fd, b"gone" * 10000)
    os.close(fd)
    tmpfile_after(d)


def tmpfile_after(d):
    os.chdir(d)
    assert os.listdir(".") == ["named"] and read("named") == b"no name yet"
    assert stat.S_IMODE(os.stat("named").st_mode) == 0o640


# --- Directories -----------------------------------------------------------------

def big_dir(d, n):
    inside(d)
    n = int(n)
    for i in range(n):
        os.mknod(f"entry-{i}")
    big_dir_after(d, n)


def big_dir_after(d, n):
    os.chdir(d)
    n = int(n)
    seen = os.listdir(".")
    assert len(seen) == n, len(seen)
    assert set(seen) == {f"entry-{i}" for i in range(n)}
    for i in range(0, n, max(1, n // 1000)):
        assert stat.S_ISREG(os.lstat(f"entry-{i}").st_mode)
    fails(errno.ENOENT, os.stat, f"entry-{n}")


def getdents(fd, size):
    """Names, types and offsets of one call."""
    buf = ctypes.create_string_buffer(size)
    n = check(libc.syscall(217, fd, buf, size))
    at, out = 0, []
    while at < n:
        i, off, length, kind = struct.unpack_from("=QqHB", buf.raw, at)
        name = buf.raw[at + 19:at + length].split(b"\0", 1)[0]
        out.append((name.decode(), kind, off, i))
        at += length
    return out


def readdir(d):
    inside(d)
    n = 700
    names = [f"{i:04}-{'x' * (i % 200)}" for i in range(n)]
    for i, name in enumerate(names):
        os.mkdir(name) if i % 7 == 0 else write(name)
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    # Small buffers show each entry once, "." and ".." first.
    seen = []
    while batch := getdents(fd, 300):
        seen += batch
    assert [s[0] for s in seen[:2]] == [".", ".."]
    assert sorted(s[0] for s in seen[2:]) == sorted(names)
    assert seen[0][3] == ino(".") and seen[1][3] == ino("..")
    for name, kind, off, i in seen[2:]:
        assert kind == (4 if names.index(name) % 7 == 0 else 8) and off > 0 and i == ino(name)
    offsets = [s[2] for s in seen]
    assert len(set(offsets)) == len(offsets), "positions are not unique"
    # From any position on, what follows is the same, though others come and go.
    for k in random.Random(1).sample(range(len(seen)), 40):
        os.lseek(fd, offsets[k], os.SEEK_SET)
        rest = []
        while batch := getdents(fd, 4096):
            rest += batch
        assert [r[0] for r in rest] == [s[0] for s in seen[k + 1:]], k
    # What was there all the time is seen exactly once, whatever happens around it.
    os.lseek(fd, 0, os.SEEK_SET)
    stay = set(names[::2])
    go = [x for x in names[1::2]]
    found = []
    step = 0
    while batch := getdents(fd, 1024):
        found += [b[0] for b in batch]
        for name in go[step * 3:step * 3 + 3]:
            os.rmdir(name) if os.path.isdir(name) else os.unlink(name)
        write(f"new-{step}")
        step += 1
    kept = [f for f in found if f in stay]
    assert len(kept) == len(set(kept)) == len(stay)
    assert getdents(fd, 4096) == []
    # Removing while reading, as rm -r does it.
    os.lseek(fd, 0, os.SEEK_SET)
    while batch := getdents(fd, 512):
        for name, kind, _, _ in batch:
            if name not in (".", ".."):
                os.rmdir(name) if kind == 4 else os.unlink(name)
    assert os.listdir(".") == []
    fails(errno.EINVAL, os.lseek, fd, -5, os.SEEK_SET)
    os.close(fd)


# --- Attributes -------------------------------------------------------------------

def attributes(d):
    inside(d)
    write("f", b"x")
    born = statx("f")
    os.chmod("f", 0o4751)
    os.chown("f", 12345, 54321)
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o751, "chown keeps set-user-id"
    os.chmod("f", 0o6751)
    for t in (0, 1, 10**18 + 123456789, -10**9 + 7, 2**33 * 10**9 + 999999999):
        os.utime("f", ns=(t, t + 1))
        st = os.stat("f")
        assert (st.st_atime_ns, st.st_mtime_ns) == (t, t + 1), t
    before = os.stat("f").st_ctime_ns
    os.chmod("f", 0o6755)
    assert os.stat("f").st_ctime_ns >= before
    assert statx("f") == born
    os.mkdir("dir")
    old = os.stat("dir").st_mtime_ns
    while os.stat("dir").st_mtime_ns == old:
        write("dir/x")
        os.unlink("dir/x")
    # Group and set-group-id are inherited.
    os.mkdir("sg")
    os.chown("sg", 0, 777)
    os.chmod("sg", 0o2775)
    os.mkdir("sg/sub"), write("sg/file")
    assert os.stat("sg/sub").st_gid == 777 and os.stat("sg/sub").st_mode & stat.S_ISGID
    assert os.stat("sg/file").st_gid == 777
    os.umask(0o027)
    write("masked", mode=0o666)
    assert stat.S_IMODE(os.stat("masked").st_mode) == 0o640
    fd = os.open("f", os.O_RDONLY)
    version = struct.unpack("=q", fcntl.ioctl(fd, FS_IOC_GETVERSION, b"\0" * 8))[0]
    with open("version", "w") as f:
        f.write(f"{version & 0xffffffff} {born}")


def attributes_after(d):
    os.chdir(d)
    st = os.stat("f")
    assert stat.S_IMODE(st.st_mode) == 0o6755 and (st.st_uid, st.st_gid) == (12345, 54321)
    assert st.st_mtime_ns == 2**33 * 10**9 + 999999999 + 1
    version, born = map(int, open("version").read().split())
    fd = os.open("f", os.O_RDONLY)
    assert struct.unpack("=I", fcntl.ioctl(fd, FS_IOC_GETVERSION, b"\0" * 8)[:4])[0] == version
    assert statx("f") == born
    assert os.stat("sg/sub").st_gid == 777 and os.stat("sg/sub").st_mode & stat.S_ISGID


def permissions(d):
    """Runs as root, tries as somebody else."""
    inside(d)
    os.chmod(".", 0o755)
    os.mkdir("closed", 0o700), write("closed/f")
    os.mkdir("open")
    os.chmod("open", 0o777)
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    write("secret", b"s", 0o600), write("public", b"p", 0o644)
    write("sticky/mine")
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(1000), os.setuid(1000)
            fails(errno.EACCES, read, "secret")
            assert read("public") == b"p"
            fails(errno.EACCES, os.open, "public", os.O_WRONLY)
            fails(errno.EACCES, os.stat, "closed/f")
            fails(errno.EACCES, os.listdir, "closed")
            fails(errno.EACCES, write, "new")
            fails(errno.EPERM, os.chmod, "public", 0o666)
            fails(errno.EPERM, os.chown, "public", 1000, 1000)
            fails(errno.EPERM, os.utime, "public", (1, 1))
            fails(errno.EPERM, os.unlink, "sticky/mine")
            fails(errno.EPERM, renameat2, "sticky/mine", "sticky/yours")
            fails(errno.EACCES, os.unlink, "public")
            fails(errno.EPERM, os.mknod, "open/dev", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
            fails(errno.EPERM, os.setxattr, "public", "trusted.x", b"1")
            fails(errno.EACCES, os.setxattr, "public", "user.x", b"1")
            write("open/own", b"o")
            assert os.stat("open/own").st_uid == 1000
            fails(errno.EPERM, os.chown, "open/own", 0, 0)
            os.chmod("open/own", 0o400)
            fd = os.open("open/own", os.O_RDONLY)
            fails(errno.EPERM, fcntl.ioctl, fd, FS_IOC_SHUTDOWN, struct.pack("=I", 2))
        except BaseException as e:
            print(repr(e), file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- Extended attributes ----------------------------------------------------------

SIZES = [0, 1, 100, 500, 900, 990, 1000, 1010, 2000, 4096, 10000, 65536]


def value(n):
    return bytes((i * 7 + n) & 255 for i in range(n))


def xattrs(d):
    inside(d)
    write("f")
    os.mkdir("dir")
    for n in SIZES:
        os.setxattr("f", f"user.size{n}", value(n))
    os.setxattr("f", "trusted.t", b"root only")
    os.setxattr("f", "security.s", b"label")
    os.setxattr("dir", "user.on-dir", b"yes")
    fails(errno.ENODATA, os.getxattr, "f", "user.none")
    fails(errno.ENODATA, os.removexattr, "f", "user.none")
    fails(errno.EEXIST, os.setxattr, "f", "user.size1", b"x", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, "f", "user.none", b"x", os.XATTR_REPLACE)
    fails(errno.E2BIG, os.setxattr, "f", "user.huge", b"x" * 65537)
    fails(errno.EOPNOTSUPP, os.setxattr, "f", "unknown.x", b"x")
    fails(errno.ERANGE, os.setxattr, "f", "user." + "n" * 251, b"x")
    longest = "user." + "n" * 250
    os.setxattr("f", longest, b"long name")
    assert os.getxattr("f", longest) == b"long name"
    os.removexattr("f", longest)
    # Replace by longer and shorter ones.
    for n in (10, 5000, 20, 60000, 0, 800):
        os.setxattr("f", "user.changing", value(n))
        assert os.getxattr("f", "user.changing") == value(n)
    # Sizes are told, and a buffer that is too short is an error.
    assert libc.getxattr(b"f", b"user.size1000", None, 0) == 1000
    buf = ctypes.create_string_buffer(10)
    fails(errno.ERANGE, lambda: check(libc.getxattr(b"f", b"user.size1000", buf, 10)))
    fails(errno.ERANGE, lambda: check(libc.listxattr(b"f", buf, 10)))
    # Many.
    write("many")
    for i in range(400):
        os.setxattr("many", f"user.attr-{i}", value(i))
    for i in range(0, 400, 2):
        os.removexattr("many", f"user.attr-{i}")
    os.symlink("f", "link")
    fails(errno.EPERM, os.setxattr, "link", "user.x", b"x", follow_symlinks=False)
    os.setxattr("link", "trusted.x", b"on the link", follow_symlinks=False)
    xattrs_after(d)


def xattrs_after(d):
    os.chdir(d)
    want = {f"user.size{n}" for n in SIZES} | {"trusted.t", "security.s", "user.changing"}
    assert set(os.listxattr("f")) - {"security.selinux"} == want
    for n in SIZES:
        assert os.getxattr("f", f"user.size{n}") == value(n), n
    assert os.getxattr("f", "user.changing") == value(800)
    assert os.getxattr("f", "trusted.t") == b"root only"
    assert os.getxattr("dir", "user.on-dir") == b"yes"
    assert set(os.listxattr("many")) == {f"user.attr-{i}" for i in range(1, 400, 2)}
    for i in range(1, 400, 2):
        assert os.getxattr("many", f"user.attr-{i}") == value(i)
    assert os.getxattr("link", "trusted.x", follow_symlinks=False) == b"on the link"


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
