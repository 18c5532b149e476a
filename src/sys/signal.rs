//! Signals as events: blocked for the process and read from a descriptor, so that no handler runs
//! in the middle of anything.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigHandler, SigSet, Signal as Number, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::read;

use super::fd::errno_of;
use crate::units::Errno;

/// What an operator can say by signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Reload,
    /// SIGTTIN.
    OneMore,
    /// SIGTTOU.
    OneLess,
    /// SIGCHLD: some child was stopped, continued, or ended.
    Children,
}

const HEARD: [(Number, Notice); 7] = [
    (Number::SIGTERM, Notice::Terminate),
    (Number::SIGINT, Notice::Interrupt),
    (Number::SIGQUIT, Notice::Quit),
    (Number::SIGHUP, Notice::Reload),
    (Number::SIGTTIN, Notice::OneMore),
    (Number::SIGTTOU, Notice::OneLess),
    (Number::SIGCHLD, Notice::Children),
];

/// Blocks the signals that mean something here and returns the descriptor that they are read from;
/// SIGPIPE is ignored, since a closed pipe is an answer to the write.
///
/// # Errors
/// EMFILE or ENOMEM.
pub fn listen() -> Result<OwnedFd, Errno> {
    ignore_pipe()?;
    let set: SigSet = HEARD.iter().map(|(number, _)| *number).collect();
    set.thread_block().map_err(errno_of)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&set, flags).map(Into::into).map_err(errno_of)
}

/// A write to a closed pipe answers EPIPE.
///
/// # Errors
/// None that a valid signal number could cause.
pub fn ignore_pipe() -> Result<(), Errno> {
    // SAFETY: SIG_IGN is no function of ours, so nothing can run in a signal's context.
    unsafe { signal(Number::SIGPIPE, SigHandler::SigIgn) }.map(drop).map_err(errno_of)
}

/// The next signal that has come, if any.
pub fn take(signals: impl AsFd) -> Option<Notice> {
    /// Size of `signalfd_siginfo`, whose first four bytes are the number.
    const RECORD: usize = 128;
    let mut record = [0; RECORD];
    let filled = read(signals, &mut record).ok()?;
    let number = i32::from_ne_bytes(*record.first_chunk().filter(|_| filled == RECORD)?);
    let number = Number::try_from(number).ok()?;
    HEARD.iter().find(|(heard, _)| *heard == number).map(|(_, notice)| *notice)
}
