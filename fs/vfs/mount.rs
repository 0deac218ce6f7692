// SPDX-License-Identifier: GPL-2.0

//! Mounting: the file system type, the mount options, and how a super block comes and goes.

use super::{
    bindings,
    dentry::errno,
    export::EXPORT_OPS,
    inode::{InodeCache, VexInode},
    log,
    quota::QUOTACTL_OPS,
    super_block::{Mount, OnError, Options, SuperBlock},
    super_ops::SUPER_OPS,
    table::Table,
    xattr,
};
use crate::{
    libvexfs::{format::quota::TYPES, journal::BLOCK_SIZE, namespace::LINK_MAX, quota::qtype},
    ops::mount,
};
use core::cell::UnsafeCell;
use kernel::{error::to_result, prelude::*, str::as_char_ptr_in_const_context};

/// "VexF".
const MAGIC: c_ulong = 0x5665_7846;
/// What offsets in files are limited to.
const MAX_FILE_SIZE: i64 = 1 << 44;
/// The super block's flag of read-only mounts.
const SB_RDONLY: u32 = 1;

#[expect(improper_ctypes, reason = "only its address is taken")]
extern "C" {
    // The kernel crate gave its own name for it up in 7.3.
    static mut __this_module: bindings::module;
}

/// The address of this module, for the tables that keep it loaded.
pub(super) const fn this_module() -> *mut bindings::module {
    &raw mut __this_module
}

/// A file system type, which the VFS links into its list.
struct FsType(UnsafeCell<bindings::file_system_type>);

// SAFETY: Only the VFS changes it, under its own lock.
unsafe impl Sync for FsType {}

static FS_TYPE: FsType = FsType(UnsafeCell::new(bindings::file_system_type {
    name: as_char_ptr_in_const_context(c"vexfs"),
    fs_flags: (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP | bindings::FS_MGTIME) as c_int,
    init_fs_context: Some(init_fs_context),
    parameters: PARAMETERS.as_ptr().cast(),
    kill_sb: Some(kill_sb),
    owner: this_module(),
    ..pin_init::zeroed()
}));

/// The registered file system type. Dropping it takes it back.
pub(crate) struct Registration {
    // Dropped after the type was taken back.
    _cache: InodeCache,
}

impl Registration {
    /// Registers the file system type.
    pub(crate) fn new() -> Result<Self> {
        let cache = InodeCache::new()?;
        // SAFETY: The type is static, and taken back before the module goes.
        to_result(unsafe { bindings::register_filesystem(FS_TYPE.0.get()) })?;
        Ok(Registration { _cache: cache })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It was registered. No super block is left, since each one holds the module.
        unsafe { bindings::unregister_filesystem(FS_TYPE.0.get()) };
    }
}

/// Numbers of the options in [`PARAMETERS`].
const OPT_ERRORS: u8 = 0;
const OPT_NORECOVERY: u8 = 1;
const OPT_ACL: u8 = 2;
const OPT_EMERGENCY_RO: u8 = 3;
const OPT_NOQUOTA: u8 = 4;
const OPT_DISCARD: u8 = 5;
/// Behind those of the types of quota.
const OPT_INDEX: u8 = OPT_USRQUOTA + TYPES as u8;
/// And the two numbers behind it: groups, projects.
const OPT_USRQUOTA: u8 = 6;

/// An option that also exists with "no" before it.
const WITH_NO: u16 = bindings::fs_param_neg_with_no as u16;

static PARAMETERS: Table<[bindings::fs_parameter_spec; 11]> = Table::new([
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"errors"),
        type_: Some(bindings::fs_param_is_string),
        opt: OPT_ERRORS,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"norecovery"),
        opt: OPT_NORECOVERY,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"acl"),
        opt: OPT_ACL,
        flags: WITH_NO,
        ..pin_init::zeroed()
    },
    // What is shown comes back: mount(8) repeats what stands in /proc/mounts when it remounts.
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"emergency_ro"),
        opt: OPT_EMERGENCY_RO,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"noquota"),
        opt: OPT_NOQUOTA,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"discard"),
        opt: OPT_DISCARD,
        flags: WITH_NO,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"index"),
        type_: Some(bindings::fs_param_is_string),
        opt: OPT_INDEX,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"usrquota"),
        opt: OPT_USRQUOTA,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"grpquota"),
        opt: OPT_USRQUOTA + qtype::GROUP as u8,
        ..pin_init::zeroed()
    },
    bindings::fs_parameter_spec {
        name: as_char_ptr_in_const_context(c"prjquota"),
        opt: OPT_USRQUOTA + qtype::PROJECT as u8,
        ..pin_init::zeroed()
    },
    pin_init::zeroed(),
]);

static CONTEXT_OPS: Table<bindings::fs_context_operations> =
    Table::new(bindings::fs_context_operations {
        free: Some(context_free),
        parse_param: Some(context_parse_param),
        get_tree: Some(context_get_tree),
        reconfigure: Some(context_reconfigure),
        ..pin_init::zeroed()
    });

/// What the options of a request say; what it does not say stays as it is.
#[derive(Default)]
struct Request {
    errors: Option<OnError>,
    norecovery: bool,
    acl: Option<bool>,
    discard: Option<bool>,
    // Records from which on collections get indexes of themselves; 0: never.
    index: Option<u64>,
    emergency_ro: bool,
    noquota: bool,
    // Bit `1 << type`: limits are to hold.
    quota: u32,
}

impl Request {
    /// The request of a context of ours.
    ///
    /// # Safety
    ///
    /// `fc` is valid and came from [`init_fs_context`].
    unsafe fn of<'a>(fc: *mut bindings::fs_context) -> &'a mut Self {
        // SAFETY: `init_fs_context` put a Request there, and the VFS uses a context in one thread.
        unsafe { &mut *(*fc).fs_private.cast::<Self>() }
    }

    /// Takes in option `opt` with a value, or with "no" before its name.
    fn parse(&mut self, opt: c_int, value: &[u8], no: bool) -> Result {
        match u8::try_from(opt)? {
            OPT_NORECOVERY => self.norecovery = true,
            OPT_ACL => self.acl = Some(!no),
            OPT_DISCARD => self.discard = Some(!no),
            OPT_INDEX => {
                let text = core::str::from_utf8(value).map_err(|_| EINVAL)?;
                self.index = Some(text.parse().map_err(|_| EINVAL)?);
            }
            OPT_EMERGENCY_RO => self.emergency_ro = true,
            OPT_NOQUOTA => (self.noquota, self.quota) = (true, 0),
            opt if opt.wrapping_sub(OPT_USRQUOTA) < TYPES as u8 => {
                self.quota |= 1 << (opt - OPT_USRQUOTA);
            }
            OPT_ERRORS => {
                let mut names = OnError::NAMES.iter();
                let found = names.find(|(name, _)| name.as_bytes() == value);
                self.errors = Some(found.ok_or(EINVAL)?.1);
            }
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    /// For which types limits are to hold, if they hold for some so far.
    fn enforced(&self, so_far: u32) -> u32 {
        match self.noquota {
            true => self.quota,
            false => so_far | self.quota,
        }
    }

    /// Sets the flags of the super block that are asked for.
    fn set_flags(&self, sb: &SuperBlock) {
        if let Some(acl) = self.acl {
            sb.set_acls(acl);
        }
    }
}

/// # Safety
///
/// Called by the VFS with a new context.
unsafe extern "C" fn init_fs_context(fc: *mut kernel::bindings::fs_context) -> c_int {
    let Ok(request) = KBox::new(Request::default(), GFP_KERNEL) else {
        return ENOMEM.to_errno();
    };
    let fc = fc.cast::<bindings::fs_context>();
    // SAFETY: The context is new and ours to fill.
    unsafe {
        (*fc).fs_private = KBox::into_raw(request).cast();
        (*fc).ops = CONTEXT_OPS.as_ptr();
    }
    0
}

/// # Safety
///
/// Called by the VFS, once, with a context of ours.
unsafe extern "C" fn context_free(fc: *mut bindings::fs_context) {
    // SAFETY: `init_fs_context` put the box there; nobody uses it any more.
    unsafe {
        let request = (*fc).fs_private.cast::<Request>();
        if !request.is_null() {
            drop(KBox::from_raw(request));
        }
    }
}

/// # Safety
///
/// Called by the VFS with a context of ours and a parameter.
unsafe extern "C" fn context_parse_param(
    fc: *mut bindings::fs_context,
    param: *mut bindings::fs_parameter,
) -> c_int {
    let mut result = bindings::fs_parse_result::default();
    // SAFETY: The arguments are the VFS's, the table is static. A string value is terminated.
    unsafe {
        let spec = PARAMETERS.as_ptr().cast();
        let opt = bindings::vexfs_helper_fs_parse(fc, spec, param, &raw mut result);
        if opt < 0 {
            return opt;
        }
        let value: &[u8] = if [OPT_ERRORS, OPT_INDEX].contains(&(opt as u8)) {
            CStr::from_char_ptr(bindings::vexfs_helper_fs_parameter_string(param)).to_bytes()
        } else {
            &[]
        };
        errno(Request::of(fc).parse(opt, value, result.negated))
    }
}

/// # Safety
///
/// Called by the VFS with a context of ours.
unsafe extern "C" fn context_get_tree(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: The context is ours.
    if unsafe { Request::of(fc) }.emergency_ro {
        // A state, not a wish: only damage brings it about.
        return EINVAL.to_errno();
    }
    // SAFETY: The context is the VFS's.
    unsafe { bindings::get_tree_bdev(fc, Some(fill_super)) }
}

/// # Safety
///
/// Called by the VFS with a context of ours for a mounted super block, which is locked.
unsafe extern "C" fn context_reconfigure(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: The context is the VFS's, its root is a dentry of ours.
    let (sb, request, flags) = unsafe {
        let sb = SuperBlock::from_raw((*(*fc).root).d_sb);
        (sb, Request::of(fc), (*fc).sb_flags)
    };
    let read_only = flags & SB_RDONLY != 0;
    let mount = sb.mount();
    if request.emergency_ro && !sb.stopped_writing() {
        return EINVAL.to_errno();
    }
    let quota = request.enforced(mount.fs.quota_enforced());
    if let Err(e) = mount::check_quota(mount, quota) {
        return e.to_errno();
    }
    if read_only && !sb.mounted_read_only() {
        // The VFS keeps writers out, but leaves what they wrote to us.
        // SAFETY: The super block is mounted, and locked.
        let synced = unsafe { bindings::sync_filesystem(sb.as_ptr()) };
        // What stopped writing for good may be made read-only all the same.
        if synced != 0 && !sb.stopped_writing() && mount.check_running().is_ok() {
            return synced;
        }
    }
    let was_read_only = sb.mounted_read_only();
    let result = mount::reconfigure(mount, read_only, request.norecovery, &|| {
        // SAFETY: The super block is locked; cleaning up orphans needs it writable.
        unsafe { (*sb.as_ptr()).s_flags &= !(SB_RDONLY as c_ulong) };
    });
    if result.is_err() && was_read_only {
        // SAFETY: As above. The VFS keeps writers out until this is over.
        unsafe { (*sb.as_ptr()).s_flags |= SB_RDONLY as c_ulong };
    }
    if result.is_ok() {
        if let Some(errors) = request.errors {
            mount.set_on_error(errors);
        }
        request.set_flags(sb);
        mount.fs.quota_enforce(quota);
        if let Some(discard) = request.discard {
            mount::set_discards(mount, discard);
        }
        if let Some(index) = request.index {
            mount.vectors.set_automatic(index);
        }
    }
    errno(result)
}

/// # Safety
///
/// Called by the VFS with a new super block, its device open, and a context of ours.
unsafe extern "C" fn fill_super(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: The super block is new; the context is ours.
    let (block, request) = unsafe { (SuperBlock::from_raw(sb), Request::of(fc)) };
    let options = Options {
        errors: request.errors.unwrap_or(OnError::RemountRo),
        norecovery: request.norecovery,
        quota: request.quota,
        discard: request.discard.unwrap_or(false),
        index: request.index,
    };
    block.set_acls(true);
    request.set_flags(block);
    // SAFETY: As this function's own.
    errno(unsafe { fill(block, &options) })
}

/// Fills a super block.
///
/// # Safety
///
/// `sb` is new and nobody else sees it; its device is open.
unsafe fn fill(sb: &SuperBlock, options: &Options) -> Result {
    let raw = sb.as_ptr();
    // SAFETY: The super block is ours.
    unsafe {
        if bindings::sb_set_blocksize(raw, BLOCK_SIZE as c_int) == 0 {
            sb.log(
                log::ERR,
                format_args!("the device's sectors are larger than 4 KiB"),
            );
            return Err(EINVAL);
        }
        (*raw).s_magic = MAGIC;
        (*raw).s_maxbytes = MAX_FILE_SIZE;
        (*raw).s_max_links = LINK_MAX;
        (*raw).s_time_gran = 1;
        (*raw).s_time_min = i64::MIN;
        (*raw).s_time_max = i64::MAX;
        (*raw).s_iflags |= bindings::VEXFS_SB_I_ALLOW_HSM;
        (*raw).s_op = SUPER_OPS.as_ptr();
        (*raw).s_export_op = EXPORT_OPS.as_ptr().cast();
        bindings::vexfs_helper_super_set_sysfs_name_bdev(raw);
        (*raw).s_xattr = xattr::HANDLERS.as_ptr().cast();
    }

    let mount = KBox::new(mount::open(sb, options)?, GFP_KERNEL)?;
    // SAFETY: The super block is ours; from here on inodes may be read. The mount is dropped in
    // `put_super`, or below when that will not be called.
    unsafe {
        bindings::vexfs_helper_super_set_uuid(raw, mount.fs.sb.uuid.as_ptr(), 16);
        if mount.fs.has_quota() {
            (*raw).s_qcop = QUOTACTL_OPS.as_ptr().cast();
            (*raw).s_quota_types = (1 << TYPES) - 1;
        }
        (*raw).s_fs_info = KBox::into_raw(mount).cast();
    }
    let root = match VexInode::get(sb, sb.mount().fs.sb.root_ino, None) {
        Ok(root) if root.is_dir() => Ok(root),
        Ok(_) => {
            Err(sb
                .mount()
                .fs
                .damaged(sb.mount().fs.sb.root_ino, 0, "the root is no directory"))
        }
        Err(e) => Err(e),
    };
    let started = root.and_then(|root| {
        // SAFETY: The root takes over the reference, even when it fails.
        let dentry = unsafe { bindings::d_make_root(root.into_raw()) };
        if dentry.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: As above. With a root, the VFS will call `put_super`.
        unsafe { (*raw).s_root = dentry };
        mount::start(sb.mount())
    });
    if started.is_err() {
        // SAFETY: Nobody else sees the super block.
        unsafe {
            if (*raw).s_root.is_null() {
                // No root, no put_super. Nobody has an inode: without SB_ACTIVE in the flags they go
                // with their last reference.
                drop_mount(raw);
            }
        }
    }
    started
}

/// Drops what is mounted on a super block: the journal is closed.
///
/// # Safety
///
/// No inode of the super block is left, and nobody uses the mount any more.
pub(super) unsafe fn drop_mount(sb: *mut bindings::super_block) {
    // SAFETY: By this function's own requirement; `fill` put the box there.
    unsafe {
        let mount = (*sb).s_fs_info.cast::<Mount>();
        if !mount.is_null() {
            (*mount).discards.stop();
            (&raw mut (*sb).s_fs_info).write_volatile(core::ptr::null_mut());
            drop(KBox::from_raw(mount));
        }
    }
}

/// # Safety
///
/// Called by the VFS with a super block of ours that nobody uses any more.
unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
    // SAFETY: By this function's own requirement; the mount is there if the mounting came so far.
    unsafe {
        // Agents and indexes have no file open: their work must end before inodes are evicted.
        if let Some(mount) = (*sb).s_fs_info.cast::<Mount>().as_ref() {
            mount.staging.detach();
            mount.vectors.detach();
        }
        bindings::kill_block_super(sb);
    }
}
