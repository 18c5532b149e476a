//! Which system calls a sandbox refuses, found out by making each in a way that changes nothing: a
//! kernel that knows a call answers that it was given nonsense, a filter that it may not be made.

#![expect(unsafe_code, reason = "system calls made in vain")]

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::fd::{errno_of, last_errno};
use super::memfd::{self, Sealing};
use crate::units::Errno;

/// A system call that dispatchd makes where it can.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// What is worse without it.
    pub without: &'static str,
    number: libc::c_long,
    /// Arguments with which it does nothing.
    vain: [libc::c_long; 3],
}

const NOTHING: libc::c_long = -1;

/// All that are looked at.
pub(crate) const CALLS: [Call; 7] = [
    Call::new("clone3", "clone serves", libc::SYS_clone3, [0, 0, 0]),
    Call::new("close_range", "starting a worker takes longer", libc::SYS_close_range, [1, 0, 0]),
    Call::new(
        "execveat",
        "the built-in worker is found by its path",
        libc::SYS_execveat,
        [NOTHING, 0, 0],
    ),
    Call::new("pidfd_send_signal", "kill serves", libc::SYS_pidfd_send_signal, [NOTHING, 0, 0]),
    Call::new(
        "prctl",
        "workers hear of dispatchd's end by their channel alone",
        libc::SYS_prctl,
        [NOTHING, 0, 0],
    ),
    Call::new(
        "sched_setaffinity",
        "workers are not pinned",
        libc::SYS_sched_setaffinity,
        [NOTHING, 0, 0],
    ),
    Call::new(
        "sched_setattr",
        "the master competes with its workers for CPUs",
        libc::SYS_sched_setattr,
        [0, 0, 0],
    ),
];

impl Call {
    const fn new(
        name: &'static str,
        without: &'static str,
        number: libc::c_long,
        vain: [libc::c_long; 3],
    ) -> Self {
        Self { name, without, number, vain }
    }

    fn is_refused(self) -> bool {
        let [first, second, third] = self.vain;
        // SAFETY: with these arguments each of the calls above fails before it does anything, and
        // none of them is given memory of ours.
        let result = unsafe { libc::syscall(self.number, first, second, third, 0, 0) };
        result < 0 && matches!(last_errno(), Errno(libc::ENOSYS | libc::EPERM))
    }
}

/// Those that are refused here, all of which can be done without.
pub fn refused() -> Vec<Call> {
    CALLS.into_iter().filter(|call| call.is_refused()).collect()
}

/// Whether memory can be shared, without which nothing works.
///
/// # Errors
/// What memfd_create, or sealing, says.
pub fn shared_memory() -> Result<(), Errno> {
    memfd::create(c"dispatchd-doctor", 4_096)
        .and_then(|memory| memfd::seal(&memory, Sealing::Writes))
}

/// Whether something can be made at this path: whether what exists of it can be written.
///
/// # Errors
/// EACCES, EROFS.
pub fn can_be_made(path: &Path) -> Result<(), Errno> {
    let there =
        path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or_else(|| Path::new("/"));
    access(there, AccessFlags::W_OK | AccessFlags::X_OK).map_err(errno_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_vain_do_nothing_and_are_known_here() {
        assert_eq!(refused(), []);
        assert_eq!(shared_memory(), Ok(()));
        assert_eq!(can_be_made(&std::env::temp_dir().join("no/such")), Ok(()));
        assert!(can_be_made(Path::new("/proc/self/status/no")).is_err());
    }
}
