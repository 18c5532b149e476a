//! Which processes should run: filling seats, replacing who is gone, and scaling.

use super::action::{Action, Actions, Outcome};
use super::event::{Cause, Event, Shortage};
use super::input::{Command, Exit, Terms};
use super::ledger::Reason;
use super::phase::{Phase, Stage};
use super::rollout::is_the_programs;
use super::worker::{Cue, Effect, State, Worker};
use super::{Engine, Seat};
use crate::limits::{
    BERTHS_MAX, CONCURRENCY_MAX, DETACH_GRACE, SEATS_MAX, START_DEATHS_MAX, VIOLATIONS_MAX,
};
use crate::units::{Generation, Mono, SeatId, Span, WorkerId};

impl Engine {
    /// Fills every seat for the first time.
    pub fn start(&mut self, now: Mono, out: &mut Actions) {
        self.phase = Phase::Opening { deaths: 0, until: now.after(self.setup.patience.start) };
        self.measure_depth();
        self.fill_seats(now, out);
        self.tell_strength(out);
    }

    pub(super) fn hello(&mut self, now: Mono, id: WorkerId, terms: Terms, out: &mut Actions) {
        let sane = (1..=CONCURRENCY_MAX).contains(&terms.concurrency) && 0 < terms.connections_max;
        if !sane {
            return self.violation(now, id, out);
        }
        let Some(worker) = self.worker_mut(id) else { return };
        match worker.state {
            State::Launching { .. } | State::Starting { .. } => {}
            State::Ready | State::Draining { .. } => return self.violation(now, id, out),
            // It was told to go while it said that: no lie, and of no use.
            State::Vacant
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::Reclaiming { .. } => return,
        }
        worker.terms = terms;
        let (seat, generation) = (worker.seat, worker.generation);
        if self.cue(now, id, Cue::Hello, out) == Some(Effect::Employ) {
            out.emit(Event::Ready { worker: id, seat, generation });
            self.employ(now, id, seat, out);
        }
    }

    pub(super) fn violation(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        if VIOLATIONS_MAX <= worker.violations {
            return; // It is on its way out, and has nothing to add.
        }
        worker.violations += 1;
        let (seat, times) = (worker.seat, worker.violations);
        out.emit(Event::Lied { worker: id, seat, times });
        if times == VIOLATIONS_MAX {
            self.kill(now, id, Cause::Lied, out);
        }
    }

    pub(super) fn replace_stalled(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        // A stopped process does not hear SIGTERM.
        self.kill(now, id, Cause::Stalled, out);
    }

    /// A worker is to go at once. Its seat is its own until it has, and served by nobody.
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
            State::Launching { .. } | State::Starting { .. } | State::Ready
                if worker.detached_until.is_none() =>
            {
                worker.detached_until = Some(now.after(DETACH_GRACE));
                self.ask_back(now, id, Reason::Stuck, out);
                self.refresh(id);
            }
            State::Vacant
            | State::Launching { .. }
            | State::Starting { .. }
            | State::Ready
            | State::Draining { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::Reclaiming { .. } => {}
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
        if self.seats[worker.seat.index()].holder == Some(id) {
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
                (State::Draining { .. }, Exit::Clean) | (State::Terminating { .. }, _) => {
                    Cause::Told
                }
                (State::Ready, Exit::Clean) if worker.has_served() => Cause::Left,
                (State::Draining { .. }, Exit::Failed)
                | (
                    State::Vacant
                    | State::Launching { .. }
                    | State::Starting { .. }
                    | State::Ready
                    | State::Killing { .. }
                    | State::Reclaiming { .. },
                    _,
                ) => Cause::Died,
            };
            worker.cause.get_or_insert(cause);
        }
        self.cue(now, id, Cue::Exited, out);
        self.refresh(id);
        self.bury_if_settled(now, id, out);
    }

    /// Once it is known of each of a dead worker's offers whether it had claimed it: what it had is
    /// lost with it, its berth is free, and its seat is to be filled again.
    pub(super) fn bury_if_settled(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker(id).filter(|worker| worker.offered == 0) else { return };
        let State::Reclaiming { recovered } = worker.state else { return };
        let worker = worker.clone();
        let lost = self.lose_all(id, out);
        self.counters.lost += u64::from(lost);
        let cause = worker.cause.unwrap_or(Cause::Died);
        out.emit(Event::Gone { worker: id, seat: worker.seat, cause, recovered, lost });
        out.push(Action::Bury(id));
        self.cue(now, id, Cue::Buried, out);
        self.leave_seat(now, id, &worker, cause, out);
    }

    pub(super) fn command(&mut self, now: Mono, command: Command, out: &mut Actions) {
        match command {
            Command::Rollout => self.begin_rollout(now, out),
            Command::ReopenLogs => out.emit(Event::NoLogFiles),
            Command::Upgrade => out.emit(Event::NoUpgrade),
            Command::Grow => self.grow(now, out),
            Command::Shrink => self.shrink(now, out),
            Command::Stop => self.stop(now, out),
            Command::StopFast => self.end(now, Outcome::Done, out),
        }
        self.tell_strength(out);
    }

    pub(super) fn listeners_closed(&mut self) {
        match &mut self.phase {
            Phase::Stopping { stage: stage @ Stage::Sweeping, .. } => *stage = Stage::Placing,
            Phase::Stopping { stage: Stage::Placing | Stage::Draining, .. }
            | Phase::Opening { .. }
            | Phase::Serving
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    pub(super) fn tick(&mut self, now: Mono, out: &mut Actions) {
        self.tick_dispatch(now, out);
        for berth in 0..self.workers.len() {
            let state = self.workers[berth].state;
            if state.deadline().is_some_and(|until| until <= now) {
                self.overdue(now, berth, state, out);
            }
            if self.workers[berth].detached_until.is_some_and(|until| until <= now) {
                self.replace_detached(now, self.name(berth), out);
            }
        }
        self.tell_unspoken(now, out);
        if self.gives_up_at().is_some_and(|at| at <= now) {
            self.end(now, Outcome::NeverReady, out);
        }
        self.fill_seats(now, out);
        self.tell_of_processes(out);
        self.tick_rollout(now);
        if self.phase.deadline().is_some_and(|until| until <= now) {
            self.end(now, Outcome::Done, out);
        }
    }

    /// Moves rollout and stop along, as far as they can go without anything else happening.
    pub(super) fn advance(&mut self, now: Mono, out: &mut Actions) {
        self.advance_rollout(now, out);
        match self.phase {
            Phase::Stopping { until, stage: Stage::Placing } => {
                let given_back = self.ledger.parked();
                if self.waiting() + given_back + self.ledger.offered() == 0 {
                    self.phase = Phase::Stopping { until, stage: Stage::Draining };
                    self.send_all(now, Cue::Drain, out);
                }
            }
            // A worker died while it finished, and what it had not begun needs another.
            Phase::Stopping { until, stage: Stage::Draining } if 0 < self.ledger.held() => {
                self.phase = Phase::Stopping { until, stage: Stage::Placing };
                self.fill_seats(now, out);
            }
            Phase::Stopping { stage: Stage::Draining, .. } => {
                self.exit_if_empty(Outcome::Done, out);
            }
            Phase::Ending(outcome) => self.exit_if_empty(outcome, out),
            Phase::Stopping { stage: Stage::Sweeping, .. }
            | Phase::Opening { .. }
            | Phase::Serving
            | Phase::Over => {}
        }
    }

    pub(super) fn name(&self, berth: usize) -> WorkerId {
        let epoch = self.workers[berth].epoch;
        WorkerId { berth: u16::try_from(berth).expect("berths are limited"), epoch }
    }

    pub(super) fn seat_id(index: usize) -> SeatId {
        SeatId(u16::try_from(index).expect("seats are limited"))
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
        let seat = worker.seat;
        match effect {
            Effect::Nothing => {}
            Effect::Employ => worker.ready_since = Some(now),
            Effect::TellDrain => {
                out.emit(Event::Draining { worker: id, seat });
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
        for berth in 0..self.workers.len() {
            self.send_off(now, self.name(berth), cue, out);
        }
    }

    /// One that lives is told to go, and goes for that reason unless there was another.
    fn send_off(&mut self, now: Mono, id: WorkerId, cue: Cue, out: &mut Actions) {
        if let Some(worker) = self.worker_mut(id).filter(|worker| worker.is_alive()) {
            worker.cause.get_or_insert(Cause::Told);
        }
        self.cue(now, id, cue, out);
    }

    fn overdue(&mut self, now: Mono, berth: usize, state: State, out: &mut Actions) {
        let cause = match state {
            State::Launching { .. } => Some(Cause::ExecTimedOut),
            State::Starting { .. } => Some(Cause::NotReady),
            State::Draining { .. } => Some(Cause::DrainTimeout),
            State::Killing { .. } => Some(Cause::Unkillable),
            State::Vacant | State::Ready | State::Terminating { .. } | State::Reclaiming { .. } => {
                None
            }
        };
        let worker = &mut self.workers[berth];
        let tells_more = [Some(Cause::DrainTimeout), Some(Cause::Unkillable)].contains(&cause);
        if worker.cause.is_none() || tells_more {
            worker.cause = cause;
        }
        self.counters.left_behind += u64::from(cause == Some(Cause::Unkillable));
        let id = self.name(berth);
        self.cue(now, id, Cue::Overdue, out);
        self.bury_if_settled(now, id, out);
    }

    /// A ready worker takes its seat; whoever sat there finishes.
    fn employ(&mut self, now: Mono, id: WorkerId, seat: SeatId, out: &mut Actions) {
        if let Phase::Opening { .. } = self.phase {
            self.phase = Phase::Serving;
        }
        let place = &mut self.seats[seat.index()];
        if place.successor == Some(id) {
            place.successor = None;
            let predecessor = place.holder.replace(id);
            if let Some(predecessor) = predecessor {
                self.take_over(now, predecessor, seat, out);
            }
        }
        let generation = self.worker(id).map_or(self.generation, |worker| worker.generation);
        self.seats[seat.index()].reached = generation;
        if !self.refills() || self.seats[seat.index()].holder != Some(id) {
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
            self.ledger.strike(ticket);
            self.counters.closed += 1;
            out.push(Action::Retire(ticket));
            lost += 1;
        }
        lost
    }

    pub(super) fn leave_seat(
        &mut self,
        now: Mono,
        id: WorkerId,
        worker: &Worker,
        cause: Cause,
        out: &mut Actions,
    ) {
        let seat = worker.seat;
        let place = &mut self.seats[seat.index()];
        let was_successor = place.successor == Some(id);
        let was_holder = place.holder == Some(id);
        place.standby.take_if(|standby| *standby == id);
        if was_successor {
            place.successor = None;
            self.let_leave(now, seat, out);
        }
        if was_holder {
            self.vacate(now, worker, cause, out);
        }
        // Only now: who stood by for it has its seat again, and serves until another can.
        if cause == Cause::Left {
            self.has_done_its_work(now, worker, out);
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
                self.end(now, Outcome::NeverReady, out);
            }
        }
        self.tell_strength(out);
    }

    /// A seat's holder is gone, or as good as that.
    pub(super) fn vacate(&mut self, now: Mono, worker: &Worker, cause: Cause, out: &mut Actions) {
        self.field.bar(worker.seat);
        let standby = self.take_standby(now, worker.seat, out);
        self.seats[worker.seat.index()].holder = standby;
        if let Some(standby) = standby {
            return self.refresh(standby);
        }
        if self.refills() && self.seats[worker.seat.index()].wanted {
            match cause {
                Cause::NoProcess => self.wait_for_process(now, worker.seat),
                Cause::Left => {
                    self.seats[worker.seat.index()].backoff.forget();
                    self.refill_after(now, worker.seat, Span::ZERO, out);
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
                    let backoff = &mut self.seats[worker.seat.index()].backoff;
                    let (since, record) = (worker.ready_since, worker.record());
                    let after = backoff.after_death(now, since, record, &mut self.rng);
                    self.refill_after(now, worker.seat, after, out);
                }
            }
        }
    }

    fn refill_after(&mut self, now: Mono, seat: SeatId, after: Span, out: &mut Actions) {
        let place = &mut self.seats[seat.index()];
        place.not_before = Some(now.after(after));
        place.restarts += 1;
        out.emit(Event::Restarting { seat, after });
        self.fill_seats(now, out);
    }

    /// Whether empty seats are filled: while the pool serves, and while something still waits for
    /// a worker.
    fn refills(&self) -> bool {
        match self.phase {
            Phase::Opening { .. } | Phase::Serving => true,
            Phase::Stopping { stage: Stage::Sweeping | Stage::Placing, .. } => true,
            Phase::Stopping { stage: Stage::Draining, .. } | Phase::Ending(_) | Phase::Over => {
                false
            }
        }
    }

    pub(super) fn fill_seats(&mut self, now: Mono, out: &mut Actions) {
        for index in 0..self.seats.len() {
            let seat = self.seats[index];
            let due = seat.not_before.is_none_or(|at| at <= now);
            if self.refills() && seat.wanted && seat.holder.is_none() && due {
                self.seats[index].not_before = None;
                // One that is being rolled out takes the seat, or leaves it to be filled.
                if seat.successor.is_none() {
                    let (seat, generation) = (Self::seat_id(index), self.generation_of_new());
                    self.seats[index].holder = self.spawn(now, seat, generation, out);
                }
            } else if !self.refills() || !seat.wanted || seat.holder.is_some() {
                // A successor has taken the seat meanwhile: there is nothing to wait for.
                self.seats[index].not_before = None;
            }
        }
    }

    /// Starts a process in a free berth; `None` when there is none.
    pub(super) fn spawn(
        &mut self,
        now: Mono,
        seat: SeatId,
        generation: Generation,
        out: &mut Actions,
    ) -> Option<WorkerId> {
        let berth = match self.workers.iter().position(|worker| worker.state == State::Vacant) {
            Some(berth) => berth,
            None if self.workers.len() < BERTHS_MAX => {
                self.workers.push(Worker::VACANT);
                self.workers.len() - 1
            }
            None => return None,
        };
        self.workers[berth] = self.workers[berth].next_tenant(seat, generation);
        let id = self.name(berth);
        out.emit(Event::Starting { worker: id, seat, generation });
        out.push(Action::Spawn { worker: id, seat, generation });
        self.cue(now, id, Cue::Spawn, out);
        Some(id)
    }

    fn grow(&mut self, now: Mono, out: &mut Actions) {
        if !self.phase.accepts() {
            return;
        }
        match self.seats.iter().position(|seat| !seat.wanted) {
            Some(index) => {
                self.seats[index].wanted = true;
                self.refresh_all();
            }
            None if SEATS_MAX <= self.seats.len() => {
                return out.emit(Event::NotGrown(Shortage::Seats));
            }
            None if !self.has_room_for_a_seat() => {
                return out.emit(Event::NotGrown(Shortage::OpenFiles));
            }
            None => {
                self.seats.push(Seat::EMPTY);
                self.field.resize(self.seats.len());
            }
        }
        self.fill_seats(now, out);
    }

    /// The last wanted seat goes; at least one stays.
    fn shrink(&mut self, now: Mono, out: &mut Actions) {
        let wanted = self.seats.iter().filter(|seat| seat.wanted).count();
        let Some(index) = self.seats.iter().rposition(|seat| seat.wanted) else { return };
        if !self.phase.accepts() || wanted < 2 {
            return;
        }
        self.seats[index].wanted = false;
        self.seats[index].not_before = None;
        let Seat { holder, successor, standby, .. } = &mut self.seats[index];
        let all = [holder.take(), successor.take(), standby.take()];
        self.field.bar(Self::seat_id(index));
        for id in all.into_iter().flatten() {
            self.dismiss(now, id, out);
        }
    }

    pub(super) fn tell_strength(&mut self, out: &mut Actions) {
        let count = |seats: &dyn Fn(&(usize, &Seat)) -> bool| {
            u16::try_from(self.seats.iter().enumerate().filter(seats).count())
                .expect("seats are limited")
        };
        let want = count(&|(_, seat)| seat.wanted);
        let have = count(&|(index, seat)| seat.wanted && self.is_served(Self::seat_id(*index)));
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
    fn a_worker_that_is_killed_serves_no_seat_and_one_that_does_not_die_is_left_behind() {
        let mut pair = pair();
        let victim = pair.workers[0];
        for _ in 0..VIOLATIONS_MAX {
            pair.step(Input::Violation(victim));
        }
        assert_eq!(pair.engine.strength(), (1, 2));
        pair.later(KILL_TIMEOUT);
        let [(_, generation)] = pair.started()[..] else { panic!("another takes its seat") };
        assert_eq!((generation, pair.engine.counters().left_behind), (Generation(1), 1));
        assert_eq!(pair.engine.worker(victim), None);
    }

    #[test]
    fn no_seat_is_added_that_would_take_the_descriptors_of_connections() {
        let mut pair = pair();
        let seats = |pair: &Pair| pair.engine.strength().1;
        for _ in 0..20 {
            pair.step(Input::Command(Command::Grow));
        }
        // Of 100 each takes 10, and ACCEPT_BATCH are left.
        let added = (100 - u16::try_from(crate::limits::ACCEPT_BATCH).unwrap()) / 10;
        assert_eq!(seats(&pair), 2 + added);
        assert!(pair.others.contains(&Action::Emit(Event::NotGrown(Shortage::OpenFiles))));
        // A seat that there was costs nothing.
        pair.step(Input::Command(Command::Shrink));
        pair.step(Input::Command(Command::Grow));
        assert_eq!(seats(&pair), 2 + added);
    }
}
