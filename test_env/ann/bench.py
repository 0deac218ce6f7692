#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measures VexFS's index beside other libraries, on the same sets, interleaved.

bench.py --vexctl V --images D --output O.json [--peers A,B] [--rounds N] NAME=DIR

DIR has NAME_base.fvecs, NAME_query.fvecs and NAME_gt_cos.ivecs. Every library has a process of its
own, so that its memory can be told; they take turns, one pass over the queries each, `rounds`
times. VexFS is `vexctl bench ann` on an image. What counts is the time that a process had a
processor, so other work on the machine disturbs less; rates are medians of passes. A peer's single
queries pay for its Python call, batches do not: compare batches where that matters.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import peers

K = 10


def rows(path, kind):
    data = np.fromfile(path, dtype="<i4")
    width = data[0] + 1
    return np.ascontiguousarray(data.reshape(-1, width)[:, 1:]).view(kind)


def load(name, folder):
    folder = Path(folder)
    base = rows(folder / f"{name}_base.fvecs", "<f4")
    queries = rows(folder / f"{name}_query.fvecs", "<f4")
    truth = rows(folder / f"{name}_gt_cos.ivecs", "<i4")[:, :K]

    def unit(x):
        return np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)

    return unit(base), unit(queries), truth


def resident():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024


def serve(kind, name, folder, pipe):
    """A library in its process: builds, then one pass for each message."""
    base, queries, truth = load(name, folder)
    peer = kind()
    # A library that runs elsewhere has no clock before it is there.
    before, start = resident(), time.process_time()
    try:
        peer.build(base)
    except Exception as e:  # Whatever a library cannot do is reported, not hidden.
        pipe.send({"error": f"{type(e).__name__}: {e}"})
        return
    pipe.send({"build_s": peer.clock() - start, "memory": resident() - before})
    while (message := pipe.recv()) is not None:
        effort, how = message
        if how == "warm":
            found = [peer.search(q, effort) for q in queries]
            hits = sum(len(set(map(int, f)) & set(map(int, t))) for f, t in zip(found, truth))
            pipe.send(hits / truth.size)
            continue
        some = queries[: peer.timed]
        start = peer.clock()
        if how == "single":
            for q in some:
                peer.search(q, effort)
        else:
            peer.batch(some, effort)
        pipe.send(len(some) / max(peer.clock() - start, 1e-9))


class Vexfs:
    """`vexctl bench ann` on an image: built by the first call, searched by each."""

    efforts = (10, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)

    def __init__(self, vexctl, name, folder, image):
        image.unlink(missing_ok=True)
        file = lambda what: str(Path(folder) / f"{name}_{what}")
        self.command = [vexctl, "--json", "bench", "ann", "--metric", "cosine", "--clock", "cpu"]
        self.command += ["--passes", "1", "--ef", ",".join(map(str, self.efforts))]
        self.command += ["--base", file("base.fvecs"), "--queries", file("query.fvecs")]
        self.command += ["--truth", file("gt_cos.ivecs"), "--image", str(image)]

    def run(self):
        run = subprocess.run(self.command, stdout=subprocess.PIPE)
        if run.returncode != 0:
            sys.exit(f"bench.py: vexctl: {run.stdout.decode()}")
        return json.loads(run.stdout)


def points(kind, recalls, passes):
    found = []
    for effort in kind.efforts:
        one = passes[effort]
        batch = one["batch"] or one["single"]
        spread = (max(one["single"]) - min(one["single"])) / np.median(one["single"])
        found.append(
            {
                "ef": effort,
                "recall": round(recalls[effort], 5),
                "qps": round(float(np.median(one["single"])), 1),
                "qps_batch": round(float(np.median(batch)), 1),
                "spread": round(float(spread), 4),
            }
        )
    return found


def measure(vexfs, kinds, name, folder, rounds):
    """All of them on one set, in turns."""

    def empty(kind):
        return {effort: {"single": [], "batch": []} for effort in kind.efforts}

    first = vexfs.run()
    result = {"VexFS": {x: first[x] for x in ("build_s", "index_bytes", "pinned_bytes")}}
    print(f"{name}: VexFS: {result['VexFS']}", file=sys.stderr, flush=True)
    context = multiprocessing.get_context("spawn")
    running, recalls, passes = [], {}, {Vexfs: empty(Vexfs)}
    for kind in kinds:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(kind, name, folder, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            built = ours.recv()
        except EOFError:
            built = {"error": "it ended"}
        result[kind.label] = {"version": peers.version(kind), **built}
        print(f"{name}: {kind.label}: {built}", file=sys.stderr, flush=True)
        if "error" not in built:
            running.append((kind, ours))
            passes[kind] = empty(kind)

    def ask(pipe, *message):
        pipe.send(message)
        return pipe.recv()

    for kind, pipe in running:
        recalls[kind] = {effort: ask(pipe, effort, "warm") for effort in kind.efforts}
    for _ in range(rounds):
        for point in (last := vexfs.run())["points"]:
            passes[Vexfs][point["ef"]]["single"].append(point["qps"])
            passes[Vexfs][point["ef"]]["batch"].append(point["qps_batch"])
        for kind, pipe in running:
            for effort in kind.efforts:
                for how in ("single", "batch") if kind.batches else ("single",):
                    passes[kind][effort][how].append(ask(pipe, effort, how))
    recalls[Vexfs] = {point["ef"]: point["recall"] for point in last["points"]}
    result["VexFS"]["points"] = points(Vexfs, recalls[Vexfs], passes[Vexfs])
    for point, more in zip(result["VexFS"]["points"], last["points"]):
        point["pages_read"] = more["pages_read"]
    for kind, pipe in running:
        result[kind.label]["points"] = points(kind, recalls[kind], passes[kind])
        pipe.send(None)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vexctl", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--images", required=True, help="a directory for images")
    parser.add_argument("--peers", help="which of them, by the names of their classes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("set", metavar="NAME=DIR")
    args = parser.parse_args()
    wanted = args.peers.split(",") if args.peers is not None else None
    kinds = [k for k in peers.PEERS if wanted is None or k.__name__ in wanted]
    missing = sorted({k.package for k in kinds if not peers.version(k)})
    kinds = [k for k in kinds if peers.version(k)]
    name, folder = args.set.split("=", 1)
    vexfs = Vexfs(args.vexctl, name, folder, Path(args.images) / f"{name}.vexfs")
    results = measure(vexfs, kinds, name, folder, args.rounds)
    result = {"set": name, "missing": missing, "rounds": args.rounds, "results": results}
    Path(args.output).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
