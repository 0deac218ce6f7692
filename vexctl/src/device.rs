// SPDX-License-Identifier: GPL-2.0
//! Devices and images as mkfs, fsck and info open them, and how their sizes and labels are written.

use crate::error::HintExt;
use anyhow::{bail, Context, Result};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vexfs::disk::FileDisk;
use vexfs::libvexfs::journal::BLOCK_SIZE;

/// Why a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look at, perhaps while it is mounted.
    Look,
    /// To read what must not change meanwhile.
    ReadAlone,
    /// To write.
    WriteAlone,
}

/// Opens a device or image. For [`Access::ReadAlone`] and [`Access::WriteAlone`] nobody else may have it: the kernel
/// refuses an exclusive open of a mounted device, and images behind loop devices are looked for.
pub fn open(path: &Path, access: Access) -> Result<FileDisk> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot find {}", path.display()))?;
    let kind = meta.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        let what = if kind.is_dir() {
            "a directory"
        } else {
            "neither a block device nor a file"
        };
        bail!("{} is {what}", path.display());
    }
    let alone = access != Access::Look;
    if alone {
        if let Some(mount) = mounted_at(path, &meta)? {
            return Err(anyhow::anyhow!(
                "{} is mounted on {}",
                path.display(),
                mount.display()
            ))
            .hint(format!("umount {} first", mount.display()));
        }
        if let Some(device) = loop_device_of(path, &kind.is_file()) {
            return Err(anyhow::anyhow!(
                "{} is in use as {}",
                path.display(),
                device.display()
            ))
            .hint(format!(
                "unmount it and losetup -d {} first",
                device.display()
            ));
        }
    }
    let exclusive = if alone && kind.is_block_device() {
        libc::O_EXCL
    } else {
        0
    };
    let file = OpenOptions::new()
        .read(true)
        .write(access == Access::WriteAlone)
        .custom_flags(exclusive | libc::O_CLOEXEC)
        .open(path);
    let file = match file {
        Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {
            return Err(anyhow::Error::from(e).context(format!("{} is in use", path.display())))
                .hint("it is mounted, or part of a RAID, LVM or swap: look at lsblk");
        }
        other => other.with_context(|| format!("cannot open {}", path.display()))?,
    };
    if alone && kind.is_file() {
        lock(&file, path)?;
    }
    FileDisk::new(file).with_context(|| format!("cannot tell the size of {}", path.display()))
}

/// Two programs must not write the same image: advisory, but ours all ask.
fn lock(file: &File, path: &Path) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: flock takes a descriptor, which `file` keeps open, and no pointers.
    let ret = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    match Errno::result(ret) {
        Err(Errno::EWOULDBLOCK) => bail!("{} is in use by another program", path.display()),
        // Some file systems know no locks; that is no reason to refuse.
        _ => Ok(()),
    }
}

/// Whether a block device is mounted.
pub fn is_mounted(path: &Path) -> Result<bool> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot find {}", path.display()))?;
    Ok(mounted_at(path, &meta)?.is_some())
}

/// Where a block device is mounted, as /proc/self/mountinfo has it.
fn mounted_at(path: &Path, meta: &std::fs::Metadata) -> Result<Option<PathBuf>> {
    if !meta.file_type().is_block_device() {
        return Ok(None);
    }
    let number = format!("{}:{}", libc::major(meta.rdev()), libc::minor(meta.rdev()));
    let table = match std::fs::read_to_string("/proc/self/mountinfo") {
        Ok(table) => table,
        // Without /proc the exclusive open still tells.
        Err(_) => return Ok(None),
    };
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Ok(table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let source = line
            .split(" - ")
            .nth(1)
            .and_then(|tail| tail.split(' ').nth(1));
        let same = fields.get(2) == Some(&number.as_str()) || source.map(Path::new) == Some(&real);
        same.then(|| PathBuf::from(unescape(fields.get(4).copied().unwrap_or(""))))
    }))
}

/// The mount point above a path, and the device that is mounted there.
pub fn mount_of(path: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let dev = std::fs::metadata(path)
        .with_context(|| format!("cannot find {}", path.display()))?
        .dev();
    let number = format!("{}:{}", libc::major(dev), libc::minor(dev));
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .context("cannot read /proc/self/mountinfo")?;
    Ok(table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let same = fields.nth(2) == Some(&number);
        let mount = PathBuf::from(unescape(fields.nth(1)?));
        let source = PathBuf::from(unescape(line.split(" - ").nth(1)?.split(' ').nth(1)?));
        same.then_some((mount, source))
    }))
}

/// mountinfo writes blanks in paths as octal escapes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// The loop device that an image is attached to.
fn loop_device_of(path: &Path, is_file: &bool) -> Option<PathBuf> {
    if !is_file {
        return None;
    }
    let real = path.canonicalize().ok()?;
    for entry in std::fs::read_dir("/sys/block").ok()?.flatten() {
        let name = entry.file_name();
        let Ok(backing) = std::fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        if Path::new(backing.trim_end_matches('\n')) == real {
            return Some(Path::new("/dev").join(name));
        }
    }
    None
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    use std::io::Read;
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes)
}

/// Writes a UUID as people know it.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|b| format!("{b:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// Reads a UUID, with or without dashes.
pub fn parse_uuid(text: &str) -> Result<[u8; 16], String> {
    let hex: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    if hex.len() != 32 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return Err(format!("'{text}' is no UUID (32 hexadecimal digits)"));
    }
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    Ok(uuid)
}

/// A new random UUID (version 4).
pub fn new_uuid() -> Result<[u8; 16]> {
    let mut uuid = random::<16>()?;
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

/// A number of bytes with one decimal, in the unit that suits it.
pub fn size_text(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// A label as text; it may have been made by other tools, so anything goes.
pub fn label_text(label: &[u8; 64]) -> String {
    let end = label.iter().position(|b| *b == 0).unwrap_or(label.len());
    String::from_utf8_lossy(&label[..end]).into_owned()
}

/// A number of blocks, or of bytes with a suffix.
pub fn parse_blocks(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is no number of blocks");
    let (number, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 40),
        _ => return text.parse().map_err(|_| bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    Ok(number.checked_mul(1 << shift).ok_or_else(bad)? / BLOCK_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_they_are_written() {
        let uuid = new_uuid().unwrap();
        assert_eq!(parse_uuid(&uuid_text(&uuid)).unwrap(), uuid);
        assert!(parse_uuid("12").is_err());
        assert!(parse_uuid(&"g".repeat(32)).is_err());
    }

    #[test]
    fn sizes_have_a_fitting_unit() {
        assert_eq!(size_text(512), "512 B");
        assert_eq!(size_text(64 << 20), "64.0 MiB");
        assert_eq!(size_text(1 << 50), "1.0 PiB");
    }

    #[test]
    fn sizes_are_blocks_or_bytes() {
        assert_eq!(parse_blocks("16384"), Ok(16384));
        assert_eq!(parse_blocks("64M"), Ok(16384));
        assert_eq!(parse_blocks("1T"), Ok(1 << 28));
        assert!(parse_blocks("M").is_err());
        assert!(parse_blocks("99999999999999T").is_err());
    }
}
