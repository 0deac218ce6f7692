// SPDX-License-Identifier: GPL-2.0
//! The general and vector sections of `fs/uapi/vexfs.h`. The header says what the fields mean.

use super::io;
use vexfs::libvexfs::vector::filter::Insn;

pub const NAME_LEN: usize = 64;
pub const MODEL_LEN: usize = 192;
pub const MAX_DIM: u32 = 4096;
pub const MAX_K: u32 = 4096;
pub const MAX_QUERIES: u32 = 256;
pub const MAX_HITS: u32 = 65536;
pub const MAX_PUT: usize = 4096;
pub const MAX_PUT_BYTES: usize = 64 << 20;
pub const MAX_DELETE: usize = 65536;
pub const MAX_PATH: u32 = 65536;
pub const TYPE_F32: u32 = 1;
pub const TYPE_F16: u32 = 2;
pub const TYPE_INT8: u32 = 3;
pub const TYPE_BINARY: u32 = 4;
pub const METRIC_L2: u32 = 1;
pub const METRIC_COSINE: u32 = 2;
pub const METRIC_IP: u32 = 3;
pub const METRIC_HAMMING: u32 = 4;
pub const COLLECTION_NEXT: u32 = 1;
pub const PUT_SYNC: u32 = 1;
pub const PUT_NEW: u32 = 2;
pub const RECORD_STALE: u32 = 1;
pub const RECORD_OFFLINE: u32 = 2;
pub const DELETE_OWNER: u32 = 1;
pub const LIST_OWNER: u32 = 1;
pub const LIST_END: u32 = 2;
pub const SEARCH_SUBTREE: u32 = 1;
pub const SEARCH_EXACT: u32 = 2;
pub const SEARCH_FUSE: u32 = 4;
pub const SEARCH_GROUP: u32 = 8;
pub const SEARCH_WITHIN: u32 = 0x10;
pub const SEARCH_LIKE_FILE: u32 = 0x40;
pub const SEARCH_OTHERS: u32 = 0x80;
pub const SEARCH_PREPARED: u32 = 0x100;
pub const RESULT_TRUNCATED: u32 = 1;
pub const CURSOR_BEGUN: u32 = 1;
pub const CURSOR_END: u32 = 2;
pub const EXPLAIN_ALL: u32 = 1;
pub const PLAN_SCAN: u32 = 1;
pub const PLAN_SLOTS: u32 = 2;
pub const PLAN_GRAPH: u32 = 3;
pub const PLAN_GRAPH_SCAN: u32 = 4;
pub const PLAN_PREPARED: u32 = 5;

pub const INDEX_CREATE: u32 = 1;
pub const INDEX_DROP: u32 = 2;
pub const INDEX_REBUILD: u32 = 3;
pub const INDEX_STATS: u32 = 4;
pub const INDEX_WAIT: u32 = 5;
pub const INDEX_VERIFY: u32 = 6;
pub const INDEX_AUTOMATIC: u32 = 1;
pub const INDEX_STATE_NONE: u32 = 0;
pub const INDEX_STATE_WANTED: u32 = 1;
pub const INDEX_STATE_BUILDING: u32 = 2;
pub const INDEX_STATE_READY: u32 = 3;

pub const IOC_ABI: libc::c_ulong = io(0x00);
pub const IOC_PATH: libc::c_ulong = io(0x01);
pub const IOC_RESIZE: libc::c_ulong = io(0x02);
pub const IOC_COLLECTION_CREATE: libc::c_ulong = io(0x10);
pub const IOC_COLLECTION_GET: libc::c_ulong = io(0x11);
pub const IOC_COLLECTION_DROP: libc::c_ulong = io(0x12);
pub const IOC_MARK: libc::c_ulong = io(0x18);
pub const IOC_PUT: libc::c_ulong = io(0x19);
pub const IOC_GET: libc::c_ulong = io(0x1a);
pub const IOC_DELETE: libc::c_ulong = io(0x1b);
pub const IOC_LIST: libc::c_ulong = io(0x1c);
pub const IOC_SEARCH: libc::c_ulong = io(0x20);
pub const IOC_FILTER: libc::c_ulong = io(0x21);
pub const IOC_INDEX: libc::c_ulong = io(0x28);

macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident = $c:literal { $($field:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $(pub $field: $type),* }

        impl Default for $name {
            /// All zeroes, but for the size.
            fn default() -> Self {
                // SAFETY: Only integers and arrays of them: zeroes are a value.
                let mut s: Self = unsafe { std::mem::zeroed() };
                s.set_size();
                s
            }
        })*

        #[cfg(test)]
        pub mod tests {
            use super::*;
            crate::abi::layouts! { $($name = $c { $($field),* })* }
        }
    };
}

structs! {
    /// What the kernel speaks.
    Abi = "vexfs_abi" {
        size: u32, flags: u32, version: u32, reserved: u32, features: u64, root_ino: u64, uuid: [u8; 16],
    }
    /// From an inode to a path.
    Path = "vexfs_path" {
        size: u32, flags: u32, ino: u64, generation: u32, buf_len: u32, buf: u64, path_len: u32, reserved: u32,
    }
    /// A larger size.
    Resize = "vexfs_resize" {
        size: u32, flags: u32, blocks: u64,
    }
    /// A collection.
    Collection = "vexfs_collection" {
        size: u32, flags: u32, id: u32, dim: u32, r#type: u32, metric: u32, records: u64, slots: u64, bytes: u64,
        created_sec: i64, created_nsec: u32, uid: u32, name: [u8; NAME_LEN], model: [u8; MODEL_LEN],
    }
    /// The version of a file's content.
    Mark = "vexfs_mark" {
        size: u32, flags: u32, version: u64, ino: u64, file_size: u64, generation: u32, reserved: u32,
    }
    /// One vector to put.
    PutItem = "vexfs_put_item" {
        key: u64, vector: u64, vector_len: u32, fd: i32, off: u64, len: u64, version: u64, status: i32, flags: u32,
    }
    /// Vectors to put.
    Put = "vexfs_put" {
        size: u32, flags: u32, collection: u32, count: u32, items: u64, item_size: u32, done: u32,
    }
    /// A record.
    Record = "vexfs_record" {
        key: u64, ino: u64, off: u64, len: u64, version: u64, generation: u32, flags: u32, score: u32, slot: u32,
    }
    /// A record to get.
    Get = "vexfs_get" {
        size: u32, flags: u32, collection: u32, vector_len: u32, key: u64, vector: u64, record: Record,
    }
    /// Records to delete.
    Delete = "vexfs_delete" {
        size: u32, flags: u32, collection: u32, count: u32, keys: u64, status: u64, deleted: u64,
    }
    /// Records to list.
    List = "vexfs_list" {
        size: u32, flags: u32, collection: u32, count: u32, cursor: u64, records: u64, record_size: u32, reserved: u32,
    }
    /// A search.
    Search = "vexfs_search" {
        size: u32, flags: u32, collection: u32, dim: u32, queries: u32, k: u32, vectors: u64, hits: u64, counts: u64,
        hit_size: u32, reserved: u32, ef: u32, radius: u32, window: u32, result: u32, like_fd: i32, filter_fd: i32,
        like_key: u64, filter: u64, cursors: u64, budget_ns: u64, budget_pages: u64, explain: u64,
    }
    /// A place in a list of hits.
    Cursor = "vexfs_cursor" {
        key: u64, slot: u32, flags: u32, told: u64,
    }
    /// How a search went.
    Explain = "vexfs_explain" {
        size: u32, flags: u32, plan: u32, ef: u32, total_ns: u64, known: u64, nodes: u64, nodes_missing: u64, tail: u64,
        scanned: u64, scored: u64, pages: u64, pages_missed: u64, asked: u64, refused_dead: u64, refused_sight: u64,
        refused_scope: u64, refused_filter: u64, filter_runs: u64, remembered: u64, plan_ns: u64, graph_ns: u64,
        scan_ns: u64, score_ns: u64, admit_ns: u64, tell_ns: u64,
    }
    /// An instruction of a filter.
    FilterInsn = "vexfs_filter_insn" {
        op: u16, field: u16, len: u32, value: u64,
    }
    /// A filter.
    Filter = "vexfs_filter" {
        size: u32, flags: u32, count: u32, insn_size: u32, insns: u64, data: u64, data_len: u32, reserved: u32,
    }
    /// The index of a collection.
    Index = "vexfs_index" {
        size: u32, flags: u32, collection: u32, op: u32, timeout_ms: u32, state: u32, build: u32, ef: u32,
        records: u64, slots: u64, built: u64, refined: u64, next: u64, applied: u64, checkpoint: u64,
        bytes: u64, cached: u64, pinned: u64, fpu_longest_ns: u64, fpu_too_long: u64,
        nodes: u64, missing: u64, wrong: u64, damaged: u64, unreachable: u64,
    }
}

/// Structures that begin with their own size.
trait Sized32 {
    fn set_size(&mut self);
}

macro_rules! sized {
    ($($name:ident)*) => { $(impl Sized32 for $name {
        fn set_size(&mut self) {
            self.size = std::mem::size_of::<Self>() as u32;
        }
    })* };
}
sized!(Abi Path Resize Collection Mark Put Get Delete List Search Explain Filter Index);

// Elements of arrays: the structure around them has their size.
impl Sized32 for PutItem {
    fn set_size(&mut self) {}
}
impl Sized32 for Record {
    fn set_size(&mut self) {}
}
impl Sized32 for Cursor {
    fn set_size(&mut self) {}
}
impl Sized32 for FilterInsn {
    fn set_size(&mut self) {}
}

impl From<&Insn> for FilterInsn {
    fn from(insn: &Insn) -> FilterInsn {
        FilterInsn {
            op: insn.op,
            field: insn.field,
            len: insn.len,
            value: insn.value,
        }
    }
}

impl Filter {
    /// The filter with this program; both must outlive it.
    pub fn new(insns: &[FilterInsn], data: &[u8]) -> Filter {
        Filter {
            count: insns.len() as u32,
            insn_size: std::mem::size_of::<FilterInsn>() as u32,
            insns: insns.as_ptr() as u64,
            data: data.as_ptr() as u64,
            data_len: data.len() as u32,
            ..Default::default()
        }
    }
}
