// SPDX-License-Identifier: GPL-2.0
//! A mounted VexFS: any path on it, opened, and what can be asked of the kernel through that.

use crate::abi::ioctl;
use crate::abi::vector as abi;
use crate::error::{not_found, HintExt};
use anyhow::{anyhow, bail, Context, Result};
use nix::errno::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A path on a VexFS, open.
pub struct Mounted {
    file: File,
    /// As the user gave it, for messages.
    path: PathBuf,
}

/// A collection, as the kernel describes it.
#[derive(Clone, Debug)]
pub struct Collection {
    pub name: String,
    pub model: String,
    pub raw: abi::Collection,
}

impl Collection {
    fn new(raw: abi::Collection) -> Collection {
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes.split(|&b| b == 0).next().unwrap_or(&[])).into_owned()
        };
        Collection {
            name: text(&raw.name),
            model: text(&raw.model),
            raw,
        }
    }

    pub fn dim(&self) -> usize {
        self.raw.dim as usize
    }

    /// Fails with a message that says what to do if a vector has another dimension.
    pub fn check_dim(&self, dim: usize, what: &str) -> Result<()> {
        if dim != self.dim() {
            return Err(anyhow!("{what} has {dim} numbers, collection {} takes {}", self.name, self.dim()))
                .hint("a collection's dimension is fixed when it is created: take vectors of the model that it was made for");
        }
        Ok(())
    }
}

impl AsFd for Mounted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Mounted {
    /// Opens a path and makes sure that it is on a VexFS.
    pub fn open(path: &Path) -> Result<Mounted> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mounted = Mounted {
            file,
            path: path.to_owned(),
        };
        mounted.abi()?;
        Ok(mounted)
    }

    /// Wraps a file that is known to be on a VexFS.
    pub fn of(file: File, path: &Path) -> Mounted {
        Mounted {
            file,
            path: path.to_owned(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    fn abi(&self) -> Result<abi::Abi> {
        let mut arg = abi::Abi::default();
        match ioctl(self, abi::IOC_ABI, &mut arg) {
            Ok(_) => Ok(arg),
            Err(Errno::ENOTTY | Errno::EINVAL | Errno::EOPNOTSUPP) => {
                Err(anyhow!("{} is not on a mounted VexFS", self.path.display()))
                    .hint("mount one with: mount -t vexfs DEVICE DIRECTORY")
            }
            Err(e) => Err(e).with_context(|| {
                format!("cannot talk to the file system of {}", self.path.display())
            }),
        }
    }

    /// The directory that this file system is mounted on, as far as this descriptor is concerned.
    pub fn mount_point(&self) -> Result<PathBuf> {
        let fdinfo =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.file.as_raw_fd()))
                .context("cannot read /proc/self/fdinfo")
                .hint("is /proc mounted?")?;
        let id = fdinfo
            .lines()
            .find_map(|l| l.strip_prefix("mnt_id:"))
            .map(str::trim)
            .ok_or_else(|| anyhow!("/proc/self/fdinfo names no mount"))?;
        let table =
            std::fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        for line in table.split(|&b| b == b'\n') {
            let mut fields = line.split(|&b| b == b' ');
            if fields.next() == Some(id.as_bytes()) {
                let point = fields
                    .nth(3)
                    .ok_or_else(|| anyhow!("/proc/self/mountinfo has a short line"))?;
                return Ok(OsString::from_vec(unescape(point)).into());
            }
        }
        bail!(
            "the mount of {} is not in /proc/self/mountinfo",
            self.path.display()
        )
    }

    /// Whether this is the root of its mount.
    pub fn is_mount_root(&self) -> Result<bool> {
        let here = self.file.metadata()?;
        let root = std::fs::metadata(self.mount_point()?)?;
        Ok(here.ino() == root.ino() && here.dev() == root.dev())
    }

    /// A collection by name.
    pub fn collection(&self, name: &str) -> Result<Collection> {
        let mut arg = abi::Collection::default();
        put_text(&mut arg.name, name)
            .with_context(|| format!("no collection has the name {name:?}"))?;
        match ioctl(self, abi::IOC_COLLECTION_GET, &mut arg) {
            Ok(_) => Ok(Collection::new(arg)),
            Err(Errno::ENOENT) => {
                let names: Vec<String> = self.collections()?.into_iter().map(|c| c.name).collect();
                let hint = if names.is_empty() {
                    format!(
                        "there is none yet; create it: vexctl collection create {} {name} --dim N",
                        self.path.display()
                    )
                } else {
                    format!("there are: {}", names.join(", "))
                };
                Err(not_found(format!("there is no collection {name}")).hint(hint))
            }
            Err(e) => Err(e).with_context(|| format!("cannot look up collection {name}")),
        }
    }

    /// All collections, oldest first.
    pub fn collections(&self) -> Result<Vec<Collection>> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let mut arg = abi::Collection {
                id: after,
                flags: abi::COLLECTION_NEXT,
                ..Default::default()
            };
            match ioctl(self, abi::IOC_COLLECTION_GET, &mut arg) {
                Ok(_) => {
                    after = arg.id;
                    all.push(Collection::new(arg));
                }
                Err(Errno::ENOENT) => return Ok(all),
                Err(e) => return Err(e).context("cannot list the collections"),
            }
        }
    }

    /// Creates a collection.
    pub fn create_collection(
        &self,
        name: &str,
        model: &str,
        dim: u32,
        element: u32,
        metric: u32,
    ) -> Result<Collection> {
        let mut arg = abi::Collection {
            dim,
            r#type: element,
            metric,
            ..Default::default()
        };
        put_text(&mut arg.name, name).context("the name is too long")?;
        put_text(&mut arg.model, model).context("the model text is too long")?;
        match ioctl(self, abi::IOC_COLLECTION_CREATE, &mut arg) {
            Ok(_) => Ok(Collection::new(arg)),
            Err(Errno::EEXIST) => Err(anyhow!("there is a collection {name} already"))
                .hint(format!("show it: vexctl collection show {} {name}", self.path.display())),
            Err(Errno::EOPNOTSUPP) => Err(anyhow!("vectors of this type are not compared by this metric"))
                .hint("binary: hamming, and only that; f32, f16, int8: l2, cosine or ip"),
            Err(Errno::EINVAL) => Err(anyhow!("the kernel does not take name {name:?} with dimension {dim}"))
                .hint("names are 1 to 63 bytes without '/' and control characters, dimensions 1 to 4096"),
            Err(e @ (Errno::EACCES | Errno::EPERM)) => {
                Err(e).with_context(|| format!("cannot create collection {name}")).hint(
                    "creating a collection takes write permission on the root directory of the file system",
                )
            }
            Err(e) => Err(e).with_context(|| format!("cannot create collection {name}")),
        }
    }

    /// Drops a collection.
    pub fn drop_collection(&self, collection: &Collection) -> Result<()> {
        let mut arg = abi::Collection {
            id: collection.raw.id,
            ..Default::default()
        };
        match ioctl(self, abi::IOC_COLLECTION_DROP, &mut arg) {
            Ok(_) => Ok(()),
            Err(e @ (Errno::EACCES | Errno::EPERM)) => Err(e)
                .with_context(|| format!("cannot drop collection {}", collection.name))
                .hint("only its creator and root may"),
            Err(e) => Err(e).with_context(|| format!("cannot drop collection {}", collection.name)),
        }
    }

    /// Notes that the content as it is now is about to be described; returns its version.
    pub fn mark(&self) -> Result<abi::Mark> {
        let mut arg = abi::Mark::default();
        ioctl(self, abi::IOC_MARK, &mut arg)
            .with_context(|| format!("cannot mark {}", self.path.display()))?;
        Ok(arg)
    }

    /// Puts records; each item's status tells how it went. Returns how many went well.
    pub fn put(
        &self,
        collection: &Collection,
        items: &mut [abi::PutItem],
        flags: u32,
    ) -> Result<usize, Errno> {
        let mut arg = abi::Put {
            flags,
            collection: collection.raw.id,
            count: items.len() as u32,
            items: items.as_mut_ptr() as u64,
            item_size: size_of::<abi::PutItem>() as u32,
            ..Default::default()
        };
        ioctl(self, abi::IOC_PUT, &mut arg)?;
        Ok(arg.done as usize)
    }

    /// A record and its vector.
    pub fn get(&self, collection: &Collection, key: u64) -> Result<(abi::Record, Vec<f32>), Errno> {
        let mut vector = vec![0f32; collection.dim()];
        let mut arg = abi::Get {
            collection: collection.raw.id,
            key,
            vector: vector.as_mut_ptr() as u64,
            vector_len: (vector.len() * 4) as u32,
            ..Default::default()
        };
        ioctl(self, abi::IOC_GET, &mut arg)?;
        Ok((arg.record, vector))
    }

    /// Deletes by key; one status for each.
    pub fn delete(&self, collection: &Collection, keys: &[u64]) -> Result<Vec<i32>, Errno> {
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(abi::MAX_DELETE) {
            let mut status = vec![0i32; keys.len()];
            let mut arg = abi::Delete {
                collection: collection.raw.id,
                count: keys.len() as u32,
                keys: keys.as_ptr() as u64,
                status: status.as_mut_ptr() as u64,
                ..Default::default()
            };
            ioctl(self, abi::IOC_DELETE, &mut arg)?;
            all.extend(status);
        }
        Ok(all)
    }

    /// Deletes all records of this file; returns how many.
    pub fn delete_owned(&self, collection: &Collection) -> Result<u64, Errno> {
        let mut arg = abi::Delete {
            flags: abi::DELETE_OWNER,
            collection: collection.raw.id,
            ..Default::default()
        };
        ioctl(self, abi::IOC_DELETE, &mut arg)?;
        Ok(arg.deleted)
    }

    /// Lists records: all, by key, or those of this file.
    pub fn list(
        &self,
        collection: &Collection,
        owned: bool,
        mut each: impl FnMut(&abi::Record) -> Result<()>,
    ) -> Result<()> {
        let mut room = vec![abi::Record::default(); 1024];
        let mut cursor = 0;
        loop {
            let mut arg = abi::List {
                flags: if owned { abi::LIST_OWNER } else { 0 },
                collection: collection.raw.id,
                count: room.len() as u32,
                cursor,
                records: room.as_mut_ptr() as u64,
                record_size: size_of::<abi::Record>() as u32,
                ..Default::default()
            };
            ioctl(self, abi::IOC_LIST, &mut arg).with_context(|| {
                format!("cannot list the records of collection {}", collection.name)
            })?;
            for record in room.iter().take(arg.count as usize) {
                each(record)?;
            }
            if arg.flags & abi::LIST_END != 0 {
                return Ok(());
            }
            cursor = arg.cursor;
        }
    }
}

/// Finds the paths of inodes, and remembers them.
pub struct Paths<'a> {
    mounted: &'a Mounted,
    point: PathBuf,
    known: HashMap<(u64, u32), Option<PathBuf>>,
    room: Vec<u8>,
}

impl<'a> Paths<'a> {
    pub fn new(mounted: &'a Mounted) -> Result<Paths<'a>> {
        Ok(Paths {
            mounted,
            point: mounted.mount_point()?,
            known: HashMap::new(),
            room: vec![0; 8192],
        })
    }

    /// The path of a record's file; `None` if it is gone or out of reach.
    pub fn of(&mut self, record: &abi::Record) -> Result<Option<PathBuf>> {
        let id = (record.ino, record.generation);
        if let Some(path) = self.known.get(&id) {
            return Ok(path.clone());
        }
        let path = self.ask(record)?;
        self.known.insert(id, path.clone());
        Ok(path)
    }

    fn ask(&mut self, record: &abi::Record) -> Result<Option<PathBuf>> {
        loop {
            let mut arg = abi::Path {
                ino: record.ino,
                generation: record.generation,
                buf_len: self.room.len() as u32,
                buf: self.room.as_mut_ptr() as u64,
                ..Default::default()
            };
            match ioctl(self.mounted, abi::IOC_PATH, &mut arg) {
                Ok(_) => {
                    let found = self.room.get(..arg.path_len as usize).unwrap_or(&[]);
                    let path = Path::new(std::ffi::OsStr::from_bytes(found));
                    return Ok(Some(if path == Path::new(".") {
                        self.point.clone()
                    } else {
                        self.point.join(path)
                    }));
                }
                Err(Errno::ENAMETOOLONG) if self.room.len() < abi::MAX_PATH as usize => {
                    self.room.resize(abi::MAX_PATH as usize, 0);
                }
                Err(Errno::ENOENT | Errno::ESTALE | Errno::EACCES) => return Ok(None),
                Err(e) => {
                    return Err(e)
                        .with_context(|| format!("cannot find the path of inode {}", record.ino))
                }
            }
        }
    }
}

/// What the errno of an item means to a user.
pub fn explain_item(status: i32) -> String {
    let errno = Errno::from_raw(-status);
    match errno {
        Errno::EINVAL => {
            "refused: a NaN, an infinity, a wrong size, a zero vector under cosine, a number that the collection's \
             type does not have (int8: integers from -128 to 127; binary: 0 and 1), or a bad range"
                .into()
        }
        Errno::EEXIST => "the key is there already".into(),
        Errno::EACCES | Errno::EPERM => {
            "no permission to write the file that the record is of, or was of".into()
        }
        Errno::ENOENT => "no such record".into(),
        other => other.desc().into(),
    }
}

fn put_text(to: &mut [u8], text: &str) -> Result<()> {
    if text.len() >= to.len() || text.bytes().any(|b| b == 0) {
        bail!("{} bytes at most", to.len() - 1);
    }
    to[..text.len()].copy_from_slice(text.as_bytes());
    Ok(())
}

/// Undoes the octal escapes of /proc/self/mountinfo.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = field;
    while let Some((&b, after)) = rest.split_first() {
        let code = (b == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match code {
            Some(c) => {
                out.push(c);
                rest = &after[3..];
            }
            None => {
                out.push(b);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_understood() {
        assert_eq!(unescape(b"/mnt/a\\040b\\134c"), b"/mnt/a b\\c");
        assert_eq!(unescape(b"/plain\\x"), b"/plain\\x");
    }

    #[test]
    fn a_path_elsewhere_is_told_apart() {
        let e = Mounted::open(Path::new("/proc/self/status")).err().unwrap();
        let (message, hints) = crate::error::describe(&e);
        assert!(message.contains("not on a mounted VexFS"), "{message}");
        assert!(!hints.is_empty());
    }
}
