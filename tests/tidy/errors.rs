//! What an error says, and what the one behind it says. Whoever prints an error prints the whole
//! chain, so that a text which repeats its source says everything twice, and one which leaves it
//! out says enough.

use syn::visit::{self, Visit};
use syn::{Attribute, Field, Fields, File};

/// Texts of errors that repeat their sources, by the lines in which they begin.
pub(crate) fn repeated_sources(file: &File, text: &str) -> Vec<usize> {
    let mut reader = Reader { text, found: Vec::new() };
    reader.visit_file(file);
    reader.found
}

struct Reader<'a> {
    text: &'a str,
    found: Vec<usize>,
}

impl Visit<'_> for Reader<'_> {
    fn visit_variant(&mut self, variant: &syn::Variant) {
        self.check(&variant.attrs, &variant.fields);
        visit::visit_variant(self, variant);
    }

    fn visit_item_struct(&mut self, item: &syn::ItemStruct) {
        self.check(&item.attrs, &item.fields);
        visit::visit_item_struct(self, item);
    }
}

impl Reader<'_> {
    fn check(&mut self, attributes: &[Attribute], fields: &Fields) {
        let Some(said) = attributes.iter().find(|one| one.path().is_ident("error")) else { return };
        let brackets = said.bracket_token.span;
        let text =
            &self.text[brackets.open().byte_range().start..brackets.close().byte_range().end];
        if source_of(fields).is_some_and(|source| names(text, &source)) {
            self.found.push(said.pound_token.span.start().line);
        }
    }
}

/// What the text calls the source of an error with these fields, if it has one.
fn source_of(fields: &Fields) -> Option<String> {
    let marked = |field: &Field| {
        let is_mark =
            |one: &Attribute| ["source", "from"].iter().any(|mark| one.path().is_ident(mark));
        field.attrs.iter().any(is_mark)
    };
    let called_so = |field: &Field| field.ident.as_ref().is_some_and(|name| name == "source");
    let at = fields.iter().position(marked).or_else(|| fields.iter().position(called_so))?;
    let name = fields.iter().nth(at)?.ident.as_ref();
    Some(name.map_or_else(|| at.to_string(), ToString::to_string))
}

/// Whether the text of an error names this field.
fn names(text: &str, field: &str) -> bool {
    let ways = [
        format!("{{{field}}}"),
        format!("{{{field}:"),
        format!(".{field},"),
        format!(".{field})"),
        format!("= {field}"),
    ];
    ways.iter().any(|way| text.contains(way))
}
