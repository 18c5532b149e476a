//! Signals as events: blocked for the process and read from a descriptor, so that no handler runs
//! in the middle of anything.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{
    SigAction, SigHandler, SigSet, SigmaskHow, Signal as Number, sigaction, signal,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::read;

use super::errno::errno_of;
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
pub struct HeldSignals(SigSet);

/// Holds back the signals that mean something here, so that none ends this process before anybody
/// listens; whatever else was held back when it was started is no longer.
pub fn hold() -> HeldSignals {
    let set = heard();
    HeldSignals(set.thread_swap_mask(SigmaskHow::SIG_SETMASK).unwrap_or(set))
}

impl HeldSignals {
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
    ignore_full_file()?;
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
    disposition(number) == Some(libc::SIG_IGN)
}

fn disposition(number: Number) -> Option<libc::sighandler_t> {
    // SAFETY: all fields are numbers or flags, for which zero is a value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    let number = number as libc::c_int;
    // SAFETY: nothing is changed, and the place for the answer is ours alone.
    let result = unsafe { libc::sigaction(number, std::ptr::null(), &raw mut now) };
    (result == 0).then_some(now.sa_sigaction)
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

/// Has a signal handled, unless this process handles or ignores it already.
///
/// # Errors
/// None that a valid signal number could cause.
///
/// # Safety
/// The handler makes only calls that are safe in a signal's context.
pub(super) unsafe fn handle_by_default(number: Number, action: &SigAction) -> Result<(), Errno> {
    if disposition(number) != Some(libc::SIG_DFL) {
        return Ok(());
    }
    // SAFETY: the caller vouches for the handler.
    unsafe { sigaction(number, action) }.map(drop).map_err(errno_of)
}

/// A write to a closed pipe answers EPIPE.
///
/// # Errors
/// None that a valid signal number could cause.
pub fn ignore_pipe() -> Result<(), Errno> {
    set_handler(Number::SIGPIPE, SigHandler::SigIgn)
}

/// A write beyond the limit on the sizes of files answers EFBIG.
///
/// # Errors
/// None that a valid signal number could cause.
pub fn ignore_full_file() -> Result<(), Errno> {
    set_handler(Number::SIGXFSZ, SigHandler::SigIgn)
}

/// The next signal that has come and means something, if any.
pub fn take(signals: impl AsFd) -> Option<Notice> {
    let signals = signals.as_fd();
    loop {
        let mut record = [0; RECORD];
        if read(signals, &mut record).ok()? != RECORD {
            return None;
        }
        if let Some(notice) = meaning(&record) {
            return Some(notice);
        }
    }
}

/// Size of `signalfd_siginfo`: the number, an error, where it comes from, and more.
const RECORD: usize = 128;

/// What a signal means that came with this record. The kernel itself sends SIGTTIN and SIGTTOU to a
/// job in the background of a terminal, when one of its processes reads or writes there: no order
/// of anybody's.
fn meaning(record: &[u8; RECORD]) -> Option<Notice> {
    let field = |at: usize| record[at..].first_chunk().copied().map(i32::from_ne_bytes);
    let (number, code) = (Number::try_from(field(0)?).ok()?, field(8)?);
    let (_, notice) = HEARD.iter().find(|(heard, _)| *heard == number)?;
    match notice {
        Notice::OneMore | Notice::OneLess if code == libc::SI_KERNEL => None,
        Notice::OneMore
        | Notice::OneLess
        | Notice::Terminate
        | Notice::Interrupt
        | Notice::Quit
        | Notice::Reload
        | Notice::Reopen
        | Notice::Upgrade
        | Notice::Children => Some(*notice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning_of(number: Number, code: i32) -> Option<Notice> {
        let mut record = [0xff; RECORD];
        record[..4].copy_from_slice(&(number as i32).to_ne_bytes());
        record[8..12].copy_from_slice(&code.to_ne_bytes());
        meaning(&record)
    }

    #[test]
    fn job_control_is_no_order() {
        for (number, notice) in HEARD {
            for code in [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL] {
                assert_eq!(meaning_of(number, code), Some(notice));
            }
            let for_jobs = matches!(number, Number::SIGTTIN | Number::SIGTTOU);
            let expected = (!for_jobs).then_some(notice);
            assert_eq!(meaning_of(number, libc::SI_KERNEL), expected, "{number}");
        }
        assert_eq!(meaning_of(Number::SIGURG, libc::SI_USER), None);
    }
}
