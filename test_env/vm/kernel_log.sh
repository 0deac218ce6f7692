# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What in a kernel log fails a run.

kernel_trouble_re='(\] |^)(WARNING:|BUG:|BUG |Oops|kernel BUG at|general protection fault|Kernel panic|INFO: task .* blocked for more than|UBSAN:|KASAN:|list_(add|del) corruption|refcount_t: |VFS: Busy inodes|Slab .*objects remaining|kmem_cache_destroy|rust_kernel: panicked|=+$|Buffer I/O error on dev .*async page read, corrupt|unreferenced object|possible circular|possible recursive|inconsistent lock state|INFO: trying to register non-static key|DEBUG_LOCKS_WARN|Trying to vfree|Bad page|BUG: KFENCE|bad: scheduling|watchdog: BUG)'
# Said by a stock kernel on some processors, no fault of anybody's.
kernel_harmless_re='(Spectre|MDS|MMIO|TAA|SRBDS|RETBleed|L1TF|ITS|VMSCAPE).*(WARNING|BUG)|===+$'

# kernel_trouble FILE...: print what is wrong with some lines around it; status 1 when
# nothing is.
kernel_trouble() {
	local f
	for f in "$@"; do
		[ -s "$f" ] || continue
		if tr -d '\r' <"$f" | grep -aE "$kernel_trouble_re" | grep -qavE "$kernel_harmless_re"; then
			tr -d '\r' <"$f" | grep -aE -B 3 -A 45 -m 3 "$kernel_trouble_re" | head -n 150
			return 0
		fi
	done
	return 1
}
