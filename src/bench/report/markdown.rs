//! The reading and the tables in Markdown, for a README or a pull request.

use std::fmt::Write as _;

use super::{Report, reading, sheets};

/// Writes it down.
pub(super) fn render(report: &Report) -> String {
    let titles: Vec<String> =
        report.sources.iter().map(|source| escape(&source.results.title)).collect();
    let reading = reading::of(report);
    let mut text = format!("# {}\n\n**{}**\n", titles.join("; "), escape(&reading.lead));
    let caveats = [("To be kept in mind".to_owned(), reading.caveats)];
    for (heading, items) in reading.findings.iter().chain(&caveats) {
        let _ = writeln!(text, "\n{}:\n", escape(heading));
        for item in items {
            let _ = writeln!(text, "- {}", escape(item));
        }
    }
    for (setting, rows) in report.table.settings() {
        let _ = writeln!(text, "\n## {}", escape(&setting.words()));
        for sheet in sheets::of_setting(report, setting, &rows) {
            push_sheet(&mut text, &sheet);
        }
    }
    if let Some(sheet) = sheets::rejected(report) {
        text.push_str("\n## Rounds that do not count\n");
        push_sheet(&mut text, &sheet);
    }
    text.push_str("\n## How it was measured\n\n");
    for source in &report.sources {
        let environment = &source.results.environment;
        let _ = writeln!(text, "- {}:", escape(&source.path));
        for (name, value) in super::page::facts(environment) {
            let _ = writeln!(text, "  - {name}: {}", escape(&value));
        }
    }
    text
}

fn push_sheet(text: &mut String, sheet: &sheets::Sheet) {
    let _ = write!(text, "\n{}\n\n|", escape(&sheet.caption));
    for column in &sheet.columns {
        let _ = write!(text, " {column} |");
    }
    text.push_str("\n|");
    for at in 0..sheet.columns.len() {
        text.push_str(if at < sheet.words { "---|" } else { "--:|" });
    }
    text.push('\n');
    for line in &sheet.lines {
        text.push('|');
        for value in line {
            let _ = write!(text, " {} |", escape(value));
        }
        text.push('\n');
    }
}

/// Text that Markdown and HTML within it leave as it is.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(sign);
            }
            sign if sign.is_control() => escaped.push('\u{fffd}'),
            sign => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::samples::{grid, odd};
    use super::*;
    use crate::bench::result::MeasurementKind;

    #[test]
    fn every_line_of_a_table_has_its_columns() {
        for results in [vec![grid(MeasurementKind::Fairness)], odd()] {
            let text = render(&Report::of_samples(results));
            let mut width = None;
            for line in text.lines() {
                let columns = line.starts_with('|').then(|| line.matches('|').count());
                assert!(width.is_none() || columns.is_none() || columns == width, "{line}");
                width = columns;
            }
        }
    }

    #[test]
    fn signs_of_markdown_are_taken_by_their_word() {
        assert_eq!(escape("a|b<i>*_`\n"), "a\\|b&lt;i&gt;\\*\\_\\`\u{fffd}");
    }
}
