// SPDX-License-Identifier: GPL-2.0
//! Directory volumes: a folder that stands for a tape, one file for each tape file.
//!
//! File 0 is the label, and beside it a text that tells a stranger how to read the rest; then one tar file per bundle.

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the label.
pub const LABEL: &str = "000000.label.json";
const README: &str = "000000.README.txt";
const FORMAT: &str = "vexfs-volume";

/// What the label says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// `vexfs-volume`.
    pub format: String,
    /// 1.
    pub version: u32,
    pub uuid: String,
    /// For people: also the folder's name, at first.
    pub label: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The uuid of the file system whose files it holds; none before the first use.
    pub fs: Option<String>,
    /// The staging epoch of that file system: another one may read, not add.
    pub epoch: Option<String>,
    /// Bytes in the blocks that bundles are padded to.
    pub block: u64,
}

/// A volume that was found.
#[derive(Clone, Debug)]
pub struct Volume {
    pub dir: PathBuf,
    pub label: Label,
}

impl Volume {
    /// Makes a volume: a folder `name` in `parent`.
    pub fn create(
        parent: &Path,
        name: &str,
        fs_uuid: Option<[u8; 16]>,
        epoch: Option<[u8; 16]>,
    ) -> Result<Volume> {
        if name.is_empty()
            || name.len() > 32
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            || name.starts_with('.')
        {
            bail!("a label is 1 to 32 letters, digits, '-', '_' and '.', not beginning with '.': {name:?}");
        }
        let dir = parent.join(name);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        match fs::create_dir(&dir) {
            Err(e)
                if e.kind() == std::io::ErrorKind::AlreadyExists
                    && !dir.join(LABEL).exists()
                    && is_empty(&dir) => {}
            other => other.with_context(|| format!("cannot make {}", dir.display()))?,
        }
        let label = Label {
            format: FORMAT.into(),
            version: 1,
            uuid: format_uuid(&random_uuid()?),
            label: name.into(),
            created: now(),
            fs: fs_uuid.map(|u| format_uuid(&u)),
            epoch: epoch.map(|u| format_uuid(&u)),
            block: super::bundle::PAD,
        };
        write_durable(&dir.join(README), readme(&label).as_bytes())?;
        let volume = Volume { dir, label };
        volume.write_label()?;
        File::open(parent)?.sync_all()?;
        Ok(volume)
    }

    fn write_label(&self) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&self.label)?;
        text.push('\n');
        write_durable(&self.dir.join(LABEL), text.as_bytes())
    }

    /// Opens the volume in folder `dir`; nothing if it is none.
    pub fn open(dir: &Path) -> Result<Option<Volume>> {
        let path = dir.join(LABEL);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e)
                if e.kind() == std::io::ErrorKind::NotFound
                    || e.kind() == std::io::ErrorKind::NotADirectory =>
            {
                return Ok(None)
            }
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let label: Label = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        if label.format != FORMAT || label.version != 1 {
            bail!(
                "{} is a volume of another format ({} {})",
                dir.display(),
                label.format,
                label.version
            );
        }
        parse_uuid(&label.uuid).with_context(|| format!("uuid in {}", path.display()))?;
        Ok(Some(Volume {
            dir: dir.to_owned(),
            label,
        }))
    }

    /// The volumes in `dir`: it may be one itself, or hold folders that are. By label.
    pub fn find(dir: &Path) -> Result<Vec<Volume>> {
        if let Some(v) = Volume::open(dir)? {
            return Ok(vec![v]);
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            found.extend(Volume::open(&entry?.path())?);
        }
        found.sort_by(|a, b| a.label.label.cmp(&b.label.label));
        Ok(found)
    }

    /// Writes the file system that it now belongs to into the label.
    pub fn claim(&mut self, fs_uuid: [u8; 16], epoch: [u8; 16]) -> Result<()> {
        self.label.fs = Some(format_uuid(&fs_uuid));
        self.label.epoch = Some(format_uuid(&epoch));
        self.write_label()
    }

    /// The uuid on the label.
    pub fn uuid(&self) -> [u8; 16] {
        parse_uuid(&self.label.uuid).unwrap_or_default()
    }

    /// Path of bundle `n`.
    pub fn bundle(&self, n: u32) -> PathBuf {
        self.dir.join(format!("{n:06}.tar"))
    }

    /// The complete bundles, ascending.
    pub fn bundles(&self) -> Result<Vec<u32>> {
        Ok(self.files()?.0)
    }

    /// Complete bundles, and leftovers of bundles that were never completed.
    fn files(&self) -> Result<(Vec<u32>, Vec<PathBuf>)> {
        let (mut bundles, mut parts) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.dir)
            .with_context(|| format!("cannot read {}", self.dir.display()))?
        {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(n) = name.strip_suffix(".tar").and_then(|n| n.parse().ok()) {
                bundles.push(n);
            } else if name.ends_with(".part") {
                parts.push(entry.path());
            }
        }
        bundles.sort_unstable();
        Ok((bundles, parts))
    }

    /// Removes what an agent that was killed left behind: nothing refers to a bundle that was not completed.
    pub fn remove_leftovers(&self) -> Result<usize> {
        let parts = self.files()?.1;
        for part in &parts {
            fs::remove_file(part).with_context(|| format!("cannot remove {}", part.display()))?;
        }
        Ok(parts.len())
    }

    /// Bytes of all bundles.
    pub fn bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for n in self.bundles()? {
            sum += fs::metadata(self.bundle(n))?.len();
        }
        Ok(sum)
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut d| d.next().is_none())
}

/// Writes a file so that after a crash it is there whole, or as it was before.
fn write_durable(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut f = File::create(&part)?;
        f.write_all(bytes)?;
        f.sync_all()?;
        fs::rename(&part, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn readme(label: &Label) -> String {
    format!(
        "This folder is volume {} ({}) of a VexFS file system. It stands for a tape: each
file here is what would be one file on the tape.

  000000.label.json   what this volume is
  000001.tar, ...     bundles: POSIX pax archives, one after the other as they were written

Any tar restores the files, VexFS is not needed:

  tar -xf 000001.tar

(GNU tar remarks that it does not know the VEXFS records below; that is all right,
and --warning=no-unknown-keyword keeps it quiet.)

Each member carries what VexFS knows of it in pax records: VEXFS.fsuuid, VEXFS.ino,
VEXFS.gen and VEXFS.version say which file of which file system it is, and in which
version of its contents; VEXFS.blake3 is the BLAKE3 digest of the contents and
VEXFS.copy the number of the copy. The last member of each bundle,
.vexfs/NUMBER.index.jsonl, lists the others, one JSON object a line, with the byte
at which the contents begin. Of members with the same name in later bundles the
newest version is the one to keep.
",
        label.label, label.uuid
    )
}

/// Sixteen random bytes, marked as a random uuid.
pub fn random_uuid() -> Result<[u8; 16]> {
    let mut b = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut b)?;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    Ok(b)
}

/// The usual text of a uuid.
pub fn format_uuid(u: &[u8; 16]) -> String {
    let hex = hex(u);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Reads a uuid.
pub fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let hex: Vec<u8> = text.bytes().filter(|&b| b != b'-').collect();
    let mut u = [0; 16];
    if hex.len() != 32 {
        bail!("{text} is no uuid");
    }
    for (byte, pair) in u.iter_mut().zip(hex.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)
            .with_context(|| format!("{text} is no uuid"))?;
    }
    Ok(u)
}

/// Bytes in hexadecimal.
pub fn hex(b: &[u8]) -> String {
    b.iter().map(|b| format!("{b:02x}")).collect()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_was_made_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let a = Volume::create(dir.path(), "B", Some([7; 16]), Some([8; 16])).unwrap();
        Volume::create(dir.path(), "A", None, None).unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        let found = Volume::find(dir.path()).unwrap();
        assert_eq!(
            found
                .iter()
                .map(|v| v.label.label.as_str())
                .collect::<Vec<_>>(),
            ["A", "B"]
        );
        assert_eq!(found[1].label, a.label);
        assert_eq!(Volume::find(&a.dir).unwrap()[0].label, a.label);
        assert!(
            Volume::create(dir.path(), "B", None, None).is_err(),
            "an existing volume must not be overwritten"
        );
        assert!(Volume::create(dir.path(), "../x", None, None).is_err());
    }

    #[test]
    fn a_damaged_label_is_an_error_and_not_an_empty_volume() {
        let dir = tempfile::tempdir().unwrap();
        let v = Volume::create(dir.path(), "A", None, None).unwrap();
        fs::write(v.dir.join(LABEL), "{").unwrap();
        assert!(Volume::find(dir.path()).is_err());
    }

    #[test]
    fn uuids_survive_their_text() {
        let u = random_uuid().unwrap();
        assert_eq!(parse_uuid(&format_uuid(&u)).unwrap(), u);
        assert!(parse_uuid("12").is_err());
    }
}
