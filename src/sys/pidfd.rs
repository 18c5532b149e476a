//! Processes by descriptor: a pidfd never means another process, as a number would once it is
//! recycled, and its death is an event like any other.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

use std::os::fd::{AsRawFd, OwnedFd};

use super::errno::{errno_of, last_errno};
use super::fd::adopt;
use crate::units::Errno;

/// A signal that the master sends to a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A descriptor for a child that has not been waited for, close-on-exec.
///
/// # Errors
/// EMFILE or ENOMEM; ESRCH when there is no such process.
pub fn open(pid: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes two numbers and touches no memory of ours.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(raw) {
        Ok(raw) if 0 <= raw => Ok(adopt(raw)),
        Ok(_) | Err(_) => Err(last_errno()),
    }
}

/// Sends a signal to a child that has not been waited for, whose number is `pid`.
///
/// # Errors
/// ESRCH when the process is gone already.
pub fn send(pidfd: &OwnedFd, pid: u32, signal: Signal) -> Result<(), Errno> {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open, a null siginfo asks for the default, no other memory is used.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, no_info, 0)
    };
    match (result, last_errno()) {
        (0, _) => Ok(()),
        // A sandbox that does not know the call. Until it is waited for the number is its own.
        (_, Errno(libc::ENOSYS | libc::EPERM)) => {
            let pid = i32::try_from(pid).map_err(|_| Errno(libc::ESRCH))?;
            let signal = nix::sys::signal::Signal::try_from(number).map_err(errno_of)?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).map_err(errno_of)
        }
        (_, errno) => Err(errno),
    }
}

/// Sends SIGKILL to the group that was made for a child whose end has not been taken in, and whose
/// number is `pid`: to whatever it started and did not put into another. Only until then can the
/// number be nobody else's.
pub fn kill_group(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let group = nix::unistd::Pid::from_raw(pid);
        // Nobody may be in it any more, and there is none where a sandbox allowed none.
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap_or_default();
    }
}
