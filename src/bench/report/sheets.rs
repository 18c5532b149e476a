//! The tables of a report, apart from how they are written down.

use super::Report;
use super::pictures::capitalized;
use crate::bench::table::{
    ClassRow, RoundSpread, Row, Setting, class_names, class_of, digits, shows_slowdown,
};

/// A table.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) caption: String,
    /// Names of the columns; as many as each line has.
    pub(super) columns: Vec<&'static str>,
    pub(super) lines: Vec<Vec<String>>,
    /// How many columns, from the left, are words and not numbers.
    pub(super) words: usize,
}

/// The tables of one setting: each class, then what belongs to the whole cell.
pub(super) fn of_setting(report: &Report, setting: &Setting, rows: &[&Row]) -> Vec<Sheet> {
    let classes = class_names(rows).into_iter().enumerate();
    let mut sheets: Vec<Sheet> =
        classes.map(|class| class_sheet(report, setting, rows, class)).collect();
    sheets.push(cell_sheet(report, setting, rows));
    sheets.into_iter().map(Sheet::without_empty_columns).collect()
}

impl Sheet {
    fn without_empty_columns(mut self) -> Self {
        let is_empty = |at: usize| self.lines.iter().all(|line| line[at] == none());
        let kept: Vec<bool> = (0..self.columns.len()).map(|at| !is_empty(at)).collect();
        let mut keeps = kept.iter().copied();
        self.columns.retain(|_| keeps.next().unwrap_or_default());
        for line in &mut self.lines {
            let mut keeps = kept.iter().copied();
            line.retain(|_| keeps.next().unwrap_or_default());
        }
        self
    }
}

/// Rounds that do not count, and why; none if all do.
pub(super) fn rejected(report: &Report) -> Option<Sheet> {
    let mut lines = Vec::new();
    for row in &report.table.rows {
        let cell = &report.sources[row.source].results.cells[row.cell];
        for (at, round) in cell.rounds.iter().enumerate() {
            let Some(reason) = &round.rejected else { continue };
            lines.push(vec![
                row.workers_text(),
                report.label(row),
                reason.clone(),
                row.setting.words(),
                format!("{} of {}", at + 1, cell.rounds.len()),
                round.seed.to_string(),
            ]);
        }
    }
    (!lines.is_empty()).then(|| Sheet {
        caption: "Each with its reason".to_owned(),
        columns: vec!["workers", "policy", "why", "conditions", "round", "seed"],
        lines,
        words: 6,
    })
}

fn class_sheet(report: &Report, setting: &Setting, rows: &[&Row], class: (usize, &str)) -> Sheet {
    let is_slowdown = shows_slowdown(rows, class);
    let unit = if is_slowdown { "slowdown" } else { "latency in ms" };
    let line = |row: &&Row| {
        let mut line = vec![row.workers_text(), report.label(row)];
        match class_of(row, class) {
            Some(class) => line.extend(class_numbers(class, is_slowdown)),
            None => line.extend(["\u{2013}"; 8].map(str::to_owned)),
        }
        line
    };
    Sheet {
        caption: format!(
            "{}: {unit} ({})",
            capitalized(&format!("{} requests", class.1)),
            setting.words()
        ),
        columns: vec![
            "workers",
            "policy",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "p99 \u{f7} bound+o",
            "min\u{2013}max",
            "p99 \u{f7} rr",
            "\u{b1} error",
        ],
        lines: rows.iter().map(line).collect(),
        words: 2,
    }
}

fn class_numbers(class: &ClassRow, is_slowdown: bool) -> [String; 8] {
    let quantiles = class.quantiles(is_slowdown);
    let each = quantiles.map_or_else(
        || [none(), none(), none(), none()],
        |quantiles| [quantiles.p50, quantiles.p90, quantiles.p99, quantiles.p999].map(digits),
    );
    let [p50, p90, p99, p999] = each;
    let (ratio, range) = class.to_bound.map_or_else(
        || (none(), none()),
        |RoundSpread { median, min, max }| {
            (digits(median), format!("{}\u{2013}{}", digits(min), digits(max)))
        },
    );
    let (mean, error) = class.to_baseline.map_or_else(
        || (none(), none()),
        |estimate| {
            let (mean, error) = estimate.digits();
            (mean, error.unwrap_or_else(none))
        },
    );
    [p50, p90, p99, p999, ratio, range, mean, error]
}

fn cell_sheet(report: &Report, setting: &Setting, rows: &[&Row]) -> Sheet {
    let line = |row: &&Row| {
        let median = |spread: Option<RoundSpread>| spread.map(|spread| spread.median);
        let number = |number: Option<f64>| number.map_or_else(none, digits);
        let percent = |share: Option<f64>| number(share.map(|share| share * 100.0));
        vec![
            row.workers_text(),
            report.label(row),
            percent(median(row.idle_while_waiting)),
            number(row.starvation_ms),
            row.stall.map_or_else(none, |stall| format!("{} of {}", stall.delayed, stall.requests)),
            number(median(row.requests_per_s)),
            number(median(row.cpu_us_per_request)),
            number(median(row.overhead_us)),
            number(median(row.jain)),
            format!("{} of {}", row.rounds, row.rounds + row.rejected),
            row.errors.to_string(),
            percent(row.foreign_cpu),
            number(row.lateness_p99_us.map(|us| us / 1e3)),
        ]
    };
    Sheet {
        caption: format!("Waste, cost and how good the rounds were ({})", setting.words()),
        columns: vec![
            "workers",
            "policy",
            "idle while work waits, %",
            "longest starvation, ms",
            "delayed by stalls",
            "requests/s",
            "CPU per request, \u{b5}s",
            "overhead o, \u{b5}s",
            "Jain (diagnostic)",
            "rounds that count",
            "errors",
            "foreign CPU at most, %",
            "generator late p99, ms",
        ],
        lines: rows.iter().map(line).collect(),
        words: 2,
    }
}

fn none() -> String {
    "\u{2013}".to_owned()
}
