// SPDX-License-Identifier: GPL-2.0
//! POSIX pax archives: headers for what we write, and a reader for what we (or tar) wrote.
//!
//! The writer aligns each member's data to 4 KiB: it fills up the extended header with a `comment` record, which every
//! tar skips. What a restore without VexFS does not need (inode, version, digest) are `VEXFS.*` records, which tar keeps
//! or skips, as it likes.

use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// Tar's unit.
pub const BLOCK: u64 = 512;
/// Data of members begin at multiples of this.
pub const ALIGN: u64 = 4096;
/// The longest extended header that is read.
const MAX_RECORDS: u64 = 1 << 20;

/// What a header says of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Where it goes, relative; any bytes but NUL.
    pub path: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime_sec: i64,
    pub mtime_nsec: u32,
    pub size: u64,
    /// Extended records besides those that follow from the above.
    pub records: BTreeMap<String, Vec<u8>>,
}

/// One record: its length in decimal, itself included, a blank, `key=value`, a newline.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = 1 + key.len() + 1 + value.len() + 1;
    let mut len = body + 1;
    while len != body + len.to_string().len() {
        len = body + len.to_string().len();
    }
    let mut r = format!("{len} {key}=").into_bytes();
    r.extend_from_slice(value);
    r.push(b'\n');
    r
}

fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    let fits = text.len() <= digits;
    let text = if fits { text } else { "0".repeat(digits) };
    field[..digits].copy_from_slice(text.as_bytes());
    fits
}

fn ustar(name: &[u8], mode: u32, uid: u64, gid: u64, size: u64, mtime: u64, kind: u8) -> [u8; 512] {
    let mut h = [0u8; 512];
    let n = name.len().min(100);
    h[..n].copy_from_slice(&name[..n]);
    octal(&mut h[100..108], u64::from(mode & 0o7777));
    octal(&mut h[108..116], uid);
    octal(&mut h[116..124], gid);
    octal(&mut h[124..136], size);
    octal(&mut h[136..148], mtime);
    h[148..156].fill(b' ');
    h[156] = kind;
    h[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = h.iter().map(|&b| u64::from(b)).sum();
    octal(&mut h[148..155], sum);
    h
}

fn padded(len: u64) -> u64 {
    len.div_ceil(BLOCK) * BLOCK
}

/// The headers of a member that begins at byte `at` (a multiple of 512) of the archive. The data follow immediately,
/// at a multiple of [`ALIGN`].
pub fn member_header(at: u64, meta: &Meta) -> Vec<u8> {
    let mut records = meta.records.clone();
    let utf8 = std::str::from_utf8(&meta.path).is_ok();
    if !utf8 {
        records.insert("hdrcharset".into(), b"BINARY".to_vec());
    }
    if meta.path.len() > 100 || !meta.path.is_ascii() {
        records.insert("path".into(), meta.path.clone());
    }
    if meta.size >= 1 << 33 {
        records.insert("size".into(), meta.size.to_string().into_bytes());
    }
    for (key, id) in [("uid", meta.uid), ("gid", meta.gid)] {
        if id >= 1 << 21 {
            records.insert(key.into(), id.to_string().into_bytes());
        }
    }
    records.insert(
        "mtime".into(),
        mtime(meta.mtime_sec, meta.mtime_nsec).into_bytes(),
    );
    let mut body: Vec<u8> = Vec::new();
    // Before the names that it applies to.
    if let Some(charset) = records.remove("hdrcharset") {
        body.extend(record("hdrcharset", &charset));
    }
    for (key, value) in &records {
        body.extend(record(key, value));
    }
    // Two headers and the records end where the data are to begin.
    let mut end = at + 2 * BLOCK + padded(body.len() as u64);
    if end % ALIGN != 0 {
        end = end.div_ceil(ALIGN) * ALIGN;
        let room = (end - at - 2 * BLOCK) as usize - body.len();
        body.extend(filler(room));
    }
    let path = &meta.path;
    // GNU tar's habit: the extended header has a name of its own, for tars that know no pax.
    let mut x = ustar(b"././@PaxHeader", 0o644, 0, 0, body.len() as u64, 0, b'x').to_vec();
    x.extend(&body);
    x.resize((BLOCK + padded(body.len() as u64)) as usize, 0);
    let seconds = meta.mtime_sec.clamp(0, (1 << 33) - 1) as u64;
    let size = if meta.size < 1 << 33 { meta.size } else { 0 };
    x.extend(ustar(
        path,
        meta.mode,
        small(meta.uid),
        small(meta.gid),
        size,
        seconds,
        b'0',
    ));
    x
}

fn small(id: u32) -> u64 {
    if id < 1 << 21 {
        u64::from(id)
    } else {
        0
    }
}

/// Seconds with a fraction, as pax has them; the fraction counts forward from the second, also before 1970.
fn mtime(sec: i64, nsec: u32) -> String {
    if nsec == 0 {
        return sec.to_string();
    }
    if sec < 0 {
        let total = i128::from(sec) * 1_000_000_000 + i128::from(nsec);
        let abs = total.unsigned_abs();
        return format!("-{}.{:09}", abs / 1_000_000_000, abs % 1_000_000_000);
    }
    format!("{sec}.{nsec:09}")
}

/// A `comment` record of exactly `room` bytes, or nothing where none is that short (zeros then end the block).
fn filler(room: usize) -> Vec<u8> {
    // "N comment=" and the newline take 11 to 14 bytes.
    for value in (0..=room.saturating_sub(11)).rev() {
        let r = record("comment", &vec![b' '; value]);
        if r.len() == room {
            return r;
        }
        if r.len() < room {
            break;
        }
    }
    // No record has this length: two have.
    if room > 64 {
        let first = record("comment", &[b' '; 20]);
        let mut both = first.clone();
        both.extend(filler(room - first.len()));
        return both;
    }
    Vec::new()
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub meta: Meta,
    /// Where its data begin.
    pub data: u64,
    /// `0` for a file.
    pub kind: u8,
}

/// Reads the members of an archive one after the other.
pub struct Reader<R> {
    from: R,
    at: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Starts at the beginning of `from`.
    pub fn new(from: R) -> Self {
        Reader { from, at: 0 }
    }

    /// The next member, or nothing at the end. Leaves the position anywhere.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        let mut records = BTreeMap::new();
        loop {
            let Some(h) = self.header()? else {
                return Ok(None);
            };
            let kind = h[156];
            let size = number(&h[124..136]).context("size in a header")?;
            if kind == b'x' {
                if size > MAX_RECORDS {
                    bail!("an extended header of {size} bytes at byte {}", self.at);
                }
                let mut body = vec![0; size as usize];
                self.from
                    .read_exact(&mut body)
                    .context("an extended header is cut off")?;
                self.at += BLOCK + padded(size);
                records = parse_records(&body)?;
                continue;
            }
            return self.member(&h, size, records).map(Some);
        }
    }

    fn header(&mut self) -> Result<Option<[u8; 512]>> {
        let mut h = [0; 512];
        self.from.seek(SeekFrom::Start(self.at))?;
        self.from.read_exact(&mut h).with_context(|| {
            format!("the archive ends without its end mark, at byte {}", self.at)
        })?;
        if h.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let stored = number(&h[148..156]).context("checksum in a header")?;
        let sum: u64 = h
            .iter()
            .enumerate()
            .map(|(i, &b)| {
                if (148..156).contains(&i) {
                    32
                } else {
                    u64::from(b)
                }
            })
            .sum();
        if &h[257..262] != b"ustar" || stored != sum {
            bail!("no header at byte {}", self.at);
        }
        Ok(Some(h))
    }

    fn member(
        &mut self,
        h: &[u8; 512],
        size: u64,
        mut records: BTreeMap<String, Vec<u8>>,
    ) -> Result<Member> {
        let text = |r: &mut BTreeMap<String, Vec<u8>>, key: &str| {
            r.remove(key).and_then(|v| String::from_utf8(v).ok())
        };
        records.remove("comment");
        records.remove("hdrcharset");
        let path = records
            .remove("path")
            .unwrap_or_else(|| until_nul(&h[..100]).to_vec());
        let size = text(&mut records, "size")
            .and_then(|s| s.parse().ok())
            .unwrap_or(size);
        let id = |r: &mut BTreeMap<String, Vec<u8>>, key: &str, field: &[u8]| -> Result<u32> {
            match text(r, key) {
                Some(s) => Ok(s.parse()?),
                None => Ok(u32::try_from(number(field)?)?),
            }
        };
        let uid = id(&mut records, "uid", &h[108..116]).context("uid")?;
        let gid = id(&mut records, "gid", &h[116..124]).context("gid")?;
        let (mtime_sec, mtime_nsec) = match text(&mut records, "mtime") {
            Some(s) => parse_time(&s).with_context(|| format!("time {s}"))?,
            None => (number(&h[136..148])? as i64, 0),
        };
        let mode = number(&h[100..108])? as u32;
        let data = self.at + BLOCK;
        self.at = data
            .checked_add(padded(size))
            .context("a member is too large")?;
        Ok(Member {
            meta: Meta {
                path,
                mode,
                uid,
                gid,
                mtime_sec,
                mtime_nsec,
                size,
                records,
            },
            data,
            kind: h[156],
        })
    }
}

fn until_nul(b: &[u8]) -> &[u8] {
    b.split(|&c| c == 0).next().unwrap_or(b)
}

fn number(field: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(until_nul(field))?.trim();
    if text.is_empty() {
        return Ok(0);
    }
    Ok(u64::from_str_radix(text, 8)?)
}

fn parse_time(s: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
    let digits = format!("{fraction:0<9}");
    let nsec: u32 = digits.get(..9)?.parse().ok()?;
    let sec: i64 = whole.parse().ok()?;
    if whole.starts_with('-') && nsec > 0 {
        return Some((sec - 1, 1_000_000_000 - nsec));
    }
    Some((sec, nsec))
}

fn parse_records(mut b: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !b.is_empty() && b[0] != 0 {
        let blank = b
            .iter()
            .position(|&c| c == b' ')
            .context("a record without a length")?;
        let len: usize = std::str::from_utf8(&b[..blank])?
            .parse()
            .context("the length of a record")?;
        let body = b.get(blank + 1..len).context("a record is cut off")?;
        let body = body
            .strip_suffix(b"\n")
            .context("a record without an end")?;
        let equals = body
            .iter()
            .position(|&c| c == b'=')
            .context("a record without a value")?;
        records.insert(
            String::from_utf8_lossy(&body[..equals]).into_owned(),
            body[equals + 1..].to_vec(),
        );
        b = &b[len..];
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn meta(path: &[u8], size: u64) -> Meta {
        Meta {
            path: path.to_vec(),
            mode: 0o640,
            uid: 5,
            gid: 6,
            mtime_sec: 1_700_000_000,
            mtime_nsec: 123_456_789,
            size,
            ..Meta::default()
        }
    }

    #[test]
    fn record_lengths_count_themselves() {
        for n in 0..1200 {
            let r = record("comment", &vec![b'x'; n]);
            let text = String::from_utf8(r.clone()).unwrap();
            assert_eq!(
                text.split(' ').next().unwrap().parse::<usize>().unwrap(),
                r.len()
            );
        }
    }

    #[test]
    fn data_begin_at_multiples_of_4096() {
        for n in 1..6000 {
            let mut m = meta(b"a/file", 10);
            m.records.insert("VEXFS.x".into(), vec![b'y'; n]);
            let at = 512 * (n as u64 % 8);
            let h = member_header(at, &m);
            assert_eq!((at + h.len() as u64) % ALIGN, 0, "{n}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let long = vec![b'p'; 300];
        let all = [
            meta(b"plain", 0),
            meta(&long, 5000),
            meta("ünï/çödé".as_bytes(), 1),
            meta(b"not\xffutf8", 513),
            Meta {
                uid: u32::MAX,
                gid: 3_000_000,
                mtime_sec: -5,
                mtime_nsec: 1,
                ..meta(b"odd", 512)
            },
            Meta {
                records: [("VEXFS.ino".to_owned(), b"77".to_vec())].into(),
                ..meta(b"ours", 9)
            },
        ];
        let mut tar = Vec::new();
        for m in &all {
            tar.extend(member_header(tar.len() as u64, m));
            tar.extend(vec![b'd'; m.size as usize]);
            tar.resize(tar.len().div_ceil(512) * 512, 0);
        }
        tar.resize(tar.len() + 1024, 0);
        let mut r = Reader::new(Cursor::new(&tar));
        for m in &all {
            let got = r.next_member().unwrap().unwrap();
            assert_eq!(&got.meta, m);
            assert_eq!(got.data % ALIGN, 0);
        }
        assert!(r.next_member().unwrap().is_none());
        for cut in [100, 600, tar.len() - 1024] {
            let mut r = Reader::new(Cursor::new(&tar[..cut]));
            assert!((0..10).any(|_| r.next_member().is_err()), "cut at {cut}");
        }
    }

    #[test]
    fn a_member_above_8_gib_keeps_its_size() {
        let m = meta(b"huge", 1 << 40);
        let h = member_header(0, &m);
        let got = Reader::new(Cursor::new(h)).next_member().unwrap().unwrap();
        assert_eq!(got.meta.size, 1 << 40);
    }
}
