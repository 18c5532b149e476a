//! The words and signs of a Rust file, and its comments, each with its line. To the parser a macro
//! is nothing but tokens, so that a rule which must hold in there too looks here. A comment is what
//! stands between two tokens.

use std::ops::Range;

use proc_macro2::{Delimiter, Group, Punct, Span, TokenStream, TokenTree};

/// A word of the code, or one sign, or `::`, or a literal, of which the text is left out.
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// Where it stands in the text of the file.
    bytes: Range<usize>,
}

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn new(text: &str, span: Span) -> Self {
        Self { text: text.to_owned(), line: span.start().line, bytes: span.byte_range() }
    }
}

/// The text of the token at `at`; empty for a literal, and beyond the end.
pub(crate) fn word(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", Token::as_str)
}

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|sign: char| sign.is_alphabetic() || sign == '_')
}

/// All tokens in their order, without those that the lexer makes of comments.
pub(crate) fn tokens_of(stream: TokenStream) -> Vec<Token> {
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Punct(sign) if is_of_comment(&sign) => {
                trees.next_if(|next| matches!(next, TokenTree::Group(_)));
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' => {
                let second = trees.next_if(|next| follows(&sign, next));
                let span = second.and_then(|second| sign.span().join(second.span()));
                tokens.push(match span {
                    Some(span) => Token::new("::", span),
                    None => Token::new(":", sign.span()),
                });
            }
            TokenTree::Punct(sign) => {
                tokens.push(Token::new(&sign.as_char().to_string(), sign.span()));
            }
            TokenTree::Ident(name) => tokens.push(Token::new(&name.to_string(), name.span())),
            TokenTree::Literal(literal) => tokens.push(Token::new("", literal.span())),
            TokenTree::Group(group) => flatten_group(&group, tokens),
        }
    }
}

/// A comment of documentation becomes an attribute, each part of which claims the whole text.
fn is_of_comment(sign: &Punct) -> bool {
    sign.span().byte_range().len() > 1
}

/// The second half of `::`.
fn follows(colon: &Punct, next: &TokenTree) -> bool {
    let TokenTree::Punct(second) = next else { return false };
    let touches = colon.span().byte_range().end == second.span().byte_range().start;
    second.as_char() == ':' && touches
}

fn flatten_group(group: &Group, tokens: &mut Vec<Token>) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => return flatten(group.stream(), tokens),
    };
    tokens.push(Token::new(open, group.span_open()));
    flatten(group.stream(), tokens);
    tokens.push(Token::new(close, group.span_close()));
}

/// The text twice, first with only its code and then with only its comments left; what is taken
/// out becomes blanks, so that lines stay where they were.
pub(crate) fn separate(text: &str, tokens: &[Token]) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    for Range { start, end } in tokens.iter().map(|token| token.bytes.clone()) {
        code.push_str(&blank(&text[at..start]));
        code.push_str(&text[start..end]);
        comments.push_str(&text[at..start]);
        comments.push_str(&blank(&text[start..end]));
        at = end;
    }
    code.push_str(&blank(&text[at..]));
    comments.push_str(&text[at..]);
    (code, comments)
}

fn blank(piece: &str) -> String {
    piece.chars().map(|sign| if sign == '\n' { '\n' } else { ' ' }).collect()
}
