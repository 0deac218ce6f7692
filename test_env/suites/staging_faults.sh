# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tape tier when things go wrong: bad copies, agents that die or lie, callers
# without privilege.

# shellcheck source=test_env/suites/lib/staging.sh
. "$suites/lib/staging.sh"

# --- Bad copies ----------------------------------------------------------------------------

# corrupt FILE: changes a byte of its copy.
corrupt() {
	local at bundle
	at=$(vexctl state --json "$1" | python3 -c "import json,sys; c=json.load(sys.stdin)['copies'][0]; print(c['offset'] + c['bytes'] // 2)")
	bundle=$(find "$st_vols" -name '*.tar' | sort | head -n 1)
	printf '%b' "$(python3 -c "print('\\\\x%02x' % (open('$bundle','rb').read()[$at] ^ 255))")" |
		dd of="$bundle" bs=1 seek="$at" conv=notrunc status=none
}
bad_byte() {
	st_new
	st_offline
	local f=$MNT/d/e/f3000000
	corrupt "$f"
	dmesg -C
	st_up
	exits 1 cat "$f" >"$WORK/out/f" 2>"$WORK/out/err"
	grep -q 'Input/output error' "$WORK/out/err"
	# What was there before the bad chunk may have come; nothing wrong has.
	cmp -n "$(stat -c %s "$WORK/out/f")" "$WORK/out/f" "$WORK/orig/d/e/f3000000"
	dmesg | grep -q 'vexfs.*inode .*has wrong bytes in chunk'
	grep -q bad_copy "$st_log"
	# The chunk before the bad one is there, a mapping of it too; the bad one is not.
	[ "$(stat -c %s "$WORK/out/f")" = 1048576 ]
	st_op map_dies "$f" 1500000
	st_op map_lives "$f" 1048575
	# Others are unharmed.
	rm "$WORK/orig/d/e/f3000000"
	diff -r "$WORK/orig/d" "$MNT/d" | grep -v 'Only in .*f3000000' && return 1
	# Repaired, it can be read.
	rm "$WORK/out/f"
	corrupt "$f"
	cat "$f" >"$WORK/out/f"
	vexctl volume verify "$st_vols"
	st_down
	st_end
}
verify_finds() {
	st_new
	st_offline
	vexctl volume verify "$st_vols"
	corrupt "$MNT/d/e/f3000000"
	exits 3 vexctl volume verify "$st_vols" >"$WORK/out/verify"
	grep -q 'BAD.*f3000000' "$WORK/out/verify"
	grep -q '1 bad' "$WORK/out/verify"
	st_end
}
volume_gone() {
	st_new
	st_one 100000
	mv "$st_vols"/V00001 "$WORK/out/away"
	st_up
	st_fails "Input/output error" cat "$MNT/f"
	st_down
	rm -rf "${st_vols:?}"/*
	mv "$WORK/out/away" "$st_vols/V00001"
	st_up
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}
mapped_bad() {
	st_new
	st_one 100000
	corrupt "$MNT/f"
	st_up
	st_op map_dies "$MNT/f"
	st_down
	st_end
}
tar_restores() {
	st_new
	st_files
	st_up
	vexctl archive -r "$MNT/d"
	st_down
	local bundle
	for bundle in $(find "$st_vols" -name '*.tar' | sort); do
		tar -b 512 --warning=no-unknown-keyword -xf "$bundle" -C "$WORK/out"
	done
	rm -r "$WORK/out/.vexfs"
	diff -r "$WORK/orig" "$WORK/out"
	[ "$(stat -c '%a %Y' "$WORK/out/d/sparse")" = "$(stat -c '%a %Y' "$MNT/d/sparse")" ]
	st_end
}

t "a corrupt byte: EIO, a log line, nothing wrong read" bad_byte
t "vexctl volume verify finds it" verify_finds
t "a mapping of a bad copy: SIGBUS" mapped_bad
t "a volume that is away" volume_gone
t "plain tar restores the originals" tar_restores

# --- Agents come and go ----------------------------------------------------------------------

agent_killed() {
	st_new
	mkdir "$MNT/m"
	local i
	for i in $(seq 40); do head -c 1000000 /dev/urandom >"$MNT/m/$i"; done
	cp -a "$MNT/m" "$WORK/orig/"
	st_up --bundle-size 3000000
	vexctl archive -r "$MNT/m" >"$WORK/out/archive" 2>&1 &
	local waiting=$!
	for i in 1 2 3; do
		sleep ".$((RANDOM % 9 + 1))"
		kill -9 "$agent"
		exits 137 wait "$agent"
		st_up --bundle-size 3000000
	done
	wait $waiting
	st_down
	[ -z "$(find "$st_vols" -name '*.part')" ]
	vexctl volume verify "$st_vols"
	vexctl release -r "$MNT/m"
	st_up
	diff -r "$WORK/orig/m" "$MNT/m" &
	waiting=$!
	for i in 1 2 3; do
		sleep ".$((RANDOM % 9 + 1))"
		kill -9 "$agent"
		exits 137 wait "$agent"
		st_up
	done
	wait $waiting
	st_down
	st_end
}
agent_stops() {
	st_new
	st_one 50000000
	cmp "$WORK/orig/f" "$MNT/f" &
	local reader=$!
	st_wait "$MNT/f" waiters 1
	st_up
	sleep .2
	st_down
	grep -q '"stopped"' "$st_log"
	st_up
	wait $reader
	st_down
	st_end
}
umounted() {
	st_new
	st_one 100000
	st_up
	umount "$MNT"
	wait "$agent"
	grep -q 'was unmounted' "$st_log"
	rmmod vexfs
	modprobe vexfs
	mount -t vexfs "$DISK1" "$MNT"
	st_up
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}
two_agents() {
	st_new
	st_one 100000
	local first
	st_up
	first=$agent
	vexctl release "$MNT/f"
	st_up
	cmp "$WORK/orig/f" "$MNT/f"
	kill -9 "$first"
	exits 137 wait "$first"
	vexctl release "$MNT/f"
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}
shut_down() {
	st_new
	st_files
	sync
	st_up
	vexctl archive -r "$MNT/d"
	vexctl release "$MNT/d/sparse" "$MNT/d/e/f3000000"
	st_op shutdown "$MNT" 2
	# Its calls fail now, but it waits for requests, of which there are none.
	kill "$agent"
	exits 0 wait "$agent"
	umount "$MNT"
	mount -t vexfs "$DISK1" "$MNT"
	# What archive said is durable; release may have been lost, the bytes may not.
	st_is "$MNT/d/sparse" archive archived
	st_up
	diff -r "$WORK/orig/d" "$MNT/d"
	st_down
	st_end
}
read_only() {
	st_new
	st_one 100000
	mount -o remount,ro "$MNT"
	# An agent has nothing to do here, and says so.
	st_fails "Read-only file system" vexctl agent "$MNT" --volumes "$st_vols"
	vexctl state "$MNT/f" | grep -q offline
	st_end
}
freeze() {
	st_new
	st_one 100000
	echo more >>"$MNT/f" &
	local writer=$!
	st_wait "$MNT/f" waiters 1
	# A writer that waits for a volume does not keep the file system from being frozen.
	timeout 20 fsfreeze -f "$MNT"
	fsfreeze -u "$MNT"
	st_up
	wait $writer
	echo more >>"$WORK/orig/f"
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}

t "an agent that is killed, and the next one" agent_killed
t "SIGTERM ends an agent, the reader waits on" agent_stops
t "umount ends an agent" umounted
t "two agents" two_agents
t "shut down without a flush" shut_down
t "a read-only mount" read_only
t "a freeze while a writer waits" freeze

# --- The ABI -------------------------------------------------------------------------------------

abi_plain() {
	st_new
	head -c 100000 /dev/urandom >"$MNT/f"
	st_op "$1" "$MNT" "$MNT/f"
	st_end
}
abi_offline() {
	st_new
	st_one 2500000
	cp "$WORK/orig/f" "$MNT/f.orig"
	st_op "$1" "$MNT" "$MNT/f"
	st_end
}
abi_user() {
	st_new
	echo x >"$MNT/f"
	chmod 644 "$MNT/f"
	setpriv --reuid 65534 --regid 65534 --clear-groups python3 "$suites/staging_ops.py" abi_unprivileged "$MNT" "$MNT/f"
	st_end
}
user_commands() {
	st_new
	st_one 100000
	chmod 644 "$MNT/f"
	local u=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	"${u[@]}" vexctl state "$MNT/f" | grep -q offline
	not "${u[@]}" vexctl release "$MNT/f"
	not "${u[@]}" vexctl archive "$MNT/f"
	not "${u[@]}" vexctl agent "$MNT" --volumes "$WORK/out"
	st_up
	"${u[@]}" vexctl recall "$MNT/f"
	"${u[@]}" cat "$MNT/f" | cmp - "$WORK/orig/f"
	st_down
	st_end
}
queue_gone() {
	st_new
	echo x >"$MNT/f"
	st_op abi_queue_gone "$MNT" "$MNT/f" umount
	fsck.vexfs -n "$DISK1"
}

t "wrong sizes, pointers, flags" abi_plain abi_sizes
t "batches" abi_plain abi_batches
t "an agent that lies" abi_plain abi_agent
t "an agent that delivers wrong bytes" abi_offline abi_wrong_bytes
t "an agent that delivers nothing" abi_offline abi_lazy_agent
t "calls without privilege" abi_user
t "commands without privilege" user_commands
t "a queue whose file system is gone" queue_gone
