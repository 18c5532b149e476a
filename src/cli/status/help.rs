//! What every word of a status means. The words come from where they are shown from.

use super::facts::LINES;
use super::page::TextPage;
use super::table::{COLUMNS, HEADINGS, LAST_EXIT, LAST_EXIT_MEANING};
use crate::wire::words::{Phase, ReloadOutcome, Standing};

/// Columns of the help.
const WIDTH: usize = 80;
/// Columns of its words.
const WORDS: usize = 15;

/// The words, for the end of `status --help`.
pub(in crate::cli) fn text() -> String {
    let mut page = TextPage::new(WIDTH, WORDS);
    page.line("What it shows:");
    for line in LINES {
        explain(&mut page, line.label, line.meaning);
        for fact in line.facts.iter().filter(|fact| !fact.meaning.is_empty()) {
            explain(&mut page, "", &format!("{}: {}", fact.word, fact.meaning));
        }
    }
    explain(&mut page, LAST_EXIT, LAST_EXIT_MEANING);
    page.line("\nOf each worker:");
    for (heading, column) in HEADINGS.iter().zip(&COLUMNS) {
        explain(&mut page, heading, column.meaning);
    }
    page.line("\nWhat STATE may be:");
    for standing in Standing::ALL {
        explain(&mut page, standing.word(), standing.meaning());
    }
    page.line("\nWhere dispatchd is in its life:");
    for phase in Phase::ALL {
        explain(&mut page, phase.word(), phase.meaning());
    }
    page.line("\nWhat becomes of a reload:");
    for outcome in ReloadOutcome::ALL {
        explain(&mut page, outcome.word(), outcome.meaning());
    }
    page.line("\nExit codes: 0 done, 1 failed, 2 usage, 3 not running, 5 timed out.");
    page.into_text().trim_end().to_owned()
}

fn explain(page: &mut TextPage, word: &str, meaning: &str) {
    page.entry(&format!("  {word}"), &[meaning.to_owned()], 1);
}
