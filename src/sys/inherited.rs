//! Descriptors that one process leaves open for another, under numbers that it tells it. Whoever
//! takes them looks first: a number under which something else is open is somebody else's, and what
//! two owners close is a third one's connection.
#![expect(unsafe_code, reason = "a number that somebody told us cannot be checked for its owner")]

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::fstat;

use super::errno::errno_of;
use super::eventfd;
use crate::units::Errno;

/// Looks at what is open under these numbers, and does nothing else with it: it may be anybody's.
///
/// # Errors
/// The first number under which nothing is open.
pub(crate) fn look_at<T>(
    numbers: impl Iterator<Item = i32>,
    look: impl FnOnce(&[BorrowedFd<'_>]) -> T,
) -> Result<T, i32> {
    let open: Vec<i32> = numbers
        .map(|number| if is_open(number) { Ok(number) } else { Err(number) })
        .collect::<Result<_, _>>()?;
    let borrow = |number: &i32| {
        // SAFETY: the number is not -1, and was open a moment ago. Should its owner close it while
        // it is looked at, the calls that look fail or see something else, and no memory depends on
        // it.
        unsafe { BorrowedFd::borrow_raw(*number) }
    };
    let found: Vec<BorrowedFd<'_>> = open.iter().map(borrow).collect();
    Ok(look(&found))
}

/// Whether anything is open under this number.
pub(crate) fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD takes no further argument and touches no memory; of a number under which
    // nothing is open, or that is none, it says so.
    0 <= unsafe { libc::fcntl(number, libc::F_GETFD) }
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
        let doorbell = eventfd::create().unwrap();
        let number = doorbell.as_raw_fd();
        let seen = |numbers: &[i32]| {
            look_at(numbers.iter().copied(), |all| all.iter().map(AsRawFd::as_raw_fd).collect())
        };
        assert_eq!(seen(&[number, number]), Ok(vec![number, number]));
        assert_eq!(seen(&[number, -1, i32::MAX]), Err(-1));
        assert_eq!(seen(&[number, i32::MAX]), Err(i32::MAX));
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
