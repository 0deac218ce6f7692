// SPDX-License-Identifier: GPL-2.0

//! Files of vectors, and the data set beside the checkout.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Rows of one length.
pub struct Rows {
    /// Elements of a row.
    pub dim: usize,
    /// All rows, one after the other, as the file has them.
    pub words: Vec<[u8; 4]>,
}

impl Rows {
    /// Reads an fvecs or ivecs file: each row begins with its length.
    ///
    /// # Errors
    ///
    /// Those of reading, and `InvalidData` if it is no such file.
    pub fn read(path: &Path) -> Result<Rows> {
        let bytes = std::fs::read(path)?;
        let bad = || {
            Error::new(
                ErrorKind::InvalidData,
                format!("{}: no fvecs", path.display()),
            )
        };
        let head: [u8; 4] = bytes
            .get(..4)
            .and_then(|b| b.try_into().ok())
            .ok_or_else(bad)?;
        let dim = u32::from_le_bytes(head) as usize;
        if dim == 0 || bytes.len() % (4 * (dim + 1)) != 0 {
            return Err(bad());
        }
        let mut words = Vec::with_capacity(bytes.len() / 4);
        for row in bytes.chunks_exact(4 * (dim + 1)) {
            if row[..4] != head {
                return Err(bad());
            }
            words.extend(row[4..].chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]));
        }
        Ok(Rows { dim, words })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.words.len() / self.dim
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The bytes of a row.
    pub fn bytes(&self, row: usize) -> &[u8] {
        self.words[row * self.dim..(row + 1) * self.dim].as_flattened()
    }

    /// A row of integers.
    pub fn ids(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        let words = &self.words[row * self.dim..(row + 1) * self.dim];
        words.iter().map(|word| u32::from_le_bytes(*word))
    }
}

/// The data set beside the checkout, or where `VEXFS_TEST_DATA` says.
pub fn data() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data");
    let dir = std::env::var_os("VEXFS_TEST_DATA").map_or(beside, PathBuf::from);
    dir.join("glove100_base.fvecs").exists().then_some(dir)
}
