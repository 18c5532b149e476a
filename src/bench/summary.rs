//! From samples to figures: what a round found, class by class and worker by worker, and whether
//! it counts. The generator, the fairness runs and the model are summed up by the same rules.

use std::collections::BTreeMap;

use super::outcome::{Fate, Sample, TraceOutcome, us};
use super::quiet::Machine;
use super::result::{ClassFigures, Round, WorkerFigures};
use super::tally::{Tally, Unit};
use super::trace::{Trace, TraceRequest};
use crate::limits::{BENCH_FOREIGN_CPU_MAX, BENCH_LATE, BENCH_LATE_SHARE_MAX};
use crate::units::Span;

/// The figures of a round. Requests that were meant to be sent before `warmup` had passed do not
/// count; nor do their times. What a bound would have given is left open.
pub fn summarise(trace: &Trace, outcome: &TraceOutcome, warmup: Span, machine: &Machine) -> Round {
    let counted = || counted(trace, outcome, warmup);
    let classes = tally_classes(trace, outcome, warmup);
    let workers = workers(trace, outcome, warmup);
    let failures = failures(trace, outcome, warmup);
    let end = counted().map(|(_, sample)| sample.done).max().unwrap_or(warmup);
    let all = trace.requests.len() as f64;
    Round {
        seed: trace.spec.seed,
        requests: counted().count() as u64,
        errors: failures.values().sum(),
        failures,
        seconds: us(end) / 1e6 - us(warmup) / 1e6,
        rejected: reason_to_reject(trace, outcome, warmup, machine),
        lateness_us: Some(outcome.lateness_us(trace)),
        foreign_cpu: machine.foreign_cpu,
        cpu_us_per_request: machine.server_cpu.map(|cpu| us(cpu) / all.max(1.0)),
        classes: classes.iter().map(ClassTally::figures).collect(),
        jain: jain(&workers),
        workers,
        ..Round::default()
    }
}

/// All times of one class.
#[derive(Clone, Debug)]
pub struct ClassTally {
    /// The class.
    pub name: String,
    /// Its requests, those without an answer among them.
    pub requests: u64,
    /// From the intended time to the last byte.
    pub latency: Tally,
    /// The same over the request's own service time, where that is known.
    pub slowdown: Option<Tally>,
}

/// The times of each class, in the order of the mix. A request that was given up counts with the
/// time until then, since leaving it out would flatter the server that did not answer; one that
/// failed at once has no time.
pub fn tally_classes(trace: &Trace, outcome: &TraceOutcome, warmup: Span) -> Vec<ClassTally> {
    let mut classes: Vec<ClassTally> = trace
        .spec
        .mix
        .classes
        .iter()
        .map(|class| ClassTally {
            name: class.name.clone(),
            requests: 0,
            latency: Tally::new(Unit::Us),
            slowdown: class.law.map(|_| Tally::new(Unit::Slowdown)),
        })
        .collect();
    for (request, sample) in counted(trace, outcome, warmup) {
        let class = &mut classes[usize::from(request.class)];
        class.requests += 1;
        if !has_time(sample.fate) {
            continue;
        }
        class.latency.record(us(latency(request, sample)));
        if let (Some(slowdown), Some(times)) = (&mut class.slowdown, slowdown(request, sample)) {
            slowdown.record(times);
        }
    }
    classes
}

/// How the counted requests ended that were not answered well, with how many of them, in words.
fn failures(trace: &Trace, outcome: &TraceOutcome, warmup: Span) -> BTreeMap<String, u64> {
    let mut failures = BTreeMap::new();
    for (_, sample) in counted(trace, outcome, warmup) {
        if !sample.fate.is_good() {
            *failures.entry(fate_text(sample.fate)).or_default() += 1;
        }
    }
    failures
}

impl ClassTally {
    fn figures(&self) -> ClassFigures {
        let curve = self.slowdown.as_ref().unwrap_or(&self.latency).curve();
        ClassFigures {
            name: self.name.clone(),
            requests: self.requests,
            latency_us: self.latency.quantiles(),
            slowdown: self.slowdown.as_ref().map(Tally::quantiles),
            bound: None,
            bound_free: None,
            curve,
            bound_curve: Vec::new(),
        }
    }
}

/// Why a round does not count: the generator was late, or others had the machine.
fn reason_to_reject(
    trace: &Trace,
    outcome: &TraceOutcome,
    warmup: Span,
    machine: &Machine,
) -> Option<String> {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let late = outcome.late_share(trace, warmup, BENCH_LATE);
    if BENCH_LATE_SHARE_MAX < late {
        return Some(format!(
            "the generator sent {} of the requests more than {BENCH_LATE} late ({} are allowed): \
             lower the rate, or leave it a CPU of its own",
            percent(late),
            percent(BENCH_LATE_SHARE_MAX)
        ));
    }
    let foreign = machine.foreign_cpu.filter(|share| BENCH_FOREIGN_CPU_MAX < *share)?;
    Some(format!(
        "{} of the CPU time went to others ({} are allowed): stop what else runs on this machine",
        percent(foreign),
        percent(BENCH_FOREIGN_CPU_MAX)
    ))
}

/// The workers that answered, ascending.
fn workers(trace: &Trace, outcome: &TraceOutcome, warmup: Span) -> Vec<WorkerFigures> {
    let mut found: BTreeMap<u16, (WorkerFigures, Vec<f64>)> = BTreeMap::new();
    for (request, sample) in counted(trace, outcome, warmup) {
        let Some(worker) = sample.worker else { continue };
        let (figures, times) = found.entry(worker).or_insert_with(|| {
            let worker = u32::from(worker);
            (WorkerFigures { worker, requests: 0, busy_s: 0.0, p99: 0.0 }, Vec::new())
        });
        figures.requests += 1;
        figures.busy_s += us(request.service) / 1e6;
        if request.class == 0 {
            let latency = us(latency(request, sample));
            times.push(slowdown(request, sample).unwrap_or(latency));
        }
    }
    let sum_up = |(mut figures, mut times): (WorkerFigures, Vec<f64>)| {
        times.sort_unstable_by(f64::total_cmp);
        let rank = times.len() * 99 / 100;
        figures.p99 = times.get(rank).copied().unwrap_or(0.0);
        figures
    };
    found.into_values().map(sum_up).collect()
}

/// Jain's index of the busy times; of the numbers of requests where no service time is known.
fn jain(workers: &[WorkerFigures]) -> Option<f64> {
    let busy: Vec<f64> = workers.iter().map(|worker| worker.busy_s).collect();
    let shares = if busy.iter().all(|busy| *busy == 0.0) {
        workers.iter().map(|worker| worker.requests as f64).collect()
    } else {
        busy
    };
    let (sum, squares) =
        shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    (0.0 < squares).then(|| sum * sum / (squares * shares.len() as f64))
}

fn counted<'a>(
    trace: &'a Trace,
    outcome: &'a TraceOutcome,
    warmup: Span,
) -> impl Iterator<Item = (&'a TraceRequest, &'a Sample)> {
    trace.requests.iter().zip(&outcome.samples).filter(move |(request, _)| warmup <= request.at)
}

fn latency(request: &TraceRequest, sample: &Sample) -> Span {
    Span::from_ns(sample.done.as_ns().saturating_sub(request.at.as_ns()))
}

fn slowdown(request: &TraceRequest, sample: &Sample) -> Option<f64> {
    let service = request.service.as_ns();
    (0 < service).then(|| latency(request, sample).as_ns() as f64 / service as f64)
}

const fn has_time(fate: Fate) -> bool {
    match fate {
        Fate::Answered | Fate::TimedOut | Fate::Unsent => true,
        Fate::Refused(_) | Fate::Unconnected | Fate::Broken | Fate::Nonsense => false,
    }
}

fn fate_text(fate: Fate) -> String {
    match fate {
        Fate::Answered => "answered".to_owned(),
        Fate::Refused(status) => format!("status {status}"),
        Fate::Unconnected => "not connected".to_owned(),
        Fate::Broken => "connection broken".to_owned(),
        Fate::Nonsense => "no HTTP".to_owned(),
        Fate::TimedOut => "timed out".to_owned(),
        Fate::Unsent => "never sent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mix::Mix;
    use super::super::trace::{Arrivals, Connections, TraceSpec};
    use super::*;

    /// A request every 10 ms, each of 1 ms, of which the odd ones are long, on its own connection.
    fn trace(mix: &str, count: u64) -> Trace {
        let spec = TraceSpec {
            seed: 9,
            mix: Mix::parse(mix).unwrap(),
            arrivals: Arrivals::Constant,
            connections: Connections::PerRequest,
            rate: 100.0,
            requests: count,
            ramp_s: 0.0,
        };
        let mut trace = Trace::draw(spec).unwrap();
        let classes = u16::try_from(trace.spec.mix.classes.len()).unwrap();
        for (index, request) in (0_u16..).zip(&mut trace.requests) {
            request.class = index % classes;
            let known = trace.spec.mix.classes[usize::from(request.class)].law.is_some();
            request.service = if known { Span::from_ms(1) } else { Span::ZERO };
        }
        trace
    }

    const TWO: &str = "50%:/burn?ms=1,50%:/burn?ms=2";

    fn sample(request: &TraceRequest, late_us: u64, ms: u64) -> Sample {
        let after = |span: Span| Span::from_ns(request.at.as_ns() + span.as_ns());
        Sample {
            sent: after(Span::from_us(late_us)),
            done: after(Span::from_ms(ms)),
            worker: Some(request.class),
            fate: Fate::Answered,
        }
    }

    fn outcome(trace: &Trace, change: impl Fn(usize, &mut Sample)) -> TraceOutcome {
        let made = trace.requests.iter().enumerate().map(|(index, request)| {
            let mut sample = sample(request, 10, 3);
            change(index, &mut sample);
            sample
        });
        TraceOutcome { samples: made.collect() }
    }

    const QUIET: Machine = Machine { foreign_cpu: Some(0.0), server_cpu: None };

    #[test]
    fn a_round_has_the_figures_of_its_classes_and_workers() {
        let trace = trace(TWO, 100);
        let machine = Machine { foreign_cpu: Some(0.01), server_cpu: Some(Span::from_ms(50)) };
        let outcome = outcome(&trace, |_, _| {});
        let round = summarise(&trace, &outcome, Span::ZERO, &machine);
        assert_eq!((round.seed, round.requests, round.errors), (9, 100, 0));
        assert_eq!(round.rejected, None);
        assert!((round.seconds - 1.003).abs() < 1e-9, "{}", round.seconds);
        assert_eq!(round.cpu_us_per_request, Some(500.0));
        assert_eq!(round.foreign_cpu, Some(0.01));
        assert_eq!(round.classes.len(), 2);
        for class in &round.classes {
            assert_eq!(class.requests, 50);
            assert!((class.latency_us.p99 - 3_000.0).abs() < 5.0);
            assert!((class.slowdown.unwrap().p50 - 3.0).abs() < 0.01);
            assert!(class.bound.is_none() && !class.curve.is_empty());
        }
        assert_eq!(round.workers.iter().map(|worker| worker.worker).collect::<Vec<_>>(), [0, 1]);
        assert!((round.workers[1].busy_s - 0.05).abs() < 1e-9);
        assert!((round.workers[0].p99 - 3.0).abs() < 1e-9);
        assert!((round.jain.unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_warm_up_counts_nowhere() {
        let trace = trace(TWO, 100);
        let warmup = Span::from_ms(505);
        let outcome = outcome(&trace, |index, sample| {
            if index < 40 {
                sample.fate = Fate::Broken;
                sample.sent = Span::from_ns(sample.sent.as_ns() + 5_000_000);
            }
        });
        let round = summarise(&trace, &outcome, warmup, &QUIET);
        assert_eq!((round.requests, round.errors), (50, 0));
        assert_eq!(round.rejected, None);
        assert_eq!(round.classes.iter().map(|class| class.requests).sum::<u64>(), 50);
        assert!(round.failures.is_empty());
        assert!((round.seconds - 0.498).abs() < 1e-9);
    }

    #[test]
    fn what_was_given_up_has_a_time_and_what_failed_at_once_has_none() {
        let trace = trace("/", 100);
        let outcome = outcome(&trace, |index, sample| match index {
            0..10 => sample.fate = Fate::Refused(404),
            10..20 => sample.fate = Fate::Broken,
            20..25 => {
                sample.fate = Fate::TimedOut;
                sample.done = Span::from_s(10);
            }
            25..30 => sample.fate = Fate::Unsent,
            30..36 => sample.fate = Fate::Unconnected,
            36..43 => sample.fate = Fate::Nonsense,
            _ => {}
        });
        let round = summarise(&trace, &outcome, Span::ZERO, &QUIET);
        assert_eq!((round.errors, round.classes[0].requests), (43, 100));
        assert!(round.classes[0].slowdown.is_none());
        assert!(9e6 < round.classes[0].latency_us.p99);
        let tally = &tally_classes(&trace, &outcome, Span::ZERO)[0];
        assert_eq!((tally.requests, tally.latency.count()), (100, 67));
        let failures: Vec<_> = round.failures.into_iter().collect();
        let expected = [
            ("connection broken", 10),
            ("never sent", 5),
            ("no HTTP", 7),
            ("not connected", 6),
            ("status 404", 10),
            ("timed out", 5),
        ];
        assert_eq!(failures, expected.map(|(text, count)| (text.to_owned(), count)));
    }

    #[test]
    fn a_late_generator_or_a_busy_machine_rejects_a_round() {
        let trace = trace("/", 200);
        let late = |count| {
            outcome(&trace, move |index, sample| {
                if index < count {
                    sample.sent = Span::from_ns(sample.sent.as_ns() + 1_000_000);
                }
            })
        };
        let reason = |outcome: &TraceOutcome, foreign_cpu| {
            let machine = Machine { foreign_cpu, server_cpu: None };
            summarise(&trace, outcome, Span::ZERO, &machine).rejected.unwrap_or_default()
        };
        assert_eq!(reason(&late(2), Some(0.03)), "");
        assert_eq!(reason(&late(0), None), "");
        let said = reason(&late(3), Some(0.5));
        assert!(said.starts_with("the generator sent 1.5 % of the requests more than 1ms late"));
        let said = reason(&late(2), Some(0.031));
        assert!(said.starts_with("3.1 % of the CPU time went to others"), "{said}");
    }

    #[test]
    fn a_request_behind_another_is_not_late_before_that_one_is_answered() {
        let mut trace = trace("/", 2);
        trace.requests[1].connection = 0;
        let mut outcome = outcome(&trace, |_, _| {});
        let done = Span::from_ms(500);
        outcome.samples[0].done = done;
        outcome.samples[1].sent = Span::from_ns(done.as_ns() + 20_000);
        assert!((outcome.late_share(&trace, Span::ZERO, BENCH_LATE)).abs() < 1e-9);
        assert!(outcome.lateness_us(&trace).max < 21.0);
    }

    #[test]
    fn unequal_workers_show_in_the_index() {
        let worker = |busy_s, requests| WorkerFigures { worker: 0, requests, busy_s, p99: 0.0 };
        let near = |found: Option<f64>, wanted: f64| (found.unwrap() - wanted).abs() < 1e-9;
        assert!(near(jain(&[worker(1.0, 1), worker(0.0, 9)]), 0.5));
        assert!(near(jain(&[worker(0.0, 5), worker(0.0, 5)]), 1.0));
        assert_eq!(jain(&[]), None);
    }
}
