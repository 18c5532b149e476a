//! What has happened to the children of this process, whoever started them: its workers, what it
//! took over with an exec, and, as the first process of a container, everybody's orphans. Whoever
//! does not ask keeps their zombies.

#![expect(unsafe_code, reason = "nix loses a child that was killed by a real-time signal")]

use std::mem::MaybeUninit;

use nix::errno::Errno as Number;

/// What has happened to one child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChildNews {
    /// The child's number. It means another process once the end of the child is taken in.
    pub pid: u32,
    /// What has happened.
    pub change: ChildChange,
}

/// What can happen to a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChildChange {
    /// SIGSTOP and its like: it does nothing until continued.
    Stopped,
    /// SIGCONT.
    Continued,
    /// It has ended, and nothing of it is left.
    Ended(Ending),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What has happened to some child and has not been taken in; `None` when nothing has. Of a child
/// that has ended while a debugger holds it nothing is told until it lets go.
pub fn next() -> Option<ChildNews> {
    wait_for(libc::P_ALL, 0, libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOWAIT)
}

/// Takes it in. Until then a child that has ended keeps its number, and that of its group.
pub fn take_in(news: ChildNews) {
    let change = match news.change {
        ChildChange::Stopped => libc::WSTOPPED,
        ChildChange::Continued => libc::WCONTINUED,
        ChildChange::Ended(_) => libc::WEXITED,
    };
    // If it has changed again in between, that is what is told of next.
    let _ = wait_for(libc::P_PID, news.pid, change);
}

fn wait_for(kind: libc::idtype_t, pid: u32, changes: i32) -> Option<ChildNews> {
    let mut place = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the place is as large as a siginfo_t and ours alone; the rest are numbers.
    let result = unsafe { libc::waitid(kind, pid, place.as_mut_ptr(), changes | libc::WNOHANG) };
    // It fails when there is no such child.
    Number::result(result).ok()?;
    // SAFETY: any bits are a siginfo_t, and those that the kernel has not written are zero.
    let info = unsafe { place.assume_init() };
    // SAFETY: the kernel writes the fields of SIGCHLD, or leaves them zero.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let pid = u32::try_from(pid).ok().filter(|pid| 0 < *pid)?;
    let change = match info.si_code {
        libc::CLD_EXITED => ChildChange::Ended(Ending::Code(status)),
        libc::CLD_KILLED | libc::CLD_DUMPED => ChildChange::Ended(Ending::Signal(status)),
        libc::CLD_CONTINUED => ChildChange::Continued,
        // CLD_STOPPED, and CLD_TRAPPED, which nobody here traces for.
        _ => ChildChange::Stopped,
    };
    Some(ChildNews { pid, change })
}

/// The usual name of a signal, without its prefix.
pub fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}
