//! The guard is guarded: a breach of each rule is planted and must be reported, as that rule and
//! no other; and what only looks like a breach must pass. Without this a scanner that lost its
//! way would call every tree tidy.

mod circles;
mod namesakes;

use crate::tidy::breach::{Breach, Rule};
use crate::tidy::manifest::check_dependencies;
use crate::tidy::source::Source;
use crate::tidy::source_tree::SourceTree;

/// A file by its path, what stands in it below its head, and the rules that it breaks.
type Plant = (&'static str, &'static str, &'static [Rule]);

const PLANTS: &[Plant] = &[
    // Layers, in each spelling.
    ("src/engine/mod.rs", "use crate::sys::clock;", &[Rule::Layer]),
    ("src/engine/mod.rs", "use crate::{limits, units::Mono, io::{uring, Op}};", &[Rule::Layer; 2]),
    ("src/engine/mod.rs", "fn f() { crate::master::run() }", &[Rule::Layer]),
    ("src/engine/policy/rr.rs", "use super::super::super::wire::Token;", &[Rule::Layer]),
    ("src/engine/policy/rr.rs", "use self::super::super::super::wire;", &[Rule::Layer]),
    ("src/worker/mod.rs", "mod tests { use super::super::io::Backend; }", &[Rule::Layer]),
    ("src/worker/mod.rs", "#[cfg(test)] mod tests { use crate::cli::Run; }", &[Rule::Layer]),
    ("src/sys/mod.rs", "use crate as all;", &[Rule::Layer]),
    ("src/sys/mod.rs", "use crate::{self as all};", &[Rule::Layer]),
    ("src/sys/mod.rs", "use super::*;", &[Rule::Layer]),
    ("src/sys/mod.rs", "use super as all;", &[Rule::Layer]),
    ("src/units.rs", "use crate::limits;", &[Rule::Layer]),
    ("src/main.rs", "use dispatchd::master;", &[Rule::Layer]),
    ("src/attic/mod.rs", "", &[Rule::Layer]),
    // Crates from outside.
    ("src/engine/mod.rs", "use std::vec::Vec;", &[Rule::Guest]),
    ("src/engine/mod.rs", "use thiserror::Error;", &[Rule::Guest]),
    ("src/units.rs", "use {core::fmt, ::libc::c_int};", &[Rule::Guest]),
    ("src/master/mod.rs", "use clap;", &[Rule::Guest]),
    ("src/master/mod.rs", "extern crate clap;", &[Rule::Guest]),
    ("src/master/mod.rs", "#[tracing::instrument] fn f() {}", &[Rule::Guest]),
    ("src/io/epoll.rs", "use io_uring::{opcode, types::Fd};", &[Rule::Guest; 2]),
    ("src/master/mod.rs", "use {clap};", &[Rule::Guest]),
    // What the parser cannot read, and what it leaves as tokens.
    ("src/units.rs", "fn f() -> { 1 }", &[Rule::Grammar]),
    ("src/units.rs", "fn f() { 1", &[Rule::Grammar]),
    ("src/engine/mod.rs", "fn f() { assert!(crate::io::ready()) }", &[Rule::Layer]),
    ("src/engine/mod.rs", "#[cfg_attr(a, b(crate::io::C))] fn f() {}", &[Rule::Layer]),
    ("src/engine/mod.rs", "macro_rules! m { () => { $crate::io::f() } }", &[Rule::Layer]),
    ("src/engine/mod.rs", "m! { use crate::{units, io::{uring, Op}}; }", &[Rule::Layer; 2]),
    ("src/master/mod.rs", "macro_rules! m { () => { tracing::info!(1) } }", &[Rule::Guest]),
    ("src/master/mod.rs", "macro_rules! m { () => { unsafe { g() } } }", &[Rule::UnsafeHome]),
    ("src/master/mod.rs", "fn f() { assert!(g(unsafe { h() })) }", &[Rule::UnsafeHome]),
    ("src/master/mod.rs", "fn f() { assert!(g.as_raw_fd() > 2) }", &[Rule::RawDescriptor]),
    ("src/shm/map.rs", "#![expect(unsafe_code)]\nm! { unsafe { g() } }", &[Rule::Safety]),
    ("src/units.rs", "m! { #[allow(dead_code)] fn f() {} }", &[Rule::Attribute]),
    ("src/units.rs", "m! { // TODO: later\n }", &[Rule::Todo]),
    // Unsafe code and raw descriptors.
    ("src/master/mod.rs", "// SAFETY: no.\nfn f() { unsafe { g() } }", &[Rule::UnsafeHome]),
    ("tests/cli.rs", "unsafe impl Send for X {}", &[Rule::UnsafeHome]),
    ("src/sys/mod.rs", "// SAFETY: well.\nunsafe impl Send for X {}", &[Rule::UnsafeHead]),
    ("src/shm/map.rs", "#![expect(unsafe_code)]\nfn f() { unsafe { g() } }", &[Rule::Safety]),
    (
        "src/shm/map.rs",
        "#![expect(unsafe_code)]\nfn f() {\n// SAFETY: only for this one.\n\
         let a = unsafe { g() };\nlet b = unsafe { g() };\n}",
        &[Rule::Safety],
    ),
    ("src/shm/map.rs", "#![expect(unsafe_code)]\nunsafe fn f() {}", &[Rule::Safety]),
    ("src/shm/map.rs", "#![expect(unsafe_code)]\nunsafe extern \"C\" fn f() {}", &[Rule::Safety]),
    ("src/master/mod.rs", "fn f(fd: RawFd) {}", &[Rule::RawDescriptor]),
    ("src/shm/map.rs", "fn f() { g(file.as_raw_fd()) }", &[Rule::RawDescriptor]),
    ("src/shm/ring.rs", "fn f() { a.load(Acquire) }", &[Rule::PageLoad]),
    ("src/worker/link.rs", "fn f() { a.load(Ordering::SeqCst) }", &[Rule::PageLoad]),
    // Kinds of links.
    ("src/master/mod.rs", "fn f() { match a { Link::Native(b) => b } }", &[Rule::LinkKind]),
    ("src/sim/mod.rs", "fn f() { if let crate::link::LinkKind::Native = a {} }", &[Rule::LinkKind]),
    ("src/sim/mod.rs", "fn f() -> bool { a == LinkKind::Native }", &[Rule::LinkKind]),
    (
        "src/cli/sim.rs",
        "fn f() -> bool { matches!(a, LinkEnds::Native { .. }) }",
        &[Rule::LinkKind],
    ),
    // Marks and attributes.
    ("src/units.rs", "// TODO: later", &[Rule::Todo]),
    ("src/units.rs", "/* a\n FIXME(me) issue tracker */", &[Rule::Todo]),
    ("src/units.rs", "#[allow(dead_code)] fn f() {}", &[Rule::Attribute]),
    ("src/units.rs", "#![allow(dead_code)]", &[Rule::Attribute]),
    ("src/units.rs", "#[cfg_attr(test, allow(dead_code))] fn f() {}", &[Rule::Attribute]),
    ("src/units.rs", "#[ignore = \"slow\"] fn f() {}", &[Rule::Attribute]),
    ("src/units.rs", "#[should_panic(expected = \"x\")] fn f() {}", &[Rule::Attribute]),
    ("src/units.rs", "#[path = \"other.rs\"] mod other;", &[Rule::Attribute]),
    ("src/units.rs", "const E: char = '\u{e9}';", &[Rule::Ascii]),
    // Texts of errors.
    (
        "src/sys/a.rs",
        "#[error(\"no: {source}\")]\nstruct A {\n    source: E,\n}",
        &[Rule::ErrorText],
    ),
    ("src/sys/a.rs", "enum X {\n#[error(\"no {0:?}\")]\nA(#[from] E),\n}", &[Rule::ErrorText]),
    (
        "src/sys/a.rs",
        "enum X {\n#[error(\n    \"no {}\", f(.why)\n)]\nA {\n    a: B,\n    #[source]\n    \
         why: E,\n},\n}",
        &[Rule::ErrorText],
    ),
];

/// What a scanner with less care would report.
const INNOCENT: &[Plant] = &[
    ("src/engine/mod.rs", "use crate::{limits, units::{Mono, Span}}; use super::units;", &[]),
    ("src/engine/mod.rs", "/// Like [`crate::sys::fd`].\nfn f() {} // std::fs", &[]),
    (
        "src/engine/mod.rs",
        "mod tests { use super::*; use crate::engine::dispatcher::policy; }",
        &[],
    ),
    ("src/engine/mod.rs", "pub(crate) mod a; pub(in crate::engine) fn f(std: u8) {}", &[]),
    ("src/engine/policy/rr.rs", "use super::super::offers::Offer;", &[]),
    ("src/link/mod.rs", "fn f() { match a { Link::Native(b) => b } }", &[]),
    (
        "src/master/mod.rs",
        "fn f() { Link::new(LinkEnds::Native { a }).order(LinkKind::Native) }",
        &[],
    ),
    ("src/engine/policy/rr.rs", "mod tests { use super::super::super::ledger; }", &[]),
    ("src/lib.rs", "pub mod units; use crate::cli;", &[]),
    ("src/main.rs", "use anyhow::Result; fn f() { dispatchd::cli::main() }", &[]),
    ("src/io/uring.rs", "use io_uring::opcode; use crate::sys::fd;", &[]),
    ("src/shm/ring.rs", "fn f() { a.load(Ordering::Relaxed); fence(Acquire) }", &[]),
    ("tests/cli.rs", "use dispatchd::master; use clap::Parser;", &[]),
    ("src/units.rs", "const A: &str = \"unsafe { // TODO \\\" #[allow(x)]\";", &[]),
    ("src/units.rs", "const A: &str = r#\"unsafe \" { use crate::io;\"#;", &[]),
    ("src/units.rs", "const A: [u8; 2] = [b'{', b'\\'']; const B: char = '\"'; // unsafe", &[]),
    ("src/units.rs", "fn f<'a>(x: &'a u8) -> &'a u8 { x } /* /* unsafe */ unsafe */", &[]),
    ("src/units.rs", "m! { /// unsafe { crate::io::f() }\n a \"unsafe\" /* std::fs */ }", &[]),
    ("src/units.rs", "// TODO(issue 12): the other half. unsafe", &[]),
    ("src/units.rs", "#[expect(dead_code, reason = \"allow\")] fn ignore() {}", &[]),
    (
        "src/sys/a.rs",
        "enum X {\n#[error(\"no {why} {a}\")]\nA {\n    a: B,\n    why: E,\n    source: E,\n},\n\
         #[error(\"no {0}\")]\nA(B),\n#[error(\"no\")]\nC(#[source] E),\n}",
        &[],
    ),
    (
        "src/shm/map.rs",
        "#![expect(unsafe_code, reason = \"x\")]\n/// # Safety\n/// The caller must.\n\
         pub unsafe fn f() {}\ntype F = unsafe extern \"C\" fn(u8);\n\
         fn g() {\n// SAFETY: the statement below spans lines,\n// and so does this.\nlet a =\n    \
         unsafe { g() };\n}",
        &[],
    ),
];

#[test]
fn every_plant_is_reported_as_what_it_is() {
    for (path, text, rules) in PLANTS.iter().chain(INNOCENT) {
        let source = Source::new(path, &format!("//! Why.\n{text}\n"));
        let found = rules_of(&source.breaches());
        assert_eq!(found, *rules, "in {path}: {text}");
    }
}

#[test]
fn a_report_says_where_and_how_to_mend_it() {
    let source = Source::new("src/engine/mod.rs", "//! Why.\n\nuse crate::io;\n");
    let report: String = source.breaches().iter().map(Breach::to_string).collect();
    let begin = "src/engine/mod.rs:3: Layer: `engine` may not use `io`\n    cure: move";
    assert!(report.starts_with(begin), "{report}");
}

#[test]
fn length_is_counted_in_functions_files_and_lines() {
    let function = |statements: usize| {
        let body = "    if a { b([0; 4]); }\n".repeat(statements);
        format!("//! Why.\nfn f(x: [u8; 4])\nwhere\n    T: X,\n{{\n{body}}}\nfn g();\n")
    };
    assert_eq!(found_in(&function(65)), []);
    assert_eq!(found_in(&function(66)), [Rule::FunctionLength]);
    let in_macro = |statements| function(statements).replacen("fn f", "m! { fn f", 1) + "}\n";
    assert_eq!(found_in(&in_macro(65)), []);
    assert_eq!(found_in(&in_macro(66)), [Rule::FunctionLength]);
    assert_eq!(found_in(&format!("//! Why.\n{}", "\n".repeat(799))), []);
    assert_eq!(found_in(&format!("//! Why.\n{}", "\n".repeat(800))), [Rule::FileLength]);
    assert_eq!(found_in(&format!("//! Why{}\n", ".".repeat(93))), []);
    assert_eq!(found_in(&format!("//! Why{}\n", ".".repeat(94))), [Rule::LineLength]);
}

#[test]
fn a_file_without_a_head_is_reported() {
    for text in ["", "//!\n", "use core::fmt;\n", "// Why.\n"] {
        assert_eq!(found_in(text), [Rule::Head], "{text:?}");
    }
}

#[test]
fn a_file_that_nothing_declares_is_reported() {
    let mut tree = declared_tree();
    assert_eq!(rules_of(&tree.orphans()), []);
    let strays = [
        "src/sys/old.rs",
        "src/fd.rs",
        "src/sys/tests/other.rs",
        "tests/late.rs",
        "benches/idle.rs",
        "examples/echo/other.rs",
    ];
    for path in strays {
        tree.take(path, || "//! Why.\n// mod old; mod late;\n".to_owned());
    }
    let orphans: Vec<String> = tree.orphans().into_iter().map(|breach| breach.path).collect();
    assert_eq!(orphans, strays);
}

#[test]
fn a_dependency_needs_an_argument_and_an_argument_a_dependency() {
    let guests = crate::GUESTS.iter().filter(|guest| guest.name != "std");
    let lines: Vec<String> = guests.map(|guest| format!("{} = \"1\"\n", guest.name)).collect();
    let manifest = |lines: &[String]| format!("[dependencies]\n{}", lines.concat());
    assert_eq!(rules_of(&check_dependencies(&manifest(&lines))), []);
    assert_eq!(rules_of(&check_dependencies(&manifest(&lines[1..]))), [Rule::Dependency]);
    let uninvited = manifest(&lines) + "left-pad = { version = \"1\" }\n[features]\nx = []\n";
    let found = check_dependencies(&uninvited);
    assert_eq!(rules_of(&found), [Rule::Dependency]);
    assert_eq!(found[0].line, lines.len() + 2);
}

#[test]
fn a_page_has_one_title() {
    let cases: [(&str, &[Rule]); 4] = [
        ("# A\n\n## B\n\n```sh\n# not a title\n```\n", &[]),
        ("## B\n", &[Rule::Title]),
        ("# A\n\n# B\n", &[Rule::Title]),
        ("```sh\n# not a title\n```\n", &[Rule::Title]),
    ];
    for (text, rules) in cases {
        assert_eq!(found_on_a_page(text), rules, "{text:?}");
    }
}

#[test]
fn rust_on_a_page_is_an_example() {
    let cases: [(&str, &[Rule]); 4] = [
        ("# A\n\n```rust\n//! Why.\n```\n", &[]),
        ("# A\n\n```rust\n//! Why.\nfn more() {}\n```\n", &[Rule::Sample]),
        ("# A\n\n```rust,no_run\n```\n", &[Rule::Sample]),
        ("# A\n\n```sh\nfn no_rust() {}\n```\n", &[]),
    ];
    for (text, rules) in cases {
        assert_eq!(found_on_a_page(text), rules, "{text:?}");
    }
}

fn found_on_a_page(text: &str) -> Vec<Rule> {
    let mut tree = declared_tree();
    tree.take("docs/page.md", || text.to_owned());
    let on_pages = tree.breaches().into_iter().filter(|breach| breach.path.ends_with(".md"));
    rules_of(&on_pages.collect::<Vec<_>>())
}

/// A tree in which each kind of declaration leads to a file.
fn declared_tree() -> SourceTree {
    let mut tree = SourceTree::default();
    let files = [
        ("Cargo.toml", "[[test]]\nname = \"cli\"\n[[bench]]\npath = \"benches/pick.rs\"\n"),
        ("src/lib.rs", "//! Why.\npub mod sys;\n"),
        ("src/main.rs", "//! Why.\n"),
        ("src/sys/mod.rs", "//! Why.\nmod fd;\n#[cfg(test)]\nmod tests { mod pipes; }\n"),
        ("src/sys/fd.rs", "//! Why.\nmod raw;\n"),
        ("src/sys/fd/raw.rs", "//! Why.\n"),
        ("src/sys/tests/pipes.rs", "//! Why.\n"),
        ("tests/cli.rs", "//! Why.\nmod common;\n"),
        ("tests/common/mod.rs", "//! Why.\n"),
        ("benches/pick.rs", "//! Why.\n"),
        ("examples/http.rs", "//! Why.\n"),
        ("examples/echo/main.rs", "//! Why.\n"),
    ];
    for (path, text) in files {
        tree.take(path, || text.to_owned());
    }
    tree
}

fn found_in(text: &str) -> Vec<Rule> {
    rules_of(&Source::new("tests/planted.rs", text).breaches())
}

fn rules_of(breaches: &[Breach]) -> Vec<Rule> {
    breaches.iter().map(|breach| breach.rule).collect()
}
