//! Circles that must be found, in each spelling, and uses that are none.

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::circles::check_circles;
use crate::tidy::source::Source;

/// What is planted, as files with what stands in them below their heads, and the circle in it: how
/// its files end, none where there is no circle.
type Plant = (&'static [(&'static str, &'static str)], &'static [&'static str]);

const CIRCLES: &[Plant] = &[
    (&[("a.rs", "use crate::io::b::B;"), ("b.rs", "use crate::io::a::A;")], &["a.rs", "b.rs"]),
    (&[("a.rs", "use super::b::B;"), ("b.rs", "fn f() { super::a::g() }")], &["a.rs", "b.rs"]),
    (
        &[("a.rs", "use super::b;"), ("b.rs", "use super::c;"), ("c.rs", "use super::a;")],
        &["a.rs", "b.rs", "c.rs"],
    ),
    // Only what is in the circle is told.
    (&[("a.rs", "use super::b;"), ("b.rs", "use super::{a, c};"), ("c.rs", "")], &["a.rs", "b.rs"]),
    (
        &[("a.rs", "use crate::{io::{c, b::{self, B}}, units};"), ("b.rs", "use super::{a::A};")],
        &["a.rs", "b.rs"],
    ),
    (&[("a.rs", "use super::b::*;"), ("b.rs", "use super::a::*;")], &["a.rs", "b.rs"]),
    // Everything of the parent is imported, and then a sibling named by what the parent calls it.
    (
        &[
            ("mod.rs", "mod a; mod b; use b::B;"),
            ("a.rs", "use super::*; pub struct A(B);"),
            ("b.rs", "use super::*; pub struct B(Vec<a::A>);"),
        ],
        &["a.rs", "b.rs"],
    ),
    // The parent hands on what a sibling declares.
    (
        &[
            ("mod.rs", "mod a; mod b; pub use self::{a::A, b::B as C};"),
            ("a.rs", "use super::C; pub struct A;"),
            ("b.rs", "use crate::io::A; pub struct B;"),
        ],
        &["a.rs", "b.rs"],
    ),
    // A sibling hands on what a third declares.
    (
        &[
            ("a.rs", "use super::b::C; pub struct A;"),
            ("b.rs", "pub use super::c::*; use super::a::A;"),
            ("c.rs", "pub struct C;"),
        ],
        &["a.rs", "b.rs"],
    ),
    // Cousins, and a module with a file of its own.
    (
        &[
            ("a/one.rs", "use crate::io::b::two;"),
            ("b/two.rs", "use super::super::a::one;"),
            ("a/mod.rs", ""),
            ("b/mod.rs", ""),
        ],
        &["a/one.rs", "b/two.rs"],
    ),
    (
        &[
            ("mod.rs", "mod a; mod b;"),
            ("a.rs", "mod c; use super::b::B;"),
            ("a/c.rs", ""),
            ("b/mod.rs", "use super::a;"),
        ],
        &["a.rs", "b/mod.rs"],
    ),
    // From a block, from a macro, by an `impl`, by an attribute, and by a name in the middle.
    (
        &[
            ("a.rs", "mod x { use super::super::b; }"),
            (
                "b.rs",
                "mod y { fn f() { crate::io::a() } }\n\
          fn g() { assert!(super::a::yes()) }",
            ),
        ],
        &["a.rs", "b.rs"],
    ),
    (
        &[("a.rs", "use super::b; pub struct A;"), ("b.rs", "impl super::a::A { fn f(&self) {} }")],
        &["a.rs", "b.rs"],
    ),
    (
        &[
            ("a.rs", "use super::b; macro_rules! m { () => { b::f() } }"),
            ("b.rs", "#[derive(super::a::Macro)] struct B;"),
        ],
        &["a.rs", "b.rs"],
    ),
    (
        &[("a.rs", "use super::b; fn f() { b::g() }"), ("b.rs", "fn g(a: &super::a::A) {}")],
        &["a.rs", "b.rs"],
    ),
];

const INNOCENT: &[Plant] = &[
    // A parent and what lies in it, at any depth and on both sides.
    (&[("mod.rs", "mod a; use a::A; pub struct M;"), ("a.rs", "use super::M; pub struct A;")], &[]),
    (
        &[
            ("a.rs", "mod b; use b::c::C;"),
            ("a/b.rs", "pub mod c;"),
            ("a/b/c.rs", "use super::super::A; use crate::io::a;"),
        ],
        &[],
    ),
    (
        &[
            ("mod.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
            ("a.rs", "use super::b::B;"),
            ("b.rs", ""),
        ],
        &[],
    ),
    // One way.
    (&[("a.rs", "use super::{b, c};"), ("b.rs", "use super::c;"), ("c.rs", "")], &[]),
    // In comments, and in a text.
    (
        &[
            ("a.rs", "use super::b;"),
            ("b.rs", "/// Like [`super::a`].\nconst B: &str = \"super::a\"; // a::A"),
        ],
        &[],
    ),
    // Tests.
    (&[("a.rs", "use super::b;"), ("b.rs", "#[cfg(test)] mod tests { use crate::io::a; }")], &[]),
    (
        &[
            ("a.rs", "use super::b;"),
            ("b.rs", "#[cfg(test)] use super::a; #[cfg(all(test, x))] fn f() { super::a::f() }"),
        ],
        &[],
    ),
    (
        &[
            ("a.rs", "use super::b;"),
            ("b.rs", "struct B; impl B { #[cfg(test)] fn f() { super::a::f() } }"),
        ],
        &[],
    ),
    (
        &[
            ("mod.rs", "#[cfg(test)] mod a; mod b;"),
            ("a.rs", "use super::b;"),
            ("b.rs", "use super::a;"),
        ],
        &[],
    ),
    (
        &[
            ("a.rs", "use super::b::B;"),
            ("b.rs", "#[cfg(test)] mod tests;"),
            ("b/tests.rs", "use crate::io::a;"),
        ],
        &[],
    ),
    // Names that only look alike.
    (
        &[
            ("a.rs", "use super::b;"),
            ("b.rs", "fn f(a: u8) -> u8 { a } mod a {} fn g() { a::h() }"),
        ],
        &[],
    ),
    (
        &[
            ("mod.rs", "mod a; mod b;"),
            ("a.rs", "use super::b;"),
            ("b.rs", "use super::*; fn f(a: u8) -> u8 { a }"),
        ],
        &[],
    ),
    (&[("a.rs", "use super::b;"), ("b.rs", "use a::A; use std::a;")], &[]),
    // An import that leads to itself.
    (
        &[
            ("a.rs", "use super::b::X;"),
            ("b.rs", "use self::X as Y; use Y as X; fn f() { X::g() }"),
        ],
        &[],
    ),
];

#[test]
fn every_circle_is_reported_once() {
    for (files, circle) in CIRCLES {
        let found = check_circles(&planted(files));
        assert_eq!(found.len(), 1, "{files:?}: {found:?}");
        assert_eq!(found[0].rule, Rule::Circle);
        let begin = format!("{} use each other:\n", paths(circle).join(", "));
        assert!(found[0].what.starts_with(&begin), "{files:?}: {}", found[0].what);
    }
}

#[test]
fn what_is_no_circle_passes() {
    for (files, _) in INNOCENT {
        let found = check_circles(&planted(files));
        assert!(found.is_empty(), "{files:?}: {found:?}");
    }
}

#[test]
fn two_circles_are_two_and_layers_make_none() {
    let mut sources = planted(&[("a.rs", "use super::b;"), ("b.rs", "use super::a;")]);
    sources.extend(planted(&[("c.rs", "use super::d;"), ("d.rs", "use super::c; use super::a;")]));
    assert_eq!(check_circles(&sources).len(), 2);
    let layers = [
        ("src/lib.rs", "pub mod x; pub mod y;"),
        ("src/x.rs", "use crate::y::Y;"),
        ("src/y.rs", "use crate::x::X;"),
    ];
    assert!(check_circles(&layers.map(|(path, text)| Source::new(path, text))).is_empty());
}

#[test]
fn each_use_is_told_with_its_line() {
    let sources = planted(&[
        ("a.rs", "fn f() { super::b::g() }\nuse super::b::{\n    B,\n};"),
        ("b.rs", "use super::a::*;"),
    ]);
    let report: String = check_circles(&sources).iter().map(Breach::to_string).collect();
    let begin = "src/io/a.rs:4: Circle: src/io/a.rs, src/io/b.rs use each other:\n    \
                 src/io/a.rs:4: `super::b::B` of src/io/b.rs\n    \
                 src/io/b.rs:2: `super::a::*` of src/io/a.rs\n    cure: move what";
    assert!(report.starts_with(begin), "{report}");
}

/// The files as those of a layer, with the root above it, and a module that declares nothing unless
/// the plant has one.
fn planted(files: &[(&str, &str)]) -> Vec<Source> {
    let plant = |(path, text): &(&str, &str)| {
        let source = Source::new(&format!("src/io/{path}"), &format!("//! Why.\n{text}\n"));
        assert!(source.is_readable(), "{text}");
        source
    };
    let mut sources = vec![Source::new("src/lib.rs", "//! Why.\npub mod io;\n")];
    if files.iter().all(|(path, _)| *path != "mod.rs") {
        sources.push(plant(&("mod.rs", "")));
    }
    sources.extend(files.iter().map(plant));
    sources
}

fn paths(circle: &[&str]) -> Vec<String> {
    circle.iter().map(|path| format!("src/io/{path}")).collect()
}
