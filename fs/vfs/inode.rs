// SPDX-License-Identifier: GPL-2.0

//! Inodes: the VFS's `struct inode` in one slab object with what VexFS keeps in core.
//!
//! The metadata (`libvexfs::inode::Inode`, both tree roots included) is the truth about the inode
//! as long as it is in core; the VFS's fields are copies, except for sizes, times and owners that
//! changed and were not logged yet (see `attributes`).

use super::{
    acl::Inherited,
    bindings,
    bio::{DataState, IoendQueue},
    core_lock::{CoreLock, Locked},
    dentry::IdMap,
    store::Store,
    super_block::{Mount, SuperBlock},
    sync::PinnedRwSemaphore,
};
use crate::libvexfs::{
    errno::estale,
    extent::Delayed,
    format::inode::{ROOT_LEN, STATE_ORPHAN, S_IFDIR, S_IFMT, S_IFREG},
    format::Time,
    journal::Tid,
    Fs, Inode as Core,
};
use core::{
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering},
};
use kernel::{prelude::*, types::Opaque};

/// An inode of ours.
///
/// # Invariants
///
/// Lies in an object of [`CACHE`] that [`alloc_inode`] initialised.
#[repr(C)]
pub(crate) struct VexInode {
    core: PinnedRwSemaphore<Locked>,
    data: DataState,
    pub(super) link_changes: AtomicU32,
    pub(super) unlogged: AtomicBool,
    raw: Opaque<bindings::inode>,
}

// SAFETY: The VFS's part has the VFS's locks, the rest its own.
unsafe impl Send for VexInode {}
// SAFETY: As above.
unsafe impl Sync for VexInode {}

/// What the core of an inode contains before it is read: number 0, which no inode has.
const BLANK: Core = Core {
    ino: 0,
    mode: 0,
    generation: 0,
    uid: 0,
    gid: 0,
    nlink: 0,
    flags: 0,
    size: 0,
    blocks: 0,
    atime: Time { sec: 0, nsec: 0 },
    mtime: Time { sec: 0, nsec: 0 },
    ctime: Time { sec: 0, nsec: 0 },
    btime: Time { sec: 0, nsec: 0 },
    data_version: 0,
    marked_version: 0,
    projid: 0,
    rdev: 0,
    state: 0,
    entries: 0,
    data: [0; ROOT_LEN],
    attr: [0; ROOT_LEN],
};

impl VexInode {
    /// The inode around the VFS's.
    ///
    /// # Safety
    ///
    /// `inode` belongs to a mounted VexFS and is referenced as long as the result is used.
    pub(crate) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: Inodes of VexFS are allocated by `alloc_inode`, in a VexInode.
        unsafe { &*kernel::container_of!(Opaque::cast_from(inode), Self, raw) }
    }

    /// The VFS's inode.
    pub(crate) fn as_ptr(&self) -> *mut bindings::inode {
        self.raw.get()
    }

    /// The metadata. Take it after a transaction was begun, never the other way round, and hold it
    /// across nothing that may wait for another operation.
    pub(crate) fn core(&self) -> CoreLock<'_> {
        CoreLock::new(self, &self.core)
    }

    /// What the file data needs.
    pub(crate) fn data(&self) -> &DataState {
        &self.data
    }

    /// The super block.
    pub(crate) fn sb(&self) -> &SuperBlock {
        // SAFETY: An inode's super block is set once and outlives it.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// The mount.
    pub(crate) fn mount(&self) -> &Mount {
        self.sb().mount()
    }

    /// The file system.
    pub(crate) fn fs(&self) -> &Fs<Store> {
        &self.mount().fs
    }

    /// The queue on which the mount completes writes.
    pub(crate) fn ioend_queue(&self) -> &IoendQueue {
        &self.mount().ioends
    }

    /// Fails with `EIO` when the file system was shut down.
    pub(crate) fn check_running(&self) -> Result {
        self.mount().check_running()
    }

    /// Whether the file system is not to be written to.
    pub(crate) fn read_only(&self) -> bool {
        self.sb().read_only()
    }

    /// The number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: The inode lives. Its number never changes once others see it.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// The generation.
    pub(crate) fn generation(&self) -> u32 {
        // SAFETY: The inode lives. Its generation never changes once others see it.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// Type and permissions.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: The inode lives.
        unsafe { (&raw const (*self.as_ptr()).i_mode).read_volatile() }
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.mode() & S_IFMT == S_IFDIR
    }

    /// Whether it is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.mode() & S_IFMT == S_IFREG
    }

    /// Whether nothing may change it, not even through a descriptor from before it was made so.
    pub(crate) fn is_immutable(&self) -> bool {
        // SAFETY: The inode lives; flags change one word at a time.
        let flags = unsafe { (&raw const (*self.as_ptr()).i_flags).read_volatile() };
        flags & bindings::S_IMMUTABLE != 0
    }

    /// The links.
    pub(crate) fn nlink(&self) -> u32 {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_i_nlink(self.as_ptr()) }
    }

    /// The size that users see.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_i_size_read(self.as_ptr()) as u64 }
    }

    /// Sets the size that users see. The caller keeps others from doing the same.
    pub(crate) fn set_size(&self, size: u64) {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_i_size_write(self.as_ptr(), size as i64) };
    }

    /// Waits until transaction `tid` is durable.
    pub(crate) fn commit_tid(&self, tid: Tid) -> Result {
        self.fs().store.commit_tid(tid)
    }

    /// Whether the commit of `tid` is still to come and will flush the device.
    pub(crate) fn commit_will_flush(&self, tid: Tid) -> bool {
        self.fs().store.commit_will_flush(tid)
    }

    /// Flushes the device's cache.
    pub(crate) fn flush_device(&self) -> Result {
        self.fs().store.flush_device()
    }

    /// Makes the changes of transaction `tid` durable if the directory, the file or the mount asks
    /// for synchronous changes.
    pub(crate) fn sync_if_asked(&self, tid: Tid) -> Result {
        // SAFETY: The inode lives.
        let sync = unsafe {
            if self.is_dir() {
                bindings::vexfs_helper_is_dirsync(self.as_ptr())
            } else {
                bindings::vexfs_helper_is_sync(self.as_ptr())
            }
        };
        if sync {
            self.fs().store.sync_tid(tid)?;
        }
        Ok(())
    }

    /// Another reference.
    pub(crate) fn hold(&self) -> InodeRef {
        // SAFETY: The inode is referenced, since we have a Rust reference to it.
        unsafe { bindings::ihold(self.as_ptr()) };
        // INVARIANT: The count was taken just now.
        InodeRef(NonNull::from(self))
    }

    /// Whether the inode was read or made: it has a core.
    pub(crate) fn is_live(&self) -> bool {
        // SAFETY: The inode lives.
        !unsafe { bindings::is_bad_inode(self.as_ptr()) } && self.ino() != 0
    }

    /// Gives the inode its core, and the VFS what it wants to know.
    ///
    /// # Safety
    ///
    /// The inode is new: who finds it waits, and looks at its number only.
    unsafe fn set_core(&self, core: Core) {
        let raw = self.as_ptr();
        // SAFETY: The inode is new, so its fields are ours.
        unsafe {
            (*raw).i_ino = core.ino;
            (*raw).i_mode = core.mode;
            (*raw).i_generation = core.generation;
            bindings::vexfs_helper_i_uid_write(raw, core.uid);
            bindings::vexfs_helper_i_gid_write(raw, core.gid);
        }
        self.set_size(core.size);
        self.show(&core);
        // A cut that did not come to its end.
        self.data
            .set_trim(core.state & STATE_ORPHAN != 0 && core.nlink != 0);
        // SAFETY: As above.
        unsafe { super::tables::set_ops(raw, core.mode, core.rdev) };
        self.core.write().core = core;
    }

    /// The inode with number `ino`, read if it is not in core. With a generation only that very
    /// inode will do.
    ///
    /// # Errors
    ///
    /// `ESTALE` if there is no such inode (any more), `EUCLEAN`, `EIO`, `ENOMEM`.
    pub(crate) fn get(sb: &SuperBlock, ino: u64, generation: Option<u32>) -> Result<InodeRef> {
        // SAFETY: The super block is valid.
        let raw = unsafe { bindings::iget_locked(sb.as_ptr(), ino) };
        if raw.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The inode is of our super block, and the reference was made for us.
        let inode = unsafe { Self::from_raw(raw) };
        // SAFETY: The inode is ours.
        if unsafe { bindings::vexfs_helper_inode_is_new(raw) } {
            match inode.fs().read_inode(ino) {
                Ok(core) => {
                    // SAFETY: The inode is new and locked: others wait until it is complete.
                    unsafe { inode.set_core(core) };
                    // Whatever changed it last may not be committed yet.
                    inode.data.note(inode.fs().store.newest_tid(), true);
                    // SAFETY: As above.
                    unsafe { bindings::unlock_new_inode(raw) };
                }
                Err(e) => {
                    // SAFETY: The inode is new and locked; this drops the reference too.
                    unsafe { bindings::iget_failed(raw) };
                    return Err(e);
                }
            }
        }
        // INVARIANT: The reference was made for us.
        let inode = InodeRef(NonNull::from(inode));
        if !inode.is_live() {
            return Err(EIO);
        }
        if generation.is_some_and(|g| g != inode.generation()) {
            return Err(estale());
        }
        Ok(inode)
    }
}

/// A counted reference to an inode. It must not be dropped inside of a transaction: the last
/// reference to an unlinked inode frees it.
///
/// # Invariants
///
/// One count of the inode is ours.
pub(crate) struct InodeRef(NonNull<VexInode>);

// SAFETY: The count is atomic.
unsafe impl Send for InodeRef {}
// SAFETY: As above.
unsafe impl Sync for InodeRef {}

impl InodeRef {
    /// Takes over a reference from C.
    ///
    /// # Safety
    ///
    /// The inode belongs to a mounted VexFS, and one of its counts is given to us.
    pub(super) unsafe fn from_raw(inode: *mut bindings::inode) -> Self {
        // SAFETY: By this function's own requirement.
        InodeRef(NonNull::from(unsafe { VexInode::from_raw(inode) }))
    }

    /// Gives the reference to C code.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        let raw = self.as_ptr();
        core::mem::forget(self);
        raw
    }
}

impl Deref for InodeRef {
    type Target = VexInode;

    fn deref(&self) -> &VexInode {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for InodeRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; the count is not used any more.
        unsafe { bindings::iput(self.as_ptr()) };
    }
}

/// An inode that is being made. Who looks for it by number does not find it, and once it is
/// announced waits for it. Dropped, it was never there.
pub(crate) struct NewInode(Unfinished, Inherited);

impl NewInode {
    /// An inode for a new entry of `dir`: owner and mode follow from the caller and the directory.
    pub(crate) fn new(idmap: &IdMap, dir: &VexInode, mode: u16) -> Result<Self> {
        // SAFETY: The super block is valid.
        let raw = unsafe { bindings::new_inode(dir.sb().as_ptr()) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?.as_ptr();
        // SAFETY: The inode is of our super block, new, and the reference is ours.
        let inode = InodeRef(NonNull::from(unsafe { VexInode::from_raw(raw) }));
        // SAFETY: As above. Until it has a core it has no number, which is how eviction knows.
        unsafe {
            (*raw).i_ino = 0;
            bindings::inode_init_owner(idmap.as_ptr(), raw, dir.as_ptr(), mode);
        }
        let mut mode = inode.mode();
        let acls = Inherited::new(dir, &mut mode)?;
        inode.set_mode(mode);
        Ok(NewInode(Unfinished(inode), acls))
    }

    /// The inode, which has an owner and a mode so far.
    pub(crate) fn inode(&self) -> &VexInode {
        &self.0
    }

    /// Its type and permissions.
    pub(crate) fn mode(&self) -> u16 {
        self.0.mode()
    }

    /// Its owner.
    pub(crate) fn uid(&self) -> u32 {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_i_uid_read(self.0.as_ptr()) }
    }

    /// Its group.
    pub(crate) fn gid(&self) -> u32 {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_i_gid_read(self.0.as_ptr()) }
    }

    /// The access control lists that it inherits.
    pub(crate) fn acls(&self) -> &Inherited {
        &self.1
    }

    /// Gives the inode its number and enters it, locked, where lookups by number find it. Waits for
    /// one that just finds out that there is no inode with this number yet.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one with its number, which can only come from damage.
    pub(crate) fn announce(&self, ino: u64) -> Result {
        if self.0.is_announced() {
            return Err(EBUSY);
        }
        let raw = self.0.as_ptr();
        let mut number = ino;
        // Not `insert_inode_locked`: what it enters makes `iget_locked` fail, where we want it to
        // wait.
        // SAFETY: The inode is new and on no hash list, so its number is ours to set. The callback
        // gets inodes of our super block and the pointer to the number.
        let entered = unsafe {
            (*raw).i_ino = ino;
            bindings::inode_insert5(raw, ino, Some(has_number), None, (&raw mut number).cast())
        };
        if entered == raw {
            return Ok(());
        }
        // SAFETY: Nobody else sees the inode. The reference to the other one, if any, was made for
        // us.
        unsafe {
            (*raw).i_ino = 0;
            bindings::iput(entered);
        }
        Err(EBUSY)
    }

    /// Gives the inode its core, now that it is on disk. It stays locked until it gets its dentry.
    pub(crate) fn complete(self, core: Core, tid: Tid) -> LockedInode {
        let NewInode(new, inherited) = self;
        // SAFETY: The inode is new and stays locked.
        unsafe { new.set_core(core) };
        inherited.cache(&new);
        new.data.note(tid, true);
        LockedInode(new.finish())
    }
}

/// Takes an inode that was not finished away again.
struct Unfinished(InodeRef);

impl Unfinished {
    /// Whether lookups by number find the inode.
    fn is_announced(&self) -> bool {
        // SAFETY: The inode lives.
        unsafe { bindings::vexfs_helper_inode_is_new(self.0.as_ptr()) }
    }

    /// The inode, which stays.
    fn finish(self) -> InodeRef {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so its reference is taken over.
        unsafe { core::ptr::read(&this.0) }
    }
}

impl Deref for Unfinished {
    type Target = VexInode;

    fn deref(&self) -> &VexInode {
        &self.0
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_announced() {
            let raw = self.0.as_ptr();
            // SAFETY: The inode is new and locked. Bad, it is taken off the hash list and not
            // freed on disk.
            unsafe {
                bindings::make_bad_inode(raw);
                bindings::unlock_new_inode(raw);
            }
        }
    }
}

/// Whether an inode has the number at `data`.
///
/// # Safety
///
/// Called by `inode_insert5` with an inode and the pointer that [`NewInode::announce`] gave it.
unsafe extern "C" fn has_number(inode: *mut bindings::inode, data: *mut c_void) -> c_int {
    // SAFETY: By this function's own requirement. The number of a hashed inode does not change.
    unsafe { ((*inode).i_ino == *data.cast::<u64>()).into() }
}

/// An inode that lookups by number find and wait for.
pub(crate) struct LockedInode(InodeRef);

impl LockedInode {
    /// The inode, for who unlocks it.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        self.0.into_raw()
    }
}

impl Deref for LockedInode {
    type Target = VexInode;

    fn deref(&self) -> &VexInode {
        &self.0
    }
}

/// The slab cache of [`VexInode`]s; null while the module is not initialised.
static CACHE: AtomicPtr<bindings::kmem_cache> = AtomicPtr::new(core::ptr::null_mut());

/// Owns the slab cache; there is one, in the module.
pub(crate) struct InodeCache(());

impl InodeCache {
    /// Makes the cache.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The name is static, the sizes are those of the type, the constructor fits.
        let cache = unsafe {
            bindings::vexfs_helper_kmem_cache_create(
                c"vexfs_inode".as_char_ptr(),
                size_of::<VexInode>() as u32,
                align_of::<VexInode>() as u32,
                bindings::VEXFS_SLAB_RECLAIM_ACCOUNT | bindings::VEXFS_SLAB_ACCOUNT,
                Some(construct),
            )
        };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        CACHE.store(cache, Ordering::Release);
        Ok(InodeCache(()))
    }
}

impl Drop for InodeCache {
    fn drop(&mut self) {
        // Inodes are freed after a grace period; all of them must be back in the cache.
        // SAFETY: No super block is left, so nobody allocates any more.
        unsafe {
            bindings::rcu_barrier();
            bindings::kmem_cache_destroy(CACHE.swap(core::ptr::null_mut(), Ordering::AcqRel));
        }
    }
}

/// # Safety
///
/// Called by the slab allocator, once for each new object.
unsafe extern "C" fn construct(object: *mut c_void) {
    let object = object.cast::<VexInode>();
    // SAFETY: The object is as large as a VexInode, and nobody else has it.
    unsafe { bindings::inode_init_once(Opaque::cast_into(&raw const (*object).raw)) };
}

/// # Safety
///
/// Called by the VFS with a super block of ours.
pub(super) unsafe extern "C" fn alloc_inode(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    let cache = CACHE.load(Ordering::Acquire);
    // SAFETY: The super block is the VFS's, the cache lives as long as the module.
    let object = unsafe {
        bindings::vexfs_helper_alloc_inode_sb(sb, cache, bindings::VEXFS_GFP_NOFS)
            .cast::<VexInode>()
    };
    if object.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: The object is as large as a VexInode, and nobody else has it. The VFS's part was
    // initialised by the constructor and, if the object was used before, left in that state.
    unsafe {
        let blank = Locked {
            core: BLANK,
            delayed: Delayed::new(),
        };
        PinnedRwSemaphore::init(&raw mut (*object).core, blank);
        DataState::init(&raw mut (*object).data);
        (&raw mut (*object).link_changes).write(AtomicU32::new(0));
        (&raw mut (*object).unlogged).write(AtomicBool::new(false));
        Opaque::cast_into(&raw const (*object).raw)
    }
}

/// # Safety
///
/// Called by the VFS, after a grace period, with an inode that [`alloc_inode`] returned.
pub(super) unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
    // SAFETY: The inode lies in a VexInode, to which nobody refers any more. Nothing in it needs
    // to be dropped: the core is plain data, its delayed blocks have no memory since eviction let
    // the last of them go, the lists of the data state are empty.
    unsafe {
        let object = kernel::container_of!(Opaque::cast_from(inode), VexInode, raw);
        bindings::kmem_cache_free(CACHE.load(Ordering::Acquire), object.cast_mut().cast());
    }
}
