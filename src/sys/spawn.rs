//! Starting a worker: always by exec, in a process group of its own (so that the terminal's ^C is
//! the master's to interpret), with unblocked signals, with exactly the descriptors it shall have,
//! and with a SIGTERM in store for when the master dies. The last can be had alone, for processes
//! that are no workers.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::fd::{errno_of, set_nonblocking};
use super::pidfd;
use super::process::Class;
use crate::units::Errno;

/// The first descriptor that a worker finds beyond the standard three.
pub const FIRST_FD: i32 = 3;

/// What to start, and with what.
#[derive(Debug)]
pub struct Order<'a> {
    /// Path, or name to be found in PATH.
    pub program: &'a OsStr,
    /// Arguments behind the program's name.
    pub args: &'a [OsString],
    /// Variables to set.
    pub env: &'a [(&'static str, String)],
    /// Variables to take away.
    pub env_remove: &'a [&'static str],
    /// The scheduling class to run in; none: as this process.
    pub class: Option<Class>,
    /// Descriptors that the worker finds under [`FIRST_FD`] and up, in this order.
    pub fds: &'a [BorrowedFd<'a>],
}

/// A process that was started.
#[derive(Debug)]
pub struct Child {
    /// Its number, for people.
    pub pid: u32,
    /// The process itself; readable when it has ended.
    pub pidfd: OwnedFd,
    /// What it writes to standard output and standard error; non-blocking.
    pub output: OwnedFd,
}

/// Starts it. Returns once the exec has succeeded or failed.
///
/// # Errors
/// What pipe, fork, exec or `pidfd_open` say: ENOENT for a missing program, EACCES for one that is
/// not executable, EAGAIN at the limit of processes.
pub fn spawn(order: &Order<'_>) -> Result<Child, Errno> {
    let (output, input) = pipe2(OFlag::O_CLOEXEC).map_err(errno_of)?;
    set_nonblocking(&output)?;
    let input_again = input.try_clone().map_err(|error| errno_of_io(&error))?;
    let mut command = Command::new(order.program);
    command
        .args(order.args)
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::from(input))
        .stderr(Stdio::from(input_again))
        .process_group(0);
    for name in order.env_remove {
        command.env_remove(name);
    }
    let sources: Vec<i32> = order.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let master = nix::unistd::getpid();
    let class = order.class;
    let prepare = move || prepare_child(&sources, class, master).map_err(io::Error::from);
    // SAFETY: between fork and exec the closure makes system calls only: it allocates nothing,
    // takes no lock, and `sources` was filled before the fork.
    unsafe { command.pre_exec(prepare) };
    let mut child = command.spawn().map_err(|error| errno_of_io(&error))?;
    let pid = child.id();
    match pidfd::open(pid) {
        Ok(pidfd) => Ok(Child { pid, pidfd, output }),
        Err(errno) => {
            // Without a descriptor nobody would learn of its end: it must not live.
            drop(child.kill());
            drop(child.wait());
            Err(errno)
        }
    }
}

/// Runs in the child, before exec.
fn prepare_child(
    sources: &[i32],
    class: Option<Class>,
    master: nix::unistd::Pid,
) -> nix::Result<()> {
    if let Some(Err(Errno(errno))) = class.map(Class::enter) {
        return Err(nix::errno::Errno::from_raw(errno));
    }
    place_descriptors(sources)?;
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    end_with(master)
}

/// Has the process that `command` will start told to end (SIGTERM) when this one does, however this
/// one ends.
pub fn tie(command: &mut Command) {
    let parent = nix::unistd::getpid();
    // SAFETY: between fork and exec the closure makes two system calls; it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(move || end_with(parent).map_err(io::Error::from)) };
}

/// Runs in a child.
fn end_with(parent: nix::unistd::Pid) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    // It may have died before the line above.
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH) }
}

/// Puts each source under its number: all are first moved out of the way, since a source may stand
/// where another one is to go. Whatever lies beyond is closed by the exec.
fn place_descriptors(sources: &[i32]) -> nix::Result<()> {
    let end = FIRST_FD + i32::try_from(sources.len()).unwrap_or(0);
    let mut copies = [0; COPIES_MAX];
    for (source, copy) in sources.iter().zip(&mut copies) {
        // SAFETY: F_DUPFD_CLOEXEC takes numbers only; the source is open in this copy of the
        // master.
        let raw = unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, end) };
        *copy = nix::errno::Errno::result(raw)?;
    }
    for (copy, target) in copies.iter().take(sources.len()).zip(FIRST_FD..) {
        // SAFETY: dup2 takes numbers only; nothing in this process owns the target any more, for
        // it is about to be another program.
        let raw = unsafe { libc::dup2(*copy, target) };
        nix::errno::Errno::result(raw)?;
    }
    let first = u32::try_from(end).unwrap_or(3);
    let cloexec = i32::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(0);
    // SAFETY: close_range with CLOEXEC marks descriptors and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, cloexec) };
    nix::errno::Errno::result(result).map(drop)
}

/// Descriptors that one worker can be given.
pub const COPIES_MAX: usize = 80;

fn errno_of_io(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
