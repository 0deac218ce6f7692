#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run a command inside the Debian 13 tree, as root, in a mount namespace of its
# own, so that nothing that is mounted here outlives it.
#
# in_tree.sh [--bind SRC DST] [--bind-ro SRC DST] [--user UID:GID] [--chdir DIR]
#            [--kill] [--setenv NAME=VALUE] -- COMMAND [ARG...]
#
# The source tree is at /mnt/vexfs-src. --kill puts the command into a process
# namespace that dies, SIGKILL, when this script's caller dies.
set -eu

. "$(dirname -- "$0")/lib.sh"

inner=false
if [ "${1:-}" = --inner ]; then
	inner=true
	shift
fi
all=("$@")
binds=()
envs=()
user=
chdir=/
kill=false
while [ $# -gt 0 ]; do
	case $1 in
	--bind) binds+=(rw "$2" "$3") && shift 3 ;;
	--bind-ro) binds+=(ro "$2" "$3") && shift 3 ;;
	--setenv) envs+=("$2") && shift 2 ;;
	--user) user=$2 && shift 2 ;;
	--chdir) chdir=$2 && shift 2 ;;
	--kill) kill=true && shift ;;
	--) shift && break ;;
	*) die "in_tree.sh: what is '$1'?" ;;
	esac
done
[ $# -gt 0 ] || die "in_tree.sh: no command"
[ "$(id -u)" = 0 ] || die "in_tree.sh must be run as root"
[ -d "$VEXFS_TREE/usr" ] || die "no Debian tree in $VEXFS_CACHE: run test_env/setup_vm.sh"

if ! $inner; then
	if $kill; then
		exec setpriv --pdeathsig KILL \
			unshare --mount --propagation private --pid --fork --kill-child=KILL \
			"$0" --inner "${all[@]}"
	fi
	exec unshare --mount --propagation private "$0" --inner "${all[@]}"
fi

T=$VEXFS_TREE
mount --bind "$T" "$T" ||
	die "cannot mount: this needs the right to mount (in a container: --privileged)"
if $kill; then
	mount -t proc proc "$T/proc"
else
	mount --rbind /proc "$T/proc"
fi
mount --rbind /dev "$T/dev"
mount --rbind /sys "$T/sys"
mount -t tmpfs -o mode=1777 tmpfs "$T/tmp"
mount -t tmpfs tmpfs "$T/run"
mkdir -p "$T/mnt/vexfs-src"
mount --bind "$VEXFS_SRC" "$T/mnt/vexfs-src"
[ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf >"$T/run/resolv.conf"

i=0
while [ $i -lt ${#binds[@]} ]; do
	mode=${binds[i]} from=${binds[i + 1]} to=$T${binds[i + 2]}
	if [ -d "$from" ]; then
		mkdir -p "$to"
	else
		mkdir -p "$(dirname -- "$to")"
		[ -e "$to" ] || : >"$to"
	fi
	mount --bind "$from" "$to"
	[ "$mode" = rw ] || mount -o remount,bind,ro "$to"
	i=$((i + 3))
done

exec chroot ${user:+--userspec="$user"} "$T" /usr/bin/env -i \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" DEBIAN_FRONTEND=noninteractive \
	"${envs[@]}" sh -c 'cd "$0" && exec "$@"' "$chdir" "$@"
