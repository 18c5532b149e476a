//! Rolling replacement: every worker gets a successor, one seat after the other.

use super::action::Actions;
use super::event::Event;
use super::{Engine, Seat};
use crate::limits::{BACKOFF_MIN, ROLLOUT_FAILURES_MAX};
use crate::units::{Generation, Mono};

/// A replacement of all workers, under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rollout {
    /// What the new ones belong to.
    pub(super) generation: Generation,
    /// New workers that did not become ready.
    pub(super) failures: u32,
    /// Whether another one was asked for meanwhile.
    pub(super) again: bool,
    /// No further attempt before then.
    pub(super) not_before: Option<Mono>,
}

impl Engine {
    pub(super) fn begin_rollout(&mut self, out: &mut Actions) {
        if !self.phase.accepts() {
            return;
        }
        if let Some(rollout) = &mut self.rollout {
            rollout.again = true;
            return;
        }
        let generation = Generation(self.newest.0 + 1);
        self.newest = generation;
        self.rollout = Some(Rollout { generation, failures: 0, again: false, not_before: None });
        out.emit(Event::RolloutStarted(generation));
    }

    /// One seat at a time gets its successor; when none is left that needs one, the rollout is
    /// done.
    pub(super) fn advance_rollout(&mut self, now: Mono, out: &mut Actions) {
        let Some(rollout) = self.rollout else { return };
        if !self.phase.accepts() {
            self.rollout = None;
            return;
        }
        let waits = rollout.not_before.is_some_and(|at| now < at);
        if waits || self.seats.iter().any(|seat| seat.successor.is_some()) {
            return;
        }
        match self.seats.iter().position(|seat| self.is_outdated(seat, rollout.generation)) {
            Some(index) => {
                let seat = Self::seat_id(index);
                self.seats[index].successor = self.spawn(now, seat, rollout.generation, out);
            }
            None => {
                self.generation = rollout.generation;
                self.rollout = None;
                out.emit(Event::RolloutDone(rollout.generation));
                if rollout.again {
                    self.begin_rollout(out);
                    self.advance_rollout(now, out);
                }
            }
        }
    }

    /// Whether a seat waits for its worker of this generation. An empty one does, too: a rollout in
    /// which nothing could be started has not been done.
    fn is_outdated(&self, seat: &Seat, generation: Generation) -> bool {
        let holder = seat.holder.and_then(|holder| self.worker(holder));
        seat.wanted && holder.is_none_or(|holder| holder.generation < generation)
    }

    pub(super) fn rollout_failed_once(&mut self, now: Mono, out: &mut Actions) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.failures += 1;
        if rollout.failures < ROLLOUT_FAILURES_MAX {
            rollout.not_before = Some(now.after(BACKOFF_MIN.times(1 << rollout.failures)));
            return;
        }
        // Seats that already have a new worker keep it: it became ready, and serves.
        out.emit(Event::RolloutAborted(rollout.generation));
        self.rollout = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::{Command, Input, Terms};
    use super::super::pair::Pair;
    use super::super::policy::Policy;
    use super::*;
    use crate::units::Span;

    #[test]
    fn a_rollout_in_which_nothing_starts_is_given_up_and_not_done() {
        let mut pair = Pair::new(Policy::RoundRobin);
        let mut living = pair.workers.clone();
        while let Some(worker) = living.pop() {
            pair.dies(worker);
            living.extend(pair.started().into_iter().map(|(worker, _)| worker));
        }
        assert_eq!(pair.engine.workers().count(), 0, "all seats wait out their back-off");
        let (mut done, mut given_up) = (false, false);
        pair.step(Input::Command(Command::Rollout));
        for _ in 0..50 {
            done |= pair.told(Event::RolloutDone(Generation(2)));
            given_up |= pair.told(Event::RolloutAborted(Generation(2)));
            for (worker, _) in pair.started() {
                pair.dies(worker);
            }
            pair.later(Span::from_ms(100));
        }
        assert_eq!((done, given_up), (false, true));
    }

    #[test]
    fn an_empty_seat_is_filled_by_the_rollout_at_once_and_once() {
        let mut pair = Pair::new(Policy::RoundRobin);
        let mut last = pair.workers[0];
        for _ in 0..4 {
            pair.dies(last);
            pair.later(Span::from_s(1));
            last = pair.started()[0].0;
        }
        pair.dies(last);
        assert_eq!(pair.started(), [], "its back-off has only begun");
        pair.step(Input::Command(Command::Rollout));
        let [(successor, generation)] = pair.started()[..] else { panic!("one starts") };
        assert_eq!(generation, Generation(2));
        pair.later(Span::from_s(8));
        assert_eq!(pair.started(), [], "the successor has the seat, once it is ready");
        let terms = Terms { concurrency: 1, connections_max: 9 };
        pair.step(Input::Hello { worker: successor, terms });
        assert_eq!(pair.engine.strength(), (2, 2));
    }
}
