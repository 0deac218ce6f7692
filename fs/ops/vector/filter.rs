// SPDX-License-Identifier: GPL-2.0

//! Filters: from user space, and what they see of a record and its file.

use super::sight::{self, Sight};
use crate::libvexfs::errno::enodata;
use crate::libvexfs::format::inode::{STATE_ARCHIVED, STATE_OFFLINE, S_IFMT};
use crate::libvexfs::format::Time;
use crate::libvexfs::vector::filter::{self, op, time, Field, Filter, Flag, Insn, Looked, Subject};
use crate::libvexfs::vector::Record;
use crate::ops::xattr;
use crate::vfs::{
    attributes::Stat, bindings, dentry::IdMap, inode::VexInode, ioctl::capable, uapi,
};
use kernel::prelude::*;

// libvexfs has the numbers of the ABI in constants of its own.
const _: () = {
    assert!(filter::INSNS_MAX == bindings::VEXFS_MAX_FILTER_INSNS as usize);
    assert!(filter::STACK_MAX == bindings::VEXFS_MAX_FILTER_STACK as usize);
    assert!(filter::DATA_MAX == bindings::VEXFS_MAX_FILTER_DATA as usize);
    assert!(filter::GLOBS_MAX == bindings::VEXFS_MAX_FILTER_GLOBS as usize);
    assert!(filter::DIRS_MAX == bindings::VEXFS_MAX_FILTER_DIRS as usize);
    assert!(op::UINT as u32 == bindings::VEXFS_FILTER_UINT);
    assert!(op::SINT as u32 == bindings::VEXFS_FILTER_SINT);
    assert!(op::TIME as u32 == bindings::VEXFS_FILTER_TIME);
    assert!(op::FIELD as u32 == bindings::VEXFS_FILTER_FIELD);
    assert!(op::FLAG as u32 == bindings::VEXFS_FILTER_FLAG);
    assert!(op::XATTR_NUMBER as u32 == bindings::VEXFS_FILTER_XATTR_NUMBER);
    assert!(op::XATTR as u32 == bindings::VEXFS_FILTER_XATTR);
    assert!(op::XATTR_EQ as u32 == bindings::VEXFS_FILTER_XATTR_EQ);
    assert!(op::XATTR_GLOB as u32 == bindings::VEXFS_FILTER_XATTR_GLOB);
    assert!(op::PATH_GLOB as u32 == bindings::VEXFS_FILTER_PATH_GLOB);
    assert!(op::NAME_GLOB as u32 == bindings::VEXFS_FILTER_NAME_GLOB);
    assert!(op::UNDER as u32 == bindings::VEXFS_FILTER_UNDER);
    assert!(op::EQ as u32 == bindings::VEXFS_FILTER_EQ);
    assert!(op::NE as u32 == bindings::VEXFS_FILTER_NE);
    assert!(op::LT as u32 == bindings::VEXFS_FILTER_LT);
    assert!(op::LE as u32 == bindings::VEXFS_FILTER_LE);
    assert!(op::GT as u32 == bindings::VEXFS_FILTER_GT);
    assert!(op::GE as u32 == bindings::VEXFS_FILTER_GE);
    assert!(op::BITS as u32 == bindings::VEXFS_FILTER_BITS);
    assert!(op::IN as u32 == bindings::VEXFS_FILTER_IN);
    assert!(op::AND as u32 == bindings::VEXFS_FILTER_AND);
    assert!(op::OR as u32 == bindings::VEXFS_FILTER_OR);
    assert!(op::NOT as u32 == bindings::VEXFS_FILTER_NOT);
    assert!(Field::Key as u32 == bindings::VEXFS_FIELD_KEY);
    assert!(Field::Off as u32 == bindings::VEXFS_FIELD_OFF);
    assert!(Field::Len as u32 == bindings::VEXFS_FIELD_LEN);
    assert!(Field::Version as u32 == bindings::VEXFS_FIELD_VERSION);
    assert!(Field::Ino as u32 == bindings::VEXFS_FIELD_INO);
    assert!(Field::Uid as u32 == bindings::VEXFS_FIELD_UID);
    assert!(Field::Gid as u32 == bindings::VEXFS_FIELD_GID);
    assert!(Field::Mode as u32 == bindings::VEXFS_FIELD_MODE);
    assert!(Field::Type as u32 == bindings::VEXFS_FIELD_TYPE);
    assert!(Field::Size as u32 == bindings::VEXFS_FIELD_SIZE);
    assert!(Field::Blocks as u32 == bindings::VEXFS_FIELD_BLOCKS);
    assert!(Field::Nlink as u32 == bindings::VEXFS_FIELD_NLINK);
    assert!(Field::Project as u32 == bindings::VEXFS_FIELD_PROJECT);
    assert!(Field::Atime as u32 == bindings::VEXFS_FIELD_ATIME);
    assert!(Field::Mtime as u32 == bindings::VEXFS_FIELD_MTIME);
    assert!(Field::Ctime as u32 == bindings::VEXFS_FIELD_CTIME);
    assert!(Field::Btime as u32 == bindings::VEXFS_FIELD_BTIME);
    assert!(Flag::Stale as u32 == bindings::VEXFS_FLAG_STALE);
    assert!(Flag::Offline as u32 == bindings::VEXFS_FLAG_OFFLINE);
    assert!(Flag::Archived as u32 == bindings::VEXFS_FLAG_ARCHIVED);
    assert!(Flag::Whole as u32 == bindings::VEXFS_FLAG_WHOLE);
};

/// Reads and verifies the filter whose `struct vexfs_filter` is at a user's address.
///
/// # Errors
///
/// `EFAULT`, `EINVAL`, `E2BIG`, `ENOMEM`.
pub(super) fn read(address: u64) -> Result<Filter> {
    let address = usize::try_from(address).map_err(|_| EFAULT)?;
    let (raw, _) = uapi::get::<bindings::vexfs_filter>(address, 40)?;
    if raw.flags != 0 || raw.reserved != 0 {
        return Err(EINVAL);
    }
    uapi::check_item_size(raw.insn_size, 16)?;
    if raw.count > bindings::VEXFS_MAX_FILTER_INSNS
        || raw.data_len > bindings::VEXFS_MAX_FILTER_DATA
    {
        return Err(E2BIG);
    }
    let mut insns = KVec::with_capacity(raw.count as usize, GFP_KERNEL)?;
    for index in 0..raw.count as usize {
        let insn = uapi::get_item::<bindings::vexfs_filter_insn>(raw.insns, raw.insn_size, index)?;
        let insn = Insn {
            op: insn.op,
            field: insn.field,
            len: insn.len,
            value: insn.value,
        };
        insns.push(insn, GFP_KERNEL)?;
    }
    let mut data = KVVec::from_elem(0u8, raw.data_len as usize, GFP_KERNEL)?;
    uapi::slice(raw.data, data.len())
        .reader()
        .read_slice(&mut data)?;
    Filter::verify(insns.iter().copied(), data)
}

/// Attributes of an inode at one moment.
#[derive(Clone, Copy)]
struct Seen {
    stat: Stat,
    state: u32,
    project: u32,
    btime: Time,
}

/// Who looks at what is far away.
#[derive(Clone, Copy)]
enum Far<'a> {
    /// Nobody, so far.
    Nobody,
    /// A caller, with what it may see.
    Caller(&'a Sight<'a>, &'a Filter),
    /// Nobody in particular: what depends on who asks is not known.
    Anyone(&'a Filter),
}

/// What a filter sees. What is `None` it is not told.
pub(super) struct View<'a> {
    ino: u64,
    generation: u32,
    record: Option<&'a Record>,
    inode: Option<(&'a VexInode, Seen)>,
    /// For what is far away: directories and extended attributes.
    far: Far<'a>,
    /// The times are what they seem: whatever changes them is noted.
    times: bool,
    path: Option<&'a [u8]>,
    value: KVVec<u8>,
}

impl<'a> View<'a> {
    /// Of a record, and nothing of its file.
    pub(super) fn of_record(record: &'a Record) -> Self {
        View {
            ino: record.ino,
            generation: record.generation,
            record: Some(record),
            inode: None,
            far: Far::Nobody,
            times: true,
            path: None,
            value: KVVec::new(),
        }
    }

    /// Of a file, and nothing that is far away.
    pub(super) fn of_file(inode: &'a VexInode, idmap: IdMap, record: Option<&'a Record>) -> Self {
        let stat = inode.stat(idmap);
        let core = inode.core().read();
        let seen = Seen {
            stat,
            state: core.state,
            project: core.projid,
            btime: core.btime,
        };
        drop(core);
        View {
            ino: inode.ino(),
            generation: inode.generation(),
            record,
            inode: Some((inode, seen)),
            far: Far::Nobody,
            times: true,
            path: None,
            value: KVVec::new(),
        }
    }

    /// Of a file, as far as it is the same for whoever asks, through a mount that maps no owners.
    pub(super) fn for_anyone(
        inode: &'a VexInode,
        filter: &'a Filter,
        record: Option<&'a Record>,
    ) -> Self {
        View {
            far: Far::Anyone(filter),
            times: !inode.sb().updates_times_lazily(),
            ..Self::of_file(inode, IdMap::identity(), record)
        }
    }

    /// With what is far away, too.
    pub(super) fn with_far(self, sight: &'a Sight<'a>, filter: &'a Filter) -> Self {
        View {
            far: Far::Caller(sight, filter),
            ..self
        }
    }

    /// The same at one of its paths.
    pub(super) fn run_at(&mut self, filter: &Filter, path: &[u8]) -> Result<Option<bool>> {
        let mut there = View {
            path: Some(path),
            value: core::mem::take(&mut self.value),
            ..*self
        };
        let said = filter.run(&mut there);
        self.value = there.value;
        said
    }
}

impl Subject for View<'_> {
    fn number(&self, field: Field) -> Looked<filter::Number> {
        let of_record = |f: fn(&Record) -> u64| match self.record {
            Some(record) => Looked::Found(f(record).into()),
            None => Looked::Unknown,
        };
        let Some((_, seen)) = &self.inode else {
            return match field {
                Field::Key => of_record(|r| r.key),
                Field::Off => of_record(|r| r.off),
                Field::Len => of_record(|r| r.len),
                Field::Version => of_record(|r| r.version),
                Field::Ino => Looked::Found(self.ino.into()),
                _ => Looked::Unknown,
            };
        };
        let stat = &seen.stat;
        if matches!(field, Field::Atime | Field::Mtime | Field::Ctime) && !self.times {
            return Looked::Unknown;
        }
        Looked::Found(match field {
            Field::Key => return of_record(|r| r.key),
            Field::Off => return of_record(|r| r.off),
            Field::Len => return of_record(|r| r.len),
            Field::Version => return of_record(|r| r.version),
            Field::Ino => self.ino.into(),
            Field::Uid => stat.uid.into(),
            Field::Gid => stat.gid.into(),
            Field::Mode => (stat.mode & !S_IFMT).into(),
            Field::Type => (stat.mode & S_IFMT).into(),
            Field::Size => stat.size.into(),
            Field::Blocks => stat.sectors.into(),
            Field::Nlink => stat.nlink.into(),
            Field::Project => seen.project.into(),
            Field::Atime => time(stat.atime),
            Field::Mtime => time(stat.mtime),
            Field::Ctime => time(stat.ctime),
            Field::Btime => time(seen.btime),
        })
    }

    fn flag(&mut self, flag: Flag) -> Result<Looked<bool>> {
        Ok(match (flag, self.record, &self.inode) {
            (Flag::Whole, Some(record), _) => Looked::Found(record.whole()),
            (Flag::Offline, _, Some((_, seen))) => Looked::Found(seen.state & STATE_OFFLINE != 0),
            (Flag::Archived, _, Some((_, seen))) => Looked::Found(seen.state & STATE_ARCHIVED != 0),
            (Flag::Stale, Some(record), Some((inode, _))) => {
                let core = inode.core().read();
                Looked::Found(inode.fs().is_stale(&core, record)?)
            }
            _ => Looked::Unknown,
        })
    }

    fn path(&self) -> Looked<&[u8]> {
        self.path.map_or(Looked::Unknown, Looked::Found)
    }

    fn attribute(&mut self, name: &[u8]) -> Result<Looked<&[u8]>> {
        let Some((inode, _)) = self.inode else {
            return Ok(Looked::Unknown);
        };
        let (space, bare) = match (name.strip_prefix(b"user."), name.strip_prefix(b"trusted.")) {
            _ if matches!(self.far, Far::Nobody) => return Ok(Looked::Unknown),
            (Some(bare), _) => (xattr::USER, bare),
            (_, Some(_)) if matches!(self.far, Far::Anyone(_)) => return Ok(Looked::Unknown),
            (_, Some(bare)) if capable(bindings::CAP_SYS_ADMIN) => (xattr::TRUSTED, bare),
            _ => return Ok(Looked::Nothing),
        };
        match xattr::get(inode, space, bare) {
            Ok(value) => {
                self.value = value;
                Ok(Looked::Found(&self.value))
            }
            Err(e) if e == enodata() => Ok(Looked::Nothing),
            Err(e) => Err(e),
        }
    }

    fn under(&mut self, dir: usize) -> Result<Looked<bool>> {
        let (Far::Caller(_, filter) | Far::Anyone(filter)) = self.far else {
            return Ok(Looked::Unknown);
        };
        let Some((from, generation)) = filter.dirs().get(dir).copied() else {
            return Ok(Looked::Nothing);
        };
        let (ino, of) = (self.ino, self.generation);
        if (from, generation) == (ino, of) {
            return Ok(Looked::Found(true));
        }
        let sight = match (self.far, self.inode) {
            (Far::Caller(sight, _), _) => sight,
            // Whether a caller finds a way is another matter; where there is none nobody does.
            (Far::Anyone(_), Some((inode, _))) if !sight::leads_to(from, inode)? => {
                return Ok(Looked::Found(false));
            }
            _ => return Ok(Looked::Unknown),
        };
        // The number was checked when the search began; it is of another directory only if this
        // one was removed since, and then nothing lies below it.
        Ok(Looked::Found(sight.below(ino, of, from)?))
    }
}
