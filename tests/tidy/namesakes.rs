//! Types of the same name, of which nobody knows which one is meant until the import is read.

use std::collections::BTreeMap;

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::names::Kind;
use crate::tidy::scopes::Scopes;
use crate::tidy::source::Source;

/// The names that several types have and nothing excuses, and what is excused without need.
pub(crate) fn check_namesakes(sources: &[Source], argued: &[(&str, &str)]) -> Vec<Breach> {
    let shared = shared_names(sources);
    let excused: Vec<&str> = argued.iter().map(|(name, _)| *name).collect();
    let mut found: Vec<Breach> = shared
        .iter()
        .filter(|(name, _)| !excused.contains(name))
        .map(|(name, places)| report(name, places))
        .collect();
    let gone = excused.iter().filter(|name| !shared.contains_key(**name));
    found.extend(gone.map(|name| {
        let what = format!("`{name}` is excused, and only one type has it");
        Breach { path: "tests/tidy.rs".into(), line: 1, rule: Rule::Namesake, what }
    }));
    found
}

/// A file, and the line in it.
type Place<'a> = (&'a str, usize);

/// Names with more than one type behind them, and where each is declared.
fn shared_names(sources: &[Source]) -> BTreeMap<&str, Vec<Place<'_>>> {
    let scopes = Scopes::of(sources);
    let counts = |source: &&Source| scopes.holds(source) || source.path == "src/main.rs";
    let mut names: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for source in sources.iter().filter(counts) {
        let items = source.names.declarations.iter();
        for item in items.filter(|item| item.kind == Kind::Type && !item.spot.tested) {
            names.entry(&item.name).or_default().push((&source.path, item.spot.line));
        }
    }
    names.retain(|_, places| places.len() > 1);
    names
}

fn report(name: &str, places: &[Place<'_>]) -> Breach {
    let (path, line) = places[0];
    let others: Vec<String> =
        places[1..].iter().map(|(path, line)| format!("{path}:{line}")).collect();
    let what = format!("`{name}` is also the name of a type in {}", others.join(", "));
    Breach { path: path.to_owned(), line, rule: Rule::Namesake, what }
}
