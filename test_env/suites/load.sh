# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The module comes and goes.

reload() {
	rmmod vexfs
	not grep -q vexfs /proc/filesystems
	modprobe vexfs
	grep -qw vexfs /proc/filesystems
}
many_reloads() {
	local i
	for i in $(seq 20); do
		rmmod vexfs
		modprobe vexfs
	done
}
modinfo_says() {
	[ "$(modinfo -F license "$VEXFS_KO")" = GPL ]
	[ -n "$(modinfo -F description "$VEXFS_KO")" ]
	modinfo -F alias "$VEXFS_KO" | grep -qx fs-vexfs
	[ "$(modinfo -F vermagic "$VEXFS_KO" | cut -d' ' -f1)" = "$(uname -r)" ]
}
small_enough() {
	# Stripped, as a distribution would ship it.
	strip --strip-debug -o "$WORK/vexfs.ko" "$VEXFS_KO"
	[ "$(stat -c %s "$WORK/vexfs.ko")" -lt 3145728 ]
}
autoload() {
	rmmod vexfs
	mount -t vexfs "$DISK1" "$MNT" || true
	grep -q '^vexfs ' /proc/modules
}
not_vexfs() {
	wipefs -aq "$DISK1"
	dd if=/dev/zero of="$DISK1" bs=1M count=1 conv=fsync status=none
	mount -t vexfs "$DISK1" "$MNT"
}

t "vexfs is registered" grep -qw vexfs /proc/filesystems
t "modinfo: licence, alias, kernel" modinfo_says
t "under 3 MB stripped" small_enough
t "unload and load" reload
t "unload and load 20 times" many_reloads
t "mount loads the module" autoload
fails "wrong fs type" "an empty disk is refused" not_vexfs
