//! What a name means where it stands: the modules of `src`, what each declares and imports, and
//! which file a path leads to in the end. Tests are left out, since they may look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use crate::tidy::names::{Declaration, Kind, Reference, module_of};
use crate::tidy::source::Source;

/// The modules that lead somewhere, from the crate's root.
type Module = [String];

/// Every module of the library.
pub(crate) struct Scopes<'a> {
    scopes: BTreeMap<Vec<String>, Scope<'a>>,
}

impl<'a> Scopes<'a> {
    pub(crate) fn of(sources: &'a [Source]) -> Self {
        let mut scopes = Self { scopes: BTreeMap::new() };
        let tested = tested_modules(sources);
        for source in sources.iter().filter(|source| is_of_library(&source.path)) {
            let module = module_of(&source.path);
            if !tested.iter().any(|tests| module.starts_with(tests)) {
                scopes.take(source, &module);
            }
        }
        scopes
    }

    /// Whether the file is part of the library, also when no test is built.
    pub(crate) fn holds(&self, source: &Source) -> bool {
        let module = module_of(&source.path);
        is_of_library(&source.path) && self.scopes.contains_key(&module)
    }

    fn take(&mut self, source: &'a Source, module: &Module) {
        self.scope(module, source);
        for item in source.names.declarations.iter().filter(|item| !item.spot.tested) {
            let around = [module, &*item.spot.within].concat();
            match item.kind {
                Kind::File => {}
                Kind::Block => {
                    self.scope(&[around, vec![item.name.clone()]].concat(), source);
                }
                Kind::Type | Kind::Other => {
                    self.scope(&around, source).declared.insert(&item.name);
                }
            }
        }
        for import in source.names.references.iter().filter(|one| one.imported && !one.spot.tested)
        {
            let scope = self.scope(&[module, &*import.spot.within].concat(), source);
            match (&import.alias, import.names.last()) {
                (Some(alias), _) => scope.imports.entry(alias).or_default().push(&import.names),
                (None, Some(last)) if last == "*" => scope.globs.push(&import.names),
                (None, _) => {}
            }
        }
    }

    fn scope(&mut self, module: &Module, source: &'a Source) -> &mut Scope<'a> {
        let scope = self.scopes.entry(module.to_vec()).or_default();
        scope.file = &source.path;
        scope
    }

    /// The files that a name of `module` leads to: the one that declares what is meant, and those
    /// on the way that only hand it on.
    pub(crate) fn files_behind(&self, reference: &Reference, module: &Module) -> BTreeSet<&'a str> {
        let module = [module, &*reference.spot.within].concat();
        let mut walk =
            Walk { scopes: &self.scopes, handed_on: BTreeSet::new(), seen: BTreeSet::new() };
        let end = match walk.resolve(&module, &reference.names) {
            // A word that stands alone is a variable or a field, unless it is imported.
            Some(Place::Module(_)) if !reference.imported && reference.names.len() == 1 => None,
            Some(Place::Module(module)) => Some(self.scopes[&module].file),
            Some(Place::Item(file)) => Some(file),
            None => None,
        };
        end.map(|end| walk.handed_on.into_iter().chain([end]).collect()).unwrap_or_default()
    }
}

/// What a module declares and imports.
#[derive(Default)]
struct Scope<'a> {
    file: &'a str,
    declared: BTreeSet<&'a str>,
    /// Paths by what they are called here.
    imports: BTreeMap<&'a str, Vec<&'a [String]>>,
    /// Modules or enums of which everything is imported.
    globs: Vec<&'a [String]>,
}

/// Where a path has got to.
enum Place<'a> {
    Module(Vec<String>),
    /// An item of this file, or what belongs to one.
    Item(&'a str),
}

/// One path on its way.
struct Walk<'s, 'a> {
    scopes: &'s BTreeMap<Vec<String>, Scope<'a>>,
    handed_on: BTreeSet<&'a str>,
    /// Imports may lead in circles.
    seen: BTreeSet<(Vec<String>, String)>,
}

impl<'a> Walk<'_, 'a> {
    fn resolve(&mut self, from: &Module, names: &[String]) -> Option<Place<'a>> {
        let (first, mut rest) = names.split_first()?;
        let mut module = match first.as_str() {
            "crate" | "dispatchd" => Vec::new(),
            "self" | "super" => {
                rest = names;
                from.to_vec()
            }
            name => match self.look_up(from, name)? {
                Place::Module(module) => module,
                item @ Place::Item(_) => return Some(item),
            },
        };
        for name in rest {
            match name.as_str() {
                "self" | "*" => {}
                "super" => {
                    module.pop()?;
                }
                name => match self.look_up(&module, name) {
                    Some(Place::Module(inside)) => module = inside,
                    Some(item) => return Some(item),
                    // Only a macro can have made it.
                    None => return Some(Place::Item(self.scopes.get(&module)?.file)),
                },
            }
        }
        Some(Place::Module(module))
    }

    /// What a module calls so.
    fn look_up(&mut self, module: &Module, name: &str) -> Option<Place<'a>> {
        if !self.seen.insert((module.to_vec(), name.to_owned())) {
            return None;
        }
        let inside = [module, &[name.to_owned()]].concat();
        if self.scopes.contains_key(&inside) {
            return Some(Place::Module(inside));
        }
        let scope = self.scopes.get(module)?;
        if scope.declared.contains(name) {
            return Some(Place::Item(scope.file));
        }
        let imports = scope.imports.get(name).into_iter().flatten();
        let place = imports.copied().find_map(|path| self.resolve(module, path));
        let place = place.or_else(|| {
            scope.globs.iter().find_map(|path| match self.resolve(module, path)? {
                Place::Module(open) => self.look_up(&open, name),
                Place::Item(_) => None,
            })
        });
        if place.is_some() {
            self.handed_on.insert(scope.file);
        }
        place
    }
}

/// What is declared for tests alone.
fn tested_modules(sources: &[Source]) -> Vec<Vec<String>> {
    let of_source = |source: &Source| {
        let module = module_of(&source.path);
        let files = source.names.declarations.iter().filter(|item| item.kind == Kind::File);
        let tested = files.filter(|item| item.spot.tested);
        let path = |item: &Declaration| {
            [module.as_slice(), &*item.spot.within, slice::from_ref(&item.name)].concat()
        };
        tested.map(path).collect::<Vec<_>>()
    };
    sources.iter().filter(|source| is_of_library(&source.path)).flat_map(of_source).collect()
}

/// The binary is another crate: nothing uses it.
fn is_of_library(path: &str) -> bool {
    path.starts_with("src/") && path != "src/main.rs"
}
