#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build vexfs.ko for the VM's kernel, in the Debian tree.
#
# build_module.sh [--in DIR] [MAKE-ARGUMENT...]
#
#   build_module.sh                       in place: vexfs.ko
#   build_module.sh --in build/x W=1      in a copy of the sources there
#   build_module.sh clean
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

into=.
case ${1:-} in
-h | --help) sed -n '4,11{s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
--in) into=$2 && shift 2 ;;
esac

ensure_setup
kernel=$(vexfs_kernel)
# One build at a time in a source tree: Kbuild's dependency files are not safe
# against two.
mkdir -p "$VEXFS_SRC/build"
exec 8>"$VEXFS_SRC/build/.lock"
flock 8

cd "$VEXFS_SRC"
if [ "$into" != . ]; then
	copy_module_sources "$into"
fi
dir=$VEXFS_GUEST_SRC/$into
dir=${dir%/.}
in_tree --user "$(id -u):$(id -g)" --chdir "$dir" -- \
	make --no-print-directory -j"$(nproc)" \
	-C "/usr/src/linux-headers-$kernel" M="$dir" "$@" |
	sed -u "s|$dir/||g; /^make\[[0-9]*\]: \(Entering\|Leaving\)/d"
