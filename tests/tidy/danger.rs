//! Code for which nobody vouches but its author: unsafe blocks, raw descriptors, and loads from a
//! page that may only be read. These rules look at tokens, since they hold inside macros too.

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::source::{Source, begins_with_any};
use crate::tidy::tokens::{Token, is_name, word};
use crate::{PAGE_READERS, RAW_DESCRIPTOR_HOMES, RAW_DESCRIPTOR_NAMES, UNSAFE_HOMES};

pub(crate) fn check_unsafe(source: &Source) -> Vec<Breach> {
    let places: Vec<usize> =
        (0..source.tokens.len()).filter(|&at| source.tokens[at].text == "unsafe").collect();
    let Some(&first) = places.first() else { return Vec::new() };
    if !begins_with_any(&source.path, UNSAFE_HOMES) {
        let outside = |&at: &usize| {
            let what = "unsafe code outside src/sys, src/shm and src/io/uring.rs";
            source.breach(source.tokens[at].line, Rule::UnsafeHome, what.into())
        };
        return places.iter().map(outside).collect();
    }
    let mut found = Vec::new();
    let head = ["!", "[", "expect", "(", "unsafe_code"];
    if !source.tokens.windows(head.len()).any(|words| words.iter().map(Token::as_str).eq(head)) {
        let what = "unsafe code without the line that expects it";
        found.push(source.breach(source.tokens[first].line, Rule::UnsafeHead, what.into()));
    }
    found.extend(places.into_iter().filter_map(|at| check_safety(source, at)));
    found
}

/// The `unsafe` at `at` needs a comment above its statement or item that argues for it.
fn check_safety(source: &Source, at: usize) -> Option<Breach> {
    let is_abi = |at: &usize| matches!(word(&source.tokens, *at), "extern" | "");
    let start = (at + 1..source.tokens.len()).find(|at| !is_abi(at))?;
    let needed = match word(&source.tokens, start) {
        "fn" if is_name(word(&source.tokens, start + 1)) => "# Safety",
        "trait" => "# Safety",
        "{" | "impl" => "SAFETY:",
        _ => return None,
    };
    let line = source.tokens[at].line;
    let argued = comment_above(source, line).any(|comment| comment.contains(needed));
    (!argued).then(|| source.breach(line, Rule::Safety, format!("unsafe without `{needed}`")))
}

/// The comments on `line` and on the lines above it, as far as its statement or item reaches.
fn comment_above(source: &Source, line: usize) -> impl Iterator<Item = &str> {
    let end_of_another = |code: &str| code.trim_end().ends_with([';', '{', '}']);
    let above = (0..line).rev().take_while(move |&index| {
        let (code, comment) = (&source.code[index], &source.comments[index]);
        let blank = code.trim().is_empty() && comment.trim().is_empty();
        index + 1 == line || !blank && !end_of_another(code)
    });
    above.map(|index| source.comments[index].as_str())
}

pub(crate) fn check_raw_descriptors(source: &Source) -> Vec<Breach> {
    if begins_with_any(&source.path, RAW_DESCRIPTOR_HOMES) {
        return Vec::new();
    }
    let raw = source.tokens.iter().filter(|t| RAW_DESCRIPTOR_NAMES.contains(&t.as_str()));
    let breach = |token: &Token| {
        let what = format!("`{}` outside src/sys and src/io", token.text);
        source.breach(token.line, Rule::RawDescriptor, what)
    };
    raw.map(breach).collect()
}

/// What a page that may only be read is read with must be nothing but a load, which the
/// language promises of relaxed ones alone.
pub(crate) fn check_page_loads(source: &Source) -> Vec<Breach> {
    if !begins_with_any(&source.path, PAGE_READERS) {
        return Vec::new();
    }
    let ordered = |at: &usize| {
        let order = source.tokens[at + 1..].iter().map(Token::as_str);
        let order = order.take_while(|word| *word != ")").last();
        source.tokens[*at].text == "load" && matches!(order, Some("Acquire" | "SeqCst"))
    };
    let breach = |at: usize| {
        let what = "an ordered load of what may be mapped without the right to write";
        source.breach(source.tokens[at].line, Rule::PageLoad, what.into())
    };
    (0..source.tokens.len()).filter(ordered).map(breach).collect()
}
