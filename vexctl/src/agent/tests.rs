// SPDX-License-Identifier: GPL-2.0
//! The workers against a kernel that is a table of files in memory.

use super::archive::Archiver;
use super::event::Events;
use super::kernel::{Begun, Kernel};
use super::library::Library;
use super::recall::Recaller;
use crate::abi::staging as abi;
use crate::output::Output;
use crate::volume::label::Volume;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::Mutex;

/// A file, as the kernel of the tests has it.
#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    version: u64,
    copies: Vec<abi::Copy>,
    staged: Vec<u8>,
    /// Changes when it is read the n-th time.
    change_at_read: Option<u32>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    volumes: Vec<abi::Volume>,
    completed: Vec<(u64, u32, Option<Errno>)>,
    unmounted: bool,
}

#[derive(Default)]
struct Mock(Mutex<State>);

impl Mock {
    fn with(files: &[(u64, Vec<u8>)]) -> Mock {
        let files = files
            .iter()
            .map(|(ino, b)| {
                (
                    *ino,
                    File {
                        bytes: b.clone(),
                        version: 1,
                        ..File::default()
                    },
                )
            })
            .collect();
        Mock(Mutex::new(State {
            files,
            ..State::default()
        }))
    }
}

impl Kernel for Mock {
    fn begin(&self, ino: u64, _generation: u32) -> Result<Begun, Errno> {
        let s = self.0.lock().unwrap();
        let f = s.files.get(&ino).ok_or(Errno::ESTALE)?;
        let copies = f.copies.iter().filter(|c| c.version == f.version).count() as u32;
        let path = (ino != 9).then(|| format!("dir/file{ino}").into_bytes());
        Ok(Begun {
            version: f.version,
            size: f.bytes.len() as u64,
            path,
            mode: 0o644,
            copies,
            ..Begun::default()
        })
    }

    fn read(
        &self,
        ino: u64,
        _generation: u32,
        version: u64,
        off: u64,
        buf: &mut [u8],
    ) -> Result<usize, Errno> {
        let mut s = self.0.lock().unwrap();
        if s.unmounted {
            return Err(Errno::ENODEV);
        }
        let f = s.files.get_mut(&ino).ok_or(Errno::ESTALE)?;
        if let Some(n) = &mut f.change_at_read {
            *n -= 1;
            if *n == 0 {
                f.change_at_read = None;
                f.version += 1;
            }
        }
        if f.version != version {
            return Err(Errno::ESTALE);
        }
        let rest = &f.bytes[(off as usize).min(f.bytes.len())..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn commit(
        &self,
        ino: u64,
        _generation: u32,
        version: u64,
        copies: &[abi::Copy],
    ) -> Result<(), Errno> {
        let mut s = self.0.lock().unwrap();
        let f = s.files.get_mut(&ino).ok_or(Errno::ESTALE)?;
        if f.version != version {
            return Err(Errno::ESTALE);
        }
        f.copies = copies.to_vec();
        Ok(())
    }

    fn stage(&self, cookie: u64, _version: u64, off: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut s = self.0.lock().unwrap();
        if s.unmounted {
            return Err(Errno::ENODEV);
        }
        let f = s.files.get_mut(&cookie).ok_or(Errno::ESTALE)?;
        if f.bytes[off as usize..][..bytes.len()] != *bytes {
            return Err(Errno::EBADMSG);
        }
        f.staged.extend_from_slice(bytes);
        Ok(())
    }

    fn complete(&self, cookie: u64, status: u32, error: Option<Errno>) -> Result<(), Errno> {
        self.0
            .lock()
            .unwrap()
            .completed
            .push((cookie, status, error));
        Ok(())
    }

    fn upsert(&self, volume: &mut abi::Volume) -> Result<(), Errno> {
        let mut s = self.0.lock().unwrap();
        let at = s.volumes.iter().position(|v| v.uuid == volume.uuid);
        let at = at.unwrap_or_else(|| {
            s.volumes.push(*volume);
            s.volumes.len() - 1
        });
        volume.id = at as u32 + 1;
        s.volumes[at] = *volume;
        Ok(())
    }
}

const FS: ([u8; 16], [u8; 16]) = ([1; 16], [2; 16]);

fn library(kernel: &Mock, dir: &Path) -> (Library, Vec<String>) {
    let known = kernel.0.lock().unwrap().volumes.clone();
    Library::open(kernel, dir, FS, &known).unwrap()
}

fn archive(kernel: &Mock, library: &Library, inos: &[u64], attempt: u32) {
    let (out, stop) = (Output::new(false, true), AtomicBool::new(false));
    let events = Events(&out);
    let (send, receive) = channel();
    for &ino in inos {
        send.send(abi::Request {
            op: abi::OP_ARCHIVE,
            cookie: ino,
            ino,
            attempt,
            ..abi::Request::new()
        })
        .unwrap();
    }
    drop(send);
    Archiver {
        kernel,
        library,
        events: &events,
        fsuuid: FS.0,
        bundle_size: 1 << 30,
        stop: &stop,
    }
    .run(&receive)
    .unwrap();
}

fn recall(kernel: &Mock, library: &Library, ino: u64) -> Result<(), Errno> {
    let (out, stop) = (Output::new(false, true), AtomicBool::new(false));
    let events = Events(&out);
    let (send, receive) = channel();
    let (len, copy) = {
        let s = kernel.0.lock().unwrap();
        (s.files[&ino].bytes.len() as u64, s.files[&ino].copies[0])
    };
    let request = abi::Request {
        op: abi::OP_RECALL,
        cookie: ino,
        ino,
        len,
        version: copy.version,
        volume: copy.volume,
        bundle: copy.bundle,
        object_off: copy.object_off,
        ..abi::Request::new()
    };
    send.send(request).unwrap();
    drop(send);
    Recaller {
        kernel,
        library,
        events: &events,
        stop: &stop,
    }
    .run(&receive)
}

fn completed(kernel: &Mock) -> Vec<(u64, u32, Option<Errno>)> {
    std::mem::take(&mut kernel.0.lock().unwrap().completed)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn files_share_a_bundle_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = Mock::with(&[
        (1, vec![]),
        (2, b"x".to_vec()),
        (3, pattern(9 << 20)),
        (9, pattern(5000)),
    ]);
    let (lib, remarks) = library(&kernel, dir.path());
    assert!(remarks.is_empty());
    archive(&kernel, &lib, &[1, 2, 3, 9], 0);
    let done = completed(&kernel);
    assert_eq!(
        done.iter().map(|d| (d.0, d.1)).collect::<Vec<_>>(),
        [(1, 0), (2, 0), (3, 0), (9, 0)]
    );
    let v = &Volume::find(dir.path()).unwrap()[0];
    assert_eq!(v.bundles().unwrap(), [1]);
    assert_eq!(kernel.0.lock().unwrap().volumes[0].next_bundle, 2);
    for ino in [1, 2, 3, 9] {
        recall(&kernel, &lib, ino).unwrap();
        let s = kernel.0.lock().unwrap();
        assert_eq!(s.files[&ino].staged, s.files[&ino].bytes);
    }
    assert!(completed(&kernel).iter().all(|d| d.1 == abi::DONE_OK));
    // Nothing to do the second time.
    archive(&kernel, &lib, &[2], 0);
    assert_eq!(completed(&kernel), [(2, abi::DONE_OK, None)]);
    assert_eq!(v.bundles().unwrap(), [1]);
}

#[test]
fn a_file_that_changes_is_put_back_and_spoils_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The large one is read twice: let it change in the second reading, when half of it is in the bundle.
    let mut files = vec![(1, pattern(100)), (2, pattern(65 << 20)), (3, pattern(200))];
    let kernel = Mock::with(&files);
    kernel
        .0
        .lock()
        .unwrap()
        .files
        .get_mut(&2)
        .unwrap()
        .change_at_read = Some(20);
    let (lib, _) = library(&kernel, dir.path());
    archive(&kernel, &lib, &[1, 2, 3], 0);
    let done = completed(&kernel);
    assert!(done.contains(&(2, abi::DONE_RETRY, None)));
    assert!(done.contains(&(1, abi::DONE_OK, None)) && done.contains(&(3, abi::DONE_OK, None)));
    files.remove(1);
    for (ino, bytes) in &files {
        recall(&kernel, &lib, *ino).unwrap();
        assert_eq!(&kernel.0.lock().unwrap().files[ino].staged, bytes);
    }
    let v = &Volume::find(dir.path()).unwrap()[0];
    let members = crate::volume::bundle::members(&v.bundle(1)).unwrap();
    assert_eq!(members.len(), 2);
    completed(&kernel);
    // The last try gives up.
    kernel
        .0
        .lock()
        .unwrap()
        .files
        .get_mut(&2)
        .unwrap()
        .change_at_read = Some(1);
    archive(&kernel, &lib, &[2], 3);
    assert_eq!(
        completed(&kernel),
        [(2, abi::DONE_LOST, Some(Errno::ESTALE))]
    );
}

#[test]
fn a_file_that_is_gone_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = Mock::with(&[(1, pattern(10))]);
    let (lib, _) = library(&kernel, dir.path());
    archive(&kernel, &lib, &[77, 1], 3);
    assert_eq!(
        completed(&kernel),
        [
            (77, abi::DONE_LOST, Some(Errno::ESTALE)),
            (1, abi::DONE_OK, None)
        ]
    );
}

#[test]
fn a_bad_byte_sends_the_request_to_the_next_copy() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let kernel = Mock::with(&[(1, pattern(5 << 20))]);
    let (lib, _) = library(&kernel, dir.path());
    archive(&kernel, &lib, &[1], 0);
    completed(&kernel);
    let copy = kernel.0.lock().unwrap().files[&1].copies[0];
    let path = lib.bundle(copy.volume, copy.bundle).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"?", copy.object_off + 4_500_000)
        .unwrap();
    recall(&kernel, &lib, 1).unwrap();
    assert_eq!(completed(&kernel), [(1, abi::DONE_NEXTCOPY, None)]);
    std::fs::remove_file(&path).unwrap();
    recall(&kernel, &lib, 1).unwrap();
    assert_eq!(completed(&kernel), [(1, abi::DONE_NEXTCOPY, None)]);
}

#[test]
fn an_agent_that_starts_again_goes_on_where_the_last_one_was() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = Mock::with(&[(1, pattern(10)), (2, pattern(20))]);
    let (lib, _) = library(&kernel, dir.path());
    archive(&kernel, &lib, &[1], 0);
    let volume = Volume::find(dir.path()).unwrap().remove(0);
    std::fs::write(volume.dir.join("000002.tar.part"), b"half").unwrap();
    let (lib, remarks) = library(&kernel, dir.path());
    assert_eq!((lib.len(), remarks.len()), (1, 1));
    archive(&kernel, &lib, &[2], 0);
    assert_eq!(volume.bundles().unwrap(), [1, 2]);
    // The catalogue remembers numbers of bundles that are lost.
    std::fs::remove_file(volume.bundle(2)).unwrap();
    let (lib, _) = library(&kernel, dir.path());
    kernel.0.lock().unwrap().files.get_mut(&2).unwrap().version = 2;
    archive(&kernel, &lib, &[2], 0);
    assert_eq!(volume.bundles().unwrap(), [1, 3]);
}

#[test]
fn volumes_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    Volume::create(dir.path(), "OTHER", Some([9; 16]), Some([9; 16])).unwrap();
    Volume::create(dir.path(), "CLONE", Some(FS.0), Some([8; 16])).unwrap();
    Volume::create(dir.path(), "NEW", None, None).unwrap();
    let kernel = Mock::with(&[(1, pattern(10))]);
    let (lib, remarks) = library(&kernel, dir.path());
    assert_eq!((lib.len(), remarks.len()), (2, 2));
    archive(&kernel, &lib, &[1], 0);
    let with_bundles: Vec<String> = Volume::find(dir.path())
        .unwrap()
        .into_iter()
        .filter(|v| !v.bundles().unwrap().is_empty())
        .map(|v| v.label.label)
        .collect();
    assert_eq!(with_bundles, ["NEW"]);
}

#[test]
fn an_unmount_ends_the_workers() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = Mock::with(&[(1, pattern(10))]);
    let (lib, _) = library(&kernel, dir.path());
    archive(&kernel, &lib, &[1], 0);
    kernel.0.lock().unwrap().unmounted = true;
    assert_eq!(recall(&kernel, &lib, 1), Err(Errno::ENODEV));
}
