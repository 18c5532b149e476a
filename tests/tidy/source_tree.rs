//! The whole repository as the guard sees it, and the rules that need more than one file: what is
//! reachable, what the manifest argues for, and what a page is called.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::NAMESAKES_ARGUED;
use crate::tidy::breach::{Breach, Rule};
use crate::tidy::circles::check_circles;
use crate::tidy::manifest::{Setting, check_dependencies, settings};
use crate::tidy::namesakes::check_namesakes;
use crate::tidy::source::{Source, begins_with_any};

/// Folders with Rust in them that is built or tested.
pub(crate) const CODE_FOLDERS: &[&str] = &["src/", "tests/", "benches/", "examples/"];

/// All that is looked at: code, pages, and the manifest that names the roots of the code.
#[derive(Default)]
pub(crate) struct SourceTree {
    sources: Vec<Source>,
    pages: Vec<(String, String)>,
    manifest: String,
}

impl SourceTree {
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("the folder is readable") {
                let path = entry.expect("the folder stays while it is read").path();
                let inside = path.strip_prefix(root).expect("the walk stays below the root");
                let name = inside.to_string_lossy().into_owned();
                if !path.is_dir() {
                    tree.take(&name, || fs::read_to_string(&path).expect("the file is UTF-8"));
                } else if !path.ends_with("target") && !name.starts_with('.') {
                    folders.push(path);
                }
            }
        }
        tree.sources.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    /// Keeps the file `path` if it is of a kind that has rules.
    pub(crate) fn take(&mut self, path: &str, text: impl FnOnce() -> String) {
        if path == "Cargo.toml" {
            self.manifest = text();
        } else if path.ends_with(".md") {
            self.pages.push((path.to_owned(), text()));
        } else if path.ends_with(".rs") && begins_with_any(path, CODE_FOLDERS) {
            self.sources.push(Source::new(path, &text()));
        }
    }

    pub(crate) fn holds(&self, path: &str) -> bool {
        self.source(path).is_some()
    }

    fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }

    pub(crate) fn breaches(&self) -> Vec<Breach> {
        let mut found: Vec<Breach> = self.sources.iter().flat_map(Source::breaches).collect();
        found.extend(self.orphans());
        found.extend(check_circles(&self.sources));
        found.extend(check_namesakes(&self.sources, NAMESAKES_ARGUED));
        found.extend(check_dependencies(&self.manifest));
        found.extend(self.pages.iter().filter_map(|(path, text)| check_title(path, text)));
        found.extend(self.pages.iter().flat_map(|(path, text)| self.check_samples(path, text)));
        found.sort_by(|a, b| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)));
        found
    }

    /// Files that the compiler never sees, because nothing declares them.
    pub(crate) fn orphans(&self) -> Vec<Breach> {
        let roots = self.roots();
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<String> = roots.iter().cloned().collect();
        while let Some(path) = waiting.pop() {
            let Some(source) = self.source(&path) else { continue };
            if reached.insert(path) {
                waiting.extend(source.children(&roots));
            }
        }
        let unreached = self.sources.iter().filter(|source| !reached.contains(&source.path));
        unreached.map(|s| s.breach(1, Rule::Orphan, "no declaration leads here".into())).collect()
    }

    /// A Rust block on a page is the text of an example: readers copy it, and what nobody builds
    /// rots.
    fn check_samples(&self, path: &str, text: &str) -> Vec<Breach> {
        let lines: Vec<&str> = text.lines().collect();
        let is_rust = |&at: &usize| lines[at].trim_start().starts_with("```rust");
        let begins = (0..lines.len()).filter(is_rust);
        let strangers = begins.filter_map(|at| {
            let block = &lines[at + 1..];
            let end = block.iter().position(|line| line.trim_start().starts_with("```"));
            let block = &block[..end.unwrap_or(block.len())];
            let mut examples = self.sources.iter().filter(|one| one.path.starts_with("examples/"));
            let known = examples.any(|example| example.reads(block));
            let what = "the Rust in it is no file of examples/".to_owned();
            let breach = Breach { path: path.to_owned(), line: at + 1, rule: Rule::Sample, what };
            (!known).then_some(breach)
        });
        strangers.collect()
    }

    /// Where the compiler starts: the crate's two roots, the declared targets, and the examples,
    /// which Cargo finds by itself.
    fn roots(&self) -> BTreeSet<String> {
        let mut roots = BTreeSet::from(["src/lib.rs".to_owned(), "src/main.rs".to_owned()]);
        let examples = self.sources.iter().map(|source| &source.path).filter(|path| {
            path.strip_prefix("examples/").is_some_and(|name| {
                !name.contains('/') || name.ends_with("/main.rs") && name.matches('/').count() == 1
            })
        });
        roots.extend(examples.cloned());
        for Setting { section, key, value, .. } in settings(&self.manifest) {
            let folder = match section {
                "[[test]]" => "tests",
                "[[bench]]" => "benches",
                _ => continue,
            };
            let value = value.trim_matches('"');
            match key {
                "path" => roots.extend([value.to_owned()]),
                "name" => roots
                    .extend([format!("{folder}/{value}.rs"), format!("{folder}/{value}/main.rs")]),
                _ => {}
            }
        }
        roots
    }
}

/// A page has one title; what looks like one inside a fence is a comment of some shell.
fn check_title(path: &str, text: &str) -> Option<Breach> {
    let mut fenced = false;
    let mut titles = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        fenced ^= text.trim_start().starts_with("```");
        if text.starts_with("# ") && !fenced {
            titles.push(line);
        }
    }
    let line = titles.get(1).copied().unwrap_or(1);
    let what = format!("{} titles, 1 allowed", titles.len());
    (titles.len() != 1).then(|| Breach { path: path.to_owned(), line, rule: Rule::Title, what })
}
