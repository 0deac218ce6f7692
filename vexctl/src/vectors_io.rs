// SPDX-License-Identifier: GPL-2.0
//! Files full of vectors: `.fvecs` (per vector an i32 dimension and that many f32), `.bvecs` (the same with bytes) and
//! `.npy` (NumPy, two dimensions, f2, f4, f8, i1 or u1). Read row by row, so that a file may be larger than memory.

use crate::abi::vector as abi;
use crate::error::HintExt;
use crate::mounted::Collection;
use anyhow::{anyhow, bail, Context, Result};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// How a file stores numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    F16,
    F32,
    F64,
    Signed(usize),
    Unsigned(usize),
}

impl Number {
    fn size(self) -> usize {
        match self {
            Number::F16 => 2,
            Number::F32 => 4,
            Number::F64 => 8,
            Number::Signed(n) | Number::Unsigned(n) => n,
        }
    }
}

/// A file of vectors, to be read from the first to the last.
#[derive(Debug)]
pub struct VectorFile {
    reader: BufReader<File>,
    path: PathBuf,
    number: Number,
    /// Whether each vector begins with its dimension.
    counted: bool,
    /// Whether each number is a bit.
    packed: bool,
    /// Numbers in a vector.
    pub dim: usize,
    /// Vectors in the file.
    pub count: usize,
    row: Vec<u8>,
}

impl VectorFile {
    /// Opens a file; its name says what it is.
    pub fn open(path: &Path) -> Result<VectorFile> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let len = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let what = || format!("{} is not a file of vectors", path.display());
        let (number, dim, count, counted) = match path.extension().and_then(|e| e.to_str()) {
            Some(name @ ("fvecs" | "bvecs")) => {
                let number = match name {
                    "fvecs" => Number::F32,
                    _ => Number::Unsigned(1),
                };
                let mut head = [0; 4];
                if len > 0 {
                    reader.read_exact(&mut head).with_context(what)?;
                    reader.seek_relative(-4)?;
                }
                let dim = i32::from_le_bytes(head);
                if len > 0 && !(1..=1 << 20).contains(&dim) {
                    bail!("{}: its first dimension is {dim}", what());
                }
                let row = 4 + number.size() as u64 * dim as u64;
                if len % row != 0 {
                    bail!(
                        "{}: {len} bytes are not whole vectors of {dim} numbers",
                        what()
                    );
                }
                (number, dim as usize, (len / row) as usize, true)
            }
            Some("npy") => {
                let head = npy_header(&mut reader).with_context(what)?;
                let &[count, dim] = head.shape.as_slice() else {
                    bail!("{}: it has {} dimensions, not 2", what(), head.shape.len())
                };
                let fits = match head.number {
                    Number::F16 | Number::F32 | Number::F64 => true,
                    Number::Signed(n) | Number::Unsigned(n) => n == 1,
                };
                if !fits || dim == 0 {
                    bail!(
                        "{}: it has neither floating-point numbers nor bytes",
                        what()
                    );
                }
                let bytes = (count as u64).checked_mul((dim * head.number.size()) as u64);
                if bytes.is_none_or(|b| head.len + b > len) {
                    bail!("{}: it is shorter than its header says", what());
                }
                (head.number, dim, count, false)
            }
            _ => {
                return Err(anyhow!(
                    "cannot tell what {} is from its name",
                    path.display()
                ))
                .hint("files of vectors end in .fvecs, .bvecs or .npy")
            }
        };
        Ok(VectorFile {
            reader,
            path: path.to_owned(),
            number,
            counted,
            packed: false,
            dim,
            count,
            row: Vec::new(),
        })
    }

    /// Takes bytes for eight bits each, the first one highest (as `numpy.packbits` makes them), if that is what the
    /// collection's dimension says.
    pub fn unpack_for(&mut self, collection: &Collection) {
        if collection.raw.r#type == abi::TYPE_BINARY {
            self.unpack(collection.dim());
        }
    }

    fn unpack(&mut self, dim: usize) {
        if self.number == Number::Unsigned(1) && dim != self.dim && dim.div_ceil(8) == self.dim {
            (self.packed, self.dim) = (true, dim);
        }
    }

    /// Bytes of a vector.
    fn bytes(&self) -> usize {
        match self.packed {
            true => self.dim.div_ceil(8),
            false => self.dim * self.number.size(),
        }
    }

    /// Appends the next vector to `to`.
    pub fn next(&mut self, to: &mut Vec<f32>) -> Result<()> {
        let head = if self.counted { 4 } else { 0 };
        self.row.resize(head + self.bytes(), 0);
        self.reader
            .read_exact(&mut self.row)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        let (dim, numbers) = self.row.split_at(head);
        let counted = match self.packed {
            true => numbers.len(),
            false => self.dim,
        };
        if self.counted && dim != (counted as i32).to_le_bytes() {
            bail!(
                "{} has vectors of different dimensions",
                self.path.display()
            );
        }
        match self.number {
            Number::F16 => {
                to.extend(chunks::<2>(numbers).map(|b| half_to_f32(u16::from_le_bytes(b))))
            }
            Number::Unsigned(1) if self.packed => {
                let bits = (0..self.dim).map(|i| numbers[i / 8] >> (7 - i % 8) & 1);
                to.extend(bits.map(f32::from));
                let rest = numbers.len() * 8 - self.dim;
                if numbers
                    .last()
                    .is_some_and(|b| b.trailing_zeros() < rest as u32)
                {
                    bail!("{} has bits behind the last number", self.path.display());
                }
            }
            Number::Unsigned(1) => to.extend(numbers.iter().map(|b| f32::from(*b))),
            Number::Signed(1) => to.extend(numbers.iter().map(|b| f32::from(*b as i8))),
            Number::F64 => to.extend(chunks::<8>(numbers).map(|b| f64::from_le_bytes(b) as f32)),
            _ => to.extend(chunks::<4>(numbers).map(f32::from_le_bytes)),
        }
        Ok(())
    }

    /// Reads all vectors, one after the other.
    pub fn read_all(mut self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for _ in 0..self.count {
            self.next(&mut all)?;
        }
        Ok(all)
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes
        .chunks_exact(N)
        .map(|b| b.try_into().expect("exact chunks"))
}

/// The f32 of an IEEE 754 binary16.
pub fn half_to_f32(h: u16) -> f32 {
    let sign = if h & 0x8000 != 0 { -1.0 } else { 1.0 };
    let mantissa = f32::from(h & 0x3ff);
    sign * match (h >> 10) & 31 {
        0 => mantissa / 16_777_216.0,
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + mantissa / 1024.0) * 2f32.powi(i32::from(e) - 15),
    }
}

/// The nearest binary16 of an ordinary number (for our own files: no care for what does not fit).
pub fn f32_to_half(x: f32) -> u16 {
    let sign = if x < 0.0 { 0x8000 } else { 0 };
    let bits = x.abs().to_bits();
    if bits < 0x3880_0000 {
        return sign | (x.abs() * 16_777_216.0).round() as u16;
    }
    sign | (((bits - (112 << 23) + 0x1000) >> 13).min(0x7bff)) as u16
}

struct Header {
    number: Number,
    shape: Vec<usize>,
    /// Bytes before the first number.
    len: u64,
}

/// Reads the header of a `.npy` file: `\x93NUMPY`, version, length, and a Python dictionary as text.
fn npy_header(reader: &mut impl Read) -> Result<Header> {
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if &start[..6] != b"\x93NUMPY" {
        bail!("no NumPy header");
    }
    let (len, before) = if start[6] == 1 {
        let mut len = [0; 2];
        reader.read_exact(&mut len)?;
        (u16::from_le_bytes(len).into(), 10)
    } else {
        let mut len = [0; 4];
        reader.read_exact(&mut len)?;
        (u32::from_le_bytes(len), 12)
    };
    if len > 1 << 16 {
        bail!("a header of {len} bytes");
    }
    let mut text = vec![0; len as usize];
    reader.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| -> Result<&str> {
        let at = text
            .find(&format!("'{name}'"))
            .ok_or_else(|| anyhow!("no {name} in its header"))?;
        let rest = &text[at + name.len() + 2..];
        Ok(rest.trim_start_matches([':', ' ']))
    };
    if field("fortran_order")?.starts_with("True") {
        bail!("its numbers are in Fortran order (save numpy.ascontiguousarray(a) instead)");
    }
    let shape = field("shape")?;
    let shape = shape
        .strip_prefix('(')
        .and_then(|s| s.split(')').next())
        .ok_or_else(|| anyhow!("no shape"))?;
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| {
            s.parse::<usize>()
                .map_err(|_| anyhow!("bad shape ({shape})"))
        })
        .collect::<Result<Vec<_>>>()?;
    let descr = field("descr")?.trim_start_matches('\'');
    let descr = descr.split('\'').next().unwrap_or("");
    let number = match descr.trim_start_matches(['<', '|', '=']) {
        "f2" => Number::F16,
        "f4" => Number::F32,
        "f8" => Number::F64,
        "i1" => Number::Signed(1),
        "i2" => Number::Signed(2),
        "i4" => Number::Signed(4),
        "i8" => Number::Signed(8),
        "u1" => Number::Unsigned(1),
        "u2" => Number::Unsigned(2),
        "u4" => Number::Unsigned(4),
        "u8" => Number::Unsigned(8),
        _ => bail!("numbers of type {descr:?}, not little-endian f2, f4 or f8"),
    };
    Ok(Header {
        number,
        shape,
        len: before + u64::from(len),
    })
}

/// Reads keys: a `.npy` of integers in one dimension, or text with one number a line.
pub fn read_keys(path: &Path) -> Result<Vec<u64>> {
    let what = || format!("cannot read keys from {}", path.display());
    if path.extension().is_some_and(|e| e == "npy") {
        let mut reader = BufReader::new(File::open(path).with_context(what)?);
        let head = npy_header(&mut reader).with_context(what)?;
        let size = match head.number {
            Number::Signed(n) | Number::Unsigned(n) if head.shape.len() == 1 => n,
            _ => bail!("{}: integers in one dimension are wanted", what()),
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        if bytes.len() / size < head.shape[0] {
            bail!("{}: it is shorter than its header says", what());
        }
        let keys = bytes.chunks_exact(size).take(head.shape[0]).map(|b| {
            let mut wide = [0; 8];
            wide[..size].copy_from_slice(b);
            let negative = matches!(head.number, Number::Signed(_)) && b[size - 1] & 0x80 != 0;
            (!negative).then_some(u64::from_le_bytes(wide))
        });
        return keys
            .map(|k| k.ok_or_else(|| anyhow!("{}: a key is negative", what())))
            .collect();
    }
    let text = std::fs::read_to_string(path).with_context(what)?;
    text.lines()
        .enumerate()
        .map(|(i, l)| {
            l.trim()
                .parse()
                .with_context(|| format!("{}: line {}: {l:?} is no number", what(), i + 1))
        })
        .collect()
}

/// Parses one vector as JSON, `[0.1, ...]`.
pub fn parse_vector(text: &str) -> Result<Vec<f32>> {
    let numbers: Vec<f64> = serde_json::from_str(text)
        .context("the vector is not a JSON array of numbers")
        .hint("write it like '[0.1, -0.2, 0.3]'")?;
    Ok(numbers.into_iter().map(|x| x as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, shape: &str, data: &[u8]) -> tempfile::NamedTempFile {
        let mut head =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + head.len() + 1) % 64 != 0 {
            head.push(' ');
        }
        head.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((head.len() as u16).to_le_bytes());
        bytes.extend(head.as_bytes());
        bytes.extend(data);
        let file = tempfile::Builder::new().suffix(".npy").tempfile().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn numpy_files_are_read_in_all_float_types() {
        let f4: Vec<u8> = [1.0f32, -2.5, 0.0, 4.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let f8: Vec<u8> = [1.0f64, -2.5, 0.0, 4.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let f2: Vec<u8> = [0x3c00u16, 0xc100, 0, 0x4400]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        for (descr, data) in [("<f4", &f4), ("<f8", &f8), ("<f2", &f2)] {
            let file = npy(descr, "(2, 2)", data);
            let vectors = VectorFile::open(file.path()).unwrap();
            assert_eq!((vectors.dim, vectors.count), (2, 2));
            assert_eq!(
                vectors.read_all().unwrap(),
                [1.0, -2.5, 0.0, 4.0],
                "{descr}"
            );
        }
    }

    #[test]
    fn what_is_no_file_of_vectors_is_refused_with_a_reason() {
        for (descr, shape, data, reason) in [
            ("<i4", "(1, 1)", &[0; 4][..], "neither floating-point"),
            ("<f4", "(4,)", &[0; 16], "1 dimensions"),
            ("<f4", "(4, 4)", &[0; 16], "shorter"),
            (">f4", "(1, 1)", &[0; 4], "little-endian"),
            ("<f4", "(99999999999999, 99999999)", &[0; 4], "shorter"),
        ] {
            let file = npy(descr, shape, data);
            let e = VectorFile::open(file.path()).expect_err(reason);
            assert!(format!("{e:#}").contains(reason), "{e:#}");
        }
    }

    #[test]
    fn fvecs_are_read_and_checked() {
        let mut bytes = Vec::new();
        for v in [[1.0f32, 2.0], [3.0, 4.0]] {
            bytes.extend(2i32.to_le_bytes());
            bytes.extend(v.iter().flat_map(|x| x.to_le_bytes()));
        }
        let file = tempfile::Builder::new()
            .suffix(".fvecs")
            .tempfile()
            .unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(
            VectorFile::open(file.path()).unwrap().read_all().unwrap(),
            [1.0, 2.0, 3.0, 4.0]
        );
        std::fs::write(file.path(), &bytes[..20]).unwrap();
        assert!(VectorFile::open(file.path()).is_err());
        bytes[12] = 3;
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(VectorFile::open(file.path()).unwrap().read_all().is_err());
    }

    #[test]
    fn bvecs_are_bytes() {
        let file = tempfile::Builder::new()
            .suffix(".bvecs")
            .tempfile()
            .unwrap();
        let bytes = [3, 0, 0, 0, 7, 0, 255, 3, 0, 0, 0, 1, 2, 3];
        std::fs::write(file.path(), bytes).unwrap();
        let vectors = VectorFile::open(file.path()).unwrap();
        assert_eq!((vectors.dim, vectors.count), (3, 2));
        assert_eq!(
            vectors.read_all().unwrap(),
            [7.0, 0.0, 255.0, 1.0, 2.0, 3.0]
        );
        for len in 1..bytes.len() {
            std::fs::write(file.path(), &bytes[..len]).unwrap();
            assert_eq!(VectorFile::open(file.path()).is_ok(), len == 7, "{len}");
        }
    }

    #[test]
    fn numpy_files_of_bytes_are_numbers_or_bits() {
        let bytes = [0x7f, 0x80, 0xff, 0x00];
        let read = |descr, shape, dim: Option<usize>| {
            let file = npy(descr, shape, &bytes);
            let mut vectors = VectorFile::open(file.path()).unwrap();
            if let Some(dim) = dim {
                vectors.unpack(dim);
            }
            vectors.read_all()
        };
        assert_eq!(
            read("|i1", "(2, 2)", None).unwrap(),
            [127.0, -128.0, -1.0, 0.0]
        );
        assert_eq!(
            read("|u1", "(2, 2)", Some(2)).unwrap(),
            [127.0, 128.0, 255.0, 0.0],
            "as many bytes as numbers are numbers"
        );
        let bits = read("|u1", "(2, 2)", Some(16)).unwrap();
        let packed = bits.chunks(8).map(|b| {
            let byte = b.iter().fold(0, |byte, bit| byte << 1 | *bit as u8);
            assert!(b.iter().all(|bit| *bit == 0.0 || *bit == 1.0));
            byte
        });
        assert_eq!(packed.collect::<Vec<_>>(), bytes);
        let ninth = read("|u1", "(2, 2)", Some(9)).unwrap();
        assert_eq!(ninth[..9], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let wrong = read("|u1", "(4, 1)", Some(7)).expect_err("a bit that is none of the vector's");
        assert!(format!("{wrong:#}").contains("behind the last number"));
    }

    #[test]
    fn keys_come_from_text_or_numpy() {
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "7\n18446744073709551615\n").unwrap();
        assert_eq!(read_keys(text.path()).unwrap(), [7, u64::MAX]);
        let file = npy("<i4", "(2,)", &[1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(read_keys(file.path()).unwrap(), [1, 2]);
        let file = npy("<i4", "(1,)", &[255; 4]);
        assert!(read_keys(file.path()).is_err());
    }

    #[test]
    fn halves_survive() {
        for h in (0..0x7c00u16).chain(0x8001..0xfc00) {
            assert_eq!(f32_to_half(half_to_f32(h)), h, "{h:x}");
        }
    }
}
