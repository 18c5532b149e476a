//! Descriptors that one process leaves open for another, under numbers that it tells it. Whoever
//! takes them looks first: a number under which something else is open is somebody else's, and what
//! two owners close is a third one's connection.
#![expect(unsafe_code, reason = "a number that somebody told us cannot be checked for its owner")]

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::fstat;

use super::eventfd;
use super::fd::{errno_of, last_errno};
use crate::units::Errno;

/// What is open under a number, to be looked at and nothing else: it may be anybody's.
///
/// # Errors
/// EBADF when nothing is.
pub(crate) fn look_at<'a>(number: i32) -> Result<BorrowedFd<'a>, Errno> {
    if number < 0 {
        return Err(Errno(libc::EBADF));
    }
    // SAFETY: F_GETFD takes no further argument and touches no memory; a closed number is EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(last_errno());
    }
    // SAFETY: the number is not -1, and open as of this moment. Should its owner close it while it
    // is looked at, the calls that look fail or see something else, and no memory depends on it.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Tells what is open from all else of its kind, as long as anybody has it open, in every process;
/// 0 where the kernel does not say.
///
/// # Errors
/// EBADF alone, which an open descriptor rules out.
pub fn mark_of(fd: impl AsFd) -> Result<u64, Errno> {
    let fd = fd.as_fd();
    let found = fstat(fd).map_err(errno_of)?;
    // Files without a type share one inode.
    match found.st_mode & libc::S_IFMT {
        0 => Ok(eventfd::number(fd).map_or(0, |number| number.saturating_add(1))),
        _ => Ok(found.st_ino),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::super::{fd, memfd, socket};
    use super::*;

    #[test]
    fn what_is_not_open_is_not_looked_at() {
        assert_eq!(look_at(-1).unwrap_err(), Errno(libc::EBADF));
        assert_eq!(look_at(i32::MAX).unwrap_err(), Errno(libc::EBADF));
        let bell = eventfd::create().unwrap();
        assert_eq!(look_at(bell.as_raw_fd()).unwrap().as_raw_fd(), bell.as_raw_fd());
    }

    #[test]
    fn a_copy_has_the_mark_and_nothing_else_does() {
        let (a, b) = socket::seqpacket_pair().unwrap();
        let memory = || memfd::create(c"test", 1).unwrap();
        let all =
            [a, b, memory(), memory(), eventfd::create().unwrap(), eventfd::create().unwrap()];
        for (index, one) in all.iter().enumerate() {
            let mark = mark_of(one).unwrap();
            assert_eq!(mark_of(fd::duplicate(one).unwrap()), Ok(mark));
            assert_ne!(mark, 0);
            let others = all.iter().skip(index + 1).map(|other| mark_of(other).unwrap());
            assert!(others.into_iter().all(|other| other != mark), "{index}: {mark}");
        }
    }
}
