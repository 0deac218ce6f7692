# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Many things at once, killed processes, little memory, two volumes: what comes out is
# intact, and nothing is left behind in the kernel.

sb_new() {
	local d
	for d in "$@"; do
		mkfs.vexfs -q -f "$d"
	done
}
# Objects of vexfs's own slab caches that are in use.
sb_objects() {
	awk '$1 ~ /^vexfs/ { n += $2 } END { print n + 0 }' /proc/slabinfo
}
sb_no_objects() {
	local i
	grep -q '^vexfs' /proc/slabinfo
	for i in $(seq 50); do
		[ "$(sb_objects)" != 0 ] || return 0
		sleep .1
	done
	grep '^vexfs' /proc/slabinfo
	return 1
}
sb_clean() {
	umount "$1"
	fsck.vexfs -n "$2"
}

mounts() {
	local i
	sb_new "$DISK1"
	for i in $(seq 20); do
		mount -t vexfs "$DISK1" "$MNT"
		mkdir "$MNT/d$i"
		head -c 5000 /dev/urandom >"$MNT/d$i/f"
		umount "$MNT"
	done
	sb_no_objects
	mount -t vexfs "$DISK1" "$MNT"
	[ "$(find "$MNT" -name f -size 5000c | wc -l)" = 20 ]
	sb_clean "$MNT" "$DISK1"
}

killed() {
	local i j pids
	sb_new "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	for i in 1 2 3; do
		pids=()
		cp -a /usr/share/doc "$MNT/cp$i" 2>/dev/null & pids+=($!)
		dd if=/dev/zero of="$MNT/dd$i" bs=64k count=4000 2>/dev/null & pids+=($!)
		(while :; do sync; done) & pids+=($!)
		(j=0; while :; do j=$((j + 1)) && echo $j >"$MNT/s$i.$j" && mv "$MNT/s$i.$j" "$MNT/m$i.$j"; done) & pids+=($!)
		sleep 1
		kill -9 "${pids[@]}"
		wait "${pids[@]}" || true
	done
	rm -rf "$MNT"/cp1 "$MNT"/m*
	sb_clean "$MNT" "$DISK1"
	sb_no_objects
}

two_volumes() {
	local a b
	sb_new "$DISK1" "$DISK2"
	mkdir -p "$WORK/two"
	mount -t vexfs "$DISK1" "$MNT"
	mount -t vexfs "$DISK2" "$WORK/two"
	cp -a /usr/share/doc "$MNT/" & a=$!
	cp -a /usr/share/doc "$WORK/two/" & b=$!
	while kill -0 $a 2>/dev/null || kill -0 $b 2>/dev/null; do
		sync -f "$MNT"
		stat -f "$MNT" "$WORK/two" >/dev/null
		echo 2 >/proc/sys/vm/drop_caches
		sleep .3
	done
	wait $a
	wait $b
	diff -r --no-dereference "$MNT/doc" "$WORK/two/doc"
	sb_clean "$WORK/two" "$DISK2"
	sb_clean "$MNT" "$DISK1"
	sb_no_objects
}

# Most of the memory is taken away while files are written and read back.
little_memory() {
	local hog kib
	sb_new "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	kib=$(awk '/^MemAvailable/ { print $2 - 160000 }' /proc/meminfo)
	[ "$kib" -gt 0 ]
	python3 -c "
import time
b = bytearray($kib * 1024)
print('taken', flush=True)
time.sleep(600)" >"$WORK/hog" &
	hog=$!
	while ! grep -q taken "$WORK/hog"; do
		kill -0 $hog
		sleep .2
	done
	dd if=/dev/urandom of="$MNT/big" bs=1M count=200 status=none
	sha256sum "$MNT/big" >"$WORK/sum"
	cp -a /usr/share/doc "$MNT/"
	cp "$MNT/big" "$MNT/big2"
	sed 's/big$/big2/' "$WORK/sum" | sha256sum -c
	diff -r --no-dereference /usr/share/doc "$MNT/doc"
	kill $hog
	sb_clean "$MNT" "$DISK1"
}

# A volume that vanishes from under its users: errors, no hang, no complaint.
lazy_umount() {
	sb_new "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	(cd "$MNT" && sleep 2 && echo late >late && sync .) & local user=$!
	sleep .5
	umount -l "$MNT"
	! mount -t vexfs -o ro "$DISK1" "$MNT" || umount "$MNT"
	wait $user
	fsck.vexfs -n "$DISK1"
	mount -t vexfs "$DISK1" "$MNT"
	[ "$(cat "$MNT/late")" = late ]
	sb_clean "$MNT" "$DISK1"
}

t "20 mounts leave nothing behind" mounts
t "processes killed in the middle" killed
t "two volumes at once" two_volumes
t "little memory" little_memory
t "lazy unmount" lazy_umount
