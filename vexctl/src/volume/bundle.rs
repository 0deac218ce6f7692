// SPDX-License-Identifier: GPL-2.0
//! Bundles: one tar file each, written once from front to back, as a tape is.

use super::label::{format_uuid, hex, Volume};
use super::pax::{member_header, Member, Meta, Reader, BLOCK};
use anyhow::{bail, Context, Result};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bundles end at a multiple of this, as they would on tape.
pub const PAD: u64 = 256 << 10;

/// Which file, in which version, a member is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub fsuuid: [u8; 16],
    pub ino: u64,
    pub generation: u32,
    pub version: u64,
    pub copy: u8,
}

/// A line of the index at the end of a bundle.
#[derive(Serialize)]
struct IndexLine<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    ino: u64,
    gen: u32,
    version: u64,
    size: u64,
    offset: u64,
    blake3: &'a str,
}

/// A bundle that is being written.
pub struct Writer {
    out: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    number: u32,
    at: u64,
    index: String,
    /// It has half a member that could not be taken back.
    broken: bool,
}

/// Where a member went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub bundle: u32,
    /// 256 KiB block at which the member's headers begin.
    pub block: u64,
    /// Byte at which its data begin.
    pub data: u64,
}

impl Writer {
    /// Begins bundle `number` of a volume.
    pub fn create(volume: &Volume, number: u32) -> Result<Writer> {
        let path = volume.bundle(number);
        if path.exists() {
            bail!("{} exists already", path.display());
        }
        let part = path.with_extension("tar.part");
        let file =
            File::create(&part).with_context(|| format!("cannot make {}", part.display()))?;
        Ok(Writer {
            out: BufWriter::with_capacity(1 << 20, file),
            part,
            path,
            number,
            at: 0,
            index: String::new(),
            broken: false,
        })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .with_context(|| format!("cannot write {}", self.part.display()))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, to: u64) -> Result<()> {
        let fill = self.at.div_ceil(to) * to - self.at;
        self.put(&vec![0; fill as usize])
    }

    /// Adds a file. `read` is called until `meta.size` bytes have come; they must have the digest `digest`.
    ///
    /// If that fails the bundle is as it was before; if not even that can be done, no more can be added.
    pub fn add(
        &mut self,
        meta: &Meta,
        source: &Source,
        digest: &[u8; 32],
        read: impl FnMut(u64) -> Result<Vec<u8>>,
    ) -> Result<Place> {
        let begin = self.at;
        self.add_member(meta, source, digest, read)
            .inspect_err(|_| self.back_to(begin))
    }

    /// Cuts the bundle off at byte `at`. A tape would have to start a new bundle here.
    fn back_to(&mut self, at: u64) {
        let file = || -> std::io::Result<()> {
            self.out.flush()?;
            self.out.get_ref().set_len(at)?;
            self.out.seek(SeekFrom::Start(at)).map(|_| ())
        };
        let mut file = file;
        self.broken |= file().is_err();
        self.at = at;
    }

    fn add_member(
        &mut self,
        meta: &Meta,
        source: &Source,
        digest: &[u8; 32],
        mut read: impl FnMut(u64) -> Result<Vec<u8>>,
    ) -> Result<Place> {
        if self.broken {
            bail!("{} cannot be written any more", self.part.display());
        }
        let digest_hex = hex(digest);
        let mut meta = meta.clone();
        for (key, value) in [
            ("fsuuid", format_uuid(&source.fsuuid)),
            ("ino", source.ino.to_string()),
            ("gen", source.generation.to_string()),
            ("version", source.version.to_string()),
            ("blake3", digest_hex.clone()),
            ("copy", source.copy.to_string()),
        ] {
            meta.records
                .insert(format!("VEXFS.{key}"), value.into_bytes());
        }
        let begin = self.at;
        self.put(&member_header(begin, &meta))?;
        let data = self.at;
        let mut hash = blake3::Hasher::new();
        while self.at - data < meta.size {
            let bytes = read(self.at - data)?;
            if bytes.is_empty() || self.at - data + bytes.len() as u64 > meta.size {
                bail!(
                    "inode {} did not give the {} bytes that it has",
                    source.ino,
                    meta.size
                );
            }
            hash.update(&bytes);
            self.put(&bytes)?;
        }
        if hash.finalize().as_bytes() != digest {
            bail!("inode {} gave other bytes the second time", source.ino);
        }
        self.pad(BLOCK)?;
        let utf8 = std::str::from_utf8(&meta.path).is_ok();
        let line = IndexLine {
            path: String::from_utf8_lossy(&meta.path).into_owned(),
            path_hex: (!utf8).then(|| hex(&meta.path)),
            ino: source.ino,
            gen: source.generation,
            version: source.version,
            size: meta.size,
            offset: data,
            blake3: &digest_hex,
        };
        self.index += &serde_json::to_string(&line)?;
        self.index.push('\n');
        Ok(Place {
            bundle: self.number,
            block: begin / PAD,
            data,
        })
    }

    /// Adds the index, ends the archive and makes it durable. Only now may anybody be told of the copies in it.
    pub fn finish(mut self) -> Result<u64> {
        if self.broken {
            bail!("{} cannot be written any more", self.part.display());
        }
        let index = std::mem::take(&mut self.index).into_bytes();
        let meta = Meta {
            path: format!(".vexfs/{:06}.index.jsonl", self.number).into_bytes(),
            mode: 0o644,
            mtime_sec: super::label::now(),
            size: index.len() as u64,
            ..Meta::default()
        };
        self.put(&member_header(self.at, &meta))?;
        self.put(&index)?;
        self.pad(BLOCK)?;
        self.put(&[0; 2 * BLOCK as usize])?;
        self.pad(PAD)?;
        let end = || -> std::io::Result<()> {
            self.out.flush()?;
            self.out.get_ref().sync_all()?;
            fs::rename(&self.part, &self.path)?;
            match self.path.parent() {
                Some(dir) => File::open(dir)?.sync_all(),
                None => Ok(()),
            }
        };
        let mut end = end;
        end().with_context(|| format!("cannot complete {}", self.path.display()))?;
        Ok(self.at)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After finish() there is none. Nobody was told of a bundle that was given up.
        let _ = fs::remove_file(&self.part);
    }
}

/// Members of a bundle, the index left out.
pub fn members(path: &Path) -> Result<Vec<Member>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = Reader::new(BufReader::new(file));
    let mut all = Vec::new();
    while let Some(m) = reader
        .next_member()
        .with_context(|| format!("{} is damaged", path.display()))?
    {
        if !m.meta.path.starts_with(b".vexfs/") {
            all.push(m);
        }
    }
    Ok(all)
}

/// Reads a member again and compares its digest with the one in its header. False: it is not what was written.
pub fn verify(file: &File, member: &Member) -> Result<bool> {
    let wanted = member
        .meta
        .records
        .get("VEXFS.blake3")
        .context("the member has no digest")?;
    let mut hash = blake3::Hasher::new();
    let mut buf = vec![0; 1 << 20];
    let mut done = 0;
    while done < member.meta.size {
        let n = buf.len().min((member.meta.size - done) as usize);
        file.read_exact_at(&mut buf[..n], member.data + done)?;
        hash.update(&buf[..n]);
        done += n as u64;
    }
    Ok(hash.finalize().to_hex().as_bytes() == wanted.as_slice())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::process::Command;

    fn source(ino: u64) -> Source {
        Source {
            fsuuid: [1; 16],
            ino,
            generation: 3,
            version: 9,
            copy: 0,
        }
    }

    fn add(w: &mut Writer, path: &str, ino: u64, bytes: &[u8]) -> Result<Place> {
        let meta = Meta {
            path: path.into(),
            mode: 0o604,
            uid: 0,
            gid: 0,
            mtime_sec: 1_600_000_000,
            mtime_nsec: 5,
            size: bytes.len() as u64,
            ..Meta::default()
        };
        let digest = *blake3::hash(bytes).as_bytes();
        w.add(&meta, &source(ino), &digest, |off| {
            Ok(bytes[off as usize..].iter().copied().take(1000).collect())
        })
    }

    #[test]
    fn plain_tar_restores_a_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let v = Volume::create(dir.path(), "V", None, None).unwrap();
        let mut w = Writer::create(&v, 1).unwrap();
        let long = format!("d/{}/{}", "l".repeat(120), "n".repeat(150));
        let files: Vec<(String, Vec<u8>)> = vec![
            ("empty".into(), vec![]),
            ("d/one".into(), b"x".to_vec()),
            ("d/ünicode name".into(), vec![7; 4097]),
            (long, (0..100_000u32).map(|i| i as u8).collect()),
        ];
        let places: Vec<Place> = files
            .iter()
            .enumerate()
            .map(|(i, (p, b))| add(&mut w, p, i as u64, b).unwrap())
            .collect();
        let len = w.finish().unwrap();
        assert_eq!(len % PAD, 0);
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        let tar = Command::new("tar")
            .args(["-b", "512", "-xf"])
            .arg(v.bundle(1))
            .arg("-C")
            .arg(&out)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tar.stderr);
        assert!(
            tar.status.success()
                && said
                    .lines()
                    .all(|l| l.contains("Ignoring unknown extended header keyword 'VEXFS.")),
            "{said}"
        );
        let raw = fs::read(v.bundle(1)).unwrap();
        for ((path, bytes), place) in files.iter().zip(&places) {
            assert_eq!(&fs::read(out.join(path)).unwrap(), bytes);
            assert_eq!(&raw[place.data as usize..][..bytes.len()], bytes.as_slice());
            assert_eq!(place.data % 4096, 0);
        }
        use std::os::unix::fs::MetadataExt;
        let m = fs::metadata(out.join("d/one")).unwrap();
        assert_eq!(
            (m.mode() & 0o7777, m.mtime(), m.mtime_nsec()),
            (0o604, 1_600_000_000, 5)
        );
        let index = fs::read_to_string(out.join(".vexfs/000001.index.jsonl")).unwrap();
        assert_eq!(index.lines().count(), 4);
        let file = File::open(v.bundle(1)).unwrap();
        let all = members(&v.bundle(1)).unwrap();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|m| verify(&file, m).unwrap()));
        assert_eq!(all[1].meta.records["VEXFS.version"], b"9");
    }

    #[test]
    fn a_changed_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let v = Volume::create(dir.path(), "V", None, None).unwrap();
        let mut w = Writer::create(&v, 1).unwrap();
        let place = add(&mut w, "f", 1, &[5; 10_000]).unwrap();
        w.finish().unwrap();
        let file = File::options()
            .read(true)
            .write(true)
            .open(v.bundle(1))
            .unwrap();
        file.write_all_at(b"!", place.data + 9_999).unwrap();
        let all = members(&v.bundle(1)).unwrap();
        assert!(!verify(&file, &all[0]).unwrap());
    }

    #[test]
    fn a_bundle_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let v = Volume::create(dir.path(), "V", None, None).unwrap();
        let mut w = Writer::create(&v, 1).unwrap();
        add(&mut w, "f", 1, b"abc").unwrap();
        let wrong = [0; 32];
        let meta = Meta {
            path: b"g".to_vec(),
            size: 3,
            ..Meta::default()
        };
        assert!(w
            .add(&meta, &source(2), &wrong, |_| Ok(b"abc".to_vec()))
            .is_err());
        assert!(w
            .add(&meta, &source(2), &wrong, |_| Ok(Vec::new()))
            .is_err());
        drop(w);
        assert_eq!(v.bundles().unwrap(), [] as [u32; 0]);
        assert_eq!(v.remove_leftovers().unwrap(), 0);
        // What a killed agent leaves.
        fs::write(v.dir.join("000001.tar.part"), b"junk").unwrap();
        assert_eq!(v.remove_leftovers().unwrap(), 1);
        assert!(Writer::create(&v, 1).is_ok());
    }
}
