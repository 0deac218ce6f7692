#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes tables and plots of what bench.py measured.

report.py DIR [--sets FILE...] [--window FILE] [--filters FILE] [--notes FILE]

DIR gets vectors.md and an SVG for each set; what bench_ann.sh measured of a sliding window and of
filters goes into it too, as does what FILE says about the run. Rates at a recall are interpolated between the two
points of the best curve (on a logarithmic scale); a library that does not come to a recall has none.
"""

import argparse
import json
import math
from pathlib import Path

RECALLS = (0.90, 0.95, 0.99)
COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#17becf"]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 440, 70, 40, 200, 50
TITLES = {
    "glove100": "GloVe, 100 dimensions, cosine",
    "text384": "MiniLM embeddings of WordNet's glosses, 384 dimensions, cosine",
}


def curve(points, rate):
    """The points that no other one beats in both, by recall."""
    best = []
    for point in sorted(points, key=lambda p: -p[rate]):
        if not best or point["recall"] > best[-1][0]:
            best.append((point["recall"], point[rate]))
    return best


def at(points, recall, rate):
    line = curve(points, rate)
    for (r0, q0), (r1, q1) in zip(line, line[1:]):
        if r0 <= recall <= r1:
            part = (recall - r0) / (r1 - r0)
            return math.exp(math.log(q0) + part * (math.log(q1) - math.log(q0)))
    # The quickest setting may be above that recall already.
    return line[0][1] if line and line[0][0] >= recall else None


def text(rate):
    return "-" if rate is None else f"{rate / 1000:.1f}k"


def table(results, rate, title):
    lines = [f"| {title} | " + " | ".join(f"{r:.2f}" for r in RECALLS) + " | against VexFS |"]
    lines.append("|---" * (len(RECALLS) + 2) + "|")
    ours = [at(results["VexFS"]["points"], r, rate) for r in RECALLS]
    for name, one in results.items():
        if "points" not in one:
            continue
        rates = [at(one["points"], r, rate) for r in RECALLS]
        ratios = ["-" if None in (a, b) else f"{a / b:.2f}" for a, b in zip(rates, ours)]
        lines.append(f"| {name} | " + " | ".join(map(text, rates)) + f" | {' / '.join(ratios)} |")
    return "\n".join(lines)


def costs(results):
    lines = ["| | build, s | bytes in memory | spread of passes | version |", "|---|---|---|---|---|"]
    for name, one in results.items():
        if "error" in one:
            lines.append(f"| {name} | failed: {one['error']} | | | {one['version']} |")
            continue
        size = one.get("memory", one.get("index_bytes", 0)) / 1e6
        note = f", {one['pinned_bytes']} bytes pinned" if "pinned_bytes" in one else ""
        spreads = sorted(point["spread"] for point in one["points"] if "spread" in point)
        spread = f"{spreads[len(spreads) // 2]:.0%}" if spreads else "-"
        lines.append(
            f"| {name} | {one['build_s']:.1f} | {size:.0f} MB{note} | {spread} | {one.get('version', '')} |"
        )
    return "\n".join(lines)


def plot(name, results):
    low, high = 0.85, 1.0
    rates = [p["qps"] for one in results.values() for p in one.get("points", []) if p["recall"] >= low]
    bottom, top = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)) * 4) / 4

    def x(recall):
        return LEFT + (recall - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(rate):
        return HEIGHT - BOTTOM - (math.log10(rate) - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{TITLES.get(name, name)}: one thread</text>',
    ]
    for i in range(4):
        r = low + i * 0.05
        svg.append(f'<path d="M{x(r):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        svg.append(f'<text x="{x(r):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{r:.2f}</text>')
    for decade in range(bottom, math.ceil(top) + 1):
        for step in (1, 2, 5):
            rate = step * 10**decade
            if bottom <= math.log10(rate) <= top:
                svg.append(f'<path d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
                label = f"{rate // 1000}k" if rate >= 1000 else str(rate)
                svg.append(f'<text x="{LEFT - 8}" y="{y(rate) + 4:.1f}" text-anchor="end">{label}</text>')
    svg.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">recall@10</text>')
    svg.append(f'<text x="16" y="{HEIGHT / 2}" transform="rotate(-90 16 {HEIGHT / 2})" '
               'text-anchor="middle">queries a second</text>')
    shown = [(n, one) for n, one in results.items() if "points" in one]
    for i, (label, one) in enumerate(shown):
        colour = COLOURS[i % len(COLOURS)]
        line = [(r, q) for r, q in curve(one["points"], "qps") if r >= low]
        path = "L".join(f"{x(r):.1f} {y(q):.1f}" for r, q in line)
        wide = 2.5 if label == "VexFS" else 1.5
        if line:
            svg.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{wide}"/>')
        for r, q in line:
            svg.append(f'<circle cx="{x(r):.1f}" cy="{y(q):.1f}" r="3" fill="{colour}"/>')
        at_y = TOP + 16 + 18 * i
        svg.append(f'<path d="M{WIDTH - RIGHT + 14} {at_y - 4}h18" stroke="{colour}" stroke-width="{wide}"/>')
        svg.append(f'<text x="{WIDTH - RIGHT + 38}" y="{at_y}">{label}</text>')
    return "\n".join(svg + ["</svg>"]) + "\n"


def with_rates(points):
    """Points of one query at a time: the rate is that of the median query."""
    return [{**point, "qps": 1e6 / point["p50_us"]} for point in points]


def quickest(points, recall):
    """The rate of the quickest point with that recall; an exact answer has no curve."""
    rates = [point["qps"] for point in with_rates(points) if point["recall"] >= recall]
    return max(rates, default=None)


def filters(result):
    lines = [
        "## Filters",
        "GloVe, queries a second from the median time of a query, of the quickest setting with a recall of .95 or "
        "more. VexFS is the module in User Mode Linux, asked through the ioctl. A filter is sent, checked and run "
        "with each query, or prepared once (`VEXFS_IOC_FILTER`), as qdrant-edge has an index over what it filters "
        "by. `key in` gets a list, as a program would that knows its matches. The ratio is that of the prepared one.",
        "",
    ]
    table = [
        "| match | recall at ef 256 | VexFS | prepared | recall, prepared | qdrant-edge | its recall | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, title in result["filters"]:
        sent, prepared = result["VexFS"][name]["points"], result["VexFS"][f"{name}.prepared"]["points"]
        theirs = result.get("qdrant-edge", {}).get(name, {}).get("points", [])
        best = max((point["recall"] for point in theirs), default=0)
        rates = [quickest(points, 0.95) for points in (sent, prepared, theirs)]
        ratio = "-" if None in rates[1:] else f"{rates[1] / rates[2]:.2f}"
        table.append(
            f"| {title} | {sent[-1]['recall']:.4f} | {text(rates[0])} | {text(rates[1])} "
            f"| {prepared[-1]['recall']:.4f} | {text(rates[2])} | {best:.4f} | {ratio} |"
        )
    lines.append("\n".join(table))
    lines += [
        "",
        "## The way through the kernel",
        "The same vectors without a filter: microseconds of the median query through the ioctl, and by the same code "
        "on the host, in the same hour.",
        "",
    ]
    table = ["| ef | recall, kernel | recall, host | kernel, us | host, us | ratio |", "|---|---|---|---|---|---|"]
    for a, b in zip(result["VexFS"]["all"]["points"], result["host"]["points"]):
        table.append(
            f"| {a['ef']} | {a['recall']:.4f} | {b['recall']:.4f} | {a['p50_us']:.0f} | {b['p50_us']:.0f} "
            f"| {b['p50_us'] / a['p50_us']:.2f} |"
        )
    lines.append("\n".join(table))
    return "\n".join(lines)


def window(result):
    efs = result["ef"]
    lines = [
        "## A sliding window",
        "GloVe: 50,000 vectors live; in each step 5,000 come and the oldest 5,000 go, until none of the first is left. "
        "Through the driver that a mount has, in an image: journal, graph, refining, checkpoint. Recall lost: "
        + ", ".join(f"{lost:+.4f} at ef {ef}" for ef, lost in zip(efs, result["recall_lost"]))
        + f". {result['inserts']:.0f} vectors a second come (put and in the graph), {result['deletes']:.0f} go.",
        "",
        "| step | " + " | ".join(f"recall, ef {ef}" for ef in efs) + " | come, 1/s | go, 1/s | refining, s | checkpoint, s |",
        "|---" * (len(efs) + 5) + "|",
        "| 0 | " + " | ".join(f"{r:.4f}" for r in result["recall"]) + " | | | | |",
    ]
    for i, step in enumerate(result["steps"], 1):
        recall = " | ".join(f"{r:.4f}" for r in step["recall"])
        lines.append(
            f"| {i} | {recall} | {step['inserts']:.0f} | {step['deletes']:.0f} | {step['refine_s']:.1f} | {step['checkpoint_s']:.1f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--window")
    parser.add_argument("--filters")
    parser.add_argument("--notes")
    args = parser.parse_args()
    sets = [json.loads(Path(path).read_text()) for path in args.sets if Path(path).exists()]
    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    out = ["<!-- SPDX-License-Identifier: GPL-2.0 -->", "<!-- Made by `make bench-ann`. -->"]
    out.append("# Search by meaning: the index beside others")
    rounds = " and ".join(sorted({str(one["rounds"]) for one in sets}))
    out.append(
        "One thread each, recall@10, queries a second. Those of a table took turns in one run, "
        f"{rounds} passes over 1,000 queries; rates are medians of passes, of the time that\n"
        "a process had a processor. VexFS is `vexctl bench ann "
        "--image`: the code of the module on the host, over a file system in an image, from the cache.\n"
        "Single queries of the others pay for a call from Python, batches do not; qdrant-edge and pgvector take no "
        "batches.\nThe spread is that between the slowest and the quickest pass, at the setting in the middle."
    )
    if args.notes:
        out.append(Path(args.notes).read_text().strip())
    for one in sets:
        name, results = one["set"], one["results"]
        out.append(f"## {TITLES.get(name, name)}")
        out.append(f"![recall and queries a second]({name}.svg)")
        out.append(table(results, "qps", "single queries"))
        out.append(table(results, "qps_batch", "batches"))
        out.append(costs(results))
        (folder / f"{name}.svg").write_text(plot(name, results))
    for path, make in ((args.window, window), (args.filters, filters)):
        if path and Path(path).exists():
            out.append(make(json.loads(Path(path).read_text())))
    missing = sorted({package for one in sets for package in one["missing"]})
    if missing:
        out.append(f"Not installed, so not measured: {', '.join(missing)}.")
    (folder / "vectors.md").write_text("\n\n".join(out) + "\n")


if __name__ == "__main__":
    main()
