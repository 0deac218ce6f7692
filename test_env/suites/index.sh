# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Indexes over collections, through the module.

ix_op() { python3 "$suites/index_ops.py" "$1" "$MNT" "${@:2}"; }

mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
chmod 755 "$MNT"

ix_clean() { umount "$MNT" && fsck.vexfs -n "$DISK1" && mount -t vexfs "$DISK1" "$MNT"; }

t "made, verified, dropped, made again" ix_op life
t "puts, deletes and searches of 16 threads at once" ix_op changes
t "radius, groups and pages through the graph" ix_op lists
t "dropped under searches" ix_op dropped
t "frozen in the middle of a build" ix_op frozen
t "made of itself, and not again" ix_op automatic
t "what is there is clean" ix_clean

ix_remount() {
	vexctl index verify "$MNT" --collection changes
	vexctl index rebuild "$MNT" --collection changes --no-wait
	mount -o remount,ro "$MNT"
	vexctl index stats "$MNT" --collection changes --json | grep -q '"state":"\(building\|ready\)"'
	mount -o remount,rw "$MNT"
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	vexctl index wait "$MNT" --collection changes
	vexctl index verify "$MNT" --collection changes --json | grep -q '"missing":0,"wrong":0,"damaged":0'
	vexctl search "$MNT" --collection changes --vector "[$(seq -s, 64)]" -k 3 --json | grep -q '"score"'
	vexctl index drop "$MNT" --collection changes
	local status=0
	vexctl index stats "$MNT" --collection changes --json >/dev/null || status=$?
	[ $status = 4 ]
}
t "remounted in the middle of a build; vexctl index" ix_remount

mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup || :
if grep -qs memory /sys/fs/cgroup/cgroup.controllers; then
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	t "a quarter of the index in memory: the same hits" ix_op squeezed
else
	skip "a quarter of the index in memory" "no memory cgroup"
fi
t "the volume is clean in the end" ix_clean
