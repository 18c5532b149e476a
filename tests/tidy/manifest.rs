//! Just enough of Cargo.toml to know its targets and its dependencies: the manifest of this project
//! has one setting a line, which needs no parser.

use crate::GUESTS;
use crate::tidy::breach::{Breach, Rule};

/// A line `key = value` of the manifest.
pub(crate) struct Setting<'a> {
    pub(crate) section: &'a str,
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

pub(crate) fn settings(manifest: &str) -> Vec<Setting<'_>> {
    let mut section = "";
    let mut found = Vec::new();
    for (line, text) in (1..).zip(manifest.lines().map(str::trim)) {
        if text.starts_with('[') {
            section = text;
        } else if let Some((key, value)) = text.split_once('=')
            && !text.starts_with('#')
        {
            found.push(Setting { section, key: key.trim(), value: value.trim(), line });
        }
    }
    found
}

/// Every dependency is argued for in GUESTS, and no argument outlives its dependency.
pub(crate) fn check_dependencies(manifest: &str) -> Vec<Breach> {
    let breach =
        |line, what| Breach { path: "Cargo.toml".into(), line, rule: Rule::Dependency, what };
    let settings = settings(manifest);
    let dependencies: Vec<(String, usize)> = settings
        .iter()
        .filter(|setting| setting.section == "[dependencies]")
        .map(|setting| (setting.key.replace('-', "_"), setting.line))
        .collect();
    let uninvited = dependencies.iter().filter(|(name, _)| GUESTS.iter().all(|g| g.name != name));
    let mut found: Vec<Breach> =
        uninvited.map(|(name, line)| breach(*line, format!("`{name}` is not in GUESTS"))).collect();
    let gone = GUESTS
        .iter()
        .filter(|guest| guest.name != "std" && dependencies.iter().all(|(n, _)| n != guest.name));
    found.extend(gone.map(|guest| breach(1, format!("`{}` is only in GUESTS", guest.name))));
    found
}
