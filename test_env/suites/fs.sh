# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Mounts, names and attributes: each system call, from outside. After each test the
# file system is unmounted, checked, and where it matters looked at again.

fs_op() {
	local file=$suites/fs_state_ops.py
	! grep -q "^def $1(" "$suites/fs_ops.py" || file=$suites/fs_ops.py
	python3 "$file" "$@"
}
fs_make() { mkfs.vexfs -q -f "$@"; }
fs_up() { mount -t vexfs "$@" "$DISK1" "$MNT"; }
fs_down() { umount "$MNT"; }
fs_check() { fsck.vexfs -n "${1:-$DISK1}"; }
# A new file system, mounted.
fs_new() {
	! mountpoint -q "$MNT" || umount "$MNT"
	fs_make "$DISK1" "$@"
	fs_up
}
fs_again() { fs_down && fs_check && fs_up; }
fs_end() { fs_down && fs_check; }

# Runs a test of fs_ops.py, and its _after part on the remounted file system.
syscalls() {
	fs_new
	fs_op "$1" "$MNT/t" "${@:2}"
	fs_again
	if grep -q "^def ${1}_after(" "$suites/fs_ops.py"; then
		fs_op "${1}_after" "$MNT/t" "${@:2}"
	fi
	fs_end
}

# --- Mounting ------------------------------------------------------------------

options() {
	fs_make "$DISK1"
	fs_up
	grep " $MNT vexfs " /proc/mounts | grep -q 'errors=remount-ro'
	[ "$(stat -f -c %T "$MNT")" != tmpfs ]
	df -T "$MNT" | grep -q vexfs
	local e
	for e in continue shutdown panic remount-ro; do
		mount -o "remount,errors=$e" "$MNT"
		grep " $MNT vexfs " /proc/mounts | grep -q "errors=$e"
	done
	fs_down
	fs_up -o errors=continue
	grep " $MNT vexfs " /proc/mounts | grep -q 'errors=continue'
	fs_end
}
emergency_ro() { fs_make "$DISK1" && fs_up -o emergency_ro; }
bad_errors() { fs_make "$DISK1" && fs_up -o errors=ignore; }
unknown_option() { fs_make "$DISK1" && fs_up -o wrong; }
norecovery_rw() { fs_make "$DISK1" && fs_up -o norecovery; }
second_mount() {
	fs_new
	mkdir -p "$WORK/second"
	mount -t vexfs "$DISK1" "$WORK/second"
	echo shared >"$MNT/f"
	[ "$(cat "$WORK/second/f")" = shared ]
	rm "$WORK/second/f"
	[ ! -e "$MNT/f" ]
	umount "$MNT"
	echo still >"$WORK/second/g"
	fs_up
	[ "$(cat "$MNT/g")" = still ]
	umount "$WORK/second"
	fs_end
}
mkfs_mounted() { fs_new && mkfs.vexfs -f "$DISK1"; }
fsck_mounted() { fs_new && fsck.vexfs -y "$DISK1"; }
busy_umount() {
	fs_new
	exec 9>"$MNT/open"
	umount "$MNT"
}
remounts() {
	fs_new
	echo content >"$MNT/file"
	mount -o remount,ro "$MNT"
	fs_op read_only "$MNT"
	mount -o remount,rw "$MNT"
	echo more >"$MNT/more"
	mount -o remount,ro "$MNT"
	mount -o remount,rw "$MNT"
	fs_down
	fs_up -o ro
	fs_op read_only "$MNT"
	mount -o remount,rw "$MNT"
	[ "$(cat "$MNT/more")" = more ]
	fs_end
}
remount_busy() {
	fs_new
	exec 9>"$MNT/open"
	mount -o remount,ro "$MNT"
}
read_only_device() {
	fs_new
	echo content >"$MNT/file"
	fs_down
	blockdev --setro "$DISK1"
	local status=0
	(fs_up -o ro && fs_op read_only "$MNT" && ! mount -o remount,rw "$MNT" && fs_down) || status=1
	blockdev --setrw "$DISK1"
	[ $status = 0 ]
	fs_check
}
# Leaves a journal that has to be replayed.
make_dirty() {
	fs_new
	echo content >"$MNT/file"
	sync -f "$MNT"
	echo two >"$MNT/two"
	sync "$MNT/two"
	fs_op shutdown "$MNT" 2
	fs_down
}
dirty_read_only() {
	make_dirty
	blockdev --setro "$DISK1"
	local status=0
	fs_up -o ro || status=$?
	blockdev --setrw "$DISK1"
	return $status
}
dirty_norecovery() {
	make_dirty
	fs_up -o ro,norecovery
	grep " $MNT vexfs " /proc/mounts | grep -q norecovery
	[ "$(cat "$MNT/file")" = content ]
	not mount -o remount,rw "$MNT"
	fs_down
	fs_up
	[ "$(cat "$MNT/two")" = two ]
	fs_end
}
too_small_device() {
	fs_make "$DISK1"
	dd if="$DISK1" of="$DISK2" bs=1M count=100 conv=fsync status=none
	mount -t vexfs "$DISK2" "$MNT"
}
bad_superblock() {
	fs_make "$DISK1"
	printf 'x' | dd of="$DISK1" bs=1 seek=100 conv=notrunc,fsync status=none
	fs_up
}
bad_root() {
	fs_make "$DISK1"
	# Damages every block that looks like one of inodes.
	python3 - "$DISK1" <<-'END'
		import sys
		with open(sys.argv[1], "r+b") as f:
		    for bno in range(0, 40000):
		        f.seek(bno * 4096 + 64)
		        if f.read(2) == b"XI":
		            f.seek(bno * 4096 + 200)
		            f.write(b"damage")
	END
	fs_up
}
# A file whose inode is damaged, met by a mount with errors=$1.
damage() {
	fs_new
	local i ino
	for i in $(seq 100); do echo "$i" >"$MNT/f$i"; done
	ino=$(stat -c %i "$MNT/f100")
	[ $((ino >> 3)) != $(($(stat -c %i "$MNT") >> 3)) ]
	fs_down
	printf 'damage' | dd of="$DISK1" bs=1 seek=$(((ino >> 3) * 4096 + 3000)) conv=notrunc,fsync status=none
	fs_up -o "errors=$1"
	cat "$MNT/f100" 2>&1 | grep -q 'needs cleaning'
	case $1 in
	continue)
		echo 1 >"$MNT/f1"
		[ "$(cat "$MNT/f1")" = 1 ]
		;;
	remount-ro)
		not touch "$MNT/more"
		touch "$MNT/more" 2>&1 | grep -q 'Read-only'
		[ "$(cat "$MNT/f1")" = 1 ]
		grep " $MNT vexfs " /proc/mounts | grep -q emergency_ro
		mount -o remount,rw "$MNT" 2>&1 | grep -q 'write-protected'
		not mount -o remount,rw "$MNT"
		not touch "$MNT/more"
		mount -o remount,ro "$MNT"
		not mount -o remount,rw "$MNT"
		;;
	shutdown)
		ls "$MNT" 2>&1 | grep -q 'Input/output'
		;;
	esac
	fs_down
	not fs_check
	fs_up
	[ "$(cat "$MNT/f1")" = 1 ]
	fs_down
}
freeze() {
	fs_new 32768
	echo before >"$MNT/before"
	fsfreeze -f "$MNT"
	# What is on the disk now is a file system without need for replay.
	dd if="$DISK1" of="$DISK2" bs=1M count=128 status=none
	sh -c "echo x >$MNT/during" &
	mkdir "$MNT/during-dir" &
	[ "$(cat "$MNT/before")" = before ]
	[ ! -e "$MNT/during" ]
	[ ! -e "$MNT/during-dir" ]
	[ "$(jobs -r | wc -l)" = 2 ]
	fsfreeze -u "$MNT"
	wait
	[ -e "$MNT/during" ]
	[ -e "$MNT/during-dir" ]
	echo after >"$MNT/after"
	fs_again
	[ "$(cat "$MNT/after")" = after ]
	fs_end
	fs_check "$DISK2"
	mount -t vexfs -o ro,norecovery "$DISK2" "$MNT"
	[ "$(cat "$MNT/before")" = before ]
	umount "$MNT"
}

# --- Shutdown --------------------------------------------------------------------

shutdown_mode() { # MODE
	fs_new
	fs_op synced "$MNT/t"
	fs_op shutdown "$MNT" "$1"
	fs_op dead "$MNT"
	fs_down
	fs_check
	fs_up
	fs_op synced_after "$MNT/t"
	# Everything was written first, or at least committed.
	[ "$1" = 2 ] || [ -e "$MNT/t/perhaps" ]
	[ "$1" != 0 ] || [ "$(cat "$MNT/t/perhaps")" = p ]
	rm -r "$MNT/t"
	fs_end
}
shutdown_busy() { # in the middle of everything
	fs_new
	fs_op churn "$MNT/t" "$VEXFS_SEED" 4 100000 >/dev/null 2>&1 &
	local pid=$!
	sleep 4
	fs_op shutdown "$MNT" 2
	wait $pid || true
	fs_down
	fs_check
	fs_up
	fs_op churn "$MNT/t" "$VEXFS_SEED" 2 100
	fs_end
}
orphans() {
	fs_new
	dd if=/dev/zero of="$MNT/big" bs=1M count=40 status=none
	local free
	rm "$MNT/big"
	sync -f "$MNT"
	free=$(stat -f -c %f "$MNT")
	dd if=/dev/zero of="$MNT/big" bs=1M count=40 status=none
	exec 9<"$MNT/big"
	rm "$MNT/big"
	mkdir "$MNT/d"
	sync -f "$MNT"
	fs_op shutdown "$MNT" 1
	exec 9<&-
	fs_down
	fs_check
	fs_up
	sync -f "$MNT"
	[ $(($(stat -f -c %f "$MNT") + 50)) -gt "$free" ]
	fs_end
}
orphans_read_only() { # they stay until somebody may write
	fs_new
	dd if=/dev/zero of="$MNT/big" bs=1M count=4 status=none
	exec 9<"$MNT/big"
	rm "$MNT/big"
	sync -f "$MNT"
	fs_op shutdown "$MNT" 1
	exec 9<&-
	fs_down
	fs_up -o ro
	mount -o remount,rw "$MNT"
	fs_end
}

# --- Full, and busy ----------------------------------------------------------------

full_disk() {
	fs_new 32768
	local i
	for i in 1 2; do
		fs_op fill "$MNT/t" 0
		fs_again
		rm -rf "$MNT/t"
	done
	fs_end
}
full_of_names() {
	fs_new 16384
	fs_op fill_names "$MNT/t"
	fs_again
	rmdir "$MNT/t"
	fs_end
}
churn() {
	fs_new
	fs_op churn "$MNT/t" "$VEXFS_SEED" 6 700
	fs_again
	find "$MNT/t" -type f -exec cat {} + >/dev/null
	rm -rf "$MNT/t"
	fs_end
}
churn_small() { # with hardly any room
	fs_new 16384
	fs_op fill_with "$MNT/fill" 1000000
	fs_op churn "$MNT/t" "$VEXFS_SEED" 4 500
	fs_end
}
drop_caches() {
	fs_new
	cp -a /etc "$MNT/etc"
	local i
	for i in 1 2 3; do
		sync -f "$MNT"
		echo 3 >/proc/sys/vm/drop_caches
		diff -r --no-dereference /etc "$MNT/etc"
	done
	fs_end
}

t "mount options are parsed and shown" options
fails "bad option" "an unknown errors= is refused" bad_errors
fails "bad option" "emergency_ro is shown, not asked for" emergency_ro
fails "wrong" "an unknown option is refused" unknown_option
fails "wrong fs type" "norecovery needs ro" norecovery_rw
t "a second mount shares the super block" second_mount
fails "mounted" "mkfs refuses a mounted device" mkfs_mounted
fails "mounted" "fsck refuses a mounted device" fsck_mounted
fails "busy" "umount with an open file" busy_umount
t "remount: ro, rw, and back" remounts
fails "busy" "remount ro with a file open for writing" remount_busy
t "a read-only device" read_only_device
t "norecovery reads without replay" dirty_norecovery
fails "read-only" "a dirty journal on a read-only device" dirty_read_only
fails "wrong fs type" "a device that is smaller than the volume" too_small_device
fails "cleaning" "a damaged superblock" bad_superblock
fails "cleaning" "a damaged root directory" bad_root
t "damage: errors=continue" damage continue
t "damage: errors=remount-ro" damage remount-ro
t "damage: errors=shutdown" damage shutdown
t "freeze and thaw" freeze

t "names" syscalls names
t "links" syscalls links
t "symbolic links, short and long" syscalls symlinks
t "nodes: fifo, device, socket" syscalls nodes
t "rename, all flags" syscalls rename
t "files in use after unlink" syscalls unlinked
t "O_TMPFILE" syscalls tmpfile
t "readdir: positions, types, changes meanwhile" syscalls readdir
t "attributes and times" syscalls attributes
t "permissions" syscalls permissions
t "extended attributes" syscalls xattrs
t "a directory of 100,000 entries" syscalls big_dir "${VEXFS_BIG_DIR:-100000}"

t "FS_IOC_SHUTDOWN: write everything first" shutdown_mode 0
t "FS_IOC_SHUTDOWN: commit first" shutdown_mode 1
t "FS_IOC_SHUTDOWN: at once" shutdown_mode 2
t "FS_IOC_SHUTDOWN while busy" shutdown_busy
t "orphans are freed by the next mount" orphans
t "orphans wait for a writable mount" orphans_read_only

t "a full disk" full_disk
t "a disk full of names" full_of_names
t "several processes in the same directories" churn
t "the same on a full disk" churn_small
t "trees survive dropping all caches" drop_caches
