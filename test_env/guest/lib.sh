# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the first processes of the quick VM and of User Mode Linux share. $R is the run's
# folder; tell() sends a line to the outside.

# The mounts and names that programs expect.
base() {
	mkdir -p /dev/pts /dev/shm /tmp
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
	local n
	[ -e $R/vexctl ] || return 0
	for n in vexctl mkfs.vexfs fsck.vexfs; do
		ln -sfn $R/vexctl /usr/sbin/$n
	done
}

# load_module [PREFIX]: make `modprobe vexfs` and mount's autoload find the module, PREFIX
# being what must run before insmod, and load it unless the run asked not to.
load_module() {
	[ -e $R/vexfs.ko ] || return 0
	mkdir -p /etc/modprobe.d
	cat >/etc/modprobe.d/vexfs.conf <<-EOF
		install vexfs ${1:+$1 && }/usr/sbin/insmod $R/vexfs.ko \$CMDLINE_OPTS
		alias fs-vexfs vexfs
	EOF
	[ ! -e $R/no-load ] || return 0
	# shellcheck disable=SC2086
	${1:-} && insmod $R/vexfs.ko || fail "vexfs.ko does not load"
}

# run_command OUT ERR: the run's command, its output to those devices; sets $status.
# Through cat: a port can be opened only once, and the command may well open its
# /dev/stdout again.
run_command() {
	mkfifo /run/out /run/err
	cat /run/out >"$1" &
	local out=$!
	cat /run/err >"$2" &
	local err=$!
	setsid --wait bash $R/command >/run/out 2>/run/err </dev/null
	status=$?
	# What the command left running may hold the pipes: do not wait for it.
	local i
	for i in 1 2 3 4 5 6 7 8 9 10; do
		kill -0 $out 2>/dev/null || kill -0 $err 2>/dev/null || break
		sleep .1
	done
}

# Take the module out: what it forgot to free shows now. True if it was loaded.
unload_module() {
	kill -9 -1 2>/dev/null
	cd / || return
	local i out
	for i in 1 2 3 4 5; do
		grep -q ' vexfs ' /proc/mounts || break
		umount -a -t vexfs 2>/dev/null || sleep .2
	done
	grep -q '^vexfs ' /proc/modules || return 1
	out=$(rmmod vexfs 2>&1) || {
		sleep 1
		out=$(rmmod vexfs 2>&1) || tell "trouble vexfs does not unload: $out"
	}
}
