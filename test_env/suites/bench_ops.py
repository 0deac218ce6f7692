#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of `vexctl bench ann --mount`: bench_ops.py MOUNT DIRECTORY

Small files of random vectors go to DIRECTORY, with their neighbours, computed here.
"""
import json
import os
import random
import struct
import subprocess
import sys

ROWS, DIM, QUERIES, K = 1500, 24, 30, 10
mount, folder = sys.argv[1:]
rng = random.Random(11)


def vectors(count):
    return [[rng.gauss(0, 1) for _ in range(DIM)] for _ in range(count)]


def write(name, rows, kind):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        for row in rows:
            file.write(struct.pack(f"<i{len(row)}{kind}", len(row), *row))
    return path


def nearest(among):
    """The rows of the nearest of these rows, for each query."""
    found = []
    for query in queries:
        far = [(sum((a - b) ** 2 for a, b in zip(query, base[row])), row) for row in among]
        found.append([row for _, row in sorted(far)[:K]])
    return found


base, queries = vectors(ROWS), vectors(QUERIES)
keys = rng.sample(range(10 * ROWS), ROWS)
few = [row for row in range(ROWS) if keys[row] < 1000]
paths = [write("base.fvecs", base, "f"), write("queries.fvecs", queries, "f")]
truth, truth_of_few = write("all.ivecs", nearest(range(ROWS)), "i"), write("few.ivecs", nearest(few), "i")
with open(os.path.join(folder, "keys.txt"), "w") as file:
    file.writelines(f"{key}\n" for key in keys)


def bench(truth, *more):
    command = ["vexctl", "--json", "bench", "ann", "--mount", mount, "--collection", "bench", "--metric", "l2"]
    command += ["--base", paths[0], "--queries", paths[1], "--truth", truth, "--keys", file.name, "--passes", "1"]
    run = subprocess.run(command + list(more), stdout=subprocess.PIPE, text=True, timeout=120)
    return run.returncode, json.loads(run.stdout) if run.returncode == 0 else run.stdout


status, report = bench(truth, "--ef", "32,128")
assert status == 0, report
assert report["build_s"] > 0 and report["index_bytes"] >= ROWS // 3 * 4096 and report["pinned_bytes"] > 0, report
low, high = report["points"]
assert (low["ef"], high["ef"]) == (32, 128)
assert 0.6 < low["recall"] <= high["recall"] and high["recall"] > 0.98, report
for point in report["points"]:
    assert point["qps"] > 0 and point["qps_batch"] > 0 and point["p99_us"] >= point["p50_us"] > 0, report
    assert K <= point["pages_read"] < ROWS, report

# Threads share the queries and nothing else; the collection and its index are used again.
status, report = bench(truth, "--ef", "128", "--threads", "3")
assert status == 0 and report["points"][0]["recall"] == high["recall"], report

# Few match: all of them are found, and none but them.
status, report = bench(truth_of_few, "--ef", "128", "--filter", "key < 1000")
assert status == 0 and report["points"][0]["recall"] == 1.0, report
status, report = bench(truth, "--ef", "128", "--filter", "key < 1000")
assert status == 0 and report["points"][0]["recall"] < 0.5, report

# Other vectors than those that are there.
status, report = bench(truth, "--type", "f16")
assert status == 1 and "other vectors" in report, report
status, report = bench(truth, "--filter", "nothing < 1")
assert status == 2, report
