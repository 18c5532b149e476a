//! One Rust file and the rules that can be judged within it. Every rule is a method that returns
//! its breaches, and [`Source::breaches`] lists them all.

use std::collections::BTreeSet;

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::errors::repeated_sources;
use crate::tidy::names::{module_of, references};
use crate::tidy::text::{Token, is_name, separate, tokens_of, word};
use crate::{
    BANNED_ATTRIBUTES, COLUMNS_MAX, FILE_LINES_MAX, FUNCTION_LINES_MAX, GUESTS, LAYERS,
    PAGE_READERS, PURE, RAW_DESCRIPTOR_HOMES, RAW_DESCRIPTOR_NAMES, UNSAFE_HOMES,
};

/// A Rust file, taken apart as far as the rules need.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: String,
    text: String,
    /// The lines with nothing but code in them: comments and literals are blank.
    code: Vec<String>,
    /// The lines with nothing but comments in them.
    comments: Vec<String>,
    /// The words and signs of the code.
    tokens: Vec<Token>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = separate(text);
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: tokens_of(&code),
            code: lines(code),
            comments: lines(comments),
        }
    }

    /// Whether the file consists of these lines.
    pub(crate) fn reads(&self, lines: &[&str]) -> bool {
        self.text.lines().eq(lines.iter().copied())
    }

    pub(crate) fn breaches(&self) -> Vec<Breach> {
        let rules = [
            Self::check_layers,
            Self::check_guests,
            Self::check_unsafe,
            Self::check_raw_descriptors,
            Self::check_page_loads,
            Self::check_file,
            Self::check_lines,
            Self::check_functions,
            Self::check_todos,
            Self::check_attributes,
            Self::check_errors,
        ];
        rules.iter().flat_map(|rule| rule(self)).collect()
    }

    pub(crate) fn breach(&self, line: usize, rule: Rule, what: String) -> Breach {
        Breach { path: self.path.clone(), line, rule, what }
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
        let strangers = references(&self.tokens).into_iter().filter_map(|reference| {
            let target = reference.layer(&module)?;
            let fits = target == layer || allowed.contains(&target.as_str());
            (!fits).then(|| {
                let what = format!("`{layer}` may not use `{target}`");
                self.breach(reference.line, Rule::Layer, what)
            })
        });
        strangers.collect()
    }

    fn check_guests(&self) -> Vec<Breach> {
        if !self.path.starts_with("src/") {
            return Vec::new();
        }
        let pure = begins_with_any(&self.path, PURE);
        let strangers = references(&self.tokens).into_iter().filter_map(|reference| {
            let guest = GUESTS.iter().find(|guest| reference.is_to(guest.name))?;
            let fits = !pure && begins_with_any(&self.path, guest.homes);
            (!fits).then(|| {
                let what = format!("`{}` has no home here: {}", guest.name, guest.why);
                self.breach(reference.line, Rule::Guest, what)
            })
        });
        strangers.collect()
    }

    fn check_unsafe(&self) -> Vec<Breach> {
        let places: Vec<usize> =
            (0..self.tokens.len()).filter(|&at| self.tokens[at].text == "unsafe").collect();
        let Some(&first) = places.first() else { return Vec::new() };
        if !begins_with_any(&self.path, UNSAFE_HOMES) {
            let outside = |&at: &usize| {
                let what = "unsafe code outside src/sys, src/shm and src/io/uring.rs";
                self.breach(self.tokens[at].line, Rule::UnsafeHome, what.into())
            };
            return places.iter().map(outside).collect();
        }
        let mut found = Vec::new();
        let head = ["!", "[", "expect", "(", "unsafe_code"];
        if !self.tokens.windows(head.len()).any(|words| words.iter().map(Token::as_str).eq(head)) {
            let what = "unsafe code without the line that expects it";
            found.push(self.breach(self.tokens[first].line, Rule::UnsafeHead, what.into()));
        }
        found.extend(places.into_iter().filter_map(|at| self.check_safety(at)));
        found
    }

    /// The `unsafe` at `at` needs a comment above its statement or item that argues for it.
    fn check_safety(&self, at: usize) -> Option<Breach> {
        let start = if word(&self.tokens, at + 1) == "extern" { at + 2 } else { at + 1 };
        let needed = match word(&self.tokens, start) {
            "fn" if is_name(word(&self.tokens, start + 1)) => "# Safety",
            "trait" => "# Safety",
            "{" | "impl" => "SAFETY:",
            _ => return None,
        };
        let line = self.tokens[at].line;
        let argued = self.comment_above(line).any(|comment| comment.contains(needed));
        (!argued).then(|| self.breach(line, Rule::Safety, format!("unsafe without `{needed}`")))
    }

    /// The comments on `line` and on the lines above it, as far as its statement or item reaches.
    fn comment_above(&self, line: usize) -> impl Iterator<Item = &str> {
        let end_of_another = |code: &str| code.trim_end().ends_with([';', '{', '}']);
        let above = (0..line).rev().take_while(move |&index| {
            let (code, comment) = (&self.code[index], &self.comments[index]);
            let blank = code.trim().is_empty() && comment.trim().is_empty();
            index + 1 == line || !blank && !end_of_another(code)
        });
        above.map(|index| self.comments[index].as_str())
    }

    fn check_raw_descriptors(&self) -> Vec<Breach> {
        if begins_with_any(&self.path, RAW_DESCRIPTOR_HOMES) {
            return Vec::new();
        }
        let raw = self.tokens.iter().filter(|t| RAW_DESCRIPTOR_NAMES.contains(&t.as_str()));
        let breach = |token: &Token| {
            let what = format!("`{}` outside src/sys and src/io", token.text);
            self.breach(token.line, Rule::RawDescriptor, what)
        };
        raw.map(breach).collect()
    }

    /// What a page that may only be read is read with must be nothing but a load, which the
    /// language promises of relaxed ones alone.
    fn check_page_loads(&self) -> Vec<Breach> {
        if !begins_with_any(&self.path, PAGE_READERS) {
            return Vec::new();
        }
        let ordered = |at: &usize| {
            let order = self.tokens[at + 1..].iter().map(Token::as_str);
            let order = order.take_while(|word| *word != ")").last();
            self.tokens[*at].text == "load" && matches!(order, Some("Acquire" | "SeqCst"))
        };
        let breach = |at: usize| {
            let what = "an ordered load of what may be mapped without the right to write";
            self.breach(self.tokens[at].line, Rule::PageLoad, what.into())
        };
        (0..self.tokens.len()).filter(ordered).map(breach).collect()
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
                let what = format!("the attribute `{name}` is not used in this house");
                found.push(self.breach(self.tokens[at].line, Rule::Attribute, what));
            }
        }
        found
    }

    fn check_errors(&self) -> Vec<Breach> {
        let lines: Vec<&str> = self.text.lines().collect();
        let what = "the text of an error names its source, which is printed behind it";
        let breach = |line| self.breach(line, Rule::ErrorText, what.to_owned());
        repeated_sources(&lines, &self.code).into_iter().map(breach).collect()
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
        for at in 0..self.tokens.len() {
            if self.tokens[at].text == "mod" && word(&self.tokens, at + 2) == ";" {
                let mut steps = vec![home.to_owned()];
                steps.extend(self.tokens[at].within.iter().cloned());
                steps.push(word(&self.tokens, at + 1).to_owned());
                let path = steps.join("/");
                paths.extend([format!("{path}.rs"), format!("{path}/mod.rs")]);
            }
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
