# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Waiting for volumes: who waits with what held, who is woken by what, who must not
# wait at all; and pages that devices have.

# shellcheck source=test_env/suites/lib/staging.sh
. "$suites/lib/staging.sh"

st_wop() { python3 "$suites/staging_waits_ops.py" "$@"; }

# --- Locks ---------------------------------------------------------------------------

# Whoever makes an offline file longer waits for its last block, and for nothing else
# does anybody wait because of him.
grower() {
	st_new
	st_one 5000
	mkdir "$MNT/dir"
	mv "$MNT/f" "$MNT/dir/f"
	truncate -s 100000 "$MNT/dir/f" &
	local grower=$!
	st_wait "$MNT/dir/f" waiters 1
	timeout 10 chmod 600 "$MNT/dir/f"
	timeout 10 ls -l "$MNT/dir"
	timeout 10 ln "$MNT/dir/f" "$MNT/link"
	timeout 10 mv "$MNT/dir/f" "$MNT/dir/g"
	timeout 10 rm "$MNT/dir/g"
	timeout 10 fsfreeze -f "$MNT"
	fsfreeze -u "$MNT"
	[ "$(stat -c %s "$MNT/link")" = 5000 ]
	kill -9 $grower
	exits 137 wait $grower
	st_wait "$MNT/link" waiters 0
	truncate -s 100000 "$MNT/link" &
	grower=$!
	st_wait "$MNT/link" waiters 1
	st_up
	exits 0 wait $grower
	truncate -s 100000 "$WORK/orig/f"
	cmp "$WORK/orig/f" "$MNT/link"
	[ "$(stat -c %a "$MNT/link")" = 600 ]
	st_down
	st_end
}

# What the mode became while a grower waited stays, less the bits that growing takes away.
grower_mode() {
	st_new
	st_one 5000
	chmod 4777 "$MNT/f"
	chmod 755 "$MNT"
	setpriv --reuid 1000 --regid 1000 --clear-groups truncate -s 100000 "$MNT/f" &
	local grower=$!
	st_wait "$MNT/f" waiters 1
	chmod 4711 "$MNT/f"
	st_up
	exits 0 wait $grower
	[ "$(stat -c %a "$MNT/f")" = 711 ]
	truncate -s 100000 "$WORK/orig/f"
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}
# splice(2) of a file that is released again and again.
spliced() {
	st_new
	st_one 3000000
	st_up
	st_wop splice "$MNT/f" "$WORK/orig/f" 8
	st_down
	st_end
}

t "a grower of an offline file holds nobody up" grower
t "a grower of an offline file leaves a new mode alone" grower_mode
t "splice recalls again what was released meanwhile" spliced

# --- Woken ---------------------------------------------------------------------------

# Remounted read-only, a reader learns that his bytes cannot come.
read_only() {
	st_new
	st_one 100000
	st_wop reads_errno "$MNT/f" EROFS &
	local reader=$!
	st_wait "$MNT/f" waiters 1
	dmesg -C
	mount -o remount,ro "$MNT"
	timeout 20 tail --pid=$reader -f /dev/null
	exits 0 wait $reader
	# So does who comes later, whatever he does; the log says it once.
	timeout 20 python3 "$suites/staging_waits_ops.py" reads_errno "$MNT/f" EROFS
	timeout 20 python3 "$suites/staging_waits_ops.py" reads_errno "$MNT/f" EROFS nonblock
	timeout 60 python3 "$suites/staging_ops.py" map_dies "$MNT/f"
	[ "$(dmesg | grep -c 'offline files cannot be read')" = 1 ]
	vexctl state "$MNT/f" | grep -q offline
	mount -o remount,rw "$MNT"
	st_up
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	umount "$MNT"
	mount -t vexfs -o ro "$DISK1" "$MNT"
	cmp "$WORK/orig/f" "$MNT/f"
	st_end
}
shut_down() {
	st_new
	st_one 100000
	st_wop reads_errno "$MNT/f" EIO &
	local reader=$!
	st_wait "$MNT/f" waiters 1
	st_op shutdown "$MNT" 2
	timeout 20 tail --pid=$reader -f /dev/null
	exits 0 wait $reader
	st_end
}
# A remount waits for an agent's call that is under way, and no call comes after it.
remount_waits() {
	st_new
	st_one 2500000
	cp "$WORK/orig/f" "$WORK/out/f"
	umount "$MNT"
	mkdir -p "$WORK/other"
	mkfs.vexfs -q -f "$DISK2"
	mount -t vexfs "$DISK2" "$WORK/other"
	vexctl agent "$WORK/other" --volumes "$WORK/out" --json >"$WORK/other.log" 2>&1 &
	local other=$!
	head -c 3000000 "$WORK/orig/f" >"$WORK/other/f"
	vexctl archive "$WORK/other/f"
	vexctl release "$WORK/other/f"
	kill $other
	wait $other
	mount -t vexfs "$DISK1" "$MNT"
	st_wop remount "$MNT" "$MNT/f" "$WORK/other/f" "$WORK/out/done" &
	local agent_of_ours=$!
	st_wait "$WORK/other/f" waiters 1
	mount -o remount,ro "$MNT" &
	local remount=$!
	sleep 2
	kill -0 $remount
	vexctl agent "$WORK/other" --volumes "$WORK/out" --json >"$WORK/other.log" 2>&1 &
	other=$!
	exits 0 wait $remount
	exits 0 wait $agent_of_ours
	kill $other
	wait $other
	umount "$WORK/other"
	st_end
}

t "a read-only mount: EROFS, not waiting" read_only
t "a shutdown wakes those who wait" shut_down
t "remounting read-only waits for agents' calls" remount_waits

# --- The queue -----------------------------------------------------------------------

queue_op() {
	st_new
	local i
	for i in 1 2 3 4; do head -c 10000 /dev/urandom >"$MNT/f$i"; done
	st_up
	vexctl archive "$MNT"/f?
	vexctl release "$MNT"/f?
	st_down
	timeout 60 python3 "$suites/staging_waits_ops.py" "$@" "$MNT"
	st_end
}

t "a batch that cannot be told whole" queue_op queue_fault
t "cancellations are told without room" queue_op queue_cancel
t "errors that agents make up" queue_op queue_errors

# --- Not waiting at all --------------------------------------------------------------

nowait() {
	st_new
	head -c 100000 /dev/urandom >"$MNT/f"
	sync
	vexctl collection create "$MNT" c --dim 2
	st_wop nowait "$MNT" "$MNT/f"
	st_end
}

t "RWF_NOWAIT writes do not wait for a version" nowait

# --- Versions ------------------------------------------------------------------------

put_settles() {
	st_new
	head -c 100000 /dev/urandom >"$MNT/f"
	st_wop put_settles "$MNT" "$MNT/f"
	st_end
}

# What is left of a file decides whether it is offline.
cut_offline() {
	st_new
	st_one 3000000
	st_wop cut_offline "$MNT" "$MNT/f"
	st_one 3000000
	fallocate -p -o 0 -l 3002368 "$MNT/f"
	cmp "$MNT/f" <(head -c 3000000 /dev/zero)
	st_end
}
# No byte comes in while the file system is frozen, not even to free blocks.
frozen() {
	local before reader
	st_new
	st_one 3000000
	fsfreeze -f "$MNT"
	before=$(sha256sum <"$DISK1")
	vexctl agent "$MNT" --volumes "$st_vols" --json >"$st_log" 2>&1 &
	agent=$!
	cat "$MNT/f" >"$WORK/out/f" &
	reader=$!
	st_wait "$MNT/f" waiters 1
	sleep 2
	[ "$(sha256sum <"$DISK1")" = "$before" ]
	[ ! -s "$WORK/out/f" ]
	fsfreeze -u "$MNT"
	exits 0 wait $reader
	cmp "$WORK/orig/f" "$WORK/out/f"
	st_down
	st_end
}

t "the last offline block is cut off" cut_offline
t "a recall waits for a thaw" frozen
t "a record of the present contents settles them first" put_settles

# --- Pages that devices have -----------------------------------------------------------

# A disk that takes 3 seconds for each request.
pinned() {
	st_new
	modprobe null_blk nr_devices=1 irqmode=2 completion_nsec=3000000000 queue_mode=2 gb=1
	head -c 100000 /dev/urandom >"$MNT/f"
	st_up
	vexctl archive "$MNT/f"
	st_wop pinned "$MNT" "$MNT/f" /dev/nullb0
	vexctl archive "$MNT/f"
	vexctl release "$MNT/f"
	st_is "$MNT/f" residency offline
	cp "$MNT/f" "$WORK/out/f"
	st_down
	rmmod null_blk
	st_end
}

if modinfo null_blk >/dev/null 2>&1; then
	t "pinned pages are neither archived nor released" pinned
else
	skip "pinned pages are neither archived nor released" "the kernel has no null_blk"
fi
