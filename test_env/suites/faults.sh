# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Memory that is refused in the middle of calls: the call fails, or does not; nothing is
# damaged, nothing is left behind, and the volume goes on. For the debug kernel, which can
# refuse.

fl_dir=/sys/kernel/debug/failslab

# fl_rate PERCENT: for tasks that ask for it, until fl_never or the end of the test.
fl_rate() {
	trap fl_never EXIT
	echo Y >$fl_dir/task-filter
	echo N >$fl_dir/ignore-gfp-wait
	echo 0 >$fl_dir/verbose
	echo 1 >$fl_dir/interval
	echo -1 >$fl_dir/times
	echo "$1" >$fl_dir/probability
}
fl_never() { echo 0 >$fl_dir/probability; }
fl_new() {
	! mountpoint -q "$MNT" || umount "$MNT"
	mkfs.vexfs -q -f "$DISK1"
}
fl_calls() { # PERCENT SECONDS
	fl_new
	mount -t vexfs "$DISK1" "$MNT"
	fl_rate "$1"
	python3 "$suites/faults_ops.py" "$MNT" "$2" "$VEXFS_SEED"
	fl_never
	# The journal was not aborted, nothing stopped writing.
	not grep -E " $MNT .*emergency_ro" /proc/mounts
	echo on >"$MNT/goes"
	sync
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	[ "$(cat "$MNT/goes")" = on ]
	umount "$MNT"
}
# What was written is written back, however long memory is short.
fl_written() { # PERCENT
	fl_new
	mount -t vexfs "$DISK1" "$MNT"
	fl_rate "$1"
	# Counted down at each refusal.
	echo 1000000 >$fl_dir/times
	python3 "$suites/faults_ops.py" written "$MNT" "$VEXFS_SEED"
	fl_never
	[ "$(cat $fl_dir/times)" -lt 999900 ]
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	python3 "$suites/faults_ops.py" same "$MNT" "$VEXFS_SEED"
	umount "$MNT"
}
# A cut that fails in the middle is ended before the file grows over what is left.
fl_cut() { # PERCENT
	fl_new
	mount -t vexfs "$DISK1" "$MNT"
	fl_rate "$1"
	python3 "$suites/faults_ops.py" cut "$MNT" "$VEXFS_SEED"
	fl_never
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
}
# Mounting and unmounting, too: to the end, or not at all.
fl_mounts() {
	local i mounted=0
	fl_new
	fl_rate 3
	for i in $(seq "$1"); do
		if python3 "$suites/faults_ops.py" mount "$DISK1" "$MNT"; then
			mounted=$((mounted + 1))
			umount "$MNT"
		fi
	done
	fl_never
	echo "$mounted of $1"
	[ "$mounted" -gt 0 ] && [ "$mounted" -lt "$1" ]
	fsck.vexfs -n "$DISK1"
}

# A remount is made, or everything is as before: what is written reaches the disk, and the volume is clean
# in the end.
fl_remounts() { # TIMES
	local i how=rw refused=0
	fl_new
	mount -t vexfs "$DISK1" "$MNT"
	for i in $(seq "$1"); do
		[ $how = rw ] && how=ro || how=rw
		fl_rate 10
		while ! python3 "$suites/faults_ops.py" remount "$MNT" $how; do
			refused=$((refused + 1))
			if [ $how = ro ]; then
				grep " $MNT vexfs rw" /proc/mounts >/dev/null
				echo "$i" >"$MNT/still"
			else
				grep " $MNT vexfs ro" /proc/mounts >/dev/null
				not touch "$MNT/yet"
			fi
		done
		fl_never
		grep " $MNT vexfs $how" /proc/mounts >/dev/null
		# What is written to says that it was not unmounted.
		if [ $how = ro ]; then
			vexctl debug "$DISK1" superblock | grep -w clean >/dev/null
		else
			echo "$i" >"$MNT/file"
			not grep -w clean <(vexctl debug "$DISK1" superblock)
		fi
	done
	echo "$refused refused"
	[ $refused -gt 0 ]
	mount -o remount,rw "$MNT"
	umount "$MNT"
	vexctl debug "$DISK1" superblock | grep -w clean
	fsck.vexfs -n "$DISK1"
}

if [ -e $fl_dir ]; then
	t "calls, one allocation in fifty refused" fl_calls 2 $((VEXFS_LONG ? 120 : 10))
	t "calls, one allocation in five refused" fl_calls 20 $((VEXFS_LONG ? 60 : 5))
	t "what was written is written back, one allocation in five refused" fl_written 20
	t "a cut that is refused, one allocation in five refused" fl_cut 20
	t "remounts" fl_remounts $((VEXFS_LONG ? 200 : 24))
	t "mounts" fl_mounts $((VEXFS_LONG ? 300 : 8))
else
	skip "memory that is refused" "this kernel cannot refuse any"
fi
