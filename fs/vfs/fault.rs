// SPDX-License-Identifier: GPL-2.0

//! Page faults of mapped files.
//!
//! Lock order here: mmap_lock -> sb_start_pagefault -> invalidate_lock -> folio -> transaction.

use kernel::bindings::{vm_fault_t, vm_operations_struct};
use kernel::prelude::*;

use crate::ops::{file, staging};
use crate::vfs::bindings;
use crate::vfs::inode::VexInode;
use crate::vfs::iomap::{BLOCK, WRITE_OPS};
use crate::vfs::table::Table;

/// What a mapped regular file does.
pub(crate) static VM_OPS: Table<vm_operations_struct> = Table::new(vm_operations_struct {
    fault: Some(fault),
    map_pages: Some(bindings::filemap_map_pages),
    page_mkwrite: Some(page_mkwrite),
    ..pin_init::zeroed()
});

/// What the fault code answers.
const SIGBUS: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_SIGBUS;
const OOM: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_OOM;
const RETRY: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_RETRY;
const NOPAGE: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_NOPAGE;

/// What an error looks like to a fault: as the kernel's `vmf_error`, and a retry for what may go
/// away.
fn fault_of(e: Error) -> vm_fault_t {
    if e == ENOMEM {
        OOM
    } else if e == EAGAIN || e == EINTR {
        NOPAGE
    } else {
        SIGBUS
    }
}

/// A page fault, as the hooks see it.
pub(crate) struct Fault(*mut bindings::vm_fault);

impl Fault {
    /// The inode of the mapped file.
    pub(crate) fn inode(&self) -> &VexInode {
        // SAFETY: The fault's mapping holds its file, the file its inode.
        unsafe { VexInode::from_raw(bindings::vexfs_helper_vmf_inode(self.0)) }
    }

    /// The byte of the file that was touched (rounded down to its page).
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: The fault lives for the callback.
        unsafe { bindings::vexfs_helper_vmf_pgoff(self.0) }.saturating_mul(BLOCK)
    }

    /// Whether the fault may be answered with a retry, without the lock that it came with.
    pub(crate) fn may_retry(&self) -> bool {
        // SAFETY: The fault lives for the callback.
        unsafe { bindings::vexfs_helper_vmf_may_retry(self.0) }
    }

    /// Drops the lock that the fault holds (mmap_lock or the mapping's own) and keeps the file.
    /// Nothing of the fault may be used afterwards; the answer must be a retry.
    pub(crate) fn unlock(self) -> Option<HeldFile> {
        // SAFETY: The fault lives; the helper takes a reference to the file and drops the lock, or
        // returns NULL.
        let file = unsafe { bindings::vexfs_helper_vmf_unlock_for_io(self.0) };
        // Not `then_some`: that makes a HeldFile in any case, which is put when it is dropped.
        (!file.is_null()).then(|| HeldFile(file))
    }
}

/// A file that outlives the lock of the fault that it came from.
pub(crate) struct HeldFile(*mut bindings::file);

impl HeldFile {
    /// Its inode.
    pub(crate) fn inode(&self) -> &VexInode {
        // SAFETY: We hold the file.
        unsafe { VexInode::from_raw(bindings::vexfs_helper_file_inode(self.0)) }
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::fput(self.0) };
    }
}

/// What to do with a fault on data that is offline.
pub(crate) enum Ready {
    /// The data is here (or was never away).
    Here,
    /// The lock was dropped and the data waited for: fault again.
    Again,
}

/// # Safety
///
/// Called by the memory management for a mapping of a file of ours.
unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> vm_fault_t {
    match staging::before_fault(Fault(vmf)) {
        // SAFETY: The fault still holds its lock.
        Ok(Ready::Here) => unsafe { bindings::filemap_fault(vmf) },
        Ok(Ready::Again) => RETRY,
        Err(e) => fault_of(e),
    }
}

/// # Safety
///
/// Called by the memory management for a shared mapping of a file of ours, with a page that is
/// about to be written to.
unsafe extern "C" fn page_mkwrite(vmf: *mut bindings::vm_fault) -> vm_fault_t {
    // SAFETY: The mapping holds its file, the file its inode, the inode its super block, for the
    // whole call.
    unsafe {
        let raw = bindings::vexfs_helper_vmf_inode(vmf);
        let inode = VexInode::from_raw(raw);
        if inode.is_immutable() {
            return SIGBUS;
        }
        let sb = (*raw).i_sb;
        bindings::vexfs_helper_sb_start_pagefault(sb);
        bindings::file_update_time(bindings::vexfs_helper_vmf_file(vmf));
        let mut answer = make_writable(vmf, inode);
        // More may be promised than is needed in the end.
        if answer == SIGBUS && inode.mount().place_delayed() {
            answer = make_writable(vmf, inode);
        }
        bindings::vexfs_helper_sb_end_pagefault(sb);
        answer
    }
}

/// # Safety
///
/// As [`page_mkwrite`]; `inode` is the mapped file's.
unsafe fn make_writable(vmf: *mut bindings::vm_fault, inode: &VexInode) -> vm_fault_t {
    // SAFETY: By this function's own requirement.
    unsafe {
        let mapping = (*inode.as_ptr()).i_mapping;
        // The kernel may map all of a large folio for writing at the first fault on one of its pages.
        let folio = bindings::vexfs_helper_vmf_folio(vmf);
        let pos = Fault(vmf).pos();
        let start = pos.min(bindings::vexfs_helper_folio_pos(folio) as u64);
        let len = bindings::vexfs_helper_folio_size(folio) as u64;
        let end = start.saturating_add(len).max(pos.saturating_add(BLOCK));
        // Who describes the contents (archives, embeds) takes this lock exclusively while he marks
        // them and writes them back, so the check and the change are one to him.
        bindings::vexfs_helper_filemap_invalidate_lock_shared(mapping);
        let answer = match file::before_change(inode, start, end) {
            Ok(()) => bindings::iomap_page_mkwrite(vmf, WRITE_OPS.as_ptr(), core::ptr::null_mut()),
            Err(e) => fault_of(e),
        };
        bindings::vexfs_helper_filemap_invalidate_unlock_shared(mapping);
        answer
    }
}
