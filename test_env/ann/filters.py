#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measures filtered searches of the module beside qdrant-edge, and the module beside its own code.

filters.py --vexctl V --data DIR --output O.json [--cpu N] [--passes N] [--base N] [--queries N] [--ef A,B,...]

DIR has glove100_base.fvecs, glove100_rank.u32 and the truths for four filters. The module runs in
User Mode Linux, at the machine's speed; there a process's time is counted in ticks, so the figures
are medians of the time that a query took, here and there. Every filter is measured twice: sent with
each query, and prepared once, as the index over the payload is that qdrant-edge keeps. The same
vectors are searched without a filter in an image, by the same code on the host: what the way through
the kernel costs. With --base only so many of the vectors are searched, for a quick look; the truths are
computed then.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import peers
from bench import K, load, rows
from texts import write

# What qdrant-edge is asked to keep.
EFFORTS = (16, 64, 128, 256)
HERE = Path(__file__).resolve().parent
# Name, what VexFS is asked, what qdrant-edge is asked.
FILTERS = [
    ("rank_lt_170739", "half", "key < 170739", lambda q: q.below(170739)),
    ("rank_lt_34147", "10 %", "key < 34147", lambda q: q.below(34147)),
    ("rank_lt_3414", "1 %, related", "key < 3414", lambda q: q.below(3414)),
    ("id_mod100_eq7", "1 %, unrelated", "key in @part.txt", lambda q: q.part(7)),
]


def matching(name, ranks):
    """The rows that a filter lets in."""
    if name.startswith("rank_lt_"):
        return np.flatnonzero(ranks < int(name[len("rank_lt_") :]))
    rows_of = np.arange(len(ranks))
    return rows_of[7::100] if name == "id_mod100_eq7" else rows_of


def nearest(base, queries, among):
    """The rows nearest to each query, of some."""
    order = np.argsort(-(queries @ base[among].T), axis=1, kind="stable")[:, :K]
    return among[order].astype("<i4")

GUEST = """
set -e
mkfs.vexfs -q -f /dev/vdb && mkdir -p /tmp/m && mount -t vexfs /dev/vdb /tmp/m
cd /mnt/share
bench() { vexctl --json bench ann --mount /tmp/m --keys keys.txt --base base.fvecs --queries query.fvecs "$@"; }
bench --truth all.ivecs --passes PASSES --ef EFS >all.json
for name in NAMES; do
	measure() { bench --truth $name.ivecs --passes PASSES --filter "$(cat $name.filter)" "$@"; }
	measure --ef EFS >$name.json
	measure --ef EFS --prepared >$name.prepared.json
done
"""


def module(args, share):
    """What the module says: a point for each ef, without a filter and with each of them."""
    script = GUEST.replace("PASSES", str(args.passes)).replace("EFS", args.ef)
    script = script.replace("NAMES", " ".join(f[0] for f in FILTERS))
    command = [str(HERE.parent / "uml.sh"), "run", "--disk", "1G", "--memory", "3G", "--share", share]
    command += ["--timeout", "1500"] + (["--cpu", args.cpu] if args.cpu else [])
    environment = dict(os.environ, VEXFS_VEXCTL=args.vexctl)
    run = subprocess.run(command + ["--", "sh", "-c", script], env=environment)
    if run.returncode != 0:
        sys.exit(f"filters.py: User Mode Linux ended with {run.returncode}")
    names = ["all"] + [f[0] + how for f in FILTERS for how in ("", ".prepared")]
    return {name: json.loads((Path(share) / f"{name}.json").read_text()) for name in names}


def qdrant(base, queries, ranks, truths, passes):
    peer = peers.QdrantEdge()
    peer.build(base, ranks)
    result = {}
    for name, _, _, allowed in FILTERS:
        allowed, points = allowed(peer), []
        for effort in EFFORTS:
            times, hits = [], 0
            for n in range(passes + 1):
                for query, near in zip(queries, truths[name]):
                    start = time.perf_counter()
                    found = peer.search(query, effort, allowed)
                    times.append(time.perf_counter() - start)
                    hits += len(set(found) & set(map(int, near))) if n == 0 else 0
            recall = hits / (len(queries) * K)
            points.append({"ef": effort, "recall": round(recall, 5), "p50_us": float(np.median(times)) * 1e6})
        result[name] = {"points": points}
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vexctl", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--cpu", help="the processor that the module runs on")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--base", type=int)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--ef", default="16,64,128,256")
    args = parser.parse_args()
    data = Path(args.data)
    base, queries, _ = load("glove100", data)
    ranks = np.fromfile(data / "glove100_rank.u32", dtype="<u4")
    names = ["all"] + [f[0] for f in FILTERS]
    queries = queries[: args.queries]
    if args.base is None:
        files = {name: "" if name == "all" else f"_{name}" for name in names}
        truths = {name: rows(data / f"glove100_gt_cos{files[name]}.ivecs", "<i4") for name in names}
        truths = {name: truth[: len(queries), :K] for name, truth in truths.items()}
    else:
        base, ranks = base[: args.base], ranks[: args.base]
        truths = {name: nearest(base, queries, matching(name, ranks)) for name in names}
    with tempfile.TemporaryDirectory(dir=Path(args.output).parent) as share:
        folder = Path(share)
        write(folder / "base.fvecs", rows(data / "glove100_base.fvecs", "<f4")[: len(base)])
        write(folder / "query.fvecs", rows(data / "glove100_query.fvecs", "<f4")[: len(queries)])
        for name in names:
            write(folder / f"{name}.ivecs", truths[name])
        (folder / "keys.txt").write_text("".join(f"{rank}\n" for rank in ranks))
        (folder / "part.txt").write_text("".join(f"{rank}\n" for rank in ranks[7::100]))
        for name, _, text, _ in FILTERS:
            (folder / f"{name}.filter").write_text(text)
        result = {"VexFS": module(args, share)}
        command = [args.vexctl, "--json", "bench", "ann", "--image", str(folder / "image")]
        command += ["--base", str(folder / "base.fvecs"), "--queries", str(folder / "query.fvecs")]
        command += ["--truth", str(folder / "all.ivecs"), "--ef", args.ef, "--passes", str(args.passes)]
        host = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        result["host"] = json.loads(host.stdout)
    if peers.version(peers.QdrantEdge):
        result["qdrant-edge"] = qdrant(base, queries, ranks, truths, args.passes)
    result["filters"] = [f[:2] for f in FILTERS]
    Path(args.output).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
