//! Which names a file refers to, and what they reach. Paths are read from the code itself, groups
//! of `use` taken apart and `super` followed, so that no spelling gets around the layers.

use std::rc::Rc;

use crate::tidy::text::{Token, is_name, word};

/// The modules that lead to a file of `src`, from the crate's root: none for the root itself.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let Some(inside) = path.strip_prefix("src/") else { return Vec::new() };
    let inside = inside.trim_end_matches(".rs");
    let names = inside.split('/').filter(|name| !matches!(*name, "lib" | "main" | "mod"));
    names.map(str::to_owned).collect()
}

/// A name with its path as the code has it; `a::{b, c::d}` is two of them.
pub(crate) struct Reference {
    names: Vec<String>,
    pub(crate) line: usize,
    /// The modules of the same file around it.
    within: Rc<[String]>,
    /// It stands directly behind `use` or `extern crate`.
    imported: bool,
}

impl Reference {
    /// The layer that it reaches through the crate's root, seen from a file in `module`.
    pub(crate) fn layer(&self, module: &[String]) -> Option<String> {
        let names: Vec<&str> =
            self.names.iter().map(String::as_str).skip_while(|name| *name == "self").collect();
        let ups = names.iter().take_while(|name| **name == "super").count();
        match names.first().copied() {
            Some("crate" | "dispatchd") if names.len() > 1 => Some(names[1].to_owned()),
            Some("crate") if self.imported => Some("crate".to_owned()),
            Some("super") if ups >= module.len() + self.within.len() => {
                Some(names.get(ups).copied().unwrap_or("crate").to_owned())
            }
            _ => None,
        }
    }

    pub(crate) fn is_to(&self, guest: &str) -> bool {
        self.names[0] == guest && (self.imported || self.names.len() > 1)
    }
}

pub(crate) fn references(tokens: &[Token]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_name(&tokens[at].text) {
            at += 1;
            continue;
        }
        let imported = at > 0 && matches!(tokens[at - 1].as_str(), "use" | "crate");
        let within = Rc::clone(&tokens[at].within);
        let mut paths = Vec::new();
        at = read_path(tokens, at, Vec::new(), &mut paths);
        found.extend(paths.into_iter().map(|(names, line)| {
            let within = Rc::clone(&within);
            Reference { names, line, within, imported }
        }));
    }
    found
}

/// Reads the path at `at`, behind the names of the groups around it; returns where it ends.
fn read_path(
    tokens: &[Token],
    mut at: usize,
    mut names: Vec<String>,
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let line = tokens[at].line;
    names.push(tokens[at].text.clone());
    at += 1;
    while word(tokens, at) == "::" {
        match word(tokens, at + 1) {
            "{" => return read_group(tokens, at + 2, &names, found),
            name if is_name(name) || name == "*" => names.push(name.to_owned()),
            _ => break,
        }
        at += 2;
    }
    found.push((names, line));
    at
}

/// Reads the paths of a group of `use`, from behind its brace; returns where the group ends.
fn read_group(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    loop {
        at = match word(tokens, at) {
            "" => return at,
            "}" => return at + 1,
            "as" => at + 2,
            name if is_name(name) || name == "*" => read_path(tokens, at, prefix.to_vec(), found),
            _ => at + 1,
        };
    }
}
