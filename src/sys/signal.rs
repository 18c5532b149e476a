//! Signals as events: blocked for the process and read from a descriptor, so that no handler runs
//! in the middle of anything.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal as Number, signal};
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
    /// SIGUSR1.
    Reopen,
    /// SIGUSR2.
    Upgrade,
    /// SIGTTIN.
    OneMore,
    /// SIGTTOU.
    OneLess,
    /// SIGCHLD: some child was stopped, continued, or ended.
    Children,
}

const HEARD: [(Number, Notice); 9] = [
    (Number::SIGTERM, Notice::Terminate),
    (Number::SIGINT, Notice::Interrupt),
    (Number::SIGQUIT, Notice::Quit),
    (Number::SIGHUP, Notice::Reload),
    (Number::SIGUSR1, Notice::Reopen),
    (Number::SIGUSR2, Notice::Upgrade),
    (Number::SIGTTIN, Notice::OneMore),
    (Number::SIGTTOU, Notice::OneLess),
    (Number::SIGCHLD, Notice::Children),
];

/// What signals were held back before [`hold`].
#[derive(Debug)]
pub struct Held(SigSet);

/// Holds back the signals that mean something here, so that none ends this process before anybody
/// listens; whatever else was held back when it was started is no longer.
pub fn hold() -> Held {
    let set = heard();
    Held(set.thread_swap_mask(SigmaskHow::SIG_SETMASK).unwrap_or(set))
}

impl Held {
    /// As it was.
    pub fn let_go(self) {
        self.0.thread_set_mask().unwrap_or_default();
    }
}

/// The descriptor from which the signals are read that [`hold`] holds back. What this process was
/// started to ignore it does not ignore any more: an ignored SIGCHLD would have its children vanish
/// without a word. SIGPIPE and SIGXFSZ are ignored, since a closed pipe and a full file are answers
/// to the write.
///
/// # Errors
/// EMFILE or ENOMEM.
pub fn listen() -> Result<OwnedFd, Errno> {
    for number in Number::iterator() {
        if is_ignored(number) {
            set_handler(number, SigHandler::SigDfl)?;
        }
    }
    ignore_pipe()?;
    set_handler(Number::SIGXFSZ, SigHandler::SigIgn)?;
    hold();
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&heard(), flags).map(Into::into).map_err(errno_of)
}

/// The descriptor from which the signals are read, from now on, that end a command which goes on by
/// itself: INT, TERM, QUIT and HUP.
///
/// # Errors
/// EMFILE or ENOMEM.
pub fn listen_for_the_end() -> Result<OwnedFd, Errno> {
    let numbers = [Number::SIGINT, Number::SIGTERM, Number::SIGQUIT, Number::SIGHUP];
    let set: SigSet = numbers.into_iter().collect();
    set.thread_block().map_err(errno_of)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&set, flags).map(Into::into).map_err(errno_of)
}

fn heard() -> SigSet {
    HEARD.iter().map(|(number, _)| *number).collect()
}

fn is_ignored(number: Number) -> bool {
    // SAFETY: all fields are numbers or flags, for which zero is a value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    let number = number as libc::c_int;
    // SAFETY: nothing is changed, and the place for the answer is ours alone.
    let result = unsafe { libc::sigaction(number, std::ptr::null(), &raw mut now) };
    result == 0 && now.sa_sigaction == libc::SIG_IGN
}

fn set_handler(number: Number, handler: SigHandler) -> Result<(), Errno> {
    // SAFETY: only the kernel's own two dispositions are set here, so that nothing can run in a
    // signal's context.
    match unsafe { signal(number, handler) } {
        // SIGKILL and SIGSTOP are nobody's to set.
        Ok(_) | Err(nix::errno::Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno_of(errno)),
    }
}

/// A write to a closed pipe answers EPIPE.
///
/// # Errors
/// None that a valid signal number could cause.
pub fn ignore_pipe() -> Result<(), Errno> {
    set_handler(Number::SIGPIPE, SigHandler::SigIgn)
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
