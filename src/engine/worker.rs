//! One worker process: the life that it leads, and what the engine remembers about it.
//!
//! ```text
//!        Spawn         Executed        Hello       Drain         Overdue         Overdue
//!  Vacant ---> Launching -----> Starting ---> Ready ---> Draining ---> Terminating --> Killing
//!    ^             |               |            |           |               |             |
//!    |             +---------------+----------- Exited -----+---------------+-------------+
//!    +--- Buried --- Reclaiming <------------------+----------------- Overdue ------------+
//! ```

use super::backoff::Record;
use super::event::Cause;
use super::input::{Load, Terms};
use crate::limits::{KILL_TIMEOUT, TERM_TIMEOUT};
use crate::units::{Generation, Mono, SlotId, Span};

/// Where a process is in its life. Every state that could last for ever by a fault has a deadline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkerState {
    /// No process.
    Vacant,
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
    Reclaiming {
        /// Offers that came back so far.
        recovered: u32,
    },
}

/// What can happen to a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cue {
    /// It was started.
    Spawn,
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
    /// What it had not claimed is back.
    Buried,
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
    /// The state that `cue` leads to, and what that asks for; `None` when the cue means nothing
    /// here and is ignored.
    pub fn on(self, cue: Cue, now: Mono, patience: Patience) -> Option<(Self, Effect)> {
        let launching = Self::Launching { until: now.after(patience.start) };
        let draining = Self::Draining { until: now.after(patience.drain) };
        let terminating = Self::Terminating { until: now.after(TERM_TIMEOUT) };
        let killing = Self::Killing { until: now.after(KILL_TIMEOUT) };
        match (self, cue) {
            (Self::Vacant, Cue::Spawn) => Some((launching, Effect::Nothing)),
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
            | (Self::Killing { .. }, Cue::Overdue) => {
                Some((Self::Reclaiming { recovered: 0 }, Effect::Recall))
            }
            (Self::Reclaiming { .. }, Cue::Buried) => Some((Self::Vacant, Effect::Nothing)),
            // All that is left means nothing where it comes.
            (
                Self::Vacant
                | Self::Launching { .. }
                | Self::Starting { .. }
                | Self::Ready
                | Self::Draining { .. }
                | Self::Terminating { .. }
                | Self::Killing { .. }
                | Self::Reclaiming { .. },
                Cue::Spawn
                | Cue::Executed
                | Cue::Hello
                | Cue::Drain
                | Cue::Terminate
                | Cue::Kill
                | Cue::Overdue
                | Cue::Exited
                | Cue::Buried,
            ) => None,
        }
    }

    /// Whether it is here to stay, as far as is known.
    pub const fn stays(self) -> bool {
        match self {
            Self::Launching { .. } | Self::Starting { .. } | Self::Ready => true,
            Self::Vacant
            | Self::Draining { .. }
            | Self::Terminating { .. }
            | Self::Killing { .. }
            | Self::Reclaiming { .. } => false,
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
            Self::Vacant | Self::Ready | Self::Reclaiming { .. } => None,
        }
    }
}

/// Whether offers reach a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attention {
    /// As far as is known.
    Prompt,
    /// Its channel is full, until it says anything or then.
    Full {
        /// Deadline.
        until: Mono,
    },
    /// Offers were taken back from it; it is tried again when it says anything.
    Overdue {
        /// When they were first taken back, or it was last looked at for its silence.
        since: Mono,
    },
}

impl Attention {
    /// When a worker is tried again though it has said nothing.
    pub const fn deadline(self) -> Option<Mono> {
        match self {
            Self::Prompt | Self::Overdue { .. } => None,
            Self::Full { until } => Some(until),
        }
    }
}

/// One process, by its index in the table of processes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkerRecord {
    /// How many occupants the index has had before.
    pub epoch: u32,
    /// Where in its life.
    pub state: WorkerState,
    /// Whose place it takes.
    pub slot: SlotId,
    /// Its rollout.
    pub generation: Generation,
    /// What it can take.
    pub terms: Terms,
    /// Offers that it has not claimed.
    pub offered: u32,
    /// When it was last offered something.
    pub offered_at: Mono,
    /// Requests of its connections that hold a credit.
    pub running: u32,
    /// Long requests among those offered and running.
    pub longs: u32,
    /// Offers taken back that it has not come upon, as far as it said.
    pub recalled: u32,
    /// Of those, the ones that it had left lying.
    pub overdue: u32,
    /// Its own account, as last read.
    pub load: Load,
    /// Whether offers reach it.
    pub attention: Attention,
    /// Whether it is stopped by a signal.
    pub stopped: bool,
    /// It has claimed something.
    pub has_begun: bool,
    /// It asks to leave, and serves until another has its slot.
    pub leaving: bool,
    /// It has closed its channel, and is replaced then, unless it ends before.
    pub detached_until: Option<Mono>,
    /// Once it runs its program it has said hello by then, or that is told.
    pub hello_by: Option<Mono>,
    /// When it became ready.
    pub ready_since: Option<Mono>,
    /// False words so far.
    pub violations: u32,
    /// Why it goes, once that is known.
    pub cause: Option<Cause>,
}

impl WorkerRecord {
    /// An index that has had no process yet.
    pub const VACANT: Self = Self {
        epoch: 0,
        state: WorkerState::Vacant,
        slot: SlotId(0),
        generation: Generation(0),
        terms: Terms { concurrency: 1, connections_max: 0 },
        offered: 0,
        offered_at: Mono::ZERO,
        running: 0,
        longs: 0,
        recalled: 0,
        overdue: 0,
        load: Load::NONE,
        attention: Attention::Prompt,
        stopped: false,
        has_begun: false,
        leaving: false,
        detached_until: None,
        hello_by: None,
        ready_since: None,
        violations: 0,
        cause: None,
    };

    /// The next use of this index.
    pub fn next_occupant(&self, slot: SlotId, generation: Generation) -> Self {
        Self { epoch: self.epoch.wrapping_add(1), slot, generation, ..Self::VACANT }
    }

    /// When it is given up, if it says nothing before: it left lying what it was offered.
    pub fn gives_up_at(&self, stall_timeout: Span) -> Option<Mono> {
        match self.attention {
            Attention::Overdue { since } if self.is_alive() && !self.stopped => {
                Some(since.after(stall_timeout))
            }
            Attention::Overdue { .. } | Attention::Prompt | Attention::Full { .. } => None,
        }
    }

    /// Requests in flight: our own count of what is credited, or its account, whichever is more;
    /// the account is older, and our count does not know of later keep-alive requests.
    pub fn in_flight(&self) -> u32 {
        self.offered + self.running.max(self.load.in_flight)
    }

    /// Whether a request runs there, as far as is known.
    pub fn is_serving(&self) -> bool {
        0 < self.running || 0 < self.load.in_flight
    }

    /// Whether it has answered anything, by its own account.
    pub const fn has_served(&self) -> bool {
        0 < self.load.finished
    }

    /// What it has done.
    pub const fn record(&self) -> Record {
        if self.has_served() {
            Record::Served
        } else if self.has_begun || 0 < self.load.connections {
            Record::Begun
        } else {
            Record::Nothing
        }
    }

    /// Whether a long request keeps it from beginning with anything else.
    pub const fn is_held_up(&self) -> bool {
        0 < self.longs && self.terms.concurrency == 1
    }

    /// Whether there is a process.
    pub fn is_alive(&self) -> bool {
        match self.state {
            WorkerState::Vacant | WorkerState::Reclaiming { .. } => false,
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Ready
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. } => true,
        }
    }
}
