#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# install.sh install|uninstall DESTDIR PREFIX RELEASE, for `make install`.
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

what=$1 dest=$2 prefix=$3 release=$4
bin=$dest$prefix/sbin
mods=$dest/lib/modules/$release/updates
man=$dest$prefix/share/man/man8
completions=$dest$prefix/share/bash-completion/completions
# Where vexctl looks for them.
words=$dest/usr/share/vexfs
# Where mount(8), mkfs(8) and fsck(8) look beside the PATH.
if [ "$what" = uninstall ]; then
	as_root rm -f "$mods/vexfs.ko" "$bin"/{vexctl,mkfs.vexfs,fsck.vexfs} \
		"$man"/{vexctl,vexctl-*,mkfs.vexfs,fsck.vexfs}.8 "$completions/vexctl"
	as_root rm -rf "$words"
	[ -n "$dest" ] || as_root depmod "$release" || true
	say "removed"
	exit 0
fi

module=$VEXFS_SRC/build/$release/vexfs.ko
[ "$release" != "$(vexfs_kernel)" ] || module=$VEXFS_SRC/vexfs.ko
as_root install -D -m 755 "$VEXFS_SRC/target/release/vexctl" "$bin/vexctl"
as_root ln -sf vexctl "$bin/mkfs.vexfs"
as_root ln -sf vexctl "$bin/fsck.vexfs"
as_root install -d "$man" "$completions" "$words"
as_root "$bin/vexctl" -q man --dir "$man"
"$bin/vexctl" completions bash | as_root tee "$completions/vexctl" >/dev/null
as_root install -m 644 "$VEXFS_CACHE"/embeddings/{glove100.vexemb,LICENSE,ACKNOWLEDGEMENT.md} "$words"
say "installed vexctl, mkfs.vexfs and fsck.vexfs in $bin, manual pages, word vectors in $words"
if [ -e "$module" ]; then
	as_root install -D -m 644 "$module" "$mods/vexfs.ko"
	[ -n "$dest" ] || as_root depmod "$release"
	say "installed vexfs.ko for $release in $mods; load it with: modprobe vexfs"
else
	say "no module for the running kernel $release was built (see above), so none is installed;"
	say "on Debian 13, install linux-image-amd64 of trixie-backports, boot it, and run this again"
fi
