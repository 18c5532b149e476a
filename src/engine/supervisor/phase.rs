//! Where the whole app is in its life, and how that ends.

use super::super::action::{Action, Actions, MasterOutcome};
use super::super::event::Event;
use super::super::members::{Backlog, MemberChange};
use super::Supervisor;
use super::worker::Cue;
use crate::units::Mono;

/// Where the whole app is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// No worker has ever been ready.
    Opening {
        /// Workers that died meanwhile.
        deaths: u32,
        /// When it is given up if no process can be had.
        until: Mono,
    },
    /// It serves.
    Serving,
    /// It finishes: first what the backlogs hold, then what the workers have.
    Stopping {
        /// When patience ends.
        until: Mono,
        /// How far it got.
        stage: StopStage,
    },
    /// Every process is being ended.
    Ending(MasterOutcome),
    /// Nothing is left.
    Over,
}

/// How far a graceful stop got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StopStage {
    /// The backlogs are being swept.
    Sweeping,
    /// What waits is being placed.
    Placing,
    /// The workers finish.
    Draining,
}

impl Phase {
    /// Whether connections are accepted.
    pub(super) const fn accepts(self) -> bool {
        match self {
            Self::Opening { .. } | Self::Serving => true,
            Self::Stopping { .. } | Self::Ending(_) | Self::Over => false,
        }
    }

    /// When patience ends.
    pub(super) const fn deadline(self) -> Option<Mono> {
        match self {
            Self::Stopping { until, .. } => Some(until),
            Self::Opening { .. } | Self::Serving | Self::Ending(_) | Self::Over => None,
        }
    }
}

impl Supervisor {
    pub(super) fn stop(&mut self, now: Mono, out: &mut Actions) {
        if !self.phase.accepts() {
            return;
        }
        out.emit(Event::Stopping);
        if let Phase::Opening { .. } = self.phase {
            return self.end(now, MasterOutcome::Done, out);
        }
        let until = now.after(self.patience.drain);
        self.phase = Phase::Stopping { until, stage: StopStage::Sweeping };
        out.push(Action::CloseListeners);
        self.changes.push(MemberChange::Closed);
    }

    /// Ends every process and everything that waits.
    pub(super) fn end(&mut self, now: Mono, outcome: MasterOutcome, out: &mut Actions) {
        match self.phase {
            Phase::Ending(_) | Phase::Over => return,
            Phase::Opening { .. } | Phase::Serving => {
                out.emit(Event::Stopping);
                out.push(Action::CloseListeners);
            }
            Phase::Stopping { .. } => {}
        }
        self.phase = Phase::Ending(outcome);
        self.send_all(now, Cue::Terminate, out);
        self.tell_employed();
        self.changes.push(MemberChange::Abandoned);
    }

    pub(super) fn exit_if_empty(
        &mut self,
        outcome: MasterOutcome,
        backlog: Backlog,
        out: &mut Actions,
    ) {
        if self.workers.is_empty() && backlog.waiting == 0 {
            self.phase = Phase::Over;
            out.push(Action::Exit(outcome));
        }
    }
}
