#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
#
# First process of the quick VM, from the initramfs: load what the root needs,
# mount the Debian tree read only under a tmpfs, go on there.

/bin/busybox mkdir -p /proc /sys /dev /lower /upper /newroot
/bin/busybox --install -s /bin
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

fail() {
	echo "vexfs-vm: $*" >/dev/kmsg
	poweroff -f
}

while read -r m; do
	insmod "/modules/$m" || fail "cannot load $m"
done </modules/order

case " $(cat /proc/cmdline) " in
*" vexfs_vm=full "*)
	# A disk of its own, and systemd.
	mount -t ext4 /dev/vda /newroot || fail "cannot mount the root disk"
	;;
*)
	mount -t ext4 -o ro /dev/vda /lower || fail "cannot mount the root image"
	mount -t tmpfs -o size=75%,mode=755 tmpfs /upper
	mkdir /upper/up /upper/work
	mount -t overlay -o lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work \
		overlay /newroot || fail "cannot mount the overlay"
	;;
esac
mount -t tmpfs -o mode=755 tmpfs /newroot/run
mkdir -p /newroot/run/vexfs
cp -a /vexfs/. /newroot/run/vexfs/
mount --move /proc /newroot/proc
mount --move /sys /newroot/sys
mount --move /dev /newroot/dev
if [ -e /vexfs/setup ]; then
	chroot /newroot /bin/sh /run/vexfs/setup >/dev/kmsg 2>&1 || fail "cannot prepare the root disk"
fi
exec switch_root /newroot "$(cat /vexfs/next)"
