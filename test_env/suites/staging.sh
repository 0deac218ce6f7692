# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tape tier: archive, release, recall. A byte that comes back is compared with the
# one that went; after each test the file system is checked.

# shellcheck source=test_env/suites/lib/staging.sh
. "$suites/lib/staging.sh"

# --- There and back --------------------------------------------------------------

round_trip() {
	st_new
	st_files
	sync
	local data before after
	data=$(du -sk "$MNT/d" | cut -f 1)
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
	# All of it but the records of the copies: how much that was, the seed says.
	[ $((before - after)) -gt $((data - 256)) ]
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
		exits 32 umount "$MNT"
	)
}
recall_command() {
	st_new
	st_offline
	st_up
	vexctl recall -r "$MNT/d"
	vexctl state -r --json "$MNT/d" >"$WORK/states"
	not grep -q '"residency":"offline"' "$WORK/states"
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
	exits 124 timeout 5 cat "$MNT/d/e/f4096"
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
	exits 137 wait $reader
	st_wait "$MNT/f" waiters 0
	st_is "$MNT/f" recalling false
	st_is "$MNT/f" residency offline
	# An agent that comes now has nothing to do.
	st_up
	sleep 1
	not grep -q recalled "$st_log"
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
	exits 137 wait $reader
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
	st_fails "No space left on device" cat "$MNT/f"
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
