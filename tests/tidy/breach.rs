//! What the guard reports: a place, the rule that it breaks, and how to mend it. The cures stand
//! here together, so that whoever is stopped is also told the way on.

use std::fmt;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rule {
    Grammar,
    Layer,
    Guest,
    Dependency,
    UnsafeHome,
    UnsafeHead,
    Safety,
    RawDescriptor,
    PageLoad,
    FileLength,
    FunctionLength,
    LineLength,
    Head,
    Ascii,
    Todo,
    Attribute,
    ErrorText,
    LinkKind,
    Orphan,
    Circle,
    Namesake,
    Title,
    Sample,
}

impl Rule {
    const fn cure(self) -> &'static str {
        match self {
            Self::Grammar => "write what compiles; for syntax newer than syn, raise syn first",
            Self::Layer => {
                "move the code to a layer that may, or pass what it needs as an argument"
            }
            Self::Guest => {
                "go through the layer that owns the crate, or argue for a home in GUESTS"
            }
            Self::Dependency => {
                "keep [dependencies] and GUESTS in step, with a reason for each crate"
            }
            Self::UnsafeHome => "use or add a safe function in src/sys",
            Self::UnsafeHead => {
                "put `#![expect(unsafe_code, reason = \"...\")]` below the `//!` head"
            }
            Self::Safety => {
                "say above it, after `SAFETY:` (`# Safety` for a fn), why each duty is met"
            }
            Self::RawDescriptor => "hold an OwnedFd or a BorrowedFd",
            Self::PageLoad => "load it relaxed, and let a fence order what follows",
            Self::FileLength => "split the file along its types",
            Self::FunctionLength => "name its parts and call them",
            Self::LineLength => "run cargo fmt, and break the comment or the string by hand",
            Self::Head => "begin with `//!` and say why the file exists",
            Self::Ascii => "write it with ASCII characters or as an escape",
            Self::Todo => "do it now, or open an issue and write `issue N` beside it",
            Self::Attribute => "mend the cause; a lint that is wrong here takes #[expect(reason)]",
            Self::ErrorText => {
                "leave the source out of the text: whoever prints an error prints the chain"
            }
            Self::LinkKind => {
                "ask for a capability (src/engine/capabilities.rs), or move the code to src/link"
            }
            Self::Orphan => "declare it (`mod` in its parent, or Cargo.toml), or delete it",
            Self::Circle => {
                "move what both need to a file below them, or hand it over as an argument"
            }
            Self::Namesake => "give the younger one, or the narrower one, a name of its own",
            Self::Title => "give the page one `# ` title, and `## ` to its sections",
            Self::Sample => "copy a whole file of examples/, which is built and tested",
        }
    }
}

/// One place where the project is untidy.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, what } = self;
        write!(f, "{path}:{line}: {rule:?}: {what}\n    cure: {}", rule.cure())
    }
}
