// SPDX-License-Identifier: GPL-2.0
//! The volumes that an agent has at hand, and their ids in the file system's table.

use super::kernel::Kernel;
use crate::abi::staging as abi;
use crate::error::HintExt;
use crate::volume::bundle::Writer;
use crate::volume::free_label;
use crate::volume::label::{format_uuid, Volume};
use anyhow::{Context, Result};
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// A volume and its row in the table.
struct Shelf {
    volume: Volume,
    row: abi::Volume,
}

/// All volumes below one directory that belong to one file system.
pub struct Library {
    dir: PathBuf,
    fsuuid: [u8; 16],
    epoch: [u8; 16],
    shelves: Mutex<Vec<Shelf>>,
}

impl Library {
    /// Opens the volumes in `dir`; makes the first one. `known` is the file system's table. Returns remarks for people
    /// as well.
    pub fn open(
        kernel: &dyn Kernel,
        dir: &Path,
        (fsuuid, epoch): ([u8; 16], [u8; 16]),
        known: &[abi::Volume],
    ) -> Result<(Library, Vec<String>)> {
        let mut remarks = Vec::new();
        let mut shelves: Vec<Shelf> = Vec::new();
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for mut volume in Volume::find(dir)? {
            let name = volume.label.label.clone();
            match volume.label.fs.as_deref() {
                None => volume.claim(fsuuid, epoch)?,
                Some(of) if of != format_uuid(&fsuuid) => {
                    remarks.push(format!(
                        "volume {name} belongs to another file system ({of}): left alone"
                    ));
                    continue;
                }
                Some(_) => {}
            }
            let leftovers = volume.remove_leftovers()?;
            if leftovers > 0 {
                remarks.push(format!(
                    "volume {name}: removed {leftovers} bundle(s) that were never completed"
                ));
            }
            let mut state = abi::VOLUME_OPEN;
            if volume.label.epoch.as_deref() != Some(&format_uuid(&epoch)) {
                remarks.push(format!(
                    "volume {name} was written by a clone of this file system: read only"
                ));
                state = abi::VOLUME_READONLY;
            }
            let row = row_of(&volume, known, state)?;
            shelves.push(Shelf { volume, row });
        }
        let library = Library {
            dir: dir.to_owned(),
            fsuuid,
            epoch,
            shelves: Mutex::new(shelves),
        };
        if !library
            .shelves()
            .iter()
            .any(|s| s.row.state == abi::VOLUME_OPEN)
        {
            library.add_volume()?;
        }
        for shelf in library.shelves().iter_mut() {
            kernel.upsert(&mut shelf.row).with_context(|| {
                format!(
                    "cannot enter volume {} into the table",
                    shelf.volume.label.label
                )
            })?;
        }
        Ok((library, remarks))
    }

    fn shelves(&self) -> MutexGuard<'_, Vec<Shelf>> {
        // A panic elsewhere leaves the list as it was: rows are replaced as a whole.
        self.shelves.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn add_volume(&self) -> Result<()> {
        let mut shelves = self.shelves();
        let all: Vec<Volume> = Volume::find(&self.dir)?;
        let volume = Volume::create(
            &self.dir,
            &free_label(&all),
            Some(self.fsuuid),
            Some(self.epoch),
        )
        .hint("--volumes wants a directory that can be written to")?;
        let row = row_of(&volume, &[], abi::VOLUME_OPEN)?;
        shelves.push(Shelf { volume, row });
        Ok(())
    }

    /// How many volumes there are.
    pub fn len(&self) -> usize {
        self.shelves().len()
    }

    /// Begins a bundle on a volume that takes more; returns the volume's id and folder too.
    pub fn begin_bundle(&self) -> Result<(Writer, u32, PathBuf)> {
        let shelves = self.shelves();
        let shelf = shelves
            .iter()
            .find(|s| s.row.state == abi::VOLUME_OPEN)
            .context("no volume takes more files")?;
        let writer = Writer::create(&shelf.volume, shelf.row.next_bundle.max(1))?;
        Ok((writer, shelf.row.id, shelf.volume.dir.clone()))
    }

    /// A bundle of `bytes` was completed on a volume, `live` of them files' contents.
    pub fn end_bundle(
        &self,
        kernel: &dyn Kernel,
        id: u32,
        bytes: u64,
        live: u64,
    ) -> Result<(), Errno> {
        let mut shelves = self.shelves();
        let Some(shelf) = shelves.iter_mut().find(|s| s.row.id == id) else {
            return Ok(());
        };
        shelf.row.next_bundle += 1;
        shelf.row.end_of_data += bytes;
        shelf.row.live_bytes += live;
        kernel.upsert(&mut shelf.row)
    }

    /// Where a bundle is.
    pub fn bundle(&self, id: u32, number: u32) -> Option<PathBuf> {
        let shelves = self.shelves();
        shelves
            .iter()
            .find(|s| s.row.id == id)
            .map(|s| s.volume.bundle(number))
    }
}

/// The row of a volume: what the table has, brought up to what lies in the folder.
fn row_of(volume: &Volume, known: &[abi::Volume], state: u8) -> Result<abi::Volume> {
    let uuid = volume.uuid();
    let mut row = known
        .iter()
        .find(|v| v.uuid == uuid)
        .copied()
        .unwrap_or_else(|| {
            let mut label = [0; 32];
            let text = volume.label.label.as_bytes();
            let n = text.len().min(label.len());
            label[..n].copy_from_slice(&text[..n]);
            abi::Volume {
                uuid,
                label,
                created_sec: volume.label.created,
                next_bundle: 1,
                ..abi::Volume::default()
            }
        });
    row.state = state;
    // A number is never used again, even if the bundle is lost.
    let last = volume.bundles()?.last().copied().unwrap_or(0);
    row.next_bundle = row.next_bundle.max(last + 1);
    row.end_of_data = volume.bytes()?;
    Ok(row)
}
