#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# First process in User Mode Linux (uml.sh run). The root is the Debian tree, read only
# through hostfs: lay a memory file system over it, load vexfs, run the command,
# report, power off. The run's folder is /run/vm outside, /run/vexfs in here.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=dumb
R=/run/vexfs

if [ "${1:-}" != second ]; then
	mount -t proc proc /proc
	mount -t tmpfs -o mode=755 tmpfs /mnt
	mkdir /mnt/up /mnt/work /mnt/new
	mount -t overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/new
	new=/mnt/new
	mount --move /dev $new/dev
	umount /proc
	mount -t proc proc $new/proc
	mount -t sysfs sysfs $new/sys
	mount -t tmpfs -o mode=755 tmpfs $new/run
	mkdir -p $new$R $new/run/lock $new/run/old
	mount -t hostfs -o hostfs=/run/vm/guest hostfs $new$R
	cd $new || exit
	pivot_root . run/old
	exec chroot . /bin/bash "$0" second </dev/null >/dev/kmsg 2>&1
fi

cd / || exit
umount -l /run/old
# Flushed at once: what is told must be outside when the kernel dies.
tell() { echo "$*" >>$R/ctl && sync $R/ctl; }
finish() {
	sync
	dmesg >$R/dmesg
	sync $R/dmesg
	busybox poweroff -f
	sleep 60
}
fail() {
	tell "fail $*"
	finish
}
umask 022
mkdir -p /mnt/vexfs-src /dev/pts /dev/shm /tmp
mount -t hostfs -o hostfs=/mnt/vexfs-src,ro hostfs /mnt/vexfs-src || fail "no source tree"
[ ! -e $R/share ] || { mkdir -p /mnt/share && mount -t hostfs -o hostfs=/mnt/share hostfs /mnt/share; } || fail "no share"
if [ -e $R/embeddings ]; then
	mkdir -p /usr/share/vexfs
	mount -t hostfs -o hostfs=/run/embeddings,ro hostfs /usr/share/vexfs
fi
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
ln -sfn /proc/self/fd /dev/fd
ln -sfn fd/0 /dev/stdin
ln -sfn fd/1 /dev/stdout
ln -sfn fd/2 /dev/stderr
hostname vexfs
ip link set lo up
# The disks by the names that they have in the other VM.
n=0
for d in b c d e f g h i; do
	[ $n -lt "$(cat $R/disks)" ] || break
	mknod /dev/vd$d b 98 $((n * 16))
	n=$((n + 1))
done
if [ -e $R/vexctl ]; then
	for n in vexctl mkfs.vexfs fsck.vexfs; do
		ln -sfn $R/vexctl /usr/sbin/$n
	done
fi
# `modprobe vexfs` and mount's autoload find it.
mods=/usr/lib/modules/$(uname -r)
mkdir -p "$mods" /etc/modprobe.d
depmod -a
if [ -e $R/vexfs.ko ]; then
	cat >/etc/modprobe.d/vexfs.conf <<-EOF
		install vexfs /usr/sbin/insmod $R/vexfs.ko \$CMDLINE_OPTS
		alias fs-vexfs vexfs
	EOF
	[ -e $R/no-load ] || insmod $R/vexfs.ko || fail "vexfs.ko does not load"
fi
export VEXFS_IN_VM=1 VEXFS_UML=1 VEXFS_KO=$R/vexfs.ko
leaks=/sys/kernel/debug/kmemleak
if [ -e $R/debug ]; then
	export VEXFS_UML_DEBUG=1
	# Its own, and what the boot left.
	echo scan >$leaks && echo clear >$leaks
fi
. $R/env

cd /root || exit
stty -F /dev/ttyS0 raw -echo
stty -F /dev/ttyS1 raw -echo
mkfifo /run/out /run/err
cat /run/out >/dev/ttyS0 &
cat_out=$!
cat /run/err >/dev/ttyS1 &
cat_err=$!
setsid --wait bash $R/command >/run/out 2>/run/err </dev/null
status=$?
# What the command left running may hold the pipes: do not wait for it.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	kill -0 $cat_out 2>/dev/null || kill -0 $cat_err 2>/dev/null || break
	sleep .1
done
tell "status $status"

# Take the module out: what it forgot to free shows now.
kill -9 -1 2>/dev/null
cd /
for _ in 1 2 3 4 5; do
	grep -q ' vexfs ' /proc/mounts || break
	umount -a -t vexfs 2>/dev/null || sleep .2
done
loaded=false
if grep -q '^vexfs ' /proc/modules; then
	loaded=true
	out=$(rmmod vexfs 2>&1) || {
		sleep 1
		out=$(rmmod vexfs 2>&1) || tell "trouble vexfs does not unload: $out"
	}
fi
if [ -e $R/debug ]; then
	if $loaded; then
		# An object must be five seconds old, and found twice.
		sleep 5.2
		echo scan >$leaks
		echo scan >$leaks
		cat $leaks >/run/leaks
		if [ -s /run/leaks ]; then
			tell "trouble kmemleak: $(grep -c '^unreferenced' /run/leaks) objects are not referenced:"
			head -n 60 /run/leaks | sed 's/^/trouble   /' >>$R/ctl
			sync $R/ctl
		fi
	fi
	grep -qE '^ *debug_locks: *1' /proc/lockdep_stats ||
		tell "trouble lockdep turned itself off"
fi
finish
