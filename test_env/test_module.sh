#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tests that run inside the VM: test_module.sh [SECTION...]
#                                   test_module.sh --list [stock|native|uml|debug]
#
# A section is a file of test_env/suites/, named after it, which is sourced here and
# calls t, fails and skip (below). Without arguments, all of them. Disks: $DISK1 and
# $DISK2 are empty block devices; $MNT is an empty folder. VEXFS_ONLY=WORDS runs the tests
# whose names hold these words, and no other.
#
# Exit status 0 when nothing failed and something passed. The last line counts.
set -u

here=$(cd -- "$(dirname -- "$0")" && pwd)
suites=$here/suites
passed=0 failed=0 skipped=0
section=

MNT=${MNT:-/mnt/v}
DISK1=${DISK1:-/dev/vdb}
DISK2=${DISK2:-/dev/vdc}
WORK=$(mktemp -d)
VEXFS_SEED=${VEXFS_SEED:-$(date +%s)}
export MNT DISK1 DISK2 WORK VEXFS_SEED

only() { [[ $1 == *"${VEXFS_ONLY:-}"* ]]; }

# t NAME COMMAND...: the command must exit 0. A shell function will do; it runs in a
# shell of its own, with -eu.
t() {
	local name=$1 out begin status
	shift
	only "$name" || return 0
	begin=$(date +%s%N)
	out=$WORK/output
	(
		set -eu
		"$@"
	) >"$out" 2>&1 </dev/null &
	wait $!
	status=$?
	result "$name" "$status" "$out" "$begin"
}

# not COMMAND...: the command must fail. (A plain `! COMMAND` never ends a script that
# runs with -e, so as a check it would say nothing.)
not() {
	if "$@"; then
		echo "(it succeeded: $*)"
		return 1
	fi
}

# exits STATUS COMMAND...: the command must end with this status.
exits() {
	local want=$1 is=0
	shift
	"$@" || is=$?
	if [ "$is" != "$want" ]; then
		echo "(status $is, not $want: $*)"
		return 1
	fi
}

# fails ERRNO-TEXT NAME COMMAND...: the command must fail and its output must hold the text.
fails() {
	local text=$1 name=$2 out begin status
	shift 2
	only "$name" || return 0
	begin=$(date +%s%N)
	out=$WORK/output
	(
		set -eu
		"$@"
	) >"$out" 2>&1 </dev/null &
	wait $!
	status=$?
	if [ "$status" = 0 ]; then
		echo "(it succeeded; it should have failed with: $text)" >>"$out"
		status=1
	elif [ "$status" -gt 128 ]; then
		echo "(it was killed by signal $((status - 128)))" >>"$out"
	elif ! grep -qiF -- "$text" "$out"; then
		echo "(it failed, but not with: $text)" >>"$out"
	else
		status=0
	fi
	result "$name" "$status" "$out" "$begin"
}

result() {
	local ms=$((($(date +%s%N) - $4) / 1000000))
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
		printf 'ok   %s: %s (%d.%d s)\n' "$section" "$1" $((ms / 1000)) $((ms % 1000 / 100))
	else
		failed=$((failed + 1))
		printf 'FAIL %s: %s (status %d)\n' "$section" "$1" "$2"
		tail -n 40 "$3" | sed 's/^/     /'
	fi
}

# skip NAME REASON...
skip() {
	local name=$1
	shift
	skipped=$((skipped + 1))
	printf 'skip %s: %s: %s\n' "$section" "$name" "$*"
}

# The sections in the order in which they build on each other, then any other.
all_sections() {
	local s
	for s in build load abi fs vectors staging stability; do
		[ ! -e "$suites/$s.sh" ] || echo "$s"
	done
	for s in "$suites"/*.sh; do
		s=$(basename "$s" .sh)
		case $s in
		build | load | abi | fs | vectors | staging | stability) ;;
		*) echo "$s" ;;
		esac
	done
}

# Long ones, for the machine's own speed: User Mode Linux has them. Some are for its debug
# kernel; the rest is for the stock kernel, and some of it for nothing else.
native='conform|generic|programs|large|queries|recall'
debug_only='faults'
stock_only='build|nfs'
if [ "${1:-}" = --list ]; then
	case ${2:-all} in
	stock) all_sections | grep -vxE "$native|$debug_only" ;;
	native) all_sections | grep -xE "$native" ;;
	uml) all_sections | grep -vxE "$stock_only|$debug_only" ;;
	debug) all_sections | grep -vxE "$stock_only" ;;
	*) all_sections ;;
	esac
	exit 0
fi
if [ -z "${VEXFS_IN_VM:-}" ]; then
	echo "test_module.sh: this is for inside the VM; use: run_qemu_simple.sh test" >&2
	exit 2
fi
[ $# -gt 0 ] || mapfile -t sections < <(all_sections)
[ $# -eq 0 ] || sections=("$@")
mkdir -p "$MNT"
echo "seed $VEXFS_SEED (VEXFS_SEED)"
for section in "${sections[@]}"; do
	if [ ! -e "$suites/$section.sh" ]; then
		echo "FAIL $section: no such section"
		failed=$((failed + 1))
		continue
	fi
	before=$((passed + failed + skipped))
	# shellcheck disable=SC1090
	. "$suites/$section.sh"
	if [ $((passed + failed + skipped)) = $before ]; then
		echo "FAIL $section: this section tested nothing"
		failed=$((failed + 1))
	fi
	cd / || exit
	while mountpoint -q "$MNT"; do
		umount "$MNT" || umount -l "$MNT"
	done
done
rm -rf "$WORK"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
