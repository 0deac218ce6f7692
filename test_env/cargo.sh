#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# cargo, for vexctl and the host's tests: the machine's own when it is new enough,
# else the Debian tree's.
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$VEXFS_SRC/Cargo.toml" | head -n 1)
have=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
# What is built here runs in the VM too, so this machine's C library must not be newer
# than Debian 13's.
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2 || true)
cd "$VEXFS_SRC"
if [ -n "$have" ] && [ -n "$libc" ] &&
	[ "$(printf '2.41\n%s\n' "$libc" | sort -V | tail -n 1)" = 2.41 ] &&
	[ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n 1)" = "$need" ]; then
	exec cargo "$@"
fi
ensure_setup
home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$home"
say "this machine has cargo ${have:-(none)} and libc ${libc:-(unknown)}; $need and 2.41 are wanted: using the Debian tree's cargo"
in_tree --user "$(id -u):$(id -g)" --bind "$home" /run/cargo \
	--setenv CARGO_HOME=/run/cargo --setenv "CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}" \
	--chdir "$VEXFS_GUEST_SRC" -- cargo "$@"
