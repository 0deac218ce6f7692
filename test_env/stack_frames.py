#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Says which functions of a module take too much of the kernel's stack.

A task has 16 KiB of it in the kernel. stack_frames.py MODULE.ko
"""

import re
import subprocess
import sys

# Bytes of any frame.
MOST = 3072
# What every ioctl goes through: under it comes all that the call does.
DISPATCHERS = re.compile(r"3vfs5ioctl14unlocked_ioctl$|3ops6vector5ioctl$|7staging5ioctl5ioctl$")
MOST_OF_DISPATCHER = 512

NAME = re.compile(r"^[0-9a-f]+ <(.*)>:$")
# A number of 64 bits is a negative one.
FRAME = re.compile(r"\bsub +\$0x([0-9a-f]{1,8}),%rsp$")


def frames(module):
    """Name and bytes of each frame."""
    command = ["objdump", "-d", "--no-show-raw-insn", module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listing:
        name = None
        for line in listing.stdout:
            if found := NAME.match(line):
                name = found[1]
            elif found := FRAME.search(line):
                yield name, int(found[1], 16)
    if listing.returncode:
        sys.exit(f"objdump failed on {module}")


def main():
    seen = dispatchers = 0
    bad = False
    for name, size in frames(sys.argv[1]):
        seen += 1
        dispatcher = DISPATCHERS.search(name)
        dispatchers += bool(dispatcher)
        most = MOST_OF_DISPATCHER if dispatcher else MOST
        if size > most:
            print(f"{name}: a stack frame of {size} bytes; {most} are allowed")
            bad = True
    if seen < 100:
        sys.exit(f"{seen} stack frames: is {sys.argv[1]} the module?")
    print(f"{seen} frames, {dispatchers} of dispatchers")
    sys.exit(bad)


main()
