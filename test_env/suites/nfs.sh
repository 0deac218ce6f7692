# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A volume that is exported by NFS and mounted on the same machine.

nfs_fresh() {
	cd /
	! mountpoint -q "$MNT" || umount "$MNT"
	mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
}
nfs_clean() { cd / && umount "$MNT" && fsck.vexfs -n "$DISK1"; }

# The root of what version 4 exports, as the one of the VM cannot be.
nfs_up() {
	mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
	mkdir -p /run/rpc_pipefs /var/lib/nfs/v4recovery
	exportfs -o rw,no_root_squash,no_subtree_check,insecure,fsid=0 "127.0.0.1:$MNT"
	# There are no clients of an earlier server to wait 90 s for; less than 10 s is refused.
	rpc.nfsd --no-nfs-version 3 --grace-time 10 --lease-time 10 2
	rpc.mountd --no-nfs-version 2 --no-nfs-version 3
}
nfs_down() {
	umount -f "$WORK/n" 2>/dev/null || true
	rpc.nfsd 0 || true
	pkill -x rpc.mountd || true
	exportfs -au
}
nfs_loopback() {
	local tree=/mnt/vexfs-src/fs/libvexfs/check
	nfs_fresh
	modprobe nfsd && modprobe nfsv4
	mkdir -p "$WORK/n"
	trap nfs_down EXIT
	nfs_up
	mount -t nfs4 -o vers=4.2,sec=sys,soft,timeo=100 127.0.0.1:/ "$WORK/n"
	cp -a $tree "$WORK/n/doc"
	diff -r --no-dereference $tree "$MNT/doc"
	mv "$WORK/n/doc" "$WORK/n/other"
	ln -s other "$WORK/n/link"
	[ -d "$MNT/other" ] && [ "$(readlink "$MNT/link")" = other ]
	# An open file survives: the server forgets its caches and finds it by its handle.
	exec 7<"$WORK/n/other/$(cd "$MNT/other" && find . -type f -size +1k | head -n 1)"
	sync
	echo 3 >/proc/sys/vm/drop_caches
	cat <&7 >/dev/null
	exec 7<&-
	diff -r --no-dereference $tree "$WORK/n/other"
	rm -r "$WORK/n/other"
	umount "$WORK/n"
	[ ! -e "$MNT/other" ]
	nfs_down
	trap - EXIT
	nfs_clean
}

if command -v rpc.nfsd >/dev/null 2>&1; then
	t "exported and mounted on the same machine" nfs_loopback
else
	skip "exported and mounted on the same machine" "rpc.nfsd is not installed"
fi
