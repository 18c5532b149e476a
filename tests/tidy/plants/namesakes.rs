//! Types that share a name, and what only looks like it.

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::namesakes::check_namesakes;
use crate::tidy::source::Source;

/// Files, with what stands in them below their heads.
type Plant = &'static [(&'static str, &'static str)];

/// In each, two types are called `Job`.
const NAMESAKES: &[Plant] = &[
    &[("src/io/a.rs", "pub struct Job;"), ("src/sys/b.rs", "enum Job {}")],
    &[("src/io/a.rs", "trait Job {}"), ("src/io/b.rs", "type Job = u8;")],
    &[("src/io/a.rs", "union Job { a: u8 }"), ("src/main.rs", "struct Job;")],
    &[("src/io/a.rs", "struct Job; mod inside { struct Job; }")],
    &[("src/io/a.rs", "struct Job;"), ("src/io/b.rs", "fn f() { struct Job; }")],
    &[("src/io/a.rs", "struct Job;"), ("src/io/b.rs", "m! { pub enum Job { A } }")],
    &[("src/io/a.rs", "struct Job;"), ("src/io/b.rs", "#[cfg(not(test))] struct Job;")],
];

const INNOCENT: &[Plant] = &[
    &[("src/io/a.rs", "struct Job;"), ("src/io/b.rs", "use super::a::Job; fn job(_: Job) {}")],
    &[("src/io/a.rs", "struct Job;"), ("src/io/b.rs", "pub use super::a::Job as Job;")],
    &[("src/io/a.rs", "struct Job;"), ("tests/it/b.rs", "struct Job;")],
    &[
        ("benches/a.rs", "struct Job;"),
        ("examples/b.rs", "struct Job;"),
        ("src/io/a.rs", "enum Job {}"),
    ],
    &[("src/io/a.rs", "struct Job;"), ("src/io/b.rs", "#[cfg(test)] mod tests { struct Job; }")],
    &[("src/io/a.rs", "struct Job;"), ("src/io/b.rs", "#[cfg(test)] struct Job;")],
    &[
        ("src/io/a.rs", "struct Job;"),
        ("src/io/b.rs", "#[cfg(test)] mod tests;"),
        ("src/io/b/tests.rs", "struct Job; mod inside { struct Job; }"),
    ],
    &[
        ("src/io/a.rs", "trait Maker { type Job; } impl Maker for u8 { type Job = u8; }"),
        ("src/io/b.rs", "struct Job;"),
    ],
    &[
        ("src/io/a.rs", "struct Job; macro_rules! m { ($name:ident) => { struct $name; } }"),
        (
            "src/io/b.rs",
            "enum Kind { Job } fn f() -> &'static str { \"struct Job;\" } // struct Job;",
        ),
    ],
];

#[test]
fn each_name_with_two_types_is_reported_once() {
    for files in NAMESAKES {
        let found = check_namesakes(&planted(files), &[]);
        assert_eq!(found.len(), 1, "{files:?}: {found:?}");
        assert_eq!(found[0].rule, Rule::Namesake);
    }
}

#[test]
fn what_is_no_namesake_passes() {
    for files in INNOCENT {
        let found = check_namesakes(&planted(files), &[]);
        assert!(found.is_empty(), "{files:?}: {found:?}");
    }
}

#[test]
fn every_place_is_told() {
    let files =
        [("src/io/a.rs", "struct Job;"), ("src/sys/b.rs", "\nenum Job {}\nmod c { trait Job {} }")];
    let report: String =
        check_namesakes(&planted(&files), &[]).iter().map(Breach::to_string).collect();
    let begin = "src/io/a.rs:2: Namesake: `Job` is also the name of a type in \
                 src/sys/b.rs:3, src/sys/b.rs:4\n    cure: give";
    assert!(report.starts_with(begin), "{report}");
}

#[test]
fn an_excuse_is_good_for_as_long_as_it_is_needed() {
    let sources = planted(NAMESAKES[0]);
    assert!(check_namesakes(&sources, &[("Job", "a word of either side")]).is_empty());
    let found = check_namesakes(&sources, &[("Job", "a word of either side"), ("Work", "gone")]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "tests/tidy.rs");
    assert!(found[0].what.contains("`Work`"), "{found:?}");
}

fn planted(files: &[(&str, &str)]) -> Vec<Source> {
    let plant = |(path, text): &(&str, &str)| {
        let source = Source::new(path, &format!("//! Why.\n{text}\n"));
        assert!(source.is_readable(), "{text}");
        source
    };
    files.iter().map(plant).collect()
}
