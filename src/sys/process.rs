//! What the kernel knows about this process as a whole, and which others there are.
#![expect(unsafe_code, reason = "nix has no scheduling classes")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fd::{errno_of, last_errno};
use crate::units::Errno;

/// A scheduling class, as the kernel numbers it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Class(i32);

impl Class {
    /// Runs when a CPU is free or its share is due, and takes none away from whoever works.
    pub const BATCH: Self = Self(libc::SCHED_BATCH);

    /// The class of this process.
    ///
    /// # Errors
    /// EPERM in a sandbox.
    pub fn current() -> Result<Self, Errno> {
        // SAFETY: sched_getscheduler takes a number; 0 is this process.
        let class = unsafe { libc::sched_getscheduler(0) };
        if class < 0 { Err(last_errno()) } else { Ok(Self(class)) }
    }

    /// Puts this process into the class. Allocates nothing: it may be called between fork and
    /// exec.
    ///
    /// # Errors
    /// EPERM in a sandbox, or for a real-time class.
    pub fn enter(self) -> Result<(), Errno> {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the parameters are valid and outlive the call; 0 is this process.
        let result = unsafe { libc::sched_setscheduler(0, self.0, &raw const parameters) };
        if result < 0 { Err(last_errno()) } else { Ok(()) }
    }
}

/// The numbers of all processes that can be seen; empty without /proc.
pub fn all() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Stops a process (SIGSTOP) until it is resumed.
///
/// # Errors
/// ESRCH when there is no such process, EPERM when it is somebody else's.
pub fn stop(pid: u32) -> Result<(), Errno> {
    signal(pid, Signal::SIGSTOP)
}

/// Lets a stopped process go on (SIGCONT).
///
/// # Errors
/// ESRCH when there is no such process, EPERM when it is somebody else's.
pub fn resume(pid: u32) -> Result<(), Errno> {
    signal(pid, Signal::SIGCONT)
}

fn signal(pid: u32, signal: Signal) -> Result<(), Errno> {
    let pid = i32::try_from(pid).map_err(|_| Errno(libc::ESRCH))?;
    kill(Pid::from_raw(pid), signal).map_err(errno_of)
}

/// The user whose rights this process has.
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}
