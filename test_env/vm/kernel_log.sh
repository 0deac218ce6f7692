# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What in a kernel log fails a run, and what a run came to.

kernel_trouble_re='(\] |^)(WARNING:|BUG:|BUG |Oops|kernel BUG at|general protection fault|Kernel panic|INFO: task .* blocked for more than|UBSAN:|KASAN:|list_(add|del) corruption|refcount_t: |VFS: Busy inodes|Slab .*objects remaining|kmem_cache_destroy|rust_kernel: panicked|=+$|Buffer I/O error on dev .*async page read, corrupt|unreferenced object|possible circular|possible recursive|inconsistent lock state|INFO: trying to register non-static key|DEBUG_LOCKS_WARN|Trying to vfree|Bad page|BUG: KFENCE|bad: scheduling|watchdog: BUG)'
# Said by a stock kernel on some processors, no fault of anybody's.
kernel_harmless_re='(Spectre|MDS|MMIO|TAA|SRBDS|RETBleed|L1TF|ITS|VMSCAPE).*(WARNING|BUG)|===+$'

# A log as text, without a report that every boot of User Mode Linux with two processors
# makes: kmemleak frees something while the second one comes up.
kernel_log() {
	tr -d '\r' <"$1" | sed '/WARNING: suspicious RCU usage/{N;N;N;/Callback enqueued on offline CPU/d}'
}

# kernel_trouble FILE...: print what is wrong with some lines around it; status 1 when
# nothing is.
kernel_trouble() {
	local f
	for f in "$@"; do
		[ -s "$f" ] || continue
		if kernel_log "$f" | grep -aE "$kernel_trouble_re" | grep -qavE "$kernel_harmless_re"; then
			kernel_log "$f" | grep -aE -B 3 -A 45 -m 3 "$kernel_trouble_re" | head -n 150
			return 0
		fi
	done
	return 1
}

# run_outcome PROGRAM CTL DMESG [LOG...]: say what a run came to and exit with its status.
# CTL has what the guest told; the console in $vm and LOGs are shown when it broke. $status
# is how the machine ended, $timeout what it was given.
run_outcome() {
	local program=$1 ctl=$2 dmesg=$3 trouble
	shift 3
	if trouble=$(kernel_trouble "$vm/console" "$dmesg"); then
		say "the kernel complained:"
		printf '%s\n' "$trouble" >&2
		exit 99
	fi
	if grep -q '^trouble ' "$ctl"; then
		sed -n "s/^trouble /$program: /p" "$ctl" >&2
		exit 99
	fi
	if [ "$status" = 137 ]; then
		say "gave up after $timeout s (--timeout)"
		exit 124
	fi
	if ! grep -q '^status ' "$ctl"; then
		say "the VM did not run the command to its end$(sed -n 's/^fail /: /p' "$ctl") (it exited with $status)"
		tail -n 20 "$@" "$vm/console" >&2
		exit 125
	fi
	exit "$(sed -n 's/^status //p' "$ctl" | tail -n 1)"
}
