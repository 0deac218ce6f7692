// SPDX-License-Identifier: GPL-2.0

//! What `quotactl(2)` calls.

use super::{bindings, dentry::errno, super_block::SuperBlock, table::Table};
use crate::libvexfs::format::quota::{Record, TYPES};
use crate::ops::quota::{self, Change};
use kernel::prelude::*;

/// Quota operations, for volumes that count what owners have.
pub(super) static QUOTACTL_OPS: Table<bindings::quotactl_ops> =
    Table::new(bindings::quotactl_ops {
        quota_enable: Some(quota_enable),
        quota_disable: Some(quota_disable),
        set_info: Some(set_info),
        get_dqblk: Some(get_dqblk),
        get_nextdqblk: Some(get_nextdqblk),
        set_dqblk: Some(set_dqblk),
        get_state: Some(get_state),
        ..pin_init::zeroed()
    });

/// What of an owner can be changed.
const CHANGEABLE: u32 = bindings::QC_SPC_SOFT
    | bindings::QC_SPC_HARD
    | bindings::QC_INO_SOFT
    | bindings::QC_INO_HARD
    | bindings::QC_SPC_TIMER
    | bindings::QC_INO_TIMER;

/// The bits `1 << type` of `FS_QUOTA_*_ENFD`.
fn types(flags: c_uint) -> u32 {
    const ENFORCED: [u32; TYPES] = [
        bindings::FS_QUOTA_UDQ_ENFD,
        bindings::FS_QUOTA_GDQ_ENFD,
        bindings::FS_QUOTA_PDQ_ENFD,
    ];
    let mut types = 0;
    for (qtype, flag) in ENFORCED.iter().enumerate() {
        if flags & flag != 0 {
            types |= 1 << qtype;
        }
    }
    types
}

/// Type and number of an owner.
fn owner(sb: &SuperBlock, qid: &bindings::kqid) -> Result<(usize, u32)> {
    let qtype = usize::try_from(qid.type_)?;
    // SAFETY: The super block is valid.
    let id = unsafe { bindings::vexfs_helper_from_kqid(sb.as_ptr(), qid) };
    if qtype >= TYPES || id == u32::MAX {
        return Err(EINVAL);
    }
    Ok((qtype, id))
}

/// Fills in what an owner has.
fn fill(to: &mut bindings::qc_dqblk, r: &Record) {
    to.d_spc_hardlimit = quota::bytes(r.blocks.hard);
    to.d_spc_softlimit = quota::bytes(r.blocks.soft);
    to.d_space = quota::bytes(r.blocks.used);
    to.d_spc_timer = r.blocks.deadline;
    to.d_ino_hardlimit = r.inodes.hard;
    to.d_ino_softlimit = r.inodes.soft;
    to.d_ino_count = r.inodes.used;
    to.d_ino_timer = r.inodes.deadline;
}

/// # Safety
///
/// Called by the kernel with a super block of ours that is mounted.
unsafe extern "C" fn quota_enable(sb: *mut bindings::super_block, flags: c_uint) -> c_int {
    // SAFETY: By this function's own requirement.
    let mount = unsafe { SuperBlock::from_raw(sb) }.mount();
    errno(quota::enable(mount, types(flags)))
}

/// # Safety
///
/// As [`quota_enable`].
unsafe extern "C" fn quota_disable(sb: *mut bindings::super_block, flags: c_uint) -> c_int {
    // SAFETY: By this function's own requirement.
    quota::disable(unsafe { SuperBlock::from_raw(sb) }.mount(), types(flags));
    0
}

/// # Safety
///
/// As [`quota_enable`], with what is to change.
unsafe extern "C" fn set_info(
    sb: *mut bindings::super_block,
    qtype: c_int,
    info: *mut bindings::qc_info,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (mount, info) = unsafe { (SuperBlock::from_raw(sb).mount(), &*info) };
    let mask = info.i_fieldmask as u32;
    let known = bindings::QC_SPC_TIMER | bindings::QC_INO_TIMER;
    let Ok(qtype) = usize::try_from(qtype) else {
        return EINVAL.to_errno();
    };
    if mask & !known != 0 || qtype >= TYPES {
        return EINVAL.to_errno();
    }
    let given = |bit: u32, value: c_uint| (mask & bit != 0).then_some(u64::from(value));
    errno(quota::set_grace(
        mount,
        qtype,
        given(bindings::QC_SPC_TIMER, info.i_spc_timelimit),
        given(bindings::QC_INO_TIMER, info.i_ino_timelimit),
    ))
}

/// # Safety
///
/// As [`quota_enable`], with an owner and a structure to fill, which is zeroed.
unsafe extern "C" fn get_dqblk(
    sb: *mut bindings::super_block,
    qid: bindings::kqid,
    to: *mut bindings::qc_dqblk,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (sb, to) = unsafe { (SuperBlock::from_raw(sb), &mut *to) };
    *to = pin_init::zeroed();
    errno(owner(sb, &qid).and_then(|(qtype, id)| {
        fill(to, &quota::get(sb.mount(), qtype, id)?);
        Ok(())
    }))
}

/// # Safety
///
/// As [`get_dqblk`]; the owner is where to begin, and becomes the one that was found.
unsafe extern "C" fn get_nextdqblk(
    sb: *mut bindings::super_block,
    qid: *mut bindings::kqid,
    to: *mut bindings::qc_dqblk,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (sb, qid, to) = unsafe { (SuperBlock::from_raw(sb), &mut *qid, &mut *to) };
    *to = pin_init::zeroed();
    errno(owner(sb, qid).and_then(|(qtype, id)| {
        let (id, record) = quota::next(sb.mount(), qtype, id)?;
        // SAFETY: The super block is valid.
        unsafe { bindings::vexfs_helper_make_kqid(sb.as_ptr(), qtype as u32, id, qid) };
        fill(to, &record);
        Ok(())
    }))
}

/// # Safety
///
/// As [`get_dqblk`], with what is to change.
unsafe extern "C" fn set_dqblk(
    sb: *mut bindings::super_block,
    qid: bindings::kqid,
    from: *mut bindings::qc_dqblk,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (sb, from) = unsafe { (SuperBlock::from_raw(sb), &*from) };
    let mask = from.d_fieldmask as u32;
    if mask & !CHANGEABLE != 0 {
        return EINVAL.to_errno();
    }
    let given = |bit: u32, value: u64| (mask & bit != 0).then_some(value);
    let space = Change {
        hard: given(bindings::QC_SPC_HARD, from.d_spc_hardlimit),
        soft: given(bindings::QC_SPC_SOFT, from.d_spc_softlimit),
        deadline: (mask & bindings::QC_SPC_TIMER != 0).then_some(from.d_spc_timer),
    };
    let inodes = Change {
        hard: given(bindings::QC_INO_HARD, from.d_ino_hardlimit),
        soft: given(bindings::QC_INO_SOFT, from.d_ino_softlimit),
        deadline: (mask & bindings::QC_INO_TIMER != 0).then_some(from.d_ino_timer),
    };
    errno(
        owner(sb, &qid).and_then(|(qtype, id)| quota::set(sb.mount(), qtype, id, &space, &inodes)),
    )
}

/// # Safety
///
/// As [`quota_enable`], with a structure to fill.
unsafe extern "C" fn get_state(
    sb: *mut bindings::super_block,
    to: *mut bindings::qc_state,
) -> c_int {
    // SAFETY: By this function's own requirement.
    let (mount, to) = unsafe { (SuperBlock::from_raw(sb).mount(), &mut *to) };
    *to = pin_init::zeroed();
    for qtype in 0..TYPES {
        let (state, ino, blocks) = match quota::state(mount, qtype) {
            Ok(found) => found,
            Err(e) => return e.to_errno(),
        };
        let slot = &mut to.s_state[qtype];
        slot.flags = bindings::QCI_SYSFILE | bindings::QCI_ACCT_ENABLED;
        if state.enforced {
            slot.flags |= bindings::QCI_LIMITS_ENFORCED;
        }
        slot.spc_timelimit = c_uint::try_from(state.grace.blocks).unwrap_or(c_uint::MAX);
        slot.ino_timelimit = c_uint::try_from(state.grace.inodes).unwrap_or(c_uint::MAX);
        slot.ino = ino;
        slot.blocks = blocks.saturating_mul(8);
    }
    0
}
