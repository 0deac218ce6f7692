# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What programs may expect of any file system, asked of VexFS and of ext4 in the same guest: some
# thousand answers, errnos, sizes, times and modes, compared. generic_ops.py has the list of where
# VexFS is not as ext4, and why.

ge_probe() { # MOUNT-POINT NAME
	mkdir "$1/generic"
	python3 "$suites/generic_ops.py" run "$1/generic" "$WORK/$2.json"
}
ge_answers() {
	mkdir -p "$MNT-ext4"
	mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
	mkfs.ext4 -q -F -O project,quota "$DISK2" && mount -t ext4 "$DISK2" "$MNT-ext4"
	ge_probe "$MNT" vexfs
	ge_probe "$MNT-ext4" ext4
	umount "$MNT-ext4"
	python3 "$suites/generic_ops.py" compare "$WORK/vexfs.json" "$WORK/ext4.json"
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
}

t "the answers are ext4's" ge_answers
