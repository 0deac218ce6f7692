# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Part of setup_vm.sh: the stock kernel, its headers, and the Rust metadata that
# Debian's headers package lacks.

# VERSION of linux-image-amd64 in backports, such as 7.2.12+deb13; or the newest
# 7.x for which all that is needed is there.
choose_kernel() {
	local v
	if [ -n "${VEXFS_KERNEL:-}" ]; then
		echo "${VEXFS_KERNEL%-amd64}"
		return
	fi
	v=$(in_tree -- apt-cache show "linux-image-amd64/$suite-backports" 2>/dev/null |
		sed -nE 's/^Depends:.*linux-image-([0-9][^ ,]*)-amd64.*/\1/p' | head -n 1 || true)
	if [ -n "$v" ] && kernel_complete "$v"; then
		echo "$v"
		return
	fi
	for v in $(in_tree -- apt-cache pkgnames linux-headers-7 |
		sed -nE 's/^linux-headers-(7\.[0-9.]+\+deb13)-amd64$/\1/p' | sort -rV); do
		if kernel_complete "$v"; then
			echo "$v"
			return
		fi
	done
	die "$suite-backports has no 7.x kernel with headers, source, image and modules"
}

# The package that carries vmlinuz: signed, or not yet.
kernel_binary_package() {
	local p
	for p in "linux-binary-$1-amd64" "linux-binary-unsigned-$1-amd64"; do
		if in_tree -- apt-cache show "$p" >/dev/null 2>&1; then
			echo "$p"
			return
		fi
	done
	return 1
}

kernel_series() { echo "$1" | sed -E 's/^([0-9]+\.[0-9]+).*/\1/'; }

kernel_complete() {
	kernel_binary_package "$1" >/dev/null &&
		in_tree -- apt-cache show "linux-headers-$1-amd64" "linux-modules-$1-amd64" \
			"linux-source-$(kernel_series "$1")" >/dev/null 2>&1
}

make_kernel() {
	local v release series pkgver dir=$VEXFS_CACHE/kernel
	tree_update
	v=$(choose_kernel)
	release=$v-amd64
	series=$(kernel_series "$v")
	say "note: kernel $release" || true
	# The source package of this very version: backports keeps several.
	pkgver=$(in_tree -- apt-cache show "linux-headers-$release" |
		sed -n 's/^Version: //p' | head -n 1)
	tree_apt install --no-install-recommends --allow-downgrades \
		-t "$suite-backports" "linux-headers-$release" "linux-source-$series=$pkgver"
	mkdir -p "$dir"
	as_root rm -rf "${dir:?}/deb" "${dir:?}/$release.new"
	mkdir -p "$dir/deb"
	in_tree --bind "$dir/deb" /run/deb --chdir /run/deb -- apt-get -q download \
		-o APT::Sandbox::User=root "$(kernel_binary_package "$v")" "linux-modules-$release"
	mkdir "$dir/$release.new"
	in_tree --bind "$dir" /run/kernel --chdir /run/kernel -- sh -ec \
		"for d in deb/*.deb; do dpkg -x \$d '$release.new'; done"
	[ -e "$dir/$release.new/usr/lib/modules/$release/vmlinuz" ] ||
		die "the kernel package holds no usr/lib/modules/$release/vmlinuz: has its form changed?"
	as_root rm -rf "${dir:?}/$release" "$dir/deb"
	as_root mv "$dir/$release.new" "$dir/$release"
	# In the tree as installed, with what depmod makes of it.
	as_root rm -rf "$VEXFS_TREE/usr/lib/modules"
	as_root mkdir -p "$VEXFS_TREE/usr/lib/modules"
	as_root cp -a "$dir/$release/usr/lib/modules/$release" "$VEXFS_TREE/usr/lib/modules/"
	as_root ln -sfn "/usr/src/linux-headers-$release" "$VEXFS_TREE/usr/lib/modules/$release/build"
	in_tree -- depmod "$release"
	echo "$release" >"$dir/release"
	echo "$pkgver" >"$dir/package-version"
}

# Make rust/ and scripts/target.json, as the kernel package's build had them.
make_metadata() {
	local release v series src hdr
	release=$(cat "$VEXFS_CACHE/kernel/release")
	v=${release%-amd64}
	series=$(kernel_series "$v")
	src=/usr/src/linux-source-$series
	hdr=/usr/src/linux-headers-$release
	in_tree -- sh -ec "
		cd /usr/src
		if [ \"\$(cat $src/.vexfs-of 2>/dev/null)\" != '$release' ]; then
			rm -rf $src
			tar -xf $src.tar.xz
			echo '$release' >$src/.vexfs-of
		fi
		cd $src
		cp $hdr/.config .config
		sed -i 's|^CONFIG_MODULE_SIG_KEY=.*|CONFIG_MODULE_SIG_KEY=\"certs/signing_key.pem\"|' .config
		make CC=x86_64-linux-gnu-gcc-14 olddefconfig
		make -j$(nproc) CC=x86_64-linux-gnu-gcc-14 modules_prepare
		grep -q '^CONFIG_RUST=y' .config
		rm -rf $hdr/rust
		mkdir -p $hdr/rust
		cp -a rust/*.rmeta rust/*.so $hdr/rust/
		cp scripts/target.json \"\$(readlink -f $hdr/scripts)/\"
	" || die "the metadata could not be built: does the tree's rustc still suit this kernel?"
	check_symbols "$src" "$hdr"
}

# The mangled names in the metadata must be those of the stock kernel, or a module
# that is built against it will not load.
check_symbols() {
	local have missing
	have=$(mktemp)
	cat "$VEXFS_TREE$1"/rust/exports_*_generated.h |
		sed -nE 's/^EXPORT_SYMBOL_RUST_GPL\((.*)\);$/\1/p' | sort -u >"$have"
	[ "$(wc -l <"$have")" -gt 500 ] ||
		die "the metadata names only $(wc -l <"$have") symbols: has the kernel's rust/Makefile changed?"
	missing=$(cut -f2 "$VEXFS_TREE$2/Module.symvers" | sort -u | comm -23 "$have" - | wc -l)
	echo "symbols: $(wc -l <"$have") in the metadata, $missing of them not in the stock kernel"
	rm -f "$have"
	[ "$missing" = 0 ] ||
		die "$missing Rust symbols of the metadata are not in the stock kernel: its compiler is another than the tree's (rustc $(in_tree -- rustc --version | cut -d' ' -f2); the kernel was built with '$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT=//p' "$VEXFS_TREE$2/.config")'). Modules would not load."
}
