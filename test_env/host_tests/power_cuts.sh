#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts, each of which must leave what was promised: one that did is a test passed.
#
# VEXFS_POWER_CUTS   how many (default 6), under the four kinds of work in turn; `make test-long` has 20 of each
set -u

here=$(cd -- "$(dirname -- "$0")/.." && pwd)
out=$(mktemp)
trap 'rm -f "$out"' EXIT

rounds=${VEXFS_POWER_CUTS:-6}
"$here/power_cut.sh" --rounds "$rounds" 2>&1 | tee "$out"
status=${PIPESTATUS[0]}
# A cut is proven by the check of the boot that follows it.
passed=$(grep -c ' round [0-9]*: cut ' "$out")
failed=0
if [ "$status" != 0 ] || [ "$passed" != "$rounds" ]; then
	echo "FAIL power_cut: status $status after $passed cuts"
	passed=$((passed > 0 ? passed - 1 : 0)) failed=1
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
