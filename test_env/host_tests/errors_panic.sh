#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# errors=panic: a machine that finds damage stops. (What the other values of errors=
# do is tested inside of the VM.)
set -u

here=$(cd -- "$(dirname -- "$0")/.." && pwd)
out=$(mktemp)
trap 'rm -f "$out"' EXIT

timeout 300 "$here/run_qemu_simple.sh" run --disk 512M -- sh -c '
	set -e
	mkfs.vexfs -q /dev/vdb
	mount -t vexfs /dev/vdb /mnt
	for i in $(seq 100); do echo "$i" >"/mnt/f$i"; done
	ino=$(stat -c %i /mnt/f100)
	umount /mnt
	printf damage | dd of=/dev/vdb bs=1 seek=$(((ino >> 3) * 4096 + 3000)) conv=notrunc,fsync status=none
	mount -t vexfs -o errors=panic /dev/vdb /mnt
	cat /mnt/f1
	cat /mnt/f100 || true
	echo STILL RUNNING' >"$out" 2>&1
status=$?
if [ $status != 0 ] && grep -q 'Kernel panic.*vexfs: damage found, errors=panic' "$out" &&
	! grep -q 'STILL RUNNING' "$out"; then
	echo "1 passed, 0 failed, 0 skipped"
	exit 0
fi
echo "FAIL errors=panic: status $status"
tail -n 40 "$out"
echo "0 passed, 1 failed, 0 skipped"
exit 1
