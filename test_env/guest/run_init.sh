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
	tell "end"
	echo o >/proc/sysrq-trigger
	sleep 60
}
fail() {
	tell "fail $*"
	finish
}

mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ln -sfn /proc/self/fd /dev/fd
ln -sfn fd/0 /dev/stdin
ln -sfn fd/1 /dev/stdout
ln -sfn fd/2 /dev/stderr
hostname vexfs
ip link set lo up
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

if [ -e $R/vexctl ]; then
	for n in vexctl mkfs.vexfs fsck.vexfs; do
		ln -sfn $R/vexctl /usr/sbin/$n
	done
fi
if [ -e $R/vexfs.ko ]; then
	deps=$(modinfo -F depends $R/vexfs.ko | tr , ' ')
	mkdir -p /etc/modprobe.d
	# `modprobe vexfs` and mount's autoload find it.
	cat >/etc/modprobe.d/vexfs.conf <<-EOF
		install vexfs ${deps:+/usr/sbin/modprobe -a $deps && }/usr/sbin/insmod $R/vexfs.ko \$CMDLINE_OPTS
		alias fs-vexfs vexfs
	EOF
	if [ ! -e $R/no-load ]; then
		# shellcheck disable=SC2086
		[ -z "$deps" ] || modprobe -a $deps
		insmod $R/vexfs.ko || fail "vexfs.ko does not load"
	fi
fi
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
	# Through cat: a port can be opened only once, and the command may well
	# open its /dev/stdout again.
	mkfifo $R/out $R/err
	cat $R/out >"$(port vexfs.out)" &
	cat_out=$!
	cat $R/err >"$(port vexfs.err)" &
	cat_err=$!
	setsid --wait bash $R/command >$R/out 2>$R/err </dev/null
	status=$?
	# What the command left running may hold the pipes: do not wait for it.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		kill -0 $cat_out 2>/dev/null || kill -0 $cat_err 2>/dev/null || break
		sleep .1
	done
fi
tell "status $status"

# Take the module out: what it forgot to free shows now.
kill -9 -1 2>/dev/null
cd /
for _ in 1 2 3 4 5; do
	grep -q ' vexfs ' /proc/mounts || break
	umount -a -t vexfs 2>/dev/null || sleep .2
done
if grep -q '^vexfs ' /proc/modules; then
	out=$(rmmod vexfs 2>&1) || {
		sleep 1
		out=$(rmmod vexfs 2>&1) || tell "trouble vexfs does not unload: $out"
	}
fi
finish
