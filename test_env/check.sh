#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# `make check`: form and lint. Every finding is printed; status 1 when there is one.
set -uo pipefail

. "$(dirname -- "$0")/lib.sh"

cd "$VEXFS_SRC" || exit 1
failed=0
# want WHAT COMMAND...: run it, and complain when it fails or warns.
want() {
	local what=$1 out
	shift
	out=$("$@" 2>&1)
	if [ $? != 0 ] || grep -q '^warning' <<<"$out"; then
		echo "FAIL $what"
		sed 's/^/    /' <<<"$out"
		failed=1
	else
		echo "ok   $what"
	fi
}

# The sources that are ours, tracked or about to be.
sources() { git ls-files -co --exclude-standard -- "$@"; }

spdx() {
	local f bad=0
	for f in $(sources '*.rs' '*.c' '*.h' '*.sh' '*.py' '*.md' '*.toml' 'test_env/guest/commands/*' \
		Kbuild Makefile .ci/run .gitignore); do
		[ ! -e "$f" ] || head -n 3 "$f" | grep -q SPDX-License-Identifier || {
			echo "$f: no SPDX line" && bad=1
		}
	done
	return $bad
}
short_files() {
	local f n bad=0
	for f in $(sources '*.rs' '*.c' '*.h' '*.sh' '*.py'); do
		n=$(wc -l <"$f" 2>/dev/null || echo 0)
		[ "$n" -le 650 ] || { echo "$f: $n lines" && bad=1; }
	done
	return $bad
}
no_unsafe() {
	! grep -rnE '\bunsafe\b' --include='*.rs' fs/libvexfs fs/ops | grep -vE ':[0-9]+: *//|(forbid|deny)\('
}
shell_syntax() {
	local f bad=0
	for f in $(sources '*.sh' .ci/run); do
		bash -n "$f" || bad=1
	done
	if command -v shellcheck >/dev/null 2>&1; then
		# shellcheck disable=SC2046
		shellcheck -S error -x $(sources 'test_env/*.sh') || bad=1
	fi
	return $bad
}
module_rustfmt() {
	in_tree --user "$(id -u):$(id -g)" --chdir "$VEXFS_GUEST_SRC" -- \
		rustfmt --check --edition 2021 fs/vexfs_main.rs
}

stack_frames() {
	in_tree --user "$(id -u):$(id -g)" --chdir "$VEXFS_GUEST_SRC" -- \
		test_env/stack_frames.py build/w1/vexfs.ko
}

ensure_setup || exit 1
want "an SPDX line in every file" spdx
want "no file over about 600 lines" short_files
want "no unsafe in fs/libvexfs and fs/ops" no_unsafe
want "shell scripts parse" shell_syntax
want "format of the crates" test_env/cargo.sh fmt --all --check
want "format of the module" module_rustfmt
want "clippy, crates" test_env/cargo.sh clippy --quiet --workspace --all-targets -- -D warnings
want "documentation, crates" env RUSTDOCFLAGS='-D warnings' \
	test_env/cargo.sh doc --quiet --workspace --no-deps --document-private-items
want "clippy, module" test_env/build_module.sh --in build/clippy CLIPPY=1
want "W=1, module" test_env/build_module.sh --in build/w1 W=1
want "stack frames, module" stack_frames
exit $failed
