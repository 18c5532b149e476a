//! Bells: eventfds that one side rings and the other side is woken by. They are never read, because
//! an edge-triggered wait sees every write, and the read would be a system call for nothing.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sys::fd::errno_of;
use crate::units::Errno;

/// A silent bell, close-on-exec and non-blocking.
///
/// # Errors
/// EMFILE, ENFILE or ENOMEM.
pub fn create() -> Result<OwnedFd, Errno> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map(OwnedFd::from)
        .map_err(errno_of)
}

/// Wakes whoever waits on the bell.
///
/// # Errors
/// EAGAIN when the counter is full, which takes 2^64 - 1 rings or a hostile peer.
pub fn ring(bell: &BorrowedFd<'_>) -> Result<(), Errno> {
    match nix::unistd::write(bell, &1_u64.to_ne_bytes()) {
        Ok(_) => Ok(()),
        Err(error) => Err(errno_of(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn rings_are_counted() {
        let bell = create().unwrap();
        ring(&bell.as_fd()).unwrap();
        ring(&bell.as_fd()).unwrap();
        let mut count = [0; 8];
        assert_eq!(nix::unistd::read(&bell, &mut count), Ok(8));
        assert_eq!(u64::from_ne_bytes(count), 2);
        assert_eq!(nix::unistd::read(&bell, &mut count), Err(nix::errno::Errno::EAGAIN));
    }

    #[test]
    fn a_full_bell_answers_at_once() {
        let bell = create().unwrap();
        nix::unistd::write(&bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        assert_eq!(ring(&bell.as_fd()), Err(Errno(libc::EAGAIN)));
    }
}
