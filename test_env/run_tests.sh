#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All tests: run_tests.sh [host|vm|uml|debug|power]...   (`make test`)
#
#   host    cargo test: libvexfs and vexctl on this machine
#   vm      test_env/suites/, in VMs
#   uml     those of them that take long, in User Mode Linux
#   debug   on the debug kernel: what it alone can do; with VEXFS_LONG=1 all sections
#   power   test_env/host_tests/, which drive VMs from outside
#
# The last line counts over all; the exit status is 0 when nothing failed and something
# passed. With CI=true, a skip that test_env/allowed_skips.txt does not name fails.
set -uo pipefail

. "$(dirname -- "$0")/lib.sh"

cd "$VEXFS_SRC" || exit 1
[ $# -gt 0 ] || set -- host vm uml debug power
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
begin=$SECONDS

add() {
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}
fail() {
	echo "FAIL $*"
	add 0 1 0
}
heading() {
	printf '\n== %s (%d s)\n' "$*" $((SECONDS - begin))
}

# Skips that nobody agreed to.
check_skips() {
	local line name
	[ "${CI:-}" = true ] || return 0
	while read -r line; do
		name=${line#skip }
		grep -v '^#' test_env/allowed_skips.txt 2>/dev/null | grep -v '^$' |
			while read -r allowed; do
				case $name in "$allowed"*) echo yes && break ;; esac
			done | grep -q yes || fail "not in test_env/allowed_skips.txt: $line"
	done < <(grep '^skip ' "$out"; sed -nE 's/^test (.*) \.\.\. ignored.*/skip cargo: \1/p' "$out")
}

# counted WHAT STATUS: add the last closing line of $out.
counted() {
	local p f s line
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$out" | tail -n 1)
	if [ -z "$line" ]; then
		fail "$1: ended without its closing line (status $2)"
		return
	fi
	read -r p f s < <(tr -dc '0-9 \n' <<<"$line")
	add "$p" "$f" "$s"
	if [ "$2" != 0 ] && [ "$f" = 0 ]; then
		fail "$1: status $2"
	elif [ $((p + f + s)) = 0 ]; then
		fail "$1: tested nothing"
	fi
}

run_host() {
	local status p f s
	heading "cargo test"
	PROPTEST_RNG_SEED=$(vexfs_seed) test_env/cargo.sh test --workspace --no-fail-fast 2>&1 | tee "$out" |
		sed -u '/^test .* ok$/d; /^running /d; /^$/d'
	status=${PIPESTATUS[0]}
	read -r p f s < <(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored.*/\1 \2 \3/p' "$out" |
		awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }')
	add "$p" "$f" "$s"
	if [ "$status" != 0 ] && [ "$f" = 0 ]; then
		fail "cargo test ended with status $status"
	elif [ "$p" = 0 ]; then
		fail "cargo test ran nothing"
	fi
	check_skips
}

run_vm() {
	local status
	heading "sections in the VM"
	test_env/run_qemu_simple.sh test 2>&1 | tee "$out" |
		sed -u '/^[0-9]* passed, [0-9]* failed, [0-9]* skipped$/d'
	status=${PIPESTATUS[0]}
	counted "the VM's sections" "$status"
	check_skips
}

run_uml() {
	local status sections
	mapfile -t sections < <(test_env/test_module.sh --list native)
	heading "sections in User Mode Linux"
	ensure_programs
	# The long forms take their time, the large volumes most of it.
	test_env/uml.sh test --timeout "$((${VEXFS_LONG:-0} ? 14400 : 900))" "${sections[@]}" 2>&1 | tee "$out" |
		sed -u '/^[0-9]* passed, [0-9]* failed, [0-9]* skipped$/d'
	status=${PIPESTATUS[0]}
	counted "the sections in User Mode Linux" "$status"
	check_skips
}

# A report of lockdep, kmemleak or UBSAN fails the section.
run_debug() {
	local status sections=(faults)
	[ "${VEXFS_LONG:-0}" = 0 ] || mapfile -t sections < <(test_env/test_module.sh --list debug)
	heading "sections on the debug kernel"
	# In their short form: this kernel is many times slower.
	VEXFS_LONG=0 test_env/uml.sh test --debug "${sections[@]}" 2>&1 | tee "$out" |
		sed -u '/^[0-9]* passed, [0-9]* failed, [0-9]* skipped$/d'
	status=${PIPESTATUS[0]}
	counted "the sections on the debug kernel" "$status"
	check_skips
}

run_power() {
	local script status
	for script in test_env/host_tests/*.sh; do
		[ -x "$script" ] || continue
		heading "$(basename "$script" .sh)"
		"$script" 2>&1 </dev/null | tee "$out" |
			sed -u '/^[0-9]* passed, [0-9]* failed, [0-9]* skipped$/d'
		status=${PIPESTATUS[0]}
		counted "$script" "$status"
		check_skips
	done
}

heading "set-up"
if ! ensure_setup; then
	fail "the set-up"
	echo "$passed passed, $failed failed, $skipped skipped"
	exit 1
fi
built=true
for part in "$@"; do
	case $part in
	host) ;;
	vm | uml | debug | power)
		heading "build"
		test_env/build_module.sh </dev/null || { fail "the module does not build" && built=false; }
		test_env/cargo.sh build --release -p vexctl || { fail "vexctl does not build" && built=false; }
		break
		;;
	*) die "run_tests.sh: what is '$part'? (host, vm, uml, debug, power)" ;;
	esac
done
for part in "$@"; do
	case $part in
	host) run_host ;;
	vm) ! $built || run_vm ;;
	uml) ! $built || run_uml ;;
	debug) ! $built || run_debug ;;
	power) ! $built || run_power ;;
	esac
done
printf '\nafter %d s:\n' $((SECONDS - begin))
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
