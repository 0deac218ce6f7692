# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# mkfs, fsck and info as system tools call them, and volumes of unusual sizes.

# The front ends mkfs(8) and fsck(8) find the tools by name.
yes_mkfs() {
	mkfs.vexfs -q "$DISK1"
	(set +o pipefail; yes | mkfs -t vexfs -- -L second "$DISK1")
	[ "$(vexctl --json info "$DISK1" | grep -c '"label":"second"')" = 1 ]
	(set +o pipefail; yes | mkfs -t vexfs -- -f -b 4096 "$DISK1" 40960)
	[ "$(vexctl --json info "$DISK1" | grep -c '"blocks":40960')" = 1 ]
}
fsck_front_end() {
	mkfs.vexfs -q -f "$DISK1"
	fsck -t vexfs -n "$DISK1"
	fsck -t vexfs -a "$DISK1"
	fsck -t vexfs -y -f "$DISK1"
	fsck.vexfs -f -p "$DISK1"
}
smaller_than_the_disk() {
	mkfs.vexfs -q -f -b 4096 "$DISK1" 32768
	mount -t vexfs "$DISK1" "$MNT"
	[ "$(($(stat -f -c '%b * %S' "$MNT")))" -le $((128 << 20)) ]
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
}
other_signatures() {
	mkfs.ext4 -q -F "$DISK1"
	mkfs.vexfs -q -f "$DISK1"
	[ "$(vexctl --json info "$DISK1" | grep -c '"clean":true')" = 1 ]
	not dumpe2fs -h "$DISK1" 2>/dev/null
}

# A volume whose superblock and counts are damaged: the copy helps, and -y leaves nothing.
damaged() {
	mkfs.vexfs -q -f "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	cp -a /etc "$MNT/etc"
	umount "$MNT"
	dd if=/dev/zero of="$DISK1" bs=4096 count=1 conv=notrunc,fsync status=none
	not mount -t vexfs "$DISK1" "$MNT"
	not fsck.vexfs -n "$DISK1"
	local status=0
	fsck.vexfs -y "$DISK1" || status=$?
	[ "$status" = 1 ]
	fsck.vexfs -n -f "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	diff -r --no-dereference /etc "$MNT/etc"
	umount "$MNT"
}

# The largest volume, as a sparse file: nothing takes time or memory by its size.
huge() {
	mkdir -p "$WORK/ram"
	mount -t tmpfs -o size=600m none "$WORK/ram"
	truncate -s 1P "$WORK/ram/huge"
	mkfs.vexfs -q "$WORK/ram/huge"
	mount -t vexfs -o loop "$WORK/ram/huge" "$MNT"
	[ "$(($(stat -f -c '%b * %S' "$MNT") >> 40))" -ge 1023 ]
	mkdir "$MNT"/{a,b,c}
	cp -a /etc "$MNT/b/"
	diff -r --no-dereference /etc "$MNT/b/etc"
	umount "$MNT"
	fsck.vexfs -n -f "$WORK/ram/huge"
	umount "$WORK/ram"
}
# What a mounted volume has, in blocks.
blocks_of() { vexctl --json info "$MNT" | sed 's/.*"blocks":\([0-9]*\).*/\1/'; }
grown() {
	mkdir -p "$WORK/ram"
	mount -t tmpfs -o size=900m none "$WORK/ram"
	truncate -s 256M "$WORK/ram/vol"
	mkfs.vexfs -q "$WORK/ram/vol"
	mount -t vexfs -o loop "$WORK/ram/vol" "$MNT"
	chmod 777 "$MNT"
	local loop before
	loop=$(findmnt -no SOURCE "$MNT")
	before=$(blocks_of)
	cp -a /etc "$MNT/"
	vexctl resize "$MNT" | grep -q 'nothing to do'
	not vexctl resize "$MNT" 100M
	not vexctl resize "$MNT" 1G
	truncate -s 500M "$WORK/ram/vol"
	losetup -c "$loop"
	not setpriv --reuid 1000 --clear-groups vexctl resize "$MNT"
	# In two steps, under writers.
	(for i in $(seq 12); do cp -a /etc "$MNT/copy$i" || exit; done) &
	vexctl resize "$MNT" 350M
	[ "$(blocks_of)" -gt "$before" ]
	[ "$(blocks_of)" -le 89600 ]
	vexctl --json resize "$MNT" >"$WORK/out"
	grep -q '"blocks":128000,' "$WORK/out"
	wait $!
	# The new space holds data, to the last block but the reserve.
	head -c 100M /dev/urandom >"$MNT/big"
	cksum <"$MNT/big" >"$WORK/sum"
	(set +e; cat /dev/zero >"$MNT/full" 2>/dev/null; :)
	[ "$(stat -f -c %a "$MNT")" -lt 64 ]
	rm "$MNT/full"
	umount "$MNT"
	fsck.vexfs -n -f "$WORK/ram/vol"
	mount -t vexfs -o loop "$WORK/ram/vol" "$MNT"
	[ "$(blocks_of)" = 128000 ]
	cksum <"$MNT/big" | cmp - "$WORK/sum"
	diff -r --no-dereference /etc "$MNT/copy12"
	mount -o remount,ro "$MNT"
	not vexctl resize "$MNT"
	umount "$MNT"
	umount "$WORK/ram"
}
smallest() {
	truncate -s 64M "$WORK/small"
	mkfs.vexfs -q "$WORK/small"
	mount -t vexfs -o loop "$WORK/small" "$MNT"
	cp -a /etc "$MNT/"
	umount "$MNT"
	fsck.vexfs -n -f "$WORK/small"
}
image_in_use() {
	truncate -s 64M "$WORK/used"
	mkfs.vexfs -q "$WORK/used"
	mount -t vexfs -o loop "$WORK/used" "$MNT"
	"$@" "$WORK/used"
}
too_small() {
	truncate -s 63M "$WORK/tiny"
	mkfs.vexfs "$WORK/tiny"
}
info_of_a_mount() {
	mkfs.vexfs -q -f -L mounted "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	vexctl info "$MNT" | grep -q "label .*mounted"
	vexctl --json info "$MNT" | grep -q "\"mount\":\"$MNT\""
	umount "$MNT"
}

# Images need it; a kernel may have it built in.
modprobe loop 2>/dev/null || true

t "yes | mkfs -t vexfs overwrites" yes_mkfs
t "fsck -t vexfs with all its ways" fsck_front_end
t "a file system smaller than its disk" smaller_than_the_disk
t "signatures of others are wiped" other_signatures
t "a lost superblock comes back" damaged
t "64 MiB" smallest
t "a mounted volume grows" grown
t "1 PiB, sparse" huge
t "info of a mounted file system" info_of_a_mount
fails "too small" "63 MiB are refused" too_small
fails "in use" "mkfs of an image in use is refused" image_in_use mkfs.vexfs -f
fails "in use" "fsck of an image in use is refused" image_in_use fsck.vexfs -n
