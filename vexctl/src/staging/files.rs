// SPDX-License-Identifier: GPL-2.0
//! The files that a command works on, by number: names may change while it does.

use crate::abi::ioctl;
use crate::abi::staging as abi;
use crate::error::{not_found, usage, HintExt};
use crate::output::Output;
use anyhow::{anyhow, Context, Result};
use nix::errno::Errno;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A regular file.
pub struct Target {
    pub path: PathBuf,
    pub ino: u64,
    pub generation: u32,
}

/// Files of one file system, and a descriptor on it.
pub struct Files {
    on: File,
    admin: bool,
    pub targets: Vec<Target>,
}

/// Opens without following a link, without waiting for anything, and without changing the access time if that is allowed.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The state of the very file that is open.
fn state_of(file: &File) -> Result<abi::State, Errno> {
    let mut arg = abi::State::new();
    ioctl(file, abi::IOC_STAGE_STATE, &mut arg)?;
    Ok(arg)
}

impl Files {
    /// Finds the regular files that `paths` name, or with `recursive` that lie below them, on the same file system. A
    /// file with several names counts once. What cannot be opened is told and left out.
    pub fn find(paths: &[PathBuf], recursive: bool, out: &Output) -> Result<Files> {
        let first = paths.first().ok_or_else(|| usage("no path"))?;
        let on = open(first).with_context(|| format!("cannot open {}", first.display()))?;
        let device = on.metadata()?.dev();
        let mut files = Files {
            on,
            admin: nix::unistd::geteuid().is_root(),
            targets: Vec::new(),
        };
        let mut seen = HashSet::new();
        let mut dirs: Vec<PathBuf> = Vec::new();
        for path in paths {
            let meta = path
                .symlink_metadata()
                .with_context(|| format!("cannot find {}", path.display()))?;
            if meta.dev() != device {
                return Err(anyhow!(
                    "{} is on another file system than {}",
                    path.display(),
                    first.display()
                ))
                .hint("one command works on one file system");
            }
            if meta.is_dir() {
                if !recursive {
                    return Err(usage(format!("{} is a directory", path.display()))
                        .hint("-r takes all files below it"));
                }
                dirs.push(path.clone());
            } else if meta.is_file() {
                files.add(path, &mut seen)?;
            } else {
                return Err(anyhow!("{} is no regular file", path.display()))
                    .hint("only regular files have contents on volumes");
            }
        }
        let spinner = out.spinner("looking for files");
        while let Some(dir) = dirs.pop() {
            let entries = match std::fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(e) => {
                    out.warn(&format!("{}: {e}", dir.display()));
                    continue;
                }
            };
            for entry in entries {
                let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
                let path = entry.path();
                let Ok(meta) = entry.metadata() else { continue };
                if meta.dev() != device {
                    continue;
                }
                if meta.is_dir() {
                    dirs.push(path);
                } else if meta.is_file() {
                    if let Err(e) = files.add(&path, &mut seen) {
                        out.warn(&format!("{e:#}"));
                    }
                    spinner.inc(1);
                }
            }
        }
        spinner.finish_and_clear();
        Ok(files)
    }

    fn add(&mut self, path: &Path, seen: &mut HashSet<u64>) -> Result<()> {
        let file = open(path).with_context(|| format!("cannot open {}", path.display()))?;
        match state_of(&file) {
            Ok(s) => {
                if seen.insert(s.ino) {
                    self.targets.push(Target {
                        path: path.to_owned(),
                        ino: s.ino,
                        generation: s.generation,
                    });
                }
                Ok(())
            }
            Err(Errno::ENOTTY | Errno::EOPNOTSUPP) => {
                Err(not_found(format!("{} is not on a VexFS", path.display())))
                    .hint("mount one: mount -t vexfs DEVICE DIR")
            }
            Err(e) => Err(e).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    /// The files in groups of which each fits into one call.
    pub fn batches(&self) -> impl Iterator<Item = &[Target]> {
        // Small groups, so that progress is seen and a full queue is met early.
        self.targets.chunks(128)
    }

    /// Where the bytes of a file are; fills `copies` as far as they go.
    pub fn state(&self, target: &Target, copies: &mut [abi::Copy]) -> Result<abi::State, Errno> {
        let mut arg = abi::State {
            copies: copies.as_mut_ptr() as u64,
            copy_size: size_of::<abi::Copy>() as u32,
            max_copies: copies.len() as u32,
            ..abi::State::new()
        };
        if self.admin {
            (arg.ino, arg.generation) = (target.ino, target.generation);
            ioctl(&self.on, abi::IOC_STAGE_STATE, &mut arg)?;
        } else {
            let file = open(&target.path)
                .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
            ioctl(&file, abi::IOC_STAGE_STATE, &mut arg)?;
        }
        Ok(arg)
    }

    /// Does something to a group of files and shows each one's result to `each`. A full queue is waited for.
    pub fn run<'t>(
        &self,
        request: libc::c_ulong,
        batch: &'t [Target],
        mut each: impl FnMut(&'t Target, Result<u64, Errno>) -> Result<()>,
    ) -> Result<()> {
        let mut left: Vec<&'t Target> = batch.iter().collect();
        while !left.is_empty() {
            let mut items: Vec<abi::Item> = left
                .iter()
                .map(|t| abi::Item {
                    ino: t.ino,
                    generation: t.generation,
                    ..abi::Item::default()
                })
                .collect();
            if self.admin {
                self.call(&self.on, request, &mut items)?;
            } else {
                // Without privilege only the very file that is open may be named.
                for (target, item) in left.iter().zip(&mut items) {
                    let file = open(&target.path)
                        .with_context(|| format!("cannot open {}", target.path.display()))?;
                    let mut own = [abi::Item::default()];
                    self.call(&file, request, &mut own)?;
                    *item = own[0];
                }
            }
            let mut again = Vec::new();
            for (target, item) in left.iter().zip(&items) {
                let full = item.status == -libc::EAGAIN && request != abi::IOC_STAGE_RELEASE;
                if full {
                    again.push(*target);
                } else if item.status < 0 {
                    each(target, Err(Errno::from_raw(-item.status)))?;
                } else {
                    each(target, Ok(item.result))?;
                }
            }
            left = again;
            if !left.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        Ok(())
    }

    fn call(&self, on: &File, request: libc::c_ulong, items: &mut [abi::Item]) -> Result<()> {
        let mut arg = abi::Batch {
            count: items.len() as u32,
            item_size: size_of::<abi::Item>() as u32,
            items: items.as_mut_ptr() as u64,
            ..abi::Batch::new()
        };
        match ioctl(on, request, &mut arg) {
            Ok(_) => Ok(()),
            Err(Errno::EPERM) => Err(Errno::EPERM)
                .context("not permitted")
                .hint("archiving and releasing take root"),
            Err(e) => Err(e).context("the file system refuses the call"),
        }
    }
}
