#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts: SIGKILL the virtual machine at random points of `cp -a`, of `vexctl
# import`, of an index that is built and changed, and of a mix of writes, maps,
# direct I/O, truncates and unlinks with fsyncs in between. After each cut the next boot must find, with `fsck -n` before
# the mount, a volume that replays to a clean state; all that had been synced must
# be there byte for byte, and no file may hold bytes of another or of another
# place; and after the unmount fsck must find nothing.
#
#   power_cut.sh [--rounds N] [--seed N] [--size SIZE] [--jobs "cp import data index"]
#
# Each boot checks what the cut before it left and then does the next round's
# work on the same disk, so damage that one round hides shows in a later one.
# What was promised stands outside the disk, in the shared folder.
set -euo pipefail

here=$(cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"

rounds=4
seed=$(vexfs_seed)
size=2G
jobs=(cp import data index)
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2 && shift 2 ;;
	--seed) seed=$2 && shift 2 ;;
	--size) size=$2 && shift 2 ;;
	--jobs) read -ra jobs <<<"$2" && shift 2 ;;
	*) die "power_cut.sh: what is '$1'? (--rounds N, --seed N, --size SIZE, --jobs NAMES)" ;;
	esac
done
RANDOM=$((seed % 32768))
say "$rounds rounds, seed $seed"

work=$(mktemp -d "${TMPDIR:-/tmp}/vexfs-power-cut.XXXXXX")
vm=
end() {
	[ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null || true
	[ -n "${keep:-}" ] || rm -rf "$work"
}
trap end EXIT
mkdir "$work/share"
truncate -s "$size" "$work/disk"
: >"$work/share/promised"
: >"$work/share/data"

boot() { # ROUND JOB: run the guest's part in the background
	rm -f "$work/share/ready"
	"$here/run_qemu_simple.sh" run --keep-disk "$work/disk" --share "$work/share" \
		--timeout 300 -- /mnt/vexfs-src/test_env/power_cut_guest.sh "$1" "$2" $((seed + $1)) \
		>"$work/log" 2>&1 &
	vm=$!
}

failed() {
	keep=1
	cat "$work/log" >&2
	say "round $1: $2 (seed $seed; disk and log are kept in $work)"
	exit 1
}

for ((round = 1; round <= rounds + 1; round++)); do
	job=${jobs[(round - 1) % ${#jobs[@]}]}
	((round <= rounds)) || job=none
	boot "$round" "$job"
	if [ "$job" = none ]; then
		wait "$vm" || failed "$round" "the last check found damage"
		vm=
		break
	fi
	# The guest says when the check is over and the work has begun.
	for ((i = 0; i < 2400; i++)); do
		[ ! -e "$work/share/ready" ] || break
		kill -0 "$vm" 2>/dev/null || failed "$round" "the check after the cut found damage"
		sleep .1
	done
	[ -e "$work/share/ready" ] || failed "$round" "the guest did not get to work"
	ms=$((RANDOM % 9000 + 100))
	sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
	kill -0 "$vm" 2>/dev/null || failed "$round" "the guest ended by itself"
	kill -KILL "$vm"
	wait "$vm" 2>/dev/null || true
	vm=
	say "round $round: cut $ms ms into '$job'," \
		"$(cat "$work/share/promised" "$work/share/data" | wc -l) promises so far"
done
say "$rounds cuts, nothing promised was lost, fsck found nothing"
