# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# User Mode Linux, built from the kernel source package that the Debian tree holds, and
# the module for it. Sourced by uml.sh.
#
# Made, under $VEXFS_CACHE/uml:
#   source/   the kernel's source, clean (the tree's own copy is configured for the VM)
#   fast/     an optimised kernel for one processor, with ext4, XFS and btrfs
#   debug/    lockdep, kmemleak, fault injection, UBSAN, two processors

uml_dir=$VEXFS_CACHE/uml

# What a kernel of this flavour would be made from now.
uml_key() {
	cat "$VEXFS_CACHE/kernel/release" "$VEXFS_CACHE/kernel/package-version"
	cat "$VEXFS_SRC/test_env/setup/uml.config" "$VEXFS_SRC/test_env/setup/uml-crc32.h"
	[ "$1" = fast ] || cat "$VEXFS_SRC/test_env/setup/uml-debug.config"
}
uml_key_of() { uml_key "$1" | sed '/^#/{/is not set$/!d}' | sha256sum | cut -c1-16; }

# In the tree, with the folder of the kernels at /run/uml.
in_uml_tree() { in_tree --bind "$uml_dir" /run/uml "$@"; }

# uml_ensure FLAVOUR: build that kernel unless it is there. What was interrupted goes on
# where it was.
uml_ensure() {
	local flavour=$1 key begin=$SECONDS log=$VEXFS_CACHE/log/uml-$1.log
	key=$(uml_key_of "$flavour")
	[ "$(cat "$VEXFS_STAMPS/uml-$flavour" 2>/dev/null)" != "$key" ] || return 0
	(
		lock "uml-$flavour"
		[ "$(cat "$VEXFS_STAMPS/uml-$flavour" 2>/dev/null)" != "$key" ] || exit 0
		say "building the $flavour User Mode Linux kernel, once (about 10 CPU-minutes) ..."
		mkdir -p "$uml_dir/$flavour" "$VEXFS_CACHE/log"
		rm -f "$VEXFS_STAMPS/uml-$flavour"
		(
			set -e
			uml_source
			uml_patch
			uml_build "$flavour"
		) >"$log" 2>&1 </dev/null &
		if ! wait $!; then
			tail -n 25 "$log" | sed 's/^/    /' >&2
			die "could not build it (the whole log is $log); run this again to go on"
		fi
		echo "$key" >"$VEXFS_STAMPS/uml-$flavour"
		say "built it in $((SECONDS - begin)) s"
	)
}

# The source of the kernel that the tree's headers are of.
uml_source() {
	local release series
	release=$(cat "$VEXFS_CACHE/kernel/release")
	series=$(echo "$release" | sed -E 's/^([0-9]+\.[0-9]+).*/\1/')
	(
		lock uml-source
		[ "$(cat "$uml_dir/source/.vexfs-of" 2>/dev/null)" != "$release" ] || exit 0
		rm -rf "$uml_dir/source" "$uml_dir/source.new"
		mkdir -p "$uml_dir/source.new"
		# The two folders are large and not built.
		in_uml_tree -- nice tar -xf "/usr/src/linux-source-$series.tar.xz" \
			-C /run/uml/source.new --strip-components=1 --no-same-owner \
			--exclude='*/drivers/gpu/drm/amd/include' --exclude='*/tools/testing'
		echo "$release" | tee "$uml_dir/source.new/.vexfs-of" >/dev/null
		mv "$uml_dir/source.new" "$uml_dir/source"
	)
}

# Checksums of 4 KiB cost there what they cost elsewhere.
uml_patch() {
	local crc=$uml_dir/source/lib/crc
	(
		lock uml-source
		mkdir -p "$crc/um"
		cmp -s "$VEXFS_SRC/test_env/setup/uml-crc32.h" "$crc/um/crc32.h" ||
			cp "$VEXFS_SRC/test_env/setup/uml-crc32.h" "$crc/um/crc32.h"
		sed -i '/^config CRC32_ARCH/,/^$/{
			s/depends on CRC32 && CRC_OPTIMIZATIONS/depends on CRC32 \&\& (CRC_OPTIMIZATIONS || UML)/
			s/default y if X86$/default y if X86 || UML/
		}' "$crc/Kconfig"
		sed -i 's/^crc32-$(CONFIG_X86_64) += x86/crc32-$(CONFIG_X86) += x86/' "$crc/Makefile"
	)
}

uml_build() {
	local flavour=$1 fragments=/mnt/vexfs-src/test_env/setup/uml.config
	[ "$flavour" = fast ] || fragments="$fragments /mnt/vexfs-src/test_env/setup/uml-debug.config"
	in_uml_tree --setenv ARCH=um --chdir /run/uml/source -- nice sh -ec "
		make -s O=/run/uml/$flavour x86_64_defconfig
		cd /run/uml/$flavour
		KCONFIG_CONFIG=.config /run/uml/source/scripts/kconfig/merge_config.sh -m .config $fragments
		cd /run/uml/source
		make -s O=/run/uml/$flavour olddefconfig
		for want in CONFIG_RUST=y CONFIG_MODULES=y CONFIG_EXT4_FS=y CONFIG_HOSTFS=y \
			CONFIG_BLK_DEV_UBD=y CONFIG_OVERLAY_FS=y CONFIG_CRC32_ARCH=y $([ "$flavour" = fast ] || echo CONFIG_PROVE_LOCKING=y CONFIG_DEBUG_KMEMLEAK=y CONFIG_FAILSLAB=y); do
			grep -qx \$want /run/uml/$flavour/.config ||
				{ echo \"the configuration does not take \$want\" && exit 1; }
		done
		make -s -j${VEXFS_UML_JOBS:-$(nproc)} O=/run/uml/$flavour linux modules
		test -x /run/uml/$flavour/linux
	"
}

# uml_module FLAVOUR [MAKE-ARGUMENT...]: vexfs.ko for it, in build/uml-FLAVOUR.
#
# UML compiles its Rust code position independent, as it is itself; the module loader
# knows no such relocations. Modules lie anywhere in 64 bits: large code model.
uml_module() {
	local flavour=$1 dir=build/uml-$1
	shift
	mkdir -p "$VEXFS_SRC/build"
	(
		exec 8>"$VEXFS_SRC/build/.lock-uml-$flavour"
		flock 8
		cd "$VEXFS_SRC"
		copy_module_sources "$dir"
		in_uml_tree --user "$(id -u):$(id -g)" --setenv ARCH=um \
			--chdir "$VEXFS_GUEST_SRC/$dir" -- \
			make --no-print-directory -j"$(nproc)" -C "/run/uml/$flavour" \
			M="$VEXFS_GUEST_SRC/$dir" \
			RUSTFLAGS_MODULE='-Crelocation-model=static -Ccode-model=large' \
			"$@" modules |
			sed -u "s|$VEXFS_GUEST_SRC/$dir/||g; /^make\[[0-9]*\]: \(Entering\|Leaving\)/d"
	)
}
