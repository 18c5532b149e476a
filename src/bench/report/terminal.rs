//! A report for a terminal: the compact tables, and per class a histogram of each policy in one
//! line, so that their tails can be compared at a glance.

use std::fmt::Write as _;

use super::groups::PictureGroup;
use super::plot::PlotPoint;
use super::scale::Scale;
use super::{Report, reading};
use crate::bench::table::{plain, render_text, wrapped};

/// Writes it down; histograms are so many columns wide, the rest at most 80.
pub(super) fn render(report: &Report, columns: usize) -> String {
    let reading = reading::of(report);
    let mut text = wrapped(&plain(&reading.lead));
    for caveat in &reading.caveats {
        text.push_str(&wrapped(&format!("* {}", plain(caveat))));
    }
    text.push('\n');
    text.push_str(&render_text(&report.table));
    for group in PictureGroup::all(report) {
        for class in group.classes() {
            push_histogram(&mut text, &group, class, columns);
        }
    }
    text
}

const NAMES: usize = 11;
/// From nothing to full; one step more is three times as many requests.
const LEVELS: [char; 9] = [
    ' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}',
    '\u{2588}',
];

fn push_histogram(
    text: &mut String,
    group: &PictureGroup<'_>,
    class: (usize, &str),
    columns: usize,
) {
    let is_slowdown = group.shows_slowdown(class);
    let mut lines: Vec<(String, Vec<PlotPoint>)> = Vec::new();
    if is_slowdown {
        lines.push(("best".to_owned(), group.bound_curve(class)));
    }
    for member in &group.members {
        lines.push((plain(&member.label), group.curve(member, class, is_slowdown)));
    }
    lines.retain(|(_, points)| !points.is_empty());
    if lines.is_empty() {
        return;
    }
    let width = columns.clamp(MIN_COLUMNS, MAX_COLUMNS) - NAMES - 1;
    let values = lines.iter().flat_map(|(_, points)| points.iter().map(|point| point.y));
    let scale = Scale::log(values, (0.0, width as f64));
    let unit = if is_slowdown { "slowdown" } else { "latency in ms" };
    let heading = format!("{}: {unit} of {}", group.conditions(", "), class.1);
    let _ = write!(text, "\n{}", wrapped(&plain(&heading)));
    for (label, points) in &lines {
        let label: String = label.chars().take(NAMES - 1).collect();
        let bars = bars(points, &scale, width);
        let _ = writeln!(text, "{}", format!("{label:NAMES$}{bars}").trim_end());
    }
    text.push_str(&axis(&scale, width));
}

/// How many requests end in each column, told by a block.
fn bars(points: &[PlotPoint], scale: &Scale, width: usize) -> String {
    let mut shares = vec![0.0; width];
    let mut before = 0.0;
    let mut last = None;
    for point in points {
        // Requests up to this share, and above the one before it, took no longer than this.
        let to = column(scale, point.y, width);
        let from = last.unwrap_or(to).min(to);
        for share in &mut shares[from..=to] {
            *share += (point.x - before) / (to - from + 1) as f64;
        }
        (before, last) = (point.x, Some(to));
    }
    if let Some(last) = last {
        shares[last] += 1.0 - before;
    }
    let level = |share: &f64| {
        if *share <= 0.0 {
            return LEVELS[0];
        }
        let steps_down = -share.log10() * 2.0;
        let at = (0..LEVELS.len() - 2).find(|at| steps_down < *at as f64 + 1.0);
        LEVELS[LEVELS.len() - 1 - at.unwrap_or(LEVELS.len() - 2)]
    };
    shares.iter().map(level).collect()
}

fn axis(scale: &Scale, width: usize) -> String {
    let mut line = " ".repeat(NAMES);
    for (at, name) in scale.ticks() {
        let start = NAMES + nearest_column(at, width);
        let used = line.chars().count();
        let is_free = used == NAMES || used < start;
        if is_free && start + name.chars().count() <= NAMES + width + 1 {
            let _ = write!(line, "{}{name}", " ".repeat(start - used));
        }
    }
    line + "\n"
}

fn column(scale: &Scale, value: f64, width: usize) -> usize {
    nearest_column(scale.at(value), width)
}

fn nearest_column(place: f64, width: usize) -> usize {
    (0..width).find(|column| place < *column as f64 + 1.0).unwrap_or(width - 1)
}

const MIN_COLUMNS: usize = 40;
const MAX_COLUMNS: usize = 400;

#[cfg(test)]
mod tests {
    use super::super::samples::{grid, odd};
    use super::*;
    use crate::bench::result::MeasurementKind;

    #[test]
    fn a_terminals_width_is_kept() {
        for results in
            [vec![grid(MeasurementKind::Fairness)], vec![grid(MeasurementKind::Simulation)], odd()]
        {
            let report = Report::of_samples(results);
            for columns in [0, 80, usize::MAX] {
                let text = render(&report, columns);
                let longest = text.lines().map(|line| line.chars().count()).max();
                assert!(longest <= Some(columns.clamp(80, MAX_COLUMNS)), "{longest:?}\n{text}");
            }
        }
    }

    #[test]
    fn a_class_has_a_line_for_each_policy_and_the_bound() {
        let text = render(&Report::of_samples(vec![grid(MeasurementKind::Fairness)]), 80);
        let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        let histograms = 3 * 2 * 2;
        assert_eq!(count("best  "), histograms, "{text}");
        // As many again in the tables.
        assert_eq!(count("jbsq  "), 2 * histograms, "{text}");
    }

    #[test]
    fn the_bars_lie_where_the_requests_do() {
        let point = |x, y| PlotPoint { x, y, ends: None };
        let scale = Scale::log([1.0, 100.0].into_iter(), (0.0, 20.0));
        // Nine tenths take 1, nearly all others 10, one of a thousand 100.
        let points = [
            point(0.0, 1.0),
            point(0.9, 1.0),
            point(0.9, 9.99),
            point(0.9985, 9.99),
            point(0.9985, 99.0),
        ];
        let bars: Vec<char> = bars(&points, &scale, 20).chars().collect();
        assert_eq!((bars[0], bars[9], bars[19]), ('\u{2588}', '\u{2586}', '\u{2583}'), "{bars:?}");
        assert_eq!((bars[5], bars[15]), (' ', ' '), "{bars:?}");
    }
}
