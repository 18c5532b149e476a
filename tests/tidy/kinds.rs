//! What differs between kinds of links is said by capabilities: nobody outside `src/link` asks of
//! which kind one is, whether by a pattern or by a comparison. To choose a kind is no question.

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};

use crate::tidy::tokens::tokens_of;

/// The enums that name kinds.
const KINDS: [&str; 3] = ["Link", "LinkKind", "LinkEnds"];

/// The lines in which a file asks of which kind a link is.
pub(crate) fn questions(file: &syn::File) -> Vec<usize> {
    let mut asker = Asker::default();
    asker.visit_file(file);
    asker.lines
}

#[derive(Default)]
struct Asker {
    lines: Vec<usize>,
    in_pattern: bool,
}

impl Visit<'_> for Asker {
    fn visit_pat(&mut self, pattern: &syn::Pat) {
        let before = std::mem::replace(&mut self.in_pattern, true);
        visit::visit_pat(self, pattern);
        self.in_pattern = before;
    }

    fn visit_path(&mut self, path: &syn::Path) {
        if self.in_pattern && names_a_kind(path) {
            self.lines.extend(path.segments.first().map(|each| each.ident.span().start().line));
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_binary(&mut self, binary: &syn::ExprBinary) {
        let compares = matches!(binary.op, syn::BinOp::Eq(_) | syn::BinOp::Ne(_));
        let before = self.in_pattern;
        self.in_pattern |= compares;
        visit::visit_expr_binary(self, binary);
        self.in_pattern = before;
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        if call.path.is_ident("matches") {
            self.lines.extend(named_in(&call.tokens));
        }
    }
}

/// `Link::Native` and the like: a kind is a name in capitals, a function is not.
fn names_a_kind(path: &syn::Path) -> bool {
    let names: Vec<String> = path.segments.iter().map(|each| each.ident.to_string()).collect();
    names.windows(2).any(|pair| KINDS.contains(&pair[0].as_str()) && is_capital(&pair[1]))
}

fn named_in(tokens: &TokenStream) -> Vec<usize> {
    let tokens = tokens_of(tokens.clone());
    let kind = |at: &usize| {
        let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
        KINDS.contains(&word(*at)) && word(at + 1) == "::" && is_capital(word(at + 2))
    };
    (0..tokens.len()).filter(kind).map(|at| tokens[at].line).collect()
}

fn is_capital(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_uppercase())
}
