// SPDX-License-Identifier: GPL-2.0
//! Making copies: files into bundles, bundles onto volumes, and only then the commits.

use super::event::{Event, Events};
use super::kernel::{Begun, Kernel};
use super::library::Library;
use crate::abi::staging as abi;
use crate::volume::bundle::{Place, Source, Writer};
use crate::volume::pax::Meta;
use anyhow::{anyhow, Result};
use nix::errno::Errno;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Files up to this size are read once, into memory; larger ones twice, for the digest and for the bundle.
const IN_MEMORY: u64 = 64 << 20;
const PIECE: usize = 4 << 20;
/// How long a bundle waits for more files.
const PATIENCE: Duration = Duration::from_millis(100);
/// Files in a bundle.
const MAX_MEMBERS: usize = 4096;

/// What the archive worker needs.
pub struct Archiver<'a> {
    pub kernel: &'a dyn Kernel,
    pub library: &'a Library,
    pub events: &'a Events<'a>,
    pub fsuuid: [u8; 16],
    /// A bundle ends when it has this many bytes.
    pub bundle_size: u64,
    /// Set when the agent is to end: bundles are ended early, requests left to the next agent.
    pub stop: &'a AtomicBool,
}

/// A file in the bundle that is being written.
struct Pending {
    request: abi::Request,
    begun: Begun,
    digest: [u8; 32],
    place: Place,
}

/// A bundle that is being written, and the files in it.
struct Open {
    writer: Writer,
    volume: u32,
    dir: PathBuf,
    files: Vec<Pending>,
}

/// Why a file did not get into the bundle.
enum Failure {
    /// The kernel said so.
    Kernel(Errno),
    /// The volume cannot be written; the bundle is lost.
    Volume(anyhow::Error),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Failure {
        Failure::Kernel(e)
    }
}

impl Archiver<'_> {
    /// Works until the requests end or the agent does.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the file system is gone.
    pub fn run(&self, requests: &Receiver<abi::Request>) -> Result<(), Errno> {
        let mut open: Option<Open> = None;
        loop {
            let next = requests.recv_timeout(PATIENCE);
            let stop = self.stop.load(Ordering::Relaxed);
            match next {
                Ok(request) if !stop => self.one(&mut open, request)?,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => self.end(&mut open)?,
                Err(RecvTimeoutError::Disconnected) => return self.end(&mut open),
            }
            if stop
                || open.as_ref().is_some_and(|o| {
                    o.files.len() >= MAX_MEMBERS || o.writer.bytes() >= self.bundle_size
                })
            {
                self.end(&mut open)?;
            }
            if stop {
                return Ok(());
            }
        }
    }

    /// Copies one file into the bundle, which is begun if there is none.
    fn one(&self, open: &mut Option<Open>, request: abi::Request) -> Result<(), Errno> {
        match self.add(open, &request) {
            Ok(()) => Ok(()),
            Err(Failure::Kernel(Errno::ENODEV)) => Err(Errno::ENODEV),
            Err(Failure::Kernel(Errno::ESTALE)) if request.attempt < 3 => {
                self.complete(&request, abi::DONE_RETRY, None)
            }
            Err(Failure::Kernel(e)) => {
                self.events
                    .emit(&Event::failed(&request, "archive", &e.to_string()));
                self.complete(&request, abi::DONE_LOST, Some(e))
            }
            Err(Failure::Volume(e)) => {
                self.events
                    .emit(&Event::failed(&request, "archive", &format!("{e:#}")));
                let errno = crate::error::errno_of(&e).unwrap_or(Errno::EIO);
                // Whatever else was in the bundle is not on a volume either.
                for file in open.take().map(|o| o.files).unwrap_or_default() {
                    self.complete(&file.request, abi::DONE_LOST, Some(errno))?;
                }
                self.complete(&request, abi::DONE_LOST, Some(errno))
            }
        }
    }

    fn complete(
        &self,
        request: &abi::Request,
        status: u32,
        error: Option<Errno>,
    ) -> Result<(), Errno> {
        match self.kernel.complete(request.cookie, status, error) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn add(&self, open: &mut Option<Open>, request: &abi::Request) -> Result<(), Failure> {
        let (ino, generation) = (request.ino, request.generation);
        let begun = self.kernel.begin(ino, generation)?;
        if begun.copies > 0 {
            self.complete(request, abi::DONE_OK, None)?;
            return Ok(());
        }
        if open.is_none() {
            let (writer, volume, dir) = self.library.begin_bundle().map_err(Failure::Volume)?;
            *open = Some(Open {
                writer,
                volume,
                dir,
                files: Vec::new(),
            });
        }
        let Some(bundle) = open.as_mut() else {
            return Err(Failure::Volume(anyhow!("no bundle")));
        };
        let (whole, digest) = self.digest(request, &begun)?;
        let meta = Meta {
            path: begun
                .path
                .clone()
                .unwrap_or_else(|| format!(".vexfs/unnamed/{ino}.{generation}").into_bytes()),
            mode: begun.mode,
            uid: begun.uid,
            gid: begun.gid,
            mtime_sec: begun.mtime_sec,
            mtime_nsec: begun.mtime_nsec,
            size: begun.size,
            ..Meta::default()
        };
        let source = Source {
            fsuuid: self.fsuuid,
            ino,
            generation,
            version: begun.version,
            copy: 0,
        };
        let mut refused = None;
        let added = bundle
            .writer
            .add(&meta, &source, &digest, |off| match &whole {
                Some(bytes) => Ok(bytes.get(off as usize..).unwrap_or_default().to_vec()),
                None => {
                    let mut piece = vec![0; PIECE.min((begun.size - off) as usize)];
                    let n = self
                        .kernel
                        .read(ino, generation, begun.version, off, &mut piece)
                        .inspect_err(|e| refused = Some(*e))?;
                    piece.truncate(n);
                    Ok(piece)
                }
            });
        match (added, refused) {
            (Ok(place), _) => {
                bundle.files.push(Pending {
                    request: *request,
                    begun,
                    digest,
                    place,
                });
                Ok(())
            }
            // The writer took the half member back.
            (Err(_), Some(errno)) => Err(Failure::Kernel(errno)),
            (Err(e), None) => Err(Failure::Volume(e)),
        }
    }

    /// The digest of a file, and its bytes if it is small.
    fn digest(
        &self,
        request: &abi::Request,
        begun: &Begun,
    ) -> Result<(Option<Vec<u8>>, [u8; 32]), Errno> {
        let mut hash = blake3::Hasher::new();
        let small = begun.size <= IN_MEMORY;
        let mut whole = Vec::new();
        let mut piece = vec![0; PIECE.min(begun.size.max(1) as usize)];
        let mut off = 0;
        while off < begun.size {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Errno::ECANCELED);
            }
            let n = self.kernel.read(
                request.ino,
                request.generation,
                begun.version,
                off,
                &mut piece,
            )?;
            if n == 0 {
                return Err(Errno::ESTALE);
            }
            hash.update(&piece[..n]);
            if small {
                whole.extend_from_slice(&piece[..n]);
            }
            off += n as u64;
        }
        Ok((small.then_some(whole), *hash.finalize().as_bytes()))
    }

    /// Ends the bundle, and once it is durable tells the kernel of each copy in it.
    fn end(&self, open: &mut Option<Open>) -> Result<(), Errno> {
        let Some(Open {
            writer,
            volume,
            dir,
            files,
        }) = open.take()
        else {
            return Ok(());
        };
        if files.is_empty() {
            return Ok(());
        }
        let bundle = files[0].place.bundle;
        let bytes = match writer.finish() {
            Ok(bytes) => bytes,
            Err(e) => return self.lose(&files, &e),
        };
        let mut committed: Vec<Pending> = Vec::new();
        for file in files {
            match self.commit(&file, volume) {
                Ok(()) => committed.push(file),
                Err(Errno::ENODEV) => return Err(Errno::ENODEV),
                // The copy is dead; the file is as it was.
                Err(Errno::ESTALE) if file.request.attempt < 3 => {
                    self.complete(&file.request, abi::DONE_RETRY, None)?
                }
                Err(e) => {
                    self.events
                        .emit(&Event::failed(&file.request, "archive", &e.to_string()));
                    self.complete(&file.request, abi::DONE_LOST, Some(e))?;
                }
            }
        }
        let live: u64 = committed.iter().map(|f| f.begun.size).sum();
        // This makes all commits durable at once: nobody is told before.
        if let Err(e) = self.library.end_bundle(self.kernel, volume, bytes, live) {
            return self.lose(&committed, &e.into());
        }
        for file in &committed {
            self.complete(&file.request, abi::DONE_OK, None)?;
        }
        let volume = dir.display().to_string();
        self.events.emit(&Event::Archived {
            volume,
            bundle,
            files: committed.len(),
            bytes: live,
        });
        Ok(())
    }

    /// The bundle with these files is no good.
    fn lose(&self, files: &[Pending], e: &anyhow::Error) -> Result<(), Errno> {
        let errno = crate::error::errno_of(e).unwrap_or(Errno::EIO);
        if errno == Errno::ENODEV {
            return Err(errno);
        }
        for file in files {
            self.events
                .emit(&Event::failed(&file.request, "archive", &format!("{e:#}")));
            self.complete(&file.request, abi::DONE_LOST, Some(errno))?;
        }
        Ok(())
    }

    fn commit(&self, file: &Pending, volume: u32) -> Result<(), Errno> {
        let copy = abi::Copy {
            state: abi::COPY_VALID,
            algorithm: abi::DIGEST_BLAKE3,
            volume,
            version: file.begun.version,
            len: file.begun.size,
            bundle: file.place.bundle,
            block: file.place.block,
            object_off: file.place.data,
            digest: file.digest,
            ..abi::Copy::default()
        };
        self.kernel.commit(
            file.request.ino,
            file.request.generation,
            file.begun.version,
            &[copy],
        )
    }
}
