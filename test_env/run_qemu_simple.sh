#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run VexFS in a virtual machine.
#
#   run_qemu_simple.sh run [OPTIONS] -- COMMAND [ARG...]   one command in a quick VM
#   run_qemu_simple.sh interactive [OPTIONS]               a VM to work in, with ssh
#   run_qemu_simple.sh test [SECTION...]                   test_module.sh, headless
#   run_qemu_simple.sh ssh [COMMAND...]                    into the interactive VM
#
# Each has --help.
#
# Environment, for all:
#   VEXFS_CACHE      where the set-up lives (default ~/.cache/vexfs)
#   VEXFS_VM_ACCEL   kvm or tcg (default: kvm where the processor has svm or vmx
#                    and /dev/kvm works, else tcg)
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

usage() { sed -n '4,/^set -euo/{/^set/d;s/^# \{0,1\}//;p}' "$1"; }

# As root, through sudo, and killed with it.
if [ "$(id -u)" != 0 ]; then
	case "${1:-} ${2:-}" in
	*--help* | '-h '* | ' ' | 'ssh '*) ;;
	*)
		command -v sudo >/dev/null 2>&1 || die "this needs root: run it as root, or install sudo"
		# What must be built is built by this user, not by root.
		ensure_setup
		exec sudo --preserve-env=VEXFS_VM_ACCEL,VEXFS_VM_MEMORY,VEXFS_VM_CPUS,VEXFS_VM_SSH_PORT,VEXFS_VM_GDB,VEXFS_VM_EXTRA_PACKAGES,VEXFS_VEXCTL,VEXFS_MODULE,TERM \
			env VEXFS_CACHE="$VEXFS_CACHE" setpriv --pdeathsig KILL "$0" "$@"
		;;
	esac
fi

mode=${1:-}
[ $# -eq 0 ] || shift
case $mode in
run) . "$VEXFS_SRC/test_env/vm/run.sh" ;;
interactive | ssh) . "$VEXFS_SRC/test_env/vm/interactive.sh" ;;
test) . "$VEXFS_SRC/test_env/vm/test.sh" ;;
-h | --help | help) usage "$0" ;;
*) usage "$0" >&2 && exit 2 ;;
esac
