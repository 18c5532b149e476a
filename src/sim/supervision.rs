//! What must be true of what the master tells of its workers: whom it starts again and how soon,
//! whom it gives up, and when it gives up itself.

use super::process::{Process, ProcessId};
use super::world::World;
use crate::engine::capabilities::Readiness;
use crate::engine::event::{Cause, Event};
use crate::limits::{BACKOFF_FORGET, START_DEATHS_MAX};
use crate::units::{Generation, Mono, SlotId, Span, WorkerId};

/// So many processes of one slot that do nothing, in so much time, are no series of tries any more:
/// each of a few rollouts has three, and the slot's own brake allows for five.
const STORM: usize = 16;
const STORM_OVER: Span = Span::from_ms(500);

impl World {
    pub(super) fn saw_event(&mut self, event: Event) {
        let late = Mono::ZERO.after(self.scenario.setup.patience.start) <= self.now;
        let ended = |each: &&Process| each.ended.is_some() || each.dying;
        let deaths = self.processes.iter().filter(ended).count();
        let ledger = &mut self.ledger;
        match event {
            Event::Ready { worker, slot, .. } => self.saw_ready(worker, slot),
            Event::Restarting { slot, after } => self.judge_restart(slot, after),
            Event::Stopping if ledger.stop_at.is_none() => {
                // It gives up by itself: no worker ever became ready.
                ledger.stop_at = Some(self.now);
                ledger.fast_at = Some(self.now);
                if ledger.ever_ready {
                    self.fail("the master gives up though workers were ready".to_owned());
                } else if deaths < START_DEATHS_MAX as usize && !ledger.waited && !late {
                    self.fail("the master gives up, and nobody has died".to_owned());
                }
            }
            Event::Lied { worker, .. } => {
                let liar = |process: ProcessId| self.processes[process].nature.lie.is_some();
                if !self.process_of(worker).is_some_and(liar) {
                    self.fail(format!("{worker} is honest, and called a liar"));
                }
            }
            Event::Gone { worker, cause: Cause::Stalled, .. } => self.judge_stall(worker),
            Event::Gone { cause: Cause::NotReady | Cause::ExecTimedOut, .. } => {
                ledger.waited = true;
            }
            Event::Gone { worker, cause: Cause::Left, .. } => self.judge_leave(worker),
            // A new release has done nothing wrong yet.
            Event::RolloutStarted(generation) => {
                ledger.backoffs.clear();
                ledger.rollout = Some(generation);
            }
            Event::RolloutDone(generation) => {
                ledger.rollout = None;
                self.judge_release(generation);
            }
            Event::RolloutAborted { generation, .. } => {
                ledger.rollout = None;
                ledger.given_up.insert(generation);
            }
            Event::Starting { worker, slot, generation } => {
                ledger.generations.insert(worker, generation);
                self.judge_start(slot, generation);
            }
            Event::Gone { .. }
            | Event::Unspoken { .. }
            | Event::Draining { .. }
            | Event::Strength { .. }
            | Event::Stalled { .. }
            | Event::Hold { .. }
            | Event::AcceptPaused
            | Event::AcceptResumed
            | Event::OffersPaused
            | Event::OffersResumed
            | Event::WatchesFail
            | Event::WatchesResumed
            | Event::NotGrown(_)
            | Event::NoLogFiles
            | Event::NoUpgrade
            | Event::ProcessesLacking
            | Event::ProcessesSuffice
            | Event::Stopping => {}
        }
    }

    /// A worker counts as ready: one that says nothing, since it has run for so long.
    fn saw_ready(&mut self, worker: WorkerId, slot: SlotId) {
        self.ledger.ever_ready = true;
        self.ledger.ready.insert(slot, self.now);
        match (self.scenario.setup.capabilities.readiness, self.process_of(worker)) {
            (Readiness::After(_), Some(process)) => self.processes[process].seen.ready = true,
            (Readiness::After(_), None) | (Readiness::Said, _) => {}
        }
    }

    /// Processes that do nothing and end are started less and less often, whoever has them started.
    /// Of a release that was given up nobody is started at all.
    fn judge_start(&mut self, slot: SlotId, generation: Generation) {
        if self.ledger.given_up.contains(&generation) {
            self.fail(format!("one of release {} is started, which was given up", generation.0));
        }
        let then = Mono::from_ns(self.now.as_ns().saturating_sub(STORM_OVER.as_ns()));
        let useless = |each: &&Process| {
            each.slot == slot.index() && each.was_of_no_use(then.max(self.jumped_at))
        };
        let count = self.processes.iter().rev().take(64).filter(useless).count();
        if STORM <= count {
            self.fail(format!("{count} processes of slot {slot} were of no use in {STORM_OVER}"));
        }
    }

    /// A release is said to be everywhere.
    fn judge_release(&mut self, release: Generation) {
        let generations = &self.ledger.generations;
        let old = |id: WorkerId| generations.get(&id).is_some_and(|it| *it < release);
        let serves = |each: &&Process| each.ended.is_none() && each.seen.serves(self.now);
        let mut serving = self.processes.iter().filter(serves);
        if let Some(Process { id, .. }) = serving.find(|each| old(each.id)) {
            self.fail(format!("{id} serves, and is older than release {}", release.0));
        }
    }

    /// Of a release that was given up nobody serves once all is well again.
    pub(super) fn check_given_up(&mut self) {
        let ledger = &self.ledger;
        let is_given_up = |id: WorkerId| {
            ledger.generations.get(&id).is_some_and(|release| ledger.given_up.contains(release))
        };
        let stays = |each: &&Process| {
            each.ended.is_none() && each.seen.serves(self.now) && is_given_up(each.id)
        };
        if let Some(Process { id, .. }) = self.processes.iter().find(stays) {
            self.fail(format!("{id} serves, and its release was given up"));
        }
    }

    /// A slot is to be filled after this time. The delays of one whose workers do nothing, and do
    /// not stay, never shrink.
    fn judge_restart(&mut self, slot: SlotId, after: Span) {
        let stayed = self.ledger.ready.remove(&slot);
        let stayed = stayed.is_some_and(|at| BACKOFF_FORGET <= self.now.since(at));
        // Whoever lives on counts for the next time, such as one that was to follow.
        let lives = |each: &Process| each.slot == slot.index() && each.ended.is_none();
        let until = self.processes.iter().position(lives).unwrap_or(self.processes.len());
        let (before, from) = self.ledger.backoffs.insert(slot, (after, until)).unwrap_or_default();
        let mut latest = self.processes[from..].iter().filter(|each| each.slot == slot.index());
        let forgotten = stayed || latest.any(|process| process.has_begun);
        // Jitter adds up to a quarter.
        if !forgotten && after.as_ns() * 5 / 4 + 1 < before.as_ns() {
            self.fail(format!("slot {slot} waits {after} after {before}: not monotone"));
        }
    }

    /// A worker is said to have left by itself after it had done its work.
    fn judge_leave(&mut self, worker: WorkerId) {
        let process = self.process_of(worker).map(|process| &self.processes[process]);
        if process.is_none_or(|it| it.ended != Some(true) || !it.has_begun) {
            self.fail(format!("{worker} did not leave by itself, or had done nothing"));
        }
    }

    /// A worker was replaced because it neither claimed nor served anything.
    fn judge_stall(&mut self, worker: WorkerId) {
        let Some(process) = self.process_of(worker) else { return };
        let process = &self.processes[process];
        let stopped = process.stopped_since.is_some() || process.seen.was_stopped;
        let deserved = process.nature.lie.is_some() || stopped || process.detached;
        // After a leap of the clock nobody has had a chance to say anything.
        if !deserved && self.scenario.faults.jumps == 0 {
            self.fail(format!("{worker} is replaced as stalled, and was well"));
        }
    }
}
