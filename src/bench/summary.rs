//! From samples to figures: what a round of a cell came to, and what the bound makes of the same
//! trace. Requests of the warm-up are served and forgotten.

use std::collections::BTreeMap;

use super::bound;
use super::conservation::idleness;
use super::outcome::{Outcome, Sample, us};
use super::result::{ClassFigures, Round, WorkerFigures};
use super::tally::{Tally, Unit};
use super::trace::{Request, Trace};
use crate::units::Span;

/// The figures of one class, value by value.
#[derive(Clone, Debug)]
pub struct ClassTally {
    /// From the intended time to the last byte, in microseconds.
    pub latency: Tally,
    /// The same over the service time; none where a request's is not known.
    pub slowdown: Option<Tally>,
}

/// What the samples of a round come to. Requests meant for before `warm_up` do not count; whether
/// the round does is for others to judge.
pub fn summarise(trace: &Trace, outcome: &Outcome, warm_up: Span) -> Round {
    let counted = || counted(trace, outcome, warm_up);
    let end = counted().map(|(_, sample)| sample.done).max().unwrap_or_default();
    let good = counted().filter(|(_, sample)| sample.fate.is_good()).count() as u64;
    let requests = counted().count() as u64;
    let workers = worker_figures(trace, outcome, warm_up);
    Round {
        seed: trace.recipe.seed,
        requests,
        errors: requests - good,
        seconds: us(Span::from_ns(end.as_ns().saturating_sub(warm_up.as_ns()))) / 1e6,
        lateness_us: Some(outcome.lateness_us(trace)),
        classes: class_figures(trace, &tallies(trace, outcome, warm_up)),
        jain: jain(workers.iter().map(|worker| worker.busy_s)),
        workers,
        ..Round::default()
    }
}

/// Adds what a central queue of workers with these speeds would have made of the trace, each
/// request costing its service, and with `overhead` on top.
pub fn add_bound(round: &mut Round, trace: &Trace, speeds: &[f64], overhead: Span, warm_up: Span) {
    let tallies = |overhead| tallies(trace, &bound::replay(trace, speeds, overhead), warm_up);
    round.overhead_us = Some(us(overhead));
    for ((figures, bound), free) in
        round.classes.iter_mut().zip(tallies(overhead)).zip(tallies(Span::ZERO))
    {
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
    outcome: &Outcome,
    workers: usize,
    overhead: Span,
) {
    let idleness = idleness(trace, outcome, workers, overhead);
    round.idle_while_waiting = Some(idleness.share);
    round.starvation_ms = Some(us(idleness.starvation) / 1e3);
}

/// Each class value by value, in the order of the mix; requests that failed do not count.
pub fn tallies(trace: &Trace, outcome: &Outcome, warm_up: Span) -> Vec<ClassTally> {
    let classes = &trace.recipe.mix.classes;
    let empty = |timed: bool| ClassTally {
        latency: Tally::new(Unit::Us),
        slowdown: timed.then(|| Tally::new(Unit::Slowdown)),
    };
    let mut tallies: Vec<_> = classes.iter().map(|class| empty(class.law.is_some())).collect();
    for (request, sample) in counted(trace, outcome, warm_up) {
        if !sample.fate.is_good() {
            continue;
        }
        let tally = &mut tallies[usize::from(request.class)];
        let latency = latency_us(request, sample);
        tally.latency.record(latency);
        if let Some(slowdown) = &mut tally.slowdown
            && request.service != Span::ZERO
        {
            slowdown.record(latency / us(request.service));
        }
    }
    tallies
}

/// Jain's index: 1 when all numbers are alike, 1/n when all but one are nothing; none of nothing.
pub fn jain(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for number in numbers {
        count += 1.0;
        sum += number;
        squares += number * number;
    }
    (0.0 < squares).then(|| sum * sum / (count * squares))
}

fn counted<'a>(
    trace: &'a Trace,
    outcome: &'a Outcome,
    warm_up: Span,
) -> impl Iterator<Item = (&'a Request, &'a Sample)> {
    trace.requests.iter().zip(&outcome.samples).filter(move |(request, _)| warm_up <= request.at)
}

fn latency_us(request: &Request, sample: &Sample) -> f64 {
    us(Span::from_ns(sample.done.as_ns().saturating_sub(request.at.as_ns())))
}

fn class_figures(trace: &Trace, tallies: &[ClassTally]) -> Vec<ClassFigures> {
    let figures = |(class, tally): (&super::mix::Class, &ClassTally)| ClassFigures {
        name: class.name.clone(),
        requests: tally.latency.count(),
        latency_us: tally.latency.quantiles(),
        slowdown: tally.slowdown.as_ref().map(Tally::quantiles),
        bound: None,
        bound_free: None,
        curve: tally.slowdown.as_ref().unwrap_or(&tally.latency).curve(),
        bound_curve: Vec::new(),
    };
    trace.recipe.mix.classes.iter().zip(tallies).map(figures).collect()
}

fn worker_figures(trace: &Trace, outcome: &Outcome, warm_up: Span) -> Vec<WorkerFigures> {
    let timed = trace.recipe.mix.classes.first().is_some_and(|class| class.law.is_some());
    let unit = if timed { Unit::Slowdown } else { Unit::Us };
    let mut workers = BTreeMap::new();
    for (request, sample) in counted(trace, outcome, warm_up) {
        let Some(number) = sample.worker.filter(|_| sample.fate.is_good()) else { continue };
        let (requests, busy_us, first_class) =
            workers.entry(number).or_insert_with(|| (0_u64, 0.0, Tally::new(unit)));
        *requests += 1;
        *busy_us += us(request.service);
        if request.class == 0 {
            let latency = latency_us(request, sample);
            let over = if timed { us(request.service).max(1e-3) } else { 1.0 };
            first_class.record(latency / over);
        }
    }
    let figures = |(number, (requests, busy_us, first_class)): (u16, (u64, f64, Tally))| {
        let p99 = first_class.at(0.99);
        WorkerFigures { worker: u32::from(number), requests, busy_s: busy_us / 1e6, p99 }
    };
    workers.into_iter().map(figures).collect()
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Mix, Service};
    use super::super::outcome::Fate;
    use super::super::trace::{Arrivals, Connections, Recipe};
    use super::*;

    fn trace() -> Trace {
        let recipe = Recipe {
            seed: 4,
            mix: Mix::named("bim10", Service::Sleep, 1.0).unwrap(),
            arrivals: Arrivals::Poisson,
            connections: Connections::PerRequest,
            rate: 700.0,
            requests: 5_000,
            ramp_s: 0.0,
        };
        Trace::draw(recipe).unwrap()
    }

    #[test]
    fn the_bound_is_one_of_itself_and_warm_up_does_not_count() {
        let trace = trace();
        let overhead = Span::from_us(100);
        let outcome = bound::replay(&trace, &[1.0; 2], overhead);
        let warm_up = Span::from_s(1);
        let mut round = summarise(&trace, &outcome, warm_up);
        add_bound(&mut round, &trace, &[1.0; 2], overhead, warm_up);
        add_idleness(&mut round, &trace, &outcome, 2, overhead);
        let late = trace.requests.iter().filter(|request| warm_up <= request.at).count() as u64;
        assert_eq!((round.requests, round.errors, round.seed), (late, 0, 4));
        assert_eq!(round.classes.iter().map(|class| class.requests).sum::<u64>(), late);
        for class in &round.classes {
            assert_eq!(class.slowdown, class.bound);
            assert_eq!(class.curve, class.bound_curve);
            assert!(class.bound_free.unwrap().p99 < class.bound.unwrap().p99);
        }
        assert_eq!(round.workers.iter().map(|worker| worker.requests).sum::<u64>(), late);
        assert!(0.9 < round.jain.unwrap());
        assert!(round.idle_while_waiting.unwrap() < 1e-6);
        assert!((round.overhead_us.unwrap() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_failed_is_an_error_and_no_latency() {
        let trace = trace();
        let mut outcome = bound::replay(&trace, &[1.0; 2], Span::ZERO);
        for sample in outcome.samples.iter_mut().take(10) {
            (sample.fate, sample.worker) = (Fate::Refused(500), None);
        }
        let round = summarise(&trace, &outcome, Span::ZERO);
        assert_eq!((round.requests, round.errors), (5_000, 10));
        assert_eq!(round.classes.iter().map(|class| class.requests).sum::<u64>(), 4_990);
        assert_eq!(round.workers.iter().map(|worker| worker.requests).sum::<u64>(), 4_990);
    }

    #[test]
    fn a_path_that_tells_no_time_has_latency_alone() {
        let mut trace = trace();
        trace.recipe.mix = Mix::parse("/").unwrap();
        for request in &mut trace.requests {
            (request.class, request.service) = (0, Span::ZERO);
        }
        let outcome = bound::replay(&trace, &[1.0], Span::from_us(50));
        let round = summarise(&trace, &outcome, Span::ZERO);
        assert_eq!(round.classes[0].slowdown, None);
        assert!(50.0 <= round.classes[0].latency_us.p50);
    }

    #[test]
    fn jains_index_has_its_known_values() {
        assert_eq!(jain([]), None);
        assert_eq!(jain([0.0, 0.0]), None);
        assert!((jain([2.0, 2.0, 2.0]).unwrap() - 1.0).abs() < 1e-12);
        assert!((jain([1.0, 0.0, 0.0, 0.0]).unwrap() - 0.25).abs() < 1e-12);
    }
}
