//! The master's side of one worker process that the engine need not know: its descriptors, its
//! pages, and what it leaves behind for whoever asks why it ended.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

use super::accounts::Account;
use super::host::Hire;
use super::{plain, telemetry};
use crate::limits::STDERR_TAIL;
use crate::shm::layout::{MAGIC, WorkerPage};
use crate::shm::map::{Mapped, Writable};
use crate::sys::children::{self, Ending};
use crate::sys::pidfd::Signal;
use crate::sys::spawn::{self, Progress};
use crate::units::{Generation, SeatId, WorkerId};

/// Lines of a dead worker's output that are told of.
const LAST_LINES: usize = 3;

/// One worker process.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) worker: WorkerId,
    pub(super) pid: u32,
    pub(super) seat: SeatId,
    pub(super) generation: Generation,
    pub(super) process: OwnedFd,
    pub(super) output: OwnedFd,
    pub(super) page: Mapped<WorkerPage, Writable>,
    /// What it has done, as last read.
    account: Account,
    /// What it tells until it is its program.
    report: Option<OwnedFd>,
    /// Why it could not become its program.
    pub(super) not_executed: Option<String>,
    pub(super) ending: Option<Ending>,
    /// The signal that the master sent, if any: its own SIGKILL needs no explanation.
    pub(super) sent: Option<Signal>,
    /// The last bytes of its output, to say why it died.
    tail: VecDeque<u8>,
    /// The beginning of a line of which the end has not come.
    line: Vec<u8>,
}

impl Member {
    pub(super) fn new(hire: Hire, child: spawn::Child, page: Mapped<WorkerPage, Writable>) -> Self {
        let Hire { worker, seat, generation } = hire;
        let spawn::Child { pid, pidfd: process, output, report } = child;
        Self {
            worker,
            pid,
            seat,
            generation,
            process,
            output,
            page,
            account: Account::default(),
            report: Some(report),
            not_executed: None,
            ending: None,
            sent: None,
            tail: VecDeque::new(),
            line: Vec::new(),
        }
    }

    /// How far it has got on its way to its program.
    pub(super) fn progress(&mut self) -> Progress {
        let progress = self.report.as_ref().map_or(Progress::Over, spawn::progress);
        if progress == Progress::Over {
            self.report = None;
        }
        progress
    }

    /// What it has done so far, by its own account, and how often it was woken for that.
    pub(super) fn account(&mut self, wakes: u64) -> Account {
        let board = &self.page.board;
        let now = Account {
            accepted: board.accepted.load(Relaxed),
            requests: board.finished.load(Relaxed),
            wakes,
            rings: board.rings.load(Relaxed),
        };
        self.account = now.no_less_than(self.account);
        self.account
    }

    /// Whether its program has taken up its link, as every program does that is made for dispatchd.
    pub(super) fn knows_dispatchd(&self) -> bool {
        self.page.head.magic.load(Relaxed) == MAGIC
    }

    /// Takes in a piece of output: the tail is kept, whole lines go to the log.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let surplus = self.tail.len().saturating_sub(STDERR_TAIL);
        self.tail.drain(..surplus);
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || STDERR_TAIL <= self.line.len() {
                telemetry::worker_line(self.seat, end_of_line_off(&self.line));
                self.line.clear();
            }
        }
    }

    /// How it ended, in words: code or signal, and its last lines.
    pub(super) fn obituary(&self) -> String {
        if let Some(text) = &self.not_executed {
            return text.clone();
        }
        let ending = match (self.ending, self.sent) {
            (None, _) => String::from("nobody can tell how: a debugger holds it"),
            (Some(Ending::Signal(libc::SIGKILL)), None) => {
                String::from("killed by SIGKILL, not by dispatchd: out of memory, or an operator")
            }
            (Some(ending), _) => how(ending),
        };
        match last_lines(&self.tail) {
            lines if lines.is_empty() => ending,
            lines => format!("{ending}; last output: {lines}"),
        }
    }
}

/// The last lines of an output, made one.
fn last_lines(tail: &VecDeque<u8>) -> String {
    let tail: Vec<u8> = tail.iter().copied().collect();
    let lines = tail.strip_suffix(b"\n").unwrap_or(&tail).rsplit(|byte| *byte == b'\n');
    let lines: Vec<&[u8]> = lines.take(LAST_LINES).map(end_of_line_off).collect();
    let lines = lines.into_iter().rev().filter(|line| !line.is_empty());
    lines.map(plain::bytes).collect::<Vec<_>>().join(" | ")
}

/// Lines may end as Windows ends them.
fn end_of_line_off(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// How a process ended, in words.
pub(super) fn how(ending: Ending) -> String {
    match ending {
        Ending::Code(code) => format!("exit code {code}"),
        Ending::Signal(number) => format!("killed by {}", children::signal_name(number)),
    }
}
