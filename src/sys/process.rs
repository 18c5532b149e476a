//! What the kernel knows about this process as a whole, and which others there are.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::errno::errno_of;
use crate::units::Errno;

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
