//! The master's side of one worker process that the engine need not know: its descriptors, its
//! pages, and what it leaves behind for whoever asks why it ended.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

use super::accounts::Account;
use super::host::SpawnRequest;
use super::output::Output;
use crate::engine::event::Cause;
use crate::shm::layout::WorkerPage;
use crate::sys::children::{self, Ending};
use crate::sys::pidfd::{self, Signal};
use crate::sys::spawn::{self, SpawnProgress};
use crate::units::{Generation, SlotId};

/// One worker process.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) pid: u32,
    pub(super) slot: SlotId,
    pub(super) generation: Generation,
    pub(super) pidfd: OwnedFd,
    pub(super) output: Output,
    /// What it has done, as last read.
    pub(super) account: Account,
    /// What it tells until it is its program.
    report: Option<OwnedFd>,
    /// Why it could not become its program.
    pub(super) not_executed: Option<String>,
    pub(super) ending: Option<Ending>,
    /// The signal that the master sent, if any: its own SIGKILL needs no explanation.
    pub(super) sent: Option<Signal>,
}

impl WorkerProcess {
    pub(super) fn new(request: SpawnRequest, child: spawn::Child) -> Self {
        let SpawnRequest { worker, slot, generation } = request;
        let spawn::Child { pid, pidfd, output, report } = child;
        Self {
            pid,
            slot,
            generation,
            pidfd,
            output: Output::new(worker, slot, output),
            account: Account::default(),
            report: Some(report),
            not_executed: None,
            ending: None,
            sent: None,
        }
    }

    /// How far it has got on its way to its program.
    pub(super) fn progress(&mut self) -> SpawnProgress {
        let progress = self.report.as_ref().map_or(SpawnProgress::Over, spawn::progress);
        if progress == SpawnProgress::Over {
            self.report = None;
        }
        progress
    }

    /// Takes note of its end. What it started goes on with what it does, unless it was time for all
    /// of it to end.
    pub(super) fn ended(&mut self, ending: Ending) {
        self.ending = Some(ending);
        match self.sent {
            None => {}
            Some(Signal::Terminate | Signal::Kill) => pidfd::kill_group(self.pid),
        }
    }

    /// What it has done so far, by its own account, and how often it was woken for that.
    pub(super) fn account(&mut self, page: &WorkerPage, wakes: u64) -> Account {
        let board = &page.board;
        let now = Account {
            accepted: board.accepted.load(Relaxed),
            requests: board.finished.load(Relaxed),
            wakes,
            rings: board.rings.load(Relaxed),
        };
        self.account = now.no_less_than(self.account);
        self.account
    }

    /// How it ended, in words: code or signal, and its last lines.
    pub(super) fn exit_summary(&self, cause: Cause) -> String {
        if let Some(text) = &self.not_executed {
            return text.clone();
        }
        let ending = match (self.ending, self.sent) {
            (None, _) if cause == Cause::Unkillable => {
                String::from("SIGKILL has not ended it: it was left behind")
            }
            (None, _) => String::from("nobody can tell how: a debugger holds it"),
            (Some(Ending::Signal(libc::SIGKILL)), None) => {
                String::from("killed by SIGKILL, not by dispatchd: out of memory, or an operator")
            }
            (Some(ending), _) => how(ending),
        };
        match self.output.last_lines() {
            words if words.is_empty() => ending,
            words => format!("{ending}; last output: {words}"),
        }
    }
}

/// How a process ended, in words.
pub(super) fn how(ending: Ending) -> String {
    match ending {
        Ending::Code(code) => format!("exit code {code}"),
        Ending::Signal(number) => format!("killed by {}", children::signal_name(number)),
    }
}
