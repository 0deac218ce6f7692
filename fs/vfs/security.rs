// SPDX-License-Identifier: GPL-2.0

//! Security modules: what they want new inodes to be labelled with.

use super::{bindings, dentry::Dentry, inode::VexInode};
use kernel::{error::to_result, prelude::*};

/// Names (without "security.") and values of extended attributes.
#[derive(Default)]
pub(crate) struct Labels(KVec<(KVec<u8>, KVec<u8>)>);

impl Labels {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result {
        let mut label = (KVec::new(), KVec::new());
        label.0.extend_from_slice(name, GFP_KERNEL)?;
        label.1.extend_from_slice(value, GFP_KERNEL)?;
        Ok(self.0.push(label, GFP_KERNEL)?)
    }
}

/// Asks for the labels of a new inode in `dir`. Call it before the transaction: modules may sleep,
/// and look at the directory's own attributes.
///
/// # Errors
///
/// What the module says, `ENOMEM`.
pub(crate) fn labels(inode: &VexInode, dir: &VexInode, dentry: Option<&Dentry>) -> Result<Labels> {
    let mut labels = Labels::default();
    // SAFETY: Inodes and dentry are held by the caller; the callback gets our own labels.
    to_result(unsafe {
        let name = dentry.map_or(core::ptr::null(), |d| {
            bindings::vexfs_helper_d_qstr(d.as_ptr())
        });
        bindings::vexfs_helper_security_inode_init_security(
            inode.as_ptr(),
            dir.as_ptr(),
            name,
            Some(collect),
            (&raw mut labels).cast(),
        )
    })?;
    Ok(labels)
}

/// # Safety
///
/// Called by `security_inode_init_security` with an array that ends with a null name, and with the
/// pointer that was passed to it.
unsafe extern "C" fn collect(
    _inode: *mut bindings::inode,
    array: *const kernel::bindings::xattr,
    labels: *mut c_void,
) -> c_int {
    // SAFETY: `labels` passes its own labels.
    let labels = unsafe { &mut *labels.cast::<Labels>() };
    let mut next = array;
    // SAFETY: The array ends with a null name; names are terminated, values as long as they say.
    unsafe {
        while !(*next).name.is_null() {
            let name = CStr::from_char_ptr((*next).name).to_bytes();
            let value = if (*next).value.is_null() {
                &[]
            } else {
                core::slice::from_raw_parts((*next).value.cast::<u8>(), (*next).value_len)
            };
            if let Err(e) = labels.add(name, value) {
                return e.to_errno();
            }
            next = next.add(1);
        }
    }
    0
}
