#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rates per second of processor time: processor_time.py PID <LINES

Reads what guest.sh prints (with BENCH_MARKS=1) as it comes, and passes it on. In each RESULT
line the time that the job took is replaced by the processor time that User Mode Linux, which
descends from process PID, got for it: what else the machine does no longer counts. Disks are in
memory, so jobs wait for nothing else but their own threads.
"""

import os
import sys

TICK = os.sysconf("SC_CLK_TCK")


def processes():
    """Parent, name and ticks of all processes, by number."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                head, tail = f.read().rsplit(")", 1)
        except OSError:
            continue
        words = tail.split()
        name = head.split("(", 1)[1]
        # User, system, and both of children that are gone.
        found[int(pid)] = (int(words[1]), name, sum(map(int, words[11:15])))
    return found


def used(top):
    """Seconds that the kernel below process `top`, and the processes of its users, have had."""
    found = processes()
    ticks = 0
    for pid, (_, name, own) in found.items():
        if name != "linux" and "uml" not in name:
            continue
        up = pid
        while up in found and up != top:
            up = found[up][0]
        if up == top:
            ticks += own
    return ticks / TICK


def main():
    top = int(sys.argv[1])
    begin = None
    for line in sys.stdin:
        words = line.split()
        if words[:1] == ["BEGIN"]:
            begin = used(top)
            continue
        if words[:1] == ["RESULT"] and len(words) == 7 and begin is not None:
            amount = float(words[4]) * float(words[6])
            seconds = max(used(top) - begin, 1 / TICK)
            words[4], words[6] = f"{amount / seconds:.3f}", f"{seconds:.2f}"
            line = " ".join(words) + "\n"
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
