//! Error numbers between nix, the standard library and our own type.

use crate::units::Errno;

/// The error of the last failed system call of this thread.
pub fn last_errno() -> Errno {
    Errno(nix::errno::Errno::last_raw())
}

/// The same error number in our own type.
pub fn errno_of(error: nix::errno::Errno) -> Errno {
    Errno(error as i32)
}

/// The number of an error of the standard library's own calls.
pub fn errno_from_io(error: &std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The same error number as the standard library's error, for its text.
pub fn io_error(errno: Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno.0)
}
