#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts, each of which must leave what was promised: one that did is a test passed.
#
# VEXFS_POWER_CUTS   how many under cp and import (default 4; half of it under file data)
set -u

here=$(cd -- "$(dirname -- "$0")/.." && pwd)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
passed=0 failed=0

cuts() { # SCRIPT ROUNDS
	local n status
	"$here/$1.sh" --rounds "$2" 2>&1 | tee "$out"
	status=${PIPESTATUS[0]}
	# A cut is proven by the check of the boot that follows it.
	n=$(grep -c ' round [0-9]*: cut ' "$out")
	if [ "$status" = 0 ] && [ "$n" = "$2" ]; then
		passed=$((passed + n))
	else
		echo "FAIL $1: status $status after $n cuts"
		passed=$((passed + (n > 0 ? n - 1 : 0))) failed=$((failed + 1))
	fi
}

n=${VEXFS_POWER_CUTS:-4}
cuts power_cut "$n"
cuts data_cut $(((n + 1) / 2))
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
