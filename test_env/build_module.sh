#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build vexfs.ko for the VM's kernel, in the Debian tree, in place.
#
# build_module.sh [MAKE-ARGUMENT...]     such as: build_module.sh CLIPPY=1
#                                                 build_module.sh W=1
#                                                 build_module.sh clean
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

case ${1:-} in
-h | --help) sed -n 's/^# \{0,1\}//; 4,9p' "$0" && exit 0 ;;
esac

ensure_setup
kernel=$(vexfs_kernel)
# One build at a time in a source tree: Kbuild's dependency files are not safe
# against two.
mkdir -p "$VEXFS_SRC/build"
exec 8>"$VEXFS_SRC/build/.lock"
flock 8

in_tree --user "$(id -u):$(id -g)" --chdir "$VEXFS_GUEST_SRC" -- \
	make --no-print-directory -j"$(nproc)" \
	-C "/usr/src/linux-headers-$kernel" M="$VEXFS_GUEST_SRC" "$@" |
	sed "s|$VEXFS_GUEST_SRC/||g"
