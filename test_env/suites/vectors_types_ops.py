#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Types of vectors and metrics, exactly: vectors_types_ops.py TEST MOUNT"""
import errno
import os
import random
import struct
import sys

from vectors_ops import (BINARY, COSINE, F16, HAMMING, INT8, IP, KINDS, L2, SEARCH_STORED, address, as_stored, collection,
                         create, expect, floats, get_arg, item, keys_of, make, ok, put, puts, search, search_arg)


def find(mnt):
    """All metrics and types against arithmetic by hand; ties by slot; scores."""
    rnd = random.Random(int(os.environ.get("VEXFS_SEED", "1")))
    dim = 7
    fd = make(f"{mnt}/find")
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    apart = lambda q, v: sum((x - y) ** 2 for x, y in zip(q, v))
    for type_, metric in KINDS:
        number = {
            INT8: lambda: rnd.choice([-128, 127, rnd.randint(-128, 127)]),
            BINARY: lambda: rnd.randint(0, 1),
        }.get(type_, lambda: rnd.randint(-8, 8) / 4)
        some = lambda n: [[number() for _ in range(dim - 1)] + [1] for _ in range(n)]
        vectors, queries = some(500), some(9)
        cid = create(fd, f"find{type_}{metric}", dim, metric, type_)
        # In both forms.
        form = [floats, lambda v: as_stored(type_, v)]
        puts(fd, cid, [item(1000 + i, form[i % 2](v)) for i, v in enumerate(vectors)])
        score = {
            L2: apart,
            COSINE: lambda q, v: dot(q, v) / (dot(q, q) * dot(v, v)) ** 0.5,
            IP: dot,
            HAMMING: apart,
        }[metric]
        found = search(fd, cid, queries, 20)
        assert found == search(fd, cid, queries, 20, SEARCH_STORED, type_)
        for q, hits in zip(queries, found):
            got = [struct.unpack("<f", struct.pack("<I", h["score"]))[0] for h in hits]
            truth = sorted((score(q, v) for v in vectors), reverse=metric in (COSINE, IP))[:20]
            assert all(abs(a - b) < 1e-6 * max(1, abs(b)) for a, b in zip(got, truth)), (metric, got, truth)
            for h, s in zip(hits, got):
                assert abs(score(q, vectors[h["key"] - 1000]) - s) < 1e-6 * max(1, abs(s))
            # Cosines that are told alike may differ behind the last place that is told.
            same = [(h["score"], metric == COSINE and vectors[h["key"] - 1000]) for h in hits]
            ties = [(a, b) for a, b, x, y in zip(hits, hits[1:], same, same[1:]) if x == y]
            assert all(a["slot"] < b["slot"] for a, b in ties), (metric, ties)
        for i, v in enumerate(vectors[:4]):
            for form in (floats(v), as_stored(type_, v)):
                at, buf = address(bytes(len(form)))
                ok(fd, "get", get_arg(cid, 1000 + i, at, len(form)))
                assert buf.raw[: len(form)] == form, (type_, i)
    cid = create(fd, "same")
    puts(fd, cid, [item(i, floats([1, 1, 1, 1])) for i in range(10_000 // 4)])
    assert keys_of(fd, cid, [1, 1, 1, 1], 5) == [0, 1, 2, 3, 4]


def types(mnt):
    """What a type does not hold is refused, in records and queries, in both forms; so are pairs that do not go together."""
    fd = make(f"{mnt}/types")
    for type_ in range(7):
        for metric in range(7):
            known = 1 <= type_ <= 4 and 1 <= metric <= 4
            code = 0 if (type_, metric) in KINDS else errno.EOPNOTSUPP if known else errno.EINVAL
            name = f"pair {type_} {metric}".encode()
            expect(code, fd, "create", collection(name, dim=3, type=type_, metric=metric))
            if not code:
                ok(fd, "drop", collection(name))
    int8 = create(fd, "int8", 5, L2, INT8)
    bits = create(fd, "bits", 5, HAMMING, BINARY)
    half = create(fd, "half", 5, L2, F16)
    fine = [0, 1, 1, 0, 1]
    bad = {
        int8: [0.5, 128, -129, float("nan"), float("inf"), 1e30],
        bits: [0.5, -1, 2, float("nan"), 1e30],
        half: [65520, float("nan"), float("-inf")],
    }
    for cid, numbers in bad.items():
        items = [item(i, floats(fine[:4] + [x])) for i, x in enumerate(numbers)] + [item(99, floats(fine))]
        e, status, done = put(fd, cid, items)
        assert (e, status, done) == (0, [-errno.EINVAL] * len(numbers) + [0], 1), (cid, status)
        # A query of f16 is f32, and may be any number.
        for x in [x for x in numbers if cid != half or x != 65520]:
            q = address(floats(fine[:4] + [x]))[0]
            hits, counts = address(bytes(56))[0], address(bytes(4))[0]
            expect(errno.EINVAL, fd, "search", search_arg(cid, 5, 1, 1, q, hits, counts))
    # Bits behind the last one, lengths between the two forms, halves that are no numbers.
    lengths = [(bits, bytes([0b10101100])), (bits, bytes(2)), (bits, bytes(5)), (int8, bytes(4)), (int8, bytes(6)),
               (int8, bytes(10)), (half, bytes(5)), (half, struct.pack("<5H", 0, 0x7c00, 0, 0, 0)),
               (half, struct.pack("<5H", 0, 0, 0, 0, 0x7e01))]
    for cid, stored in lengths:
        assert put(fd, cid, [item(5, stored)])[1] == [-errno.EINVAL], (cid, stored)
    puts(fd, bits, [item(5, bytes([0b10101000]))])
    puts(fd, int8, [item(5, bytes([0x80, 0x7f, 0, 0xff, 1]))])
    hits, counts = address(bytes(56))[0], address(bytes(4))[0]
    q = address(bytes([0b10101001]))[0]
    expect(errno.EINVAL, fd, "search", search_arg(bits, 5, 1, 1, q, hits, counts, SEARCH_STORED))
    for size in (1, 2, 4, 6, 8):
        expect(errno.EINVAL, fd, "get", get_arg(int8, 5, address(bytes(64))[0], size))
    zero = create(fd, "zero", 5, COSINE, INT8)
    assert put(fd, zero, [item(1, floats([0] * 5)), item(2, bytes(5)), item(3, bytes([255] * 5))])[1] == [-errno.EINVAL] * 2 + [0]
    like = search_arg(int8, 5, 1, 1, 0, hits, counts, SEARCH_STORED | 0x20, 128)
    expect(errno.EINVAL, fd, "search", like)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
