// SPDX-License-Identifier: GPL-2.0
//! The staging section of the ABI, `fs/uapi/vexfs_staging.h`. The header says what the fields mean.

#![allow(
    dead_code,
    reason = "the section is here as a whole, as the header has it"
)]

use super::io;

pub const STAGE_ABI: u32 = 1;
pub const STAGE_CHUNK: u64 = 1 << 20;
pub const STAGE_BLOCK: u64 = 256 << 10;
pub const MAX_COPIES: usize = 16;
pub const STAGE_MAX_ITEMS: usize = 1024;
pub const STAGE_MAX_BYTES: u64 = 64 << 20;
pub const OP_RECALL: u16 = 1;
pub const OP_ARCHIVE: u16 = 2;
pub const OP_REMOVE: u16 = 3;
pub const OP_VERIFY: u16 = 4;
pub const OP_CANCEL: u16 = 5;
pub const OP_PRESSURE: u16 = 6;
pub const PRIO_DELETE: u16 = 0;
pub const PRIO_AUDIT: u16 = 1;
pub const PRIO_DIAGNOSE: u16 = 2;
pub const PRIO_READAHEAD: u16 = 3;
pub const PRIO_WRITE: u16 = 4;
pub const PRIO_MANAGE: u16 = 5;
pub const PRIO_READ: u16 = 6;
pub const PRIO_CLEAN: u16 = 7;
pub const COPY_VALID: u8 = 1;
pub const COPY_BAD: u8 = 2;
pub const DIGEST_NONE: u8 = 0;
pub const DIGEST_BLAKE3: u8 = 1;
pub const COMMIT_LATER: u32 = 0x1;
pub const DONE_OK: u32 = 0;
pub const DONE_RETRY: u32 = 1;
pub const DONE_NEXTCOPY: u32 = 2;
pub const DONE_LOST: u32 = 3;
pub const DONE_CANCELLED: u32 = 4;
pub const STATE_DIRTY: u32 = 0x01;
pub const STATE_ARCHIVED: u32 = 0x02;
pub const STATE_OFFLINE: u32 = 0x04;
pub const STATE_ONLINE: u32 = 0x08;
pub const STATE_RECALLING: u32 = 0x10;
pub const STATE_ARCHIVING: u32 = 0x20;
pub const VOLUME_OPEN: u8 = 1;
pub const VOLUME_FULL: u8 = 2;
pub const VOLUME_READONLY: u8 = 3;
pub const VOLUME_LOST: u8 = 4;

pub const IOC_STAGE_ATTACH: libc::c_ulong = io(0x40);
pub const IOC_STAGE_ARCHIVE: libc::c_ulong = io(0x41);
pub const IOC_STAGE_RELEASE: libc::c_ulong = io(0x42);
pub const IOC_STAGE_PREFETCH: libc::c_ulong = io(0x43);
pub const IOC_STAGE_STATE: libc::c_ulong = io(0x44);
pub const IOC_VOLUME_UPSERT: libc::c_ulong = io(0x48);
pub const IOC_VOLUME_LIST: libc::c_ulong = io(0x49);
pub const IOC_ARCHIVE_BEGIN: libc::c_ulong = io(0x50);
pub const IOC_ARCHIVE_READ: libc::c_ulong = io(0x51);
pub const IOC_COPY_COMMIT: libc::c_ulong = io(0x52);
pub const IOC_STAGE_DATA: libc::c_ulong = io(0x53);
pub const IOC_STAGE_COMPLETE: libc::c_ulong = io(0x54);

/// What makes a descriptor the queue of an agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Attach {
    pub size: u32,
    pub flags: u32,
    pub abi: u32,
    pub max_in_flight: u32,
    pub pools: u64,
    pub fsuuid: [u8; 16],
    pub epoch: [u8; 16],
    pub reserved: [u64; 2],
}

impl Attach {
    /// One that says its size.
    pub fn new() -> Attach {
        Attach {
            size: size_of::<Attach>() as u32,
            ..Attach::default()
        }
    }
}

/// What the kernel asks of an agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    pub size: u32,
    pub op: u16,
    pub priority: u16,
    pub cookie: u64,
    pub ino: u64,
    pub generation: u32,
    pub uid: u32,
    pub off: u64,
    pub len: u64,
    pub file_size: u64,
    pub version: u64,
    pub queued_ns: u64,
    pub deadline_ns: u64,
    pub pid: u32,
    pub waiters: u32,
    pub volume: u32,
    pub bundle: u32,
    pub block: u64,
    pub object_off: u64,
    pub copy: u16,
    pub flags: u16,
    pub attempt: u32,
    pub reserved: u64,
}

impl Request {
    /// One that says its size.
    pub fn new() -> Request {
        Request {
            size: size_of::<Request>() as u32,
            ..Request::default()
        }
    }
}

/// Names the version that a copy will be of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchiveBegin {
    pub size: u32,
    pub flags: u32,
    pub ino: u64,
    pub generation: u32,
    pub path_size: u32,
    pub path: u64,
    pub path_len: u32,
    pub mode: u32,
    pub version: u64,
    pub file_size: u64,
    pub mtime_sec: i64,
    pub mtime_nsec: u32,
    pub uid: u32,
    pub gid: u32,
    pub copies: u32,
    pub reserved: [u64; 2],
}

impl ArchiveBegin {
    /// One that says its size.
    pub fn new() -> ArchiveBegin {
        ArchiveBegin {
            size: size_of::<ArchiveBegin>() as u32,
            ..ArchiveBegin::default()
        }
    }
}

/// Reads bytes of that version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchiveRead {
    pub size: u32,
    pub flags: u32,
    pub ino: u64,
    pub generation: u32,
    pub reserved0: u32,
    pub version: u64,
    pub off: u64,
    pub buf: u64,
    pub len: u64,
    pub reserved: [u64; 1],
}

impl ArchiveRead {
    /// One that says its size.
    pub fn new() -> ArchiveRead {
        ArchiveRead {
            size: size_of::<ArchiveRead>() as u32,
            ..ArchiveRead::default()
        }
    }
}

/// One copy of one file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Copy {
    pub copy: u8,
    pub state: u8,
    pub algorithm: u8,
    pub pool: u8,
    pub volume: u32,
    pub version: u64,
    pub off: u64,
    pub len: u64,
    pub bundle: u32,
    pub reserved0: u32,
    pub block: u64,
    pub object_off: u64,
    pub time_sec: i64,
    pub digest: [u8; 32],
}

/// Records copies that are durable.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyCommit {
    pub size: u32,
    pub flags: u32,
    pub ino: u64,
    pub generation: u32,
    pub count: u32,
    pub version: u64,
    pub copies: u64,
    pub copy_size: u32,
    pub reserved0: u32,
    pub reserved: [u64; 1],
}

impl CopyCommit {
    /// One that says its size.
    pub fn new() -> CopyCommit {
        CopyCommit {
            size: size_of::<CopyCommit>() as u32,
            ..CopyCommit::default()
        }
    }
}

/// Bytes of a recall.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct StageData {
    pub size: u32,
    pub flags: u32,
    pub cookie: u64,
    pub version: u64,
    pub off: u64,
    pub len: u64,
    pub buf: u64,
    pub done: u64,
    pub reserved: [u64; 1],
}

impl StageData {
    /// One that says its size.
    pub fn new() -> StageData {
        StageData {
            size: size_of::<StageData>() as u32,
            ..StageData::default()
        }
    }
}

/// Ends a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct StageComplete {
    pub size: u32,
    pub flags: u32,
    pub cookie: u64,
    pub off: u64,
    pub len: u64,
    pub status: u32,
    pub error: u32,
    pub reserved: [u64; 2],
}

impl StageComplete {
    /// One that says its size.
    pub fn new() -> StageComplete {
        StageComplete {
            size: size_of::<StageComplete>() as u32,
            ..StageComplete::default()
        }
    }
}

/// One file of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Item {
    pub ino: u64,
    pub generation: u32,
    pub status: i32,
    pub version: u64,
    pub off: u64,
    pub len: u64,
    pub keep_head: u64,
    pub result: u64,
    pub reserved: [u64; 1],
}

/// A batch of files to archive, release or prefetch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch {
    pub size: u32,
    pub flags: u32,
    pub count: u32,
    pub item_size: u32,
    pub items: u64,
    pub done: u32,
    pub reserved0: u32,
    pub reserved: [u64; 1],
}

impl Batch {
    /// One that says its size.
    pub fn new() -> Batch {
        Batch {
            size: size_of::<Batch>() as u32,
            ..Batch::default()
        }
    }
}

/// Where the bytes of a file are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    pub size: u32,
    pub flags: u32,
    pub ino: u64,
    pub generation: u32,
    pub state: u32,
    pub version: u64,
    pub file_size: u64,
    pub offline_bytes: u64,
    pub online_bytes: u64,
    pub copies: u64,
    pub copy_size: u32,
    pub max_copies: u32,
    pub count: u32,
    pub waiters: u32,
    pub last_error: i32,
    pub agents: u32,
    pub reserved: [u64; 2],
}

impl State {
    /// One that says its size.
    pub fn new() -> State {
        State {
            size: size_of::<State>() as u32,
            ..State::default()
        }
    }
}

/// One volume.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume {
    pub id: u32,
    pub state: u8,
    pub pool: u8,
    pub reserved0: u16,
    pub uuid: [u8; 16],
    pub label: [u8; 32],
    pub created_sec: i64,
    pub next_bundle: u32,
    pub reserved1: u32,
    pub capacity: u64,
    pub end_of_data: u64,
    pub live_bytes: u64,
    pub dead_bytes: u64,
    pub reserved2: u64,
}

/// Adds or changes a volume.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeUpsert {
    pub size: u32,
    pub flags: u32,
    pub volume: Volume,
    pub reserved: [u64; 1],
}

impl VolumeUpsert {
    /// One that says its size.
    pub fn new() -> VolumeUpsert {
        VolumeUpsert {
            size: size_of::<VolumeUpsert>() as u32,
            ..VolumeUpsert::default()
        }
    }
}

/// Lists volumes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeList {
    pub size: u32,
    pub flags: u32,
    pub volumes: u64,
    pub volume_size: u32,
    pub count: u32,
    pub first: u32,
    pub reserved0: u32,
    pub reserved: [u64; 1],
}

impl VolumeList {
    /// One that says its size.
    pub fn new() -> VolumeList {
        VolumeList {
            size: size_of::<VolumeList>() as u32,
            ..VolumeList::default()
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    crate::abi::layouts! {
        Attach = "vexfs_stage_attach" { size, flags, abi, max_in_flight, pools, fsuuid, epoch, reserved }
        Request = "vexfs_stage_request" { size, op, priority, cookie, ino, generation, uid, off, len, file_size, version, queued_ns, deadline_ns, pid, waiters, volume, bundle, block, object_off, copy, flags, attempt, reserved }
        ArchiveBegin = "vexfs_archive_begin" { size, flags, ino, generation, path_size, path, path_len, mode, version, file_size, mtime_sec, mtime_nsec, uid, gid, copies, reserved }
        ArchiveRead = "vexfs_archive_read" { size, flags, ino, generation, reserved0, version, off, buf, len, reserved }
        Copy = "vexfs_copy" { copy, state, algorithm, pool, volume, version, off, len, bundle, reserved0, block, object_off, time_sec, digest }
        CopyCommit = "vexfs_copy_commit" { size, flags, ino, generation, count, version, copies, copy_size, reserved0, reserved }
        StageData = "vexfs_stage_data" { size, flags, cookie, version, off, len, buf, done, reserved }
        StageComplete = "vexfs_stage_complete" { size, flags, cookie, off, len, status, error, reserved }
        Item = "vexfs_stage_item" { ino, generation, status, version, off, len, keep_head, result, reserved }
        Batch = "vexfs_stage_batch" { size, flags, count, item_size, items, done, reserved0, reserved }
        State = "vexfs_stage_state" { size, flags, ino, generation, state, version, file_size, offline_bytes, online_bytes, copies, copy_size, max_copies, count, waiters, last_error, agents, reserved }
        Volume = "vexfs_volume" { id, state, pool, reserved0, uuid, label, created_sec, next_bundle, reserved1, capacity, end_of_data, live_bytes, dead_bytes, reserved2 }
        VolumeUpsert = "vexfs_volume_upsert" { size, flags, volume, reserved }
        VolumeList = "vexfs_volume_list" { size, flags, volumes, volume_size, count, first, reserved0, reserved }
    }
}
