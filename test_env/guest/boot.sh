#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs inside the Debian tree, called by run_qemu_simple.sh: make the initramfs and
# become QEMU. /run/vm is the run's folder: it holds what goes into the guest
# (guest/), the lists of disks and arguments, and gets the logs.
#
# boot.sh RELEASE [QEMU-ARGUMENT...]
set -eu

release=$1
shift
here=/mnt/vexfs-src/test_env/guest
mods=/usr/lib/modules/$release

# What the root and the shares need, in an order that loads. Made once for a kernel.
base=/run/image/modules-$release.cpio
want="virtio_blk ext4 overlay 9p 9pnet_virtio virtio_rng"
if [ ! -s "$base" ] || [ "$0" -nt "$base" ]; then
	dir=$(mktemp -d)
	mkdir -p "$dir/modules" "$dir/bin"
	cp /usr/bin/busybox "$dir/bin/"
	# shellcheck disable=SC2086
	modprobe -S "$release" -a -D $want |
		sed -nE 's/^insmod ([^ ]*).*/\1/p' | awk '!seen[$0]++' |
		while read -r path; do
			name=$(basename "$path" .xz)
			case $path in
			*.xz) xz -dc "$path" >"$dir/modules/$name" ;;
			*) cp "$path" "$dir/modules/$name" ;;
			esac
			echo "$name" >>"$dir/modules/order"
		done
	[ -s "$dir/modules/order" ]
	(cd "$dir" && find . | cpio --quiet -o -H newc) >"$base.$$"
	mv "$base.$$" "$base"
fi

# The run's own part.
dir=$(mktemp -d)
cp "$here/init.sh" "$dir/init"
chmod 755 "$dir/init"
cp -a /run/vm/guest "$dir/vexfs"
for f in vexfs.ko vexctl; do
	[ ! -e "/run/vm/guest/$f" ] || strip --strip-debug "$dir/vexfs/$f"
done
(cd "$dir" && find . | cpio --quiet -o -H newc) | cat "$base" - >/tmp/initramfs
rm -rf "$dir"

exec qemu-system-x86_64 -kernel "$mods/vmlinuz" -initrd /tmp/initramfs "$@"
