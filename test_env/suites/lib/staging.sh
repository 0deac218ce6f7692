# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the sections of staging share: a file system with files and an agent.

st_op() { python3 "$suites/staging_ops.py" "$@"; }
st_vols=$WORK/volumes
st_log=$WORK/agent.log

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
# As not, but says how: fails TEXT goes with the status 1 and says TEXT.
st_fails() {
	local text=$1 is=0
	shift
	"$@" >"$WORK/st_fails" 2>&1 || is=$?
	if [ "$is" != 1 ] || ! grep -qF -- "$text" "$WORK/st_fails"; then
		echo "(status $is, not 1, or it did not say: $text): $*"
		cat "$WORK/st_fails"
		return 1
	fi
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
