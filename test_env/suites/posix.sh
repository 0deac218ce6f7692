# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What POSIX and Linux have beyond names and data: access control lists, flags,
# labels, handles, freezing, quotas, and other file systems on top. After each test
# the file system is unmounted and checked.

px_op() { python3 "$suites/posix_ops.py" "$@"; }
px_up() { mount -t vexfs "$@" "$DISK1" "$MNT"; }
px_check() { fsck.vexfs -n "${1:-$DISK1}"; }
px_new() {
	! mountpoint -q "$MNT" || umount "$MNT"
	mkfs.vexfs -q -f "$DISK1"
	px_up "$@"
	chmod 755 "$MNT"
}
px_again() { umount "$MNT" && px_check && px_up "$@"; }
px_end() { umount "$MNT" && px_check; }
# Runs a command as user and group 1000 without capabilities.
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; }
# Runs a test of posix_ops.py, and its _after part on the remounted file system.
px_calls() {
	px_new
	px_op "$1" "$MNT" "${@:2}"
	px_again
	! grep -q "^def ${1}_after(" "$suites/posix_ops.py" || px_op "${1}_after" "$MNT" "${@:2}"
	px_end
}

# --- Access control lists ---------------------------------------------------------

acl_of() { getfacl -cpnE "$1" | grep -v '^$' | tr '\n' ' '; }
acl_is() {
	local have
	have=$(acl_of "$1")
	[ "$have" = "$2 " ] || {
		echo "$1 has $have, not $2"
		return 1
	}
}
acl_access() {
	px_new
	cd "$MNT"
	echo secret >f
	chmod 600 f
	not as_user cat f
	setfacl -m u:1000:r f
	acl_is f 'user::rw- user:1000:r-- group::--- mask::r-- other::---'
	[ "$(stat -c %a f)" = 640 ]
	as_user cat f
	not as_user sh -c 'echo x >>f'
	not as_user setfacl -m u:1000:rw f
	# The mask bounds named users; chmod sets the mask.
	setfacl -m u:1000:rw f
	as_user sh -c 'echo x >>f'
	chmod 600 f
	acl_is f 'user::rw- user:1000:rw- group::--- mask::--- other::---'
	not as_user cat f
	chmod g=r f
	as_user cat f
	setfattr -n user.beside -v value f
	getfattr -dm- f | grep -q system.posix_acl_access
	cd /
	px_again
	cd "$MNT"
	acl_is f 'user::rw- user:1000:rw- group::--- mask::r-- other::---'
	as_user cat f
	setfacl -b f
	acl_is f 'user::rw- group::--- other::---'
	not getfattr -n system.posix_acl_access f
	not as_user cat f
	# The mode can say all of this one.
	setfacl -m u::rwx,g::r,o::r f
	[ "$(stat -c %a f)" = 744 ]
	not getfattr -n system.posix_acl_access f
	setfacl -m g:1000:w f
	as_user sh -c 'echo group >>f'
	# Setting a list takes the set-group-id bit from who is not in the group.
	chown 1000:5 f && chmod 2755 f
	as_user setfacl -m u:7:r f
	[ ! -g f ]
	cd /
	px_end
}
acl_default() {
	px_new
	cd "$MNT"
	mkdir d
	setfacl -d -m u::rwx,u:1000:rwx,g::rx,o::- d
	(
		umask 077
		touch d/file
		mkdir d/dir
		mkfifo d/fifo
		ln -s nowhere d/link
	)
	acl_is d/file 'user::rw- user:1000:rwx group::r-x mask::rw- other::---'
	acl_is d/fifo 'user::rw- user:1000:rwx group::r-x mask::rw- other::---'
	getfacl -cpndE d/dir | grep -q 'user:1000:rwx'
	acl_is d/dir 'user::rwx user:1000:rwx group::r-x mask::rwx other::--- default:user::rwx default:user:1000:rwx default:group::r-x default:mask::rwx default:other::---'
	[ "$(stat -c %a d/link)" = 777 ]
	(
		umask 027
		touch plain
		mkdir plain.d
	)
	[ "$(stat -c %a plain)" = 640 ]
	[ "$(stat -c %a plain.d)" = 750 ]
	not setfacl -d -m u:1000:r plain
	px_op tmpfile_acl d
	cd /
	px_again
	cd "$MNT"
	acl_is d/file 'user::rw- user:1000:rwx group::r-x mask::rw- other::---'
	getfacl -cpndE d/dir | grep -q 'user:1000:rwx'
	setfacl -k d
	touch d/after
	acl_is d/after 'user::rw- group::r-- other::r--'
	cd /
	px_end
}
# Lists of many entries do not fit into one record; new inodes get two of them.
acl_long() {
	px_new
	cd "$MNT"
	mkdir d
	local n entries=u::rwx,g::rx,o::r
	for n in $(seq 2000 2600); do entries+=",u:$n:rwx,g:$n:r"; done
	setfacl -d -m "$entries" d
	setfacl -m "$entries" d
	for n in $(seq 40); do mkdir "d/d$n" && touch "d/f$n"; done
	cd /
	px_again
	cd "$MNT"
	[ "$(getfacl -cpnE d/d40 | grep -c '^user:2[0-9]*:rwx')" = 601 ]
	[ "$(getfacl -cpnE d/d40 | grep -c '^default:user:2[0-9]*:rwx')" = 601 ]
	[ "$(getfacl -cpnE d/f40 | grep -c '^group:2[0-9]*:r--')" = 601 ]
	setfacl -bk d/d40
	rm -r d
	cd /
	px_end
}
acl_off() {
	px_new
	touch "$MNT/f"
	setfacl -m u:1000:rwx "$MNT/f"
	px_again -o noacl
	grep " $MNT vexfs " /proc/mounts | grep -q noacl
	not setfacl -m u:1001:rwx "$MNT/f"
	not sh -c "getfattr -dm- '$MNT/f' | grep posix_acl"
	mount -o remount,acl "$MNT"
	getfacl -cpnE "$MNT/f" | grep -q user:1000:rwx
	not sh -c "grep ' $MNT vexfs ' /proc/mounts | grep noacl"
	px_end
}
# A copy keeps its lists.
acl_copies() {
	px_new
	mkdir "$MNT/a"
	touch "$MNT/a/f"
	setfacl -m u:1000:rw "$MNT/a/f"
	setfacl -d -m g:1000:rw "$MNT/a"
	cp -a "$MNT/a" "$MNT/b"
	mv "$MNT/a/f" "$MNT/b/g"
	diff <(getfacl -cpnE "$MNT/b/f") <(getfacl -cpnE "$MNT/b/g")
	getfacl -cpndE "$MNT/b" | grep -q group:1000:rw-
	px_end
}

# --- Flags, the volume, handles -----------------------------------------------------

chattr_tools() {
	px_new
	touch "$MNT/f"
	chattr +aAdS "$MNT/f"
	[ "$(lsattr "$MNT/f" | cut -d' ' -f1 | tr -d -)" = SadA ]
	not rm "$MNT/f"
	chattr -a "$MNT/f"
	chattr +i "$MNT/f"
	not sh -c "echo x >'$MNT/f'"
	px_again
	[ "$(lsattr "$MNT/f" | cut -d' ' -f1 | tr -d -)" = SidA ]
	mount -o remount,ro "$MNT"
	not chattr -i "$MNT/f"
	mount -o remount,rw "$MNT"
	chattr "=" "$MNT/f"
	rm "$MNT/f"
	px_end
}
volume_label() {
	mkfs.vexfs -q -f -L first "$DISK1"
	local uuid
	uuid=$(vexctl info --json "$DISK1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["uuid"])')
	px_up
	px_op label "$MNT" "$uuid"
	mount -o remount,ro "$MNT"
	mount -o remount,rw "$MNT"
	umount "$MNT"
	vexctl info --json "$DISK1" | grep -q yyyyyy
	px_check
	# The copies of the superblock have it too.
	dd if=/dev/zero of="$DISK1" bs=4096 count=1 conv=notrunc status=none
	fsck.vexfs -y "$DISK1" || [ $? -eq 1 ]
	vexctl info --json "$DISK1" | grep -q yyyyyy
}

# --- Freezing, remounting -------------------------------------------------------

# Makes, writes, renames and removes files below a directory until it is told to stop.
load_begin() {
	mkdir -p "$MNT/load"
	rm -f "$WORK/stop"
	local n
	for n in 1 2; do
		(
			i=0
			set +e
			while [ ! -e "$WORK/stop" ]; do
				i=$((i + 1))
				d=$MNT/load/$n.$((i % 7))
				mkdir -p "$d"
				echo "$i" >"$d/f" && mv "$d/f" "$d/g" && ln "$d/g" "$d/h.$i"
				[ $((i % 5)) != 0 ] || rm -r "$d"
			done
		) 2>/dev/null &
	done
}
load_end() {
	touch "$WORK/stop"
	wait
}
# Each image that is taken while frozen is a file system without need for replay.
freeze_load() {
	mkfs.vexfs -q -f "$DISK1" 32768
	px_up
	load_begin
	local n
	for n in 1 2 3; do
		sleep 0.5
		fsfreeze -f "$MNT"
		not fsfreeze -f "$MNT"
		not mount -o remount,ro "$MNT"
		dd if="$DISK1" of="$DISK2" bs=1M count=128 status=none
		ls -R "$MNT" >"$WORK/frozen"
		fsfreeze -u "$MNT"
		not fsfreeze -u "$MNT"
		px_check "$DISK2"
		blockdev --setro "$DISK2"
		mkdir -p "$WORK/copy"
		mount -t vexfs -o ro "$DISK2" "$WORK/copy"
		diff <(sed "s,^$MNT,," "$WORK/frozen") <(ls -R "$WORK/copy" | sed "s,^$WORK/copy,,")
		umount "$WORK/copy"
		blockdev --setrw "$DISK2"
	done
	load_end
	px_end
}
remount_load() {
	px_new
	load_begin
	local n done=0
	for n in $(seq 12); do
		if mount -o remount,ro "$MNT" 2>/dev/null; then
			done=$((done + 1))
			not touch "$MNT/no"
			[ -z "$(find "$MNT/load" -newermt '+1 hour')" ]
			mount -o remount,rw "$MNT"
		fi
		sleep 0.02
	done
	load_end
	echo "$done of 12"
	[ "$done" -gt 0 ]
	px_end
}
# What was written is on the disk when it is read-only.
remount_writes() {
	mkfs.vexfs -q -f "$DISK1" 32768
	px_up
	dd if=/dev/urandom of="$MNT/f" bs=1M count=20 status=none
	chmod 600 "$MNT/f"
	mount -o remount,ro "$MNT"
	dd if="$DISK1" of="$DISK2" bs=1M count=128 iflag=direct status=none
	px_check "$DISK2"
	mkdir -p "$WORK/copy"
	mount -t vexfs -o ro,norecovery "$DISK2" "$WORK/copy"
	cmp "$MNT/f" "$WORK/copy/f"
	[ "$(stat -c %a "$WORK/copy/f")" = 600 ]
	umount "$WORK/copy"
	px_end
}

# --- Mounts of other kinds ------------------------------------------------------

access_times() {
	px_new -o noatime
	echo x >"$MNT/f"
	touch -a -d '2001-01-01' "$MNT/f"
	cat "$MNT/f"
	[ "$(stat -c %X "$MNT/f")" = 978307200 ]
	grep " $MNT vexfs " /proc/mounts | grep -q noatime
	mount -o remount,relatime "$MNT"
	cat "$MNT/f"
	[ "$(stat -c %X "$MNT/f")" != 978307200 ]
	touch -a -d tomorrow "$MNT/f"
	local before
	before=$(stat -c %X "$MNT/f")
	cat "$MNT/f"
	[ "$(stat -c %X "$MNT/f")" = "$before" ]
	mount -o remount,strictatime "$MNT"
	cat "$MNT/f"
	[ "$(stat -c %X "$MNT/f")" != "$before" ]
	px_end
}
lazy_times() {
	px_new -o lazytime,strictatime
	grep " $MNT vexfs " /proc/mounts | grep -q lazytime
	px_op lazytime "$MNT"
	px_again
	px_op lazytime_after "$MNT"
	px_end
}
multigrain_times() {
	px_new
	px_op multigrain_before "$MNT"
	px_again
	px_op multigrain_after "$MNT"
	px_end
}
# What user 1000 owns is user 2000's through the other mount, and the reverse.
idmapped() {
	px_new
	# Through such a mount nothing can be changed whose owner it does not know.
	chown 1000:1000 "$MNT"
	local m=$WORK/idmapped
	mkdir -p "$m"
	chmod 755 "$WORK"
	mount --bind -o X-mount.idmap=b:1000:2000:1 "$MNT" "$m"
	as_user touch "$MNT/theirs"
	[ "$(stat -c %u:%g "$m/theirs")" = 2000:2000 ]
	mapped() { setpriv --reuid 2000 --regid 2000 --clear-groups "$@"; }
	mapped touch "$m/f"
	mapped mkdir "$m/d"
	mapped ln -s f "$m/l"
	[ "$(stat -c %u:%g "$MNT/f")" = 1000:1000 ]
	[ "$(stat -c %u:%g "$MNT/d")" = 1000:1000 ]
	[ "$(stat -c %u "$MNT/l")" = 1000 ]
	mapped chmod 640 "$m/theirs"
	mapped chattr +d "$m/theirs"
	mapped setfacl -m u:2000:rw "$m/theirs"
	[ "$(acl_of "$m/theirs" | grep -c user:2000:rw-)" = 1 ]
	[ "$(acl_of "$MNT/theirs" | grep -c user:1000:rw-)" = 1 ]
	setfacl -d -m u:1000:rwx "$MNT/d"
	mapped touch "$m/d/inherits"
	[ "$(acl_of "$m/d/inherits" | grep -c user:2000:rw)" = 1 ]
	# Nobody that is not mapped makes anything.
	setpriv --reuid 1000 --regid 1000 --clear-groups touch "$m/no" 2>&1 | grep -qi 'too large'
	touch "$m/no" 2>&1 | grep -qi 'too large'
	chown 2000:2000 "$m/f"
	not chown 1000 "$m/f"
	mapped sh -c "exec 9>'$m/rename' && mv '$m/rename' '$m/d/renamed'"
	[ "$(stat -c %u "$MNT/d/renamed")" = 1000 ]
	# Who created a collection may drop it, through any mount.
	mapped vexctl collection create "$m" mapped --dim 4
	not setpriv --reuid 2000 --regid 2000 --clear-groups vexctl collection drop "$MNT" mapped
	as_user vexctl collection drop "$MNT" mapped
	as_user vexctl collection create "$MNT" direct --dim 4
	mapped vexctl collection drop "$m" direct
	umount "$m"
	px_end
}
overlay() { # OPTIONS
	px_new
	local o=$WORK/overlay d=$MNT
	mkdir -p "$o" "$d/lower/dir/deep" "$d/lower/gone" "$d/upper" "$d/work"
	echo lower >"$d/lower/dir/file"
	echo x >"$d/lower/gone/x"
	echo acl >"$d/lower/acl"
	setfacl -m u:1000:rw "$d/lower/acl"
	setfattr -n user.a -v b "$d/lower/acl"
	chattr +A "$d/lower/acl"
	ln "$d/lower/dir/file" "$d/lower/hard"
	mount -t overlay overlay -o "lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work,$1" "$o"
	echo more >>"$o/dir/file"
	[ "$(cat "$o/dir/file")" = "lower
more" ]
	[ "$(cat "$d/lower/dir/file")" = lower ]
	rm -r "$o/gone"
	[ ! -e "$o/gone" ]
	[ "$(stat -c '%F %t %T' "$d/upper/gone")" = 'character special file 0 0' ]
	mkdir "$o/gone"
	getfattr -n trusted.overlay.opaque "$d/upper/gone"
	touch "$o/acl"
	chmod o+r "$o/acl"
	[ "$(getfattr -n user.a --only-values "$d/upper/acl")" = b ]
	getfacl -cpnE "$d/upper/acl" | grep -q user:1000:rw-
	mv "$o/acl" "$o/dir/deep/acl"
	[ "$(stat -c %F "$d/upper/acl")" = 'character special file' ]
	mv "$o/dir" "$o/renamed" || { [ "$1" = redirect_dir=off ] && cp -a "$o/dir" "$o/renamed"; }
	[ "$(cat "$o/renamed/deep/acl")" = acl ]
	local n
	for n in $(seq 50); do echo "$n" >"$o/n$n" && mv "$o/n$n" "$o/m$n" && rm "$o/m$n"; done
	[ "$(ls "$o" | wc -l)" -ge 3 ]
	umount "$o"
	px_again
	mount -t overlay overlay -o "lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work,$1" "$o"
	[ "$(cat "$o/renamed/deep/acl")" = acl ]
	[ ! -e "$o/gone/x" ]
	umount "$o"
	not sh -c 'dmesg | grep -q "overlayfs: upper fs does not support"'
	px_end
}

t "ACLs: access, mask, chmod" acl_access
t "ACLs: inherited from a directory" acl_default
t "ACLs: of 1,200 entries" acl_long
t "ACLs: noacl, remount,acl" acl_off
t "ACLs: cp -a and mv" acl_copies

t "flags: append, immutable, noatime, inherited" px_calls flags
t "flags: chattr and lsattr" chattr_tools
t "projects: set, inherited, kept apart" px_calls projects
t "label, UUID, sysfs path" volume_label
t "handles: followed, stale, made up" px_calls handles

t "freeze under load" freeze_load
t "remount ro and rw under load" remount_load
t "remount ro writes everything" remount_writes

t "noatime, relatime, strictatime" access_times
t "lazytime" lazy_times
t "multigrain times: two changes, two times" multigrain_times
t "an idmapped mount" idmapped
t "overlayfs on top" overlay redirect_dir=off
t "overlayfs with all its features" overlay redirect_dir=on,index=on,nfs_export=on,xino=on
t "overlayfs, metadata alone copied up" overlay metacopy=on,redirect_dir=on
t "inotify" px_calls inotify
t "fanotify: handles" px_calls fanotify
if px_op permission_events / 2>/dev/null; then
	t "fanotify: content is provided before it is read" px_calls pre_content
else
	skip "fanotify: content is provided before it is read" "the kernel has no permission events"
fi
t "leases and locks" px_calls leases
