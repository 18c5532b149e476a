//! One worker process: the life that it leads, and what the engine remembers about it.
//!
//! ```text
//!              Executed        Hello       Drain         Overdue         Overdue
//!  Launching -----> Starting ---> Ready ---> Draining ---> Terminating --> Killing
//!      |                |            |           |               |             |
//!      +----------------+---------- Exited ------+---------------+-------------+
//!                                    |                                         |
//!                                    v                                         |
//!                                Reclaiming <------------- Overdue ------------+
//! ```
//!
//! It ends when what it had not claimed is back.

use super::super::capabilities::Capabilities;
use super::super::event::Cause;
use super::super::input::Terms;
use super::super::members::Record;
use crate::limits::{KILL_TIMEOUT, TERM_TIMEOUT};
use crate::units::{Generation, Mono, SlotId, Span};

/// Where a process is in its life. Every state that could last for ever by a fault has a deadline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkerState {
    /// Started, and not yet the program that it is to be: the kernel looks for that, and may wait
    /// for a scanner or for a file system.
    Launching {
        /// Deadline: the same for the hello.
        until: Mono,
    },
    /// Its program runs; it must say hello by then.
    Starting {
        /// Deadline.
        until: Mono,
    },
    /// It takes connections.
    Ready,
    /// It finishes what it has.
    Draining {
        /// Deadline.
        until: Mono,
    },
    /// It has been sent SIGTERM.
    Terminating {
        /// Deadline.
        until: Mono,
    },
    /// It has been sent SIGKILL.
    Killing {
        /// Deadline: if the process is there still it is left behind.
        until: Mono,
    },
    /// It is gone, or given up; what it has not claimed is being taken back.
    Reclaiming,
}

/// What can happen to a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cue {
    /// It has become its program.
    Executed,
    /// It said hello.
    Hello,
    /// It shall finish and leave.
    Drain,
    /// It shall leave now.
    Terminate,
    /// It shall be gone.
    Kill,
    /// Its state's deadline has passed.
    Overdue,
    /// It is gone.
    Exited,
}

/// What a change of state asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// It may be given connections.
    Employ,
    /// Tell it to finish.
    TellDrain,
    /// Send SIGTERM.
    SendTerm,
    /// Send SIGKILL.
    SendKill,
    /// Take back what it has not claimed.
    Recall,
}

/// How long states may last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// To become ready.
    pub start: Span,
    /// To finish.
    pub drain: Span,
}

impl WorkerState {
    /// That of a process that is started now.
    pub const fn launching(now: Mono, patience: Patience) -> Self {
        Self::Launching { until: now.after(patience.start) }
    }

    /// The state that `cue` leads to, and what that asks for; `None` when the cue means nothing
    /// here and is ignored.
    pub fn on(self, cue: Cue, now: Mono, patience: Patience) -> Option<(Self, Effect)> {
        let draining = Self::Draining { until: now.after(patience.drain) };
        let terminating = Self::Terminating { until: now.after(TERM_TIMEOUT) };
        let killing = Self::Killing { until: now.after(KILL_TIMEOUT) };
        match (self, cue) {
            (Self::Launching { until }, Cue::Executed) => {
                Some((Self::Starting { until }, Effect::Nothing))
            }
            // A word may be read before the news that somebody is there to say it.
            (Self::Launching { .. } | Self::Starting { .. }, Cue::Hello) => {
                Some((Self::Ready, Effect::Employ))
            }
            (Self::Ready, Cue::Drain) => Some((draining, Effect::TellDrain)),
            // One that is not up yet has nothing to finish.
            (Self::Starting { .. }, Cue::Drain | Cue::Terminate | Cue::Overdue)
            | (Self::Ready, Cue::Terminate)
            | (Self::Draining { .. }, Cue::Terminate | Cue::Overdue) => {
                Some((terminating, Effect::SendTerm))
            }
            // No program is there that could hear SIGTERM.
            (Self::Launching { .. }, Cue::Drain | Cue::Terminate | Cue::Overdue)
            | (Self::Terminating { .. }, Cue::Overdue)
            | (
                Self::Launching { .. }
                | Self::Starting { .. }
                | Self::Ready
                | Self::Draining { .. }
                | Self::Terminating { .. },
                Cue::Kill,
            ) => Some((killing, Effect::SendKill)),
            (
                Self::Launching { .. }
                | Self::Starting { .. }
                | Self::Ready
                | Self::Draining { .. }
                | Self::Terminating { .. }
                | Self::Killing { .. },
                Cue::Exited,
            )
            | (Self::Killing { .. }, Cue::Overdue) => Some((Self::Reclaiming, Effect::Recall)),
            // All that is left means nothing where it comes.
            (
                Self::Starting { .. }
                | Self::Ready
                | Self::Draining { .. }
                | Self::Terminating { .. }
                | Self::Killing { .. }
                | Self::Reclaiming,
                Cue::Executed
                | Cue::Hello
                | Cue::Drain
                | Cue::Terminate
                | Cue::Kill
                | Cue::Overdue
                | Cue::Exited,
            ) => None,
        }
    }

    /// Whether it is here to stay, as far as is known.
    pub const fn stays(self) -> bool {
        match self {
            Self::Launching { .. } | Self::Starting { .. } | Self::Ready => true,
            Self::Draining { .. }
            | Self::Terminating { .. }
            | Self::Killing { .. }
            | Self::Reclaiming => false,
        }
    }

    /// When this state must be left.
    pub const fn deadline(self) -> Option<Mono> {
        match self {
            Self::Launching { until }
            | Self::Starting { until }
            | Self::Draining { until }
            | Self::Terminating { until }
            | Self::Killing { until } => Some(until),
            Self::Ready | Self::Reclaiming => None,
        }
    }
}

/// One process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkerRecord {
    /// Where in its life.
    pub state: WorkerState,
    /// Whose place it takes.
    pub slot: SlotId,
    /// Its rollout.
    pub generation: Generation,
    /// What it can take.
    pub terms: Terms,
    /// What its link can do.
    pub capabilities: Capabilities,
    /// Whether it is stopped by a signal.
    pub stopped: bool,
    /// What it has done.
    pub record: Record,
    /// It asks to leave, and serves until another has its slot.
    pub leaving: bool,
    /// It has closed its channel, and is replaced then, unless it ends before.
    pub detached_until: Option<Mono>,
    /// Once it runs its program it has said hello by then, or that is told.
    pub hello_by: Option<Mono>,
    /// It is ready then, if it lives: it does not say hello.
    pub ready_at: Option<Mono>,
    /// When it became ready.
    pub ready_since: Option<Mono>,
    /// False words so far.
    pub violations: u32,
    /// Why it goes, once that is known.
    pub cause: Option<Cause>,
}

impl WorkerRecord {
    /// A process that has just been started.
    pub const fn new(
        slot: SlotId,
        generation: Generation,
        capabilities: Capabilities,
        state: WorkerState,
    ) -> Self {
        Self {
            state,
            slot,
            generation,
            terms: Terms { concurrency: 1, connections_max: 0 },
            capabilities,
            stopped: false,
            record: Record::Nothing,
            leaving: false,
            detached_until: None,
            hello_by: None,
            ready_at: None,
            ready_since: None,
            violations: 0,
            cause: None,
        }
    }

    /// Whether it has answered anything, by its own account.
    pub fn has_served(&self) -> bool {
        self.record == Record::Served
    }

    /// Whether there is a process.
    pub fn is_alive(&self) -> bool {
        match self.state {
            WorkerState::Reclaiming => false,
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Ready
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. } => true,
        }
    }
}
