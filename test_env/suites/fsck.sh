# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Damage of every kind, in a volume with some of everything: the kernel takes it without
# falling over, fsck -y puts it right, what it did not hit is as it was, and the volume
# works. $VEXFS_SEED says which blocks are hit.

fk_blocks=32768
fk_seed=$VEXFS_SEED
fk_op() { python3 "$suites/fsck_ops.py" "$@"; }
fk_up() { mount -t vexfs "$@" "$DISK1" "$MNT"; }
fk_copy() { dd if="$1" of="$2" bs=1M count=$((fk_blocks / 256)) conv=fsync status=none; }

# The volume that all tests damage is kept on $DISK2.
fk_make() {
	mkfs.vexfs -q -f -b 4096 "$DISK1" $fk_blocks
	fk_up
	fk_op fill "$MNT" "$fk_seed"
	vexctl collection create "$MNT" everything --dim 4
	local i
	for i in "$MNT"/dir*/file*; do
		printf '{"path":"%s","vector":[1,2,%d,4]}\n' "$i" ${#i}
	done >"$WORK/rows"
	vexctl import "$MNT" --collection everything --jsonl "$WORK/rows"
	umount "$MNT"
	fk_up
	fk_op record "$MNT" "$WORK/before"
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
	fk_copy "$DISK1" "$DISK2"
}

# fsck with an exit code that must be this.
fk_fsck() {
	local want=$1 status=0
	shift
	fsck.vexfs "$@" "$DISK1" >"$WORK/fsck" 2>&1 || status=$?
	[ $status = "$want" ] || {
		echo "fsck.vexfs $*: status $status, not $want"
		tail -n 20 "$WORK/fsck"
		return 1
	}
}

fk_damaged() {
	fk_copy "$DISK2" "$DISK1"
	fk_op damage "$DISK1" "$1" "$fk_seed" >"$WORK/hit"
	fk_fsck 4 -n
	# The kernel may refuse to mount this; what it must not do is to fall over.
	if fk_up -o ro,norecovery; then
		fk_op walk "$MNT" >/dev/null
		umount "$MNT"
	fi
	fk_fsck 1 -y
	fk_fsck 0 -n
	fk_up
	fk_op compare "$MNT" "$WORK/before" "$WORK/hit"
	# It works: there is room, and what is there can be deleted.
	cp -a "$suites" "$MNT/new"
	diff -r "$suites" "$MNT/new"
	umount "$MNT"
	fk_fsck 0 -n
	fk_up
	fk_op delete "$MNT" "$WORK/hit"
	umount "$MNT"
	fk_fsck 0 -n
}

t "a volume with some of everything" fk_make
# A third of them each time, by the seed; all with VEXFS_LONG=1. (The host's tests have them
# all, without the kernel.)
fk_turn=$((fk_seed % 3))
for fk_kind in superblock journal bitmaps headers group inodes directory attributes misplaced \
	root fields sprayed; do
	if [ "${VEXFS_LONG:-0}" = 1 ] || [ $fk_turn = 0 ]; then
		t "damage is put right: $fk_kind" fk_damaged "$fk_kind"
	fi
	fk_turn=$(((fk_turn + 1) % 3))
done
