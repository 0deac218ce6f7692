# SPDX-License-Identifier: GPL-2.0
"""What the probes of the section `generic` share.

A probe is a function of a Record; it does something to files below rec.dir and notes what came
of it, under labels. What two file systems note can be compared.
"""
import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import struct
import time
import traceback

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_EMPTY_PATH, AT_SYMLINK_FOLLOW = 0x1000, 0x400
KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE, WRITE_ZEROES = 1, 2, 8, 16, 32, 64, 128
GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
FSGETXATTR, FSSETXATTR = 0x801C581F, 0x401C5820
IMMUTABLE, APPEND = 0x10, 0x20
USER, GROUP = 1000, 1000
PROBES = []


def probe(f):
    """Registers a probe."""
    PROBES.append(f)
    return f


def error_name(e):
    return errno.errorcode.get(e.errno, str(e.errno))


class Record:
    """What a probe notes."""

    def __init__(self, directory):
        self.dir = directory
        self.notes = {}

    def path(self, name):
        return os.path.join(self.dir, name)

    def note(self, label, value):
        assert label not in self.notes, f"noted twice: {label}"
        self.notes[label] = repr(value)

    def call(self, label, f, *args, **kw):
        """Notes the result of a call, or its errno; returns the result or None."""
        value = None
        try:
            value = f(*args, **kw)
            said = value
        except OSError as e:
            said = error_name(e)
        except (ValueError, OverflowError) as e:
            said = type(e).__name__
        self.note(label, said)
        return value

    def file(self, name, content=b"", mode=0o644):
        """A new file."""
        path = self.path(name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            done = 0
            while done < len(content):
                done += os.write(fd, content[done:])
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        return path


def syscall(nr, *args):
    result = libc.syscall(ctypes.c_long(nr), *[
        ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), f"system call {nr}")
    return result


def fallocate(fd, mode, at, n):
    syscall(285, fd, mode, at, n)


def renameat2(a, b, flags):
    syscall(316, AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags)


def linkat(dirfd, path, new, flags):
    syscall(265, dirfd, os.fsencode(path), AT_FDCWD, os.fsencode(new), flags)


def ioctl(fd, request, arg=0):
    return fcntl.ioctl(fd, request, arg)


def with_fd(path, flags, f, *args):
    fd = os.open(path, flags)
    try:
        return f(fd, *args)
    finally:
        os.close(fd)


def get_flags(path):
    return with_fd(path, os.O_RDONLY | os.O_NONBLOCK,
                   lambda fd: struct.unpack("=I4x", ioctl(fd, GETFLAGS, bytes(8)))[0])


def set_flags(path, flags):
    """Sets these and no other flags, but leaves ext4's own mark of files with extents alone."""
    def change(fd):
        marks = struct.unpack("=I4x", ioctl(fd, GETFLAGS, bytes(8)))[0] & 0x80000
        ioctl(fd, SETFLAGS, struct.pack("=I4x", flags | marks))
    with_fd(path, os.O_RDONLY | os.O_NONBLOCK, change)


def get_xflags(path):
    """Extended flags, extent size, project."""
    def get(fd):
        x = struct.unpack("=5I8x", ioctl(fd, FSGETXATTR, bytes(28)))
        return x[0], x[1], x[3]
    return with_fd(path, os.O_RDONLY | os.O_NONBLOCK, get)


def set_xflags(path, xflags=0, extsize=0, projid=0, cowextsize=0):
    with_fd(path, os.O_RDONLY | os.O_NONBLOCK, lambda fd: ioctl(
        fd, FSSETXATTR, struct.pack("=5I8x", xflags, extsize, 0, projid, cowextsize)) and None)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.blake2b(f.read(), digest_size=8).hexdigest()


def pattern(size, seed=1):
    """Bytes of which no two blocks are alike."""
    out = bytearray()
    while len(out) < size:
        out += hashlib.blake2b(struct.pack("<QQ", seed, len(out))).digest() * 8
    return bytes(out[:size])


def fiemap(fd, start=0, length=(1 << 64) - 1, flags=1, count=64):
    """FS_IOC_FIEMAP: the number of extents and (logical, length, flags) of each."""
    buf = bytearray(struct.pack("=QQIIII", start, length, flags, 0, count, 0) + bytes(56 * count))
    fcntl.ioctl(fd, 0xC020660B, buf, True)
    mapped = struct.unpack_from("=QQIIII", buf)[3]
    found = []
    for i in range(min(mapped, count)):
        e = struct.unpack_from("=QQQQQIIII", buf, 32 + 56 * i)
        found.append((e[0], e[2], e[5]))
    return mapped, found


def merged(extents):
    """Extents with those put together that touch and have the same flags; LAST left out."""
    out = []
    for at, n, flags in extents:
        flags &= ~1
        if out and out[-1][0] + out[-1][1] == at and out[-1][2] == flags:
            out[-1] = (out[-1][0], out[-1][1] + n, flags)
        else:
            out.append((at, n, flags))
    return out


def segments(fd):
    """The file as SEEK_DATA and SEEK_HOLE tell it."""
    out, at, size = [], 0, os.fstat(fd).st_size
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            break
        hole = os.lseek(fd, data, os.SEEK_HOLE)
        out.append((data, hole))
        at = hole
    return out


def child(f, uid=0, gid=0, groups=(), keep_caps=False):
    """Runs f in a process of its own, as some user; returns what it returns, or its errno, or the
    signal that ended it."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "?"
        try:
            os.close(r)
            if uid or gid:
                os.setgroups(list(groups))
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            try:
                said = repr(f())
            except OSError as e:
                said = error_name(e)
        except BaseException:  # noqa: it must not go on as a second parent
            said = "python: " + traceback.format_exc(limit=3)
        try:
            os.write(w, said.encode())
        finally:
            os._exit(0)
    os.close(w)
    said = b""
    while part := os.read(r, 65536):
        said += part
    os.close(r)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return said.decode()


def acting(f, uid, gid, groups=()):
    """Calls f with the rights of a user, in this process; returns what it returns, or its errno."""
    os.setgroups(list(groups))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return repr(f())
    except OSError as e:
        return error_name(e)
    finally:
        os.seteuid(0)
        os.setegid(0)


def emptied(directory):
    """Removes all that is in a directory."""
    for e in list(os.scandir(directory)):
        if e.is_dir(follow_symlinks=False):
            shutil.rmtree(e.path)
        else:
            os.unlink(e.path)


def as_user(f):
    return child(f, USER, GROUP)


def times(path):
    st = os.stat(path, follow_symlinks=False)
    return st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns


# Not in the module time.
REALTIME_COARSE = 5


def tick():
    """Waits until the clock that files' times come from has moved."""
    begin = time.clock_gettime_ns(REALTIME_COARSE)
    while time.clock_gettime_ns(REALTIME_COARSE) == begin:
        time.sleep(.002)


def changed(before, after):
    """Which times moved, as letters."""
    return "".join(c for c, b, a in zip("amc", before, after) if a != b)


def acl(entries):
    """The extended attribute of an access control list: (tag, perm, id)."""
    out = struct.pack("<I", 2)
    for tag, perm, who in entries:
        out += struct.pack("<HHI", tag, perm, who)
    return out


U, UID, G, GID, M, O = 1, 2, 4, 8, 16, 32  # noqa: the tags' usual letters
NOBODY = 0xFFFFFFFF
