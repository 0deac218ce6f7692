#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The part of bench.sh that runs in the virtual machine: guest.sh ROUNDS GROUP...
#
# In each round each group of phases runs on each file system in turn, on a volume that
# was made for it. The order of the file systems moves on by one each round, and the disks
# with it: the first disk of a guest is a few per cent slower than the second. Prints
# "RESULT ROUND FILESYSTEM JOB RATE UNIT SECONDS" lines, with BENCH_MARKS "BEGIN" before each. /mnt/share has the program and the archive;
# the disks are /dev/vdb and the following, one for each file system of $BENCH_FS.
set -eu

rounds=$1
shift
# shellcheck disable=SC2206
fs=($BENCH_FS)
disks=(/dev/vdb /dev/vdc /dev/vdd /dev/vde)
mnt=/mnt/bench
mkdir -p $mnt
cp /mnt/share/jobs /mnt/share/tree.tar /tmp/
files=$(cat /mnt/share/files)

make_volume() {
	case $1 in
	vexfs) mkfs.vexfs -q -f "$2" ;;
	# Nothing is left for a thread to do in the background.
	ext4) mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$2" ;;
	xfs) mkfs.xfs -q -f -K "$2" ;;
	btrfs) mkfs.btrfs -q -f -K "$2" ;;
	esac >/dev/null
}

phases() {
	case $1 in
	data) echo seq_write seq_read seq_overwrite rand_read rand_write rand_read_direct rand_write_direct mmap_read mmap_write seq_read_direct ;;
	direct) echo seq_write_direct ;;
	fsync) echo append_fsync create_fsync ;;
	files) echo create stat read_small readdir unlink ;;
	threads) echo create_t4 stat_t4 readdir_t4 unlink_t4 ;;
	tree) echo untar rm ;;
	rename) echo rename ;;
	*) echo "guest.sh: no group $1" >&2 && exit 2 ;;
	esac
}

for round in $(seq 0 $((rounds - 1))); do
	for group in "$@"; do
		for i in $(seq 0 $((${#fs[@]} - 1))); do
			n=$(((i + round) % ${#fs[@]}))
			make_volume "${fs[n]}" "${disks[i]}"
			for phase in $(phases "$group"); do
				mount -t "${fs[n]}" "${disks[i]}" $mnt
				echo 3 >/proc/sys/vm/drop_caches
				# Whoever reads this has the time to look at a clock.
				[ -z "${BENCH_MARKS:-}" ] || { echo BEGIN && sleep 0.05; }
				/tmp/jobs "$phase" $mnt /tmp/tree.tar "$files" |
					sed "s/^/RESULT $round ${fs[n]} /"
				[ -z "${BENCH_MARKS:-}" ] || sleep 0.05
				umount $mnt
			done
		done
	done
done
