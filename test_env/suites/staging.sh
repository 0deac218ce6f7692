# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tape tier: archive, release, recall. A byte that comes back is compared with the
# one that went; after each test the file system is checked.

st_op() { python3 "$suites/staging_ops.py" "$@"; }
st_vols=$WORK/volumes
st_log=$WORK/agent.log

# The command must fail. (`!` alone does not end a test: set -e passes over it.)
st_not() {
	if "$@"; then
		echo "this should have failed: $*"
		return 1
	fi
}
# A new file system, mounted, no agent, no volumes.
st_new() {
	! mountpoint -q "$MNT" || umount "$MNT"
	rm -rf "$st_vols" "$WORK/orig" "$WORK/out"
	mkdir -p "$st_vols" "$WORK/orig" "$WORK/out"
	mkfs.vexfs -q -f "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
}
st_up() {
	vexctl agent "$MNT" --volumes "$st_vols" --json "$@" >"$st_log" 2>&1 &
	agent=$!
	local i
	for i in $(seq 100); do
		if grep -q '"attached"' "$st_log"; then return 0; fi
		sleep .1
	done
	cat "$st_log"
	return 1
}
st_down() {
	kill "$agent"
	wait "$agent"
}
st_end() {
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
}
# st_field FILE FIELD: of vexctl state.
st_field() { vexctl state --json "$1" | sed -n "s/.*\"$2\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
st_is() {
	local is
	is=$(st_field "$1" "$2")
	if [ "$is" != "$3" ]; then
		echo "$1: $2 is $is, not $3"
		return 1
	fi
}
st_wait() {
	local i
	for i in $(seq 100); do
		if [ "$(st_field "$1" "$2")" = "$3" ]; then return 0; fi
		sleep .1
	done
	st_is "$1" "$2" "$3"
}
# Files of many sizes in $MNT/d, their copies in $WORK/orig.
st_files() {
	mkdir -p "$MNT/d/e"
	local n
	for n in 0 1 4095 4096 4097 1048575 1048576 1048577 3000000; do
		head -c "$n" /dev/urandom >"$MNT/d/e/f$n"
	done
	st_op sample "$MNT/d/sparse" 6000000 "$VEXFS_SEED"
	truncate -s 5000000 "$MNT/d/hole"
	echo "a name with blanks" >"$MNT/d/a b"
	cp -a "$MNT/d" "$WORK/orig/"
}
st_offline() { st_files && st_up && vexctl archive -r "$MNT/d" && vexctl release -r "$MNT/d" && st_down; }
# One file $MNT/f of $1 bytes, offline; its copy in $WORK/orig/f. No agent.
st_one() {
	head -c "$1" /dev/urandom >"$WORK/orig/f"
	cp "$WORK/orig/f" "$MNT/f"
	st_up
	vexctl archive "$MNT/f"
	vexctl release "$MNT/f"
	st_down
	st_is "$MNT/f" residency offline
}

# --- There and back --------------------------------------------------------------

round_trip() {
	st_new
	st_files
	sync
	local before after
	before=$(df --output=used -k "$MNT" | tail -n 1)
	layout=$(st_op layout "$MNT/d/sparse")
	st_up
	vexctl archive -r "$MNT/d"
	vexctl release -r "$MNT/d"
	st_is "$MNT/d/e/f3000000" residency offline
	st_is "$MNT/d/e/f3000000" archive archived
	[ "$(stat -c %s "$MNT/d/e/f3000000")" = 3000000 ]
	[ "$(stat -c %b "$MNT/d/e/f3000000")" -ge 1 ]
	[ "$(stat -c %b "$MNT/d/e/f3000000")" -lt 64 ]
	after=$(df --output=used -k "$MNT" | tail -n 1)
	[ $((before - after)) -gt 9000 ]
	# Holes are holes, data are data, and looking recalls nothing.
	[ "$(st_op layout "$MNT/d/sparse")" = "$layout" ]
	st_op fiemap "$MNT/d/sparse" | grep -q 'u$'
	st_is "$MNT/d/sparse" residency offline
	umount_fails
	diff -r "$WORK/orig/d" "$MNT/d"
	st_is "$MNT/d/sparse" residency online
	[ "$(st_op layout "$MNT/d/sparse")" = "$layout" ]
	# It is clean still: releasing again takes no archiving.
	vexctl release -r "$MNT/d"
	st_is "$MNT/d/sparse" residency offline
	diff -r "$WORK/orig/d" "$MNT/d"
	st_down
	grep -q '"stopped"' "$st_log"
	st_end
}
# Nothing of the agent keeps the file system busy; a shell in it does.
umount_fails() {
	(
		cd "$MNT" || exit
		st_not umount "$MNT"
	)
}
recall_command() {
	st_new
	st_offline
	st_up
	vexctl recall -r "$MNT/d"
	vexctl state -r --json "$MNT/d" >"$WORK/states"
	st_not grep -q '"residency":"offline"' "$WORK/states"
	vexctl recall -r "$MNT/d" | grep -q '12 were online already'
	st_down
	diff -r "$WORK/orig/d" "$MNT/d"
	st_end
}
many_small() {
	st_new
	mkdir "$MNT/m"
	local i
	for i in $(seq 300); do echo "file number $i" >"$MNT/m/$i"; done
	st_up
	vexctl archive -r "$MNT/m"
	[ "$(find "$st_vols" -name '*.tar' | wc -l)" -le 3 ]
	vexctl release -r "$MNT/m"
	for i in $(seq 1 50 300); do [ "$(cat "$MNT/m/$i")" = "file number $i" ]; done
	[ "$(cat "$MNT"/m/* | wc -l)" = 300 ]
	st_down
	st_end
}
large_file() {
	st_new
	head -c 40000000 /dev/urandom >"$MNT/big"
	cksum <"$MNT/big" >"$WORK/sum"
	st_up
	vexctl archive "$MNT/big"
	vexctl release "$MNT/big"
	# The first bytes are there long before the last.
	head -c 100 "$MNT/big" >/dev/null
	cksum <"$MNT/big" | cmp - "$WORK/sum"
	st_down
	st_end
}
after_remount() {
	st_new
	st_offline
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	st_is "$MNT/d/e/f4097" residency offline
	st_up
	diff -r "$WORK/orig/d" "$MNT/d"
	st_down
	umount "$MNT"
	mount -t vexfs "$DISK1" "$MNT"
	diff -r "$WORK/orig/d" "$MNT/d"
	st_end
}

t "archive, release, read back" round_trip
t "vexctl recall" recall_command
t "300 small files share bundles" many_small
t "a file of 40 MB" large_file
t "offline files survive a remount" after_remount

# --- Waiting -----------------------------------------------------------------------

no_agent() {
	st_new
	st_offline
	# Everything but reading works.
	ls -lR "$MNT/d" >/dev/null
	stat "$MNT/d/hole" >/dev/null
	vexctl state -r "$MNT/d" >/dev/null
	timeout 10 cat "$MNT/d/e/f4096" && return 1
	[ $? = 124 ] || true
	st_wait "$MNT/d/e/f4096" recalling false
	st_end
}
killed_reader() {
	st_new
	st_one 3000000
	cat "$MNT/f" >/dev/null &
	local reader=$!
	st_wait "$MNT/f" waiters 1
	st_is "$MNT/f" recalling true
	kill -9 $reader
	wait $reader || true
	st_wait "$MNT/f" waiters 0
	st_is "$MNT/f" recalling false
	st_is "$MNT/f" residency offline
	# An agent that comes now has nothing to do.
	st_up
	sleep 1
	st_not grep -q recalled "$st_log"
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}
readers_share() {
	st_new
	st_one 5000000
	local i pids=()
	for i in 1 2 3 4 5; do
		cmp "$WORK/orig/f" "$MNT/f" &
		pids+=($!)
	done
	st_wait "$MNT/f" waiters 5
	st_up
	for i in "${pids[@]}"; do wait "$i"; done
	[ "$(grep -c '"recalled"' "$st_log")" = 1 ]
	st_down
	st_end
}
nonblocking() {
	st_new
	st_one 100000
	st_op nonblock "$MNT/f" flag
	st_op nonblock "$MNT/f" nowait
	# It was asked for all the same.
	st_is "$MNT/f" recalling true
	st_up
	st_wait "$MNT/f" residency online
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}
mapped() {
	st_new
	st_one 3000001
	st_up
	st_op map_equal "$MNT/f" "$WORK/orig/f"
	vexctl release "$MNT/f"
	st_op map_write "$MNT/f" 2000000 "through a mapping"
	st_op map_write "$WORK/orig/f" 2000000 "through a mapping"
	st_is "$MNT/f" archive dirty
	cmp "$WORK/orig/f" "$MNT/f"
	st_down
	st_end
}
mapped_killed() {
	st_new
	st_one 100000
	python3 "$suites/staging_ops.py" map_equal "$MNT/f" "$WORK/orig/f" &
	local reader=$!
	st_wait "$MNT/f" waiters 1
	kill -9 $reader
	wait $reader || true
	st_wait "$MNT/f" waiters 0
	st_end
}

t "without an agent" no_agent
t "a killed reader leaves no trace" killed_reader
t "readers of one file share a recall" readers_share
t "O_NONBLOCK and RWF_NOWAIT do not wait" nonblocking
t "mappings of offline files" mapped
t "a killed reader of a mapping" mapped_killed

# --- Changes to offline files --------------------------------------------------------

unlinked() {
	st_new
	st_offline
	local free
	mv "$MNT/d/e/f4097" "$MNT/d/renamed"
	ln "$MNT/d/renamed" "$MNT/d/link"
	chmod 600 "$MNT/d/link"
	touch -d 2001-01-01 "$MNT/d/link"
	rm "$MNT/d/e/f3000000" "$MNT/d/sparse"
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	st_up
	cmp "$WORK/orig/d/e/f4097" "$MNT/d/link"
	rm -r "$MNT/d"
	st_down
	st_end
}
# Unlinked while somebody waits for it.
unlinked_waiting() {
	st_new
	st_one 2000000
	cmp "$WORK/orig/f" "$MNT/f" &
	local reader=$!
	st_wait "$MNT/f" waiters 1
	rm "$MNT/f"
	st_up
	wait $reader
	st_down
	st_end
}
# An archive request of a file that is gone.
unlinked_archiving() {
	st_new
	head -c 100000 /dev/urandom >"$MNT/gone"
	head -c 100000 /dev/urandom >"$MNT/kept"
	vexctl archive --no-wait "$MNT/gone" "$MNT/kept"
	rm "$MNT/gone"
	st_up
	st_wait "$MNT/kept" archive archived
	st_down
	st_end
}
truncated() {
	st_new
	st_offline
	# No agent: none of these may wait.
	timeout 10 truncate -s 0 "$MNT/d/e/f1048576"
	timeout 10 truncate -s 8192 "$MNT/d/e/f1048577"
	timeout 10 truncate -s 1500001 "$MNT/d/e/f3000000"
	timeout 10 truncate -s 100 "$MNT/d/e/f4097"
	truncate -s 0 "$WORK/orig/d/e/f1048576"
	truncate -s 8192 "$WORK/orig/d/e/f1048577"
	truncate -s 1500001 "$WORK/orig/d/e/f3000000"
	truncate -s 100 "$WORK/orig/d/e/f4097"
	umount "$MNT"
	fsck.vexfs -n "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	st_up
	# What was cut off does not come back.
	truncate -s 2000000 "$MNT/d/e/f3000000"
	truncate -s 2000000 "$WORK/orig/d/e/f3000000"
	truncate -s 6000 "$MNT/d/e/f4097"
	truncate -s 6000 "$WORK/orig/d/e/f4097"
	diff -r "$WORK/orig/d" "$MNT/d"
	vexctl archive -r "$MNT/d"
	vexctl release -r "$MNT/d"
	diff -r "$WORK/orig/d" "$MNT/d"
	st_down
	st_end
}
written() {
	st_new
	st_offline
	st_up
	local f
	for f in "$MNT/d" "$WORK/orig/d"; do
		echo appended >>"$f/e/f4095"
		echo appended >>"$f/e/f4096"
		st_op pwrite "$f/e/f3000000" 1048570 "in the middle, over a chunk's border"
		st_op pwrite "$f/sparse" 5999990 "over the end of the file"
		st_op pwrite "$f/e/f4097" 100000 "far behind the end"
		echo new >"$f/e/f1048575"
	done
	st_is "$MNT/d/e/f4096" archive dirty
	diff -r "$WORK/orig/d" "$MNT/d"
	vexctl archive -r "$MNT/d"
	vexctl release -r "$MNT/d"
	diff -r "$WORK/orig/d" "$MNT/d"
	st_down
	st_end
}

t "rename, link, chmod, unlink of offline files" unlinked
t "unlinked while a reader waits" unlinked_waiting
t "unlinked before it is archived" unlinked_archiving
t "truncated without a recall" truncated
t "written" written

# --- Release only what is safe ---------------------------------------------------------

release_new() { st_new && echo x >"$MNT/f" && vexctl release "$MNT/f"; }
release_changed() {
	st_new
	echo one >"$MNT/f"
	st_up
	vexctl archive "$MNT/f"
	st_down
	echo two >"$MNT/f"
	vexctl release "$MNT/f"
}
release_mapped_change() {
	st_new
	head -c 10000 /dev/urandom >"$MNT/f"
	st_up
	# The page is dirty and writable when the copy is made.
	python3 - "$MNT/f" <<-'END'
		import mmap, subprocess, sys
		with open(sys.argv[1], "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
		    m[0:3] = b"one"
		    subprocess.check_call(["vexctl", "archive", sys.argv[1]])
		    m[0:3] = b"two"
		    r = subprocess.run(["vexctl", "release", sys.argv[1]])
		    assert r.returncode != 0
	END
	[ "$(head -c 3 "$MNT/f")" = two ]
	st_is "$MNT/f" archive dirty
	st_down
	st_end
}
changing() {
	st_new
	head -c 20000000 /dev/urandom >"$MNT/f"
	cp "$MNT/f" "$MNT/f.copy"
	st_up
	st_op scribble "$MNT/f" 6 &
	local writer=$! i
	for i in 1 2 3; do
		vexctl archive "$MNT/f" || true
		vexctl release "$MNT/f" || true
	done
	wait $writer
	cmp "$MNT/f" "$MNT/f.copy"
	vexctl archive "$MNT/f"
	vexctl release "$MNT/f"
	cmp "$MNT/f" "$MNT/f.copy"
	st_down
	st_end
}
full_disk() {
	st_new
	umount "$MNT"
	mkfs.vexfs -q -f "$DISK1" 50000
	mount -t vexfs "$DISK1" "$MNT"
	st_one 30000000
	# With a full disk there is no room for a recall, but releasing works.
	head -c 30000000 /dev/urandom >"$MNT/g"
	cp "$MNT/g" "$WORK/orig/g"
	st_up
	vexctl archive "$MNT/g"
	cat /dev/zero >"$MNT/fill" 2>/dev/null || true
	st_not cmp "$WORK/orig/f" "$MNT/f"
	vexctl release "$MNT/g"
	cmp "$WORK/orig/f" "$MNT/f"
	rm "$MNT/fill"
	cmp "$WORK/orig/g" "$MNT/g"
	st_down
	st_end
}

fails "archive it first" "a new file is not released" release_new
fails "archive it first" "a changed file is not released" release_changed
t "a change through an old mapping is seen" release_mapped_change
t "a file that changes all the time" changing
t "a full disk" full_disk

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
	cat "$f" >"$WORK/out/f" 2>"$WORK/out/err" && return 1
	grep -q 'Input/output error' "$WORK/out/err"
	# What was there before the bad chunk may have come; nothing wrong has.
	cmp -n "$(stat -c %s "$WORK/out/f")" "$WORK/out/f" "$WORK/orig/d/e/f3000000"
	dmesg | grep -q 'vexfs.*inode .*has wrong bytes in chunk'
	grep -q bad_copy "$st_log"
	st_op map_dies "$f" || true
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
	vexctl volume verify "$st_vols" >"$WORK/out/verify" && return 1
	grep -q 'BAD.*f3000000' "$WORK/out/verify"
	grep -q '1 bad' "$WORK/out/verify"
	st_end
}
volume_gone() {
	st_new
	st_one 100000
	mv "$st_vols"/V00001 "$WORK/out/away"
	st_up
	st_not cat "$MNT/f" >/dev/null
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
		wait "$agent" || true
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
		wait "$agent" || true
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
	vexctl release "$MNT/f" || true
	st_up
	cmp "$WORK/orig/f" "$MNT/f"
	kill -9 "$first"
	wait "$first" || true
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
	kill "$agent" || true
	wait "$agent" || true
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
	st_not vexctl agent "$MNT" --volumes "$st_vols"
	vexctl state "$MNT/f" | grep -q offline
	timeout 3 cat "$MNT/f" >/dev/null && return 1
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
	st_not "${u[@]}" vexctl release "$MNT/f"
	st_not "${u[@]}" vexctl archive "$MNT/f"
	st_not "${u[@]}" vexctl agent "$MNT" --volumes "$WORK/out"
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
