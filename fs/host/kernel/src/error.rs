// SPDX-License-Identifier: GPL-2.0

//! Kernel errors, as `rust/kernel/error.rs` has them.

use crate::alloc::AllocError;
use core::fmt;
use core::num::{NonZeroI32, TryFromIntError};

/// The error codes that the kernel crate names. libvexfs has the others in its `errno`.
pub mod code {
    macro_rules! declare_err {
        ($err:ident, $errno:literal, $doc:literal) => {
            #[doc = $doc]
            pub const $err: super::Error = super::Error::of($errno);
        };
    }

    declare_err!(EPERM, 1, "Operation not permitted.");
    declare_err!(ENOENT, 2, "No such file or directory.");
    declare_err!(ESRCH, 3, "No such process.");
    declare_err!(EINTR, 4, "Interrupted system call.");
    declare_err!(EIO, 5, "Input/output error.");
    declare_err!(ENXIO, 6, "No such device or address.");
    declare_err!(E2BIG, 7, "Argument list too long.");
    declare_err!(ENOEXEC, 8, "Exec format error.");
    declare_err!(EBADF, 9, "Bad file descriptor.");
    declare_err!(ECHILD, 10, "No child processes.");
    declare_err!(EAGAIN, 11, "Resource temporarily unavailable.");
    declare_err!(ENOMEM, 12, "Cannot allocate memory.");
    declare_err!(EACCES, 13, "Permission denied.");
    declare_err!(EFAULT, 14, "Bad address.");
    declare_err!(ENOTBLK, 15, "Block device required.");
    declare_err!(EBUSY, 16, "Device or resource busy.");
    declare_err!(EEXIST, 17, "File exists.");
    declare_err!(EXDEV, 18, "Invalid cross-device link.");
    declare_err!(ENODEV, 19, "No such device.");
    declare_err!(ENOTDIR, 20, "Not a directory.");
    declare_err!(EISDIR, 21, "Is a directory.");
    declare_err!(EINVAL, 22, "Invalid argument.");
    declare_err!(ENFILE, 23, "Too many open files in system.");
    declare_err!(EMFILE, 24, "Too many open files.");
    declare_err!(ENOTTY, 25, "Inappropriate ioctl for device.");
    declare_err!(ETXTBSY, 26, "Text file busy.");
    declare_err!(EFBIG, 27, "File too large.");
    declare_err!(ENOSPC, 28, "No space left on device.");
    declare_err!(ESPIPE, 29, "Illegal seek.");
    declare_err!(EROFS, 30, "Read-only file system.");
    declare_err!(EMLINK, 31, "Too many links.");
    declare_err!(EPIPE, 32, "Broken pipe.");
    declare_err!(EDOM, 33, "Numerical argument out of domain.");
    declare_err!(ERANGE, 34, "Numerical result out of range.");
    declare_err!(EOVERFLOW, 75, "Value too large for defined data type.");
    declare_err!(EMSGSIZE, 90, "Message too long.");
    declare_err!(ETIMEDOUT, 110, "Connection timed out.");
}

/// A negative error number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroI32);

/// A result whose error is an [`Error`].
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

const MAX_ERRNO: i32 = 4095;

impl Error {
    const fn of(errno: i32) -> Error {
        match NonZeroI32::new(-errno) {
            Some(e) => Error(e),
            None => panic!("an error number of zero"),
        }
    }

    /// Makes an error of a negative error number; [`code::EINVAL`] if it is none.
    pub fn from_errno(errno: core::ffi::c_int) -> Error {
        match NonZeroI32::new(errno) {
            Some(e) if (-MAX_ERRNO..0).contains(&errno) => Error(e),
            _ => code::EINVAL,
        }
    }

    /// The negative error number.
    pub fn to_errno(self) -> core::ffi::c_int {
        self.0.get()
    }

    /// The number's name and text, where known.
    fn describe(self) -> Option<(&'static str, &'static str)> {
        Some(match -self.0.get() {
            1 => ("EPERM", "Operation not permitted"),
            2 => ("ENOENT", "No such file or directory"),
            3 => ("ESRCH", "No such process"),
            4 => ("EINTR", "Interrupted system call"),
            5 => ("EIO", "Input/output error"),
            6 => ("ENXIO", "No such device or address"),
            7 => ("E2BIG", "Argument list too long"),
            8 => ("ENOEXEC", "Exec format error"),
            9 => ("EBADF", "Bad file descriptor"),
            10 => ("ECHILD", "No child processes"),
            11 => ("EAGAIN", "Resource temporarily unavailable"),
            12 => ("ENOMEM", "Cannot allocate memory"),
            13 => ("EACCES", "Permission denied"),
            14 => ("EFAULT", "Bad address"),
            15 => ("ENOTBLK", "Block device required"),
            16 => ("EBUSY", "Device or resource busy"),
            17 => ("EEXIST", "File exists"),
            18 => ("EXDEV", "Invalid cross-device link"),
            19 => ("ENODEV", "No such device"),
            20 => ("ENOTDIR", "Not a directory"),
            21 => ("EISDIR", "Is a directory"),
            22 => ("EINVAL", "Invalid argument"),
            23 => ("ENFILE", "Too many open files in system"),
            24 => ("EMFILE", "Too many open files"),
            25 => ("ENOTTY", "Inappropriate ioctl for device"),
            26 => ("ETXTBSY", "Text file busy"),
            27 => ("EFBIG", "File too large"),
            28 => ("ENOSPC", "No space left on device"),
            29 => ("ESPIPE", "Illegal seek"),
            30 => ("EROFS", "Read-only file system"),
            31 => ("EMLINK", "Too many links"),
            32 => ("EPIPE", "Broken pipe"),
            33 => ("EDOM", "Numerical argument out of domain"),
            34 => ("ERANGE", "Numerical result out of range"),
            75 => ("EOVERFLOW", "Value too large for defined data type"),
            90 => ("EMSGSIZE", "Message too long"),
            110 => ("ETIMEDOUT", "Connection timed out"),
            36 => ("ENAMETOOLONG", "File name too long"),
            39 => ("ENOTEMPTY", "Directory not empty"),
            40 => ("ELOOP", "Too many levels of symbolic links"),
            61 => ("ENODATA", "No data available"),
            71 => ("EPROTO", "Protocol error"),
            84 => (
                "EILSEQ",
                "Invalid or incomplete multibyte or wide character",
            ),
            95 => ("EOPNOTSUPP", "Operation not supported"),
            116 => ("ESTALE", "Stale file handle"),
            117 => ("EUCLEAN", "Structure needs cleaning"),
            122 => ("EDQUOT", "Disk quota exceeded"),
            125 => ("ECANCELED", "Operation canceled"),
            _ => return None,
        })
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            None => f.debug_tuple("Error").field(&-self.0.get()).finish(),
            Some((name, _)) => f.write_str(name),
        }
    }
}

// User space shows errors to people; the kernel crate has neither of the two.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            None => write!(f, "error {}", -self.0.get()),
            Some((name, text)) => write!(f, "{text} ({name})"),
        }
    }
}

impl std::error::Error for Error {}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Error {
        code::ENOMEM
    }
}

impl From<TryFromIntError> for Error {
    fn from(_: TryFromIntError) -> Error {
        code::EINVAL
    }
}

impl From<core::str::Utf8Error> for Error {
    fn from(_: core::str::Utf8Error) -> Error {
        code::EINVAL
    }
}

impl From<core::convert::Infallible> for Error {
    fn from(e: core::convert::Infallible) -> Error {
        match e {}
    }
}

/// On hosts only: what a file operation of the operating system said.
impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        match e.raw_os_error() {
            Some(n) => Error::from_errno(-n),
            None => code::EIO,
        }
    }
}
