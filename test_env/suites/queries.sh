# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Queries of all forms, and filters, through the module.

qu_op() { python3 "$suites/queries_ops.py" "$1" "$MNT"; }

mkfs.vexfs -q -f "$DISK1" && mount -t vexfs "$DISK1" "$MNT"
chmod 755 "$MNT"

t "filters against a model" qu_op filters
t "a filter tells nobody of what they may not see" qu_op rights
t "radius, groups, pages, fusion, like this" qu_op forms
t "only what can be a hit is compared" qu_op plans
t "budgets" qu_op budgets
t "what is refused" qu_op wrong
qu_clean() { umount "$MNT" && fsck.vexfs -n "$DISK1"; }
t "the volume is clean" qu_clean
