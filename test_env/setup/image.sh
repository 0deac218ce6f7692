# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Part of setup_vm.sh: the tree as an ext4 image, read only to the VMs that
# run_qemu_simple.sh boots.

make_image() {
	local dir=$VEXFS_CACHE/image mib
	mkdir -p "$dir"
	mib=$(as_root du -sm --exclude="$VEXFS_TREE/usr/src/linux-source-*" "$VEXFS_TREE" | cut -f1)
	# What is no part of a running system is covered for the copy.
	in_tree --bind "$dir" /run/image -- sh -ec "
		mount -t tmpfs -o ro tmpfs /var/cache/apt
		mount -t tmpfs -o ro tmpfs /var/lib/apt/lists
		mkdir -p /run/root
		mount --bind / /run/root
		mount --bind /var/empty /run/root/run 2>/dev/null || mount -t tmpfs -o ro tmpfs /run/root/run
		for d in /run/root/usr/src/linux-source-*/ /run/root/var/cache/apt /run/root/var/lib/apt/lists; do
			mount -t tmpfs -o ro tmpfs \$d
		done
		rm -f /run/image/root.new
		truncate -s 12G /run/image/root.new
		mke2fs -q -t ext4 -L vexfs-root -m 0 -O ^has_journal -E lazy_itable_init=1 \
			-d /run/root /run/image/root.new
	"
	mv "$dir/root.new" "$dir/root.img"
	rm -f "$dir/interactive.qcow2"
	echo "tree of $mib MiB"
}
