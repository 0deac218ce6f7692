// SPDX-License-Identifier: GPL-2.0

//! Safe Rust over the kernel's C interface. Every `unsafe` of the module that is not SIMD is here.
//!
//! Functions that the VFS calls turn its pointers into typed references and call `ops`, where the
//! decisions are.

pub(crate) mod access;
pub(crate) mod acl;
pub(crate) mod anon_file;
pub(crate) mod attr;
pub(crate) mod attributes;
pub(crate) mod bindings;
pub(crate) mod bio;
pub(crate) mod buffer;
pub(crate) mod core_lock;
pub(crate) mod crc32c;
pub(crate) mod data;
pub(crate) mod dentry;
mod directory;
mod export;
pub(crate) mod fault;
pub(crate) mod fiemap;
pub(crate) mod file;
mod fileattr;
pub(crate) mod folio;
pub(crate) mod fpu;
pub(crate) mod graph;
mod hot_blocks;
pub(crate) mod index_pages;
pub(crate) mod inode;
pub(crate) mod internal_file;
pub(crate) mod ioctl;
pub(crate) mod iomap;
mod jbd2;
pub(crate) mod kthread;
pub(crate) mod log;
pub(crate) mod mount;
mod namei;
mod quota;
pub(crate) mod sched;
pub(crate) mod security;
pub(crate) mod simd;
pub(crate) mod staging;
pub(crate) mod store;
pub(crate) mod super_block;
mod super_ops;
pub(crate) mod sync;
pub(crate) mod table;
mod tables;
pub(crate) mod uapi;
pub(crate) mod user;
pub(crate) mod wait;
pub(crate) mod work;
mod xattr;
