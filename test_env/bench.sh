#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measure VexFS against ext4, XFS and btrfs (`make bench`).
#
# bench.sh [OPTIONS] [GROUP...]
#
# The same jobs on each, in one boot of User Mode Linux that is pinned to one processor, on
# identical disks in memory, each job on a new volume; interleaved, several rounds, of which
# the first is dropped. Prints a table of medians and of the ratio of VexFS to the best of
# the others, and writes test_results/bench.json:
#   {"JOB": {"vexfs": median, "ext4": ..., "xfs": ..., "btrfs": ..., "ratio": ...}, ...}
# All are rates: higher is better. Groups: data direct fsync files threads tree rename.
#
#   --rounds N     (default 5: after the first, each file system is once on each disk)
#   --fs "A B"     file systems (default "vexfs ext4 xfs btrfs")
#   --cpu N        the processor (default: the last one)
#   --output FILE  instead of test_results/bench.json
#   --processor-time   rates per second of processor time, not of the clock: for a machine
#                  that has other work to do
#
# Environment: BENCH=vm measures in the emulated VM with the stock kernel.
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

rounds=5 fs="vexfs ext4 xfs btrfs" cpu=$(($(nproc) - 1)) output=$VEXFS_SRC/test_results/bench.json
clock=(cat) marks=
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2 && shift 2 ;;
	--fs) fs=$2 && shift 2 ;;
	--cpu) cpu=$2 && shift 2 ;;
	--output) output=$2 && shift 2 ;;
	--processor-time) clock=("$VEXFS_SRC/test_env/bench/processor_time.py" $$) marks=1 && shift ;;
	-h | --help) sed -n '4,/^set -euo/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
	-*) die "what is '$1'? (see --help)" ;;
	*) break ;;
	esac
done
[ $# -gt 0 ] || set -- data direct fsync files threads tree rename
if [ "$(id -u)" != 0 ]; then
	exec sudo --preserve-env=BENCH,VEXFS_VEXCTL env VEXFS_CACHE="$VEXFS_CACHE" \
		"$0" ${marks:+--processor-time} --rounds "$rounds" --fs "$fs" --cpu "$cpu" --output "$output" "$@"
fi
ensure_setup
share=$VEXFS_CACHE/bench
mkdir -p "$share" "$(dirname -- "$output")"

# What the others are made with, once, into the tree; they are not needed for tests.
for f in xfs btrfs; do
	[ -x "$VEXFS_TREE/usr/sbin/mkfs.$f" ] || {
		say "adding mkfs.$f to the Debian tree"
		in_tree -- apt-get -q -y install --no-install-recommends xfsprogs btrfs-progs \
			>"$VEXFS_CACHE/log/bench.log" 2>&1 || die "see $VEXFS_CACHE/log/bench.log"
	}
done
# An archive of a source tree, and the program.
release=$(vexfs_kernel)
if [ "$(cat "$share/of" 2>/dev/null)" != "$release" ]; then
	series=$(echo "$release" | sed -E 's/^([0-9]+\.[0-9]+).*/\1/')
	in_tree --bind "$share" /run/share -- sh -ec "
		cd /usr/src/linux-source-$series
		tar -cf /run/share/tree.tar --owner=0 --group=0 --transform 's|^|tree/|' \
			--exclude='*.o' --exclude='*.cmd' --exclude='*.a' fs mm net ipc block
		tar -tf /run/share/tree.tar | wc -l >/run/share/files"
	echo "$release" >"$share/of"
fi
in_tree --bind "$share" /run/share -- gcc -O2 -Wall -Werror -static -pthread \
	-o /run/share/jobs "$VEXFS_GUEST_SRC/test_env/bench/jobs.c"

disks=(--disk 2G --disk 2G --disk 2G --disk 2G)
guest=(--share "$share" --env "BENCH_FS=$fs" --env "BENCH_MARKS=$marks" -- /mnt/vexfs-src/test_env/bench/guest.sh "$rounds" "$@")
raw=$(mktemp)
trap 'rm -f "$raw"' EXIT
if [ "${BENCH:-uml}" = vm ]; then
	run=("$VEXFS_SRC/test_env/run_qemu_simple.sh" run --cpus 1 --memory 2G --timeout 36000)
else
	# Before others that want the processor.
	run=(nice -n -15 "$VEXFS_SRC/test_env/uml.sh" run --cpu "$cpu" --memory 2G --timeout 7200)
fi
"${run[@]}" "${disks[@]}" "${guest[@]}" | "${clock[@]}" | tee "$raw" |
	sed -un 's/^RESULT \([0-9]*\) \([a-z0-9]*\) \([a-z0-9_]*\) .*/\1 \2 \3/p' |
	while read -r round name job; do
		[ ! -t 2 ] || printf '\r\033[Kround %s: %s on %s' "$round" "$job" "$name" >&2
	done || die "the run failed"
[ ! -t 2 ] || printf '\r\033[K' >&2
python3 "$VEXFS_SRC/test_env/bench/table.py" "$output" <"$raw"
