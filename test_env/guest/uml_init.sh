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
mkdir -p /mnt/vexfs-src
mount -t hostfs -o hostfs=/mnt/vexfs-src,ro hostfs /mnt/vexfs-src || fail "no source tree"
[ ! -e $R/share ] || { mkdir -p /mnt/share && mount -t hostfs -o hostfs=/mnt/share hostfs /mnt/share; } || fail "no share"
if [ -e $R/embeddings ]; then
	mkdir -p /usr/share/vexfs
	mount -t hostfs -o hostfs=/run/embeddings,ro hostfs /usr/share/vexfs
fi
if [ -e $R/programs ]; then
	mkdir -p /run/vexfs-programs
	mount -t hostfs -o hostfs=/run/programs,ro hostfs /run/vexfs-programs
fi
. /mnt/vexfs-src/test_env/guest/lib.sh
base
# The disks by the names that they have in the other VM.
n=0
for d in b c d e f g h i; do
	[ $n -lt "$(cat $R/disks)" ] || break
	mknod /dev/vd$d b 98 $((n * 16))
	n=$((n + 1))
done
mkdir -p "/usr/lib/modules/$(uname -r)"
depmod -a
load_module
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
run_command /dev/ttyS0 /dev/ttyS1
tell "status $status"

loaded=false
unload_module && loaded=true
if [ -e $R/debug ]; then
	if $loaded; then
		# An object must be five seconds old, and found twice.
		sleep 5.2
		echo scan >$leaks
		echo scan >$leaks
		# Without what the kernel's own start leaves: it was too young to be found above.
		awk '/^unreferenced object/ { r = $0; getline; own = /comm "swapper/; if (!own) print r }
			!own' $leaks >/run/leaks
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
