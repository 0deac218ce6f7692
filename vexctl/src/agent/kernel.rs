// SPDX-License-Identifier: GPL-2.0
//! What an agent asks of the kernel, and the queue descriptor that answers.

use crate::abi::ioctl;
use crate::abi::staging as abi;
use crate::error::HintExt;
use anyhow::{bail, Context, Result};
use nix::errno::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A file as it is when a copy of it is begun.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    pub version: u64,
    pub size: u64,
    /// Below the root of the file system; none if the file has no name now.
    pub path: Option<Vec<u8>>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime_sec: i64,
    pub mtime_nsec: u32,
    /// Valid copies of this very version.
    pub copies: u32,
}

/// The calls of an agent; tests have a kernel of their own.
pub trait Kernel: Sync {
    /// Names the version that a copy made from now on is one of.
    fn begin(&self, ino: u64, generation: u32) -> Result<Begun, Errno>;
    /// Reads bytes of that version; 0 at the end.
    fn read(
        &self,
        ino: u64,
        generation: u32,
        version: u64,
        off: u64,
        buf: &mut [u8],
    ) -> Result<usize, Errno>;
    /// Records copies that are durable. The records are when [`Kernel::upsert`] returns next.
    fn commit(
        &self,
        ino: u64,
        generation: u32,
        version: u64,
        copies: &[abi::Copy],
    ) -> Result<(), Errno>;
    /// Delivers bytes of a recall.
    fn stage(&self, cookie: u64, version: u64, off: u64, bytes: &[u8]) -> Result<(), Errno>;
    /// Ends a request.
    fn complete(&self, cookie: u64, status: u32, error: Option<Errno>) -> Result<(), Errno>;
    /// Adds or changes a volume, and makes all that was committed durable.
    fn upsert(&self, volume: &mut abi::Volume) -> Result<(), Errno>;
}

/// The queue of a mounted file system.
pub struct Queue {
    fd: File,
    pub fsuuid: [u8; 16],
    pub epoch: [u8; 16],
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Queue {
    /// Attaches to the file system that `root` is a file of. The file is not needed any more afterwards: a queue does
    /// not keep the file system mounted.
    pub fn attach(root: impl AsFd) -> Result<Queue> {
        let mut arg = abi::Attach {
            abi: abi::STAGE_ABI,
            ..abi::Attach::new()
        };
        let fd = match ioctl(root, abi::IOC_STAGE_ATTACH, &mut arg) {
            Ok(fd) => fd,
            Err(Errno::EPERM) => {
                return Err(Errno::EPERM)
                    .context("cannot attach")
                    .hint("an agent runs as root")
            }
            Err(Errno::EOPNOTSUPP) => {
                bail!(
                    "the kernel speaks version {} of the staging ABI, this vexctl version {}",
                    arg.abi,
                    abi::STAGE_ABI
                )
            }
            Err(Errno::ENOTTY) => {
                return Err(Errno::ENOTTY)
                    .context("it is not on a VexFS")
                    .hint("MOUNT is a directory on a mounted VexFS")
            }
            Err(e) => return Err(e).context("cannot attach"),
        };
        // SAFETY: The kernel made this descriptor for us just now; nobody else knows its number.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Queue {
            fd: File::from(fd),
            fsuuid: arg.fsuuid,
            epoch: arg.epoch,
        })
    }

    /// Waits for requests and returns some.
    pub fn requests(&self) -> Result<Vec<abi::Request>, Errno> {
        const ONE: usize = size_of::<abi::Request>();
        let mut buf = vec![0u8; 64 * ONE];
        let n = (&self.fd)
            .read(&mut buf)
            .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
        Ok(buf[..n].chunks_exact(ONE).map(request).collect())
    }

    /// The volumes that the file system knows.
    pub fn volumes(&self) -> Result<Vec<abi::Volume>, Errno> {
        let mut all: Vec<abi::Volume> = Vec::new();
        loop {
            let mut room = [abi::Volume::default(); 64];
            let mut arg = abi::VolumeList {
                volumes: room.as_mut_ptr() as u64,
                volume_size: size_of::<abi::Volume>() as u32,
                count: room.len() as u32,
                first: all.last().map_or(0, |v| v.id + 1),
                ..abi::VolumeList::new()
            };
            ioctl(self, abi::IOC_VOLUME_LIST, &mut arg)?;
            all.extend(&room[..arg.count as usize]);
            if (arg.count as usize) < room.len() {
                return Ok(all);
            }
        }
    }
}

/// A request from its 128 bytes.
fn request(b: &[u8]) -> abi::Request {
    let u16_at = |o: usize| {
        b.get(o..o + 2)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u16::from_ne_bytes)
    };
    let u32_at = |o: usize| {
        b.get(o..o + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    };
    let u64_at = |o: usize| {
        b.get(o..o + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    };
    abi::Request {
        size: u32_at(0),
        op: u16_at(4),
        priority: u16_at(6),
        cookie: u64_at(8),
        ino: u64_at(16),
        generation: u32_at(24),
        uid: u32_at(28),
        off: u64_at(32),
        len: u64_at(40),
        file_size: u64_at(48),
        version: u64_at(56),
        queued_ns: u64_at(64),
        deadline_ns: u64_at(72),
        pid: u32_at(80),
        waiters: u32_at(84),
        volume: u32_at(88),
        bundle: u32_at(92),
        block: u64_at(96),
        object_off: u64_at(104),
        copy: u16_at(112),
        flags: u16_at(114),
        attempt: u32_at(116),
        reserved: u64_at(120),
    }
}

impl Kernel for Queue {
    fn begin(&self, ino: u64, generation: u32) -> Result<Begun, Errno> {
        let mut path = vec![0u8; 4096];
        let mut arg = abi::ArchiveBegin {
            ino,
            generation,
            path_size: path.len() as u32,
            path: path.as_mut_ptr() as u64,
            ..abi::ArchiveBegin::new()
        };
        ioctl(self, abi::IOC_ARCHIVE_BEGIN, &mut arg)?;
        path.truncate(arg.path_len as usize);
        Ok(Begun {
            version: arg.version,
            size: arg.file_size,
            path: (!path.is_empty()).then_some(path),
            mode: arg.mode,
            uid: arg.uid,
            gid: arg.gid,
            mtime_sec: arg.mtime_sec,
            mtime_nsec: arg.mtime_nsec,
            copies: arg.copies,
        })
    }

    fn read(
        &self,
        ino: u64,
        generation: u32,
        version: u64,
        off: u64,
        buf: &mut [u8],
    ) -> Result<usize, Errno> {
        let mut arg = abi::ArchiveRead {
            ino,
            generation,
            version,
            off,
            buf: buf.as_mut_ptr() as u64,
            len: buf.len() as u64,
            ..abi::ArchiveRead::new()
        };
        Ok(ioctl(self, abi::IOC_ARCHIVE_READ, &mut arg)? as usize)
    }

    fn commit(
        &self,
        ino: u64,
        generation: u32,
        version: u64,
        copies: &[abi::Copy],
    ) -> Result<(), Errno> {
        let mut arg = abi::CopyCommit {
            flags: abi::COMMIT_LATER,
            ino,
            generation,
            count: copies.len() as u32,
            version,
            copies: copies.as_ptr() as u64,
            copy_size: size_of::<abi::Copy>() as u32,
            ..abi::CopyCommit::new()
        };
        ioctl(self, abi::IOC_COPY_COMMIT, &mut arg).map(|_| ())
    }

    fn stage(&self, cookie: u64, version: u64, off: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut arg = abi::StageData {
            cookie,
            version,
            off,
            len: bytes.len() as u64,
            buf: bytes.as_ptr() as u64,
            ..abi::StageData::new()
        };
        ioctl(self, abi::IOC_STAGE_DATA, &mut arg).map(|_| ())
    }

    fn complete(&self, cookie: u64, status: u32, error: Option<Errno>) -> Result<(), Errno> {
        let mut arg = abi::StageComplete {
            cookie,
            status,
            error: error.map_or(0, |e| e as i32 as u32),
            ..abi::StageComplete::new()
        };
        ioctl(self, abi::IOC_STAGE_COMPLETE, &mut arg).map(|_| ())
    }

    fn upsert(&self, volume: &mut abi::Volume) -> Result<(), Errno> {
        let mut arg = abi::VolumeUpsert {
            volume: *volume,
            ..abi::VolumeUpsert::new()
        };
        ioctl(self, abi::IOC_VOLUME_UPSERT, &mut arg)?;
        *volume = arg.volume;
        Ok(())
    }
}
