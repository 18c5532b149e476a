//! The text of a Rust file taken apart: code, comments and literals told from each other, and the
//! code cut into tokens. A rule that looked at bare text would stumble over its own examples.

use std::rc::Rc;

/// A word of the code, or one sign, or `::`.
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// The `mod name { .. }` of this file around it.
    pub(crate) within: Rc<[String]>,
}

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The text of the token at `at`; empty beyond the end.
pub(crate) fn word(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", Token::as_str)
}

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|sign: char| sign.is_alphabetic() || sign == '_')
}

pub(crate) fn tokens_of(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut depth, mut opened, mut names) = (0_usize, Vec::new(), Vec::new());
    let mut within: Rc<[String]> = Rc::default();
    for (line, text) in (1..).zip(code.lines()) {
        for text in split_line(text) {
            if text == "{" {
                depth += 1;
                if let [.., keyword, name] = tokens.as_slice()
                    && keyword.text == "mod"
                {
                    opened.push(depth);
                    names.push(name.text.clone());
                    within = Rc::from(names.as_slice());
                }
            } else if text == "}" {
                if opened.last() == Some(&depth) {
                    opened.pop();
                    names.pop();
                    within = Rc::from(names.as_slice());
                }
                depth = depth.saturating_sub(1);
            }
            tokens.push(Token { text: text.to_owned(), line, within: Rc::clone(&within) });
        }
    }
    tokens
}

fn split_line(mut rest: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return parts };
        let length = match first {
            _ if is_of_word(first) => word_length(rest),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (part, tail) = rest.split_at(length);
        parts.push(part);
        rest = tail;
    }
}

fn is_of_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

fn word_length(rest: &str) -> usize {
    rest.find(|sign| !is_of_word(sign)).unwrap_or(rest.len())
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The text twice, first with only its code and then with only its comments left; what is taken
/// out becomes blanks, so that lines stay where they were.
pub(crate) fn separate(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, length) = next_piece(rest);
        let (piece, tail) = rest.split_at(length);
        let only = |wanted: Kind| {
            piece.chars().map(move |sign| if kind == wanted || sign == '\n' { sign } else { ' ' })
        };
        code.extend(only(Kind::Code));
        comments.extend(only(Kind::Comment));
        rest = tail;
    }
    (code, comments)
}

/// What the text begins with, and for how many bytes.
fn next_piece(rest: &str) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment_length(rest));
    }
    if let Some(length) = raw_string_length(rest) {
        return (Kind::Literal, length);
    }
    match rest.chars().next() {
        Some('"') => (Kind::Literal, quoted_length(rest, '"')),
        Some('\'') if is_char_literal(rest) => (Kind::Literal, quoted_length(rest, '\'')),
        Some(first) if is_of_word(first) => (Kind::Code, word_length(rest)),
        first => (Kind::Code, first.map_or(0, char::len_utf8)),
    }
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(step) = rest[at..].find(['/', '*']) {
        at += step;
        let (change, width) = match rest.get(at..at + 2) {
            Some("/*") => (1, 2),
            Some("*/") => (-1, 2),
            _ => (0, 1),
        };
        depth = depth.saturating_add_signed(change);
        at += width;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let behind = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let body = behind.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(behind.len() - body.len()));
    let body = body.strip_prefix('"')?;
    let start = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |found| start + found + end.len()))
}

/// A quote begins a character if it is closed behind one, and a lifetime otherwise.
fn is_char_literal(rest: &str) -> bool {
    let mut signs = rest.chars().skip(1);
    signs.next() == Some('\\') || signs.next() == Some('\'')
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}
