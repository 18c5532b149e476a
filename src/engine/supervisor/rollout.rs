//! Rolling replacement: every worker gets a successor, one slot after the other, or none does.
//!
//! The first of a release is on trial: it serves, and no other slot is touched until it has stayed
//! up for a while, or has answered requests and goes of its own accord. Afterwards all goes as fast
//! as workers start, and who dies early is counted when it does. So a release that dies a moment
//! after it is ready costs the app nothing, and a good one waits once, not once per slot (decision
//! 022).
//!
//! Whoever is replaced stands by until the last slot has its new worker, and has its slot again the
//! moment the release is given up: what serves then is the old release, whole (decision 025).

use super::super::action::Actions;
use super::super::event::Event;
use super::Supervisor;
use super::slots::Slot;
use super::worker::{WorkerRecord, WorkerState};
use crate::limits::{BACKOFF_FORGET, BACKOFF_MIN, ROLLOUT_FAILURES_MAX, ROLLOUT_TRIAL};
use crate::units::{Generation, Mono, SlotId, WorkerId};

/// A replacement of all workers, under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rollout {
    /// What the new ones belong to.
    pub(super) generation: Generation,
    trial: Trial,
    /// New workers that did not become ready, or did not stay so.
    failures: u32,
    /// Whether another one was asked for meanwhile.
    again: bool,
    /// No further attempt before then.
    not_before: Option<Mono>,
}

/// Whether one of the new workers has stayed up for a while, or has done its work before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trial {
    /// None has yet.
    Running,
    /// One has.
    Passed,
}

impl Supervisor {
    pub(super) fn begin_rollout(&mut self, now: Mono, out: &mut Actions) {
        if !self.phase.accepts() {
            return;
        }
        if let Some(rollout) = &mut self.rollout {
            rollout.again = true;
            return;
        }
        self.newest = Generation(self.newest.0 + 1);
        self.roll_out(now, self.newest, out);
    }

    /// Replaces all workers by those of a release, be it newer or older than what serves.
    fn roll_out(&mut self, now: Mono, generation: Generation, out: &mut Actions) {
        let (trial, failures, again, not_before) = (Trial::Running, 0, false, None);
        self.rollout = Some(Rollout { generation, trial, failures, again, not_before });
        out.emit(Event::RolloutStarted(generation));
        // What its predecessors did says nothing of this release.
        for slot in self.slots.iter_mut().filter(|slot| slot.holder.is_none()) {
            slot.backoff.forget();
            slot.not_before = None;
        }
        self.fill_slots(now, out);
    }

    /// What workers belong to that are started now.
    pub(super) fn generation_of_new(&self) -> Generation {
        self.rollout.map_or(self.generation, |rollout| rollout.generation)
    }

    /// One slot at a time gets its successor; when none is left that needs one, the rollout is
    /// done.
    pub(super) fn advance_rollout(&mut self, now: Mono, out: &mut Actions) {
        if !self.phase.accepts() {
            self.rollout = None;
        }
        self.judge_trial(now);
        if let Some(rollout) = self.rollout
            && self.is_done(now, rollout)
        {
            self.generation = rollout.generation;
            self.dismiss_standbys(now, out);
            self.end_rollout(now, Event::RolloutDone(rollout.generation), out);
        }
        let Some(rollout) = self.rollout.filter(|it| self.goes_on(now, *it)) else { return };
        // An empty one is filled when its delay is over, and needs no successor.
        let next = |slot: &Slot| rollout.is_lacked_by(slot) && slot.holder.is_some();
        let tried = rollout.trial == Trial::Running && self.trial_ends_at(rollout).is_some();
        if !tried && let Some(index) = self.slots.iter().position(next) {
            let slot = Self::slot_id(index);
            self.slots[index].successor = self.spawn(now, slot, rollout.generation, out);
        }
    }

    /// Whether a release has come to every slot.
    fn is_done(&self, now: Mono, rollout: Rollout) -> bool {
        let lacked = self.slots.iter().any(|slot| rollout.is_lacked_by(slot));
        rollout.trial == Trial::Passed && self.goes_on(now, rollout) && !lacked
    }

    /// Whether there is nothing that a rollout has to wait for.
    fn goes_on(&self, now: Mono, rollout: Rollout) -> bool {
        let waits = rollout.not_before.is_some_and(|at| now < at);
        !waits && !self.is_unsettled(rollout.generation)
    }

    /// A rollout is over, one way or the other; one that was asked for meanwhile begins.
    fn end_rollout(&mut self, now: Mono, how: Event, out: &mut Actions) {
        let rollout = self.rollout.take();
        if let Event::RolloutAborted { generation, .. } = how {
            self.go_back(now, generation, out);
        }
        out.emit(how);
        if rollout.is_some_and(|rollout| rollout.again) {
            self.begin_rollout(now, out);
        }
    }

    /// When the rollout goes on, though nothing else happens.
    pub(super) fn rollout_deadline(&self) -> Option<Mono> {
        let rollout = self.rollout?;
        let trial = match rollout.trial {
            Trial::Running => self.trial_ends_at(rollout),
            Trial::Passed => None,
        };
        [rollout.not_before, trial].into_iter().flatten().min()
    }

    pub(super) fn tick_rollout(&mut self, now: Mono) {
        if let Some(rollout) = &mut self.rollout
            && rollout.not_before.is_some_and(|at| at <= now)
        {
            rollout.not_before = None;
        }
    }

    /// Whether a release is being rolled out of which no worker has passed its trial yet.
    pub(super) fn is_on_trial(&self) -> bool {
        self.rollout.is_some_and(|rollout| rollout.trial == Trial::Running)
    }

    /// A worker is ready, and takes a slot that another held until now. Where it is of the release
    /// that is being rolled out, and the other is not, that one stands by, unless it wants to leave
    /// anyway.
    pub(super) fn take_over(
        &mut self,
        now: Mono,
        predecessor: WorkerId,
        slot: SlotId,
        out: &mut Actions,
    ) {
        let holder = self.slots[slot.index()].holder;
        let is_new = |id| self.rollout.is_some_and(|rollout| self.is_of(id, rollout.generation));
        let replaces = holder.is_some_and(is_new) && !is_new(predecessor);
        if replaces && self.worker(predecessor).is_some_and(is_fit) {
            let before = self.slots[slot.index()].standby.replace(predecessor);
            debug_assert_eq!(before, None, "whoever stands by has been replaced before");
        } else {
            self.dismiss(now, predecessor, out);
        }
    }

    /// A worker is gone, or goes without having been told by us. If it belongs to the rollout and
    /// has hardly lived, or none has passed the trial yet, that says something of its release.
    pub(super) fn judge_release(
        &mut self,
        now: Mono,
        id: WorkerId,
        worker: &WorkerRecord,
        out: &mut Actions,
    ) {
        if self.rollout.is_some_and(|rollout| rollout.generation == worker.generation)
            && (self.is_on_trial() || died_early(now, worker))
        {
            self.slots[worker.slot.index()].reached = self.generation;
            self.rollout_failed_once(now, id, worker.slot, out);
        }
    }

    fn rollout_failed_once(
        &mut self,
        now: Mono,
        worker: WorkerId,
        slot: SlotId,
        out: &mut Actions,
    ) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.failures += 1;
        if rollout.failures < ROLLOUT_FAILURES_MAX {
            rollout.not_before = Some(now.after(BACKOFF_MIN.times(1 << rollout.failures)));
            return;
        }
        let generation = rollout.generation;
        self.end_rollout(now, Event::RolloutAborted { generation, worker, slot }, out);
    }

    /// A release is given up: whoever stands by has its slot again, and every new worker goes. One
    /// whose predecessor is gone serves until another of the old release can.
    fn go_back(&mut self, now: Mono, given_up: Generation, out: &mut Actions) {
        for index in 0..self.slots.len() {
            let slot = Self::slot_id(index);
            let standby = self.take_standby(now, slot, out);
            let successor = self.slots[index].successor;
            let successor = successor.filter(|id| self.is_of(*id, given_up));
            if let Some(successor) = successor {
                self.slots[index].successor = None;
                self.dismiss(now, successor, out);
            }
            let Some(holder) = self.slots[index].holder else { continue };
            let Some(worker) = self.worker(holder) else { continue };
            let serves = worker.state == WorkerState::Ready;
            match (worker.generation == given_up, standby) {
                // It was to be followed by the one that goes.
                (false, _) if worker.leaving && successor.is_some() => {
                    self.find_successor(now, holder, slot, out);
                }
                (false, _) => {}
                (true, None) if serves => self.find_successor(now, holder, slot, out),
                (true, standby) => {
                    self.slots[index].holder = standby;
                    self.dismiss(now, holder, out);
                }
            }
        }
        self.fill_slots(now, out);
    }

    fn is_of(&self, id: WorkerId, release: Generation) -> bool {
        self.worker(id).is_some_and(|worker| worker.generation == release)
    }

    /// Whoever stands by takes the slot back, and with that the slot has got no further than to
    /// that one's release. One that could not serve there goes, if it does not already.
    pub(super) fn take_standby(
        &mut self,
        now: Mono,
        slot: SlotId,
        out: &mut Actions,
    ) -> Option<WorkerId> {
        let id = self.slots[slot.index()].standby.take()?;
        let Some(standby) = self.worker(id).filter(|standby| is_fit(standby)) else {
            self.dismiss(now, id, out);
            return None;
        };
        self.slots[slot.index()].reached = standby.generation;
        Some(id)
    }

    /// Ends the trial when its time has come.
    fn judge_trial(&mut self, now: Mono) {
        let over = |rollout| self.trial_ends_at(rollout).is_some_and(|at| at <= now);
        if self.is_on_trial() && self.rollout.is_some_and(over) {
            self.pass_trial();
        }
    }

    /// A worker has answered requests and goes of its own accord: more than that cannot be asked
    /// of its release, however short its life was meant to be.
    pub(super) fn has_done_its_work(&mut self, worker: &WorkerRecord) {
        if self.rollout.is_some_and(|rollout| rollout.generation == worker.generation) {
            self.pass_trial();
        }
    }

    /// The other slots follow.
    const fn pass_trial(&mut self) {
        if let Some(rollout) = &mut self.rollout {
            rollout.trial = Trial::Passed;
        }
    }

    /// Nobody needs to stand by any more.
    fn dismiss_standbys(&mut self, now: Mono, out: &mut Actions) {
        for index in 0..self.slots.len() {
            if let Some(standby) = self.slots[index].standby.take() {
                self.dismiss(now, standby, out);
            }
        }
    }

    /// When the first of the new workers will have stayed up for long enough, if one is up.
    fn trial_ends_at(&self, rollout: Rollout) -> Option<Mono> {
        let ready = self.workers().map(|(_, worker)| worker).filter(|worker| {
            worker.generation == rollout.generation && worker.state == WorkerState::Ready
        });
        let since = ready.filter_map(|worker| worker.ready_since).min()?;
        Some(since.after(ROLLOUT_TRIAL))
    }

    /// Whether a worker is on its way up or to its grave for which a rollout has to wait.
    fn is_unsettled(&self, generation: Generation) -> bool {
        let unsettled = |worker: &WorkerRecord| match worker.state {
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming => worker.generation == generation,
            WorkerState::Ready | WorkerState::Draining { .. } => false,
        };
        self.workers().any(|(_, worker)| unsettled(worker))
            || self.slots.iter().any(|slot| slot.successor.is_some())
    }
}

impl Rollout {
    /// Whether a slot has still to get a worker of it.
    fn is_lacked_by(&self, slot: &Slot) -> bool {
        slot.wanted && slot.reached != self.generation
    }
}

/// Whether a worker serves, and is to go on with that as far as is known.
fn is_fit(worker: &WorkerRecord) -> bool {
    let goes = worker.leaving || worker.detached_until.is_some();
    worker.state == WorkerState::Ready && !worker.stopped && !goes
}

/// Whether a worker has hardly lived: not through a trial's time, or somewhat longer and to no use.
fn died_early(now: Mono, worker: &WorkerRecord) -> bool {
    worker.ready_since.is_none_or(|since| {
        let lived = now.since(since);
        lived < ROLLOUT_TRIAL || lived < BACKOFF_FORGET && !worker.has_served()
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::super::super::action::Action;
    use super::super::super::dispatcher::policy::Policy;
    use super::super::super::input::{Command, Exit, Input, Load, Message, Terms};
    use super::super::super::pair::Pair;
    use super::*;
    use crate::limits::{KILL_TIMEOUT, VIOLATIONS_MAX};
    use crate::units::Span;

    const TERMS: Terms = Terms { concurrency: 1, connections_max: 9 };

    fn begun() -> Pair {
        let mut pair = Pair::new(Policy::RoundRobin);
        pair.step(Input::Command(Command::Rollout));
        pair
    }

    fn ready(pair: &mut Pair, worker: WorkerId) {
        pair.step(Input::Hello { worker, terms: TERMS });
    }

    /// The only one that was started since.
    fn only(pair: &mut Pair) -> WorkerId {
        let [(worker, generation)] = pair.started()[..] else { panic!("one is started") };
        assert_eq!(generation, Generation(2));
        worker
    }

    /// The first one takes its slot.
    fn tried() -> (Pair, WorkerId) {
        let mut pair = begun();
        let first = only(&mut pair);
        ready(&mut pair, first);
        (pair, first)
    }

    fn has_served(pair: &mut Pair, worker: WorkerId) {
        let load = Load { finished: 1, ..Load::NONE };
        pair.step(Input::Load { worker, load });
    }

    fn is_killed(pair: &mut Pair, worker: WorkerId) {
        for _ in 0..VIOLATIONS_MAX {
            pair.step(Input::Violation(worker));
        }
    }

    /// Both slots get workers that stay.
    fn is_completed(pair: &mut Pair) {
        let first = only(pair);
        ready(pair, first);
        pair.later(ROLLOUT_TRIAL);
        let second = only(pair);
        ready(pair, second);
        assert!(pair.told(Event::RolloutDone(Generation(2))));
        assert_eq!(serving(pair), [first, second]);
    }

    fn serving(pair: &Pair) -> Vec<WorkerId> {
        pair.engine.supervisor.slots.iter().filter_map(|slot| slot.holder).collect()
    }

    #[test]
    fn the_first_is_on_trial_and_the_rest_follows_as_fast_as_it_starts() {
        let mut pair = begun();
        let first = only(&mut pair);
        ready(&mut pair, first);
        assert_eq!(serving(&pair), [first, pair.workers[1]], "it serves while it is on trial");
        pair.later(ROLLOUT_TRIAL.less(Span::from_ns(1)));
        assert!(pair.others.iter().all(|other| !matches!(other, Action::Drain(_))));
        assert_eq!(pair.engine.deadline(), Some(pair.now.after(Span::from_ns(1))));
        pair.later(Span::from_ns(1));
        assert!(pair.others.iter().all(|other| !matches!(other, Action::Drain(_))));
        let second = only(&mut pair);
        ready(&mut pair, second);
        for old in &pair.workers {
            assert!(pair.others.contains(&Action::Drain(*old)));
        }
        assert!(pair.told(Event::RolloutDone(Generation(2))));
        assert_eq!(pair.engine.supervisor().generation(), Generation(2));
    }

    #[test]
    fn an_earlier_release_can_come_back_and_fails_as_whole_as_any() {
        let mut pair = begun();
        is_completed(&mut pair);
        let newer = serving(&pair);
        for attempt in 0..2 {
            let mut out = Actions::new();
            let (now, supervisor) = (pair.now, &mut pair.engine.supervisor);
            supervisor.roll_out(now, Generation(1), &mut out);
            pair.step(Input::Tick);
            let [(first, Generation(1))] = pair.started()[..] else { panic!("{attempt}") };
            ready(&mut pair, first);
            pair.later(ROLLOUT_TRIAL);
            let [(mut second, Generation(1))] = pair.started()[..] else { panic!("{attempt}") };
            if attempt == 0 {
                for _ in 1..ROLLOUT_FAILURES_MAX {
                    pair.dies(second);
                    pair.later(Span::from_s(2));
                    second = pair.started()[0].0;
                }
                pair.dies(second);
                assert_eq!((serving(&pair), pair.gave_up(Generation(1))), (newer.clone(), true));
                pair.dies(first);
                continue;
            }
            ready(&mut pair, second);
            assert!(pair.told(Event::RolloutDone(Generation(1))));
            assert_eq!(serving(&pair), [first, second]);
        }
        pair.step(Input::Command(Command::Rollout));
        let [(_, generation)] = pair.started()[..] else { panic!("the next one begins") };
        assert_eq!(generation, Generation(3));
    }

    #[test]
    fn a_release_that_dies_after_it_is_ready_is_given_up_and_costs_nothing() {
        let mut pair = begun();
        for failure in 1..=ROLLOUT_FAILURES_MAX {
            let worker = only(&mut pair);
            ready(&mut pair, worker);
            pair.later(Span::from_ms(30));
            pair.dies(worker);
            assert_eq!(serving(&pair), pair.workers, "the old one is back in service");
            assert_eq!(pair.engine.supervisor().strength(), (2, 2));
            let given_up = pair.gave_up(Generation(2));
            assert_eq!(given_up, failure == ROLLOUT_FAILURES_MAX);
            assert_eq!(pair.started(), [], "not without a pause");
            pair.later(Span::from_ms(400));
        }
        pair.later(Span::from_s(60));
        assert_eq!((pair.started(), serving(&pair)), (Vec::new(), pair.workers.clone()));
        pair.step(Input::Command(Command::Rollout));
        let [(_, generation)] = pair.started()[..] else { panic!("the next one begins") };
        assert_eq!(generation, Generation(3));
    }

    #[test]
    fn one_that_passes_its_trial_and_dies_to_no_use_counts_while_the_rollout_lasts() {
        let mut pair = begun();
        let first = only(&mut pair);
        ready(&mut pair, first);
        pair.later(ROLLOUT_TRIAL);
        let mut slow = only(&mut pair);
        for _ in 0..2 {
            pair.dies(slow);
            pair.later(Span::from_ms(300));
            slow = pair.started().into_iter().map(|(worker, _)| worker).next_back().unwrap();
        }
        pair.later(Span::from_s(3));
        pair.dies(first);
        assert!(pair.gave_up(Generation(2)));
        assert_eq!(serving(&pair), pair.workers, "the old ones serve again");
        assert_eq!(pair.engine.supervisor().generation(), Generation(1));
    }

    #[test]
    fn given_up_after_half_the_old_release_is_whole_at_once_and_no_new_worker_stays() {
        let (mut pair, first) = tried();
        pair.later(ROLLOUT_TRIAL);
        for failure in 1..=ROLLOUT_FAILURES_MAX {
            let second = only(&mut pair);
            pair.dies(second);
            assert_eq!(pair.gave_up(Generation(2)), failure == ROLLOUT_FAILURES_MAX);
            pair.later(Span::from_ms(400));
        }
        assert!(pair.others.contains(&Action::Drain(first)));
        assert_eq!(
            (serving(&pair), pair.engine.supervisor().strength()),
            (pair.workers.clone(), (2, 2))
        );
        pair.later(Span::from_s(60));
        assert_eq!(pair.started(), [], "nobody is missing");
    }

    #[test]
    fn given_up_whose_predecessor_is_gone_serves_until_another_of_the_old_release_can() {
        let (mut pair, first) = tried();
        pair.later(ROLLOUT_TRIAL);
        pair.dies(pair.workers[0]);
        for _ in 0..ROLLOUT_FAILURES_MAX {
            let (second, _) = pair.started().pop().expect("it is tried again");
            pair.dies(second);
            pair.later(Span::from_ms(400));
        }
        let [(again, generation)] = pair.started()[..] else { panic!("one of the old release") };
        assert_eq!((generation, serving(&pair)), (Generation(1), vec![first, pair.workers[1]]));
        ready(&mut pair, again);
        assert!(pair.others.contains(&Action::Drain(first)));
        assert_eq!(serving(&pair), [again, pair.workers[1]]);
    }

    #[test]
    fn given_up_who_asked_to_leave_is_followed_by_one_of_the_old_release() {
        let (mut pair, first) = tried();
        pair.later(ROLLOUT_TRIAL);
        let asks = pair.workers[1];
        has_served(&mut pair, asks);
        for _ in 1..ROLLOUT_FAILURES_MAX {
            let second = only(&mut pair);
            pair.dies(second);
            pair.later(Span::from_ms(400));
        }
        let second = only(&mut pair);
        pair.step(Input::AsksToLeave(asks));
        assert_eq!(pair.started(), [], "the next release follows it");
        pair.dies(first);
        assert!(pair.gave_up(Generation(2)));
        assert!(pair.others.contains(&Action::Kill(second)), "it is not its program yet");
        let [(next, generation)] = pair.started()[..] else { panic!("another follows") };
        assert_eq!((generation, serving(&pair)), (Generation(1), pair.workers.clone()));
        ready(&mut pair, next);
        assert!(pair.others.contains(&Action::Drain(asks)));
        assert_eq!(serving(&pair), [pair.workers[0], next]);
    }

    #[test]
    fn given_up_what_is_not_ready_goes_and_an_empty_slot_is_filled_from_the_old_release() {
        let (mut pair, first) = tried();
        pair.later(ROLLOUT_TRIAL);
        pair.dies(pair.workers[1]);
        for failure in 1..=ROLLOUT_FAILURES_MAX {
            let (second, _) = pair.started().pop().expect("it is tried again");
            if failure < ROLLOUT_FAILURES_MAX {
                pair.dies(second);
                pair.later(Span::from_s(2));
                continue;
            }
            // Another of its release is on its way where nobody stands by.
            pair.dies(first);
            assert!(pair.gave_up(Generation(2)));
            assert!(pair.others.contains(&Action::Kill(second)), "it is not its program yet");
        }
        let [(again, generation)] = pair.started()[..] else { panic!("one of the old release") };
        assert_eq!((generation, serving(&pair)), (Generation(1), vec![pair.workers[0], again]));
    }

    #[test]
    fn whoever_stands_by_and_dies_is_not_missed_and_comes_back_to_nobody() {
        let mut pair = begun();
        let (first, old) = (only(&mut pair), pair.workers[0]);
        ready(&mut pair, first);
        pair.arrives(0);
        pair.says(0, Message::Claimed { transit_us: 0 });
        assert_eq!(pair.offers[0].1, first, "the old one is offered nothing more");
        pair.dies(old);
        assert_eq!((pair.started(), serving(&pair)[0]), (Vec::new(), first));
        pair.dies(first);
        let filler = only(&mut pair);
        assert_eq!(serving(&pair)[0], filler);
    }

    #[test]
    fn another_release_that_was_asked_for_meanwhile_is_tried_when_the_first_is_given_up() {
        let mut pair = begun();
        pair.step(Input::Command(Command::Rollout));
        for _ in 0..ROLLOUT_FAILURES_MAX {
            let worker = only(&mut pair);
            pair.dies(worker);
            pair.later(Span::from_ms(400));
        }
        let [(_, generation)] = pair.started()[..] else { panic!("it begins") };
        assert_eq!(generation, Generation(3));
    }

    #[test]
    fn a_rollout_in_which_nothing_starts_is_given_up_and_not_done() {
        let mut pair = Pair::new(Policy::RoundRobin);
        let mut living = pair.workers.clone();
        while let Some(worker) = living.pop() {
            pair.dies(worker);
            living.extend(pair.started().into_iter().map(|(worker, _)| worker));
        }
        assert_eq!(
            pair.engine.supervisor().workers().count(),
            0,
            "all slots wait out their back-off"
        );
        let (mut done, mut given_up) = (false, false);
        pair.step(Input::Command(Command::Rollout));
        for _ in 0..50 {
            done |= pair.told(Event::RolloutDone(Generation(2)));
            given_up |= pair.gave_up(Generation(2));
            for (worker, _) in pair.started() {
                pair.dies(worker);
            }
            pair.later(Span::from_ms(100));
        }
        assert_eq!((done, given_up), (false, true));
    }

    #[test]
    fn one_that_cannot_be_killed_on_its_trial_is_followed_by_another() {
        let (mut pair, first) = tried();
        is_killed(&mut pair, first);
        pair.later(KILL_TIMEOUT);
        assert_eq!(serving(&pair), pair.workers, "the old one is back in service");
        is_completed(&mut pair);
    }

    #[test]
    fn one_that_dies_in_the_turn_in_which_its_trial_ends_is_followed_by_another() {
        let (mut pair, first) = tried();
        has_served(&mut pair, first);
        pair.now = pair.now.after(ROLLOUT_TRIAL);
        pair.dies(first);
        assert_eq!(serving(&pair), pair.workers, "the old one is back in service");
        pair.later(BACKOFF_MIN.times(2));
        is_completed(&mut pair);
    }

    #[test]
    fn one_that_has_done_its_work_and_leaves_has_passed_its_trial() {
        let (mut pair, first) = tried();
        has_served(&mut pair, first);
        pair.step(Input::Exited { worker: first, exit: Exit::Clean });
        assert_eq!(serving(&pair), pair.workers, "the old one serves until another can");
        let second = only(&mut pair);
        ready(&mut pair, second);
        assert_eq!(serving(&pair), [second, pair.workers[1]]);
        let third = only(&mut pair);
        ready(&mut pair, third);
        assert!(pair.told(Event::RolloutDone(Generation(2))));
        assert_eq!(serving(&pair), [second, third]);
    }

    #[test]
    fn one_that_has_done_its_work_and_asks_to_leave_has_passed_its_trial() {
        let (mut pair, first) = tried();
        has_served(&mut pair, first);
        pair.step(Input::AsksToLeave(first));
        let second = only(&mut pair);
        ready(&mut pair, second);
        assert!(pair.others.contains(&Action::Drain(first)));
        let third = only(&mut pair);
        ready(&mut pair, third);
        assert!(pair.told(Event::RolloutDone(Generation(2))));
        assert_eq!(serving(&pair), [second, third]);
    }

    #[test]
    fn one_that_leaves_and_has_done_nothing_has_failed() {
        let mut pair = begun();
        for _ in 0..ROLLOUT_FAILURES_MAX {
            let worker = only(&mut pair);
            ready(&mut pair, worker);
            pair.step(Input::AsksToLeave(worker));
            assert_eq!(serving(&pair), pair.workers);
            pair.step(Input::Exited { worker, exit: Exit::Clean });
            pair.later(Span::from_ms(400));
        }
        assert_eq!((pair.engine.supervisor.rollout, pair.started()), (None, Vec::new()));
    }

    #[test]
    fn who_is_on_its_way_out_takes_no_slot_back() {
        let (mut pair, first) = tried();
        let old = pair.workers[0];
        is_killed(&mut pair, old);
        pair.dies(first);
        let filler = only(&mut pair);
        assert_eq!(serving(&pair), [filler, pair.workers[1]]);
    }

    #[test]
    fn who_is_stopped_takes_no_slot_back_and_goes() {
        let (mut pair, first) = tried();
        pair.step(Input::Stopped(pair.workers[0]));
        pair.dies(first);
        assert!(pair.others.contains(&Action::Drain(pair.workers[0])));
        let filler = only(&mut pair);
        assert_eq!(serving(&pair), [filler, pair.workers[1]]);
    }

    #[test]
    fn a_healthy_one_keeps_its_slot_from_who_is_on_its_way_out() {
        let (mut pair, first) = tried();
        let mut filler = pair.workers[1];
        pair.dies(filler);
        for _ in 1..ROLLOUT_FAILURES_MAX {
            filler = only(&mut pair);
            pair.dies(filler);
            pair.later(Span::from_ms(200));
        }
        let old = pair.workers[0];
        is_killed(&mut pair, old);
        filler = only(&mut pair);
        pair.dies(filler);
        assert!(pair.gave_up(Generation(2)));
        assert_eq!(pair.engine.supervisor.slots[0].holder, Some(first));
    }

    #[test]
    fn another_release_that_was_asked_for_meanwhile_is_tried_when_the_first_is_done() {
        let mut pair = begun();
        pair.step(Input::Command(Command::Rollout));
        is_completed(&mut pair);
        let [(_, generation)] = pair.started()[..] else { panic!("it begins") };
        assert_eq!(generation, Generation(3));
    }

    #[test]
    fn an_empty_slot_is_filled_by_the_rollout_at_once_and_once() {
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
        assert_eq!(pair.started(), [], "the successor has the slot, once it is ready");
        let terms = Terms { concurrency: 1, connections_max: 9 };
        pair.step(Input::Hello { worker: successor, terms });
        assert_eq!(pair.engine.supervisor().strength(), (2, 2));
    }
}
