#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What programs may expect of any file system: generic_ops.py run DIR OUT [PROBE...]
                                              generic_ops.py compare OUT-OF-VEXFS OUT-OF-EXT4

`run` makes a directory for each probe below DIR and writes what they noted to OUT. `compare`
prints what differs, and exits 1 if it is anything that DIFFERENT below does not name.
"""
import fnmatch
import json
import os
import sys
import time
import traceback

import generic_attr  # noqa: F401: it registers its probes
import generic_data  # noqa: F401
import generic_names  # noqa: F401
from generic_lib import PROBES, Record

# Where VexFS is not as ext4 ("probe: label", with * and ?), and why.
DIFFERENT = {
    # Flags that ext4 takes and does nothing for, or that stand for what it alone has.
    **dict.fromkeys((f"append_and_immutable: flag {bit}" for bit in (
        "0x1", "0x2", "0x4", "0x400", "0x1000", "0x100000", "0x2000000")), "as XFS"),
    "append_and_immutable: *xflags *0x1 0 0": "no real-time device",
    "append_and_immutable: *xflags *0x800 4096 0": "no hints of extents' sizes: refused, not dropped",
    "append_and_immutable: *xflags *0x10000 4096 0": "the same",
    "append_and_immutable: dir xflags 0x1*": "the same",
    "append_and_immutable: *xflags *0x8000 0 0": "no DAX",
    "append_and_immutable: xflags are 0x0 0 4294967295": "no DAX: the call before",
    "append_and_immutable: *xflags *0x4000 0 0": "no defragmentation: nothing to be exempt from",
    "extended_attributes: * gnu.translator 14": "the Hurd's",
    "limits_of_times: got 15032385535": "ext4 has no nanoseconds at its last second",
    # RWF_NOWAIT through the page cache, as XFS: it is tried, ext4 refuses it always.
    "flags_of_writes: write 0x8 *": "tried",
    "set_id_bits: * RWF_NOWAIT write": "tried",
    "new_attribute_calls: file_?etattr s 256*": "symbolic links have a project too, as XFS's",
    "new_attribute_calls: file_setattr of a fifo": "so have fifos",
    "times_of_files: set the same flags": "nothing changes",
    "times_of_files: truncate same": "nothing changes, as XFS; POSIX asks for no more",
    # FIEMAP.
    "maps: part of an extent": "extents are told whole, as iomap does",
    "maps: end of one": "the same",
    "maps: flags 0x2": "attributes lie in records of trees, not in extents",
    "maps: attributes": "the same",
    "maps: flags 0x4": "ext4's own",
    "maps: directory": "entries lie in trees",
    "seeking: lseek 0 17592186044416": "files may be one block longer",
    "a_full_disk: create": "inodes take space when they are needed",
    # Directories.
    "directories: dots first": "dots first",
    "directories: buffer 24": "so the first entry fits",
    "directories: emptied meanwhile": "and the dots were read",
    "directories: removed: tmpfile": "has no name in the directory, needs it for nothing",
}


def run(directory, out, *names):
    os.umask(0o22)
    noted, broken = {}, False
    for f in PROBES:
        if names and f.__name__ not in names:
            continue
        begin = time.monotonic()
        rec = Record(os.path.join(directory, f.__name__))
        os.mkdir(rec.dir)
        try:
            f(rec)
        except Exception:
            traceback.print_exc()
            print(f"{f.__name__}: did not come to its end", file=sys.stderr)
            broken = True
        noted[f.__name__] = rec.notes
        if "GENERIC_TIMES" in os.environ:
            print(f"{time.monotonic() - begin:6.1f} s {f.__name__}", file=sys.stderr)
    with open(out, "w") as file:
        json.dump(noted, file, indent=1)
    return broken


def compare(vexfs, ext4):
    with open(vexfs) as a, open(ext4) as b:
        vexfs, ext4 = json.load(a), json.load(b)
    count, bad, used = 0, False, set()
    for name in vexfs:
        for label in {**vexfs[name], **ext4.get(name, {})}:
            count += 1
            is_, wanted = vexfs[name].get(label), ext4.get(name, {}).get(label)
            if is_ == wanted:
                continue
            key = f"{name}: {label}"
            known = [k for k in DIFFERENT if fnmatch.fnmatchcase(key, k)]
            used.update(known)
            if not known:
                bad = True
                print(f"{key}\n    vexfs {is_}\n    ext4  {wanted}")
    for key in set(DIFFERENT) - used:
        print(f"(no difference any more: {key})")
    print(f"{count} answers compared")
    return bad


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(*sys.argv[2:]))
    sys.exit(compare(*sys.argv[2:]))
