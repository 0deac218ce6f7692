// SPDX-License-Identifier: GPL-2.0
//! Sets of vectors with known neighbours.

use crate::collection::Metric;
use crate::vectors_io::VectorFile;
use anyhow::{bail, Context, Result};
use std::path::Path;

/// Vectors, one after the other.
pub struct Vectors {
    /// Numbers in a vector.
    pub dim: usize,
    numbers: Vec<f32>,
}

impl Vectors {
    /// Reads a file of vectors.
    pub fn read(path: &Path) -> Result<Vectors> {
        let file = VectorFile::open(path)?;
        if file.count == 0 {
            bail!("{} has no vectors", path.display());
        }
        Ok(Vectors {
            dim: file.dim,
            numbers: file.read_all()?,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.numbers.len() / self.dim
    }

    /// Keeps the first so many.
    pub fn truncate(&mut self, count: usize) {
        self.numbers.truncate(count.saturating_mul(self.dim));
    }

    /// All of them.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.dim)
    }

    /// One of them.
    pub fn row(&self, row: usize) -> &[f32] {
        self.numbers
            .get(row * self.dim..(row + 1) * self.dim)
            .unwrap_or(&[])
    }

    /// All of them, so many at a time.
    pub fn blocks(&self, rows: usize) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks(rows * self.dim)
    }
}

/// The true neighbours of queries, as row numbers.
#[derive(Debug)]
pub struct Truth {
    width: usize,
    ids: Vec<u64>,
}

impl Truth {
    /// Reads an .ivecs file: for each query an i32 count and that many i32, nearest first. It must have `queries`
    /// rows of `k` or more different numbers, all below `base`.
    pub fn read(path: &Path, queries: usize, k: usize, base: usize) -> Result<Truth> {
        let what = || format!("{} is no truth for these vectors", path.display());
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut words = bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let width = words.clone().next().unwrap_or(0) as usize;
        if width < k {
            bail!("{}: it has {width} neighbours a query, not {k}", what());
        }
        if bytes.len() as u64 != queries as u64 * 4 * (width as u64 + 1) {
            bail!("{}: it has not {queries} rows of {width} numbers", what());
        }
        let mut ids = Vec::with_capacity(queries * width);
        for row in 0..queries {
            if words.next() != Some(width as u32) {
                bail!("{}: row {row} has another length", what());
            }
            let start = ids.len();
            ids.extend(words.by_ref().take(width).map(u64::from));
            if let Some(id) = ids[start..].iter().find(|id| **id >= base as u64) {
                bail!("{}: row {row} has number {id} of {base}", what());
            }
            let mut first = ids[start..start + k].to_vec();
            first.sort_unstable();
            first.dedup();
            if first.len() < k {
                bail!("{}: row {row} has a number twice", what());
            }
        }
        Ok(Truth { width, ids })
    }

    /// Compares all with all.
    pub fn compute(base: &Vectors, queries: &Vectors, k: usize, metric: Metric) -> Truth {
        let mut ids = Vec::new();
        for query in queries.rows() {
            let mut all: Vec<(f64, u64)> = base
                .rows()
                .zip(0..)
                .map(|(row, id)| (distance(query, row, metric), id))
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            ids.extend(all.iter().take(k).map(|(_, id)| *id));
        }
        Truth { width: k, ids }
    }

    /// How many of the first `k` were found.
    pub fn hits(&self, query: usize, found: &[u64], k: usize) -> usize {
        let row = self.ids.get(query * self.width..).unwrap_or(&[]);
        let row = row.iter().take(k);
        row.filter(|id| found.contains(id)).count()
    }

    /// How many others were found that are as near as the last of the first `k`.
    pub fn ties(&self, query: usize, found: &[u64], k: usize, at: impl Fn(usize) -> f64) -> usize {
        let row = self.ids.get(query * self.width..).unwrap_or(&[]);
        let row = row.get(..k).unwrap_or(row);
        let last = row.last().map_or(f64::MIN, |last| at(*last as usize));
        let others = found.iter().filter(|id| !row.contains(id));
        others.filter(|id| at(**id as usize) <= last).count()
    }
}

/// How far `b` is from the query `a`: an order, no more; exact for whole numbers but for cosine.
pub fn distance(a: &[f32], b: &[f32], metric: Metric) -> f64 {
    let pairs = a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    let dot = || pairs.clone().map(|(x, y)| x * y).sum::<f64>();
    match metric {
        Metric::L2 | Metric::Hamming => pairs.clone().map(|(x, y)| (x - y) * (x - y)).sum(),
        Metric::Cosine => {
            let square: f64 = pairs.clone().map(|(_, y)| y * y).sum();
            -dot() / square.sqrt()
        }
        _ => -dot(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ivecs(rows: &[&[i32]]) -> tempfile::NamedTempFile {
        let mut bytes = Vec::new();
        for row in rows {
            bytes.extend((row.len() as i32).to_le_bytes());
            bytes.extend(row.iter().flat_map(|id| id.to_le_bytes()));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn truth_is_read_and_counted() {
        let file = ivecs(&[&[3, 1, 2], &[0, 9, 4]]);
        let truth = Truth::read(file.path(), 2, 2, 10).unwrap();
        assert_eq!(truth.hits(0, &[1, 3, 7], 2), 2);
        // The third neighbour is not one of the two nearest.
        assert_eq!(truth.hits(1, &[4, 9], 2), 1);
        assert_eq!(truth.hits(1, &[], 2), 0);
        // Row 7 is as near to the first query as the last of its two nearest, row 5 is not.
        let at = |row: usize| [9.0, 4.0, 9.0, 2.0, 9.0, 4.5, 9.0, 4.0][row];
        assert_eq!(truth.ties(0, &[3, 7], 2, at), 1);
        assert_eq!(truth.ties(0, &[3, 5, 1], 2, at), 0);
    }

    #[test]
    fn truth_of_something_else_is_refused_with_a_reason() {
        for (rows, reason) in [
            (&[][..], "0 neighbours"),
            (&[&[1][..], &[2]], "1 neighbours"),
            (&[&[1, 2]], "not 2 rows"),
            (&[&[1, 2], &[3, 4], &[5, 6]], "not 2 rows"),
            (&[&[1, 2], &[3, 10]], "number 10 of 10"),
            (&[&[1, 2], &[3, -1]], "number 4294967295 of 10"),
            (&[&[1, 2], &[3, 3]], "twice"),
            (&[&[1, 2, 3], &[4], &[5]], "another length"),
        ] {
            let file = ivecs(rows);
            let e = Truth::read(file.path(), 2, 2, 10).expect_err(reason);
            assert!(format!("{e:#}").contains(reason), "{e:#}");
        }
        let file = ivecs(&[&[1, 2], &[3, 4]]);
        let bytes = std::fs::read(file.path()).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(file.path(), &bytes[..len]).unwrap();
            assert!(Truth::read(file.path(), 2, 2, 10).is_err(), "{len}");
        }
    }

    #[test]
    fn computed_truth_follows_the_metric() {
        let set = |numbers: &[f32]| Vectors {
            dim: 2,
            numbers: numbers.to_vec(),
        };
        let base = set(&[1.0, 0.0, 9.0, 9.0, 0.0, 2.0, 1.1, 1.0]);
        let query = set(&[1.0, 1.0]);
        for (metric, want) in [
            (Metric::L2, [3, 0]),
            (Metric::Cosine, [1, 3]),
            (Metric::Ip, [1, 3]),
        ] {
            let truth = Truth::compute(&base, &query, 2, metric);
            assert_eq!(truth.ids, want, "{metric:?}");
        }
    }
}
