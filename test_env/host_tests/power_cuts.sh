#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts: each cut that left what it promised is a test passed. How many:
# VEXFS_POWER_CUTS (default 4).
set -u

here=$(cd -- "$(dirname -- "$0")/.." && pwd)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$here/power_cut.sh" --rounds "${VEXFS_POWER_CUTS:-4}" 2>&1 | tee "$out"
status=${PIPESTATUS[0]}
# A cut is proven by the check in the next round: the last line of a failed run says
# which one was not.
cuts=$(grep -c ' cut .* into ' "$out")
if [ "$status" = 0 ]; then
	echo "$cuts passed, 0 failed, 0 skipped"
	[ "$cuts" -gt 0 ]
else
	echo "FAIL power cuts: status $status"
	echo "$((cuts > 0 ? cuts - 1 : 0)) passed, 1 failed, 0 skipped"
	exit 1
fi
