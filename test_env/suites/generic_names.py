# SPDX-License-Identifier: GPL-2.0
"""Probes of names, directories, and who is told of what happens to them."""
import ctypes
import fcntl
import os
import select
import signal
import stat
import struct
import time

from generic_lib import (AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, GROUP, USER, as_user, child, emptied,
                         error_name, libc, linkat, pattern, probe, renameat2, syscall, with_fd)

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


@probe
def renames(rec):
    """Each kind of file over each other, with each flag."""
    def make(path, kind):
        if kind == "file":
            os.close(os.open(path, os.O_CREAT))
        elif kind == "dir":
            os.mkdir(path)
        elif kind == "full":
            os.mkdir(path)
            os.mkdir(path + "/in")
        elif kind == "symlink":
            os.symlink("nowhere", path)
        elif kind == "fifo":
            os.mkfifo(path)

    kinds = ("file", "dir", "full", "symlink", "fifo", "none")
    for a in kinds:
        for b in kinds:
            for flags in (0, NOREPLACE, EXCHANGE, WHITEOUT, NOREPLACE | EXCHANGE, WHITEOUT | EXCHANGE,
                          WHITEOUT | NOREPLACE, 8):
                make(rec.path("a"), a)
                make(rec.path("b"), b)
                rec.call(f"{a} {b} {flags}", renameat2, rec.path("a"), rec.path("b"), flags)
                rec.note(f"{a} {b} {flags} then", [(n, oct(os.lstat(rec.path(n)).st_mode)) for n in sorted(os.listdir(rec.dir))])
                emptied(rec.dir)
    os.mkdir(rec.path("d"))
    os.makedirs(rec.path("d/e/f"))
    for a, b in (("d", "d/e"), ("d", "d"), ("d", "d/e/f"), ("d/e", "d"), ("d/.", "x"), ("d/..", "x"), ("d", "x/"),
                 ("d/e", "d/e/."), (".", "x"), ("d", ""), ("", "d"), ("d", "f/.."), ("d/e/f", "d/e/f/../..")):
        rec.call(f"rename {a} {b}", os.rename, os.path.join(rec.dir, a), os.path.join(rec.dir, b))
        rec.call(f"exchange {a} {b}", renameat2, os.path.join(rec.dir, a), os.path.join(rec.dir, b), EXCHANGE)
    rec.note("tree", sorted(r[len(rec.dir):] for r, _, _ in os.walk(rec.dir)))
    os.chmod(rec.dir, 0o777)
    rec.file("mine")
    rec.note("whiteout by a user", as_user(lambda: (os.close(os.open(rec.path("u"), os.O_CREAT)),
                                                   renameat2(rec.path("u"), rec.path("v"), WHITEOUT))))
    rec.note("whiteout node by a user", as_user(lambda: os.mknod(rec.path("w"), stat.S_IFCHR, 0)))
    rec.note("device by a user", as_user(lambda: os.mknod(rec.path("w2"), stat.S_IFCHR, 5)))


@probe
def names(rec):
    """What names may be."""
    for name in ("x" * 255, "x" * 256, "\xff" * 255, b"\xff\xfe\x80", b"new\nline", b"\x01", "a\\b", "ä" * 127, "ä" * 128,
                 "...", " ", "trailing ", b"\xed\xa0\x80", ".hidden", "~", "CON", "a:b", "lost+found2"):
        path = os.path.join(os.fsencode(rec.dir), os.fsencode(name))
        rec.call(f"create {name[:20]!r} {len(name)}", lambda p=path: os.close(os.open(p, os.O_CREAT | os.O_EXCL)))
    rec.note("list", sorted(os.listdir(os.fsencode(rec.dir))))
    rec.file("f")
    os.mkdir(rec.path("d"))
    os.symlink("d", rec.path("s"))
    os.symlink("loop", rec.path("loop"))
    os.symlink("dangling-target", rec.path("dangling"))
    p = rec.path
    todo = {
        "create/": lambda: os.close(os.open(p("new/"), os.O_CREAT)), "mkdir/": lambda: os.mkdir(p("newdir/")),
        "open f/": lambda: os.close(os.open(p("f/"), os.O_RDONLY)), "f/x": lambda: os.stat(p("f/x")),
        "f/.": lambda: os.stat(p("f/.")), "rmdir .": lambda: os.rmdir(p("d/.")), "rmdir ..": lambda: os.rmdir(p("d/..")),
        "unlink .": lambda: os.unlink(p("d/.")), "unlink ..": lambda: os.unlink(p("d/..")), "unlink dir": lambda: os.unlink(p("d")),
        "rmdir file": lambda: os.rmdir(p("f")), "rmdir symlink": lambda: os.rmdir(p("s")), "rmdir s/": lambda: os.rmdir(p("s/")),
        "mkdir .": lambda: os.mkdir(p("d/.")), "mkdir over": lambda: os.mkdir(p("f")), "mkdir dangling": lambda: os.mkdir(p("dangling")),
        "link dir": lambda: os.link(p("d"), p("d2")), "link over": lambda: os.link(p("f"), p("d")), "link loop": lambda: os.link(p("loop"), p("loop2"), follow_symlinks=False),
        "link follow loop": lambda: linkat(AT_FDCWD, p("loop"), p("loop3"), AT_SYMLINK_FOLLOW),
        "open loop": lambda: os.open(p("loop"), os.O_RDONLY), "open nofollow": lambda: os.open(p("s"), os.O_RDONLY | os.O_NOFOLLOW),
        "open dangling excl": lambda: os.open(p("dangling"), os.O_CREAT | os.O_EXCL), "open dangling": lambda: os.close(os.open(p("dangling"), os.O_CREAT)),
        "open dir w": lambda: os.open(p("d"), os.O_RDWR), "open dir creat": lambda: os.open(p("d"), os.O_CREAT),
        "open directory creat": lambda: os.open(p("dd"), os.O_CREAT | os.O_DIRECTORY), "open file as directory": lambda: os.open(p("f"), os.O_DIRECTORY),
        "open dir direct": lambda: os.close(os.open(p("d"), os.O_DIRECT)), "open dir trunc": lambda: os.open(p("d"), os.O_TRUNC),
        "symlink empty": lambda: os.symlink("", p("se")), "symlink 4095": lambda: os.symlink("x" * 4095, p("s4095")),
        "symlink 4096": lambda: os.symlink("x" * 4096, p("s4096")), "readlink": lambda: len(os.readlink(p("s4095"))),
        "read dir": lambda: with_fd(p("d"), os.O_RDONLY, lambda fd: os.read(fd, 10)), "readlink file": lambda: os.readlink(p("f")),
        "symlink 59": lambda: (os.symlink("y" * 59, p("s59")), os.readlink(p("s59"))), "symlink 60": lambda: (os.symlink("y" * 60, p("s60")), os.readlink(p("s60"))),
        "symlink 1000": lambda: (os.symlink("y" * 1000, p("s1000")), len(os.readlink(p("s1000"))), os.lstat(p("s1000")).st_size),
        "truncate dir": lambda: os.truncate(p("d"), 0), "truncate symlink": lambda: os.truncate(p("loop"), 0),
        "mknod file": lambda: os.mknod(p("node"), 0o644), "mknod bad": lambda: os.mknod(p("node2"), 0o170000 | 0o644),
        "mknod dir": lambda: os.mknod(p("node3"), stat.S_IFDIR | 0o644), "mknod socket": lambda: os.mknod(p("sock"), stat.S_IFSOCK | 0o644),
        "open socket": lambda: os.open(p("sock"), os.O_RDWR), "access root": lambda: os.access(p("f"), os.X_OK),
        "chmod symlink": lambda: syscall(452, AT_FDCWD, p("s").encode(), 0o600, 0x100), "lchown": lambda: os.lchown(p("s"), 3, 4),
        "chmod bits": lambda: (os.chmod(p("f"), 0o107777), oct(os.stat(p("f")).st_mode)),
        "fsync dir": lambda: with_fd(p("d"), os.O_RDONLY, os.fsync), "fdatasync dir": lambda: with_fd(p("d"), os.O_RDONLY, os.fdatasync),
        "fsync fifo": lambda: (os.mkfifo(p("fifo")), with_fd(p("fifo"), os.O_RDWR, os.fsync)),
        "sync_file_range": lambda: with_fd(p("f"), os.O_RDWR, lambda fd: syscall(277, fd, 0, 0, 7)),
        "sync_file_range bad": lambda: with_fd(p("f"), os.O_RDWR, lambda fd: syscall(277, fd, 0, 0, 99)),
        "syncfs": lambda: with_fd(p("f"), os.O_RDWR, lambda fd: syscall(306, fd)), "fadvise": lambda: with_fd(p("f"), os.O_RDWR, lambda fd: os.posix_fadvise(fd, 0, 0, 4)),
        "fadvise bad": lambda: with_fd(p("f"), os.O_RDWR, lambda fd: os.posix_fadvise(fd, 0, 0, 77)), "readahead": lambda: with_fd(p("f"), os.O_RDWR, lambda fd: syscall(187, fd, 0, 4096)),
        "readahead dir": lambda: with_fd(p("d"), os.O_RDONLY, lambda fd: syscall(187, fd, 0, 4096)),
    }
    for name, fn in todo.items():
        rec.call(name, fn)


@probe
def files_without_names(rec):
    """O_TMPFILE, and giving names."""
    os.chmod(rec.dir, 0o777)
    rec.call("read-only", os.open, rec.dir, os.O_TMPFILE | os.O_RDONLY)
    rec.call("in a file", os.open, rec.file("f"), os.O_TMPFILE | os.O_RDWR)
    fd = os.open(rec.dir, os.O_TMPFILE | os.O_RDWR, 0o640)
    st = os.fstat(fd)
    rec.note("fresh", (st.st_nlink, oct(st.st_mode), st.st_size))
    os.write(fd, b"content")
    rec.call("empty path", linkat, fd, b"", rec.path("named"), AT_EMPTY_PATH)
    rec.note("named", os.fstat(fd).st_nlink)
    rec.call("once more", linkat, fd, b"", rec.path("named2"), AT_EMPTY_PATH)
    rec.call("over", linkat, fd, b"", rec.path("named2"), AT_EMPTY_PATH)
    os.unlink(rec.path("named"))
    os.unlink(rec.path("named2"))
    rec.note("unlinked again", os.fstat(fd).st_nlink)
    rec.call("back", linkat, fd, b"", rec.path("named"), AT_EMPTY_PATH)
    rec.call("back by proc", linkat, AT_FDCWD, f"/proc/self/fd/{fd}", rec.path("named"), AT_SYMLINK_FOLLOW)
    os.close(fd)
    fd = os.open(rec.dir, os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    rec.call("excl", linkat, AT_FDCWD, f"/proc/self/fd/{fd}", rec.path("excl"), AT_SYMLINK_FOLLOW)
    rec.call("chmod", os.fchmod, fd, 0o4755)
    rec.call("xattr", os.setxattr, fd, "user.a", b"b")
    os.close(fd)

    def user():
        fd = os.open(rec.dir, os.O_TMPFILE | os.O_RDWR)
        linkat(AT_FDCWD, f"/proc/self/fd/{fd}", rec.path("user"), AT_SYMLINK_FOLLOW)
        try:
            linkat(fd, b"", rec.path("user2"), AT_EMPTY_PATH)
        except OSError as e:
            return error_name(e)
        return os.stat(rec.path("user")).st_uid
    rec.note("user", as_user(user))
    f = rec.file("gone", b"x")
    fd = os.open(f, os.O_RDWR)
    os.unlink(f)
    rec.call("link of an unlinked file", linkat, AT_FDCWD, f"/proc/self/fd/{fd}", f, AT_SYMLINK_FOLLOW)
    rec.call("write to it", os.write, fd, b"yy")
    rec.call("truncate it", os.ftruncate, fd, 100000)
    rec.call("xattr on it", os.setxattr, fd, "user.a", b"b")
    rec.call("fsync it", os.fsync, fd)
    os.close(fd)


@probe
def directories(rec):
    """Positions, types, sizes of buffers, directories that are gone."""
    d = rec.path("d")
    os.mkdir(d)
    os.mkfifo(d + "/fifo")
    os.mkdir(d + "/dir")
    os.symlink("x", d + "/symlink")
    os.mknod(d + "/char", stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(d + "/block", stat.S_IFBLK, os.makedev(1, 3))
    os.mknod(d + "/socket", stat.S_IFSOCK)
    os.close(os.open(d + "/file", os.O_CREAT))

    def read(fd, size=32768):
        buf = ctypes.create_string_buffer(size)
        n = syscall(217, fd, buf, size)
        out, at = [], 0
        while at < n:
            ino, off, length, kind = struct.unpack_from("=QqHB", buf.raw, at)
            name = buf.raw[at + 19:at + length].split(b"\0")[0]
            out.append((name, kind, off))
            at += length
        return out

    fd = os.open(d, os.O_RDONLY)
    found = read(fd)
    rec.note("types", sorted((n, k) for n, k, _ in found))
    rec.note("dots first", [n for n, _, _ in found[:2]])
    rec.note("at the end", read(fd))
    for n, (name, _, off) in enumerate(found[:-1]):
        os.lseek(fd, off, os.SEEK_SET)
        assert [x[0] for x in read(fd)] == [x[0] for x in found[n + 1:]], f"position behind {name}"
    os.lseek(fd, 0, os.SEEK_SET)
    rec.note("again", [x[0] for x in read(fd)] == [x[0] for x in found])
    for size in (1, 20, 24, 32):
        os.lseek(fd, 0, os.SEEK_SET)
        rec.call(f"buffer {size}", lambda s=size: len(read(fd, s)) > 0)
    rec.call("seek -1", os.lseek, fd, -1, os.SEEK_SET)
    rec.call("seek whence", os.lseek, fd, 0, 9)
    os.lseek(fd, 0, os.SEEK_SET)
    read(fd, 64)
    for name, _, _ in found:
        if name not in (b".", b".."):
            (os.rmdir if name == b"dir" else os.unlink)(os.path.join(os.fsencode(d), name))
    rec.note("emptied meanwhile", read(fd))
    os.rmdir(d)
    os.lseek(fd, 0, os.SEEK_SET)
    rec.call("removed", read, fd)
    rec.call("removed: nlink", lambda: os.fstat(fd).st_nlink)
    rec.call("removed: create", lambda: os.open("new", os.O_CREAT, dir_fd=fd))
    rec.call("removed: mkdir", lambda: os.mkdir("new", dir_fd=fd))
    rec.call("removed: ..", lambda: os.stat("..", dir_fd=fd).st_ino == os.stat(rec.dir).st_ino)
    rec.call("removed: fsync", os.fsync, fd)
    rec.call("removed: tmpfile", lambda: os.open(f"/proc/self/fd/{fd}", os.O_TMPFILE | os.O_RDWR))
    rec.call("removed: link", lambda: os.link(rec.file("f"), "x", dst_dir_fd=fd))
    rec.call("removed: chmod", os.fchmod, fd, 0o700)
    rec.call("removed: setxattr", os.setxattr, fd, "user.a", b"b")
    os.close(fd)
    big = rec.path("big")
    os.mkdir(big)
    for n in range(3000):
        os.close(os.open(f"{big}/{n}", os.O_CREAT))
    fd = os.open(big, os.O_RDONLY)
    seen = []
    while part := read(fd, 1024):
        for name, _, _ in part:
            if name.isdigit():
                seen.append(int(name))
                os.unlink(os.path.join(os.fsencode(big), name))
    rec.note("each once while deleting", sorted(seen) == list(range(3000)))
    os.close(fd)
    rec.call("then empty", os.rmdir, big)
    rec.note("links", [os.mkdir(rec.path(f"l{n}")) or os.stat(rec.dir).st_nlink for n in range(3)])


@probe
def locks(rec):
    """Leases, locks of all kinds, on files and directories."""
    f = rec.file("f", b"x" * 100)
    F_SETLEASE, F_GETLEASE, F_NOTIFY, F_OFD_SETLK = 1024, 1025, 1026, 37
    for flags in (os.O_RDONLY, os.O_RDWR):
        for lease in (fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK):
            fd = os.open(f, flags)
            rec.call(f"lease {flags} {lease}", fcntl.fcntl, fd, F_SETLEASE, lease)
            rec.call(f"lease {flags} {lease} is", fcntl.fcntl, fd, F_GETLEASE)
            os.close(fd)
    d = os.open(rec.dir, os.O_RDONLY)
    rec.call("lease of a directory", fcntl.fcntl, d, F_SETLEASE, fcntl.F_RDLCK)
    rec.call("dnotify", fcntl.fcntl, d, F_NOTIFY, 4)
    rec.call("dnotify of a file", with_fd, f, os.O_RDONLY, lambda fd: fcntl.fcntl(fd, F_NOTIFY, 4))
    os.close(d)

    def broken():
        got = []
        signal.signal(signal.SIGIO, lambda *_: got.append("SIGIO"))
        fd = os.open(f, os.O_RDONLY)
        fcntl.fcntl(fd, F_SETLEASE, fcntl.F_RDLCK)
        said = child(lambda: os.open(f, os.O_RDWR | os.O_NONBLOCK))
        said2 = child(lambda: os.open(f, os.O_RDONLY | os.O_NONBLOCK) > 0)
        time.sleep(.01)
        return said, said2, got
    rec.note("a lease is broken", child(broken))

    def many():
        fd = os.open(f, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 0)
        other = child(lambda: fcntl.lockf(os.open(f, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5))
        free = child(lambda: fcntl.lockf(os.open(f, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 10))
        f2 = os.open(f, os.O_RDWR)
        lock = struct.pack("=hhqqi4x", fcntl.F_WRLCK, 0, 0, 5, 0)
        try:
            fcntl.fcntl(f2, F_OFD_SETLK, lock)
            ofd = "taken"
        except OSError as e:
            ofd = error_name(e)
        fcntl.flock(fd, fcntl.LOCK_EX)
        fl = child(lambda: fcntl.flock(os.open(f, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB))
        return other, free, ofd, fl
    rec.note("locks", child(many))


@probe
def told_by_inotify(rec):
    """The events of inotify, in their order."""
    d = rec.path("d")
    os.mkdir(d)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(fd, d.encode(), 0xFFF) >= 0

    def events():
        out = []
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return out
        at = 0
        while at < len(data):
            _, mask, _, n = struct.unpack_from("=iIII", data, at)
            name = data[at + 16:at + 16 + n].rstrip(b"\0")
            out.append((hex(mask), name.rstrip(b"0123456789") if name[:1] == b"#" else name))
            at += 16 + n
        return out

    f = d + "/f"
    todo = {
        "create": lambda: os.close(os.open(f, os.O_CREAT | os.O_WRONLY)), "write": lambda: with_fd(f, os.O_WRONLY, lambda fd: os.write(fd, b"x" * 5000)),
        "read": lambda: with_fd(f, os.O_RDONLY, lambda fd: os.read(fd, 10)), "truncate": lambda: os.truncate(f, 5), "chmod": lambda: os.chmod(f, 0o600),
        "utime": lambda: os.utime(f, (1, 1)), "setxattr": lambda: os.setxattr(f, "user.a", b"b"), "fallocate": lambda: with_fd(f, os.O_RDWR, lambda fd: os.posix_fallocate(fd, 0, 10000)),
        "link": lambda: os.link(f, d + "/g"), "rename": lambda: os.rename(d + "/g", d + "/h"), "rename over": lambda: os.rename(d + "/h", f),
        "symlink": lambda: os.symlink("f", d + "/s"), "mkdir": lambda: os.mkdir(d + "/e"), "exchange": lambda: renameat2(f, d + "/e", 2),
        "exchange back": lambda: renameat2(f, d + "/e", 2), "move out": lambda: os.rename(d + "/s", rec.path("s")), "move in": lambda: os.rename(rec.path("s"), d + "/s"),
        "copy": lambda: with_fd(f, os.O_RDWR, lambda fd: os.copy_file_range(fd, fd, 100, 0, 5000)), "list": lambda: len(os.listdir(d)),
        "tmpfile": lambda: tmp(d), "ACL": lambda: os.setxattr(f, "system.posix_acl_access", bytes.fromhex("0200000001000600ffffffff04000400ffffffff20000400ffffffff")),
        "whiteout": lambda: renameat2(f, d + "/w", 4), "unlink": lambda: os.unlink(d + "/w"), "rmdir": lambda: os.rmdir(d + "/e"),
        "clear": lambda: [os.unlink(d + "/" + n) for n in sorted(os.listdir(d))], "remove": lambda: os.rmdir(d),
    }
    for name, fn in todo.items():
        rec.call(name + " itself", fn)
        rec.note(name, events())
    os.close(fd)


def tmp(d):
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR)
    linkat(AT_FDCWD, f"/proc/self/fd/{fd}", d + "/t", AT_SYMLINK_FOLLOW)
    os.close(fd)


@probe
def told_by_fanotify(rec):
    """Events of fanotify for a whole file system, with handles and names."""
    FAN = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x4 | 0x10000000 | 0x40000000
    d = rec.path("d")
    os.mkdir(d)
    for init in (0xC00 | 0x2, 0x200 | 0x2, 0x1E00 | 0x2):
        fd = libc.fanotify_init(init, os.O_RDONLY)
        if fd < 0:
            rec.note(f"init {init:#x}", ctypes.get_errno())
            continue
        for how in (0, 0x100):
            r = libc.fanotify_mark(fd, 1 | how, ctypes.c_ulong(FAN if not how or init != 2 else 0x2B), -1, d.encode())
            rec.note(f"mark {init:#x} {how:#x}", (r, ctypes.get_errno() if r else 0))
            f = d + "/f"
            rec.file("d/f", b"hello")
            os.chmod(f, 0o600)
            os.rename(f, d + "/g")
            with_fd(d + "/g", os.O_RDWR, os.write, b"xx")
            os.unlink(d + "/g")
            os.mkdir(d + "/sub")
            os.rmdir(d + "/sub")
            out = []
            while select.select([fd], [], [], .05)[0]:
                data = os.read(fd, 65536)
                at = 0
                while at < len(data):
                    n, _, _, _, mask, efd, _ = struct.unpack_from("=IBBHQii", data, at)
                    infos, i = [], at + 24
                    while i < at + n:
                        kind, _, length = struct.unpack_from("=BBH", data, i)
                        infos.append(kind)
                        i += length
                    out.append((hex(mask), efd, infos))
                    at += n
            rec.note(f"events {init:#x} {how:#x}", out)
            libc.fanotify_mark(fd, 2 | how, ctypes.c_ulong(FAN), -1, d.encode())
        os.close(fd)


@probe
def handles(rec):
    """name_to_handle_at and open_by_handle_at."""
    f = rec.file("f", b"x")
    os.mkdir(rec.path("d"))
    os.symlink("f", rec.path("s"))
    mount = os.open(rec.dir, os.O_RDONLY)
    for name in ("f", "d", "s"):
        for flags in (0, 0x400, 0x200, 0x2, 0x1):
            h = bytearray(struct.pack("=Ii", 128, 0) + bytes(128))
            buf = (ctypes.c_char * len(h)).from_buffer(h)
            where = ctypes.c_int()
            rec.call(f"{name} {flags:#x}", lambda n=name, fl=flags, b=buf: syscall(
                303, AT_FDCWD, rec.path(n).encode(), b, ctypes.byref(where), fl))
            rec.call(f"{name} {flags:#x} opened", lambda b=buf: os.close(syscall(304, mount, b, os.O_RDONLY | os.O_NONBLOCK)))
            rec.call(f"{name} {flags:#x} path", lambda b=buf: os.close(syscall(304, mount, b, os.O_PATH)))
    h = bytearray(struct.pack("=Ii", 0, 0) + bytes(128))
    buf = (ctypes.c_char * len(h)).from_buffer(h)
    where = ctypes.c_int()
    rec.call("no room", lambda: syscall(303, AT_FDCWD, f.encode(), buf, ctypes.byref(where), 0))
    os.close(mount)
