#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run VexFS in User Mode Linux: the module at the machine's own speed, a boot in under a
# second; and on a debug kernel, with lockdep, kmemleak, fault injection and UBSAN.
#
#   uml.sh setup [--debug]                       build the kernel, once (10 CPU-minutes)
#   uml.sh module [--debug] [MAKE-ARGUMENT...]   build vexfs.ko for it
#   uml.sh run [OPTIONS] -- COMMAND [ARG...]     one command; see uml.sh run --help
#   uml.sh test [--debug] [SECTION...]           test_module.sh; see uml.sh test --help
#
# run and test build the kernel when it is missing, and the module when it is not up to
# date.
#
# Environment:
#   VEXFS_CACHE      where the set-up lives (default ~/.cache/vexfs)
#   VEXFS_VEXCTL     vexctl to use (default target/release/vexctl)
#   VEXFS_UML_JOBS   processes for the kernel's build (default: one a processor)
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"
. "$VEXFS_SRC/test_env/setup/uml.sh"

usage() { sed -n '4,/^set -euo/{/^set/d;s/^# \{0,1\}//;p}' "$1"; }

# As root, through sudo: the Debian tree is entered by chroot.
if [ "$(id -u)" != 0 ]; then
	case "${1:-} ${2:-}" in
	*--help* | '-h '* | ' ') ;;
	*)
		command -v sudo >/dev/null 2>&1 || die "this needs root: run it as root, or install sudo"
		ensure_setup
		exec sudo --preserve-env=VEXFS_VEXCTL,VEXFS_MODULE,VEXFS_UML_JOBS,VEXFS_SEED,VEXFS_LONG,VEXFS_ONLY \
			env VEXFS_CACHE="$VEXFS_CACHE" setpriv --pdeathsig KILL "$0" "$@"
		;;
	esac
fi

mode=${1:-}
[ $# -eq 0 ] || shift
case $mode in
run) . "$VEXFS_SRC/test_env/uml/run.sh" ;;
test) . "$VEXFS_SRC/test_env/uml/test.sh" ;;
setup | module)
	flavour=fast
	[ "${1:-}" != --debug ] || { flavour=debug && shift; }
	ensure_setup
	uml_ensure "$flavour"
	[ "$mode" = setup ] || uml_module "$flavour" "$@"
	;;
-h | --help | help) usage "$0" ;;
*) usage "$0" >&2 && exit 2 ;;
esac
