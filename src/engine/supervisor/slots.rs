//! The places for workers: who has one, who follows, and filling those that are empty.

use super::super::action::{Action, Actions, MasterOutcome};
use super::super::event::{Cause, Event, Shortage};
use super::super::members::MemberChange;
use super::Supervisor;
use super::backoff::Backoff;
use super::phase::{Phase, StopStage};
use super::worker::{WorkerRecord, WorkerState};
use crate::limits::{SLOTS_MAX, START_DEATHS_MAX, WORKERS_MAX};
use crate::units::{Generation, Mono, SlotId, Span, WorkerId};

/// A place for a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Slot {
    pub(super) wanted: bool,
    /// The process that serves here, or is to.
    pub(super) holder: Option<WorkerId>,
    /// The process that takes over once it is ready.
    pub(super) successor: Option<WorkerId>,
    /// The former holder, which takes the slot again if the new one is lost on its trial.
    pub(super) standby: Option<WorkerId>,
    /// Who takes what goes to this slot, as the dispatcher has been told.
    pub(super) employed: Option<WorkerId>,
    /// The latest rollout of which a worker has been ready here, and has not failed.
    pub(super) reached: Generation,
    pub(super) backoff: Backoff,
    /// When the slot is filled again.
    pub(super) not_before: Option<Mono>,
    pub(super) restarts: u32,
}

impl Slot {
    pub(super) const EMPTY: Self = Self {
        wanted: true,
        holder: None,
        successor: None,
        standby: None,
        employed: None,
        reached: Generation(0),
        backoff: Backoff::DEATHLESS,
        not_before: None,
        restarts: 0,
    };
}

impl Supervisor {
    /// A ready worker takes its slot; whoever sat there finishes.
    pub(super) fn employ(&mut self, now: Mono, id: WorkerId, slot: SlotId, out: &mut Actions) {
        if let Phase::Opening { .. } = self.phase {
            self.phase = Phase::Serving;
        }
        let place = &mut self.slots[slot.index()];
        if place.successor == Some(id) {
            place.successor = None;
            let predecessor = place.holder.replace(id);
            if let Some(predecessor) = predecessor {
                self.take_over(now, predecessor, slot, out);
            }
        }
        let generation = self.worker(id).map_or(self.generation, |worker| worker.generation);
        self.slots[slot.index()].reached = generation;
        if !self.refills() || self.slots[slot.index()].holder != Some(id) {
            self.dismiss(now, id, out);
        }
        self.tell_changes(out);
    }

    pub(super) fn leave_slot(
        &mut self,
        now: Mono,
        id: WorkerId,
        worker: &WorkerRecord,
        cause: Cause,
        out: &mut Actions,
    ) {
        let slot = worker.slot;
        let place = &mut self.slots[slot.index()];
        let was_successor = place.successor == Some(id);
        let was_holder = place.holder == Some(id);
        place.standby.take_if(|standby| *standby == id);
        if was_successor {
            place.successor = None;
            self.let_leave(now, slot, out);
        }
        if was_holder {
            self.vacate(now, worker, cause, out);
        }
        // Only now: who stood by for it has its slot again, and serves until another can.
        if cause == Cause::Left {
            self.has_done_its_work(worker);
        }
        // A successor for which there is no process keeps its rollout waiting as well.
        if cause.is_the_programs() || was_successor && cause == Cause::NoProcess {
            self.judge_release(now, id, worker, out);
        }
        if let Phase::Opening { deaths, .. } = &mut self.phase
            && cause.is_the_programs()
        {
            *deaths += 1;
            let waited = [Cause::NotReady, Cause::ExecTimedOut].contains(&cause);
            if *deaths >= START_DEATHS_MAX || waited {
                self.end(now, MasterOutcome::NeverReady, out);
            }
        }
        self.tell_changes(out);
    }

    /// A slot's holder is gone, or as good as that.
    pub(super) fn vacate(
        &mut self,
        now: Mono,
        worker: &WorkerRecord,
        cause: Cause,
        out: &mut Actions,
    ) {
        let standby = self.take_standby(now, worker.slot, out);
        self.slots[worker.slot.index()].holder = standby;
        if standby.is_some() {
            if cause == Cause::Left {
                self.follow(now, worker, out);
            }
            return;
        }
        if self.refills() && self.slots[worker.slot.index()].wanted {
            match cause {
                Cause::NoProcess => self.wait_for_process(now, worker.slot),
                Cause::Left => {
                    self.slots[worker.slot.index()].backoff.forget();
                    self.refill_after(now, worker.slot, Span::ZERO, out);
                }
                Cause::Told
                | Cause::Died
                | Cause::ExecTimedOut
                | Cause::NotReady
                | Cause::DrainTimeout
                | Cause::Stalled
                | Cause::Detached
                | Cause::Unkillable
                | Cause::Lied
                | Cause::ExecFailed => {
                    let backoff = &mut self.slots[worker.slot.index()].backoff;
                    let (since, record) = (worker.ready_since, worker.record);
                    let after = backoff.after_death(now, since, record, &mut self.rng);
                    self.refill_after(now, worker.slot, after, out);
                }
            }
        }
    }

    /// Another one follows a worker that has done its work, while its predecessor stands in.
    fn follow(&mut self, now: Mono, worker: &WorkerRecord, out: &mut Actions) {
        let slot = worker.slot.index();
        if self.refills() && self.slots[slot].successor.is_none() {
            self.slots[slot].successor = self.spawn(now, worker.slot, worker.generation, out);
        }
    }

    fn refill_after(&mut self, now: Mono, slot: SlotId, after: Span, out: &mut Actions) {
        let place = &mut self.slots[slot.index()];
        place.not_before = Some(now.after(after));
        place.restarts += 1;
        out.emit(Event::Restarting { slot, after });
        self.fill_slots(now, out);
    }

    /// Whether empty slots are filled: while the app serves, and while something still waits for
    /// a worker.
    fn refills(&self) -> bool {
        match self.phase {
            Phase::Opening { .. } | Phase::Serving => true,
            Phase::Stopping { stage: StopStage::Sweeping | StopStage::Placing, .. } => true,
            Phase::Stopping { stage: StopStage::Draining, .. } | Phase::Ending(_) | Phase::Over => {
                false
            }
        }
    }

    pub(super) fn fill_slots(&mut self, now: Mono, out: &mut Actions) {
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            let due = slot.not_before.is_none_or(|at| at <= now);
            if self.refills() && slot.wanted && slot.holder.is_none() && due {
                self.slots[index].not_before = None;
                // One that is being rolled out takes the slot, or leaves it to be filled.
                if slot.successor.is_none() {
                    let (slot, generation) = (Self::slot_id(index), self.generation_of_new());
                    self.slots[index].holder = self.spawn(now, slot, generation, out);
                }
            } else if !self.refills() || !slot.wanted || slot.holder.is_some() {
                // A successor has taken the slot meanwhile: there is nothing to wait for.
                self.slots[index].not_before = None;
            }
        }
    }

    /// Starts a process under a free index; `None` when there is none.
    pub(super) fn spawn(
        &mut self,
        now: Mono,
        slot: SlotId,
        generation: Generation,
        out: &mut Actions,
    ) -> Option<WorkerId> {
        let id = self.workers.vacant(WORKERS_MAX)?;
        let state = WorkerState::launching(now, self.patience);
        self.workers.insert(id, WorkerRecord::new(slot, generation, self.capabilities, state));
        out.emit(Event::Starting { worker: id, slot, generation });
        out.push(Action::Spawn { worker: id, slot, generation });
        self.changes.push(MemberChange::Joined { worker: id, slot });
        Some(id)
    }

    pub(super) fn grow(&mut self, now: Mono, has_room: bool, out: &mut Actions) {
        if !self.phase.accepts() {
            return;
        }
        match self.slots.iter().position(|slot| !slot.wanted) {
            Some(index) => {
                self.slots[index].wanted = true;
            }
            None if SLOTS_MAX <= self.slots.len() => {
                return out.emit(Event::NotGrown(Shortage::Slots));
            }
            None if !has_room => {
                return out.emit(Event::NotGrown(Shortage::OpenFiles));
            }
            None => {
                self.slots.push(Slot::EMPTY);
                self.changes.push(MemberChange::Slots(self.slots.len()));
            }
        }
        self.fill_slots(now, out);
    }

    /// The last wanted slot goes; at least one stays.
    pub(super) fn shrink(&mut self, now: Mono, out: &mut Actions) {
        let wanted = self.slots.iter().filter(|slot| slot.wanted).count();
        let Some(index) = self.slots.iter().rposition(|slot| slot.wanted) else { return };
        if !self.phase.accepts() || wanted < 2 {
            return;
        }
        self.slots[index].wanted = false;
        self.slots[index].not_before = None;
        let Slot { holder, successor, standby, .. } = &mut self.slots[index];
        let all = [holder.take(), successor.take(), standby.take()];
        for id in all.into_iter().flatten() {
            self.dismiss(now, id, out);
        }
    }

    /// Tells the dispatcher and the log who serves, where that has changed.
    pub(super) fn tell_changes(&mut self, out: &mut Actions) {
        self.tell_employed();
        self.tell_strength(out);
    }

    fn tell_strength(&mut self, out: &mut Actions) {
        let count = |slots: &dyn Fn(&(usize, &Slot)) -> bool| {
            u16::try_from(self.slots.iter().enumerate().filter(slots).count())
                .expect("slots are limited")
        };
        let want = count(&|(_, slot)| slot.wanted);
        let have = count(&|(index, slot)| slot.wanted && self.is_served(Self::slot_id(*index)));
        if self.strength == (have, want) {
            return;
        }
        self.strength = (have, want);
        // Workers that gather at the start, or leave at the end, are no degradation.
        if have == want || (self.was_whole && self.phase.accepts()) {
            self.was_whole = true;
            out.emit(Event::Strength { have, want });
        }
    }

    /// Who takes what goes to a slot: its holder, while that serves, and can be reached.
    pub(super) fn takes_from(&self, slot: &Slot) -> Option<(WorkerId, &WorkerRecord)> {
        let worker = self.worker(slot.holder?)?;
        let serves = worker.state == WorkerState::Ready
            && !worker.stopped
            && worker.detached_until.is_none();
        serves.then_some((slot.holder?, worker))
    }

    /// Tells the dispatcher who takes what goes to each slot, where that has changed.
    pub(super) fn tell_employed(&mut self) {
        for index in 0..self.slots.len() {
            let before = self.slots[index].employed;
            let employed = self.takes_from(&self.slots[index]);
            let employed = employed.map(|(worker, it)| (worker, it.terms, it.capabilities));
            if before == employed.map(|(worker, ..)| worker) {
                continue;
            }
            self.slots[index].employed = employed.map(|(worker, ..)| worker);
            self.changes.extend(before.map(MemberChange::Retired));
            self.changes.extend(employed.map(|(worker, terms, capabilities)| {
                MemberChange::Employed { worker, terms, capabilities }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::dispatcher::policy::Policy;
    use super::super::super::input::{Command, Input};
    use super::super::super::pair::Pair;
    use super::*;
    use crate::limits::{KILL_TIMEOUT, VIOLATIONS_MAX};

    fn pair() -> Pair {
        Pair::new(Policy::RoundRobin)
    }

    #[test]
    fn a_worker_that_is_killed_serves_no_slot_and_one_that_does_not_die_is_left_behind() {
        let mut pair = pair();
        let victim = pair.workers[0];
        for _ in 0..VIOLATIONS_MAX {
            pair.step(Input::Violation(victim));
        }
        assert_eq!(pair.engine.supervisor().strength(), (1, 2));
        pair.later(KILL_TIMEOUT);
        let [(_, generation)] = pair.started()[..] else { panic!("another takes its slot") };
        assert_eq!((generation, pair.engine.supervisor().left_behind()), (Generation(1), 1));
        assert_eq!(pair.engine.supervisor().worker(victim), None);
    }

    #[test]
    fn no_slot_is_added_that_would_take_the_descriptors_of_connections() {
        let mut pair = pair();
        let slots = |pair: &Pair| pair.engine.supervisor().strength().1;
        for _ in 0..20 {
            pair.step(Input::Command(Command::Grow));
        }
        // Of 100 each takes 10, and ACCEPT_BATCH are left.
        let added = (100 - u16::try_from(crate::limits::ACCEPT_BATCH).unwrap()) / 10;
        assert_eq!(slots(&pair), 2 + added);
        assert!(pair.others.contains(&Action::Emit(Event::NotGrown(Shortage::OpenFiles))));
        // A slot that there was costs nothing.
        pair.step(Input::Command(Command::Shrink));
        pair.step(Input::Command(Command::Grow));
        assert_eq!(slots(&pair), 2 + added);
    }
}
