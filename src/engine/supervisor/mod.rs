//! Which processes should be, and which are: slots, restarts, rollouts, and the way to the end. It
//! knows processes and no connection; what goes to whom is the dispatcher's business: see
//! [`super::members`].

pub mod backoff;
mod leaving;
mod no_process;
mod phase;
mod processes;
mod readiness;
mod rollout;
mod slots;
pub mod worker;

use alloc::vec::Vec;

use self::phase::{Phase, StopStage};
use self::rollout::Rollout;
use self::slots::Slot;
use self::worker::{Cue, Patience, WorkerRecord, WorkerState};
use super::action::{Actions, MasterOutcome};
use super::capabilities::Capabilities;
use super::event::Event;
use super::input::Command;
use super::members::{Backlog, MemberChange, MemberReport};
use super::rng::Rng;
use super::workers::Workers;
use crate::units::{Generation, Mono, SlotId, WorkerId};

/// The half of the engine that supervises.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Supervisor {
    /// What the links of workers can do that are started now.
    capabilities: Capabilities,
    patience: Patience,
    workers: Workers<WorkerRecord>,
    slots: Vec<Slot>,
    phase: Phase,
    rollout: Option<Rollout>,
    generation: Generation,
    /// The newest rollout there ever was: an abandoned one's number is not used again.
    newest: Generation,
    rng: Rng,
    /// Whether the log knows that processes cannot be started.
    lacks_processes: bool,
    strength: (u16, u16),
    /// Whether all wanted workers have ever been ready together.
    was_whole: bool,
    /// Processes that could not be killed.
    left_behind: u64,
    /// What the dispatcher has not been told yet; nothing between two steps.
    changes: Vec<MemberChange>,
}

impl Supervisor {
    /// A supervisor of so many slots, all of them empty; [`Supervisor::start`] fills them. `seed`
    /// is for the jitter.
    pub fn new(slots: usize, capabilities: Capabilities, patience: Patience, seed: u64) -> Self {
        Self {
            capabilities,
            patience,
            workers: Workers::new(),
            slots: alloc::vec![Slot::EMPTY; slots],
            phase: Phase::Opening { deaths: 0, until: Mono::ZERO },
            rollout: None,
            generation: Generation(1),
            newest: Generation(1),
            rng: Rng::new(seed),
            lacks_processes: false,
            strength: (0, 0),
            was_whole: false,
            left_behind: 0,
            changes: Vec::new(),
        }
    }

    /// Fills every slot for the first time.
    pub fn start(&mut self, now: Mono, out: &mut Actions) {
        self.phase = Phase::Opening { deaths: 0, until: now.after(self.patience.start) };
        self.fill_slots(now, out);
        self.tell_changes(out);
    }

    /// Takes in what the dispatcher has noticed.
    pub(super) fn hear(&mut self, now: Mono, report: MemberReport, out: &mut Actions) {
        match report {
            MemberReport::Lied(worker) => self.violation(now, worker, out),
            MemberReport::Stalled(worker) => self.stalled(now, worker, out),
            MemberReport::Unreachable(worker) => self.detached(now, worker),
            MemberReport::Advanced { worker, record } => {
                if let Some(worker) = self.worker_mut(worker) {
                    worker.record = record;
                }
            }
            MemberReport::Settled { worker, recovered, lost } => {
                self.settled(now, worker, (recovered, lost), out);
            }
        }
    }

    /// What the dispatcher is to be told, in order.
    pub(super) fn take_changes(&mut self) -> Vec<MemberChange> {
        core::mem::take(&mut self.changes)
    }

    /// What an operator wants. `has_room` tells whether there are descriptors for one slot more.
    pub(super) fn command(
        &mut self,
        now: Mono,
        command: Command,
        has_room: bool,
        out: &mut Actions,
    ) {
        match command {
            Command::Rollout => self.begin_rollout(now, out),
            Command::ReopenLogs => out.emit(Event::NoLogFiles),
            Command::Upgrade => out.emit(Event::NoUpgrade),
            Command::Grow => self.grow(now, has_room, out),
            Command::Shrink => self.shrink(now, out),
            Command::Stop => self.stop(now, out),
            Command::StopFast => self.end(now, MasterOutcome::Done, out),
        }
        self.tell_changes(out);
    }

    pub(super) fn listeners_closed(&mut self) {
        match &mut self.phase {
            Phase::Stopping { stage: stage @ StopStage::Sweeping, .. } => {
                *stage = StopStage::Placing;
            }
            Phase::Stopping { stage: StopStage::Placing | StopStage::Draining, .. }
            | Phase::Opening { .. }
            | Phase::Serving
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    /// Looks at all deadlines.
    pub(super) fn tick(&mut self, now: Mono, out: &mut Actions) {
        for index in 0..self.workers.indices() {
            let Some(id) = self.workers.name_at(index) else { continue };
            let is_over = |deadline: Option<Mono>| deadline.is_some_and(|until| until <= now);
            if self.worker(id).is_some_and(|worker| is_over(worker.state.deadline())) {
                self.overdue(now, id, out);
            }
            if self.worker(id).is_some_and(|worker| is_over(worker.detached_until)) {
                self.replace_detached(now, id, out);
            }
        }
        self.tick_readiness(now, out);
        if self.gives_up_at().is_some_and(|at| at <= now) {
            self.end(now, MasterOutcome::NeverReady, out);
        }
        self.fill_slots(now, out);
        self.tell_of_processes(out);
        self.tick_rollout(now);
        if self.phase.deadline().is_some_and(|until| until <= now) {
            self.end(now, MasterOutcome::Done, out);
        }
    }

    /// Whether nothing moves along by itself: no rollout, and no stop.
    pub(super) const fn is_steady(&self) -> bool {
        self.phase.accepts() && self.rollout.is_none()
    }

    /// Moves rollout and stop along, as far as they can go without anything else happening.
    pub(super) fn advance(&mut self, now: Mono, backlog: Backlog, out: &mut Actions) {
        self.advance_rollout(now, out);
        match self.phase {
            Phase::Stopping { until, stage: StopStage::Placing } => {
                if backlog.waiting + backlog.offered == 0 {
                    self.phase = Phase::Stopping { until, stage: StopStage::Draining };
                    self.send_all(now, Cue::Drain, out);
                }
            }
            // A worker died while it finished, and what it had not begun needs another.
            Phase::Stopping { until, stage: StopStage::Draining } if 0 < backlog.held => {
                self.phase = Phase::Stopping { until, stage: StopStage::Placing };
                self.fill_slots(now, out);
            }
            Phase::Stopping { stage: StopStage::Draining, .. } => {
                self.exit_if_empty(MasterOutcome::Done, backlog, out);
            }
            Phase::Ending(outcome) => self.exit_if_empty(outcome, backlog, out),
            Phase::Stopping { stage: StopStage::Sweeping, .. }
            | Phase::Opening { .. }
            | Phase::Serving
            | Phase::Over => {}
        }
        self.tell_employed();
    }

    /// When it next wants a tick, if nothing else happens.
    pub fn deadline(&self) -> Option<Mono> {
        let workers = self.workers().flat_map(|(_, worker)| {
            let deadlines = [
                worker.state.deadline(),
                worker.detached_until,
                worker.hello_by(),
                worker.ready_at,
            ];
            deadlines.into_iter().flatten()
        });
        let slots = self.slots.iter().filter_map(|slot| slot.not_before);
        let rest = [self.phase.deadline(), self.gives_up_at(), self.rollout_deadline()];
        workers.chain(slots).chain(rest.into_iter().flatten()).min()
    }

    /// Whether a worker is on its way up, whose first word is waited for.
    pub fn awaits_hello(&self) -> bool {
        self.workers().any(|(_, worker)| match worker.state {
            WorkerState::Launching { .. } | WorkerState::Starting { .. } => true,
            WorkerState::Ready
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming => false,
        })
    }

    /// Whether the app is on its way to its end.
    pub const fn is_stopping(&self) -> bool {
        !self.phase.accepts()
    }

    /// Whether a ready worker holds the slot, and runs.
    pub fn is_served(&self, slot: SlotId) -> bool {
        self.slots
            .get(slot.index())
            .and_then(|slot| slot.holder)
            .and_then(|worker| self.worker(worker))
            .is_some_and(|worker| worker.state == WorkerState::Ready && !worker.stopped)
    }

    /// Whether a worker is stopped that would accept connections if it were not: it may have taken
    /// the wake-up for one with it.
    pub fn has_stopped_worker(&self) -> bool {
        self.workers().any(|(_, worker)| worker.state == WorkerState::Ready && worker.stopped)
    }

    /// What the links of workers can do that are started now.
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The rollout whose workers serve.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The process under this name; `None` when it is another by now, or none.
    pub fn worker(&self, id: WorkerId) -> Option<&WorkerRecord> {
        self.workers.get(id)
    }

    /// Every process there is, with its name.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &WorkerRecord)> {
        self.workers.iter()
    }

    /// Wanted slots, and how often each was filled again.
    pub fn slots(&self) -> impl Iterator<Item = (SlotId, u32)> + '_ {
        (0..)
            .map(SlotId)
            .zip(&self.slots)
            .filter_map(|(id, slot)| slot.wanted.then_some((id, slot.restarts)))
    }

    /// Wanted slots that wait to be filled again, and how often each was.
    pub fn vacant_slots(&self) -> impl Iterator<Item = (SlotId, u32)> + '_ {
        (0..).map(SlotId).zip(&self.slots).filter_map(|(id, slot)| {
            (slot.wanted && slot.holder.is_none()).then_some((id, slot.restarts))
        })
    }

    /// Wanted slots whose holder is ready, and wanted slots.
    pub const fn strength(&self) -> (u16, u16) {
        self.strength
    }

    /// Processes that could not be killed, and were left behind.
    pub const fn left_behind(&self) -> u64 {
        self.left_behind
    }

    /// Every invariant that the supervisor's state alone can show: whoever has a place in a slot is
    /// there, and has but one; nobody stands by in vain.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check_invariants(&self) {
        assert!(self.changes.is_empty(), "nobody has heard of {:?}", self.changes);
        // Nobody is told to go before a stop has placed what waits: who stands by may be needed.
        let may_stand_by = self.rollout.is_some() || self.is_stopping();
        for (index, slot) in self.slots.iter().enumerate() {
            let Slot { holder, successor, standby, reached, .. } = *slot;
            for id in [holder, successor, standby].into_iter().flatten() {
                let place = self.worker(id).map(|worker| worker.slot);
                assert_eq!(place, Some(Self::slot_id(index)), "{id} has a place in slot {index}");
            }
            let takes = self.takes_from(slot).map(|(worker, _)| worker);
            assert_eq!(slot.employed, takes, "the dispatcher has not been told of slot {index}");
            assert!(holder.is_none() || holder != successor, "{holder:?} follows itself");
            if let Some(standby) = standby {
                assert!(may_stand_by, "{standby} stands by, and nothing is rolled out");
                assert!(holder.is_some_and(|holder| holder != standby), "{standby} is for nobody");
            }
            let worker = holder.and_then(|id| self.worker(id));
            if let Some(worker) = worker.filter(|it| it.state == WorkerState::Ready) {
                assert!(reached <= worker.generation, "slot {index} has not got to {reached:?}");
            }
        }
        for (id, worker) in self.workers() {
            let Slot { holder, standby, .. } = self.slots[worker.slot.index()];
            let has_place = [holder, standby].contains(&Some(id));
            let serves = worker.state == WorkerState::Ready && worker.detached_until.is_none();
            assert!(!serves || has_place, "{id} serves without a place");
        }
    }

    fn slot_id(index: usize) -> SlotId {
        SlotId(u16::try_from(index).expect("slots are limited"))
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut WorkerRecord> {
        self.workers.get_mut(id)
    }
}
