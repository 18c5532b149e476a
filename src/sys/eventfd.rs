//! Doorbells: eventfds that one side rings and the other side is woken by. They are never read,
//! because an edge-triggered wait sees every write, and the read would be a system call for
//! nothing. Who can ring one can also fill or empty it, so nobody shares one with somebody it must
//! not silence.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::fstat;

use crate::sys::errno::errno_of;
use crate::units::Errno;

/// A silent doorbell, close-on-exec and non-blocking.
///
/// # Errors
/// EMFILE, ENFILE or ENOMEM.
pub fn create() -> Result<OwnedFd, Errno> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map(OwnedFd::from)
        .map_err(errno_of)
}

/// Wakes whoever waits on the doorbell.
///
/// # Errors
/// EAGAIN when the counter is full, which takes 2^64 - 1 rings or a hostile peer.
pub fn ring(doorbell: &BorrowedFd<'_>) -> Result<(), Errno> {
    match nix::unistd::write(doorbell, &1_u64.to_ne_bytes()) {
        Ok(_) => Ok(()),
        Err(error) => Err(errno_of(error)),
    }
}

/// The number that the kernel has given a doorbell, and no other as long as anybody has it open.
/// None when this is no eventfd, and where /proc does not tell (before Linux 5.2, or without it).
pub fn number(doorbell: BorrowedFd<'_>) -> Option<u64> {
    let about = about(doorbell)?;
    about.lines().find_map(|line| line.strip_prefix("eventfd-id:"))?.trim().parse().ok()
}

/// Whether this is an eventfd, as far as can be told: without /proc it is a file without a type.
pub fn is_one(fd: BorrowedFd<'_>) -> bool {
    let untyped = fstat(fd).is_ok_and(|found| found.st_mode & libc::S_IFMT == 0);
    untyped && about(fd).is_none_or(|about| about.contains("eventfd-count:"))
}

fn about(fd: BorrowedFd<'_>) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn rings_are_counted() {
        let doorbell = create().unwrap();
        ring(&doorbell.as_fd()).unwrap();
        ring(&doorbell.as_fd()).unwrap();
        let mut count = [0; 8];
        assert_eq!(nix::unistd::read(&doorbell, &mut count), Ok(8));
        assert_eq!(u64::from_ne_bytes(count), 2);
        assert_eq!(nix::unistd::read(&doorbell, &mut count), Err(nix::errno::Errno::EAGAIN));
    }

    #[test]
    fn a_doorbell_is_told_from_other_files_without_a_type() {
        let doorbell = create().unwrap();
        assert!(is_one(doorbell.as_fd()) && number(doorbell.as_fd()).is_some());
        let other =
            nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).unwrap();
        assert!(!is_one(other.0.as_fd()) && number(other.0.as_fd()).is_none());
        assert!(!is_one(std::fs::File::open("/dev/null").unwrap().as_fd()));
    }

    #[test]
    fn a_full_doorbell_answers_at_once() {
        let doorbell = create().unwrap();
        nix::unistd::write(&doorbell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        assert_eq!(ring(&doorbell.as_fd()), Err(Errno(libc::EAGAIN)));
    }
}
