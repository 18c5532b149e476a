//! Results made into the rows that every table shows: the one place that says what a ratio is, so
//! that the report, the fairness run and `cargo bench` cannot disagree about it.

mod digits;
mod setting;
mod spread;
mod text;

use serde::Serialize;

use super::result::{Cell, ClassFigures, MeasurementKind, Results, Round, Stall};
use super::tally::Quantiles;

pub use self::digits::digits;
pub use self::setting::Setting;
pub use self::spread::{Estimate, RoundSpread, median};
pub(super) use self::text::{class_names, class_of, shows_slowdown, wrapped};
pub use self::text::{plain, render_text};

/// The policy that others are compared with.
pub const BASELINE: &str = "rr";

/// The rows of one or more results, in their order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// One for each cell.
    pub rows: Vec<Row>,
}

/// What the rounds that count say of one cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Position of its result among those given.
    pub source: usize,
    /// Position of its cell in that result.
    pub cell: usize,
    /// The policy, or the server.
    pub subject: String,
    /// Workers; 0 where that is not known.
    pub workers: u32,
    /// Relative speeds of the workers, where they differ.
    pub speeds: Vec<f64>,
    /// Under which conditions it ran.
    #[serde(flatten)]
    pub setting: Setting,
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds that do not.
    pub rejected: usize,
    /// Requests without a good answer, in all rounds that count.
    pub errors: u64,
    /// Each class; empty when no round counts.
    pub classes: Vec<ClassRow>,
    /// What every request costs beside its service, in microseconds.
    pub overhead_us: Option<RoundSpread>,
    /// Share of the time in which a worker was idle while a request waited.
    pub idle_while_waiting: Option<RoundSpread>,
    /// The longest that a request waited beside an idle worker in any round, in milliseconds.
    pub starvation_ms: Option<f64>,
    /// What became of requests while workers were stopped, where that was tried.
    pub stall: Option<Stall>,
    /// Jain's index of busy times: a diagnostic of load, not of fairness.
    pub jain: Option<RoundSpread>,
    /// Requests per second.
    pub requests_per_s: Option<RoundSpread>,
    /// CPU time of the server per request, in microseconds.
    pub cpu_us_per_request: Option<RoundSpread>,
    /// The greatest share of the CPUs' time that went to strangers in a round.
    pub foreign_cpu: Option<f64>,
    /// The greatest 99th percentile of the generator's own lateness in a round, in microseconds.
    pub lateness_p99_us: Option<f64>,
}

/// One class of a row. Quantiles are medians over the rounds of each round's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRow {
    /// The class.
    pub name: String,
    /// Its requests in all rounds that count.
    pub requests: u64,
    /// From the intended time to the last byte, in microseconds.
    pub latency_us: Quantiles,
    /// The same over the request's own service time.
    pub slowdown: Option<Quantiles>,
    /// The slowdown of a central queue on the same trace, overhead included.
    pub bound: Option<Quantiles>,
    /// The same without the overhead.
    pub bound_free: Option<Quantiles>,
    /// Per round, the 99th percentile of the slowdown over that of the bound.
    pub to_bound: Option<RoundSpread>,
    /// Per seed, the 99th percentile over that of [`BASELINE`] on the same trace.
    pub to_baseline: Option<Estimate>,
}

impl Table {
    /// Derives the rows.
    pub fn new<'a>(results: impl IntoIterator<Item = &'a Results>) -> Self {
        let rows = results.into_iter().enumerate().flat_map(|(source, results)| {
            let cells = results.cells.iter().enumerate();
            cells.map(move |(at, cell)| Row::new((source, at), results, cell))
        });
        Self { rows: rows.collect() }
    }

    /// The rows by their conditions, in the order in which these appear; within one by workers.
    pub fn settings(&self) -> Vec<(&Setting, Vec<&Row>)> {
        let mut settings: Vec<(&Setting, Vec<&Row>)> = Vec::new();
        for row in &self.rows {
            match settings.iter_mut().find(|(setting, _)| **setting == row.setting) {
                Some((_, rows)) => rows.push(row),
                None => settings.push((&row.setting, vec![row])),
            }
        }
        for (_, rows) in &mut settings {
            rows.sort_by_key(|row| row.workers);
        }
        settings
    }
}

impl Row {
    fn new((source, at): (usize, usize), results: &Results, cell: &Cell) -> Self {
        let rounds: Vec<&Round> = cell.good_rounds().collect();
        let spread = |figure: fn(&Round) -> Option<f64>| {
            RoundSpread::of(rounds.iter().copied().filter_map(figure))
        };
        let greatest = |figure: fn(&Round) -> Option<f64>| spread(figure).map(|spread| spread.max);
        Self {
            source,
            cell: at,
            subject: cell.subject.clone(),
            workers: cell.workers,
            speeds: cell.speeds.clone(),
            setting: Setting::of(results.kind == MeasurementKind::Simulation, cell),
            rounds: rounds.len(),
            rejected: cell.rounds.len() - rounds.len(),
            errors: rounds.iter().fold(0, |sum, round| sum.saturating_add(round.errors)),
            classes: class_rows(&rounds, &baseline_rounds(results, cell)),
            overhead_us: spread(|round| round.overhead_us),
            idle_while_waiting: spread(|round| round.idle_while_waiting),
            starvation_ms: greatest(|round| round.starvation_ms),
            stall: cell.stall,
            jain: spread(|round| round.jain),
            requests_per_s: spread(|round| ratio(round.requests as f64, round.seconds)),
            cpu_us_per_request: spread(|round| round.cpu_us_per_request),
            foreign_cpu: greatest(|round| round.foreign_cpu),
            lateness_p99_us: greatest(|round| round.lateness_us.map(|lateness| lateness.p99)),
        }
    }

    /// Whether it is of the model and not of processes.
    pub const fn is_simulated(&self) -> bool {
        self.setting.is_simulated
    }

    /// The workers and, where they differ, their speeds.
    pub fn workers_text(&self) -> String {
        if self.speeds.is_empty() {
            return self.workers.to_string();
        }
        let speeds: Vec<String> = self.speeds.iter().map(f64::to_string).collect();
        format!("{} ({})", self.workers, speeds.join(", "))
    }
}

impl ClassRow {
    /// The slowdown, or the latency in milliseconds where that is all there is.
    pub fn quantiles(&self, is_slowdown: bool) -> Option<Quantiles> {
        if is_slowdown {
            return self.slowdown;
        }
        Some(self.latency_us.map(|us| us / 1e3))
    }
}

/// A quotient, where there is one.
fn ratio(above: f64, below: f64) -> Option<f64> {
    let ratio = above / below;
    (0.0 < below && ratio.is_finite()).then_some(ratio)
}

/// The rounds of the baseline under the same conditions; none of the baseline itself.
fn baseline_rounds<'a>(results: &'a Results, cell: &Cell) -> Vec<&'a Round> {
    let is_beside = |other: &&Cell| {
        other.subject == BASELINE
            && cell.subject != BASELINE
            && other.workers == cell.workers
            && other.speeds == cell.speeds
            && other.mix == cell.mix
            && other.medium == cell.medium
            && other.load == cell.load
            && other.connections == cell.connections
    };
    let baseline = results.cells.iter().find(is_beside);
    baseline.into_iter().flat_map(Cell::good_rounds).collect()
}

fn class_rows(rounds: &[&Round], baseline: &[&Round]) -> Vec<ClassRow> {
    let Some(first) = rounds.first() else { return Vec::new() };
    let names = first.classes.iter().map(|class| class.name.as_str()).enumerate();
    names.map(|at| class_row(at, rounds, baseline)).collect()
}

fn class_row(at: (usize, &str), rounds: &[&Round], baseline: &[&Round]) -> ClassRow {
    let each: Vec<(u64, &ClassFigures)> =
        rounds.iter().filter_map(|round| Some((round.seed, figures_of(round, at)?))).collect();
    let medians = |figure: fn(&ClassFigures) -> Option<Quantiles>| {
        median_quantiles(&each.iter().filter_map(|(_, class)| figure(class)).collect::<Vec<_>>())
    };
    let to_bound = |(_, class): &(u64, &ClassFigures)| ratio(class.slowdown?.p99, class.bound?.p99);
    let to_baseline = |(seed, class): &(u64, &ClassFigures)| {
        let other = figures_of(baseline.iter().find(|round| round.seed == *seed)?, at)?;
        match (class.slowdown, other.slowdown) {
            (Some(own), Some(other)) => ratio(own.p99, other.p99),
            _ => ratio(class.latency_us.p99, other.latency_us.p99),
        }
    };
    ClassRow {
        name: at.1.to_owned(),
        requests: each.iter().fold(0, |sum, (_, class)| sum.saturating_add(class.requests)),
        latency_us: medians(|class| Some(class.latency_us)).unwrap_or_default(),
        slowdown: medians(|class| class.slowdown),
        bound: medians(|class| class.bound),
        bound_free: medians(|class| class.bound_free),
        to_bound: RoundSpread::of(each.iter().filter_map(to_bound)),
        to_baseline: Estimate::of(each.iter().filter_map(to_baseline)),
    }
}

/// The class at this position, if it still has this name.
fn figures_of<'a>(round: &'a Round, (at, name): (usize, &str)) -> Option<&'a ClassFigures> {
    round.classes.get(at).filter(|class| class.name == name)
}

fn median_quantiles(all: &[Quantiles]) -> Option<Quantiles> {
    let of = |figure: fn(&Quantiles) -> f64| median(all.iter().map(figure).collect());
    Some(Quantiles {
        mean: of(|quantiles| quantiles.mean)?,
        p50: of(|quantiles| quantiles.p50)?,
        p90: of(|quantiles| quantiles.p90)?,
        p99: of(|quantiles| quantiles.p99)?,
        p999: of(|quantiles| quantiles.p999)?,
        max: of(|quantiles| quantiles.max)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::samples::{cell, class, results, round};
    use super::super::result::Medium;
    use super::*;

    /// Rounds with these p99 slowdowns and bounds.
    fn rounds(p99s: &[(f64, f64)]) -> Vec<Round> {
        let each = |(seed, (p99, bound)): (u64, &(f64, f64))| {
            round(seed, vec![class("short", 100, Some(*p99), Some(*bound))])
        };
        (1..).zip(p99s).map(each).collect()
    }

    fn table(subjects: &[(&str, Vec<Round>)]) -> Table {
        let cells = subjects.iter().map(|(subject, rounds)| cell(subject, 4, rounds.clone()));
        Table::new([&results(MeasurementKind::Fairness, cells.collect())])
    }

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn the_ratio_to_the_bound_is_taken_per_round() {
        let rows = table(&[("jbsq", rounds(&[(10.0, 5.0), (40.0, 10.0), (9.0, 3.0)]))]).rows;
        let spread = rows[0].classes[0].to_bound.unwrap();
        // The medians' own ratio would be 10 / 5.
        assert!(near(spread.median, 3.0) && near(spread.min, 2.0) && near(spread.max, 4.0));
        assert!(near(rows[0].classes[0].slowdown.unwrap().p99, 10.0));
        assert_eq!(rows[0].classes[0].requests, 300);
    }

    #[test]
    fn the_ratio_to_the_baseline_is_paired_by_seed() {
        let mut others = rounds(&[(10.0, 1.0), (20.0, 1.0), (40.0, 1.0)]);
        others.swap(0, 2);
        let own = rounds(&[(5.0, 1.0), (5.0, 1.0), (30.0, 1.0), (7.0, 1.0)]);
        let rows = table(&[("rr", others), ("jbsq", own)]).rows;
        assert_eq!(rows[0].classes[0].to_baseline, None);
        let estimate = rows[1].classes[0].to_baseline.unwrap();
        // 0.5, 0.25 and 0.75; the fourth has no partner.
        assert_eq!(estimate.rounds, 3);
        assert!(near(estimate.mean, 0.5));
        assert!(near(estimate.error.unwrap(), 0.25 / 3.0_f64.sqrt()));
    }

    #[test]
    fn a_baseline_under_other_conditions_is_none() {
        for change in [
            |cell: &mut Cell| cell.workers = 2,
            |cell: &mut Cell| cell.load = None,
            |cell: &mut Cell| cell.mix.push('x'),
            |cell: &mut Cell| cell.medium = Medium::Spin,
            |cell: &mut Cell| cell.connections.push('x'),
            |cell: &mut Cell| cell.speeds.push(1.0),
            |cell: &mut Cell| cell.rounds.iter_mut().for_each(|r| r.rejected = Some("x".into())),
        ] {
            let own = cell("jbsq", 4, rounds(&[(5.0, 1.0)]));
            let mut other = cell("rr", 4, rounds(&[(10.0, 1.0)]));
            let both =
                |other: &Cell| results(MeasurementKind::Fairness, vec![other.clone(), own.clone()]);
            let beside = Table::new([&both(&other)]).rows;
            assert!(beside[1].classes[0].to_baseline.is_some());
            change(&mut other);
            assert_eq!(Table::new([&both(&other)]).rows[1].classes[0].to_baseline, None);
        }
    }

    #[test]
    fn rejected_rounds_are_counted_and_nothing_else() {
        let mut mixed = rounds(&[(10.0, 5.0), (1_000.0, 1.0)]);
        mixed[1].rejected = Some("the generator was late".into());
        mixed[1].starvation_ms = Some(1e6);
        let row = &table(&[("jbsq", mixed)]).rows[0];
        assert_eq!((row.rounds, row.rejected), (1, 1));
        assert!(near(row.classes[0].to_bound.unwrap().max, 2.0));
        assert_eq!(row.starvation_ms, Some(3.0));
    }

    #[test]
    fn what_is_missing_stays_missing() {
        let bare = Round { seconds: 0.0, ..round(1, vec![class("all", 9, None, None)]) };
        let row = &table(&[("x", vec![bare])]).rows[0];
        assert_eq!(row.requests_per_s, None);
        assert_eq!((row.classes[0].slowdown, row.classes[0].to_bound), (None, None));
        let nothing = rounds(&[(5.0, 0.0)]);
        assert_eq!(table(&[("x", nothing)]).rows[0].classes[0].to_bound, None);
        assert_eq!(table(&[("x", Vec::new())]).rows[0].classes, []);
    }

    #[test]
    fn sums_do_not_overflow() {
        let huge = |seed| Round {
            errors: u64::MAX,
            ..round(seed, vec![class("all", u64::MAX, None, None)])
        };
        let row = &table(&[("x", vec![huge(1), huge(2)])]).rows[0];
        assert_eq!((row.errors, row.classes[0].requests), (u64::MAX, u64::MAX));
    }

    #[test]
    fn settings_keep_their_order_and_sort_by_workers() {
        let close = |workers| cell("jbsq", workers, rounds(&[(5.0, 1.0)]));
        let open = Cell { connections: "keep-alive 50".into(), ..close(2) };
        let real = results(MeasurementKind::Fairness, vec![close(8), open, close(2)]);
        let model = results(MeasurementKind::Simulation, vec![close(2)]);
        let table = Table::new([&real, &model]);
        let found: Vec<_> = table
            .settings()
            .into_iter()
            .map(|(setting, rows)| {
                let workers: Vec<u32> = rows.iter().map(|row| row.workers).collect();
                (setting.connections.clone(), setting.is_simulated, workers)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("close".into(), false, vec![2, 8]),
                ("keep-alive 50".into(), false, vec![2]),
                ("close".into(), true, vec![2])
            ]
        );
    }
}
