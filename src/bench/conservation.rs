//! Work conservation: how long a worker was idle while a request waited somewhere. It is nothing
//! for the bound, and the one figure that tells the scheduler's share from what the load itself
//! makes inevitable.

use super::outcome::TraceOutcome;
use super::trace::Trace;
use crate::units::Span;

/// What was lost by leaving workers idle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Idleness {
    /// Share of the time in which a worker was idle while a request waited.
    pub share: f64,
    /// The longest that one request waited while a worker was idle.
    pub starvation: Span,
}

/// Looks at the requests that were answered, with `workers` workers that each execute one at a
/// time. A request is taken to have begun its service and `overhead` before it ended, and to wait
/// from when it was there to be sent.
pub fn idleness(trace: &Trace, outcome: &TraceOutcome, workers: usize, overhead: Span) -> Idleness {
    let waits = waits(trace, outcome, overhead);
    let mut changes: Vec<(Span, IdleChange)> = Vec::with_capacity(waits.len() * 3);
    for wait in &waits {
        // What ends comes before what begins at the same time.
        changes.push((wait.from, IdleChange::Comes));
        changes.push((wait.to, IdleChange::Begins));
        changes.push((wait.done, IdleChange::Ends));
    }
    changes.sort_unstable();
    let idle = IdleTime::new(&changes, workers);
    let longest = waits.iter().map(|wait| idle.between(wait.from, wait.to)).max();
    let length = changes.last().map_or(Span::ZERO, |(end, _)| *end);
    let share = idle.while_waiting.as_ns() as f64 / length.as_ns().max(1) as f64;
    Idleness { share, starvation: longest.unwrap_or_default() }
}

/// From when a request was there, when it began and when it ended.
struct Wait {
    from: Span,
    to: Span,
    done: Span,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum IdleChange {
    Ends,
    Comes,
    Begins,
}

fn waits(trace: &Trace, outcome: &TraceOutcome, overhead: Span) -> Vec<Wait> {
    let mut free_at = vec![Span::ZERO; trace.connection_lengths().len()];
    let mut waits = Vec::new();
    for (request, sample) in trace.requests.iter().zip(&outcome.samples) {
        let free = &mut free_at[request.connection as usize];
        let from = request.at.max(*free);
        *free = sample.done;
        if sample.fate.is_good() {
            let work = request.service.plus(overhead).as_ns();
            let begun = Span::from_ns(sample.done.as_ns().saturating_sub(work)).max(from);
            // Even nothing takes a moment, or it would end before it began.
            let done = sample.done.max(begun.plus(Span::from_ns(1)));
            waits.push(Wait { from, to: begun, done });
        }
    }
    waits
}

/// How long some worker had been idle, at each change.
struct IdleTime {
    at: Vec<(Span, Span)>,
    while_waiting: Span,
}

impl IdleTime {
    fn new(changes: &[(Span, IdleChange)], workers: usize) -> Self {
        let (mut waiting, mut running) = (0_usize, 0_usize);
        let (mut last, mut idle, mut while_waiting) = (Span::ZERO, Span::ZERO, Span::ZERO);
        let mut at = vec![(last, idle)];
        for (now, change) in changes {
            let passed = Span::from_ns(now.as_ns() - last.as_ns());
            if running < workers {
                idle = idle.plus(passed);
                if 0 < waiting {
                    while_waiting = while_waiting.plus(passed);
                }
            }
            last = *now;
            at.push((last, idle));
            match change {
                IdleChange::Comes => waiting += 1,
                IdleChange::Begins => (waiting, running) = (waiting - 1, running + 1),
                IdleChange::Ends => running -= 1,
            }
        }
        Self { at, while_waiting }
    }

    fn between(&self, from: Span, to: Span) -> Span {
        Span::from_ns(self.until(to).as_ns() - self.until(from).as_ns())
    }

    /// `time` is one at which something changed.
    fn until(&self, time: Span) -> Span {
        let at = self.at.partition_point(|(change, _)| *change <= time);
        self.at[at - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::super::bound;
    use super::super::mix::{Mix, Service};
    use super::super::outcome::{Fate, Sample};
    use super::super::trace::{Arrivals, Connections, TraceRequest, TraceSpec};
    use super::*;

    fn trace(connections: Connections) -> Trace {
        let spec = TraceSpec {
            seed: 2,
            mix: Mix::named("bim10", Service::Sleep, 1.0).unwrap(),
            arrivals: Arrivals::Poisson,
            connections,
            rate: 1_600.0,
            requests: 20_000,
            ramp_s: 0.0,
        };
        Trace::draw(spec).unwrap()
    }

    #[test]
    fn a_central_queue_leaves_nobody_idle() {
        for connections in
            [Connections::PerRequest, Connections::KeepAlive { requests: 9.0, think_ms: 20.0 }]
        {
            let trace = trace(connections);
            let overhead = Span::from_us(60);
            let outcome = bound::replay(&trace, &[1.0; 4], overhead);
            let idleness = idleness(&trace, &outcome, 4, overhead);
            assert!(idleness.share < 1e-6, "{idleness:?}");
            assert!(idleness.starvation < Span::from_us(1), "{idleness:?}");
        }
    }

    #[test]
    fn what_waits_while_somebody_is_idle_is_told() {
        let mut trace = trace(Connections::PerRequest);
        let request = |at, connection| TraceRequest {
            at: Span::from_ms(at),
            service: Span::from_ms(10),
            connection,
            class: 0,
        };
        // The second waits for the first although another worker has nothing to do.
        trace.requests = vec![request(0, 0), request(2, 1)];
        let sample = |done| Sample {
            sent: Span::ZERO,
            done: Span::from_ms(done),
            worker: Some(0),
            fate: Fate::Answered,
        };
        let outcome = TraceOutcome { samples: vec![sample(10), sample(20)] };
        let found = idleness(&trace, &outcome, 2, Span::ZERO);
        assert_eq!(found.starvation, Span::from_ms(8));
        assert!((found.share - 0.4).abs() < 1e-9, "{found:?}");
        assert_eq!(idleness(&trace, &outcome, 1, Span::ZERO), Idleness::default());
    }

    #[test]
    fn requests_that_take_no_time_and_those_that_failed_do_no_harm() {
        let mut trace = trace(Connections::PerRequest);
        trace.requests.truncate(3);
        trace.requests[1].service = Span::ZERO;
        let mut outcome = bound::replay(&trace, &[1.0], Span::ZERO);
        outcome.samples[2].fate = Fate::Broken;
        assert!(idleness(&trace, &outcome, 1, Span::ZERO).share < 1e-6);
    }
}
