//! Workers that want to leave: somebody has sent one SIGTERM, or it lets itself be started anew
//! after so many requests. One that has served stays until another can take its slot, so that
//! nobody waits for that; any other goes at once, and its slot has the same brake as after a death.

use super::super::action::Actions;
use super::super::event::Cause;
use super::Supervisor;
use super::worker::WorkerState;
use crate::units::{Mono, SlotId, WorkerId};

impl Supervisor {
    pub(in super::super) fn asks_to_leave(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker(id).cloned() else { return };
        // At the end of the app all are told to leave in their turn, and are of use until then.
        if !worker.state.stays() || !self.phase.accepts() {
            return;
        }
        let has_slot = self.slots[worker.slot.index()].holder == Some(id);
        if has_slot && worker.state == WorkerState::Ready && worker.has_served() {
            self.has_done_its_work(&worker);
            self.find_successor(now, id, worker.slot, out);
        } else {
            self.dismiss(now, id, out);
            self.leave_slot(now, id, &worker, Cause::Told, out);
            self.judge_release(now, id, &worker, out);
        }
        self.tell_changes(out);
    }

    /// The holder of a slot serves until somebody else can, or it turns out that nobody can.
    pub(super) fn find_successor(
        &mut self,
        now: Mono,
        id: WorkerId,
        slot: SlotId,
        out: &mut Actions,
    ) {
        if let Some(worker) = self.worker_mut(id) {
            worker.leaving = true;
        }
        if self.slots[slot.index()].successor.is_some() {
            return;
        }
        let successor = self.spawn(now, slot, self.generation_of_new(), out);
        self.slots[slot.index()].successor = successor;
        if successor.is_none() {
            self.let_leave(now, slot, out);
        }
    }

    /// The successor of a slot's holder has come to nothing. Whoever wants to leave goes all the
    /// same, and the slot is filled when it is empty.
    pub(super) fn let_leave(&mut self, now: Mono, slot: SlotId, out: &mut Actions) {
        let Some(id) = self.slots[slot.index()].holder else { return };
        let leaving = self.worker(id).filter(|worker| worker.leaving);
        if let Some(worker) = leaving.cloned() {
            self.dismiss(now, id, out);
            // One of a release that was given up may have done nothing yet.
            let cause = if worker.has_served() { Cause::Left } else { Cause::Told };
            self.vacate(now, &worker, cause, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::action::Action;
    use super::super::super::capabilities::Capabilities;
    use super::super::super::dispatcher::policy::Policy;
    use super::super::super::event::Event;
    use super::super::super::input::{Exit, Input, Load, Terms};
    use super::super::super::pair::Pair;
    use super::super::worker::WorkerRecord;
    use super::*;
    use crate::limits::WORKERS_MAX;
    use crate::units::{Generation, Span};

    const TERMS: Terms = Terms { concurrency: 1, connections_max: 9 };

    /// A pair, and one of the two, which has served.
    fn pair() -> (Pair, WorkerId) {
        let mut pair = Pair::new(Policy::RoundRobin);
        let worker = pair.workers[0];
        has_served(&mut pair, worker);
        (pair, worker)
    }

    fn has_served(pair: &mut Pair, worker: WorkerId) {
        let load = Load { finished: 1, ..Load::NONE };
        pair.step(Input::Load { worker, load });
    }

    fn leaves(pair: &mut Pair, worker: WorkerId) {
        pair.step(Input::Exited { worker, exit: Exit::Clean });
    }

    #[test]
    fn who_has_served_and_leaves_is_replaced_at_once_however_often() {
        let (mut pair, mut worker) = pair();
        for _ in 0..20 {
            leaves(&mut pair, worker);
            let slot = SlotId(0);
            let (cause, recovered, lost) = (Cause::Left, 0, 0);
            assert!(pair.told(Event::Gone { worker, slot, cause, recovered, lost }));
            let [(next, _)] = pair.started()[..] else { panic!("its slot is filled") };
            pair.step(Input::Hello { worker: next, terms: TERMS });
            has_served(&mut pair, next);
            worker = next;
        }
    }

    #[test]
    fn who_leaves_before_it_has_done_anything_is_slowed_down() {
        let mut pair = Pair::new(Policy::RoundRobin);
        let mut worker = pair.workers[0];
        for expected in [1, 0] {
            leaves(&mut pair, worker);
            let started = pair.started();
            assert_eq!(started.len(), expected);
            for (next, _) in started {
                pair.step(Input::Hello { worker: next, terms: TERMS });
                worker = next;
            }
        }
    }

    #[test]
    fn who_asks_to_leave_serves_until_another_can() {
        let (mut pair, worker) = pair();
        pair.step(Input::AsksToLeave(worker));
        let [(next, generation)] = pair.started()[..] else { panic!("another is started") };
        assert_eq!((generation, pair.engine.supervisor().strength()), (Generation(1), (2, 2)));
        pair.arrives(0);
        assert_eq!(pair.offers[0].1, worker, "it serves still");
        pair.step(Input::AsksToLeave(worker));
        pair.step(Input::Hello { worker: next, terms: TERMS });
        assert!(pair.others.contains(&Action::Drain(worker)));
        assert_eq!((pair.engine.supervisor().strength(), pair.started().len()), ((2, 2), 0));
    }

    #[test]
    fn who_asks_to_leave_goes_where_nobody_can_take_its_place() {
        let (mut pair, worker) = pair();
        pair.step(Input::AsksToLeave(worker));
        let [(next, _)] = pair.started()[..] else { panic!("another is started") };
        pair.step(Input::SpawnFailed(next));
        assert!(pair.others.contains(&Action::Drain(worker)));
        let [(again, _)] = pair.started()[..] else { panic!("the empty slot is filled") };
        pair.step(Input::SpawnFailed(again));
        assert_eq!(pair.started(), [], "not without a pause");
        pair.later(Span::from_ms(100));
        assert_eq!(pair.started().len(), 1);
    }

    #[test]
    fn who_asks_to_leave_goes_where_there_is_no_index_for_another_and_is_missed() {
        let (mut pair, worker) = pair();
        let state = WorkerState::Killing { until: Mono::from_ns(u64::MAX) };
        let supervisor = &mut pair.engine.supervisor;
        while let Some(id) = supervisor.workers.vacant(WORKERS_MAX) {
            supervisor
                .workers
                .insert(id, WorkerRecord::new(SlotId(0), Generation(1), Capabilities::FULL, state));
        }
        pair.step(Input::AsksToLeave(worker));
        assert!(pair.others.contains(&Action::Drain(worker)));
        assert!(pair.told(Event::Strength { have: 1, want: 2 }));
    }

    #[test]
    fn who_asks_to_leave_at_once_is_slowed_down() {
        let mut pair = Pair::new(Policy::RoundRobin);
        let mut worker = pair.workers[0];
        for _ in 0..5 {
            pair.step(Input::AsksToLeave(worker));
            leaves(&mut pair, worker);
            pair.later(Span::from_s(1));
            let [(next, _)] = pair.started()[..] else { panic!("its slot is filled") };
            pair.step(Input::Hello { worker: next, terms: TERMS });
            worker = next;
        }
        pair.step(Input::AsksToLeave(worker));
        pair.later(Span::from_ms(700));
        assert_eq!(pair.started(), [], "it has waited for longer each time");
    }
}
