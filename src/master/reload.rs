//! What became of the last reload, for whoever asks when the log has been forgotten.

use crate::engine::event::Cause;
use crate::units::{Generation, Mono, SlotId, WorkerId};
use crate::wire::control::Reload;
use crate::wire::words::ReloadOutcome;

/// The last reload.
#[derive(Clone, Debug)]
pub(super) struct LastReload {
    generation: Generation,
    outcome: ReloadOutcome,
    /// Since when it is so.
    at: Mono,
    /// Who was the last to end since it began, and how.
    last_end: Option<(WorkerId, String)>,
    /// Why it was given up.
    why: Option<String>,
}

impl LastReload {
    pub(super) const fn begun(generation: Generation, now: Mono) -> Self {
        Self { generation, outcome: ReloadOutcome::Running, at: now, last_end: None, why: None }
    }

    /// A worker is gone, which ended so.
    pub(super) fn lost(&mut self, worker: WorkerId, slot: SlotId, cause: Cause, ending: &str) {
        self.last_end = Some((worker, end_of(slot, cause, ending)));
    }

    /// It is given up for what has become of this worker: its end, if that is known already.
    pub(super) fn given_up(&mut self, worker: WorkerId, slot: SlotId, now: Mono) {
        let end = self.last_end.take_if(|(who, _)| *who == worker).map(|(_, end)| end);
        self.why = end.or_else(|| {
            Some(format!("worker {}: asked to leave and had answered nothing", slot.0))
        });
        self.ended(ReloadOutcome::GivenUp, now);
    }

    /// It has come to an end, if it had not before.
    pub(super) fn ended(&mut self, outcome: ReloadOutcome, now: Mono) {
        if self.outcome == ReloadOutcome::Running {
            (self.outcome, self.at) = (outcome, now);
        }
    }

    /// As it is told.
    pub(super) fn told(&self, now: Mono) -> Reload {
        Reload {
            generation: self.generation.0,
            outcome: String::from(self.outcome.word()),
            ago_s: now.since(self.at).as_us() / 1_000_000,
            why: self.why.clone(),
        }
    }
}

fn end_of(slot: SlotId, cause: Cause, ending: &str) -> String {
    let how = match cause {
        Cause::NotReady => "was not ready in time: ",
        Cause::ExecTimedOut => "its program was not executed in time: ",
        Cause::NoProcess => "no process could be had for it: ",
        Cause::Told
        | Cause::Left
        | Cause::Died
        | Cause::DrainTimeout
        | Cause::Stalled
        | Cause::Detached
        | Cause::Unkillable
        | Cause::Lied
        | Cause::ExecFailed => "",
    };
    format!("worker {}: {how}{ending}", slot.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    const BEGUN: Mono = Mono::from_ns(1);

    fn told(what_happens: impl FnOnce(&mut LastReload)) -> Reload {
        let mut last = LastReload::begun(Generation(2), BEGUN);
        what_happens(&mut last);
        last.told(BEGUN.after(Span::from_s(3)))
    }

    #[test]
    fn each_end_of_a_reload_is_told_with_its_reason() {
        let [one, another] = [0, 1].map(|index| WorkerId { index, epoch: 1 });
        let given_up = |last: &mut LastReload, worker| last.given_up(worker, SlotId(1), BEGUN);
        let dies = |last: &mut LastReload| last.lost(one, SlotId(1), Cause::NotReady, "SIGTERM");
        for outcome in [ReloadOutcome::Running, ReloadOutcome::Done, ReloadOutcome::CutShort] {
            let reload = told(|last| {
                dies(last);
                last.ended(outcome, BEGUN);
            });
            let outcome = String::from(outcome.word());
            assert_eq!(reload, Reload { generation: 2, outcome, ago_s: 3, why: None });
        }
        for (worker, why) in [
            (one, "worker 1: was not ready in time: SIGTERM"),
            (another, "worker 1: asked to leave and had answered nothing"),
        ] {
            let reload = told(|last| {
                dies(last);
                given_up(last, worker);
            });
            assert_eq!((reload.outcome.as_str(), reload.why.as_deref()), ("given up", Some(why)));
        }
    }

    #[test]
    fn what_happens_after_its_end_changes_nothing() {
        let reload = told(|last| {
            last.ended(ReloadOutcome::Done, BEGUN.after(Span::from_s(2)));
            last.lost(WorkerId { index: 0, epoch: 1 }, SlotId(0), Cause::Died, "SIGSEGV");
            last.ended(ReloadOutcome::CutShort, BEGUN);
        });
        assert_eq!((reload.outcome.as_str(), reload.ago_s, reload.why), ("done", 1, None));
    }
}
