//! The compact table for terminals: 80 columns, one line per policy and number of workers.

use std::fmt::Write as _;

use super::super::result::Stall;
use super::digits::digits;
use super::{ClassRow, Estimate, RoundSpread, Row, Setting, Table};

/// The rows as text of at most 80 columns: a part for each setting and class, in which the
/// figures of the whole cell stand with its first class. `/bnd` is p99 over that of the bound with
/// overhead, `/rr` over that of the baseline; `idle%` is the time with an idle worker while a
/// request waited, `starv` the longest such wait in ms, `CPU` that of a request in us.
pub fn render_text(table: &Table) -> String {
    let parts = table.settings().into_iter().flat_map(|(setting, rows)| {
        let classes = class_names(&rows).into_iter().enumerate();
        let parts = classes.map(|class| part(setting, &rows, class));
        parts.chain(stall_part(setting, &rows)).collect::<Vec<_>>()
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// Text that cannot steer a terminal: control characters become question marks.
pub fn plain(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { '?' } else { sign }).collect()
}

/// The classes of the rows: those of the first that has any.
pub(crate) fn class_names<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let first = rows.iter().find(|row| !row.classes.is_empty());
    first.map_or_else(Vec::new, |row| row.classes.iter().map(|class| class.name.as_str()).collect())
}

/// Whether all rows know the slowdown of the class; else all show latencies.
pub(crate) fn shows_slowdown(rows: &[&Row], at: (usize, &str)) -> bool {
    let mut classes = rows.iter().filter_map(|row| class_of(row, at)).peekable();
    classes.peek().is_some() && classes.all(|class| class.slowdown.is_some())
}

/// The class at this position, if it has this name.
pub(crate) fn class_of<'a>(row: &'a Row, (at, name): (usize, &str)) -> Option<&'a ClassRow> {
    row.classes.get(at).filter(|class| class.name == name)
}

fn part(setting: &Setting, rows: &[&Row], at: (usize, &str)) -> String {
    let is_slowdown = shows_slowdown(rows, at);
    let unit = if is_slowdown { "slowdown" } else { "latency in ms" };
    let mut text = wrapped(&plain(&format!("{}: {unit} of {}", setting.words(), at.1)));
    let mut head = format!("{:9} {:>3}", "policy", "k");
    for column in ["p50", "p99", "p99.9", "/bnd"] {
        let _ = write!(head, " {column:>5}");
    }
    let _ = write!(head, " {:>9} {:>11}", "min-max", "/rr+-error");
    if at.0 == 0 {
        let _ = write!(head, " {:>5} {:>6} {:>5}", "idle%", "starv", "CPU");
    }
    text.push_str(&head);
    text.push('\n');
    for row in rows {
        text.push_str(line(row, at, is_slowdown).trim_end());
        text.push('\n');
    }
    text
}

fn line(row: &Row, at: (usize, &str), is_slowdown: bool) -> String {
    let subject = plain(&row.subject);
    let workers = if row.workers == 0 { "-".to_owned() } else { row.workers.to_string() };
    let mut line = if subject.chars().count() <= 9 {
        format!("{subject:9} {workers:>3}")
    } else {
        format!("{}{:9} {workers:>3}", wrapped(&subject), "")
    };
    let Some(class) = class_of(row, at) else {
        let why = if row.rounds == 0 { "no round counts" } else { "no such class" };
        let _ = write!(line, "  {why} ({} rejected)", row.rejected);
        return line;
    };
    let quantiles = class
        .quantiles(is_slowdown)
        .map(|quantiles| [quantiles.p50, quantiles.p99, quantiles.p999]);
    for number in quantiles.unwrap_or([f64::NAN; 3]) {
        let _ = write!(line, " {:>5}", digits(number));
    }
    let (ratio, range) = bound_texts(class.to_bound);
    let _ = write!(line, " {ratio:>5} {range:>9} {:>11}", baseline_text(class.to_baseline));
    if at.0 == 0 {
        let number = |number: Option<f64>| digits(number.unwrap_or(f64::NAN));
        let median = |spread: Option<RoundSpread>| spread.map(|spread| spread.median);
        let idle = number(median(row.idle_while_waiting).map(|share| share * 100.0));
        let cpu = number(median(row.cpu_us_per_request));
        let _ = write!(line, " {idle:>5} {:>6} {cpu:>5}", number(row.starvation_ms));
    }
    line
}

/// What the stall test found, where it was made.
fn stall_part(setting: &Setting, rows: &[&Row]) -> Option<String> {
    let mut text = wrapped(&plain(&format!(
        "{}: unclaimed requests delayed > 30 ms by stops of 300 ms",
        setting.words()
    )));
    let _ = writeln!(text, "policy      k stops requests delayed worst ms");
    let mut is_empty = true;
    for row in rows {
        let Some(stall) = row.stall else { continue };
        is_empty = false;
        let Stall { stops, requests, delayed, worst_ms, .. } = stall;
        let (subject, worst) = (plain(&row.subject), digits(worst_ms));
        let _ = writeln!(
            text,
            "{subject:9} {:>3} {stops:>5} {requests:>8} {delayed:>7} {worst:>8}",
            row.workers
        );
    }
    (!is_empty).then_some(text)
}

fn bound_texts(to_bound: Option<RoundSpread>) -> (String, String) {
    to_bound.map_or_else(
        || ("-".to_owned(), String::new()),
        |ratio| (digits(ratio.median), format!("{}-{}", digits(ratio.min), digits(ratio.max))),
    )
}

fn baseline_text(to_baseline: Option<Estimate>) -> String {
    to_baseline.map_or_else(
        || "-".to_owned(),
        |estimate| match estimate.digits() {
            (mean, Some(error)) => format!("{mean}+-{error}"),
            (mean, None) => mean,
        },
    )
}

/// Lines of at most 80 columns, broken at blanks where there are any.
pub(crate) fn wrapped(text: &str) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let mut signs: Vec<char> = word.chars().collect();
        if 0 < width && COLUMNS < width + 1 + signs.len() {
            lines.push('\n');
            width = 0;
        } else if 0 < width {
            lines.push(' ');
            width += 1;
        }
        while COLUMNS < signs.len() {
            lines.extend(signs.drain(..COLUMNS));
            lines.push('\n');
        }
        width += signs.len();
        lines.extend(signs);
    }
    lines + "\n"
}

/// What every terminal has.
const COLUMNS: usize = 80;

#[cfg(test)]
mod tests {
    use super::super::super::report::samples::{cell, class, grid, results, round};
    use super::super::super::result::{Cell, MeasurementKind};
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_at_most_five_signs() {
        for (number, text) in [
            (0.0, "0.00"),
            (0.0123, "0.012"),
            (1.0, "1.00"),
            (9.996, "10.0"),
            (61.25, "61.2"),
            (99.97, "100"),
            (566.4, "566"),
            (12_345.0, "12.3k"),
            (999_600.0, "1.0M"),
            (1e300, "1e300"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(digits(number), text);
        }
        let mut number = 1e-3;
        while number < 1e12 {
            assert!(digits(number).len() <= 5, "{number}");
            number *= 1.0137;
        }
    }

    #[test]
    fn every_row_and_class_has_its_line_of_at_most_80_columns() {
        let table = Table::new([&grid(MeasurementKind::Fairness)]);
        let text = render_text(&table);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        // Three numbers of workers, two ways to connect, two classes.
        for policy in ["rr ", "jbsq ", "reuseport "] {
            assert_eq!(lines(policy), 12, "{text}");
        }
        assert!(
            text.contains("bim100, sleep-service, load 0.8, close: slowdown of short"),
            "{text}"
        );
    }

    #[test]
    fn a_line_says_what_the_rounds_say() {
        let rounds = |factor: f64| {
            let one =
                |seed, p99| round(seed, vec![class("short", 9, Some(p99 * factor), Some(5.0))]);
            vec![one(1, 10.0), one(2, 11.0), one(3, 12.0)]
        };
        let cells = vec![cell("rr", 4, rounds(10.0)), cell("jbsq", 4, rounds(1.0))];
        let text = render_text(&Table::new([&results(MeasurementKind::Fairness, cells)]));
        let line = text.lines().last().unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let expected = ["jbsq", "4", "5.50", "11.0", "22.0", "2.20", "2.00-2.40", "0.100+-0.000"];
        assert_eq!(words[..8], expected, "{text}");
        assert_eq!(words[8..], ["2.00", "3.00", "60.0"], "{text}");
    }

    #[test]
    fn a_stall_test_has_its_part_and_its_column() {
        let stall = Stall { stops: 20, requests: 3_150, delayed: 7, excused: 1, worst_ms: 290.0 };
        let stalled = Cell { stall: Some(stall), ..cell("rr", 4, vec![round(1, Vec::new())]) };
        let cells = vec![stalled, cell("jbsq", 4, Vec::new())];
        let table = Table::new([&results(MeasurementKind::Fairness, cells)]);
        let text = render_text(&table);
        assert!(text.contains("rr          4    20     3150       7      290\n"), "{text}");
        assert!(!text.contains("jbsq        4    20"), "{text}");
    }

    #[test]
    fn odd_rows_are_lines_too() {
        let rejected =
            super::super::Round { rejected: Some("late".into()), ..round(1, Vec::new()) };
        let cells = vec![
            cell("a\u{1b}[31m", 0, vec![round(1, vec![class("all", 9, None, None)])]),
            cell("b", 2, vec![rejected]),
            cell("c", 2, Vec::new()),
        ];
        let text = render_text(&Table::new([&results(MeasurementKind::Load, cells)]));
        assert!(text.contains("latency in ms") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("b           2  no round counts (1 rejected)"), "{text}");
        assert_eq!(render_text(&Table { rows: Vec::new() }), "");
    }

    #[test]
    fn long_words_are_broken() {
        assert_eq!(wrapped("a bc"), "a bc\n");
        let long = format!("a {} b", "x".repeat(170));
        let text = wrapped(&long);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(text.replace(['\n', ' '], "").len(), 172);
    }
}
