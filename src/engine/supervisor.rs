//! Which processes should run: filling slots, replacing who is gone, and scaling.

use super::action::{Action, Actions, MasterOutcome};
use super::event::{Cause, Event, Shortage};
use super::input::{Command, Exit, Terms};
use super::ledger::Reason;
use super::phase::{Phase, StopStage};
use super::rollout::is_the_programs;
use super::worker::{Cue, Effect, WorkerRecord, WorkerState};
use super::{Engine, Slot};
use crate::limits::{
    CONCURRENCY_MAX, DETACH_GRACE, SLOTS_MAX, START_DEATHS_MAX, VIOLATIONS_MAX, WORKERS_MAX,
};
use crate::units::{Generation, Mono, SlotId, Span, WorkerId};

impl Engine {
    /// Fills every slot for the first time.
    pub fn start(&mut self, now: Mono, out: &mut Actions) {
        self.phase = Phase::Opening { deaths: 0, until: now.after(self.setup.patience.start) };
        self.measure_depth();
        self.fill_slots(now, out);
        self.tell_strength(out);
    }

    pub(super) fn hello(&mut self, now: Mono, id: WorkerId, terms: Terms, out: &mut Actions) {
        let sane = (1..=CONCURRENCY_MAX).contains(&terms.concurrency) && 0 < terms.connections_max;
        if !sane {
            return self.violation(now, id, out);
        }
        let Some(worker) = self.worker_mut(id) else { return };
        match worker.state {
            WorkerState::Launching { .. } | WorkerState::Starting { .. } => {}
            WorkerState::Ready | WorkerState::Draining { .. } => {
                return self.violation(now, id, out);
            }
            // It was told to go while it said that: no lie, and of no use.
            WorkerState::Vacant
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming { .. } => return,
        }
        worker.terms = terms;
        let (slot, generation) = (worker.slot, worker.generation);
        if self.cue(now, id, Cue::Hello, out) == Some(Effect::Employ) {
            out.emit(Event::Ready { worker: id, slot, generation });
            self.employ(now, id, slot, out);
        }
    }

    pub(super) fn violation(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        if VIOLATIONS_MAX <= worker.violations {
            return; // It is on its way out, and has nothing to add.
        }
        worker.violations += 1;
        let (slot, times) = (worker.slot, worker.violations);
        out.emit(Event::Lied { worker: id, slot, times });
        if times == VIOLATIONS_MAX {
            self.kill(now, id, Cause::Lied, out);
        }
    }

    pub(super) fn replace_stalled(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        // A stopped process does not hear SIGTERM.
        self.kill(now, id, Cause::Stalled, out);
    }

    /// A worker is to go at once. Its slot is its own until it has, and served by nobody.
    fn kill(&mut self, now: Mono, id: WorkerId, cause: Cause, out: &mut Actions) {
        if let Some(worker) = self.worker_mut(id) {
            worker.cause.get_or_insert(cause);
        }
        self.cue(now, id, Cue::Kill, out);
        self.tell_strength(out);
    }

    /// A worker has closed its channel. Whoever ends does so a moment before; one that goes on
    /// cannot serve, unless it is finishing what it has.
    pub(super) fn detached(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        match worker.state {
            WorkerState::Launching { .. } | WorkerState::Starting { .. } | WorkerState::Ready
                if worker.detached_until.is_none() =>
            {
                worker.detached_until = Some(now.after(DETACH_GRACE));
                self.ask_back(now, id, Reason::Stuck, out);
                self.refresh(id);
            }
            WorkerState::Vacant
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Ready
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming { .. } => {}
        }
    }

    /// Has another one take the place of a worker that closed its channel and did not end: at once,
    /// whatever time that one takes to go.
    fn replace_detached(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.detached_until = None;
        if !worker.state.stays() {
            return; // It was told to go meanwhile, and has a deadline for that.
        }
        worker.cause.get_or_insert(Cause::Detached);
        let worker = worker.clone();
        self.cue(now, id, Cue::Terminate, out);
        if self.slots[worker.slot.index()].holder == Some(id) {
            self.vacate(now, &worker, Cause::Detached, out);
            self.tell_strength(out);
        }
    }

    /// Its end follows, or its deadline.
    pub(super) fn exec_failed(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.cause = Some(Cause::ExecFailed);
        }
    }

    pub(super) fn exited(&mut self, now: Mono, id: WorkerId, exit: Exit, out: &mut Actions) {
        if let Some(worker) = self.worker_mut(id) {
            let cause = match (worker.state, exit) {
                (WorkerState::Draining { .. }, Exit::Clean)
                | (WorkerState::Terminating { .. }, _) => Cause::Told,
                (WorkerState::Ready, Exit::Clean) if worker.has_served() => Cause::Left,
                (WorkerState::Draining { .. }, Exit::Failed)
                | (
                    WorkerState::Vacant
                    | WorkerState::Launching { .. }
                    | WorkerState::Starting { .. }
                    | WorkerState::Ready
                    | WorkerState::Killing { .. }
                    | WorkerState::Reclaiming { .. },
                    _,
                ) => Cause::Died,
            };
            worker.cause.get_or_insert(cause);
        }
        self.cue(now, id, Cue::Exited, out);
        self.refresh(id);
        self.release_if_settled(now, id, out);
    }

    /// Once it is known of each of a dead worker's offers whether it had claimed it: what it had is
    /// lost with it, its index is free, and its slot is to be filled again.
    pub(super) fn release_if_settled(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker(id).filter(|worker| worker.offered == 0) else { return };
        let WorkerState::Reclaiming { recovered } = worker.state else { return };
        let worker = worker.clone();
        let lost = self.lose_all(id, out);
        self.counters.lost += u64::from(lost);
        let cause = worker.cause.unwrap_or(Cause::Died);
        out.emit(Event::Gone { worker: id, slot: worker.slot, cause, recovered, lost });
        out.push(Action::ReleaseWorker(id));
        self.cue(now, id, Cue::Buried, out);
        self.leave_slot(now, id, &worker, cause, out);
    }

    pub(super) fn command(&mut self, now: Mono, command: Command, out: &mut Actions) {
        match command {
            Command::Rollout => self.begin_rollout(now, out),
            Command::ReopenLogs => out.emit(Event::NoLogFiles),
            Command::Upgrade => out.emit(Event::NoUpgrade),
            Command::Grow => self.grow(now, out),
            Command::Shrink => self.shrink(now, out),
            Command::Stop => self.stop(now, out),
            Command::StopFast => self.end(now, MasterOutcome::Done, out),
        }
        self.tell_strength(out);
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

    pub(super) fn tick(&mut self, now: Mono, out: &mut Actions) {
        self.tick_dispatch(now, out);
        for index in 0..self.workers.len() {
            let state = self.workers[index].state;
            if state.deadline().is_some_and(|until| until <= now) {
                self.overdue(now, index, state, out);
            }
            if self.workers[index].detached_until.is_some_and(|until| until <= now) {
                self.replace_detached(now, self.name(index), out);
            }
        }
        self.tell_unspoken(now, out);
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

    /// Moves rollout and stop along, as far as they can go without anything else happening.
    pub(super) fn advance(&mut self, now: Mono, out: &mut Actions) {
        self.advance_rollout(now, out);
        match self.phase {
            Phase::Stopping { until, stage: StopStage::Placing } => {
                let given_back = self.ledger.parked();
                if self.waiting() + given_back + self.ledger.offered() == 0 {
                    self.phase = Phase::Stopping { until, stage: StopStage::Draining };
                    self.send_all(now, Cue::Drain, out);
                }
            }
            // A worker died while it finished, and what it had not begun needs another.
            Phase::Stopping { until, stage: StopStage::Draining } if 0 < self.ledger.held() => {
                self.phase = Phase::Stopping { until, stage: StopStage::Placing };
                self.fill_slots(now, out);
            }
            Phase::Stopping { stage: StopStage::Draining, .. } => {
                self.exit_if_empty(MasterOutcome::Done, out);
            }
            Phase::Ending(outcome) => self.exit_if_empty(outcome, out),
            Phase::Stopping { stage: StopStage::Sweeping, .. }
            | Phase::Opening { .. }
            | Phase::Serving
            | Phase::Over => {}
        }
    }

    pub(super) fn name(&self, index: usize) -> WorkerId {
        let epoch = self.workers[index].epoch;
        WorkerId { index: u16::try_from(index).expect("workers are limited"), epoch }
    }

    pub(super) fn slot_id(index: usize) -> SlotId {
        SlotId(u16::try_from(index).expect("slots are limited"))
    }

    /// Gives a worker its cue and carries out what follows; `None` when the cue meant nothing.
    pub(super) fn cue(
        &mut self,
        now: Mono,
        id: WorkerId,
        cue: Cue,
        out: &mut Actions,
    ) -> Option<Effect> {
        let patience = self.setup.patience;
        let worker = self.worker_mut(id)?;
        let (state, effect) = worker.state.on(cue, now, patience)?;
        worker.state = state;
        let slot = worker.slot;
        match effect {
            Effect::Nothing => {}
            Effect::Employ => worker.ready_since = Some(now),
            Effect::TellDrain => {
                out.emit(Event::Draining { worker: id, slot });
                out.push(Action::Drain(id));
            }
            Effect::SendTerm => out.push(Action::Terminate(id)),
            Effect::SendKill => out.push(Action::Kill(id)),
            Effect::Recall => {
                self.ask_back(now, id, Reason::Stuck, out);
            }
        }
        self.refresh(id);
        Some(effect)
    }

    /// All that live are told to go, in one way or the other.
    pub(super) fn send_all(&mut self, now: Mono, cue: Cue, out: &mut Actions) {
        for index in 0..self.workers.len() {
            self.send_off(now, self.name(index), cue, out);
        }
    }

    /// One that lives is told to go, and goes for that reason unless there was another.
    fn send_off(&mut self, now: Mono, id: WorkerId, cue: Cue, out: &mut Actions) {
        if let Some(worker) = self.worker_mut(id).filter(|worker| worker.is_alive()) {
            worker.cause.get_or_insert(Cause::Told);
        }
        self.cue(now, id, cue, out);
    }

    fn overdue(&mut self, now: Mono, index: usize, state: WorkerState, out: &mut Actions) {
        let cause = match state {
            WorkerState::Launching { .. } => Some(Cause::ExecTimedOut),
            WorkerState::Starting { .. } => Some(Cause::NotReady),
            WorkerState::Draining { .. } => Some(Cause::DrainTimeout),
            WorkerState::Killing { .. } => Some(Cause::Unkillable),
            WorkerState::Vacant
            | WorkerState::Ready
            | WorkerState::Terminating { .. }
            | WorkerState::Reclaiming { .. } => None,
        };
        let worker = &mut self.workers[index];
        let tells_more = [Some(Cause::DrainTimeout), Some(Cause::Unkillable)].contains(&cause);
        if worker.cause.is_none() || tells_more {
            worker.cause = cause;
        }
        self.counters.left_behind += u64::from(cause == Some(Cause::Unkillable));
        let id = self.name(index);
        self.cue(now, id, Cue::Overdue, out);
        self.release_if_settled(now, id, out);
    }

    /// A ready worker takes its slot; whoever sat there finishes.
    fn employ(&mut self, now: Mono, id: WorkerId, slot: SlotId, out: &mut Actions) {
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
        self.refresh_all();
        self.tell_strength(out);
    }

    /// One finishes what it has, and leaves.
    pub(super) fn dismiss(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        self.send_off(now, id, Cue::Drain, out);
    }

    /// All that a dead worker had claimed ends with it; never replayed, since it may have had
    /// effects. Returns how many connections.
    fn lose_all(&mut self, id: WorkerId, out: &mut Actions) -> u32 {
        let mut lost = 0;
        for ticket in self.ledger.deliveries_of(id) {
            let strays = self.ledger.strike(ticket);
            self.counters.closed += 1;
            out.push(Action::Retire { ticket, strays });
            lost += 1;
        }
        lost
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
        if is_the_programs(cause) || was_successor && cause == Cause::NoProcess {
            self.judge_release(now, id, worker, out);
        }
        if let Phase::Opening { deaths, .. } = &mut self.phase
            && is_the_programs(cause)
        {
            *deaths += 1;
            let waited = [Cause::NotReady, Cause::ExecTimedOut].contains(&cause);
            if *deaths >= START_DEATHS_MAX || waited {
                self.end(now, MasterOutcome::NeverReady, out);
            }
        }
        self.tell_strength(out);
    }

    /// A slot's holder is gone, or as good as that.
    pub(super) fn vacate(
        &mut self,
        now: Mono,
        worker: &WorkerRecord,
        cause: Cause,
        out: &mut Actions,
    ) {
        self.candidates.bar(worker.slot);
        let standby = self.take_standby(now, worker.slot, out);
        self.slots[worker.slot.index()].holder = standby;
        if let Some(standby) = standby {
            self.refresh(standby);
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
                    let (since, record) = (worker.ready_since, worker.record());
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
        let index = match self.workers.iter().position(|worker| worker.state == WorkerState::Vacant)
        {
            Some(index) => index,
            None if self.workers.len() < WORKERS_MAX => {
                self.workers.push(WorkerRecord::VACANT);
                self.workers.len() - 1
            }
            None => return None,
        };
        self.workers[index] = self.workers[index].next_occupant(slot, generation);
        let id = self.name(index);
        out.emit(Event::Starting { worker: id, slot, generation });
        out.push(Action::Spawn { worker: id, slot, generation });
        self.cue(now, id, Cue::Spawn, out);
        Some(id)
    }

    fn grow(&mut self, now: Mono, out: &mut Actions) {
        if !self.phase.accepts() {
            return;
        }
        match self.slots.iter().position(|slot| !slot.wanted) {
            Some(index) => {
                self.slots[index].wanted = true;
                self.refresh_all();
            }
            None if SLOTS_MAX <= self.slots.len() => {
                return out.emit(Event::NotGrown(Shortage::Slots));
            }
            None if !self.has_room_for_a_slot() => {
                return out.emit(Event::NotGrown(Shortage::OpenFiles));
            }
            None => {
                self.slots.push(Slot::EMPTY);
                self.candidates.resize(self.slots.len());
            }
        }
        self.fill_slots(now, out);
    }

    /// The last wanted slot goes; at least one stays.
    fn shrink(&mut self, now: Mono, out: &mut Actions) {
        let wanted = self.slots.iter().filter(|slot| slot.wanted).count();
        let Some(index) = self.slots.iter().rposition(|slot| slot.wanted) else { return };
        if !self.phase.accepts() || wanted < 2 {
            return;
        }
        self.slots[index].wanted = false;
        self.slots[index].not_before = None;
        let Slot { holder, successor, standby, .. } = &mut self.slots[index];
        let all = [holder.take(), successor.take(), standby.take()];
        self.candidates.bar(Self::slot_id(index));
        for id in all.into_iter().flatten() {
            self.dismiss(now, id, out);
        }
    }

    pub(super) fn tell_strength(&mut self, out: &mut Actions) {
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
        self.measure_depth();
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::Input;
    use super::super::pair::Pair;
    use super::super::policy::Policy;
    use super::*;
    use crate::limits::KILL_TIMEOUT;

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
        assert_eq!(pair.engine.strength(), (1, 2));
        pair.later(KILL_TIMEOUT);
        let [(_, generation)] = pair.started()[..] else { panic!("another takes its slot") };
        assert_eq!((generation, pair.engine.counters().left_behind), (Generation(1), 1));
        assert_eq!(pair.engine.worker(victim), None);
    }

    #[test]
    fn no_slot_is_added_that_would_take_the_descriptors_of_connections() {
        let mut pair = pair();
        let slots = |pair: &Pair| pair.engine.strength().1;
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
