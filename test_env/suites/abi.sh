# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The ioctls of the general and the vectors' sections, called wrongly. (Staging has its
# own in staging_faults.sh.)

ab_op() { python3 "$suites/vectors_ops.py" "$1" "$MNT"; }

mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"

t "sizes, unknown fields, flags, bad pointers" ab_op abi_sizes
t "counts, limits, things that are not there, wrong descriptors" ab_op abi_limits
ab_compat() {
	umount "$MNT"
	mkfs.vexfs -q -f "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	ab_op compat
}
if [ -z "${VEXFS_UML:-}" ]; then
	t "programs of 32 bits" ab_compat
else
	skip "programs of 32 bits" "User Mode Linux has no int 0x80"
fi
ab_read_only() {
	mount -o remount,ro "$MNT"
	ab_op read_only
	mount -o remount,rw "$MNT"
}
t "a read-only mount" ab_read_only
t "random structures do no harm" ab_op abi_random
# From C, with nothing but the headers.
ab_selftest() {
	local tests=$WORK/selftests status=0
	umount "$MNT"
	mkfs.vexfs -q -f "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	mkdir "$tests"
	make -s -C "$tests" -f "$suites/../selftests/Makefile"
	"$tests/vexfs_abi" "$MNT" >"$WORK/ktap" || status=$?
	grep -A 3 -E '^(not ok|#|Bail)' "$WORK/ktap" || true
	grep -q '^KTAP version 1$' "$WORK/ktap"
	[ "$(grep -c '^ok ' "$WORK/ktap")" -gt 250 ]
	[ $status = 0 ]
}
t "the selftest in C" ab_selftest
ab_clean() { umount "$MNT" && fsck.vexfs -n "$DISK1"; }
t "the volume is clean" ab_clean
