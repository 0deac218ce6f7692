# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Recall of an index over real vectors, through the module.

rc_data=/mnt/share

mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"

if [ -e $rc_data/glove100_base.fvecs ]; then
	t "recall of real vectors" python3 "$suites/index_ops.py" recall "$MNT" $rc_data \
		"$((${VEXFS_LONG:-0} ? 100000 : 8000))"
else
	skip "recall of real vectors" "no ../shared/data beside the checkout"
fi
t "every type by every metric" python3 "$suites/index_ops.py" typed "$MNT"
t "vexctl bench ann: figures, threads, filters" python3 "$suites/bench_ops.py" "$MNT" "$WORK"
rc_clean() { umount "$MNT" && fsck.vexfs -n "$DISK1"; }
t "the volume is clean in the end" rc_clean
