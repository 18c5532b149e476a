//! The project's rules that no compiler knows, checked on the syntax of the source: which layer
//! may use which, that files do not use each other in circles, where unsafe code may stand, how
//! long a file or a function may grow, and that no file lies about unused. All breaches of a run
//! are reported together, each with its cure. `tidy/plants.rs` plants a breach of every rule, since
//! a guard that never bit proves nothing.

use std::path::Path;

/// The parts lie in `tests/tidy/`; a block leads there, since a root's own folder is `tests/`.
mod tidy {
    pub(crate) mod breach;
    pub(crate) mod circles;
    pub(crate) mod danger;
    pub(crate) mod errors;
    pub(crate) mod kinds;
    pub(crate) mod manifest;
    pub(crate) mod names;
    pub(crate) mod namesakes;
    pub(crate) mod paths;
    mod plants;
    pub(crate) mod scopes;
    pub(crate) mod source;
    pub(crate) mod source_tree;
    pub(crate) mod tokens;
}

use tidy::source_tree::SourceTree;

#[test]
fn the_project_is_tidy() {
    let tree = SourceTree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.holds("src/lib.rs"), "the walk missed src/lib.rs, so it would prove nothing");
    let breaches = tree.breaches();
    let report: String = breaches.iter().map(|breach| format!("\n{breach}")).collect();
    assert!(breaches.is_empty(), "the project breaks its rules, {} times:{report}", breaches.len());
}

/// What each layer of `src` may use beside itself. The same table, drawn, is in ARCHITECTURE.md.
pub(crate) const LAYERS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("limits", &["units"]),
    ("engine", &["units", "limits"]),
    ("wire", &["units", "limits"]),
    ("sys", &["units", "limits"]),
    ("shm", &["units", "limits", "sys"]),
    ("io", &["units", "limits", "sys"]),
    ("config", &["units", "limits", "engine"]),
    ("link", &["units", "limits", "engine", "wire", "shm", "sys", "io"]),
    ("master", &["units", "limits", "engine", "link", "wire", "shm", "sys", "io", "config"]),
    ("worker", &["units", "limits", "wire", "shm", "sys"]),
    ("serve", &["worker", "io", "units", "limits", "sys", "wire"]),
    ("sim", &["engine", "units", "limits", "io", "link", "master", "wire", "config"]),
    ("bench", BELOW_BENCH),
    ("cli", BELOW_CLI),
    ("main", &["cli"]),
];

const BELOW_BENCH: &[&str] = &[
    "units", "limits", "engine", "wire", "sys", "shm", "io", "config", "link", "master", "worker",
    "serve", "sim",
];

const BELOW_CLI: &[&str] = &[
    "units", "limits", "engine", "wire", "sys", "shm", "io", "config", "link", "master", "worker",
    "serve", "sim", "bench",
];

/// A crate from outside, and where in `src` it may be named.
pub(crate) struct Guest {
    pub(crate) name: &'static str,
    /// Beginnings of paths.
    pub(crate) homes: &'static [&'static str],
    /// Why it stays there.
    pub(crate) why: &'static str,
}

pub(crate) const GUESTS: &[Guest] = &[
    Guest { name: "std", homes: &["src/"], why: "pure layers have only core and alloc" },
    Guest { name: "thiserror", homes: &["src/"], why: "every layer with failures names them" },
    Guest {
        name: "anyhow",
        homes: &["src/cli/", "src/main.rs"],
        why: "the library's errors are typed; only the command line merely prints them",
    },
    Guest { name: "clap", homes: &["src/cli/"], why: "flags become config at the door" },
    Guest {
        name: "humantime",
        homes: &["src/cli/", "src/config/"],
        why: "durations are parsed where options are",
    },
    Guest {
        name: "core_affinity",
        homes: &["src/sys/", "src/worker/", "src/master/"],
        why: "the master plans the pins, and a worker pins itself",
    },
    Guest {
        name: "crossbeam_channel",
        homes: &["src/bench/"],
        why: "only the load generator has threads",
    },
    Guest {
        name: "crossbeam_utils",
        homes: &["src/shm/"],
        why: "cache lines matter only in shared memory",
    },
    Guest {
        name: "hdrhistogram",
        homes: &["src/bench/"],
        why: "only measurement keeps histograms",
    },
    Guest {
        name: "httparse",
        homes: &["src/serve/", "src/bench/", "src/wire/route.rs"],
        why: "of requests the master looks at the first line, and only where classes are wanted",
    },
    Guest { name: "indicatif", homes: &["src/bench/"], why: "only a measurement takes minutes" },
    Guest {
        name: "io_uring",
        homes: &["src/io/uring.rs", "src/io/probe.rs"],
        why: "everybody else speaks to the Backend port",
    },
    Guest {
        name: "libc",
        homes: SPEAKS_TO_THE_KERNEL,
        why: "error numbers and signals have its names; calls have a safe wrapper in sys",
    },
    Guest {
        name: "nix",
        homes: &["src/sys/", "src/shm/", "src/io/"],
        why: "system calls have a safe wrapper in sys",
    },
    Guest {
        name: "serde",
        homes: SPEAKS_JSON,
        why: "only the control socket and results are JSON",
    },
    Guest {
        name: "serde_json",
        homes: SPEAKS_JSON,
        why: "only the control socket and results are JSON",
    },
    Guest {
        name: "tracing",
        homes: &["src/master/telemetry.rs", "src/cli/"],
        why: "logging must not block dispatch, so one file does it",
    },
    Guest {
        name: "tracing_subscriber",
        homes: &["src/cli/"],
        why: "where a log goes is decided at the door",
    },
];

const SPEAKS_TO_THE_KERNEL: &[&str] = &[
    "src/sys/",
    "src/shm/",
    "src/io/",
    "src/worker/",
    "src/serve/",
    "src/master/",
    "src/bench/load/",
];

const SPEAKS_JSON: &[&str] =
    &["src/wire/control.rs", "src/master/", "src/cli/", "src/config/", "src/bench/"];

/// Code that builds without std and without any crate, so that it cannot reach a clock or a file.
pub(crate) const PURE: &[&str] = &["src/units.rs", "src/limits.rs", "src/engine/"];

/// The last one installs seccomp filters, to see how dispatchd does without io_uring and memory.
pub(crate) const UNSAFE_HOMES: &[&str] =
    &["src/sys/", "src/shm/", "src/io/uring.rs", "tests/it/confine.rs"];

/// Code that reads the master's page in a worker.
pub(crate) const PAGE_READERS: &[&str] = &["src/shm/ring.rs", "src/worker/", "src/serve/"];

/// The last two look whether the very descriptor came back, and put the kernel's questions to calls
/// that nobody wraps.
pub(crate) const RAW_DESCRIPTOR_HOMES: &[&str] =
    &["src/sys/", "src/io/", "tests/it/backend_laws", "tests/it/confine.rs"];
pub(crate) const RAW_DESCRIPTOR_NAMES: &[&str] =
    &["RawFd", "AsRawFd", "FromRawFd", "IntoRawFd", "as_raw_fd", "from_raw_fd", "into_raw_fd"];

pub(crate) const FILE_LINES_MAX: usize = 800;
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
pub(crate) const COLUMNS_MAX: usize = 100;

/// `allow` hides, where `expect` speaks up once its reason is gone; a test that is ignored or
/// content with any panic tests nothing; `path` makes the tree of modules differ from the folders.
pub(crate) const BANNED_ATTRIBUTES: &[&str] = &["allow", "ignore", "should_panic", "path"];

/// Names that several types may have, and why.
pub(crate) const NAMESAKES_ARGUED: &[(&str, &str)] = &[];
