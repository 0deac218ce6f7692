#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of attributes and what belongs to them: posix_ops.py TEST DIR [ARGS...]

Each test works below DIR, which is on the file system under test, and exits 0 if
all is as it should be. Tests with a name that ends in _after check, after a remount,
what the test of the same name left.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import struct
import sys
import time

from fs_ops import AT_FDCWD, EXCHANGE, check, fails, libc, link_open, renameat2, write

GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
FSGETXATTR, FSSETXATTR = 0x801C581F, 0x401C5820
GETFSLABEL, SETFSLABEL = 0x81009431, 0x41009432
GETFSUUID, GETFSSYSFSPATH = 0x80111500, 0x80811501
SYNC, IMMUTABLE, APPEND, NODUMP, NOATIME = 8, 0x10, 0x20, 0x40, 0x80
DIRSYNC, PROJINHERIT = 0x10000, 0x20000000
AT_EMPTY_PATH, AT_HANDLE_CONNECTABLE = 0x1000, 0x2


def tmpfile_acl(d):
    """A file without a name inherits, too."""
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o666)
    acl = os.getxattr(fd, "system.posix_acl_access")
    link_open(fd, os.path.join(d, "was-tmp"))
    os.close(fd)
    assert os.getxattr(os.path.join(d, "was-tmp"), "system.posix_acl_access") == acl
    assert len(acl) == 4 + 8 * 5
    fails(errno.ENODATA, os.getxattr, d + "/was-tmp", "system.posix_acl_default")
    fails(errno.EOPNOTSUPP, os.setxattr, d + "/was-tmp", "system.posix_acl_access", b"nonsense")


# --- Flags and projects ------------------------------------------------------------


def opened(path, flags=os.O_RDONLY):
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def get_flags(path):
    fd = opened(path)
    try:
        return struct.unpack("=I4x", fcntl.ioctl(fd, GETFLAGS, bytes(8)))[0]
    finally:
        os.close(fd)


def set_flags(path, flags):
    fd = opened(path)
    try:
        fcntl.ioctl(fd, SETFLAGS, struct.pack("=I4x", flags))
    finally:
        os.close(fd)


def get_project(path):
    """Extended flags and project."""
    fd = opened(path)
    try:
        x = struct.unpack("=5I8x", fcntl.ioctl(fd, FSGETXATTR, bytes(28)))
        return x[0], x[3]
    finally:
        os.close(fd)


def set_project(path, projid, xflags=0, extsize=0):
    fd = opened(path)
    try:
        fcntl.ioctl(fd, FSSETXATTR, struct.pack("=5I8x", xflags, extsize, 0, projid, 0))
    finally:
        os.close(fd)


def statx_attributes(path):
    buf = ctypes.create_string_buffer(256)
    check(libc.statx(AT_FDCWD, os.fsencode(path), 0x100, 0xFFF, buf))
    have, = struct.unpack_from("=Q", buf.raw, 8)
    known, = struct.unpack_from("=Q", buf.raw, 0x38)
    assert known & 0x70 == 0x70, hex(known)
    return have


def flags(d):
    os.chdir(d)
    os.mkdir("dir")
    for name in ("f", "append", "immutable", "noatime"):
        write(name, b"content of it")
    # Append only.
    set_flags("append", APPEND)
    assert get_flags("append") == APPEND
    assert statx_attributes("append") & 0x20
    fails(errno.EPERM, os.open, "append", os.O_WRONLY)
    fails(errno.EPERM, os.truncate, "append", 1)
    fails(errno.EPERM, os.unlink, "append")
    fails(errno.EPERM, os.rename, "append", "other")
    fails(errno.EPERM, os.chmod, "append", 0o777)
    fd = os.open("append", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b", more")
    os.close(fd)
    assert open("append").read() == "content of it, more"
    # Immutable.
    set_flags("immutable", IMMUTABLE | NODUMP)
    assert statx_attributes("immutable") & 0x50 == 0x50
    for call in (
        lambda: os.open("immutable", os.O_WRONLY | os.O_APPEND),
        lambda: os.truncate("immutable", 1),
        lambda: os.unlink("immutable"),
        lambda: os.link("immutable", "second"),
        lambda: os.chown("immutable", 1, 1),
        lambda: os.utime("immutable", (1, 1)),
        lambda: os.setxattr("immutable", "user.x", b"x"),
        lambda: set_flags("immutable", IMMUTABLE),
        lambda: set_project("immutable", 7, 0x8),
    ):
        fails(errno.EPERM, call)
    set_flags("immutable", 0)
    os.chmod("immutable", 0o600)
    set_flags("immutable", IMMUTABLE)
    # An immutable directory takes no names, an append-only one loses none.
    set_flags("dir", IMMUTABLE)
    fails(errno.EPERM, write, "dir/f")
    set_flags("dir", APPEND)
    write("dir/f")
    fails(errno.EPERM, os.unlink, "dir/f")
    set_flags("dir", 0)
    os.unlink("dir/f")
    # No access time.
    os.utime("noatime", (1, 1))
    set_flags("noatime", NOATIME)
    open("noatime").read()
    assert os.stat("noatime").st_atime == 1
    # Inherited, each kind what fits it.
    set_flags("dir", SYNC | NODUMP | NOATIME | DIRSYNC)
    os.mkdir("dir/d")
    write("dir/f")
    os.mkfifo("dir/p")
    assert get_flags("dir/d") == SYNC | NODUMP | NOATIME | DIRSYNC
    assert get_flags("dir/f") == SYNC | NODUMP | NOATIME
    assert get_flags("dir/p") == NODUMP | NOATIME
    # What there is not.
    fails(errno.EOPNOTSUPP, set_flags, "f", DIRSYNC)
    fails(errno.EOPNOTSUPP, set_flags, "f", 0x4)
    fails(errno.EOPNOTSUPP, set_flags, "f", 0x00800000)
    fails(errno.EOPNOTSUPP, set_project, "f", 0, 0x800, 65536)
    # Who may.
    os.chmod(".", 0o777)
    pid = os.fork()
    if pid == 0:
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        try:
            write("mine")
            fails(errno.EPERM, set_flags, "f", NODUMP)
            set_flags("mine", NODUMP)
            fails(errno.EPERM, set_flags, "mine", IMMUTABLE)
            os._exit(0)
        except BaseException as e:
            print(e)
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def flags_after(d):
    os.chdir(d)
    assert get_flags("append") == APPEND
    assert get_flags("immutable") == IMMUTABLE
    assert get_flags("dir/d") == SYNC | NODUMP | NOATIME | DIRSYNC
    assert get_flags("mine") == NODUMP
    fails(errno.EPERM, os.unlink, "append")
    fails(errno.EPERM, os.unlink, "immutable")
    set_flags("append", 0)
    set_flags("immutable", 0)
    os.unlink("append")
    os.unlink("immutable")


def projects(d):
    os.chdir(d)
    for name in ("p", "q", "plain"):
        os.mkdir(name)
    set_project("p", 42, 0x200)
    set_project("q", 43, 0x200)
    assert get_project("p") == (0x200, 42)
    assert get_flags("p") == PROJINHERIT
    write("p/f")
    os.mkdir("p/d")
    os.symlink("f", "p/l")
    assert get_project("p/f") == (0, 42)
    assert get_project("p/d") == (0x200, 42)
    write("plain/f")
    assert get_project("plain/f") == (0, 0)
    # A name does not leave its project, nor get into another.
    fails(errno.EXDEV, os.rename, "p/f", "q/f")
    fails(errno.EXDEV, os.link, "plain/f", "p/g")
    fails(errno.EXDEV, os.rename, "plain/f", "p/g")
    write("q/f")
    fails(errno.EXDEV, renameat2, "p/f", "q/f", EXCHANGE)
    os.rename("p/f", "p/d/f")
    os.rename("p/d/f", "plain/out")
    assert get_project("plain/out") == (0, 42)
    set_project("plain/f", 42)
    os.rename("plain/f", "p/in")
    fd = os.open("p", os.O_TMPFILE | os.O_RDWR)
    link_open(fd, "p/tmp")
    assert get_project("p/tmp") == (0, 42)
    # The flags that only the other call knows stay.
    set_flags("plain", DIRSYNC)
    set_project("plain", 44)
    assert get_flags("plain") == DIRSYNC


def projects_after(d):
    os.chdir(d)
    assert get_project("p") == (0x200, 42)
    assert get_project("p/in") == (0, 42)
    assert get_project("plain/out") == (0, 42)
    assert get_project("plain") == (0, 44)


# --- The volume ---------------------------------------------------------------------


def label(d, uuid):
    fd = opened(d)
    get = lambda: fcntl.ioctl(fd, GETFSLABEL, bytes(256)).rstrip(b"\0")
    assert get() == b"first", get()
    fcntl.ioctl(fd, SETFSLABEL, "größer".encode().ljust(256, b"\0"))
    assert get() == "größer".encode()
    fails(errno.EINVAL, fcntl.ioctl, fd, SETFSLABEL, b"x" * 64 + bytes(192))
    fcntl.ioctl(fd, SETFSLABEL, b"y" * 63 + bytes(193))
    assert get() == b"y" * 63
    u = fcntl.ioctl(fd, GETFSUUID, bytes(17))
    assert u[0] == 16 and u[1:].hex() == uuid.replace("-", ""), u
    path = fcntl.ioctl(fd, GETFSSYSFSPATH, bytes(129))
    assert path[1:].rstrip(b"\0").startswith((b"vexfs/vd", b"vexfs/ubd")), path
    pid = os.fork()
    if pid == 0:
        os.setresuid(1000, 1000, 1000)
        fails(errno.EPERM, fcntl.ioctl, fd, SETFSLABEL, bytes(256))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


# --- Handles ------------------------------------------------------------------------


def handle(path, flags=0, room=128):
    buf = ctypes.create_string_buffer(struct.pack("=Ii", room, 0), 8 + 128)
    mount = ctypes.c_int()
    path = os.fsencode(path)
    check(libc.name_to_handle_at(AT_FDCWD, path, buf, ctypes.byref(mount), flags))
    return buf.raw


def open_handle(d, handle, flags=os.O_RDONLY):
    mount = os.open(d, os.O_RDONLY)
    try:
        return check(libc.open_by_handle_at(mount, ctypes.create_string_buffer(handle), flags))
    finally:
        os.close(mount)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def handles(d):
    deep = os.path.join(d, "a", "b", "c")
    os.makedirs(deep)
    write(deep + "/file", b"found again")
    os.symlink("file", deep + "/link")
    dirs = handle(deep)
    f = handle(deep + "/file")
    connected = handle(deep + "/file", AT_HANDLE_CONNECTABLE)
    assert len(f) and struct.unpack_from("=I", f)[0] == 12
    fails(errno.EOVERFLOW, handle, deep + "/file", 0, 8)
    for cold in (False, True):
        if cold:
            drop_caches()
        fd = open_handle(d, f)
        assert os.read(fd, 100) == b"found again"
        os.close(fd)
        fd = open_handle(d, dirs, os.O_DIRECTORY)
        assert os.readlink(f"/proc/self/fd/{fd}") == deep
        assert sorted(os.listdir(fd)) == ["file", "link"]
        os.close(fd)
        fd = open_handle(d, connected)
        assert os.readlink(f"/proc/self/fd/{fd}") == deep + "/file"
        os.close(fd)
    # A handle follows its file.
    os.rename(deep + "/file", d + "/elsewhere")
    drop_caches()
    fd = open_handle(d, f, os.O_RDWR)
    os.write(fd, b"FOUND")
    os.close(fd)
    assert open(d + "/elsewhere").read() == "FOUND again"
    # What was removed is found as long as it is open, and not when its number is used again.
    write(d + "/gone")
    gone = handle(d + "/gone")
    held = os.open(d + "/gone", os.O_RDONLY)
    os.unlink(d + "/gone")
    os.close(open_handle(d, gone))
    os.close(held)
    fails(errno.ESTALE, open_handle, d, gone)
    number = struct.unpack_from("=Q", gone, 8)[0]
    for i in range(200):
        write(f"{d}/new{i}")
    used = [i for i in range(200) if os.stat(f"{d}/new{i}").st_ino == number]
    assert used, "the number was not used again, so nothing was tested"
    fails(errno.ESTALE, open_handle, d, gone)
    drop_caches()
    fails(errno.ESTALE, open_handle, d, gone)
    # Handles of anybody's making.
    for seed in range(2000):
        ino = (seed * 2654435761) % 2**21 if seed % 3 else seed * 0x9E3779B97F4A7C15 % 2**64
        made = struct.pack("=IiQI", 12, 0x81, ino, seed).ljust(136, b"\0")
        fails(errno.ESTALE, open_handle, d, made)
    for size, kind in ((0, 0x81), (4, 0x81), (12, 0x82), (24, 1), (12, 0xFF)):
        made = struct.pack("=Ii", size, kind).ljust(136, b"\0")
        try:
            open_handle(d, made)
            raise AssertionError(f"opened {size} {kind}")
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.EINVAL), e
    with open(d + "/.handles", "wb") as out:
        out.write(f + dirs)


def handles_after(d):
    raw = open(d + "/.handles", "rb").read()
    f, dirs = raw[:136], raw[136:]
    fd = open_handle(d, f)
    assert os.read(fd, 100) == b"FOUND again"
    os.close(fd)
    fd = open_handle(d, dirs, os.O_DIRECTORY)
    assert os.readlink(f"/proc/self/fd/{fd}") == d + "/a/b/c"
    os.close(fd)


# --- Watching -----------------------------------------------------------------------


def inotify(d):
    fd = check(libc.inotify_init1(os.O_NONBLOCK))
    check(libc.inotify_add_watch(fd, os.fsencode(d), 0xFFF))
    write(d + "/made", b"x")
    os.rename(d + "/made", d + "/moved")
    os.chmod(d + "/moved", 0o600)
    os.unlink(d + "/moved")
    raw, seen = os.read(fd, 65536), []
    while raw:
        _, mask, _, length = struct.unpack_from("=iIII", raw)
        seen.append((mask, raw[16 : 16 + length].rstrip(b"\0").decode()))
        raw = raw[16 + length :]
    for want in ((0x100, "made"), (2, "made"), (8, "made"), (0x40, "made"),
                 (0x80, "moved"), (4, "moved"), (0x200, "moved")):
        assert want in seen, (want, seen)
    os.close(fd)


def mark(fd, mask, path, flags=1):
    check(libc.fanotify_mark(fd, flags, ctypes.c_ulonglong(mask), AT_FDCWD, os.fsencode(path)))


def fanotify(d):
    # Events that name files by handle, for the whole file system.
    fd = check(libc.fanotify_init(0xC00 | 2, os.O_RDONLY))
    mark(fd, 0x100 | 0x200 | 0x40000000, d, 0x101)
    write(d + "/f", b"content")
    raw = os.read(fd, 4096)
    assert b"f\0" in raw and handle(d)[8:20] in raw, raw
    os.close(fd)


# Not in every kernel.
def permission_events(d):
    fd = check(libc.fanotify_init(4, os.O_RDONLY))
    mark(fd, 0x10000, d)
    os.close(fd)


# Someone else provides the content before it is read.
def pre_content(d):
    write(d + "/f", b"content")
    fd = check(libc.fanotify_init(8, os.O_RDONLY))
    mark(fd, 0x100000, d + "/f")
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(fd)
        got = open(d + "/f", "rb", buffering=0).read(100)
        os.write(w, got)
        os._exit(0)
    raw = os.read(fd, 4096)
    length, _, _, head, mask, event, by = struct.unpack_from("=IBBHQii", raw)
    assert mask == 0x100000 and by == pid, raw
    os.write(fd, struct.pack("=iI", event, 1))
    os.close(event)
    assert os.read(r, 100) == b"content"
    assert os.waitpid(pid, 0)[1] == 0
    os.close(fd)


def leases(d):
    import signal

    write(d + "/f", b"x")
    fd = os.open(d + "/f", os.O_RDONLY)
    F_SETLEASE, F_GETLEASE = 1024, 1025
    fcntl.fcntl(fd, F_SETLEASE, fcntl.F_RDLCK)
    assert fcntl.fcntl(fd, F_GETLEASE) == fcntl.F_RDLCK
    told = []
    signal.signal(signal.SIGIO, lambda *_: told.append(fcntl.fcntl(fd, F_SETLEASE, fcntl.F_UNLCK)))
    pid = os.fork()
    if pid == 0:
        os.close(os.open(d + "/f", os.O_WRONLY))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert told == [0], told
    os.close(fd)
    # Locks of open files and of processes.
    a, b = (os.open(d + "/f", os.O_RDWR) for _ in "ab")
    fcntl.flock(a, fcntl.LOCK_EX)
    fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(a, fcntl.LOCK_UN)
    ofd = struct.pack("=hhxxxxqqixxxx", fcntl.F_WRLCK, 0, 0, 10, 0)
    fcntl.fcntl(a, 37, ofd)
    fails(errno.EAGAIN, fcntl.fcntl, b, 37, ofd)
    fcntl.lockf(a, fcntl.LOCK_EX, 10, 100)


# --- Times --------------------------------------------------------------------------


def lazytime(d):
    """Times that only memory has reach the disk with fsync, and at the end; a change that is refused
    does not take them along."""
    for name in ("synced", "left", "refused"):
        write(f"{d}/{name}", b"x")
    os.sync()
    for name in ("synced", "left", "refused"):
        os.utime(f"{d}/{name}", (10**9, 10**9))
        fd = os.open(f"{d}/{name}", os.O_RDONLY)
        os.read(fd, 1)
        if name == "refused":
            fails(errno.ENODATA, os.removexattr, fd, "user.none")
        if name == "synced":
            os.fsync(fd)
        os.close(fd)
    assert os.stat(d + "/left").st_atime > 1.5e9


def lazytime_after(d):
    assert os.stat(d + "/synced").st_atime > 1.5e9
    for name in ("left", "refused"):
        assert os.stat(f"{d}/{name}").st_atime > 1.5e9, name
        assert os.stat(f"{d}/{name}").st_mtime == 10**9, name


def multigrain(d):
    """Whoever looks between two changes sees two times; they never go back, in all files together."""
    seen, last = {}, 0

    def changed(path, times):
        nonlocal last
        s = os.stat(path)
        for which in times:
            now = getattr(s, f"st_{which}_ns")
            assert now > seen.get((path, which), 0), f"{path}: {which} stands still"
            assert now >= last, f"{path}: {which} went back"
            seen[path, which] = last = now
        assert now <= time.time_ns()

    a, b, sub = d + "/a", d + "/b", d + "/sub"
    write(a, b"x")
    os.mkdir(sub)
    fd = os.open(a, os.O_RDWR)
    os.ftruncate(fd, 4096)
    with mmap.mmap(fd, 4096) as m:
        for i in range(50):
            os.pwrite(fd, b"w", i)
            changed(a, ("mtime", "ctime"))
            os.ftruncate(fd, i + 1)
            changed(a, ("mtime", "ctime"))
            os.chmod(a, 0o600 + i % 8)
            changed(a, ("ctime",))
            os.setxattr(a, "user.x", b"%d" % i)
            changed(a, ("ctime",))
            os.link(a, b)
            changed(a, ("ctime",))
            changed(d, ("mtime", "ctime"))
            os.rename(b, sub + "/c")
            changed(a, ("ctime",))
            changed(d, ("mtime", "ctime"))
            changed(sub, ("mtime", "ctime"))
            os.unlink(sub + "/c")
            changed(a, ("ctime",))
            changed(sub, ("mtime", "ctime"))
            os.mkdir(sub + "/d")
            changed(sub, ("mtime", "ctime"))
            os.rmdir(sub + "/d")
            changed(sub, ("mtime", "ctime"))
            # A write through a map moves the times when the page is dirtied.
            os.fsync(fd)
            m[0] = i
            changed(a, ("mtime", "ctime"))
    os.close(fd)
    # What fails changes nothing.
    before = os.stat(sub), os.stat(a)
    for failing in (lambda: os.rmdir(sub + "/none"), lambda: os.link(a, a),
                    lambda: os.removexattr(a, "user.none"), lambda: os.rmdir(d)):
        try:
            failing()
        except OSError:
            continue
        raise AssertionError("it did not fail")
    after = os.stat(sub), os.stat(a)
    assert [s.st_ctime_ns for s in before] == [s.st_ctime_ns for s in after]
    # Who does not look gets the clock's ticks: the finer ones cost.
    times = set()
    for i in range(2000):
        write(f"{d}/n{i % 10}", b"n")
        if i % 100 == 0:
            times.add(os.stat(f"{d}/n{i % 10}").st_ctime_ns)
    assert len(times) > 1


def multigrain_after(d):
    """What was seen last is on disk, to the nanosecond."""
    with open(d + "/seen") as f:
        for line in f:
            path, ns = line.split()
            assert os.stat(f"{d}/{path}").st_ctime_ns == int(ns), path


def multigrain_before(d):
    multigrain(d)
    with open(d + "/seen", "w") as f:
        for path in ("a", "sub"):
            print(path, os.stat(f"{d}/{path}").st_ctime_ns, file=f)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
