# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Large directories, large sparse files, volumes that are full: each is made, looked at
# after a remount, taken away, and what was free before is free again, to the block.
# VEXFS_LONG=1: a million entries, 100,000 extents, ten rounds (VEXFS_ROUNDS).

if [ "${VEXFS_LONG:-0}" != 0 ]; then
	lg_rounds=${VEXFS_ROUNDS:-10} lg_entries=1000000 lg_extents=100000 lg_small=512M
else
	lg_rounds=2 lg_entries=20000 lg_extents=3000 lg_small=64M
fi
lg_new() {
	! mountpoint -q "$MNT" || umount "$MNT"
	mkfs.vexfs -q -f "$@"
}
lg_op() { python3 "$suites/large_ops.py" "$@"; }
lg_check() { fsck.vexfs -n "$DISK1"; }
lg_again() { umount "$MNT" && lg_check && mount -t vexfs "$DISK1" "$MNT"; }
# What is free: after a sync as after a remount.
lg_free() {
	local synced
	sync -f "$MNT"
	synced=$(lg_op space "$MNT")
	umount "$MNT" && mount -t vexfs "$DISK1" "$MNT"
	[ "$(lg_op space "$MNT")" = "$synced" ] || { echo "a remount changed what is free" && return 1; }
	echo "$synced"
}

# lg_rounds_of MAKE LOOK TAKE: commands with $MNT.
lg_rounds_of() {
	local round before after
	mount -t vexfs "$DISK1" "$MNT"
	for round in $(seq "$lg_rounds"); do
		before=$(lg_free)
		eval "$1"
		lg_again
		eval "$2"
		eval "$3"
		after=$(lg_free)
		[ "$before" = "$after" ] || {
			echo "round $round: free blocks, available blocks, inodes: $before before, $after after"
			return 1
		}
		echo "round $round: $SECONDS s"
	done
	umount "$MNT" && lg_check
}

large_directory() {
	lg_new "$DISK1"
	lg_rounds_of 'lg_op entries "$MNT" $lg_entries' 'lg_op entries_after "$MNT" $lg_entries' \
		'lg_op entries_gone "$MNT" $lg_entries'
}
large_sparse() {
	lg_new "$DISK1"
	lg_rounds_of 'lg_op sparse "$MNT/sparse" $lg_extents' \
		'lg_op sparse_after "$MNT/sparse" $lg_extents' 'rm "$MNT/sparse"'
}
# A small volume, so that the small things count.
full_volume() {
	lg_new -b 4096 "$DISK1" $(($(numfmt --from=iec "$lg_small") / 4096))
	lg_rounds_of 'lg_op fill "$MNT"' 'ls -R "$MNT/full" >/dev/null && sync' 'rm -r "$MNT/full"'
}

t "a directory of $lg_entries entries, $lg_rounds times" large_directory
t "a file of 1 TiB with $lg_extents extents, $lg_rounds times" large_sparse
t "a volume filled to the last block and emptied, $lg_rounds times" full_volume
