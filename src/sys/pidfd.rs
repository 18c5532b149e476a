//! Processes by descriptor: a pidfd never means another process, as a number would once it is
//! recycled, and its death is an event like any other.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::fd::{adopt, errno_of, last_errno};
use crate::units::Errno;

/// A signal that the master sends to a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// What can happen to a child that lives on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// SIGSTOP and its like: it does nothing until continued.
    Stopped,
    /// SIGCONT.
    Continued,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
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

/// Sends a signal.
///
/// # Errors
/// ESRCH when the process is gone already.
pub fn send(pidfd: &OwnedFd, signal: Signal) -> Result<(), Errno> {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open, a null siginfo asks for the default, no other memory is used.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, no_info, 0)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes the ending of a child; `None` while it lives.
///
/// # Errors
/// ECHILD when it is no child of ours, or was waited for before.
pub fn reap(pidfd: &OwnedFd) -> Result<Option<Ending>, Errno> {
    let status = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)
        .map_err(errno_of)?;
    Ok(match status {
        WaitStatus::Exited(_, code) => Some(Ending::Code(code)),
        WaitStatus::Signaled(_, signal, _) => Some(Ending::Signal(signal as i32)),
        WaitStatus::Stopped(..)
        | WaitStatus::PtraceEvent(..)
        | WaitStatus::PtraceSyscall(_)
        | WaitStatus::Continued(_)
        | WaitStatus::StillAlive => None,
    })
}

/// The last time that a child was stopped or continued, each told once; `None` when nothing is new.
///
/// # Errors
/// ECHILD when it is no child of ours.
pub fn change(pidfd: &OwnedFd) -> Result<Option<Change>, Errno> {
    let changes = WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG;
    Ok(match waitid(Id::PIDFd(pidfd.as_fd()), changes).map_err(errno_of)? {
        WaitStatus::Stopped(..) => Some(Change::Stopped),
        WaitStatus::Continued(_) => Some(Change::Continued),
        WaitStatus::Exited(..)
        | WaitStatus::Signaled(..)
        | WaitStatus::PtraceEvent(..)
        | WaitStatus::PtraceSyscall(_)
        | WaitStatus::StillAlive => None,
    })
}

/// The usual name of a signal, without its prefix.
pub fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}
