//! What became of the last reload, for whoever asks when the log has been forgotten.

use crate::engine::event::Cause;
use crate::units::{Generation, Mono, SeatId};
use crate::wire::control::Reload;
use crate::wire::words::ReloadOutcome;

/// The last reload.
#[derive(Clone, Debug)]
pub(super) struct LastReload {
    generation: Generation,
    outcome: ReloadOutcome,
    /// Since when it is so.
    at: Mono,
    /// How the last worker ended of those that have since it began.
    last_end: Option<String>,
}

impl LastReload {
    pub(super) const fn begun(generation: Generation, now: Mono) -> Self {
        Self { generation, outcome: ReloadOutcome::Running, at: now, last_end: None }
    }

    /// A worker is gone, which ended so.
    pub(super) fn lost(&mut self, seat: SeatId, cause: Cause, ending: &str) {
        if self.outcome == ReloadOutcome::Running {
            self.last_end = Some(end_of(seat, cause, ending));
        }
    }

    /// It has come to an end, if it had not before.
    pub(super) fn ended(&mut self, outcome: ReloadOutcome, now: Mono) {
        if self.outcome == ReloadOutcome::Running {
            (self.outcome, self.at) = (outcome, now);
        }
    }

    /// As it is told.
    pub(super) fn told(&self, now: Mono) -> Reload {
        let why = match self.outcome {
            // It was given up for the very last one.
            ReloadOutcome::GivenUp => self.last_end.clone(),
            ReloadOutcome::Running | ReloadOutcome::Done | ReloadOutcome::CutShort => None,
        };
        Reload {
            generation: self.generation.0,
            outcome: String::from(self.outcome.word()),
            ago_s: now.since(self.at).as_us() / 1_000_000,
            why,
        }
    }
}

fn end_of(seat: SeatId, cause: Cause, ending: &str) -> String {
    let how = match cause {
        Cause::NotReady => "was not ready in time: ",
        Cause::NotExecuted => "its program was not executed in time: ",
        Cause::NoProcess => "no process could be had for it: ",
        Cause::Told
        | Cause::Left
        | Cause::Died
        | Cause::DrainTimeout
        | Cause::Stalled
        | Cause::Detached
        | Cause::Unkillable
        | Cause::Lied
        | Cause::NotStarted => "",
    };
    format!("worker {}: {how}{ending}", seat.0)
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
        let dies = |last: &mut LastReload| last.lost(SeatId(1), Cause::NotReady, "SIGTERM");
        let why = Some(String::from("worker 1: was not ready in time: SIGTERM"));
        for (outcome, why) in [
            (ReloadOutcome::Running, None),
            (ReloadOutcome::Done, None),
            (ReloadOutcome::GivenUp, why),
            (ReloadOutcome::CutShort, None),
        ] {
            let reload = told(|last| {
                dies(last);
                last.ended(outcome, BEGUN);
            });
            let outcome = String::from(outcome.word());
            assert_eq!(reload, Reload { generation: 2, outcome, ago_s: 3, why });
        }
    }

    #[test]
    fn what_happens_after_its_end_changes_nothing() {
        let reload = told(|last| {
            last.ended(ReloadOutcome::GivenUp, BEGUN.after(Span::from_s(2)));
            last.lost(SeatId(0), Cause::Died, "SIGSEGV");
            last.ended(ReloadOutcome::CutShort, BEGUN);
        });
        assert_eq!((reload.outcome.as_str(), reload.ago_s, reload.why), ("given up", 1, None));
    }
}
