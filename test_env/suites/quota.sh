# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Quota: what users, groups and projects have, and limits to it. fsck counts again after
# each test.

q_op() { python3 "$suites/quota_ops.py" "$@"; }
q_up() { mount -t vexfs "$@" "$DISK1" "$MNT"; }
q_check() { fsck.vexfs -n "$DISK1"; }
q_new() {
	! mountpoint -q "$MNT" || umount "$MNT"
	mkfs.vexfs -q -f -O quota "$DISK1"
	q_up -o usrquota,grpquota,prjquota "$@"
}
q_end() { umount "$MNT" && q_check; }
# A test of quota_ops.py, and its _after part on the remounted file system.
q_calls() {
	q_new
	q_op "$1" "$MNT" "${@:2}"
	umount "$MNT"
	q_check
	q_up -o usrquota,grpquota,prjquota
	! grep -q "^def ${1}_after(" "$suites/quota_ops.py" || q_op "${1}_after" "$MNT" "${@:2}"
	q_end
}

shown() { grep " $MNT vexfs " /proc/mounts; }
q_options() {
	mkfs.vexfs -q -f -O quota "$DISK1"
	q_up
	not sh -c "grep ' $MNT vexfs ' /proc/mounts | grep quota"
	mount -o remount,usrquota "$MNT"
	shown | grep -q ',usrquota'
	mount -o remount,prjquota "$MNT"
	shown | grep -q ',usrquota,prjquota'
	mount -o remount,noquota "$MNT"
	not sh -c "grep ' $MNT vexfs ' /proc/mounts | grep quota"
	q_end
}
q_without() {
	mkfs.vexfs -q -f "$DISK1"
	q_up
	not mount -o remount,usrquota "$MNT"
	not q_op limit "$MNT" 0 1
	umount "$MNT"
	q_up -o usrquota
}
# Power goes while everybody is busy: what the journal brings back adds up.
q_crash() {
	local n
	for n in 1 2 3; do
		q_new
		rm -f "$WORK/stop"
		q_op load "$MNT" "$WORK/stop" &
		sleep 1.5
		python3 "$suites/fs_state_ops.py" shutdown "$MNT" 2
		touch "$WORK/stop"
		wait
		umount "$MNT"
		q_up -o usrquota
		q_op agrees "$MNT"
		q_end
	done
}
# The tools of XFS know the calls.
q_tools() {
	q_new
	chmod 777 "$MNT"
	setpriv --reuid 1000 --regid 1000 --clear-groups dd if=/dev/zero of="$MNT/f" bs=64k count=4 status=none
	sync
	xfs_quota -f -x -c 'limit -u bsoft=1m bhard=2m 1000' "$MNT"
	xfs_quota -f -x -c 'quota -u -N -b 1000' "$MNT" | grep -q '256 *1024 *2048'
	xfs_quota -f -x -c 'report -u -n -N -b' "$MNT" | grep -q '^#1000 *256 *1024 *2048'
	not setpriv --reuid 1000 --regid 1000 --clear-groups dd if=/dev/zero of="$MNT/f" bs=64k count=40 status=none
	[ "$(stat -c %s "$MNT/f")" = $((2 << 20)) ]
	q_end
}

t "usage is what stat says" q_calls usage
t "limits of space" q_calls blocks
t "limits of inodes" q_calls inodes
t "periods of grace" q_calls grace
t "who passes a limit is told by netlink" q_calls warnings
t "owners and projects change" q_calls transfer
t "several at a time share a limit" q_calls threads
t "quotactl" q_calls control
t "mount options" q_options
fails "bad option" "a volume without quota has none" q_without
t "usage survives power cuts" q_crash
t "xfs_quota" q_tools
