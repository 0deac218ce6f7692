# SPDX-License-Identifier: GPL-2.0
"""Probes of what belongs to a file beside its contents: times, modes, owners, flags, attributes,
access control lists, projects."""
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct

from generic_lib import (APPEND, AT_EMPTY_PATH, AT_FDCWD, COLLAPSE, G, GID, GROUP, IMMUTABLE,
                         INSERT, KEEP, M, NOBODY, O, PUNCH, U, UID, USER, ZERO, acl, acting, as_user,
                         changed, child, emptied, error_name, fallocate, get_flags, get_xflags, ioctl,
                         libc, linkat, pattern, probe, renameat2, set_flags, set_xflags, syscall,
                         tick, times, with_fd)

B = 4096
OLD = 1_000_000_000_123_456_789


def mapped(fd):
    m = mmap.mmap(fd, B)
    m[0] = 1
    m.flush()
    m.close()


def spliced(fd):
    r, w = os.pipe()
    os.write(w, b"spliced")
    n = os.splice(r, fd, 7, None, 0)
    os.close(r)
    os.close(w)
    return n


@probe
def times_of_files(rec):
    """Which times of a file an operation moves."""
    f = rec.path("f")
    source = rec.file("source", pattern(2 * B))
    rw = os.O_RDWR

    def on(fn, flags=rw):
        return lambda: with_fd(f, flags, fn)

    def mapped_read(fd):
        m = mmap.mmap(fd, B, prot=mmap.PROT_READ)
        found = m[0]
        m.close()
        return found

    def copied(fd):
        return with_fd(source, os.O_RDONLY, lambda s: os.copy_file_range(s, fd, B, 0, 0))

    aligned = mmap.mmap(-1, B)
    todo = {
        "nothing": lambda: None,
        "open": on(lambda fd: None), "read": on(lambda fd: os.pread(fd, 10, 0)),
        "read nothing": on(lambda fd: os.pread(fd, 0, 0)), "read at the end": on(lambda fd: os.pread(fd, 9, 99 * B)),
        "write": on(lambda fd: os.pwrite(fd, b"x", 0)), "write nothing": on(lambda fd: os.pwrite(fd, b"", 0)),
        "append": on(lambda fd: os.write(fd, b"x"), rw | os.O_APPEND),
        "direct write": on(lambda fd: os.pwritev(fd, [aligned], 0), rw | os.O_DIRECT),
        "direct read": on(lambda fd: os.preadv(fd, [aligned], 0), rw | os.O_DIRECT),
        "mapped write": on(mapped), "mapped read": on(mapped_read), "splice": on(spliced),
        "copy_file_range": on(copied),
        "ftruncate same": on(lambda fd: os.ftruncate(fd, 4 * B)), "truncate same": lambda: os.truncate(f, 4 * B),
        "ftruncate less": on(lambda fd: os.ftruncate(fd, B)), "ftruncate more": on(lambda fd: os.ftruncate(fd, 9 * B)),
        "O_TRUNC": on(lambda fd: None, rw | os.O_TRUNC),
        "fallocate in it": on(lambda fd: fallocate(fd, 0, 0, B)), "fallocate more": on(lambda fd: fallocate(fd, 0, 0, 8 * B)),
        "fallocate keep": on(lambda fd: fallocate(fd, KEEP, 0, 8 * B)),
        "punch": on(lambda fd: fallocate(fd, PUNCH | KEEP, 0, B)), "punch a part": on(lambda fd: fallocate(fd, PUNCH | KEEP, 5, 9)),
        "punch behind": on(lambda fd: fallocate(fd, PUNCH | KEEP, 99 * B, B)),
        "zero": on(lambda fd: fallocate(fd, ZERO, 0, B)), "collapse": on(lambda fd: fallocate(fd, COLLAPSE, 0, B)),
        "insert": on(lambda fd: fallocate(fd, INSERT, 0, B)),
        "chmod": lambda: os.chmod(f, 0o600), "chmod same": lambda: os.chmod(f, 0o644),
        "chown": lambda: os.chown(f, 5, 5), "chown to nobody": lambda: os.chown(f, -1, -1),
        "utimes now": lambda: os.utime(f), "utimes": lambda: os.utime(f, ns=(OLD + 5, OLD + 6)),
        "utimes omit": lambda: utimensat(f, (0, 0x3FFFFFFE), (0, 0x3FFFFFFE)),
        "utimes atime": lambda: utimensat(f, (5, 5), (0, 0x3FFFFFFE)),
        "setxattr": lambda: os.setxattr(f, "user.a", b"x"), "removexattr none": lambda: os.removexattr(f, "user.b"),
        "getxattr": lambda: os.getxattr(f, "user.zz"), "set ACL": lambda: os.setxattr(
            f, "system.posix_acl_access", acl([(U, 6, NOBODY), (UID, 6, USER), (G, 4, NOBODY), (M, 6, NOBODY), (O, 4, NOBODY)])),
        "set flags": lambda: set_flags(f, 0x40), "set the same flags": lambda: set_flags(f, get_flags(f)),
        "link": lambda: os.link(f, rec.path("second")), "rename": lambda: os.rename(f, f),
        "rename away and back": lambda: (os.rename(f, f + "2"), os.rename(f + "2", f)),
        "unlink of a link": lambda: os.unlink(rec.path("second")), "fsync": on(os.fsync),
        "access": lambda: os.access(f, os.R_OK), "stat": lambda: os.stat(f).st_size,
    }
    for name, fn in todo.items():
        if name == "unlink of a link":
            rec.file("f", pattern(4 * B))
            try:
                os.unlink(rec.path("second"))
            except FileNotFoundError:
                pass
            os.link(f, rec.path("second"))
        else:
            rec.file("f", pattern(4 * B))
        os.utime(f, ns=(OLD, OLD))
        before = times(f)
        tick()
        try:
            fn()
        except OSError as e:
            rec.note(name + ": error", error_name(e))
        rec.note(name, changed(before, times(f)))


def utimensat(path, a, m, flags=0):
    syscall(280, AT_FDCWD, ctypes.c_char_p(os.fsencode(path)), struct.pack("=4q", *a, *m), flags)


@probe
def times_of_directories(rec):
    """Which times of a directory, and of what is in it, an operation moves."""
    a, b = rec.path("a"), rec.path("b")
    os.mkdir(a)
    os.mkdir(b)
    n = iter(range(1000))

    def new(d):
        path = f"{d}/{next(n)}"
        os.close(os.open(path, os.O_CREAT))
        return path

    f, g, s, d2 = new(a), new(a), f"{a}/symlink", f"{a}/dir"
    os.symlink("target", s)
    os.mkdir(d2)
    todo = {
        "create": lambda: new(a), "mkdir": lambda: os.mkdir(f"{a}/made"), "rmdir": lambda: os.rmdir(f"{a}/made"),
        "symlink": lambda: os.symlink("t", f"{a}/made"), "unlink": lambda: os.unlink(f"{a}/made"),
        "mkfifo": lambda: os.mkfifo(f"{a}/fifo"), "link": lambda: os.link(f, f"{a}/link"),
        "create fails": lambda: os.open(f, os.O_CREAT | os.O_EXCL), "rename inside": lambda: os.rename(f"{a}/link", f"{a}/link2"),
        "rename to b": lambda: os.rename(f"{a}/link2", f"{b}/link"), "rename over": lambda: os.rename(f"{b}/link", f"{a}/fifo"),
        "same inode": lambda: os.rename(f, f"{a}/fifo"), "rename dir": lambda: os.rename(d2, f"{b}/dir"),
        "rename dir back": lambda: os.rename(f"{b}/dir", d2), "exchange": lambda: renameat2(f, s, 2),
        "exchange back": lambda: renameat2(f, s, 2), "list": lambda: len(os.listdir(a)) > 0,
        "readlink": lambda: os.readlink(s), "lookup": lambda: os.path.exists(f"{a}/none"),
        "chmod": lambda: os.chmod(a, 0o711), "setxattr": lambda: os.setxattr(a, "user.x", b"y"),
        "write in a file of it": lambda: with_fd(g, os.O_RDWR, lambda fd: os.write(fd, b"x")),
        "open of a new": lambda: os.close(os.open(f"{a}/created", os.O_CREAT)),
        "open of an old": lambda: os.close(os.open(f"{a}/created", os.O_CREAT)),
        "tmpfile": lambda: os.close(os.open(a, os.O_TMPFILE | os.O_RDWR)),
        "whiteout": lambda: renameat2(f"{a}/created", f"{b}/created", 4),
    }
    watched = {"a": a, "b": b, "f": f, "dir": d2, "symlink": s}
    for name, fn in todo.items():
        for path in watched.values():
            os.utime(path, ns=(OLD, OLD), follow_symlinks=False)
        before = {k: times(p) for k, p in watched.items()}
        tick()
        try:
            fn()
        except OSError as e:
            rec.note(name + ": error", error_name(e))
        watched = {k: p for k, p in watched.items() if os.path.lexists(p)}
        rec.note(name, [(k, changed(before[k], times(p))) for k, p in watched.items()])
        if "dir" not in watched:
            watched["dir"] = f"{b}/dir"
        if os.path.lexists(d2):
            watched["dir"] = d2


@probe
def limits_of_times(rec):
    """Times at the edges of what formats have room for, after a remount too (see `afterwards`)."""
    for n, (sec, ns) in enumerate([(0, 0), (-1, 999_999_999), (1 << 31, 1), ((1 << 32) + 5, 7),
                                   (-(1 << 31), 0), ((1 << 34) - (1 << 31) - 1, 999_999_999)]):
        path = rec.file(f"t{n}")
        rec.call(f"set {sec}", utimensat, path, (sec, ns), (sec, ns))
        st = os.stat(path)
        rec.note(f"got {sec}", (st.st_atime_ns, st.st_mtime_ns))
    path = rec.file("f")
    for ns in (-1, 1_000_000_000, 0x3FFFFFFD, 1 << 40):
        rec.call(f"nanoseconds {ns}", utimensat, path, (0, ns), (0, 0))
    rec.note("user sets", as_user(lambda: utimensat(path, (5, 5), (5, 5))))
    rec.note("user sets now", as_user(lambda: os.utime(path)))
    os.chmod(path, 0o666)
    os.chmod(rec.dir, 0o755)
    rec.note("writer sets now", as_user(lambda: os.utime(path)))
    rec.note("writer sets one", as_user(lambda: utimensat(path, (0, 0x3FFFFFFF), (0, 0x3FFFFFFE))))
    rec.note("writer sets", as_user(lambda: utimensat(path, (5, 5), (5, 5))))


def mode_of(path):
    return oct(stat.S_IMODE(os.stat(path, follow_symlinks=False).st_mode))


@probe
def set_id_bits(rec):
    """Who loses the bits for set-user-id and set-group-id, and the capabilities, by what."""
    os.chmod(rec.dir, 0o777)
    f = rec.path("f")
    source = rec.file("source", pattern(2 * B))
    rw = os.O_RDWR

    def on(fn, flags=rw):
        return lambda: with_fd(f, flags, fn)

    def copied(fd):
        with_fd(source, os.O_RDONLY, lambda s: os.copy_file_range(s, fd, B, 0, 0))

    todo = {
        "write": on(lambda fd: os.pwrite(fd, b"x", 0)), "write nothing": on(lambda fd: os.pwrite(fd, b"", 0)),
        "append": on(lambda fd: os.write(fd, b"x"), rw | os.O_APPEND), "mapped": on(mapped),
        "direct": on(lambda fd: os.pwritev(fd, [mmap.mmap(-1, B)], 0), rw | os.O_DIRECT),
        "splice": on(spliced), "copy": on(copied), "ftruncate": on(lambda fd: os.ftruncate(fd, 5)),
        "ftruncate same": on(lambda fd: os.ftruncate(fd, 2 * B)), "truncate": lambda: os.truncate(f, 5),
        "O_TRUNC": on(lambda fd: None, rw | os.O_TRUNC), "fallocate": on(lambda fd: fallocate(fd, 0, 0, 4 * B)),
        "fallocate keep": on(lambda fd: fallocate(fd, KEEP, 0, 4 * B)), "punch": on(lambda fd: fallocate(fd, 3, 0, B)),
        "zero": on(lambda fd: fallocate(fd, ZERO, 0, B)), "collapse": on(lambda fd: fallocate(fd, COLLAPSE, 0, B)),
        "insert": on(lambda fd: fallocate(fd, INSERT, 0, B)), "chown none": lambda: os.chown(f, -1, -1),
        "chown group": lambda: os.chown(f, -1, GROUP), "chown user": lambda: os.chown(f, USER, -1),
        "chown other group": lambda: os.chown(f, -1, 77), "chmod": lambda: os.chmod(f, 0o6777),
        "setxattr": lambda: os.setxattr(f, "user.a", b"b"), "utimes": lambda: os.utime(f),
        "RWF_NOWAIT write": on(lambda fd: os.pwritev(fd, [b"x"], 0, 8)),
    }
    for owner in (0, USER):
        for mode in (0o6777, 0o2767):
            for name, fn in todo.items():
                said = []
                for uid in (0, USER, 1001):
                    rec.file("f", pattern(2 * B))
                    os.chown(f, owner, GROUP)
                    os.chmod(f, mode)
                    if mode == 0o6777:
                        os.setxattr(f, "security.capability", struct.pack("<5I", 0x02000000, 1, 1, 0, 0))
                    result = acting(fn, uid, GROUP if uid else 0)
                    said.append((result[:20], mode_of(f), sorted(os.listxattr(f))))
                    os.unlink(f)
                rec.note(f"owner {owner} {mode:o} {name}", said)


@probe
def set_id_of_groups(rec):
    """The bit for set-group-id of directories, and of what is made in them."""
    d = rec.path("d")
    os.mkdir(d)
    os.chown(d, 0, 77)
    os.chmod(d, 0o2777)

    def make(kind, mode):
        path = f"{d}/{kind}{os.geteuid()}{mode:o}"
        os.umask(0)
        if kind == "file":
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, mode))
        elif kind == "dir":
            os.mkdir(path, mode)
        elif kind == "fifo":
            os.mkfifo(path, mode)
        elif kind == "node":
            os.mknod(path, mode | stat.S_IFREG)
        elif kind == "tmp":
            fd = os.open(d, os.O_TMPFILE | os.O_RDWR, mode)
            st = os.fstat(fd)
            os.close(fd)
            return oct(st.st_mode), st.st_gid
        st = os.stat(path)
        return oct(st.st_mode), st.st_gid

    for kind in ("file", "dir", "fifo", "node", "tmp"):
        for mode in (0o777, 0o2777, 0o2767, 0o6755, 0o1777):
            for who, uid, groups in (("root", 0, ()), ("user", USER, ()), ("member", 1001, (77,))):
                rec.note(f"{who} {kind} {mode:o}", acting(
                    lambda k=kind, m=mode: make(k, m), uid, uid, groups))
    os.umask(0o22)
    f = rec.file("f")
    os.chown(f, USER, 77)
    rec.note("chmod g+s by no member", (as_user(lambda: os.chmod(f, 0o2755)), mode_of(f)))
    rec.note("ACL by no member", (as_user(lambda: os.setxattr(f, "system.posix_acl_access", acl(
        [(U, 7, NOBODY), (G, 5, NOBODY), (O, 5, NOBODY)]))), mode_of(f)))
    os.chmod(f, 0o2755)
    rec.note("ACL takes the bit", (as_user(lambda: os.setxattr(f, "system.posix_acl_access", acl(
        [(U, 7, NOBODY), (G, 5, NOBODY), (O, 5, NOBODY)]))), mode_of(f)))


@probe
def append_and_immutable(rec):
    """Each operation on files and directories that must not be changed."""
    for flag in (IMMUTABLE, APPEND):
        f, d = rec.path("f"), rec.path("d")
        rec.file("f", b"x" * B)
        os.mkdir(d)
        os.mkdir(d + "/sub")
        os.close(os.open(d + "/in", os.O_CREAT))
        held = os.open(f, os.O_RDWR)
        set_flags(f, flag)
        set_flags(d, flag)
        todo = {
            "open w": lambda: os.close(os.open(f, os.O_WRONLY)), "open a": lambda: os.close(os.open(f, os.O_WRONLY | os.O_APPEND)),
            "open trunc": lambda: os.close(os.open(f, os.O_RDONLY | os.O_TRUNC)),
            "open atrunc": lambda: os.close(os.open(f, os.O_WRONLY | os.O_APPEND | os.O_TRUNC)),
            "open noatime": lambda: os.close(os.open(f, os.O_RDONLY | os.O_NOATIME)),
            "truncate": lambda: os.truncate(f, 0), "ftruncate held": lambda: os.ftruncate(held, 0),
            "write held": lambda: os.pwrite(held, b"y", 0), "mmap held": lambda: mmap.mmap(held, B).close(),
            "fcntl drop append": lambda: with_fd(f, os.O_RDWR | os.O_APPEND, lambda fd: fcntl.fcntl(fd, fcntl.F_SETFL, 0)),
            "unlink": lambda: os.unlink(f), "rename": lambda: os.rename(f, f + "2"), "rename over": lambda: os.rename(rec.file("o"), f),
            "link": lambda: os.link(f, f + "3"), "chmod": lambda: os.chmod(f, 0o600), "chown": lambda: os.chown(f, 1, 1),
            "utime": lambda: os.utime(f, (1, 1)), "utime now": lambda: os.utime(f), "setxattr": lambda: os.setxattr(f, "user.a", b"b"),
            "trusted": lambda: os.setxattr(f, "trusted.a", b"b"), "security": lambda: os.setxattr(f, "security.a", b"b"),
            "removexattr": lambda: os.removexattr(f, "user.none"),
            "acl": lambda: os.setxattr(f, "system.posix_acl_access", acl([(U, 6, NOBODY), (G, 4, NOBODY), (O, 4, NOBODY)])),
            "acl remove": lambda: os.removexattr(f, "system.posix_acl_access"),
            "project": lambda: set_xflags(f, 0x10 if flag == APPEND else 0x8, 0, 5), "fsync held": lambda: os.fsync(held),
            "read": lambda: os.pread(held, 1, 0), "dir create": lambda: os.close(os.open(d + "/new", os.O_CREAT)),
            "dir mkdir": lambda: os.mkdir(d + "/newdir"), "dir symlink": lambda: os.symlink("a", d + "/newlink"),
            "dir link": lambda: os.link(rec.file("l"), d + "/newhard"), "dir unlink": lambda: os.unlink(d + "/in"),
            "dir rmdir in": lambda: os.rmdir(d + "/sub"), "dir rename in": lambda: os.rename(d + "/in", d + "/in2"),
            "dir rename out": lambda: os.rename(d + "/in", rec.path("out")), "dir rename into": lambda: os.rename(rec.file("i"), d + "/i"),
            "dir rmdir": lambda: os.rmdir(d), "dir rename": lambda: os.rename(d, d + "2"), "dir chmod": lambda: os.chmod(d, 0o700),
            "dir tmpfile": lambda: os.close(os.open(d, os.O_TMPFILE | os.O_RDWR)), "dir xattr": lambda: os.setxattr(d, "user.d", b"e"),
            "dir exchange": lambda: renameat2(d, f, 2), "dir write in": lambda: with_fd(d + "/in", os.O_RDWR, lambda fd: os.write(fd, b"x")),
            "user drops it": lambda: as_user(lambda: set_flags(f, 0)),
        }
        for name, fn in todo.items():
            rec.call(f"{flag:#x} {name}", fn)
        set_flags(f, 0)
        set_flags(d, 0)
        os.close(held)
        emptied(rec.dir)
    f = rec.file("f")
    os.chown(f, USER, GROUP)
    os.chmod(rec.dir, 0o755)
    for bits in (IMMUTABLE, APPEND, 0x8, 0x40, 0x80):
        rec.note(f"owner sets {bits:#x}", as_user(lambda b=bits: set_flags(f, b)))
    rec.note("other sets", child(lambda: set_flags(f, 0x40), 1001, 1001))
    for bits in (1 << 30, 4, 1, 2, 0x400, 0x800000, 0x100000, 0x1000, 0x2000000):
        rec.call(f"flag {bits:#x}", set_flags, f, bits)
        try:
            set_flags(f, 0)
        except OSError:
            pass
    for x, ext, proj, cow in [(1, 0, 0, 0), (0x800, B, 0, 0), (0, B, 0, 0), (0x200, 0, 0, 0), (0, 0, 5, 0),
                              (0x10000, B, 0, B), (0x80000000, 0, 0, 0), (0x8000, 0, 0, 0), (0, 0, (1 << 32) - 1, 0),
                              (0x20, 0, 0, 0), (0x4000, 0, 0, 0)]:
        rec.call(f"xflags {x:#x} {ext} {proj}", set_xflags, f, x, ext, proj, cow)
        rec.call(f"xflags are {x:#x} {ext} {proj}", get_xflags, f)
    for extent_flags in (0x200, 0x100, 0x1000):
        rec.call(f"dir xflags {extent_flags:#x}", set_xflags, rec.dir, extent_flags, B)
        set_xflags(rec.dir)


@probe
def extended_attributes(rec):
    """Names, sizes, namespaces and rights of extended attributes."""
    f = rec.file("f", b"", 0o666)
    os.mkdir(rec.path("d"))
    os.mkdir(rec.path("sticky"))
    os.chmod(rec.path("sticky"), 0o1777)
    os.chmod(rec.dir, 0o755)
    os.symlink("f", rec.path("s"))
    os.mkfifo(rec.path("p"))
    os.mknod(rec.path("c"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for name in ("user.", "user", "", "a", "foo.bar", "system.foo", "system.posix_acl", "user." + "x" * 250,
                 "user." + "x" * 251, "trusted.x", "trusted.", "security.x", "security.", "btrfs.x", "xfs.x", "os2.x",
                 "user.\xff", "user.a.b", "USER.a", "system.advise", "system.data", "gnu.translator"):
        rec.call(f"set {name[:20]} {len(name)}", os.setxattr, f, name, b"v")
        rec.call(f"get {name[:20]} {len(name)}", os.getxattr, f, name)
        rec.call(f"remove {name[:20]} {len(name)}", os.removexattr, f, name)
    for size in (0, 1, 100, 1000, 2000, 3000, 65537, 100000):
        rec.call(f"size {size}", os.setxattr, f, "user.big", pattern(size))
        rec.call(f"size {size} read", lambda: len(os.getxattr(f, "user.big")))
    os.removexattr(f, "user.big")
    rec.call("create", os.setxattr, f, "user.a", b"1", os.XATTR_CREATE)
    rec.call("create again", os.setxattr, f, "user.a", b"2", os.XATTR_CREATE)
    rec.call("replace", os.setxattr, f, "user.a", b"3", os.XATTR_REPLACE)
    rec.call("replace none", os.setxattr, f, "user.b", b"4", os.XATTR_REPLACE)
    rec.call("both", os.setxattr, f, "user.a", b"5", 3)
    rec.call("unknown flag", os.setxattr, f, "user.a", b"5", 4)
    buf = ctypes.create_string_buffer(10)
    for size in (0, 1, 10):
        rec.call(f"getxattr {size}", syscall, 191, f.encode(), b"user.a", buf, size)
        rec.call(f"listxattr {size}", syscall, 194, f.encode(), buf, size)
    for name in ("f", "d", "s", "p", "c"):
        for x in ("user.x", "trusted.x", "security.x", "system.posix_acl_access", "system.posix_acl_default"):
            value = b"v" if "acl" not in x else acl([(U, 7, NOBODY), (UID, 5, USER), (G, 5, NOBODY), (M, 5, NOBODY), (O, 5, NOBODY)])
            rec.call(f"{name} {x}", os.setxattr, rec.path(name), x, value, follow_symlinks=False)
        rec.call(f"{name} list", lambda n=name: sorted(os.listxattr(rec.path(n), follow_symlinks=False)))
    rec.note("user lists", as_user(lambda: sorted(os.listxattr(f))))
    rec.note("user gets trusted", as_user(lambda: os.getxattr(f, "trusted.x")))
    rec.note("user sets trusted", as_user(lambda: os.setxattr(f, "trusted.x", b"u")))
    rec.note("user sets security", as_user(lambda: os.setxattr(f, "security.y", b"u")))
    rec.note("user gets security", as_user(lambda: os.getxattr(f, "security.x")))
    rec.note("user on sticky", as_user(lambda: os.setxattr(rec.path("sticky"), "user.y", b"u")))
    rec.note("user sets user", as_user(lambda: os.setxattr(f, "user.y", b"u")))
    rec.note("user sets an ACL", as_user(lambda: os.setxattr(f, "system.posix_acl_access", acl([(U, 6, NOBODY), (G, 4, NOBODY), (O, 4, NOBODY)]))))
    for bad in (b"", b"x", struct.pack("<I", 1), struct.pack("<I", 2), acl([(U, 6, NOBODY)]), acl([(U, 6, NOBODY), (UID, 6, 5), (G, 4, NOBODY), (O, 4, NOBODY)]),
                acl([(U, 9, NOBODY), (G, 4, NOBODY), (O, 4, NOBODY)]), acl([(64, 6, NOBODY), (G, 4, NOBODY), (O, 4, NOBODY)]),
                acl([(U, 6, NOBODY), (G, 4, NOBODY), (M, 7, NOBODY), (O, 4, NOBODY)])[:-1]):
        rec.call(f"ACL {bad.hex()}", os.setxattr, f, "system.posix_acl_access", bad)
        rec.note(f"ACL {bad.hex()} then", (mode_of(f), sorted(os.listxattr(f))))
    # As many names as there is room for on ext4's inode.
    for n in range(20):
        rec.call(f"many {n}", os.setxattr, f, f"user.n{n}", b"x" * 10)
    rec.note("many", sorted(os.listxattr(f)))


ACLS = {
    "named": [(U, 7, NOBODY), (UID, 7, USER), (G, 5, NOBODY), (M, 7, NOBODY), (O, 0, NOBODY)],
    "group": [(U, 7, NOBODY), (G, 7, NOBODY), (GID, 6, 77), (M, 7, NOBODY), (O, 5, NOBODY)],
    "plain": [(U, 7, NOBODY), (G, 5, NOBODY), (O, 1, NOBODY)],
    "masked": [(U, 6, NOBODY), (UID, 7, USER), (G, 7, NOBODY), (M, 1, NOBODY), (O, 7, NOBODY)],
}


@probe
def inherited_lists(rec):
    """Default lists beside umask and mode, for all kinds of files."""
    def show(path):
        out = [oct(os.lstat(path).st_mode)]
        for x in ("system.posix_acl_access", "system.posix_acl_default"):
            try:
                out.append(os.getxattr(path, x, follow_symlinks=False).hex())
            except OSError as e:
                out.append(error_name(e))
        return out

    for name, entries in ACLS.items():
        for umask in (0, 0o22, 0o77):
            d = rec.path(f"{name}{umask:o}")
            os.mkdir(d)
            os.setxattr(d, "system.posix_acl_default", acl(entries))
            old = os.umask(umask)
            for mode in (0o777, 0o640, 0o2775):
                p = f"{d}/{mode:o}"
                os.close(os.open(p + "f", os.O_CREAT, mode))
                os.mkdir(p + "d", mode)
                os.mkfifo(p + "p", mode)
                os.mknod(p + "c", stat.S_IFCHR | mode, os.makedev(1, 3))
                fd = os.open(d, os.O_TMPFILE | os.O_RDWR, mode)
                linkat(AT_FDCWD, f"/proc/self/fd/{fd}", p + "t", 0x400)
                os.close(fd)
                for kind in "fdpct":
                    rec.note(f"{name} {umask:o} {mode:o} {kind}", show(p + kind))
            os.symlink("x", d + "/s")
            rec.note(f"{name} {umask:o} symlink", show(d + "/s"))
            os.umask(old)
    f = rec.file("f")
    for name, entries in ACLS.items():
        os.setxattr(f, "system.posix_acl_access", acl(entries))
        rec.note(f"access {name}", show(f))
        for mode in (0o700, 0o777, 0o070, 0o4711):
            os.chmod(f, mode)
            rec.note(f"access {name} chmod {mode:o}", show(f))
        os.chown(f, USER, 77)
        rec.note(f"access {name} read", [child(lambda: os.access(f, os.W_OK), u, g, s)
                                         for u, g, s in ((USER, 5, ()), (1001, 77, ()), (1001, 5, (77,)), (1002, 6, ()))])
        os.chown(f, 0, 0)


@probe
def projects(rec):
    """Projects that are inherited, and what they keep apart."""
    a, b, plain = rec.path("a"), rec.path("b"), rec.path("plain")
    for n, d in enumerate((a, b, plain)):
        os.mkdir(d)
        if d != plain:
            set_xflags(d, 0x200, 0, 10 + n)
    f = a + "/f"
    os.close(os.open(f, os.O_CREAT))
    os.mkdir(a + "/d")
    os.symlink("x", a + "/s")
    os.mkfifo(a + "/p")
    rec.note("inherited", (get_xflags(f), get_xflags(a + "/d")))
    g = rec.file("g")
    todo = {
        "link in": lambda: os.link(g, a + "/g"), "rename in": lambda: os.rename(g, a + "/g"),
        "link over": lambda: os.link(f, b + "/f"), "rename over": lambda: os.rename(f, b + "/f"),
        "rename dir": lambda: os.rename(a + "/d", b + "/d"), "rename symlink": lambda: os.rename(a + "/s", b + "/s"),
        "rename fifo": lambda: os.rename(a + "/p", b + "/p"), "link symlink": lambda: os.link(a + "/s", b + "/sl", follow_symlinks=False),
        "rename out": lambda: os.rename(f, plain + "/f"), "link back": lambda: os.link(plain + "/f", f),
        "exchange": lambda: renameat2(plain + "/f", b, 2), "exchange in": lambda: renameat2(rec.file("h"), a + "/d", 2),
    }
    for name, fn in todo.items():
        rec.call(name, fn)
    fd = os.open(plain, os.O_TMPFILE | os.O_RDWR)
    rec.call("tmpfile in", linkat, AT_FDCWD, f"/proc/self/fd/{fd}", a + "/t", 0x400)
    os.close(fd)
    fd = os.open(a, os.O_TMPFILE | os.O_RDWR)
    rec.note("tmpfile", struct.unpack("=5I8x", ioctl(fd, FSGETXATTR, bytes(28)))[3])
    rec.call("tmpfile out", linkat, AT_FDCWD, f"/proc/self/fd/{fd}", plain + "/t", 0x400)
    os.close(fd)
    u = rec.file("u")
    os.chown(u, USER, GROUP)
    os.chmod(rec.dir, 0o755)
    rec.note("owner", (as_user(lambda: set_xflags(u, 0, 0, 99)), get_xflags(u)))
    rec.note("other", child(lambda: set_xflags(u, 0, 0, 98), 1001, 1001))


FSGETXATTR = 0x801C581F


@probe
def stat_fields(rec):
    """statx(2): the fields that say something of the file system."""
    f = rec.file("f", b"x" * 5000)
    os.symlink("x" * 100, rec.path("s"))
    os.symlink("short", rec.path("short"))
    os.mknod(rec.path("c"), stat.S_IFCHR | 0o600, os.makedev(300, 70000))
    os.mkdir(rec.path("d"))
    for name in ("f", "s", "short", "c", "d"):
        for mask in (0xFFF, 0x7FFFF, 0x2000):
            buf = ctypes.create_string_buffer(256)
            rec.call(f"{name} {mask:#x}", syscall, 332, AT_FDCWD, rec.path(name).encode(), 0x100, mask, buf)
            x = struct.unpack_from("=IIQIIIHxxQQQQ", buf.raw)
            # mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask
            dio = struct.unpack_from("=II", buf.raw, 152)
            birth = struct.unpack_from("=qI", buf.raw, 80)
            size = x[8] if name != "d" else "a directory's own"
            blocks = x[9] if name == "f" else "-"
            # The basic ones, mount, direct I/O; flags that each file system may have.
            rec.note(f"{name} {mask:#x} fields", (hex(x[0] & mask & 0x6FFF), x[1], hex(x[2]), x[3], oct(x[6]), size,
                                                  blocks, hex(x[10] & 0x70), dio if mask & 0x2000 else 0, birth[0] > 0,
                                                  struct.unpack_from("=IIII", buf.raw, 128)[:2]))
    rec.call("bad flags", syscall, 332, AT_FDCWD, f.encode(), 0x8000000, 0xFFF, ctypes.create_string_buffer(256))
    rec.call("bad mask", syscall, 332, AT_FDCWD, f.encode(), 0, 0x80000000, ctypes.create_string_buffer(256))


@probe
def ioctls(rec):
    """What file systems answer to the calls that all of them know."""
    f = rec.file("f", b"x" * 5000)
    fd = os.open(f, os.O_RDWR)
    os.fsync(fd)
    d = os.open(rec.dir, os.O_RDONLY)
    for name, nr, arg in [
            ("FIGETBSZ", 2, bytes(4)), ("FIONREAD", 0x541B, bytes(4)), ("FIOQSIZE", 0x5460, bytes(8)),
            ("GETVERSION", 0x80087601, bytes(8)), ("FIFREEZE bad", 0xC0045877, 0), ("FITHAW not frozen", 0xC0045878, 0),
            ("FS_IOC_RESVSP", 0x40305828, struct.pack("=hhqqiI16x", 0, 0, 0, 4096, 0, 0)),
            ("FS_IOC_UNRESVSP", 0x4030582A, struct.pack("=hhqqiI16x", 0, 0, 0, 4096, 0, 0)),
            ("FS_IOC_ZERO_RANGE", 0x40305839, struct.pack("=hhqqiI16x", 0, 0, 0, 4096, 0, 0)),
            ("unknown", 0xC00858FE, bytes(8)), ("FIOASYNC", 0x5452, struct.pack("=i", 0)),
            ("FIBMAP", 1, struct.pack("=i", 0)), ("FIBMAP far", 1, struct.pack("=i", 1000)), ("FIBMAP negative", 1, struct.pack("=i", -1)),
            ("GETFSUUID", 0x80111500, bytes(17)), ("GETFSSYSFSPATH", 0x80811501, bytes(129)), ("GETFSLABEL", 0x81009431, bytes(256)),
            ("SHUTDOWN bad", 0x8004587D, struct.pack("=I", 9)), ("GETLBMD", 0xC0281502, bytes(40)),
    ]:
        if name == "FIFREEZE bad":
            continue
        for which, h in (("file", fd), ("dir", d)):
            def run(h=h, nr=nr, arg=arg, name=name):
                got = ioctl(h, nr, arg)
                if name in ("GETVERSION", "FIBMAP", "GETFSUUID", "GETFSSYSFSPATH", "FIOQSIZE"):
                    return bool(got)
                return got
            rec.call(f"{name} {which}", run)
    for nr in (0x0C, 0x0D, 0x0E):  # F_GET_RW_HINT and others
        rec.call(f"fcntl {1024 + nr}", lambda nr=nr: fcntl.fcntl(fd, 1024 + nr, bytes(8)))
    rec.call("user's FITHAW", lambda: as_user(lambda: ioctl(fd, 0xC0045878, 0)))
    os.close(fd)
    os.close(d)
    st = os.statvfs(rec.dir)
    rec.note("statvfs", (st.f_bsize, st.f_frsize, st.f_namemax, st.f_flag & ~4096, st.f_favail == st.f_ffree, st.f_fsid != 0))


@probe
def new_attribute_calls(rec):
    """setxattrat and its like, file_getattr and file_setattr."""
    f = rec.file("f")
    os.symlink("f", rec.path("s"))
    value = ctypes.create_string_buffer(b"value")
    args = struct.pack("=QII", ctypes.addressof(value), 5, 0)
    rec.call("setxattrat", syscall, 463, AT_FDCWD, f.encode(), 0, b"user.at", args, 16)
    rec.call("getxattr", os.getxattr, f, "user.at")
    rec.call("setxattrat on a symlink", syscall, 463, AT_FDCWD, rec.path("s").encode(), 0x100, b"trusted.at", args, 16)
    rec.call("listxattrat", syscall, 465, AT_FDCWD, f.encode(), 0, ctypes.create_string_buffer(100), 100)
    for name in ("f", "s"):
        buf = ctypes.create_string_buffer(24)
        for flags in (0, 0x100):
            rec.call(f"file_getattr {name} {flags}", syscall, 468, AT_FDCWD, rec.path(name).encode(), buf, 24, flags)
            rec.note(f"file_getattr {name} {flags} said", buf.raw.hex())
            rec.call(f"file_setattr {name} {flags}", syscall, 469, AT_FDCWD, rec.path(name).encode(),
                     struct.pack("=QIIII", 0x80, 0, 0, 7, 0), 24, flags)
            rec.call(f"file_getattr {name} {flags} again", syscall, 468, AT_FDCWD, rec.path(name).encode(), buf, 24, flags)
            rec.note(f"file_getattr {name} {flags} then", buf.raw.hex())
    os.mkfifo(rec.path("p"))
    rec.call("file_setattr of a fifo", syscall, 469, AT_FDCWD, rec.path("p").encode(), struct.pack("=QIIII", 0x80, 0, 0, 9, 0), 24, 0)
    rec.call("project of a symlink stays", lambda: linkat(AT_FDCWD, rec.path("s"), rec.path("s2"), 0))
