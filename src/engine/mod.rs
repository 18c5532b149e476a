//! The pure heart: who gets which connection, and which processes should run. It sees no clock, no
//! descriptor and no log; time and randomness are arguments. `tests/tidy.rs` and a `no_std` build
//! keep it so, which is why the very same code runs in the simulator.
//!
//! One thing happens, one step is taken: [`Engine::step`] turns an [`Input`] into [`Actions`].
#![warn(clippy::wildcard_enum_match_arm)]

mod abandoned;
pub mod action;
pub mod backoff;
pub mod classes;
pub mod demand;
pub mod depth;
mod dispatch;
pub mod event;
pub mod giveback;
pub mod input;
mod leaving;
pub mod ledger;
mod no_process;
mod overload;
#[cfg(test)]
mod pair;
mod phase;
pub mod policy;
mod rebalance;
pub mod rng;
mod rollout;
mod supervisor;
mod unspoken;
mod want;
pub mod worker;

use alloc::boxed::Box;
use alloc::vec::Vec;

use self::action::Actions;
use self::backoff::Backoff;
use self::classes::Classes;
use self::depth::Gauge;
use self::giveback::{Dispatch, Spreading};
use self::input::Input;
use self::ledger::{Ledger, Place};
use self::phase::Phase;
use self::policy::{Candidates, Policy, Selector};
use self::rng::Rng;
use self::rollout::Rollout;
use self::want::Want;
use self::worker::{Attention, Patience, WorkerRecord, WorkerState};
use crate::limits::{
    ACCEPT_BATCH, SILENT_AFTER, SILENT_AFTER_FULL, SILENT_AFTER_STOP, TICKETS_MAX,
};
use crate::units::{Generation, Mono, SlotId, Span, Ticket, WorkerId};

/// What the user decided, as far as the engine is concerned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setup {
    /// Who gets the next connection.
    pub policy: Policy,
    /// One weight per slot; a grown slot has weight 1.
    pub weights: Vec<u32>,
    /// What is dispatched.
    pub dispatch: Dispatch,
    /// Whether short requests go before long ones.
    pub classes: bool,
    /// Connections that may wait in the master.
    pub hold_max: u32,
    /// Connections that the master may have a descriptor of, besides the workers of these slots.
    pub copies_max: u32,
    /// What of that each further slot takes.
    pub slot_cost: u32,
    /// What happens beyond that.
    pub overload: Overload,
    /// How long a worker may take to become ready, and to finish.
    pub patience: Patience,
    /// How long a worker that serves nothing may leave offers unclaimed before it is replaced.
    pub stall_timeout: Span,
    /// Seed of the jitter.
    pub seed: u64,
}

/// What happens to connections beyond the hold limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overload {
    /// Accepting pauses; they wait in the kernel's backlog.
    Hold,
    /// They are accepted, and refused once they ask for something.
    Reject,
}

/// The engine of one app.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Engine {
    setup: Setup,
    ledger: Ledger,
    workers: Vec<WorkerRecord>,
    slots: Vec<Slot>,
    /// Derived from workers and slots; what a pick reads.
    candidates: Candidates,
    selector: Selector,
    gauge: Gauge,
    /// How often workers came too late for an offer since one came in time.
    late: u32,
    /// Derived from the gauge: requests beyond a worker's concurrency less one.
    depth: u32,
    /// Derived from the gauge: requests that an idle worker counts as, since it must be woken.
    cost_of_waking: u32,
    spread: Spreading,
    classes: Classes,
    phase: Phase,
    rollout: Option<Rollout>,
    generation: Generation,
    /// The newest rollout there ever was: an abandoned one's number is not used again.
    newest: Generation,
    rng: Rng,
    accept_paused_until: Option<Mono>,
    offers_paused_until: Option<Mono>,
    /// What the log knows of accepts that fail, of offers and waits that do, and of a full hold
    /// queue.
    accepts_fail: Want,
    offers_fail: Want,
    watches_fail: Want,
    hold_full: Want,
    /// Whether the log knows that processes cannot be started.
    lacks_processes: bool,
    strength: (u16, u16),
    /// Whether all wanted workers have ever been ready together.
    was_whole: bool,
    counters: Counters,
}

/// A place for a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Slot {
    wanted: bool,
    /// The process that serves here, or is to.
    holder: Option<WorkerId>,
    /// The process that takes over once it is ready.
    successor: Option<WorkerId>,
    /// The former holder, which takes the slot again if the new one is lost on its trial.
    standby: Option<WorkerId>,
    /// The newest rollout of which a worker has been ready here, and has not failed.
    reached: Generation,
    backoff: Backoff,
    /// When the slot is filled again.
    not_before: Option<Mono>,
    restarts: u32,
}

/// What has happened so far. Together with the ledger's lists these obey the custody law.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Connections that came in.
    pub arrived: u64,
    /// Connections that workers closed or died with, or that ended between two requests.
    pub closed: u64,
    /// Connections whose clients left without having said anything, or before anybody began with
    /// what they had.
    pub hung_up: u64,
    /// Connections that were turned away: no more might wait.
    pub rejected: u64,
    /// Connections that the master closed: silent for too long, or waiting at its end.
    pub expired: u64,
    /// Of the closed ones, those that died with a worker that had begun with them.
    pub lost: u64,
    /// Connections saved from a dead worker.
    pub recovered: u64,
    /// Offers taken back from a live worker.
    pub recalled: u64,
    /// Offers made.
    pub offered: u64,
    /// Connections that workers gave back between two requests.
    pub given_back: u64,
    /// Processes that could not be killed, and were left behind.
    pub left_behind: u64,
}

/// The engine's whole state as plain data, from which it can be built again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot(Box<Engine>);

impl Engine {
    /// An engine with all its slots empty; [`Engine::start`] fills them.
    pub fn new(setup: Setup) -> Self {
        let slots = setup.weights.iter().map(|_| Slot::EMPTY).collect();
        let mut candidates = Candidates::new(setup.weights.len());
        for (slot, weight) in (0..).map(SlotId).zip(&setup.weights) {
            candidates.set_weight(slot, *weight);
        }
        Self {
            ledger: Ledger::default(),
            workers: Vec::new(),
            slots,
            candidates,
            selector: setup.policy.selector(),
            gauge: Gauge::default(),
            late: 0,
            depth: 0,
            cost_of_waking: 0,
            spread: Spreading::default(),
            classes: Classes::default(),
            phase: Phase::Opening { deaths: 0, until: Mono::ZERO },
            rollout: None,
            generation: Generation(1),
            newest: Generation(1),
            rng: Rng::new(setup.seed),
            accept_paused_until: None,
            offers_paused_until: None,
            accepts_fail: Want::default(),
            offers_fail: Want::default(),
            watches_fail: Want::default(),
            hold_full: Want::default(),
            lacks_processes: false,
            strength: (0, 0),
            was_whole: false,
            counters: Counters::default(),
            setup,
        }
    }

    /// Takes one step: `input` happened at `now`; what is to be done about it goes to `out`. What
    /// can be placed is placed by [`Input::Tick`], the last input of a turn.
    pub fn step(&mut self, now: Mono, input: Input, out: &mut Actions) {
        match input {
            Input::Arrived { ticket, listener: _, first_speaker } => {
                self.arrived(now, ticket, first_speaker, out);
            }
            Input::AcceptExhausted => self.accept_exhausted(now, out),
            Input::ListenersClosed => self.listeners_closed(),
            Input::Readable { ticket, route } => self.readable(now, ticket, route),
            Input::HungUp(ticket) => self.hung_up(ticket, out),
            Input::WatchFailed => self.watch_failed(now, out),
            Input::Refused { ticket, why } => self.refused(now, ticket, why, out),
            Input::Recalled(ticket) => self.recalled(now, ticket, out),
            Input::TooLate(ticket) => self.too_late(now, ticket, out),
            Input::Hello { worker, terms } => self.hello(now, worker, terms, out),
            Input::Message { worker, ticket, message } => {
                self.message(now, worker, ticket, message, out);
            }
            Input::Violation(worker) => self.violation(now, worker, out),
            Input::Load { worker, load } => self.load(now, worker, load),
            Input::SpawnFailed(worker) => self.spawn_failed(now, worker, out),
            Input::Executed(worker) => self.executed(now, worker, out),
            Input::ExecFailed(worker) => self.exec_failed(worker),
            Input::Exited { worker, exit } => self.exited(now, worker, exit, out),
            Input::Detached(worker) => self.detached(now, worker, out),
            Input::AsksToLeave(worker) => self.asks_to_leave(now, worker, out),
            Input::Stopped(worker) => self.stopped(now, worker, out),
            Input::Continued(worker) => self.continued(worker, out),
            Input::Command(command) => self.command(now, command, out),
            Input::Tick => {
                self.tick(now, out);
                self.place_held(now, out);
                self.rebalance(now, out);
            }
        }
        self.advance(now, out);
        self.tell_give_back(out);
        debug_assert!(self.custody_holds(), "custody: {:?} {:?}", self.counters, self.ledger);
    }

    /// When the engine next wants a [`Input::Tick`], if nothing else happens.
    pub fn deadline(&self) -> Option<Mono> {
        let silent =
            self.ledger.oldest_watched().and_then(|ticket| match self.ledger.place(ticket) {
                Some(Place::Watched { since }) => Some(since.after(self.silent_after())),
                Some(Place::Parked { .. } | Place::Expiring | Place::Held) => None,
                Some(Place::Offered { .. } | Place::Delivered { .. }) | None => None,
            });
        let unclaimed = self.oldest_offer().map(|(_, _, at)| at.after(self.recall_after()));
        let workers = self.workers.iter().flat_map(|worker| {
            let given_up = worker.gives_up_at(self.setup.stall_timeout);
            let states = [worker.state.deadline(), worker.attention.deadline()];
            let others = [worker.detached_until, worker.hello_by(), given_up];
            states.into_iter().chain(others).flatten()
        });
        let slots = self.slots.iter().filter_map(|slot| slot.not_before);
        let rest = [
            silent,
            self.parked_deadline(),
            self.spread_deadline(),
            unclaimed,
            self.accept_paused_until,
            self.offers_paused_until,
            self.rebalance_deadline(),
            // Descriptors that are all in use stay so until something happens.
            self.accepts_fail.deadline().filter(|_| !self.is_full()),
            self.offers_fail.deadline(),
            self.watches_fail.deadline(),
            // So does a queue that is full.
            self.hold_full.deadline().filter(|_| !self.is_hold_full()),
            self.phase.deadline(),
            self.gives_up_at(),
            self.rollout_deadline(),
        ];
        workers.chain(slots).chain(rest.into_iter().flatten()).min()
    }

    /// How many connections may be accepted now, all listeners together.
    pub fn accept_room(&self) -> u32 {
        if self.accept_paused_until.is_some() || !self.phase.accepts() {
            return 0;
        }
        let hold_room = match self.setup.overload {
            Overload::Hold => self.setup.hold_max.saturating_sub(self.waiting()),
            Overload::Reject => u32::MAX,
        };
        let room = TICKETS_MAX.saturating_sub(self.live());
        hold_room.min(room).min(self.copies_max().saturating_sub(self.copies()))
    }

    /// Connections that the master has a descriptor of, at most: also of what a worker has claimed,
    /// where that comes back, or where another worker has a stray copy.
    pub fn copies(&self) -> u32 {
        self.live() - self.ledger.delivered() + self.ledger.kept()
    }

    /// Whether a worker's word may change what the master does next: whether a worker must wake
    /// the master for it.
    pub fn awaits_messages(&self) -> bool {
        0 < self.ledger.held()
            || !self.phase.accepts()
            // Only an end makes room for another beginning.
            || self.is_full()
            || TICKETS_MAX <= self.live()
            || self.workers.iter().any(|worker| match worker.state {
                WorkerState::Launching { .. } | WorkerState::Starting { .. } => true,
                WorkerState::Vacant
                | WorkerState::Ready
                | WorkerState::Draining { .. }
                | WorkerState::Terminating { .. }
                | WorkerState::Killing { .. }
                | WorkerState::Reclaiming { .. } => false,
            })
    }

    /// Whether the next step should be preceded by fresh [`Input::Load`]s.
    pub fn reads_loads(&self, now: Mono) -> bool {
        self.setup.policy.reads_loads()
            || self.oldest_offer().is_some_and(|(_, _, at)| self.recall_after() <= now.since(at))
            || self
                .workers
                .iter()
                .any(|worker| matches!(worker.attention, Attention::Overdue { .. }))
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
        self.workers.iter().any(|worker| worker.state == WorkerState::Ready && worker.stopped)
    }

    /// What has happened so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The ledger, to look at.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The policy in force.
    pub const fn policy(&self) -> Policy {
        self.setup.policy
    }

    /// Whether short requests go before long ones, and the shell is to tell their routes.
    pub const fn classifies(&self) -> bool {
        self.setup.classes
    }

    /// What is known of classes.
    pub const fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Connections that may wait in the master.
    pub const fn hold_max(&self) -> u32 {
        self.setup.hold_max
    }

    /// The rollout whose workers serve.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The process under this name; `None` when it is another by now, or none.
    pub fn worker(&self, id: WorkerId) -> Option<&WorkerRecord> {
        self.workers.get(id.index()).filter(|worker| worker.epoch == id.epoch)
    }

    /// Every process there is, with its name.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &WorkerRecord)> {
        (0..)
            .zip(&self.workers)
            .filter(|(_, worker)| worker.state != WorkerState::Vacant)
            .map(|(index, worker)| (WorkerId { index, epoch: worker.epoch }, worker))
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

    /// The whole state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Box::new(self.clone()))
    }

    /// The engine that was in this state; what is derived is derived again.
    pub fn restore(snapshot: Snapshot) -> Self {
        let mut engine = *snapshot.0;
        let weights = engine.candidates.weights().to_vec();
        engine.candidates = Candidates::new(engine.slots.len());
        for (slot, weight) in (0..).map(SlotId).zip(weights) {
            engine.candidates.set_weight(slot, weight);
        }
        engine.refresh_all();
        engine
    }

    /// Every invariant of design section 5 that a state alone can show.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check_invariants(&self) {
        self.ledger.check();
        assert!(self.custody_holds(), "custody: {:?}", self.counters);
        for (id, worker) in self.workers() {
            assert_eq!(
                worker.offered as usize,
                self.ledger.offers_of(id).len(),
                "offers of {id} have lost count"
            );
            assert_eq!(worker.longs, self.longs_of(id), "long requests of {id} have lost count");
            if worker.state == WorkerState::Vacant {
                assert_eq!(self.ledger.delivered_to(id), 0, "a vacant index has connections");
            }
        }
        self.check_slots();
        let mut restored = self.clone();
        restored.refresh_all();
        assert!(
            restored.candidates.agrees_with(&self.candidates),
            "the candidates lag behind the workers"
        );
    }

    /// Whoever has a place in a slot is there, and has but one; nobody stands by in vain.
    fn check_slots(&self) {
        // Nobody is told to go before a stop has placed what waits: who stands by may be needed.
        let may_stand_by = self.rollout.is_some() || self.is_stopping();
        for (index, slot) in self.slots.iter().enumerate() {
            let Slot { holder, successor, standby, reached, .. } = *slot;
            for id in [holder, successor, standby].into_iter().flatten() {
                let worker = self.worker(id).filter(|it| it.state != WorkerState::Vacant);
                let place = worker.map(|worker| worker.slot);
                assert_eq!(place, Some(Self::slot_id(index)), "{id} has a place in slot {index}");
            }
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
        for (index, worker) in self.workers.iter().enumerate() {
            let Slot { holder, standby, .. } = self.slots[worker.slot.index()];
            let has_place = [holder, standby].contains(&Some(self.name(index)));
            let serves = worker.state == WorkerState::Ready && worker.detached_until.is_none();
            assert!(!serves || has_place, "{} serves without a place", self.name(index));
        }
    }

    /// arrived = watched + parked + expiring + held + offered + delivered
    ///     + closed + hung up + rejected + expired
    fn custody_holds(&self) -> bool {
        let Counters { arrived, closed, hung_up, rejected, expired, .. } = self.counters;
        arrived == u64::from(self.live()) + closed + hung_up + rejected + expired
    }

    /// The offer that has been unclaimed longest: its ticket, its worker, and since when.
    fn oldest_offer(&self) -> Option<(Ticket, WorkerId, Mono)> {
        let ticket = self.ledger.oldest_offered()?;
        match self.ledger.place(ticket)? {
            Place::Offered { to, at, .. } => Some((ticket, to, at)),
            Place::Watched { .. }
            | Place::Parked { .. }
            | Place::Expiring
            | Place::Held
            | Place::Delivered { .. } => None,
        }
    }

    /// Connections that wait in the master for a client's first message, or for a worker.
    fn waiting(&self) -> u32 {
        self.ledger.watched() + self.ledger.expiring() + self.ledger.held()
    }

    /// Connections that have not ended.
    fn live(&self) -> u32 {
        let ledger = &self.ledger;
        self.waiting() + ledger.parked() + ledger.offered() + ledger.delivered()
    }

    /// Connections that it may have a descriptor of.
    fn copies_max(&self) -> u32 {
        let grown = self.slots.len().saturating_sub(self.setup.weights.len());
        let grown = u32::try_from(grown).unwrap_or(u32::MAX);
        self.setup.copies_max.saturating_sub(self.setup.slot_cost.saturating_mul(grown))
    }

    /// Whether one more slot leaves room for those connections that there are, and a few more.
    fn has_room_for_a_slot(&self) -> bool {
        let wanted = self.setup.slot_cost.saturating_add(self.copies().max(ACCEPT_BATCH));
        wanted <= self.copies_max()
    }

    /// Whether there are descriptors for no more.
    fn is_full(&self) -> bool {
        self.copies_max() <= self.copies()
    }

    /// Whether there will be descriptors for hardly any more, those counted that are on their way
    /// out: so that no more idle connections are let go of than there is need for.
    fn is_scarce(&self) -> bool {
        let spare = (self.copies_max() / 64).clamp(1, ACCEPT_BATCH);
        self.copies_max() < self.copies() - self.ledger.expiring() + spare
    }

    /// How long a client may say nothing.
    fn silent_after(&self) -> Span {
        match (self.phase.accepts(), self.is_crowded() || self.is_scarce()) {
            (false, _) => SILENT_AFTER_STOP,
            (true, true) => SILENT_AFTER_FULL,
            (true, false) => SILENT_AFTER,
        }
    }

    /// Whether no more may wait. Whoever says nothing keeps others in the kernel's queue, and keeps
    /// nobody from asking where those that ask are refused.
    fn is_hold_full(&self) -> bool {
        match self.setup.overload {
            Overload::Hold => self.is_crowded(),
            Overload::Reject => self.setup.hold_max <= self.ledger.held(),
        }
    }

    /// Whether so many wait, those that have said nothing included, that the silent ones go.
    fn is_crowded(&self) -> bool {
        self.setup.hold_max <= self.waiting()
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut WorkerRecord> {
        self.workers.get_mut(id.index()).filter(|worker| worker.epoch == id.epoch)
    }
}

impl Slot {
    const EMPTY: Self = Self {
        wanted: true,
        holder: None,
        successor: None,
        standby: None,
        reached: Generation(0),
        backoff: Backoff::DEATHLESS,
        not_before: None,
        restarts: 0,
    };
}
