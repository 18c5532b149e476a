//! The table: what was found, beside what design section 11 asks for.

use std::fmt::Write as _;

use super::place::{self, Class};
use super::rounds::{Results, Row, Sample};
use super::variant::{MEMORY_KIB, MODES};

/// Median, least and greatest of the rounds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Spread {
    /// Half of the rounds are below.
    pub(crate) median: f64,
    /// The best round.
    pub(crate) min: f64,
    /// The worst round.
    pub(crate) max: f64,
}

/// The whole report as text.
pub(crate) fn render(results: &Results) -> String {
    let mut text = format!(
        "\nTotal CPU per short connection (connect, 64 B, 128 B, reset), in baselines of the same \
         round:\nmedian (min-max) of {} interleaved rounds, everything on CPU {} as {}, {:.1} % of \
         it foreign\n",
        results.rounds,
        results.cpu,
        place::class().map_or("?", Class::name),
        results.foreign * 100.0
    );
    for mode in MODES {
        let rows = results.rows.iter().filter(|row| row.mode.name == mode.name);
        append_rows(&mut text, mode.name, rows);
    }
    append_residents(&mut text, results);
    for line in &results.left_out {
        line_to(&mut text, format_args!("\nLEFT OUT, did not start: {line}"));
    }
    text
}

impl Spread {
    /// Of one figure of every sample; all zero of none.
    pub(crate) fn of(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Self {
        let mut figures: Vec<f64> = samples.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        let last = figures.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Self { median, min: at(0), max: at(last) }
    }
}

fn append_rows<'a>(text: &mut String, mode: &str, rows: impl Iterator<Item = &'a Row>) {
    line_to(
        text,
        format_args!(
            "\n{mode:27} {:>19} {:>6} {:>7} {:11}  {:>7} {:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>5}",
            "ratio",
            "target",
            "stretch",
            "",
            "conns/s",
            "us",
            "client",
            "master",
            "worker",
            "switches",
            "syscalls",
            "busy"
        ),
    );
    for row in rows {
        append_row(text, row);
    }
}

fn append_row(text: &mut String, row: &Row) {
    let ratio = Spread::of(&row.samples, |sample| sample.ratio);
    let median = |figure: fn(&Sample) -> f64| Spread::of(&row.samples, figure).median;
    let goal = row.variant.map_or_else(
        || format!("{:26}", ""),
        |variant| {
            let goal = variant.ratio_goal(row.mode);
            let verdict = goal.verdict(ratio.median);
            format!("{:6.2} {:7.2} {verdict:11}", goal.target, goal.stretch)
        },
    );
    line_to(
        text,
        format_args!(
            "{:27} {:5.3} ({:5.3}-{:5.3}) {goal}  {:7.0} {:6.2} {:6.2} {:6.2} {:6.2} {:8.2} {} \
             {:4.0}%",
            row.name(),
            ratio.median,
            ratio.min,
            ratio.max,
            median(|sample| sample.per_second),
            median(|sample| sample.total_us),
            median(|sample| sample.client_us),
            median(|sample| sample.master_us),
            median(|sample| sample.worker_us),
            median(|sample| sample.switches),
            syscalls(row),
            median(|sample| sample.accounted) * 100.0,
        ),
    );
}

/// System calls of the master per connection, with a mark where too many.
fn syscalls(row: &Row) -> String {
    let goal = row.variant.and_then(|variant| variant.syscall_goal(row.mode));
    match (row.variant, row.syscalls) {
        (None, _) => format!("{:>8}", ""),
        (Some(_), None) => format!("{:>8}", "no perf"),
        (Some(_), Some(calls)) if goal.is_some_and(|goal| goal.target < calls) => {
            format!("{calls:7.2}!")
        }
        (Some(_), Some(calls)) => format!("{calls:7.2} "),
    }
}

fn append_residents(text: &mut String, results: &Results) {
    line_to(
        text,
        format_args!(
            "\nswitches: context switches of all three per connection; syscalls: of the master per \
             connection,\ncounted by perf in a run of its own (! = above 0.15 batched, 1.0 \
             otherwise; asked of uring only);\nbusy: the part of the wall time that the CPU \
             columns explain"
        ),
    );
    line_to(
        text,
        format_args!(
            "\n{:27} {:>10} {:>10} {:>10} {:>10} {:>10}  (target {} KiB)",
            "idle master, KiB resident",
            "when ready",
            "after",
            "anonymous",
            "file",
            "shared",
            MEMORY_KIB.target
        ),
    );
    for resident in &results.residents {
        let used = resident.used;
        line_to(
            text,
            format_args!(
                "{:27} {:10} {:10} {:10} {:10} {:10}  {}",
                resident.variant.name(),
                resident.fresh.total_kib,
                used.total_kib,
                used.anonymous_kib,
                used.file_kib,
                used.shared_kib,
                MEMORY_KIB.verdict(used.total_kib as f64)
            ),
        );
    }
}

fn line_to(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}
