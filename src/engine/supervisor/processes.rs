//! How workers come up and go: what a process does by itself, and what it is told to.

use super::super::action::{Action, Actions};
use super::super::event::{Cause, Event};
use super::super::input::{Exit, Terms};
use super::super::members::MemberChange;
use super::Supervisor;
use super::worker::{Cue, Effect, WorkerState};
use crate::limits::{CONCURRENCY_MAX, DETACH_GRACE, VIOLATIONS_MAX};
use crate::units::{Mono, WorkerId};

impl Supervisor {
    pub(in super::super) fn hello(
        &mut self,
        now: Mono,
        id: WorkerId,
        terms: Terms,
        out: &mut Actions,
    ) {
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
            WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming => return,
        }
        worker.terms = terms;
        let (slot, generation) = (worker.slot, worker.generation);
        if self.cue(now, id, Cue::Hello, out) == Some(Effect::Employ) {
            out.emit(Event::Ready { worker: id, slot, generation });
            self.employ(now, id, slot, out);
        }
    }

    pub(in super::super) fn violation(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
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

    /// A worker has left offers lying for too long, and does nothing.
    pub(super) fn stalled(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        // Whoever hangs may not hear SIGTERM.
        self.kill(now, id, Cause::Stalled, out);
    }

    /// A worker is to go at once. Its slot is its own until it has, and served by nobody.
    fn kill(&mut self, now: Mono, id: WorkerId, cause: Cause, out: &mut Actions) {
        if let Some(worker) = self.worker_mut(id) {
            worker.cause.get_or_insert(cause);
        }
        self.cue(now, id, Cue::Kill, out);
        self.tell_changes(out);
    }

    /// A worker has closed its channel. Whoever ends does so a moment before; one that goes on
    /// cannot serve, unless it is finishing what it has.
    pub(in super::super) fn detached(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.worker_mut(id) else { return };
        match worker.state {
            WorkerState::Launching { .. } | WorkerState::Starting { .. } | WorkerState::Ready
                if worker.detached_until.is_none() =>
            {
                worker.detached_until = Some(now.after(DETACH_GRACE));
                self.changes.push(MemberChange::Unreachable(id));
                self.tell_employed();
            }
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Ready
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming => {}
        }
    }

    /// Has another one take the place of a worker that closed its channel and did not end: at once,
    /// whatever time that one takes to go.
    pub(super) fn replace_detached(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
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
            self.tell_changes(out);
        }
    }

    /// Its end follows, or its deadline.
    pub(in super::super) fn exec_failed(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.cause = Some(Cause::ExecFailed);
        }
    }

    pub(in super::super) fn exited(
        &mut self,
        now: Mono,
        id: WorkerId,
        exit: Exit,
        out: &mut Actions,
    ) {
        if let Some(worker) = self.worker_mut(id) {
            let cause = match (worker.state, exit) {
                (WorkerState::Draining { .. }, Exit::Clean)
                | (WorkerState::Terminating { .. }, _) => Cause::Told,
                (WorkerState::Ready, Exit::Clean) if worker.has_served() => Cause::Left,
                (WorkerState::Draining { .. }, Exit::Failed)
                | (
                    WorkerState::Launching { .. }
                    | WorkerState::Starting { .. }
                    | WorkerState::Ready
                    | WorkerState::Killing { .. }
                    | WorkerState::Reclaiming,
                    _,
                ) => Cause::Died,
            };
            worker.cause.get_or_insert(cause);
        }
        self.cue(now, id, Cue::Exited, out);
        self.tell_employed();
    }

    /// A dead worker has nothing any more: its index is free, and its slot is to be filled again.
    pub(super) fn settled(
        &mut self,
        now: Mono,
        id: WorkerId,
        (recovered, lost): (u32, u32),
        out: &mut Actions,
    ) {
        let Some(worker) = self.workers.remove(id) else { return };
        let cause = worker.cause.unwrap_or(Cause::Died);
        out.emit(Event::Gone { worker: id, slot: worker.slot, cause, recovered, lost });
        out.push(Action::ReleaseWorker(id));
        self.leave_slot(now, id, &worker, cause, out);
    }

    /// Gives a worker its cue and carries out what follows; `None` when the cue meant nothing.
    pub(super) fn cue(
        &mut self,
        now: Mono,
        id: WorkerId,
        cue: Cue,
        out: &mut Actions,
    ) -> Option<Effect> {
        let patience = self.patience;
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
            Effect::Recall => self.changes.push(MemberChange::Dead(id)),
        }
        Some(effect)
    }

    /// All that live are told to go, in one way or the other.
    pub(super) fn send_all(&mut self, now: Mono, cue: Cue, out: &mut Actions) {
        for index in 0..self.workers.indices() {
            if let Some(id) = self.workers.name_at(index) {
                self.send_off(now, id, cue, out);
            }
        }
    }

    /// One that lives is told to go, and goes for that reason unless there was another.
    fn send_off(&mut self, now: Mono, id: WorkerId, cue: Cue, out: &mut Actions) {
        if let Some(worker) = self.worker_mut(id).filter(|worker| worker.is_alive()) {
            worker.cause.get_or_insert(Cause::Told);
        }
        self.cue(now, id, cue, out);
    }

    /// A worker has not done in time what was expected of it.
    pub(super) fn overdue(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let cause = match worker.state {
            WorkerState::Launching { .. } => Some(Cause::ExecTimedOut),
            WorkerState::Starting { .. } => Some(Cause::NotReady),
            WorkerState::Draining { .. } => Some(Cause::DrainTimeout),
            WorkerState::Killing { .. } => Some(Cause::Unkillable),
            WorkerState::Ready | WorkerState::Terminating { .. } | WorkerState::Reclaiming => None,
        };
        let tells_more = [Some(Cause::DrainTimeout), Some(Cause::Unkillable)].contains(&cause);
        if worker.cause.is_none() || tells_more {
            worker.cause = cause;
        }
        self.left_behind += u64::from(cause == Some(Cause::Unkillable));
        self.cue(now, id, Cue::Overdue, out);
    }

    /// One finishes what it has, and leaves.
    pub(super) fn dismiss(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        self.send_off(now, id, Cue::Drain, out);
    }

    /// A stopped worker claims nothing: what it has not claimed goes to others at once, and no
    /// recall has to find out by waiting.
    pub(in super::super) fn stopped(&mut self, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.stopped = true;
        self.changes.push(MemberChange::Suspended(id));
        self.tell_changes(out);
    }

    pub(in super::super) fn continued(&mut self, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.stopped = false;
        self.changes.push(MemberChange::Resumed(id));
        self.tell_changes(out);
    }
}
