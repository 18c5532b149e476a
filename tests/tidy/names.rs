//! Which names a file refers to, and which it declares. Paths are read from the syntax tree, with
//! groups of `use` taken apart, and from the tokens of macros, so that no spelling gets around the
//! layers.

use std::rc::Rc;

use proc_macro2::{Ident, TokenStream};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemUse, Meta, Token as Sign, UseName, UseRename, UseTree};

use crate::tidy::paths::{Path, paths_of};
use crate::tidy::tokens::{Token, is_name, tokens_of};

/// All that a file says by names.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) references: Vec<Reference>,
    pub(crate) declarations: Vec<Declaration>,
    /// Of what is being read.
    spot: Spot,
}

impl Names {
    pub(crate) fn of(file: &syn::File) -> Self {
        let mut names = Self::default();
        names.visit_file(file);
        names
    }

    fn at(&self, line: usize) -> Spot {
        Spot { line, ..self.spot.clone() }
    }

    fn refer(&mut self, names: Vec<String>, line: usize, imported: bool) {
        let spot = self.at(line);
        self.references.push(Reference { names, spot, imported, alias: None });
    }

    fn declare(&mut self, name: &Ident, kind: Kind) {
        let spot = self.at(name.span().start().line);
        self.declarations.push(Declaration { name: name.to_string(), kind, spot });
    }

    fn import(&mut self, tree: &UseTree, mut names: Vec<String>) {
        let (name, alias, span) = match tree {
            UseTree::Path(path) => {
                names.push(path.ident.to_string());
                return self.import(&path.tree, names);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, names.clone()));
            }
            UseTree::Glob(glob) => ("*".to_owned(), None, glob.star_token.span),
            UseTree::Rename(UseRename { ident, rename, .. }) => {
                (ident.to_string(), Some(rename.to_string()), ident.span())
            }
            UseTree::Name(UseName { ident }) if ident == "self" => {
                (ident.to_string(), names.last().cloned(), ident.span())
            }
            UseTree::Name(UseName { ident }) => {
                (ident.to_string(), Some(ident.to_string()), ident.span())
            }
        };
        names.push(name);
        let spot = self.at(span.start().line);
        self.references.push(Reference { names, spot, imported: true, alias });
    }

    /// Goes on inside of something that only tests may be built with.
    fn visit_gated(&mut self, attributes: &[Attribute], go_on: impl FnOnce(&mut Self)) {
        let outside = self.spot.tested;
        self.spot.tested |= attributes.iter().any(is_for_tests);
        go_on(self);
        self.spot.tested = outside;
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        self.visit_gated(attributes_of(item), |names| {
            if let Some((name, kind)) = declared(item) {
                names.declare(name, kind);
            }
            visit::visit_item(names, item);
        });
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => item.attrs.as_slice(),
            ImplItem::Fn(item) => &item.attrs,
            _ => &[],
        };
        self.visit_gated(attributes, |names| visit::visit_impl_item(names, item));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outside = Rc::clone(&self.spot.within);
        let inside = outside.iter().cloned().chain([item.ident.to_string()]);
        self.spot.within = inside.collect();
        visit::visit_item_mod(self, item);
        self.spot.within = outside;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, Vec::new());
        visit::visit_item_use(self, item);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.refer(vec![item.ident.to_string()], item.ident.span().start().line, true);
        visit::visit_item_extern_crate(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.refer(names, first.ident.span().start().line, false);
        }
        visit::visit_path(self, path);
    }

    /// What a macro is given or made of, the arguments of attributes, and what is too new to be in
    /// the syntax tree.
    fn visit_token_stream(&mut self, stream: &'ast TokenStream) {
        let tokens = tokens_of(stream.clone());
        for Path { names, line, imported } in paths_of(&tokens) {
            self.refer(names, line, imported);
        }
        for pair in tokens.windows(2).filter(|pair| declares_type(pair)) {
            let (name, spot) = (pair[1].text.clone(), self.at(pair[1].line));
            self.declarations.push(Declaration { name, kind: Kind::Type, spot });
        }
    }
}

/// Where in its file a name stands.
#[derive(Clone, Default)]
pub(crate) struct Spot {
    /// From 1.
    pub(crate) line: usize,
    /// The modules of the same file around it.
    pub(crate) within: Rc<[String]>,
    /// Only tests are built with it.
    pub(crate) tested: bool,
}

/// A name with its path as the code has it; `a::{b, c::d}` is two of them.
pub(crate) struct Reference {
    pub(crate) names: Vec<String>,
    pub(crate) spot: Spot,
    /// It stands behind `use` or `extern crate`.
    pub(crate) imported: bool,
    /// What the file calls it from there on.
    pub(crate) alias: Option<String>,
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
            Some("super") if ups >= module.len() + self.spot.within.len() => {
                Some(names.get(ups).copied().unwrap_or("crate").to_owned())
            }
            _ => None,
        }
    }

    pub(crate) fn is_to(&self, guest: &str) -> bool {
        self.names[0] == guest && (self.imported || self.names.len() > 1)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A struct, an enum, a union, a trait or an alias.
    Type,
    /// A module that is a file of its own.
    File,
    /// A module that stands in the file itself.
    Block,
    Other,
}

/// An item with a name.
pub(crate) struct Declaration {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) spot: Spot,
}

/// Whether an attribute leaves its item to the tests.
fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args().is_ok_and(|when| needs_test(&when))
}

fn needs_test(when: &Meta) -> bool {
    match when {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => {
            let parts = Punctuated::<Meta, Sign![,]>::parse_terminated;
            list.parse_args_with(parts).is_ok_and(|parts| parts.iter().any(needs_test))
        }
        Meta::List(_) | Meta::NameValue(_) => false,
    }
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn declared(item: &Item) -> Option<(&Ident, Kind)> {
    Some(match item {
        Item::Enum(item) => (&item.ident, Kind::Type),
        Item::Struct(item) => (&item.ident, Kind::Type),
        Item::Trait(item) => (&item.ident, Kind::Type),
        Item::TraitAlias(item) => (&item.ident, Kind::Type),
        Item::Type(item) => (&item.ident, Kind::Type),
        Item::Union(item) => (&item.ident, Kind::Type),
        Item::Mod(item) if item.content.is_none() => (&item.ident, Kind::File),
        Item::Mod(item) => (&item.ident, Kind::Block),
        Item::Const(item) => (&item.ident, Kind::Other),
        Item::Fn(item) => (&item.sig.ident, Kind::Other),
        Item::Static(item) => (&item.ident, Kind::Other),
        Item::Macro(item) => (item.ident.as_ref()?, Kind::Other),
        _ => return None,
    })
}

fn declares_type(pair: &[Token]) -> bool {
    matches!(pair[0].as_str(), "struct" | "enum" | "union" | "trait") && is_name(&pair[1].text)
}

/// The modules that lead to a file of `src`, from the crate's root: none for the root itself.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let Some(inside) = path.strip_prefix("src/") else { return Vec::new() };
    let inside = inside.trim_end_matches(".rs");
    let names = inside.split('/').filter(|name| !matches!(*name, "lib" | "main" | "mod"));
    names.map(str::to_owned).collect()
}
