//! The result in plain words, before any table: what a user would feel, how sure it is, and what
//! it does not show.

use super::Report;
use super::groups::PictureGroup;
use super::pictures::{by_setting, headline};
use crate::bench::table::{BASELINE, ClassRow, Row, digits};

/// What is to be read first.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ReportReading {
    /// One sentence.
    pub(super) lead: String,
    /// What each setting is, and a sentence for each number of workers.
    pub(super) findings: Vec<(String, Vec<String>)>,
    /// What stands against taking the figures for more than they are.
    pub(super) caveats: Vec<String>,
}

/// Settings that are told in words; the others stand in the tables.
const TOLD_SETTINGS: usize = 6;

/// Reads a report.
pub(super) fn of(report: &Report) -> ReportReading {
    let groups = PictureGroup::all(report);
    let first = headline(&groups);
    let mut findings: Vec<(String, Vec<String>)> = Vec::new();
    let mut settings = by_setting(&groups);
    settings
        .sort_by_key(|(setting, _)| first.first().is_none_or(|group| group.setting != *setting));
    for (setting, groups) in settings.iter().take(TOLD_SETTINGS) {
        let items: Vec<String> = groups.iter().filter_map(|group| finding(group)).collect();
        if let Some(class) = groups.iter().find_map(|group| group.classes().first().copied()) {
            let what = format!("p99 of {} requests over the best possible", class.1);
            findings.push((format!("{}: {what}", setting.words()), items));
        }
    }
    findings.retain(|(_, items)| !items.is_empty());
    if let Some(more) = settings.len().checked_sub(TOLD_SETTINGS).filter(|more| 0 < *more) {
        findings.push((
            "More".to_owned(),
            vec![format!("{more} further conditions are in the tables.")],
        ));
    }
    ReportReading { lead: lead(&first), findings, caveats: caveats(report) }
}

/// The one sentence: the policy that matters, its distance to the best possible, and that of round
/// robin, at the greatest number of workers.
fn lead(groups: &[&PictureGroup<'_>]) -> String {
    let ratios = |group: &&&PictureGroup<'_>| ratios(group).len();
    let Some(group) = groups.iter().rev().find(|group| 0 < ratios(group)) else {
        return groups
            .last()
            .and_then(|group| plain_lead(group))
            .unwrap_or_else(|| "No round of these results counts.".to_owned());
    };
    let ratios = self::ratios(group);
    let own = ratios.iter().find(|(label, _)| label == "jbsq").unwrap_or(&ratios[0]);
    let class = group.classes()[0].1;
    let simulated = if group.setting.is_simulated { "In the simulation, " } else { "" };
    let verb = format!("{} requests wait", if class == "all" { "" } else { class });
    let start = format!("{simulated}{}", verb.trim_start());
    let times = format!("{}\u{d7} the best possible", digits(own.1));
    let other = ratios.iter().find(|(label, _)| label == BASELINE && *label != own.0);
    let other = other
        .map_or_else(String::new, |(_, ratio)| format!("; round robin {}\u{d7}", digits(*ratio)));
    let place = format!("{} ({}, {})", group.workers(), own.0, group.setting.words());
    super::pictures::capitalized(&format!("{start} {times} with {place}{other}."))
}

/// Where there is no bound: how long it took.
fn plain_lead(group: &PictureGroup<'_>) -> Option<String> {
    let row = group.members.iter().find(|member| !member.row.classes.is_empty())?.row;
    let class = &row.classes[0];
    let (quantiles, unit) = match class.slowdown {
        Some(slowdown) => (slowdown, "times their own service time"),
        None => (class.quantiles(false)?, "ms"),
    };
    let simulated = if group.setting.is_simulated { " (simulated)" } else { "" };
    Some(format!(
        "{}{simulated}, {} requests: half are answered within {} {unit}, 99 % within {}, 99.9 % \
         within {}.",
        row.subject,
        class.name,
        digits(quantiles.p50),
        digits(quantiles.p99),
        digits(quantiles.p999)
    ))
}

/// The first class of one group, from the best to the worst.
fn finding(group: &PictureGroup<'_>) -> Option<String> {
    let ratios = ratios(group);
    let (best, others) = ratios.split_first()?;
    let list = |ratios: &[(String, f64)]| {
        let each = ratios.iter().map(|(label, ratio)| format!("{label} {}\u{d7}", digits(*ratio)));
        each.collect::<Vec<_>>().join(", ")
    };
    let rest = if others.is_empty() { String::new() } else { format!(", {}", list(others)) };
    let compared = group.members.iter().find(|member| member.label == "jbsq");
    let compared = compared.and_then(|member| member.row.classes.first()?.to_baseline);
    let compared = compared.map_or_else(String::new, |estimate| {
        let (mean, error) = estimate.digits();
        let error = error.map_or_else(String::new, |error| format!(" \u{b1} {error}"));
        format!("; jbsq over rr, on the same requests, {mean}{error}")
    });
    Some(format!("{}: {}{rest}{compared}.", group.workers(), list(std::slice::from_ref(best))))
}

/// Who has a ratio to the bound in the first class, ascending.
fn ratios(group: &PictureGroup<'_>) -> Vec<(String, f64)> {
    let ratio = |class: &ClassRow| Some(class.to_bound?.median);
    let mut ratios: Vec<(String, f64)> = group
        .members
        .iter()
        .filter_map(|member| Some((member.label.clone(), ratio(member.row.classes.first()?)?)))
        .collect();
    ratios.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    ratios
}

fn caveats(report: &Report) -> Vec<String> {
    let rows = &report.table.rows;
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let mut caveats = Vec::new();
    let simulated = count(&Row::is_simulated);
    if 0 < simulated {
        caveats.push(format!(
            "Of {} simulated: they show placement, not what a kernel and its cores make of it.",
            match (simulated, rows.len()) {
                (1, all) => format!("{all} cells 1 is"),
                (some, all) => format!("{all} cells {some} are"),
            }
        ));
    }
    let rejected: usize = rows.iter().map(|row| row.rejected).sum();
    if 0 < rejected {
        let all: usize = rows.iter().map(|row| row.rejected + row.rounds).sum();
        caveats.push(format!(
            "{rejected} of {all} rounds do not count; they are listed with reasons."
        ));
    }
    let errors = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.errors));
    if 0 < errors {
        caveats.push(format!("{errors} requests got no good answer, in rounds that count."));
    }
    let few = count(&|row| 0 < row.rounds && row.rounds < FEW_ROUNDS);
    if 0 < few {
        caveats.push(format!(
            "{} fewer than {FEW_ROUNDS} rounds: the spread is a hint, not a range.",
            cells_have(few)
        ));
    }
    let is_thin = |row: &Row| row.classes.first().is_some_and(|class| class.requests < MANY);
    let thin = count(&is_thin);
    if 0 < thin {
        caveats.push(format!(
            "{} fewer than {MANY} requests of the first class: p99.9 rests on a few of them.",
            cells_have(thin)
        ));
    }
    if rows.iter().any(|row| row.classes.iter().any(|class| class.to_bound.is_some())) {
        caveats.push(
            "The best possible (bound+o) is a central queue on the very same requests, each \
             costing its service and the measured overhead o. Only who interrupts long requests, \
             or knows them beforehand, can do better; and chance, within the spread."
                .to_owned(),
        );
    }
    caveats
}

fn cells_have(count: usize) -> String {
    if count == 1 { "1 cell has".to_owned() } else { format!("{count} cells have") }
}

/// Below that, a spread says little.
const FEW_ROUNDS: usize = 5;
/// What p99.9 needs.
const MANY: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::super::samples::{cell, class, grid, odd, results, round, sweep};
    use super::*;
    use crate::bench::result::MeasurementKind;

    fn read(results: Vec<crate::bench::result::Results>) -> ReportReading {
        of(&Report::of_samples(results))
    }

    #[test]
    fn the_lead_says_it_in_one_sentence() {
        let reading = read(vec![grid(MeasurementKind::Fairness)]);
        assert_eq!(
            reading.lead,
            "Short requests wait 1.16\u{d7} the best possible with 8 workers (jbsq, bim100, \
             sleep-service, load 0.8, close); round robin 8.80\u{d7}."
        );
        let (heading, items) = &reading.findings[0];
        assert_eq!(
            heading,
            "bim100, sleep-service, load 0.8, close: p99 of short requests over the best possible"
        );
        assert_eq!((reading.findings.len(), items.len()), (2, 3));
        assert_eq!(
            items[2],
            "8 workers: jbsq 1.16\u{d7}, least 1.76\u{d7}, rr 8.80\u{d7}, reuseport 9.90\u{d7}; \
             jbsq over rr, on the same requests, 0.131 \u{b1} 0.000."
        );
    }

    #[test]
    fn losses_are_told_as_plainly() {
        let rounds = |p99| vec![round(1, vec![class("short", 9, Some(p99), Some(10.0))])];
        let cells = vec![cell("jbsq", 2, rounds(30.0)), cell("shared", 2, rounds(11.0))];
        let reading = read(vec![results(MeasurementKind::Fairness, cells)]);
        assert!(reading.lead.starts_with("Short requests wait 3.00\u{d7}"), "{reading:?}");
        assert!(reading.findings[0].1[0].contains("shared 1.10\u{d7}, jbsq 3.00\u{d7}"));
    }

    #[test]
    fn without_a_bound_it_tells_how_long_it_took() {
        let rounds = vec![round(1, vec![class("all", 9, None, None)])];
        let reading = read(vec![results(MeasurementKind::Load, vec![cell("nginx", 0, rounds)])]);
        let lead = "nginx, all requests: half are answered within 2.50 ms, 99 % within 5.00, \
                    99.9 % within 10.0.";
        assert_eq!((reading.lead.as_str(), reading.findings.len()), (lead, 0));
        assert_eq!(read(Vec::new()).lead, "No round of these results counts.");
    }

    #[test]
    fn caveats_count_what_is_weak() {
        let caveats = read(odd()).caveats.join("\n");
        for part in ["Of 6 cells 1 is simulated", "2 of 7 rounds do not", "fewer than 5 rounds"] {
            assert!(caveats.contains(part), "{part}: {caveats}");
        }
        assert!(
            !read(vec![sweep(MeasurementKind::Fairness)]).caveats.join("").contains("simulated")
        );
    }
}
