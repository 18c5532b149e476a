//! Made-up results for the tests of tables and pictures: plain ones, whole grids, and odd ones.

use super::super::result::{
    Cell, ClassFigures, Environment, FORMAT, MeasurementKind, Medium, Results, Round, WorkerFigures,
};
use super::super::tally::{PercentilePoint, Quantiles};

pub(crate) fn results(kind: MeasurementKind, cells: Vec<Cell>) -> Results {
    let environment = Environment {
        date: "2026-11-22".into(),
        version: "0.1.0".into(),
        commit: Some("a293758".into()),
        uncommitted_changes: Some(false),
        command: "dispatchd bench fairness --mix bim100".into(),
        kernel: Some("6.18.1".into()),
        ..Environment::default()
    };
    Results { format: FORMAT.into(), kind, title: "A sample".into(), environment, cells }
}

pub(crate) fn cell(subject: &str, workers: u32, rounds: Vec<Round>) -> Cell {
    Cell {
        subject: subject.into(),
        workers,
        speeds: Vec::new(),
        mix: "bim100".into(),
        medium: Medium::Sleep,
        load: Some(0.8),
        connections: "close".into(),
        stall: None,
        rounds,
    }
}

pub(crate) fn round(seed: u64, classes: Vec<ClassFigures>) -> Round {
    let worker = |worker| WorkerFigures {
        worker,
        requests: 500 + u64::from(worker),
        busy_s: 1.0 + f64::from(worker) / 10.0,
        p99: 5.0 + f64::from(worker),
    };
    Round {
        seed,
        requests: 1_000,
        seconds: 2.0,
        lateness_us: Some(quantiles(100.0)),
        foreign_cpu: Some(0.01),
        cpu_us_per_request: Some(60.0),
        overhead_us: Some(55.0),
        classes,
        workers: (0..4).map(worker).collect(),
        idle_while_waiting: Some(0.02),
        starvation_ms: Some(3.0),
        jain: Some(0.99),
        ..Round::default()
    }
}

/// A class with these p99 slowdowns of its own and of the bound, or with latencies alone.
pub(crate) fn class(
    name: &str,
    requests: u64,
    p99: Option<f64>,
    bound: Option<f64>,
) -> ClassFigures {
    let latency = p99.unwrap_or(5.0) * 1e3;
    ClassFigures {
        name: name.into(),
        requests,
        latency_us: quantiles(latency),
        slowdown: p99.map(quantiles),
        bound: bound.map(quantiles),
        bound_free: bound.map(|bound| quantiles(bound * 0.9)),
        curve: curve(p99.unwrap_or(latency)),
        bound_curve: bound.map_or_else(Vec::new, curve),
    }
}

/// Policies on the headline's grid, in three rounds.
pub(crate) fn grid(kind: MeasurementKind) -> Results {
    let mut cells = Vec::new();
    for connections in ["close", "keep-alive 50"] {
        for workers in [8, 2, 4] {
            let bound = 200.0 / f64::from(workers);
            for (policy, times) in
                [("rr", f64::from(workers)), ("jbsq", 1.05), ("least", 1.6), ("reuseport", 9.0)]
            {
                let one = |seed: u32| {
                    let noise = 1.0 + f64::from(seed) / 20.0;
                    let short = class("short", 990, Some(bound * times * noise), Some(bound));
                    let long = class("long", 10, Some(1.5 * times), Some(1.4));
                    round(u64::from(seed), vec![short, long])
                };
                let rounds = (1..=3).map(one).collect();
                let cell = cell(policy, workers, rounds);
                cells.push(Cell { connections: connections.into(), ..cell });
            }
        }
    }
    results(kind, cells)
}

/// The same policies at several loads.
pub(crate) fn sweep(kind: MeasurementKind) -> Results {
    let mut cells = Vec::new();
    for load in [0.3, 0.5, 0.8, 0.95] {
        for (policy, times) in [("rr", 4.0), ("jbsq", 1.05)] {
            let bound = 10.0 / (1.0 - load);
            let classes = vec![class("short", 990, Some(bound * times), Some(bound))];
            let cell = cell(policy, 4, vec![round(1, classes)]);
            cells.push(Cell { load: Some(load), ..cell });
        }
    }
    results(kind, cells)
}

/// What a report must live through: nothing known, nothing equal, nothing in range.
pub(crate) fn odd() -> Vec<Results> {
    let many = (0..16).map(|at| class(&format!("c{at}"), 5, Some(2.0), Some(1.0))).collect();
    let extreme = ClassFigures {
        curve: vec![(0.0, 0.0), (0.5, 1e-300), (0.9, 1e300), (2.0, -1.0), (1.0, 5.0)],
        bound_curve: vec![(0.5, 3.0)],
        ..class("all", u64::MAX, Some(1e300), Some(1e-300))
    };
    let flat = ClassFigures { curve: Vec::new(), ..class("all", 0, Some(1.0), Some(1.0)) };
    let lonely = Round { workers: Vec::new(), ..round(1, vec![extreme]) };
    let rejected =
        Round { rejected: Some("the generator was late".into()), ..round(2, Vec::new()) };
    let uneven =
        Cell { speeds: vec![1.0, 1.0, 0.5, 0.5], ..cell("wrr", 4, vec![round(1, Vec::new())]) };
    let unknown =
        Cell { load: None, mix: "/".into(), medium: Medium::Server, ..cell("x", 0, Vec::new()) };
    vec![
        results(MeasurementKind::Load, vec![cell("many", 1, vec![round(1, many)]), uneven]),
        results(
            MeasurementKind::Simulation,
            vec![cell("extreme", 0, vec![lonely, rejected.clone()])],
        ),
        results(
            MeasurementKind::Fairness,
            vec![cell("flat", 3, vec![round(1, vec![flat])]), unknown],
        ),
        results(
            MeasurementKind::Load,
            vec![cell("bare", 0, vec![round(7, vec![class("all", 9, None, None)]), rejected])],
        ),
    ]
}

fn quantiles(p99: f64) -> Quantiles {
    Quantiles {
        mean: p99 / 3.0,
        p50: p99 / 2.0,
        p90: p99 * 0.8,
        p99,
        p999: p99 * 2.0,
        max: p99 * 3.0,
    }
}

/// A straight line on the percentile plot, through `p99` at 99 %.
fn curve(p99: f64) -> Vec<PercentilePoint> {
    let point = |step: i32| {
        let above = 0.5_f64.powi(step);
        (1.0 - above, p99 * (0.1 - above.log10() * 0.45))
    };
    (0..12).map(point).chain([(1.0, p99 * 3.0)]).collect()
}
