//! Paths where there are only tokens: in what a macro is given, and in what it is made of.

use crate::tidy::tokens::{Token, is_name, word};

/// A path as the tokens have it; `a::{b, c::d}` is two of them.
pub(crate) struct Path {
    pub(crate) names: Vec<String>,
    pub(crate) line: usize,
    /// It stands directly behind `use` or `extern crate`.
    pub(crate) imported: bool,
}

pub(crate) fn paths_of(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_name(&tokens[at].text) {
            at += 1;
            continue;
        }
        let imported = at > 0 && matches!(tokens[at - 1].as_str(), "use" | "crate");
        let mut paths = Vec::new();
        at = read_path(tokens, at, Vec::new(), &mut paths);
        found.extend(paths.into_iter().map(|(names, line)| Path { names, line, imported }));
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
