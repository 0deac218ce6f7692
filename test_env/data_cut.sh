#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts under file data: SIGKILL the virtual machine at random points of a mix
# of writes, maps, direct I/O, truncates and unlinks with fsyncs in between. After
# each cut fsck finds nothing, what was synced is there byte for byte, and no file
# holds bytes of another or of another place.
#
#   data_cut.sh [--rounds N] [--seed N] [--size SIZE]
set -euo pipefail

here=$(cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"

rounds=3
seed=${VEXFS_SEED:-$(date +%s)}
size=512M
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2 && shift 2 ;;
	--seed) seed=$2 && shift 2 ;;
	--size) size=$2 && shift 2 ;;
	*) die "data_cut.sh: what is '$1'? (--rounds N, --seed N, --size SIZE)" ;;
	esac
done
RANDOM=$((seed % 32768))
say "$rounds rounds, seed $seed"

work=$(mktemp -d "${TMPDIR:-/tmp}/vexfs-data-cut.XXXXXX")
vm=
end() {
	[ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null || true
	[ -n "${keep:-}" ] || rm -rf "$work"
}
trap end EXIT
mkdir "$work/share"
: >"$work/share/log"
truncate -s "$size" "$work/disk"
cat >"$work/share/guest.sh" <<'GUEST'
set -eu
round=$1 seed=$2 last=$3
op="python3 /mnt/vexfs-src/test_env/suites/data_ops.py"
mkdir -p /mnt/v
if [ "$round" = 1 ]; then
	mkfs.vexfs -q /dev/vdb
else
	fsck.vexfs -n /dev/vdb
fi
mount -t vexfs /dev/vdb /mnt/v
mkdir -p /mnt/v/d
[ "$round" = 1 ] || $op recovered /mnt/v/d /mnt/share/log
umount /mnt/v
[ "$round" = 1 ] || fsck.vexfs -n /dev/vdb
[ "$round" != "$last" ] || exit 0
mount -t vexfs /dev/vdb /mnt/v
$op work /mnt/v/d /mnt/share/log --seed "$seed"
GUEST

failed() {
	keep=1
	cat "$work/log" >&2
	say "round $1: $2 (seed $seed; disk and log are kept in $work)"
	exit 1
}

for ((round = 1; round <= rounds + 1; round++)); do
	before=$(stat -c %s "$work/share/log")
	"$here/run_qemu_simple.sh" run --keep-disk "$work/disk" --share "$work/share" --timeout 300 \
		-- sh /mnt/share/guest.sh "$round" $((seed + round)) $((rounds + 1)) >"$work/log" 2>&1 &
	vm=$!
	if [ "$round" -gt "$rounds" ]; then
		wait "$vm" || failed "$round" "the last check found damage"
		vm=
		break
	fi
	for ((i = 0; i < 2400; i++)); do
		# The check is over when new lines come.
		[ "$(stat -c %s "$work/share/log")" = "$before" ] || break
		kill -0 "$vm" 2>/dev/null || failed "$round" "the check after the cut found damage"
		sleep .1
	done
	[ "$(stat -c %s "$work/share/log")" != "$before" ] || failed "$round" "the guest did not get to work"
	ms=$((RANDOM % 9000 + 500))
	sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
	kill -0 "$vm" 2>/dev/null || failed "$round" "the guest ended by itself"
	kill -KILL "$vm"
	wait "$vm" 2>/dev/null || true
	vm=
	say "round $round: cut after $ms ms of work, $(wc -l <"$work/share/log") lines in the log"
done
tail -n 3 "$work/log"
say "$rounds cuts, nothing synced was lost, fsck found nothing"
