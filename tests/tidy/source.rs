//! One Rust file and the rules that can be judged within it. Every rule is a method that returns
//! its breaches, and [`Source::breaches`] lists them all.

use std::collections::BTreeSet;
use std::slice;

use proc_macro2::TokenStream;

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::danger;
use crate::tidy::errors::repeated_sources;
use crate::tidy::kinds::questions;
use crate::tidy::names::{Declaration, Kind, Names, module_of};
use crate::tidy::tokens::{Token, is_name, separate, tokens_of, word};
use crate::{
    BANNED_ATTRIBUTES, COLUMNS_MAX, FILE_LINES_MAX, FUNCTION_LINES_MAX, GUESTS, LAYERS, PURE,
};

/// A Rust file, taken apart as far as the rules need.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: String,
    text: String,
    /// The lines with nothing but code in them: comments are blank.
    pub(crate) code: Vec<String>,
    /// The lines with nothing but comments in them.
    pub(crate) comments: Vec<String>,
    /// The words and signs of the code.
    pub(crate) tokens: Vec<Token>,
    pub(crate) names: Names,
    file: syn::Result<syn::File>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let stream = text.parse::<TokenStream>();
        let tokens = stream.as_ref().map(|all| tokens_of(all.clone())).unwrap_or_default();
        let (code, comments) = separate(text, &tokens);
        let file = stream.map_err(syn::Error::from).and_then(syn::parse2::<syn::File>);
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: lines(code),
            comments: lines(comments),
            tokens,
            names: file.as_ref().map(Names::of).unwrap_or_default(),
            file,
        }
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.file.is_ok()
    }

    /// Whether the file consists of these lines.
    pub(crate) fn reads(&self, lines: &[&str]) -> bool {
        self.text.lines().eq(lines.iter().copied())
    }

    pub(crate) fn breaches(&self) -> Vec<Breach> {
        let rules = [
            Self::check_grammar,
            Self::check_layers,
            Self::check_guests,
            danger::check_unsafe,
            danger::check_raw_descriptors,
            danger::check_page_loads,
            Self::check_file,
            Self::check_lines,
            Self::check_functions,
            Self::check_todos,
            Self::check_attributes,
            Self::check_errors,
            Self::check_kinds,
        ];
        rules.iter().flat_map(|rule| rule(self)).collect()
    }

    pub(crate) fn breach(&self, line: usize, rule: Rule, what: String) -> Breach {
        Breach { path: self.path.clone(), line, rule, what }
    }

    /// Of what is not read, the rules that follow know nothing.
    fn check_grammar(&self) -> Vec<Breach> {
        let breach = |error: &syn::Error| {
            let what = format!("no Rust that syn knows: {error}");
            self.breach(error.span().start().line, Rule::Grammar, what)
        };
        self.file.as_ref().err().map(breach).into_iter().collect()
    }

    fn check_layers(&self) -> Vec<Breach> {
        let module = module_of(&self.path);
        let layer = match self.path.as_str() {
            "src/main.rs" => "main",
            _ => module.first().map_or("", String::as_str),
        };
        if layer.is_empty() {
            return Vec::new();
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            return vec![self.breach(1, Rule::Layer, format!("`{layer}` has no row in LAYERS"))];
        };
        let strangers = self.names.references.iter().filter_map(|reference| {
            let target = reference.layer(&module)?;
            let fits = target == layer || allowed.contains(&target.as_str());
            (!fits).then(|| {
                let what = format!("`{layer}` may not use `{target}`");
                self.breach(reference.spot.line, Rule::Layer, what)
            })
        });
        strangers.collect()
    }

    fn check_guests(&self) -> Vec<Breach> {
        if !self.path.starts_with("src/") {
            return Vec::new();
        }
        let pure = begins_with_any(&self.path, PURE);
        let strangers = self.names.references.iter().filter_map(|reference| {
            let guest = GUESTS.iter().find(|guest| reference.is_to(guest.name))?;
            let fits = !pure && begins_with_any(&self.path, guest.homes);
            (!fits).then(|| {
                let what = format!("`{}` has no home here: {}", guest.name, guest.why);
                self.breach(reference.spot.line, Rule::Guest, what)
            })
        });
        strangers.collect()
    }

    fn check_file(&self) -> Vec<Breach> {
        let mut found = Vec::new();
        let lines = self.code.len();
        if lines > FILE_LINES_MAX {
            let what = format!("{lines} lines, {FILE_LINES_MAX} allowed");
            found.push(self.breach(FILE_LINES_MAX + 1, Rule::FileLength, what));
        }
        let head = self.text.strip_prefix("//! ").and_then(|rest| rest.lines().next());
        if head.is_none_or(|sentence| sentence.trim().is_empty()) {
            found.push(self.breach(1, Rule::Head, "the file does not say why it exists".into()));
        }
        found
    }

    fn check_lines(&self) -> Vec<Breach> {
        let mut found = Vec::new();
        for (line, text) in (1..).zip(self.text.lines()) {
            let columns = text.chars().count();
            if columns > COLUMNS_MAX {
                let what = format!("{columns} columns, {COLUMNS_MAX} allowed");
                found.push(self.breach(line, Rule::LineLength, what));
            }
            if let Some(sign) = text.chars().find(|sign| !sign.is_ascii()) {
                let what = format!("`{}` is not ASCII", sign.escape_unicode());
                found.push(self.breach(line, Rule::Ascii, what));
            }
        }
        found
    }

    fn check_functions(&self) -> Vec<Breach> {
        let measured = (0..self.tokens.len()).filter_map(|at| {
            let name = word(&self.tokens, at + 1);
            if self.tokens[at].text != "fn" || !is_name(name) {
                return None;
            }
            let first = self.tokens[at].line;
            let lines = last_line_of_body(&self.tokens, at)? - first + 1;
            let what = || format!("fn {name} has {lines} lines, {FUNCTION_LINES_MAX} allowed");
            (lines > FUNCTION_LINES_MAX).then(|| self.breach(first, Rule::FunctionLength, what()))
        });
        measured.collect()
    }

    fn check_todos(&self) -> Vec<Breach> {
        let mut found = Vec::new();
        for (line, comment) in (1..).zip(&self.comments) {
            let words: Vec<&str> = comment.split(|sign: char| !sign.is_alphanumeric()).collect();
            let owned = words.windows(2).any(|pair| {
                pair[0].eq_ignore_ascii_case("issue") && pair[1].parse::<u32>().is_ok()
            });
            let mark = words.iter().find(|word| matches!(**word, "TODO" | "FIXME" | "XXX"));
            if let (Some(mark), false) = (mark, owned) {
                found.push(self.breach(line, Rule::Todo, format!("{mark} without an issue")));
            }
        }
        found
    }

    fn check_attributes(&self) -> Vec<Breach> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let head = attribute_heads(&self.tokens, at);
            for name in head.into_iter().filter(|name| BANNED_ATTRIBUTES.contains(name)) {
                let what = format!("the attribute `{name}` is not used in this project");
                found.push(self.breach(self.tokens[at].line, Rule::Attribute, what));
            }
        }
        found
    }

    fn check_errors(&self) -> Vec<Breach> {
        let Ok(file) = &self.file else { return Vec::new() };
        let what = "the text of an error names its source, which is printed behind it";
        let breach = |line| self.breach(line, Rule::ErrorText, what.to_owned());
        repeated_sources(file, &self.text).into_iter().map(breach).collect()
    }

    fn check_kinds(&self) -> Vec<Breach> {
        let Ok(file) = &self.file else { return Vec::new() };
        if !self.path.starts_with("src/") || self.path.starts_with("src/link/") {
            return Vec::new();
        }
        let breach =
            |line| self.breach(line, Rule::LinkKind, "it asks for the kind of a link".into());
        questions(file).into_iter().map(breach).collect()
    }

    /// The files that this one's `mod` declarations may mean.
    pub(crate) fn children(&self, roots: &BTreeSet<String>) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let home = match file {
            "mod.rs" => folder,
            _ if roots.contains(&self.path) => folder,
            _ => self.path.trim_end_matches(".rs"),
        };
        let mut paths = Vec::new();
        let files = self.names.declarations.iter().filter(|item| item.kind == Kind::File);
        for Declaration { name, spot, .. } in files {
            let path =
                [&[home.to_owned()], &*spot.within, slice::from_ref(name)].concat().join("/");
            paths.extend([format!("{path}.rs"), format!("{path}/mod.rs")]);
        }
        paths
    }
}

/// The names of the attribute that starts at `at`: its first word, and for `cfg_attr` all words.
fn attribute_heads(tokens: &[Token], at: usize) -> Vec<&str> {
    let start = match (word(tokens, at), word(tokens, at + 1), word(tokens, at + 2)) {
        ("#", "[", _) => at + 2,
        ("#", "!", "[") => at + 3,
        _ => return Vec::new(),
    };
    let first = word(tokens, start);
    if first != "cfg_attr" {
        return vec![first];
    }
    let mut depth = 1;
    let inside = tokens[start..].iter().map(Token::as_str).take_while(|sign| {
        match *sign {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        depth > 0
    });
    inside.collect()
}

/// The line of the brace that closes the body of the `fn` at `at`; none for a mere declaration.
fn last_line_of_body(tokens: &[Token], at: usize) -> Option<usize> {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for token in &tokens[at..] {
        match token.as_str() {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            ";" if brackets == 0 && braces == 0 => return None,
            "{" if brackets == 0 || braces > 0 => braces += 1,
            "}" if braces == 1 => return Some(token.line),
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

pub(crate) fn begins_with_any(path: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| path.starts_with(beginning))
}
