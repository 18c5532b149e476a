//! A report: results in, text out. The page, the pictures, the tables and the histogram of a
//! terminal are drawn from one derived table, so that they say the same of the same result.
//!
//! Nothing here reads a file or a clock: the same results always give the same bytes.

mod dots;
mod groups;
mod markdown;
mod page;
mod palette;
mod pictures;
mod plot;
mod reading;
#[cfg(test)]
pub(crate) mod samples;
mod scale;
mod sheets;
mod svg;
mod terminal;

use serde_json::json;

use self::groups::palette_of;
use self::palette::Palette;
use super::result::Results;
use super::table::{Row, Table};

/// A result, and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportSource {
    /// Where it was read, as the user named it.
    pub path: String,
    /// What was read.
    pub results: Results,
}

/// Everything that can be shown of some results.
#[derive(Debug)]
pub struct Report {
    sources: Vec<ReportSource>,
    table: Table,
    palette: Palette,
}

impl Report {
    /// Derives the tables.
    pub fn new(sources: Vec<ReportSource>) -> Self {
        let table = Table::new(sources.iter().map(|source| &source.results));
        let mut report = Self { sources, table, palette: Palette::default() };
        let labels: Vec<String> = report.table.rows.iter().map(|row| report.label(row)).collect();
        report.palette = palette_of(labels.iter().map(String::as_str));
        report
    }

    /// Whether any round counts.
    pub fn has_figures(&self) -> bool {
        self.table.rows.iter().any(|row| 0 < row.rounds)
    }

    /// The derived figures.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// One page that needs nothing else.
    pub fn html(&self) -> String {
        page::render(self)
    }

    /// Every picture as a file: its name and its text.
    pub fn svgs(&self) -> Vec<(String, String)> {
        pictures::files(self)
    }

    /// The reading and the tables in Markdown.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// The derived figures as JSON.
    pub fn json(&self) -> String {
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|ReportSource { path, results }| {
                json!({"path": path, "kind": results.kind, "title": results.title,
                    "environment": results.environment})
            })
            .collect();
        let whole = json!({"format": FORMAT, "sources": sources, "rows": self.table.rows});
        serde_json::to_string_pretty(&whole).expect("plain data becomes JSON") + "\n"
    }

    /// Tables and histograms for a terminal of so many columns.
    pub fn text(&self, columns: usize) -> String {
        terminal::render(self, columns)
    }

    /// What a row's line is called: its subject, and the number of its result where another one
    /// has the same subject under the same conditions.
    fn label(&self, row: &Row) -> String {
        let has_double = |other: &Row| {
            other.source != row.source
                && other.subject == row.subject
                && other.workers == row.workers
                && other.speeds == row.speeds
                && other.setting == row.setting
        };
        if self.table.rows.iter().any(has_double) {
            return format!("{} [{}]", subject_of(row), row.source + 1);
        }
        subject_of(row).to_owned()
    }

    #[cfg(test)]
    fn of_samples(results: Vec<Results>) -> Self {
        let source =
            |(at, results)| ReportSource { path: format!("sample-{at}/results.json"), results };
        Self::new(results.into_iter().enumerate().map(source).collect())
    }
}

/// What a row is about; of an address what tells it from others.
fn subject_of(row: &Row) -> &str {
    row.subject.strip_prefix("http://").unwrap_or(&row.subject)
}

/// The format of the derived figures.
const FORMAT: &str = "dispatchd-report/1";

#[cfg(test)]
mod tests {
    use super::samples::{grid, odd, sweep};
    use super::*;
    use crate::bench::result::MeasurementKind;

    /// Every text that a report can give, by what it is.
    fn everything(results: Vec<Results>) -> Vec<(String, String)> {
        let report = Report::of_samples(results);
        let mut all = report.svgs();
        all.push(("html".into(), report.html()));
        all.push(("md".into(), report.markdown()));
        all.push(("json".into(), report.json()));
        all.push(("text".into(), report.text(80)));
        all
    }

    /// Whether every element is closed in its turn, and every ampersand is an entity.
    fn is_balanced(text: &str) -> Result<(), String> {
        let mut open: Vec<&str> = Vec::new();
        for (at, part) in text.split('<').enumerate() {
            let (tag, rest) = match part.split_once('>') {
                Some((tag, rest)) => (tag, rest),
                None if at == 0 => ("!", part),
                None => return Err(format!("'<{part}' is not closed")),
            };
            let entities = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            let is_entity = |part: &str| entities.iter().any(|entity| part.starts_with(entity));
            if !rest.split('&').skip(1).all(is_entity) || rest.contains('>') {
                return Err(format!("'{rest}' is not escaped"));
            }
            let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or_default();
            match tag {
                _ if tag.starts_with('!') || tag.ends_with('/') => {}
                _ if tag.matches('"').count() % 2 == 1 => return Err(format!("<{tag}>")),
                _ if !tag.starts_with('/') => open.push(name),
                _ if open.pop() != Some(name) => return Err(format!("</{name}> is not opened")),
                _ => {}
            }
        }
        open.is_empty().then_some(()).ok_or_else(|| format!("{open:?} are not closed"))
    }

    #[test]
    fn pages_and_pictures_are_well_formed_whatever_the_result() {
        is_balanced("<a><b/></a>").unwrap();
        for broken in ["<a><b></a></b>", "<a>&x</a>", "<a b=\"></a>", "<a>", "a>"] {
            is_balanced(broken).unwrap_err();
        }
        let mut samples = vec![
            vec![grid(MeasurementKind::Fairness)],
            vec![sweep(MeasurementKind::Simulation)],
            odd(),
        ];
        samples.extend(odd().into_iter().map(|results| vec![results]));
        for results in samples {
            for (name, text) in everything(results) {
                if name == "html" || name.ends_with(".svg") {
                    is_balanced(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert!(!text.contains("NaN") && !text.contains("inf\""), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_same_results_give_the_same_bytes() {
        let samples = || vec![grid(MeasurementKind::Fairness), sweep(MeasurementKind::Simulation)];
        assert_eq!(everything(samples()), everything(samples()));
    }

    #[test]
    fn nothing_is_fetched_from_anywhere() {
        for (name, text) in
            everything(vec![grid(MeasurementKind::Fairness), grid(MeasurementKind::Simulation)])
        {
            let text = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
            for word in ["http:", "https:", "src=", "url(", "@import", "<script", "<link", "data:"]
            {
                assert!(!text.contains(word), "{name} has {word}");
            }
        }
    }

    #[test]
    fn hostile_names_stay_text() {
        let hostile = "</title><script>alert(1)</script>\u{1b}[31m|`*";
        let mut results = grid(MeasurementKind::Fairness);
        results.title = hostile.into();
        results.environment.command = hostile.into();
        results.environment.host = Some(hostile.into());
        for cell in &mut results.cells {
            cell.subject = hostile.into();
            cell.mix = hostile.into();
            cell.connections = hostile.into();
            cell.rounds[0].rejected = Some(hostile.into());
            for round in &mut cell.rounds {
                round.classes[0].name = hostile.into();
            }
        }
        for (name, text) in everything(vec![results]) {
            assert!(!name.contains(['<', '/', '|']), "{name}");
            if name == "json" || name == "text" {
                assert!(!text.contains('\u{1b}'), "{name}");
                continue;
            }
            assert!(!text.contains("<script"), "{name}");
            assert!(!text.contains('\u{1b}'), "{name}");
            if name == "md" {
                let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
                assert!(!rows.is_empty());
                assert!(
                    rows.iter().all(|row| !row.contains("m|") && !row.contains("]|`")),
                    "{text}"
                );
            } else {
                is_balanced(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }

    #[test]
    fn every_cell_is_in_every_table() {
        let mut results = grid(MeasurementKind::Fairness);
        for (at, cell) in results.cells.iter_mut().enumerate() {
            cell.subject = format!("policy{at}end");
        }
        let report = Report::of_samples(vec![results.clone()]);
        for text in [report.html(), report.markdown(), report.json()] {
            for cell in &results.cells {
                assert!(text.contains(&cell.subject), "{}", cell.subject);
            }
        }
    }

    #[test]
    fn what_is_simulated_says_so_everywhere() {
        for (name, text) in everything(vec![sweep(MeasurementKind::Simulation)]) {
            assert!(text.to_lowercase().contains("simulat"), "{name}");
        }
        for (name, text) in everything(vec![sweep(MeasurementKind::Fairness)]) {
            let text = text.replace("\"is_simulated\": false", "");
            assert!(!text.to_lowercase().contains("simulat"), "{name}");
        }
    }

    #[test]
    fn the_same_subject_of_two_results_is_two_lines() {
        let report = Report::of_samples(vec![
            sweep(MeasurementKind::Fairness),
            sweep(MeasurementKind::Fairness),
        ]);
        assert!(report.html().contains("jbsq [1]") && report.html().contains("jbsq [2]"));
        let once = Report::of_samples(vec![
            sweep(MeasurementKind::Fairness),
            sweep(MeasurementKind::Simulation),
        ]);
        assert!(!once.html().contains("jbsq [1]"));
    }

    #[test]
    fn only_rounds_that_count_make_figures() {
        assert!(Report::of_samples(vec![grid(MeasurementKind::Load)]).has_figures());
        let mut none = grid(MeasurementKind::Load);
        for round in none.cells.iter_mut().flat_map(|cell| &mut cell.rounds) {
            round.rejected = Some("late".into());
        }
        assert!(!Report::of_samples(vec![none]).has_figures());
        assert!(!Report::of_samples(Vec::new()).has_figures());
    }
}
