#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# First process of the quick VM once the Debian tree is its root: mount the shares,
# load vexfs, run the command, report, power off.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=dumb
R=/run/vexfs

# The port of that name; there is no udev to make /dev/virtio-ports.
port() {
	local p
	for p in /sys/class/virtio-ports/*; do
		[ "$(cat "$p/name" 2>/dev/null)" = "$1" ] && echo "/dev/${p##*/}" && return
	done
	return 1
}

exec </dev/null >/dev/kmsg 2>&1

ctl=$(port vexfs.ctl)
exec 5>"$ctl"
tell() { echo "$*" >&5; }
finish() {
	sync
	dmesg >"$(port vexfs.dmesg)"
	mkfifo /run/hold
	tell "end"
	echo o >/proc/sysrq-trigger
	# No program: the disks may be gone before the power is.
	read -r -t 60 _ <>/run/hold
}
fail() {
	tell "fail $*"
	finish
}

mkdir -p /mnt/vexfs-src /run/lock
# shared TAG FOLDER OPTIONS: mount the share of that name, when the VM has it.
shared() {
	cat /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag 2>/dev/null |
		tr '\0' '\n' | grep -qx "$1" || return 0
	mkdir -p "$2"
	mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=mmap,$3" "$1" "$2" ||
		fail "cannot mount $2"
}
shared src /mnt/vexfs-src ro
shared share /mnt/share rw
shared embeddings /usr/share/vexfs ro
shared programs /run/vexfs-programs ro

. /mnt/vexfs-src/test_env/guest/lib.sh
base
mount -t tracefs tracefs /sys/kernel/tracing
deps=
[ ! -e $R/vexfs.ko ] || deps=$(modinfo -F depends $R/vexfs.ko | tr , ' ')
load_module "${deps:+/usr/sbin/modprobe -a $deps}"
export VEXFS_IN_VM=1 VEXFS_KO=$R/vexfs.ko
[ ! -e $R/env ] || . $R/env

tell "start $(cut -d' ' -f1 /proc/uptime)"
cd /root || exit
if [ -e $R/tty ]; then
	export TERM
	TERM=$(cat $R/term)
	# shellcheck disable=SC2046
	stty $(cat $R/tty) </dev/hvc0
	setsid --ctty --wait bash $R/command </dev/hvc0 >/dev/hvc0 2>&1
	status=$?
else
	run_command "$(port vexfs.out)" "$(port vexfs.err)"
fi
tell "status $status"

unload_module
finish
