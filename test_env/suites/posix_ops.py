#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of attributes and what belongs to them: posix_ops.py TEST DIR [ARGS...]

Each test works below DIR, which is on the file system under test, and exits 0 if
all is as it should be. Tests with a name that ends in _after check, after a remount,
what the test of the same name left.
"""
import errno
import os
import sys

from fs_ops import fails, link_open


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


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
