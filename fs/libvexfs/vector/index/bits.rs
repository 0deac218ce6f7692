// SPDX-License-Identifier: GPL-2.0

//! Vectors of bits in the graph: the code of an edge is the neighbour itself, and what is looked up
//! is the number of bits that differ. So estimates are exact, and nothing is rotated.
//!
//! Prepared vectors are f32 as all others are, 0 or 1, and their squared distance is that number.

use super::node::Edge;

/// One step of a table: 1.
const ONE: u32 = 0x3f80_0000;

/// The f32 of a number below 2^24, as bits.
fn float(n: u32) -> u32 {
    let exponent = n.checked_ilog2().unwrap_or(0);
    let mantissa = n << 23u32.saturating_sub(exponent) & 0x007f_ffff;
    match n {
        0 => 0,
        _ => (127 + exponent) << 23 | mantissa,
    }
}

/// Four bits of a prepared vector.
fn nibble(prepared: &[u32]) -> usize {
    let bits = prepared.iter().enumerate();
    bits.fold(0, |bits, (i, x)| bits | usize::from(*x != 0) << i)
}

/// Instead of a rotation: fills up with zeroes.
pub fn widen(prepared: &[u32], rotated: &mut [u32]) {
    let (from, rest) = match rotated.split_at_mut_checked(prepared.len()) {
        Some(both) => both,
        None => return,
    };
    from.copy_from_slice(prepared);
    rest.fill(0);
}

/// Makes a query's table: for each four dimensions and each four bits how many differ. Returns one
/// step of it and what is added to a sum.
pub fn table(rotated: &[u32], table: &mut [u8]) -> (u32, u32) {
    for (query, row) in rotated.chunks(4).zip(table.chunks_mut(16)) {
        let query = nibble(query);
        for (bits, count) in row.iter_mut().enumerate() {
            *count = (bits ^ query).count_ones() as u8;
        }
    }
    (ONE, 0)
}

/// Codes the edge between two prepared vectors. An estimate is the looked up sum alone: factor A is
/// nothing, B is one.
pub fn edge(from: &[u32], to: &[u32], edge: &mut Edge) {
    let differ = from.iter().zip(to).filter(|(a, b)| a != b).count();
    (edge.length, edge.a, edge.b) = (float(differ as u32), 0, ONE);
    edge.code.fill(0);
    for (byte, eight) in edge.code.iter_mut().zip(to.chunks(8)) {
        let (low, high) = eight.split_at_checked(4).unwrap_or((eight, &[]));
        *byte = (nibble(low) | nibble(high) << 4) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn numbers_are_floats() {
        for n in (0..10_000).chain([1 << 20, (1 << 24) - 1]) {
            assert_eq!(f32::from_bits(float(n)), n as f32);
        }
    }
}
