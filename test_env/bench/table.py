#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The table of `make bench`: table.py OUTPUT.json <RESULT-LINES

Drops the first round when there are several, takes medians over the others, and
prints Markdown.
"""

import json
import os
import statistics
import sys

PEERS = ("ext4", "xfs", "btrfs")


def main():
    rates = {}
    units = {}
    for line in sys.stdin:
        words = line.split()
        if len(words) != 7 or words[0] != "RESULT":
            continue
        _, round_, fs, job, rate, unit, _ = words
        rates.setdefault(job, {}).setdefault(fs, []).append((int(round_), float(rate)))
        units[job] = unit
    if not rates:
        sys.exit("table.py: no results")
    result = {}
    rounds = 0
    print("| Job | Unit | vexfs | ext4 | xfs | btrfs | vexfs / best | spread |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for job, by_fs in rates.items():
        row = {}
        spread = 0.0
        for fs, samples in by_fs.items():
            kept = [rate for round_, rate in samples if round_ > 0] or [r for _, r in samples]
            row[fs] = round(statistics.median(kept), 3)
            rounds = max(rounds, len(kept))
            if fs == "vexfs":
                spread = (max(kept) - min(kept)) / row[fs]
        peers = [row[p] for p in PEERS if p in row]
        row["ratio"] = round(row["vexfs"] / max(peers), 3) if "vexfs" in row and peers else None
        result[job] = row
        cells = [f"{row[fs]:,.0f}" if fs in row else "" for fs in ("vexfs",) + PEERS]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"| {job} | {units[job]} | {' | '.join(cells)} | {ratio} | {100 * spread:.0f} % |")
    ratios = [row["ratio"] for row in result.values() if row["ratio"] is not None]
    if ratios:
        print()
        print(
            f"{len(ratios)} jobs, {rounds} rounds: {sum(r >= 1 for r in ratios)} at 1.0 or more, "
            f"{sum(r < 0.8 for r in ratios)} below 0.8; lowest {min(ratios):.2f}, "
            f"median {statistics.median(ratios):.2f}."
        )
    part = sys.argv[1] + ".part"
    with open(part, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    os.replace(part, sys.argv[1])


if __name__ == "__main__":
    main()
