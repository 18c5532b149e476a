//! The kernel gives no process: a control group is full, or a user has as many as are allowed. That
//! says nothing of the program: it ends nothing that runs, and is tried again for as long as a
//! start may take, or anything serves.

use super::super::action::Actions;
use super::super::event::{Cause, Event};
use super::super::input::Exit;
use super::Supervisor;
use super::phase::Phase;
use super::worker::{WorkerRecord, WorkerState};
use crate::units::{Mono, SlotId, WorkerId};

impl Supervisor {
    pub(in super::super) fn spawn_failed(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        if let Some(worker) = self.worker_mut(id) {
            worker.cause = Some(Cause::NoProcess);
        }
        if !core::mem::replace(&mut self.lacks_processes, true) {
            out.emit(Event::ProcessesLacking);
        }
        self.exited(now, id, Exit::Failed, out);
    }

    /// An empty slot is to be filled when it is worth a try.
    pub(super) fn wait_for_process(&mut self, now: Mono, slot: SlotId) {
        let place = &mut self.slots[slot.index()];
        let after = place.backoff.after_no_process(&mut self.rng);
        place.not_before = Some(now.after(after));
    }

    /// Tells the end of the lack, once everybody who is wanted has a process.
    pub(super) fn tell_of_processes(&mut self, out: &mut Actions) {
        if !self.lacks_processes || self.rollout.is_some() || !self.phase.accepts() {
            return;
        }
        let runs = |worker: &WorkerRecord| match worker.state {
            WorkerState::Starting { .. } | WorkerState::Ready => true,
            // It may turn out that there is none.
            WorkerState::Launching { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming => false,
        };
        let mut holders = self.slots.iter().filter(|slot| slot.wanted).map(|slot| slot.holder);
        if holders.all(|holder| holder.and_then(|id| self.worker(id)).is_some_and(runs)) {
            self.lacks_processes = false;
            out.emit(Event::ProcessesSuffice);
        }
    }

    /// When an app that never served gives up, unless a process comes: whoever has one has a
    /// deadline of its own.
    pub(super) fn gives_up_at(&self) -> Option<Mono> {
        match self.phase {
            Phase::Opening { until, .. } => {
                (!self.workers().any(|(_, worker)| worker.is_alive())).then_some(until)
            }
            Phase::Serving | Phase::Stopping { .. } | Phase::Ending(_) | Phase::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::super::action::Action;
    use super::super::super::input::{Input, Terms};
    use super::super::super::pair::Pair;
    use super::*;
    use crate::limits::{BACKOFF_MIN, NO_PROCESS_PAUSE_MAX, START_DEATHS_MAX};
    use crate::units::Span;

    const TERMS: Terms = Terms { concurrency: 1, connections_max: 9 };

    /// As many tries as there are are refused, until so much time has passed. Returns how many.
    fn refuses(pair: &mut Pair, span: Span) -> u32 {
        let (mut tries, end) = (0, pair.now.after(span));
        while pair.now < end {
            let started: Vec<WorkerId> = pair.started().into_iter().map(|(id, _)| id).collect();
            for worker in started {
                tries += 1;
                pair.step(Input::SpawnFailed(worker));
            }
            pair.later(Span::from_ms(10));
        }
        tries
    }

    fn count(pair: &Pair, wanted: Event) -> usize {
        pair.others.iter().filter(|other| **other == Action::Emit(wanted)).count()
    }

    #[test]
    fn who_has_started_serves_and_the_rest_follows_when_it_can() {
        let mut pair = Pair::starting();
        let [first, second] = pair.workers[..] else { panic!("there are two") };
        pair.step(Input::Executed(first));
        pair.step(Input::SpawnFailed(second));
        assert_eq!(count(&pair, Event::ProcessesLacking), 1);
        let tries = refuses(&mut pair, Span::from_s(5));
        assert!(START_DEATHS_MAX < tries && tries < 12, "{tries} tries in five seconds");
        assert!(pair.engine.supervisor().worker(first).is_some_and(|worker| worker.state.stays()));
        pair.step(Input::Hello { worker: first, terms: TERMS });
        assert_eq!(pair.engine.supervisor().strength(), (1, 2));
        pair.later(NO_PROCESS_PAUSE_MAX.times(2));
        let [(last, _)] = pair.started()[..] else { panic!("it is tried again") };
        pair.step(Input::Executed(last));
        assert_eq!(count(&pair, Event::ProcessesSuffice), 1);
        pair.step(Input::Hello { worker: last, terms: TERMS });
        assert_eq!(pair.engine.supervisor().strength(), (2, 2));
        assert_eq!(pair.engine.supervisor().slots().map(|(_, restarts)| restarts).sum::<u32>(), 0);
    }

    #[test]
    fn a_start_without_a_single_process_ends_when_its_time_is_over() {
        let mut pair = Pair::starting();
        for worker in pair.workers.clone() {
            pair.step(Input::SpawnFailed(worker));
        }
        refuses(&mut pair, Span::from_ms(8_900));
        assert_eq!(pair.engine.deadline().map(|at| at <= Mono::from_ns(9_000_000_001)), Some(true));
        assert!(!pair.engine.supervisor().is_stopping());
        refuses(&mut pair, Span::from_ms(200));
        assert!(pair.engine.supervisor().is_stopping(), "it waits for ever");
    }

    #[test]
    fn a_death_after_a_refusal_counts_as_one() {
        let mut pair = Pair::starting();
        for _ in 0..4 {
            let worker = pair.workers[0];
            pair.step(Input::SpawnFailed(worker));
            pair.later(BACKOFF_MIN.times(40));
            let [(next, _)] = pair.started()[..] else { panic!("it is tried again") };
            pair.workers[0] = next;
        }
        let other = pair.workers[1];
        pair.step(Input::Hello { worker: other, terms: TERMS });
        pair.dies(pair.workers[0]);
        assert_eq!(pair.started().len(), 1, "the first death of a program costs no time");
    }
}
