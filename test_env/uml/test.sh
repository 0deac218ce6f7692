# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# uml.sh test [--debug] [--timeout S] [SECTION...]
#
# Run test_env/test_module.sh in User Mode Linux, each section in a boot of its own, as
# `run_qemu_simple.sh test` does in the VM. With --debug on the debug kernel, where a report
# of lockdep, kmemleak or UBSAN fails the section. What it prints goes to
# test_results/test_log_TIMESTAMP.txt too. The last line counts.
#
#   --timeout S   for one section (default 900, with --debug 3600)
# Sections: test_env/suites/; without any, all that do not need the stock kernel.

options=()
usage_of=$VEXFS_SRC/test_env/uml/test.sh
flavour=fast
[ "${1:-}" != --debug ] || { flavour=debug && shift; }
# As in the VM, which counts objects too.
runner=("$VEXFS_SRC/test_env/uml.sh" run --append 'slab_debug=FZPU,vexfs*')
[ "$flavour" = fast ] || { runner+=(--debug) && test_timeout=3600; }
where="User Mode Linux, $flavour kernel"
case " $* " in
*' -h '* | *' --help '*) ;;
*)
	ensure_setup
	uml_ensure "$flavour"
	uml_module "$flavour" -s
	;;
esac
case "$*" in
'' | --timeout\ [0-9]*[0-9])
	mapfile -t sections < <("$VEXFS_SRC/test_env/test_module.sh" --list "$([ "$flavour" = debug ] && echo debug || echo uml)")
	set -- "$@" "${sections[@]}"
	;;
esac
. "$VEXFS_SRC/test_env/vm/test.sh"
