//! All that is worth telling: the third vocabulary, the one source of log lines, of counters and
//! of what the simulator asserts.

use crate::units::{Generation, SlotId, Span, WorkerId};

/// One thing worth telling. Nothing is told per connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A process was started.
    Starting {
        /// Who.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
        /// In which rollout.
        generation: Generation,
    },
    /// It said hello.
    Ready {
        /// Who.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
        /// In which rollout.
        generation: Generation,
    },
    /// Its program runs, and has not said hello for longer than one takes that is made for it.
    Unspoken {
        /// Who.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
    },
    /// It was asked to finish and leave.
    Draining {
        /// Who.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
    },
    /// It is gone.
    Gone {
        /// Who.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
        /// Why, as far as the engine knows; the shell adds code, signal and last words.
        cause: Cause,
        /// Offers that it had not claimed: they go to others.
        recovered: u32,
        /// Connections that it had begun with: they are lost with it.
        lost: u32,
    },
    /// Its slot will be filled again after a pause.
    Restarting {
        /// Where.
        slot: SlotId,
        /// After how long.
        after: Span,
    },
    /// Fewer workers are ready than wanted, or again as many.
    Strength {
        /// Ready workers.
        have: u16,
        /// Wanted workers.
        want: u16,
    },
    /// A worker that serves nothing left an offer unclaimed: all its offers are taken back.
    Stalled {
        /// Who.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
        /// Offers that it had not claimed, as far as was known.
        recalled: u32,
    },
    /// A worker said what no honest worker says.
    Lied {
        /// Who.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
        /// How often so far.
        times: u32,
    },
    /// No more may wait, or there is room again.
    Hold {
        /// Whether the hold queue is at its limit.
        full: bool,
    },
    /// Accepting stops for want of descriptors or memory.
    AcceptPaused,
    /// Accepting goes on.
    AcceptResumed,
    /// The kernel refuses waits: what happens is noticed late.
    WatchesFail,
    /// It refuses none any more.
    WatchesResumed,
    /// Handing over stops: too many descriptors are on their way in this user's name.
    OffersPaused,
    /// Handing over goes on.
    OffersResumed,
    /// A rollout began.
    RolloutStarted(Generation),
    /// Every slot has its new worker.
    RolloutDone(Generation),
    /// New workers did not become ready, or died soon after: the old ones have their slots again.
    RolloutAborted {
        /// What the new workers belonged to.
        generation: Generation,
        /// The one that was too many.
        worker: WorkerId,
        /// Where.
        slot: SlotId,
    },
    /// One worker more was wanted, and there is none.
    NotGrown(Shortage),
    /// Log files were to be opened anew, and there are none.
    NoLogFiles,
    /// The program was to be replaced by a newer one, which it cannot do.
    NoUpgrade,
    /// The kernel gives no process: some workers are missing until it does.
    ProcessesLacking,
    /// Everybody who is wanted has a process again.
    ProcessesSuffice,
    /// The master stops.
    Stopping,
}

impl Event {
    /// The worker that it is about.
    pub const fn worker(self) -> Option<WorkerId> {
        match self {
            Self::Starting { worker, .. }
            | Self::Ready { worker, .. }
            | Self::Unspoken { worker, .. }
            | Self::Draining { worker, .. }
            | Self::Gone { worker, .. }
            | Self::RolloutAborted { worker, .. }
            | Self::Stalled { worker, .. }
            | Self::Lied { worker, .. } => Some(worker),
            Self::Restarting { .. }
            | Self::Strength { .. }
            | Self::Hold { .. }
            | Self::AcceptPaused
            | Self::AcceptResumed
            | Self::OffersPaused
            | Self::OffersResumed
            | Self::WatchesFail
            | Self::WatchesResumed
            | Self::RolloutStarted(_)
            | Self::RolloutDone(_)
            | Self::NotGrown(_)
            | Self::NoLogFiles
            | Self::NoUpgrade
            | Self::ProcessesLacking
            | Self::ProcessesSuffice
            | Self::Stopping => None,
        }
    }
}

/// What there is too little of for one worker more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shortage {
    /// Places for workers.
    Slots,
    /// Descriptors.
    OpenFiles,
}

/// Why a worker is gone, as far as the engine can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// It was told to.
    Told,
    /// It left by itself, with exit code 0 and after it had answered requests: it lets itself be
    /// started anew.
    Left,
    /// It died by itself, or left before it had done anything.
    Died,
    /// Its program was not executed in time.
    ExecTimedOut,
    /// It was not ready in time.
    NotReady,
    /// It did not finish in time.
    DrainTimeout,
    /// It left offers unclaimed for too long.
    Stalled,
    /// It closed its channel, and did not end.
    Detached,
    /// It could not be killed, and is left behind.
    Unkillable,
    /// It lied.
    Lied,
    /// Its program could not be executed.
    ExecFailed,
    /// There was no process to be had for it.
    NoProcess,
}

impl Cause {
    /// Whether the end of a worker says something of its program.
    pub const fn is_the_programs(self) -> bool {
        match self {
            Self::Died
            | Self::ExecTimedOut
            | Self::NotReady
            | Self::Stalled
            | Self::Detached
            | Self::Lied
            | Self::ExecFailed => true,
            Self::Told | Self::Left | Self::DrainTimeout | Self::Unkillable | Self::NoProcess => {
                false
            }
        }
    }
}
