// SPDX-License-Identifier: GPL-2.0
//! The ioctl ABI of `fs/uapi/vexfs.h`, written out in Rust so that a build needs no libclang.
//!
//! Each structure here is compared with the C header by the tests: `layouts!` names the structure and its fields, a C
//! program made from that is compiled with the header and must print the same sizes and offsets.

pub mod staging;
pub mod vector;

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// The type of all VexFS ioctls.
pub const IOC_TYPE: u8 = 0xf7;

/// The number of an ioctl. It carries no size: every structure begins with its own, so that it can grow.
pub const fn io(nr: u8) -> libc::c_ulong {
    nix::request_code_none!(IOC_TYPE, nr) as libc::c_ulong
}

/// Calls an ioctl with a structure of this module. `T` must be what `request` takes; EINTR is left to the caller,
/// who may have been told to stop.
pub fn ioctl<T>(fd: impl AsFd, request: libc::c_ulong, arg: &mut T) -> Result<i32, Errno> {
    // SAFETY: `arg` is valid for reads and writes of a whole `T`, and its own size field tells the kernel
    // how much that is; pointers inside it are made by the callers in this crate from live slices.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, arg as *mut T) };
    Errno::result(ret)
}

/// The generation of an open file, which with its inode's number tells it from all others.
pub fn generation(fd: impl AsFd) -> Result<u32, Errno> {
    // The number was made for a long; the kernel writes an int.
    const FS_IOC_GETVERSION: libc::c_ulong =
        nix::request_code_read!(b'v', 1, size_of::<libc::c_long>()) as libc::c_ulong;
    let mut generation: libc::c_long = 0;
    // SAFETY: `generation` has room for the int, and for the long that the number speaks of.
    let ret = unsafe {
        libc::ioctl(
            fd.as_fd().as_raw_fd(),
            FS_IOC_GETVERSION as _,
            &mut generation,
        )
    };
    Errno::result(ret)?;
    Ok(generation as u32)
}

/// Lists structures for the comparison with the C header: `layouts!(Rust = "c_name" { field, other: "c_other" })`.
#[cfg(test)]
macro_rules! layouts {
    ($($rust:ty = $c:literal { $($field:ident $(: $cfield:literal)?),* $(,)? })*) => {
        pub fn layouts() -> Vec<$crate::abi::layout::Struct> {
            vec![$($crate::abi::layout::Struct {
                c: $c,
                size: std::mem::size_of::<$rust>(),
                fields: vec![$(($crate::abi::layout::c_name(stringify!($field), &[$($cfield)?]), std::mem::offset_of!($rust, $field))),*],
            }),*]
        }
    };
}
#[cfg(test)]
pub(crate) use layouts;

#[cfg(test)]
pub mod layout {
    //! The comparison itself.
    use std::fmt::Write;
    use std::path::Path;
    use std::process::Command;

    /// A structure as Rust sees it.
    pub struct Struct {
        pub c: &'static str,
        pub size: usize,
        pub fields: Vec<(String, usize)>,
    }

    /// The C name of a field: as in Rust unless said otherwise.
    pub fn c_name(rust: &str, c: &[&str]) -> String {
        c.first().map_or_else(
            || rust.trim_start_matches("r#").to_owned(),
            |s| (*s).to_owned(),
        )
    }

    #[test]
    fn structures_are_as_the_c_header_has_them() {
        let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fs/uapi/vexfs.h");
        let structs: Vec<Struct> = super::vector::tests::layouts()
            .into_iter()
            .chain(super::staging::tests::layouts())
            .collect();
        let mut source = format!(
            "#include <stddef.h>\n#include <stdio.h>\n#include \"{}\"\nint main(void) {{\n",
            header.display()
        );
        let mut expected = String::new();
        for s in &structs {
            writeln!(
                source,
                "printf(\"{} %zu\\n\", sizeof(struct {}));",
                s.c, s.c
            )
            .unwrap();
            writeln!(expected, "{} {}", s.c, s.size).unwrap();
            for (field, offset) in &s.fields {
                writeln!(
                    source,
                    "printf(\"{}.{field} %zu\\n\", offsetof(struct {}, {field}));",
                    s.c, s.c
                )
                .unwrap();
                writeln!(expected, "{}.{field} {offset}", s.c).unwrap();
            }
        }
        source.push_str("return 0; }\n");
        let dir = tempfile::tempdir().unwrap();
        let (c, exe) = (dir.path().join("layout.c"), dir.path().join("layout"));
        std::fs::write(&c, source).unwrap();
        let ok = Command::new("cc")
            .arg("-Wall")
            .arg("-o")
            .arg(&exe)
            .arg(&c)
            .status()
            .unwrap()
            .success();
        assert!(ok, "the C header does not compile");
        let printed = String::from_utf8(Command::new(&exe).output().unwrap().stdout).unwrap();
        assert_eq!(printed, expected);
    }
}
