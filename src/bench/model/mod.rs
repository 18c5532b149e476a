//! Policies in a made-up world: the trace of a measurement, workers that take exactly their service
//! time, and costs that can be set. The policies are not modelled: the master's own engine decides,
//! so that what two cores cannot show is told by the code that would run on two hundred.

mod calendar;
mod kernel;
mod master;
mod server;

use self::kernel::Kernel;
use self::master::ModelMaster;
use super::outcome::TraceOutcome;
use super::trace::Trace;
use crate::engine::dispatcher::giveback::Dispatch;
use crate::engine::dispatcher::policy::{Binder, Policy};
use crate::units::Span;

/// The app whose behaviour is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelApp {
    /// Who gets a connection, or a request.
    pub policy: Policy,
    /// What is dispatched.
    pub dispatch: Dispatch,
    /// Whether the master looks at what is asked for, and lets short requests go first. Requests of
    /// one class are alike.
    pub classes: bool,
    /// One weight per worker, for `wrr` and `least`.
    pub weights: Vec<u32>,
    /// One speed per worker: 1 serves a second's work in a second.
    pub speeds: Vec<f64>,
    /// What everything costs.
    pub costs: Costs,
    /// Seed of what the kernel's hash decides.
    pub seed: u64,
}

/// What the machine takes for itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Costs {
    /// From an offer (or, where the kernel chooses, an arrival) to an idle worker's first move.
    pub handoff: Span,
    /// From the end of a request until the master knows of it.
    pub notice: Span,
    /// What every request takes of its worker beside its service.
    pub overhead: Span,
}

/// Replays the trace through the app.
///
/// # Panics
/// Without workers, or with a weight or a speed more or less than those.
pub fn replay(trace: &Trace, app: &ModelApp) -> TraceOutcome {
    assert!(!app.speeds.is_empty() && app.speeds.len() == app.weights.len());
    match app.policy.binder() {
        Binder::AtOnce | Binder::OnCredit(_) => ModelMaster::new(trace, app).run(),
        Binder::Kernel => Kernel::new(trace, app).run(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bound;
    use super::super::mix::{Mix, Service};
    use super::super::outcome::us;
    use super::super::tally::{Tally, Unit};
    use super::super::trace::{Arrivals, Connections, TraceSpec};
    use super::*;
    use crate::engine::dispatcher::policy::Depth;

    fn trace(mix: &str, load: f64, workers: u32, connections: Connections) -> Trace {
        drawn(mix, load, workers, connections, 20_000)
    }

    fn drawn(mix: &str, load: f64, workers: u32, connections: Connections, requests: u64) -> Trace {
        let mix = Mix::named(mix, Service::Sleep, 1.0).unwrap();
        let rate = load * f64::from(workers) / mix.mean_ms().unwrap() * 1e3;
        let arrivals = Arrivals::Poisson;
        let spec = TraceSpec { seed: 21, mix, arrivals, connections, rate, requests, ramp_s: 0.0 };
        Trace::draw(spec).unwrap()
    }

    fn app(policy: Policy, workers: usize) -> ModelApp {
        ModelApp {
            policy,
            dispatch: Dispatch::Connection,
            classes: false,
            weights: vec![1; workers],
            speeds: vec![1.0; workers],
            costs: Costs::default(),
            seed: 5,
        }
    }

    fn p99_short(trace: &Trace, outcome: &TraceOutcome) -> f64 {
        let mut tally = Tally::new(Unit::Slowdown);
        for (request, sample) in trace.requests.iter().zip(&outcome.samples) {
            assert!(sample.fate.is_good(), "every request is answered");
            assert!(request.at.plus(request.service) <= sample.done, "and not before its time");
            if request.class == 0 {
                let sojourn = Span::from_ns(sample.done.as_ns() - request.at.as_ns());
                tally.record(us(sojourn) / us(request.service));
            }
        }
        tally.at(0.99)
    }

    const KEEP_ALIVE: Connections = Connections::KeepAlive { requests: 20.0, think_ms: 100.0 };

    const POLICIES: [Policy; 6] = [
        Policy::RoundRobin,
        Policy::Weighted,
        Policy::Least,
        Policy::Jbsq(Depth::Auto),
        Policy::Shared,
        Policy::Reuseport,
    ];

    #[test]
    fn everybody_answers_everything_whatever_it_costs() {
        for connections in [Connections::PerRequest, KEEP_ALIVE] {
            let trace = drawn("bim100", 0.7, 4, connections, 5_000);
            for policy in POLICIES {
                let costs = Costs {
                    handoff: Span::from_us(40),
                    notice: Span::from_us(30),
                    overhead: Span::from_us(20),
                };
                for costs in [Costs::default(), costs] {
                    let outcome = replay(&trace, &ModelApp { costs, ..app(policy, 4) });
                    assert!(1.0 <= p99_short(&trace, &outcome), "{policy:?}");
                }
            }
        }
    }

    #[test]
    fn binding_one_at_a_time_for_nothing_is_the_bound() {
        for (workers, mix) in [(1, "exp"), (2, "bim100"), (8, "bim10")] {
            let trace = trace(mix, 0.8, workers, Connections::PerRequest);
            let count = workers as usize;
            let bound = bound::replay(&trace, &vec![1.0; count], Span::ZERO);
            for policy in [Policy::Jbsq(Depth::Fixed(1)), Policy::Shared] {
                let outcome = replay(&trace, &app(policy, count));
                let pairs = outcome.samples.iter().zip(&bound.samples);
                let other = pairs.enumerate().find(|(_, (ours, ideal))| ours.done != ideal.done);
                assert_eq!(other, None, "{policy:?} on {workers}");
            }
        }
    }

    #[test]
    fn round_robin_is_as_many_queues_as_workers() {
        let trace = trace("bim10", 0.7, 4, Connections::PerRequest);
        let outcome = replay(&trace, &app(Policy::RoundRobin, 4));
        let mut free_at = [Span::ZERO; 4];
        for (index, request) in trace.requests.iter().enumerate() {
            let free = &mut free_at[index % 4];
            *free = request.at.max(*free).plus(request.service);
            assert_eq!(outcome.samples[index].done, *free, "request {index}");
        }
    }

    #[test]
    fn late_binding_beats_clever_choosing_beats_turns() {
        let trace = drawn("bim100", 0.8, 4, Connections::PerRequest, 60_000);
        let p99 = |policy| p99_short(&trace, &replay(&trace, &app(policy, 4)));
        let bound = p99_short(&trace, &bound::replay(&trace, &[1.0; 4], Span::ZERO));
        let jbsq = p99(Policy::Jbsq(Depth::Auto));
        let (least, turns) = (p99(Policy::Least), p99(Policy::RoundRobin));
        assert!(jbsq < bound * 1.15, "{jbsq} of {bound}");
        assert!(jbsq < least && least * 1.5 < turns, "{jbsq} {least} {turns}");
    }

    #[test]
    fn requests_bound_one_at_a_time_for_nothing_are_the_bound_on_any_connection() {
        for (workers, mix) in [(2, "bim100"), (8, "bim10")] {
            let trace = trace(mix, 0.8, workers, KEEP_ALIVE);
            let count = workers as usize;
            let bound = bound::replay(&trace, &vec![1.0; count], Span::ZERO);
            let p99 = |dispatch, depth| {
                let app = ModelApp { dispatch, ..app(Policy::Jbsq(depth), count) };
                p99_short(&trace, &replay(&trace, &app)) / p99_short(&trace, &bound)
            };
            let ideal = p99(Dispatch::Request, Depth::Fixed(1));
            assert!((0.999..1.001).contains(&ideal), "{ideal} with {workers} workers");
            let connection = p99(Dispatch::Connection, Depth::Auto);
            let [auto, request] =
                [Dispatch::Auto, Dispatch::Request].map(|dispatch| p99(dispatch, Depth::Auto));
            assert!(request * 1.5 < connection, "{request} and {connection}");
            assert!((0.95..1.05).contains(&(auto / request)), "{auto} and {request}");
        }
    }

    #[test]
    fn auto_leaves_alone_what_hardly_waits() {
        let mix = Mix::named("exp", Service::Sleep, 0.01).unwrap();
        let connections = Connections::KeepAlive { requests: 20.0, think_ms: 1.0 };
        let (arrivals, rate) = (Arrivals::Poisson, 60_000.0);
        let spec =
            TraceSpec { seed: 3, mix, arrivals, connections, rate, requests: 60_000, ramp_s: 0.0 };
        let trace = Trace::draw(spec).unwrap();
        let us = Span::from_us;
        let costs = Costs { handoff: us(30), notice: us(25), overhead: us(5) };
        let sojourns = |dispatch| {
            let app = ModelApp { dispatch, costs, ..app(Policy::Jbsq(Depth::Auto), 4) };
            let samples = replay(&trace, &app).samples;
            samples.iter().map(|sample| sample.done.less(sample.sent).as_us()).sum::<u64>()
        };
        assert_eq!(sojourns(Dispatch::Auto), sojourns(Dispatch::Connection));
        assert!(sojourns(Dispatch::Connection) * 3 / 2 < sojourns(Dispatch::Request));
    }

    /// Of each class, how many requests of a trace are answered by its end.
    fn answered(trace: &Trace, app: &ModelApp) -> [usize; 2] {
        let samples = replay(trace, app).samples;
        let in_time = trace.requests.iter().zip(&samples).filter(|(_, s)| s.done <= trace.length());
        in_time.fold([0; 2], |mut counts, (request, _)| {
            counts[usize::from(request.class)] += 1;
            counts
        })
    }

    #[test]
    fn short_requests_go_first_and_long_ones_wait_no_longer_than_they_are() {
        let trace = drawn("bim100", 0.8, 4, Connections::PerRequest, 60_000);
        let (fifo, aware) = (app(Policy::Jbsq(Depth::Auto), 4), classes(4));
        let [before, after] = [&fifo, &aware].map(|app| p99_short(&trace, &replay(&trace, app)));
        assert!(after * 2.0 < before, "{after} and {before}");
        let long = trace.requests.iter().zip(replay(&trace, &aware).samples);
        let late = long.filter(|(request, sample)| {
            request.class == 1 && request.at.plus(request.service.times(5)) < sample.done
        });
        assert!(late.count() < 12, "of 600 long ones");
    }

    #[test]
    fn neither_class_starves_whichever_asks_for_more_than_there_is() {
        // Half of the work is long. Twice as much as there is of either, or of both.
        for (mix, load) in [("bim100", 1.5), ("bim1000", 1.5), ("bim10", 1.5)] {
            let trace = drawn(mix, load, 4, Connections::PerRequest, 30_000);
            let fifo = answered(&trace, &app(Policy::Jbsq(Depth::Auto), 4));
            let aware = answered(&trace, &classes(4));
            for (class, (fifo, aware)) in fifo.iter().zip(aware).enumerate() {
                assert!(fifo * 9 / 10 < aware, "{mix}, class {class}: {aware} instead of {fifo}");
            }
        }
    }

    fn classes(workers: usize) -> ModelApp {
        let request = Dispatch::Request;
        ModelApp { classes: true, dispatch: request, ..app(Policy::Jbsq(Depth::Auto), workers) }
    }

    #[test]
    fn a_biased_policy_shows() {
        // A bias planted in the weights: one of two workers gets three of four connections.
        let trace = trace("bim10", 0.6, 2, Connections::PerRequest);
        let even = replay(&trace, &app(Policy::Weighted, 2));
        let biased = replay(&trace, &ModelApp { weights: vec![3, 1], ..app(Policy::Weighted, 2) });
        let share = |outcome: &TraceOutcome| {
            let first = outcome.samples.iter().filter(|sample| sample.worker == Some(0)).count();
            first as f64 / outcome.samples.len() as f64
        };
        assert!((share(&even) - 0.5).abs() < 0.01 && (share(&biased) - 0.75).abs() < 0.01);
        let (even, biased) = (p99_short(&trace, &even), p99_short(&trace, &biased));
        assert!(even * 2.0 < biased, "{even} {biased}");
    }

    #[test]
    fn slow_workers_take_longer_and_who_counts_requests_notices() {
        let trace = trace("bim10", 0.5, 4, Connections::PerRequest);
        let speeds = vec![1.0, 1.0, 0.5, 0.5];
        let p99 = |policy| {
            p99_short(
                &trace,
                &replay(&trace, &ModelApp { speeds: speeds.clone(), ..app(policy, 4) }),
            )
        };
        assert!(p99(Policy::Jbsq(Depth::Fixed(1))) * 2.0 < p99(Policy::RoundRobin));
    }
}
