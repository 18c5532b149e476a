//! Descriptors as owned values: the one door through which a raw number becomes an owner, because
//! a number that two owners close takes somebody else's connection with it.
#![expect(unsafe_code, reason = "turning a raw number into an owner cannot be checked")]

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;

use super::errno::errno_of;
use super::inherited;
use crate::units::Errno;

/// Takes ownership of a descriptor that the kernel has just given to this process and that nobody
/// else has seen: the result of a system call, of a completion or of a control message.
///
/// # Panics
/// When `raw` is negative, which is an error number and no descriptor.
pub(crate) fn adopt(raw: i32) -> OwnedFd {
    assert!(0 <= raw, "a descriptor is not negative");
    // SAFETY: the number is not -1 (checked), it is open and has no other owner (the callers pass
    // what the kernel returned to them in the same breath, once), and it needs no other cleanup
    // than close.
    #[expect(clippy::disallowed_methods, reason = "this is the door that the lint points to")]
    unsafe {
        std::os::fd::FromRawFd::from_raw_fd(raw)
    }
}

/// Takes ownership of a descriptor that a parent process left open under a number that it told us,
/// and makes it close-on-exec. Call it once per number, before anything else is opened.
///
/// # Errors
/// EBADF when nothing is open under the number.
pub(crate) fn adopt_inherited(raw: i32) -> Result<OwnedFd, Errno> {
    if !inherited::is_open(raw) {
        return Err(Errno(libc::EBADF));
    }
    let fd = adopt(raw);
    set_cloexec(&fd)?;
    Ok(fd)
}

/// A second descriptor for the same open file, close-on-exec.
///
/// # Errors
/// EMFILE when the table is full.
pub fn duplicate(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(0)).map(adopt).map_err(errno_of)
}

/// Makes reads and writes answer EAGAIN instead of waiting, for every copy of the descriptor.
///
/// # Errors
/// EBADF alone, which an owned descriptor rules out.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let flags = status_flags(fd)?;
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop).map_err(errno_of)
}

/// Makes reads and writes wait, for every copy of the descriptor.
///
/// # Errors
/// EBADF alone, which an owned descriptor rules out.
pub fn set_blocking(fd: impl AsFd) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let flags = status_flags(fd)?;
    fcntl(fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).map(drop).map_err(errno_of)
}

/// Whether reads and writes answer EAGAIN instead of waiting.
///
/// # Errors
/// EBADF alone, which an owned descriptor rules out.
pub fn is_nonblocking(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(status_flags(fd)?.contains(OFlag::O_NONBLOCK))
}

/// Keeps the descriptor from the programs that this process starts.
///
/// # Errors
/// EBADF alone, which an owned descriptor rules out.
pub fn set_cloexec(fd: impl AsFd) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop).map_err(errno_of)
}

/// Lets the next program that this process becomes inherit the descriptor.
///
/// # Errors
/// EBADF alone, which an owned descriptor rules out.
pub fn clear_cloexec(fd: impl AsFd) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop).map_err(errno_of)
}

/// What is at its end at once, for a program that is to read nothing: /dev/null, and where there is
/// none a pipe into which nobody writes.
///
/// # Errors
/// EMFILE or ENFILE.
pub fn no_input() -> Result<OwnedFd, Errno> {
    let null = open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
    null.or_else(|_| pipe2(OFlag::O_CLOEXEC).map(|(read, _)| read)).map_err(errno_of)
}

/// Reads what is there, up to the buffer's length; 0 is the end.
///
/// # Errors
/// EAGAIN when nothing is there and the descriptor is non-blocking; whatever read says otherwise.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    nix::unistd::read(fd, buffer).map_err(errno_of)
}

fn status_flags(fd: impl AsFd) -> Result<OFlag, Errno> {
    fcntl(fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain).map_err(errno_of)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn is_cloexec(fd: &OwnedFd) -> bool {
        fcntl(fd, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC != 0
    }

    #[test]
    fn a_duplicate_is_another_number_and_close_on_exec() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let copy = duplicate(&a).unwrap();
        assert_ne!(copy.as_raw_fd(), a.as_raw_fd());
        assert!(is_cloexec(&copy));
        clear_cloexec(&copy).unwrap();
        assert!(!is_cloexec(&copy));
        set_cloexec(&copy).unwrap();
        assert!(is_cloexec(&copy));
    }

    #[test]
    fn blocking_is_a_property_that_can_be_set_both_ways() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(is_nonblocking(&a), Ok(false));
        set_nonblocking(&a).unwrap();
        assert_eq!(is_nonblocking(&a), Ok(true));
        set_blocking(&a).unwrap();
        assert_eq!(is_nonblocking(&a), Ok(false));
    }

    #[test]
    fn what_is_not_open_is_not_inherited() {
        assert_eq!(adopt_inherited(-1).unwrap_err(), Errno(libc::EBADF));
        assert_eq!(adopt_inherited(i32::MAX).unwrap_err(), Errno(libc::EBADF));
    }
}
