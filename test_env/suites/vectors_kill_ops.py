#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Searches that are killed: killed MOUNT."""

import os
import signal
import sys
import time

from vectors_ops import address, collection, create, floats, item, keys_of, make, ok, puts, search


def killed(mnt):
    """A search that is killed ends long before it would have, and the next one is as good as ever."""
    fd = make(f"{mnt}/killed")
    dim, count = 1024, 8192
    cid = create(fd, "killed", dim=dim)
    vector, _ = address(floats([1] + [0] * (dim - 1)))
    for first in range(0, count, 1024):
        puts(fd, cid, [item(first + n, vector, vlen=4 * dim) for n in range(1024)])
    query = [1] + [0] * (dim - 1)
    best = keys_of(fd, cid, query, 3)
    # Long enough to be killed in, on a machine of any speed.
    whole, queries = 0, [query] * 2
    while whole < 1.5 and len(queries) < 256:
        queries *= 2
        begun = time.time()
        search(fd, cid, queries, 10)
        whole = time.time() - begun
    for part in (0.1, 0.3, 0.6):
        r, w = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(w, b"x")
            while True:
                search(fd, cid, queries, 10)
        os.read(r, 1)
        time.sleep(part * whole)
        begun = time.time()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        ended = time.time() - begun
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        assert ended < max(0.25 * whole, 0.3), (part, ended, whole)
    assert keys_of(fd, cid, query, 3) == best
    print(f"a whole search takes {whole:.2f} s")
    ok(fd, "drop", collection(id=cid))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
