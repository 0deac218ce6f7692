# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What was built is what the kernel can take, and the VM is what the others expect.

built_for_this_kernel() {
	[ "$(modinfo -F vermagic "$VEXFS_KO" | cut -d' ' -f1)" = "$(uname -r)" ]
}
# Every symbol that the module wants must be one that the kernel has.
symbols_resolve() {
	nm -u "$VEXFS_KO" | awk '{ print $2 }' | sort -u >"$WORK/want"
	[ -s "$WORK/want" ]
	awk '{ print $2 }' "/usr/src/linux-headers-$(uname -r)/Module.symvers" | sort -u >"$WORK/have"
	comm -23 "$WORK/want" "$WORK/have" >"$WORK/missing"
	cat "$WORK/missing"
	[ ! -s "$WORK/missing" ]
}
# A float instruction outside the SIMD object would run without the kernel's leave.
no_float_outside_simd() {
	objdump -d --no-show-raw-insn "$VEXFS_KO" |
		awk '/^[0-9a-f]+ <.*>:$/ { name = $2 }
			/%[xyz]mm[0-9]/ && name !~ /vexfs_simd/ { print name; bad = 1 }
			END { exit bad }' | sort | uniq -c | tee "$WORK/float"
	[ ! -s "$WORK/float" ]
}
programs() {
	local p
	for p in vexctl mkfs.vexfs fsck.vexfs; do
		command -v $p
	done
	vexctl --version
}

t "built for this kernel" built_for_this_kernel
t "every symbol is the kernel's" symbols_resolve
t "no vector registers outside fs/simd" no_float_outside_simd
t "vexctl and its names" programs
