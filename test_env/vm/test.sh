# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# run_qemu_simple.sh test [--checks] [--timeout S] [SECTION...]
#
# Run test_env/test_module.sh in the VM, each section in a VM of its own, so that one
# that takes the kernel down does not take the others along. What it prints goes to
# test_results/test_log_TIMESTAMP.txt too, with the kernel's log of each section that
# failed. The last line counts; the exit status is 0 when nothing failed.
#
#   --checks      every check of the stock kernel's allocators (slower)
#   --timeout S   for one section (default 900)
# Sections: test_env/suites/, without any the ones that `uml.sh test` is not for; they have /dev/vdb (2 GB) and /dev/vdc (1 GB).
# Environment: VEXFS_SEED, VEXFS_LONG=1, VEXFS_ONLY=WORDS (tests whose names hold them).
#
# (uml.sh test is this too, with another runner.)

options=() timeout=${test_timeout:-900}
[ -n "${runner+set}" ] || {
	runner=("$VEXFS_SRC/test_env/run_qemu_simple.sh" run)
	where="kernel $(vexfs_kernel 2>/dev/null || true), $(vm_accel)"
}
while [ $# -gt 0 ]; do
	case $1 in
	--checks) options+=(--checks) && shift ;;
	--timeout) timeout=$2 && shift 2 ;;
	-h | --help) usage "${usage_of:-$VEXFS_SRC/test_env/vm/test.sh}" | sed '/^shellcheck/d; /^options=/,$d' && exit 0 ;;
	-*) die "what is '$1'? (see test --help)" ;;
	*) break ;;
	esac
done
ensure_setup
cd "$VEXFS_SRC"
[ $# -gt 0 ] || mapfile -t sections < <(test_env/test_module.sh --list stock)
[ $# -eq 0 ] || sections=("$@")
mkdir -p test_results
log=test_results/test_log_$(date +%Y%m%d_%H%M%S).txt
passed=0 failed=0 skipped=0
{
	echo "VexFS tests of $(date -u +%FT%TZ), $(git describe --always --dirty 2>/dev/null || echo unknown)"
	echo "$where"
} | tee "$log"
seed=$(vexfs_seed)
# Real vectors with ground truth, beside the checkout where there are any.
data=$VEXFS_SRC/../shared/data
for section in "${sections[@]}"; do
	status=0
	share=()
	case $section in
	vectors | recall) [ ! -e "$data/glove100_base.fvecs" ] || share=(--share "$data") ;;
	esac
	out=$(mktemp)
	klog=$(mktemp)
	"${runner[@]}" --disk 2G --disk 1G --memory 3G \
		--timeout "$timeout" --kernel-log "$klog" "${options[@]}" "${share[@]}" \
		--env "VEXFS_SEED=$seed" --env "VEXFS_LONG=${VEXFS_LONG:-0}" \
		--env "VEXFS_ONLY=${VEXFS_ONLY:-}" -- \
		/mnt/vexfs-src/test_env/test_module.sh "$section" 2>&1 | tee "$out" |
		sed -u '/^[0-9]* passed, [0-9]* failed, [0-9]* skipped$/d' | tee -a "$log" ||
		status=$?
	p=0 f=0 s=0
	if grep -qE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$out"; then
		read -r p f s < <(grep -E '^[0-9]+ passed, ' "$out" | tail -n 1 | tr -dc '0-9 \n')
	else
		# It did not get to its end: what it had done counts, and the end is one failure.
		p=$(grep -c '^ok   ' "$out" || true)
		s=$(grep -c '^skip ' "$out" || true)
		f=$(grep -c '^FAIL ' "$out" || true)
	fi
	if [ "$status" != 0 ] && [ "$f" = 0 ]; then
		f=1
		echo "FAIL $section: the VM run ended with status $status" | tee -a "$log"
	elif [ "$status" = 99 ]; then
		f=$((f + 1))
		echo "FAIL $section: the kernel complained" | tee -a "$log"
	fi
	if [ "$f" != 0 ]; then
		{ echo "--- kernel log of $section:" && cat "$klog"; } >>"$log"
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	rm -f "$out" "$klog"
done
say "the log is $log"
echo "$passed passed, $failed failed, $skipped skipped" | tee -a "$log"
[ $failed = 0 ] && [ $passed -gt 0 ] || exit 1
