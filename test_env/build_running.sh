#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build vexfs.ko for another kernel than the VM's, with this machine's tools:
# build_running.sh KDIR ORIGIN. Result: build/RELEASE/vexfs.ko.
#
# ORIGIN is make's word for where KDIR came from: a default that cannot build a Rust
# module is passed over with a line that says why; one that somebody asked for
# must do.
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

kdir=$1
origin=$2
cannot() {
	[ "$origin" = file ] || die "KDIR=$kdir: $1"
	say "not building for the running kernel $(uname -r): $1"
	exit 0
}

if [ "$origin" = file ] && [ "$(uname -r)" = "$(vexfs_kernel)" ]; then
	# What the VM's kernel gets is what this one needs.
	exit 0
fi
[ -e "$kdir/Makefile" ] || cannot "no $kdir (its headers package, or KDIR=DIR)"
grep -qs '^CONFIG_RUST=y' "$kdir/.config" "$kdir/include/config/auto.conf" ||
	cannot "it was configured without CONFIG_RUST"
[ -e "$kdir/rust/libkernel.rmeta" ] ||
	cannot "$kdir has no Rust metadata (rust/libkernel.rmeta; test_env/setup/kernel.sh shows how it is made)"
for tool in rustc bindgen; do
	command -v "$tool" >/dev/null 2>&1 || cannot "no $tool on this machine"
done
release=$(cat "$kdir/include/config/kernel.release" 2>/dev/null ||
	make -s -C "$kdir" kernelrelease)
cd "$VEXFS_SRC"
copy_module_sources "build/$release"
make -C "$kdir" M="$VEXFS_SRC/build/$release" -j"$(nproc)"
say "built build/$release/vexfs.ko"
