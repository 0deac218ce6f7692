// SPDX-License-Identifier: GPL-2.0
//! The file of a dump: compressed by gzip, and in that
//!
//! ```text
//! header   "VEXDUMP", 1; flags le64; blocks of the volume's device le64
//! runs     first block le64, blocks le64 (1 at least), the blocks; ascending
//! end      2^64 - 1 le64, blocks in all runs le64
//! ```

use anyhow::{bail, Context, Result};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::Compression;
use std::io::{Read, Write};
use vexfs::libvexfs::journal::BLOCK_SIZE;

const MAGIC: [u8; 8] = *b"VEXDUMP\x01";
const END: u64 = u64::MAX;
/// Blocks of a run, at most: what a reader has to have memory for.
const RUN: usize = 256;
/// Names were replaced.
pub const FLAG_OBFUSCATED: u64 = 1;
const FLAGS_KNOWN: u64 = FLAG_OBFUSCATED;

/// Writes a dump.
pub struct Writer<W: Write> {
    to: GzEncoder<W>,
    first: u64,
    run: Vec<u8>,
    blocks: u64,
}

impl<W: Write> Writer<W> {
    /// Begins one, of a device of so many blocks.
    pub fn new(to: W, flags: u64, device_blocks: u64) -> Result<Writer<W>> {
        let mut to = GzEncoder::new(to, Compression::default());
        to.write_all(&MAGIC)?;
        to.write_all(&flags.to_le_bytes())?;
        to.write_all(&device_blocks.to_le_bytes())?;
        Ok(Writer {
            to,
            first: 0,
            run: Vec::new(),
            blocks: 0,
        })
    }

    /// Adds a block; they come in ascending order.
    pub fn block(&mut self, bno: u64, data: &[u8; BLOCK_SIZE]) -> Result<()> {
        let len = self.run.len() / BLOCK_SIZE;
        if len == RUN || self.first.checked_add(len as u64) != Some(bno) {
            self.end_run()?;
            self.first = bno;
        }
        self.run.extend_from_slice(data);
        self.blocks += 1;
        Ok(())
    }

    fn end_run(&mut self) -> Result<()> {
        if !self.run.is_empty() {
            let len = (self.run.len() / BLOCK_SIZE) as u64;
            self.to.write_all(&self.first.to_le_bytes())?;
            self.to.write_all(&len.to_le_bytes())?;
            self.to.write_all(&self.run)?;
            self.run.clear();
        }
        Ok(())
    }

    /// Ends it; returns the number of blocks.
    pub fn finish(mut self) -> Result<(u64, W)> {
        self.end_run()?;
        self.to.write_all(&END.to_le_bytes())?;
        self.to.write_all(&self.blocks.to_le_bytes())?;
        Ok((self.blocks, self.to.finish()?))
    }
}

/// Reads a dump.
pub struct Reader<R: Read> {
    from: GzDecoder<R>,
    /// What was done to the blocks.
    pub flags: u64,
    /// Blocks of the device.
    pub device_blocks: u64,
    blocks: u64,
    next: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(from: R) -> Result<Reader<R>> {
        let mut from = GzDecoder::new(from);
        let mut magic = [0; 8];
        if from.read_exact(&mut magic).is_err() || magic != MAGIC {
            bail!("it is no dump of vexctl, or one of another version");
        }
        let mut reader = Reader {
            from,
            flags: 0,
            device_blocks: 0,
            blocks: 0,
            next: 0,
        };
        reader.flags = reader.number()?;
        reader.device_blocks = reader.number()?;
        // A file cannot be longer, whatever the header says.
        let bytes = reader.device_blocks.checked_mul(BLOCK_SIZE as u64);
        if reader.flags & !FLAGS_KNOWN != 0 || bytes.is_none_or(|n| i64::try_from(n).is_err()) {
            bail!("its header is damaged, or of another version");
        }
        Ok(reader)
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.from
            .read_exact(&mut bytes)
            .context("it ends too early or is damaged")?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The next run: its first block, and the blocks. None: that was all.
    pub fn run(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        let (first, len) = (self.number()?, self.number()?);
        if first == END {
            let mut rest = [0; 1];
            let more = self.from.read(&mut rest).context("it is damaged")?;
            if len != self.blocks || more != 0 {
                bail!("it is damaged: {} blocks of {len}", self.blocks);
            }
            return Ok(None);
        }
        let end = first
            .checked_add(len)
            .filter(|end| *end <= self.device_blocks);
        let (Some(end), true) = (end, first >= self.next && (1..=RUN as u64).contains(&len)) else {
            bail!("it is damaged: {len} blocks from {first}");
        };
        let mut data = vec![0; len as usize * BLOCK_SIZE];
        self.from
            .read_exact(&mut data)
            .context("it ends too early or is damaged")?;
        self.next = end;
        self.blocks += len;
        Ok(Some((first, data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 0, 5_000).unwrap();
        for bno in (0..600).chain([700, 4_999]) {
            writer.block(bno, &[bno as u8; BLOCK_SIZE]).unwrap();
        }
        let (blocks, file) = writer.finish().unwrap();
        assert_eq!(blocks, 602);
        file
    }

    /// How many blocks there are, and how many of them as they were written. (The sum at the end says whether a file
    /// is damaged: until then anything may come out.)
    fn read(file: &[u8]) -> Result<(u64, u64)> {
        let mut reader = Reader::new(file)?;
        let (mut blocks, mut right) = (0, 0);
        while let Some((first, data)) = reader.run()? {
            for (n, block) in data.chunks(BLOCK_SIZE).enumerate() {
                blocks += 1;
                right += u64::from(block.iter().all(|b| *b == (first + n as u64) as u8));
            }
        }
        Ok((blocks, right))
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&sample()).unwrap(), (602, 602));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let file = sample();
        for len in 0..file.len() {
            assert!(read(&file[..len]).is_err(), "{len} bytes");
        }
        for at in 10..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad).is_err(), "byte {at}");
        }
    }
}
