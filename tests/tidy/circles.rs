//! Files that use each other in a circle, which can only be understood and changed together. What a
//! file and the module around it have of each other is left out: they are one thing in two files.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::names::{Reference, module_of};
use crate::tidy::scopes::Scopes;
use crate::tidy::source::Source;

/// The circles of all layers.
pub(crate) fn check_circles(sources: &[Source]) -> Vec<Breach> {
    let uses = Uses::of(sources);
    uses.circles().iter().map(|circle| uses.report(circle)).collect()
}

/// All files of which each leads to each.
type Circle<'a> = BTreeSet<&'a str>;

/// Who uses whom, and the line that says so.
struct Uses<'a> {
    uses: BTreeMap<&'a str, BTreeMap<&'a str, &'a Reference>>,
}

impl<'a> Uses<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let scopes = Scopes::of(sources);
        let mut uses: BTreeMap<&str, BTreeMap<&str, &Reference>> = BTreeMap::new();
        for source in sources.iter().filter(|source| scopes.holds(source)) {
            let module = module_of(&source.path);
            let used = uses.entry(&source.path).or_default();
            for reference in source.names.references.iter().filter(|one| !one.spot.tested) {
                for file in scopes.files_behind(reference, &module) {
                    if is_stranger(&module, &module_of(file)) {
                        let told = used.entry(file).or_insert(reference);
                        if reference.imported && !told.imported {
                            *told = reference;
                        }
                    }
                }
            }
        }
        Self { uses }
    }

    fn circles(&self) -> Vec<Circle<'a>> {
        let reached: BTreeMap<&str, Circle<'a>> =
            self.uses.keys().map(|file| (*file, self.reached_from(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, far) in &reached {
            if far.contains(file) {
                let back = |other: &&str| reached[*other].contains(file);
                circles.insert(far.iter().copied().filter(back).collect::<Circle<'_>>());
            }
        }
        circles.into_iter().collect()
    }

    /// The files to which uses lead from this one, which is itself among them if one leads back.
    fn reached_from(&self, file: &'a str) -> Circle<'a> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![file];
        while let Some(file) = waiting.pop() {
            let next = self.uses[file].keys().copied();
            waiting.extend(next.filter(|next| reached.insert(*next)));
        }
        reached
    }

    fn report(&self, circle: &Circle<'a>) -> Breach {
        let inside = |file: &&'a str| self.uses[file].iter().filter(|(to, _)| circle.contains(*to));
        let lines: Vec<String> = circle
            .iter()
            .flat_map(|file| inside(file).map(move |(to, name)| tell(file, name, to)))
            .collect();
        let files: Vec<&str> = circle.iter().copied().collect();
        let what = format!("{} use each other:\n{}", files.join(", "), lines.join("\n"));
        let first = inside(&files[0]).next().map_or(1, |(_, name)| name.spot.line);
        Breach { path: files[0].to_owned(), line: first, rule: Rule::Circle, what }
    }
}

fn tell(file: &str, name: &Reference, to: &str) -> String {
    format!("    {file}:{}: `{}` of {to}", name.spot.line, name.names.join("::"))
}

/// Whether two modules share a layer, and neither lies within the other.
fn is_stranger(module: &[String], other: &[String]) -> bool {
    module.first() == other.first() && !module.starts_with(other) && !other.starts_with(module)
}
