//! What became of the last reload, for whoever asks when the log has been forgotten.

use crate::engine::event::{Cause, Event};
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
    /// Takes in what has happened; `ending` is how the worker ended whose end it is.
    pub(super) fn heard(last: &mut Option<Self>, now: Mono, event: Event, ending: Option<&str>) {
        match (event, last) {
            (Event::RolloutStarted(generation), last) => {
                let outcome = ReloadOutcome::Running;
                *last = Some(Self { generation, outcome, at: now, last_end: None });
            }
            (Event::Gone { seat, cause, .. }, Some(last)) if last.runs() => {
                last.last_end = Some(end_of(seat, cause, ending));
            }
            (Event::RolloutDone(_), Some(last)) => last.ends(ReloadOutcome::Done, now),
            (Event::RolloutAborted(_), Some(last)) => last.ends(ReloadOutcome::GivenUp, now),
            (Event::Stopping, Some(last)) if last.runs() => {
                last.ends(ReloadOutcome::CutShort, now);
            }
            _ => {}
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

    fn runs(&self) -> bool {
        self.outcome == ReloadOutcome::Running
    }

    fn ends(&mut self, outcome: ReloadOutcome, now: Mono) {
        (self.outcome, self.at) = (outcome, now);
    }
}

fn end_of(seat: SeatId, cause: Cause, ending: Option<&str>) -> String {
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
    format!("worker {}: {how}{}", seat.0, ending.unwrap_or("it is not known how it ended"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Span, WorkerId};

    fn told(events: &[(Event, Option<&str>)]) -> Option<Reload> {
        let mut last = None;
        for (event, ending) in events {
            LastReload::heard(&mut last, Mono::from_ns(1), *event, *ending);
        }
        last.map(|last| last.told(Mono::from_ns(1).after(Span::from_s(3))))
    }

    #[test]
    fn each_end_of_a_reload_is_told_with_its_reason() {
        let generation = Generation(2);
        let begun = (Event::RolloutStarted(generation), None);
        let worker = WorkerId { berth: 0, epoch: 0 };
        let (seat, cause) = (SeatId(1), Cause::NotReady);
        let gone = Event::Gone { worker, seat, cause, recovered: 0, lost: 0 };
        let aborted = (Event::RolloutAborted(generation), None);
        let why = "worker 1: was not ready in time: killed by SIGTERM";
        assert_eq!(told(&[(gone, Some("before"))]), None);
        for (events, outcome, reason) in [
            (vec![begun], "running", None),
            (vec![begun, (Event::RolloutDone(generation), None)], "done", None),
            (vec![begun, (gone, Some("killed by SIGTERM")), aborted], "given up", Some(why)),
            (vec![begun, (Event::Stopping, None)], "cut short", None),
        ] {
            let reload = told(&events).unwrap();
            let expected = Reload {
                generation: 2,
                outcome: outcome.into(),
                ago_s: 3,
                why: reason.map(Into::into),
            };
            assert_eq!(reload, expected);
        }
    }
}
