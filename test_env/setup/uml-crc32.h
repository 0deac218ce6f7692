/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CRC-32C for User Mode Linux by the processor's instruction, as the stock kernel for
 * x86-64 has it (lib/crc/x86/crc32.h); User Mode Linux has a loop over a table, which
 * takes twenty times as long. Goes to lib/crc/um/crc32.h of its source.
 */

#include <asm/cpufeature.h>
#include <linux/unaligned.h>

static __ro_after_init DEFINE_STATIC_KEY_FALSE(have_crc32);

#define crc32_le_arch crc32_le_base
#define crc32_be_arch crc32_be_base

static inline u32 crc32c_arch(u32 crc, const u8 *p, size_t len)
{
	u64 long_crc = crc;

	if (!static_branch_likely(&have_crc32))
		return crc32c_base(crc, p, len);
	for (; len >= 8; len -= 8, p += 8)
		asm("crc32q %1, %q0" : "+r" (long_crc) : "rm" (get_unaligned((const u64 *)p)));
	for (crc = long_crc; len; len--, p++)
		asm("crc32b %1, %0" : "+r" (crc) : "rm" (*p));
	return crc;
}

#define crc32_mod_init_arch crc32_mod_init_arch
static void crc32_mod_init_arch(void)
{
	if (boot_cpu_has(X86_FEATURE_XMM4_2))
		static_branch_enable(&have_crc32);
}

static inline u32 crc32_optimizations_arch(void)
{
	return static_key_enabled(&have_crc32) ? CRC32C_OPTIMIZATION : 0;
}
