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
# What every ioctl goes through, with all that is inlined there: under it comes what the call does.
DISPATCHER = "3vfs5ioctl14unlocked_ioctl"
MOST_OF_DISPATCHER = 512

NAME = re.compile(r"^[0-9a-f]+ <(.*)>:$")
# A number of 64 bits is a negative one.
FRAME = re.compile(r"\bsub +\$0x([0-9a-f]{1,8}),%rsp$")


def frames(module):
    """Each function, with 0, and each of its frames, with its bytes."""
    command = ["objdump", "-d", "--no-show-raw-insn", module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listing:
        name = None
        for line in listing.stdout:
            if found := NAME.match(line):
                name = found[1]
                yield name, 0
            elif found := FRAME.search(line):
                yield name, int(found[1], 16)
    if listing.returncode:
        sys.exit(f"objdump failed on {module}")


def main():
    seen = 0
    known = bad = False
    for name, size in frames(sys.argv[1]):
        seen += size != 0
        dispatcher = name.endswith(DISPATCHER)
        known |= dispatcher
        most = MOST_OF_DISPATCHER if dispatcher else MOST
        if size > most:
            print(f"{name}: a stack frame of {size} bytes; {most} are allowed")
            bad = True
    if seen < 100:
        sys.exit(f"{seen} stack frames: is {sys.argv[1]} the module?")
    if not known:
        sys.exit(f"no function is called {DISPATCHER} any more: what do ioctls go through?")
    print(f"{seen} frames")
    sys.exit(bad)


main()
