//! Which system calls a sandbox refuses, found out by making each in a way that changes nothing: a
//! kernel that knows a call answers that it was given nonsense, a filter that it may not be made.

#![expect(unsafe_code, reason = "system calls made in vain")]

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::errno::{errno_of, last_errno};
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

/// Whether so many bytes of memory can be shared, without which nothing works. Under a limit on the
/// sizes of files SIGXFSZ has to be ignored.
///
/// # Errors
/// What memfd_create, ftruncate or sealing says.
pub fn shared_memory(bytes: usize) -> Result<(), Errno> {
    memfd::create(c"dispatchd-doctor", bytes)
        .and_then(|memory| memfd::seal(&memory, Sealing::Writes))
}

/// Whether something can be made at this path: whether what exists of it can be written.
///
/// # Errors
/// EACCES, EROFS.
pub fn can_be_made(path: &Path) -> Result<(), Errno> {
    access(what_exists(path), AccessFlags::W_OK | AccessFlags::X_OK).map_err(errno_of)
}

fn what_exists(path: &Path) -> &Path {
    // Before a relative path comes the directory that this process is in.
    let here = |path: &'_ Path| path.as_os_str().is_empty();
    let ancestors = path.ancestors().map(|path| if here(path) { Path::new(".") } else { path });
    ancestors.into_iter().find(|ancestor| ancestor.exists()).unwrap_or_else(|| Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_vain_do_nothing_and_are_known_here() {
        assert_eq!(refused(), []);
        assert_eq!(shared_memory(4_096), Ok(()));
        assert_eq!(can_be_made(&std::env::temp_dir().join("no/such")), Ok(()));
        assert!(can_be_made(Path::new("/proc/self/status/no")).is_err());
    }

    #[test]
    fn a_relative_path_is_made_in_the_directory_of_the_process() {
        for (path, exists) in [("no/such", "."), ("src/no", "src"), ("/no/such", "/"), ("", ".")] {
            assert_eq!(what_exists(Path::new(path)), Path::new(exists), "{path:?}");
        }
    }
}
