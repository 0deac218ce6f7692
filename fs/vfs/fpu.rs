// SPDX-License-Identifier: GPL-2.0

//! FPU sections: where the registers of the FPU are the kernel's, and nothing else may run on the
//! processor. They are measured, since they must stay short.

use super::bindings;
use core::sync::atomic::{AtomicU64, Ordering};

/// The longest section so far, in cycles.
static LONGEST: AtomicU64 = AtomicU64::new(0);
/// Sections that were too long.
static TOO_LONG: AtomicU64 = AtomicU64::new(0);
/// Cycles of [`LIMIT_NS`]; 0 while that is not known.
static LIMIT: AtomicU64 = AtomicU64::new(0);
/// Both clocks when the module was loaded.
static START_CYCLES: AtomicU64 = AtomicU64::new(0);
static START_NS: AtomicU64 = AtomicU64::new(0);

/// What a section may take.
const LIMIT_NS: u64 = 50_000;
/// How long the clocks are compared before a rate is believed.
const ENOUGH_NS: u64 = 10_000_000;

/// What sections came to since the module was loaded.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sections {
    /// Nanoseconds of the longest.
    pub(crate) longest_ns: u64,
    /// How many took more than 50 microseconds.
    pub(crate) too_long: u64,
}

fn cycles() -> u64 {
    // SAFETY: It only reads a counter.
    unsafe { bindings::vexfs_helper_cycles() }
}

fn nanoseconds() -> u64 {
    // SAFETY: It only reads the clock.
    unsafe { bindings::vexfs_helper_ktime_get_ns() }
}

/// The module was loaded: the clocks run from here.
pub(crate) fn start() {
    START_CYCLES.store(cycles(), Ordering::Relaxed);
    START_NS.store(nanoseconds(), Ordering::Relaxed);
}

/// Nanoseconds and cycles since the module was loaded; none while these are too few.
fn rate() -> Option<(u64, u64)> {
    let ns = nanoseconds().wrapping_sub(START_NS.load(Ordering::Relaxed));
    let cycles = cycles().wrapping_sub(START_CYCLES.load(Ordering::Relaxed));
    (ns >= ENOUGH_NS && cycles > 0).then_some((ns, cycles))
}

/// `value * numerator / denominator`, without panics.
fn scaled(value: u64, numerator: u64, denominator: u64) -> u64 {
    let product = u128::from(value) * u128::from(numerator);
    // A 128-bit division is none of the kernel's: both are made to fit first.
    let shift = 128u32
        .saturating_sub(product.leading_zeros())
        .saturating_sub(64);
    let quotient = ((product >> shift) as u64).checked_div((denominator >> shift).max(1));
    quotient.unwrap_or(0)
}

/// Runs `f` with the FPU's registers free for use. `f` must not sleep.
pub(super) fn unmeasured<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: In process context, and `f` does not nest another section.
    unsafe { bindings::vexfs_helper_kernel_fpu_begin() };
    let result = f();
    // SAFETY: The section was begun above.
    unsafe { bindings::vexfs_helper_kernel_fpu_end() };
    result
}

/// The same, and measures how long it takes.
pub(super) fn section<T>(f: impl FnOnce() -> T) -> T {
    let (result, took) = unmeasured(|| {
        let begun = cycles();
        let result = f();
        (result, cycles().wrapping_sub(begun))
    });
    note(took);
    result
}

fn note(took: u64) {
    if took > LONGEST.load(Ordering::Relaxed) {
        LONGEST.fetch_max(took, Ordering::Relaxed);
    }
    let mut limit = LIMIT.load(Ordering::Relaxed);
    if limit == 0 {
        let Some((ns, cycles)) = rate() else { return };
        limit = scaled(LIMIT_NS, cycles, ns).max(1);
        LIMIT.store(limit, Ordering::Relaxed);
    }
    if took > limit {
        TOO_LONG.fetch_add(1, Ordering::Relaxed);
    }
}

/// What sections came to so far.
pub(crate) fn sections() -> Sections {
    let longest = LONGEST.load(Ordering::Relaxed);
    Sections {
        longest_ns: rate().map_or(0, |(ns, cycles)| scaled(longest, ns, cycles)),
        too_long: TOO_LONG.load(Ordering::Relaxed),
    }
}
