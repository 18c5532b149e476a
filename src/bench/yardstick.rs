//! A round held against what could have been: the bound for its trace, and workers that were idle
//! while requests waited.

use super::bound;
use super::conservation::idleness;
use super::outcome::{TraceOutcome, us};
use super::result::Round;
use super::summary::tally_classes;
use super::tally::Tally;
use super::trace::Trace;
use crate::units::Span;

/// Adds what a central queue of workers with these speeds would have made of the trace, each
/// request costing its service, and with `overhead` on top.
pub fn add_bound(round: &mut Round, trace: &Trace, speeds: &[f64], overhead: Span, warmup: Span) {
    let classes = |overhead| tally_classes(trace, &bound::replay(trace, speeds, overhead), warmup);
    round.overhead_us = Some(us(overhead));
    let bounds = classes(overhead).into_iter().zip(classes(Span::ZERO));
    for (figures, (bound, free)) in round.classes.iter_mut().zip(bounds) {
        figures.bound = bound.slowdown.as_ref().map(Tally::quantiles);
        figures.bound_curve = bound.slowdown.as_ref().map(Tally::curve).unwrap_or_default();
        figures.bound_free = free.slowdown.as_ref().map(Tally::quantiles);
    }
}

/// Adds how long workers were idle while requests waited, each request taking `overhead` beside
/// its service.
pub fn add_idleness(
    round: &mut Round,
    trace: &Trace,
    outcome: &TraceOutcome,
    workers: usize,
    overhead: Span,
) {
    let idleness = idleness(trace, outcome, workers, overhead);
    round.idle_while_waiting = Some(idleness.share);
    round.starvation_ms = Some(us(idleness.starvation) / 1e3);
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Mix, Service};
    use super::super::quiet::Machine;
    use super::super::summary::summarise;
    use super::super::trace::{Arrivals, Connections, TraceSpec};
    use super::*;

    #[test]
    fn the_bound_is_as_good_as_itself() {
        let spec = TraceSpec {
            seed: 4,
            mix: Mix::named("bim10", Service::Sleep, 1.0).unwrap(),
            arrivals: Arrivals::Poisson,
            connections: Connections::PerRequest,
            rate: 700.0,
            requests: 5_000,
            ramp_s: 0.0,
        };
        let trace = Trace::draw(spec).unwrap();
        let (overhead, warmup) = (Span::from_us(100), Span::from_s(1));
        let outcome = bound::replay(&trace, &[1.0; 2], overhead);
        let mut round = summarise(&trace, &outcome, warmup, &Machine::default());
        add_bound(&mut round, &trace, &[1.0; 2], overhead, warmup);
        add_idleness(&mut round, &trace, &outcome, 2, overhead);
        for class in &round.classes {
            assert_eq!(class.slowdown, class.bound);
            assert_eq!(class.curve, class.bound_curve);
            assert!(class.bound_free.unwrap().p99 < class.bound.unwrap().p99);
        }
        assert!(round.idle_while_waiting.unwrap() < 1e-6);
        assert!(round.starvation_ms.unwrap() < 1e-3);
        assert!((round.overhead_us.unwrap() - 100.0).abs() < 1e-9);
    }
}
