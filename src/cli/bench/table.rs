//! What a load run found, as a table for people.

use std::fmt::Write as _;

use crate::bench::result::{ClassFigures, Round};
use crate::bench::tally::Quantiles;

/// The table of one round.
pub(super) fn render(title: &str, round: &Round) -> String {
    let mut lines = vec![title.to_owned(), String::new()];
    lines.extend(classes(&round.classes));
    lines.push(String::new());
    let rate = (round.requests - round.errors) as f64 / round.seconds.max(1e-9);
    lines.push(row("answered", &format!("{rate:.1} requests/s over {:.2} s", round.seconds)));
    lines.push(row("errors", &errors(round)));
    if let Some(late) = round.lateness_us {
        let Quantiles { p50, p99, max, .. } = late;
        let text = format!("p50 {}, p99 {}, max {}", time(p50), time(p99), time(max));
        lines.push(row("sent late by", &text));
    }
    let foreign = round.foreign_cpu.map_or_else(
        || "unknown (a run below 1 s, or name the server's processes by --server-pid)".to_owned(),
        |share| format!("{:.1} %", share * 100.0),
    );
    lines.push(row("foreign CPU", &foreign));
    if let Some(cpu) = round.cpu_us_per_request {
        lines.push(row("server CPU", &format!("{} per request", time(cpu))));
    }
    lines.extend(workers(round));
    lines.push(String::new());
    lines.join("\n")
}

fn classes(classes: &[ClassFigures]) -> Vec<String> {
    let with_slowdown = classes.iter().any(|class| class.slowdown.is_some());
    let width = classes.iter().map(|class| class.name.len()).max().unwrap_or(0).max(5);
    let mut head = format!("{:width$}", "class");
    for name in ["requests", "p50", "p90", "p99", "p99.9", "max"] {
        append(&mut head, name);
    }
    if with_slowdown {
        append(&mut head, "slow p50");
        append(&mut head, "slow p99");
    }
    let line = |class: &ClassFigures| {
        let mut line = format!("{:width$}", class.name);
        append(&mut line, &class.requests.to_string());
        let Quantiles { p50, p90, p99, p999, max, .. } = class.latency_us;
        [p50, p90, p99, p999, max].iter().for_each(|us| append(&mut line, &time(*us)));
        if let Some(slowdown) = class.slowdown {
            append(&mut line, &format!("{:.2}", slowdown.p50));
            append(&mut line, &format!("{:.2}", slowdown.p99));
        }
        line
    };
    std::iter::once(head).chain(classes.iter().map(line)).collect()
}

fn errors(round: &Round) -> String {
    if round.errors == 0 {
        return format!("none of {}", round.requests);
    }
    let kinds: Vec<String> =
        round.failures.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{} of {}: {}", round.errors, round.requests, kinds.join(", "))
}

/// Each worker, as long as they fit on a line; then only how even their load was.
fn workers(round: &Round) -> Option<String> {
    const SHOWN_MAX: usize = 8;
    let jain = round.jain?;
    let each: Vec<String> = round
        .workers
        .iter()
        .map(|worker| format!("{}: {}", worker.worker, worker.requests))
        .collect();
    let text = if each.len() <= SHOWN_MAX { each.join(", ") } else { each.len().to_string() };
    Some(row("workers", &format!("{text} (Jain's index {jain:.3})")))
}

fn row(label: &str, text: &str) -> String {
    format!("{label:13} {text}")
}

fn append(line: &mut String, cell: &str) {
    // Writing to a string cannot fail.
    write!(line, "  {cell:>9}").unwrap_or_default();
}

/// Microseconds in the unit in which they are read most easily, with three digits.
fn time(us: f64) -> String {
    let three = |value: f64, unit: &str| match value {
        100.0.. => format!("{value:.0}{unit}"),
        10.0.. => format!("{value:.1}{unit}"),
        _ => format!("{value:.2}{unit}"),
    };
    match us {
        999_500.0.. => three(us / 1e6, "s"),
        999.5.. => three(us / 1e3, "ms"),
        _ => three(us, "us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::result::WorkerFigures;

    fn round() -> Round {
        let quantiles =
            Quantiles { mean: 1.0, p50: 150.0, p90: 1_500.0, p99: 2e4, p999: 3e5, max: 4e6 };
        let class = |name: &str, slowdown| ClassFigures {
            name: name.to_owned(),
            requests: 99,
            latency_us: quantiles,
            slowdown,
            bound: None,
            bound_free: None,
            curve: Vec::new(),
            bound_curve: Vec::new(),
        };
        Round {
            requests: 100,
            errors: 3,
            failures: [("timed out".to_owned(), 1), ("status 404".to_owned(), 2)].into(),
            seconds: 2.0,
            lateness_us: Some(quantiles),
            classes: vec![class("short", Some(quantiles.map(|x| x / 100.0))), class("/", None)],
            workers: vec![WorkerFigures { worker: 4, requests: 97, busy_s: 0.0, p99: 0.0 }],
            jain: Some(1.0),
            ..Round::default()
        }
    }

    #[test]
    fn the_table_has_every_figure() {
        let text = render("title", &round());
        let has = |words: &[&str]| {
            let found = text.lines().any(|line| line.split_whitespace().eq(words.iter().copied()));
            assert!(found, "{words:?}:\n{text}");
        };
        has(&["short", "99", "150us", "1.50ms", "20.0ms", "300ms", "4.00s", "1.50", "200.00"]);
        has(&["/", "99", "150us", "1.50ms", "20.0ms", "300ms", "4.00s"]);
        for part in [
            "48.5 requests/s over 2.00 s",
            "3 of 100: status 404 2, timed out 1",
            "p50 150us, p99 20.0ms, max 4.00s",
            "unknown",
            "4: 97 (Jain's index 1.000)",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let quiet = Round { foreign_cpu: Some(0.012), errors: 0, ..round() };
        let text = render("title", &quiet);
        assert!(text.contains("1.2 %") && text.contains("none of 100"), "{text}");
    }

    #[test]
    fn times_have_three_digits() {
        for (us, text) in [
            (0.5, "0.50us"),
            (99.96, "100.0us"),
            (999.4, "999us"),
            (999.6, "1.00ms"),
            (99_400.0, "99.4ms"),
            (999_600.0, "1.00s"),
            (123_000_000.0, "123s"),
        ] {
            assert_eq!(time(us), text);
        }
    }
}
