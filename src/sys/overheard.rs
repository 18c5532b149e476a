//! Signals that mean something to the master alone, and that workers hear of by the way:
//! `pkill -HUP dispatchd` reaches whoever has the name. By default they would end a worker, or stop
//! it, in the middle of its work.
//!
//! They are handled and not ignored, since whatever this process executes would inherit that.

#![expect(unsafe_code, reason = "signals' handlers")]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::signal::handle_by_default;

/// Has them do nothing, unless this process handles or ignores them already. The kernel goes on to
/// stop what reads from a terminal, or writes to it, out of turn.
pub fn overhear() {
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        let nothing = SigHandler::Handler(nothing);
        let nothing = SigAction::new(nothing, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { handle_by_default(signal, &nothing) }.unwrap_or_default();
    }
    for signal in [Signal::SIGTTIN, Signal::SIGTTOU] {
        let job_control = SigHandler::SigAction(job_control);
        let job_control = SigAction::new(job_control, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler makes only calls that are safe in a signal's context (see there).
        unsafe { handle_by_default(signal, &job_control) }.unwrap_or_default();
    }
}

const extern "C" fn nothing(_signal: libc::c_int) {}

/// It makes one system call, which leaves errno as it was, and touches nothing of the process.
extern "C" fn job_control(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands over one that is valid until the handler returns.
    let code = unsafe { (*info).si_code };
    if code == libc::SI_KERNEL
        && let Ok(signal) = Signal::try_from(signal)
    {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // What this process was about to do is begun again, and stops it then. When it goes on, the
        // signal stays at its default: nobody can tell the stop from one that somebody sent.
        // SAFETY: the kernel's own disposition runs nothing of ours.
        let _ = unsafe { sigaction(signal, &default) };
    }
}

/// Sends this thread a signal that is overheard.
#[cfg(test)]
pub(crate) fn disturbance() -> impl Fn() + Send {
    use nix::sys::pthread::{pthread_kill, pthread_self};
    let thread = pthread_self();
    move || pthread_kill(thread, Signal::SIGUSR1).unwrap()
}
