//! `dispatchd doctor`: what on this machine would stop dispatchd or slow it down, and the cure.
//! Facts are read first and judged afterwards by a pure function, so that every verdict has a test.

mod surroundings;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Value, json};

use crate::cli::config::NAME_DEFAULT;
use crate::cli::exit::CliExit;
use crate::config::placement::{RingCost, thousandths};
use crate::config::words::joined;
use crate::io::probe;
use crate::limits::{HOLD_DEFAULT, MASTER_SPARE_DESCRIPTORS};
use crate::master::check_path;
use crate::shm::layout::MasterPage;
use crate::sys::cpus;
use crate::sys::rlimit::{self, Resource, ResourceLimit};
use crate::sys::sandbox::{self, Call};
use crate::sys::signal;
use crate::sys::socket::NAME_TOO_LONG;
use crate::units::{Cpu, Errno};

/// The first kernel on which the `io_uring` backend is used.
const URING_SINCE: (u32, u32) = (6, 1);
/// A queue of this length is asked for; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG_WANTED: u32 = 4_096;
/// Half-open connections below which a burst of newcomers is dropped and comes back a second later.
const SYN_BACKLOG_WANTED: u32 = 1_024;
/// Descriptors without which not even a small service runs.
const FILES_NEEDED: u64 = 256;
/// Descriptors with which the default `--hold` can be filled.
const FILES_WANTED: u64 = HOLD_DEFAULT as u64 + MASTER_SPARE_DESCRIPTORS as u64;
/// Processes that stay free for other things than workers.
const PROCESSES_SPARE: u64 = 16;

/// One thing looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What it is, in the system's own name where it has one.
    pub subject: &'static str,
    /// How it is.
    pub value: String,
    /// Whether that is good.
    pub verdict: Verdict,
    /// What to do, when something is to be done.
    pub advice: Option<String>,
}

/// Whether something stands in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It works, and could be better.
    Note,
    /// It will fail, or fall short of what the defaults promise.
    Problem,
}

/// What was found out about this machine; what cannot be read is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// The release of the kernel, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// What the self-test of the ring says, for or against it.
    pub io_uring: Result<String, String>,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 for a group only, 2 forbidden.
    pub io_uring_disabled: Option<u32>,
    /// Limit on descriptors.
    pub open_files: Option<ResourceLimit>,
    /// Limit on locked memory, bytes.
    pub locked_memory: Option<ResourceLimit>,
    /// Limit on the user's processes and threads.
    pub processes: Option<ResourceLimit>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u32>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub syn_backlog: Option<u32>,
    /// `kernel.pid_max`.
    pub pid_max: Option<u32>,
    /// The control group's limit on processes.
    pub cgroup_pids: Option<u32>,
    /// The control group's share, in thousandths of a CPU.
    pub quota_milli: Option<u32>,
    /// The CPUs of the inherited mask.
    pub mask: Vec<Cpu>,
    /// Bytes of locked memory that a ring costs, where it costs any.
    pub ring_charge: Option<u64>,
    /// Whether /proc is mounted.
    pub has_proc: bool,
    /// Where control sockets are made, and whether they can be.
    pub runtime_dir: (PathBuf, Result<(), Errno>),
    /// System calls that a sandbox refuses.
    pub refused: Vec<Call>,
    /// Whether memory can be shared.
    pub shared_memory: Result<(), Errno>,
}

impl Facts {
    /// Looks at this machine.
    pub fn read() -> Self {
        // A file that would be too large is an answer then.
        signal::ignore_full_file().unwrap_or_default();
        let limit = |resource| rlimit::read(resource).ok();
        Self {
            kernel: read_one("kernel/osrelease"),
            io_uring: probe::explain(),
            io_uring_disabled: read_one("kernel/io_uring_disabled"),
            open_files: limit(Resource::OpenFiles),
            locked_memory: limit(Resource::LockedMemory),
            processes: limit(Resource::Processes),
            somaxconn: read_one("net/core/somaxconn"),
            syn_backlog: read_one("net/ipv4/tcp_max_syn_backlog"),
            pid_max: read_one("kernel/pid_max"),
            cgroup_pids: cpus::pids_max(),
            quota_milli: cpus::cpu_quota_milli(),
            mask: cpus::inherited_mask(),
            ring_charge: probe::ring_charge(),
            has_proc: Path::new("/proc/self/fd").exists(),
            runtime_dir: runtime_dir(),
            refused: sandbox::refused(),
            shared_memory: sandbox::shared_memory(size_of::<MasterPage>()),
        }
    }
}

fn runtime_dir() -> (PathBuf, Result<(), Errno>) {
    let mut path = super::runtime_dir::socket_path(NAME_DEFAULT);
    let fits = check_path(&path).map_err(|_| NAME_TOO_LONG);
    path.pop();
    let usable = fits.and_then(|()| sandbox::can_be_made(&path));
    (path, usable)
}

/// Judges the facts, the most telling first.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    vec![
        kernel(facts),
        io_uring(facts),
        io_uring_disabled(facts),
        cpus_found(facts),
        quota(facts),
        open_files(facts),
        locked_memory(facts),
        processes(facts),
        queue("net.core.somaxconn", facts.somaxconn, BACKLOG_WANTED),
        queue("net.ipv4.tcp_max_syn_backlog", facts.syn_backlog, SYN_BACKLOG_WANTED),
        surroundings::runtime_dir(facts),
        surroundings::shared_memory(facts),
        surroundings::system_calls(facts),
        surroundings::proc(facts),
    ]
}

/// The findings as text or as one JSON object; ends with a newline.
pub fn render(findings: &[Finding], json: bool) -> String {
    if json { format!("{:#}\n", to_json(findings)) } else { to_text(findings) }
}

/// The exit code: failed when there is a problem.
pub fn verdict(findings: &[Finding]) -> CliExit {
    let problem = findings.iter().any(|finding| finding.verdict == Verdict::Problem);
    if problem { CliExit::Failed } else { CliExit::Done }
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    const fn fine(subject: &'static str, value: String) -> Self {
        Self { subject, value, verdict: Verdict::Fine, advice: None }
    }

    fn but(self, verdict: Verdict, advice: impl Into<String>) -> Self {
        Self { verdict, advice: Some(advice.into()), ..self }
    }
}

fn kernel(facts: &Facts) -> Finding {
    let Some(release) = &facts.kernel else {
        return unknown("kernel", "mount /proc");
    };
    let finding = Finding::fine("kernel", release.clone());
    if version(release).is_some_and(|version| version >= URING_SINCE) {
        return finding;
    }
    let (major, minor) = URING_SINCE;
    finding.but(
        Verdict::Note,
        format!("io_uring is used from Linux {major}.{minor} on; epoll serves until then"),
    )
}

fn io_uring(facts: &Facts) -> Finding {
    match &facts.io_uring {
        Ok(how) => Finding::fine("io_uring", format!("usable: {how}")),
        Err(why) => Finding::fine("io_uring", format!("not usable: {why}")).but(
            Verdict::Note,
            "epoll serves instead; in a container, allow io_uring_setup, io_uring_enter and \
             io_uring_register in its seccomp profile",
        ),
    }
}

fn io_uring_disabled(facts: &Facts) -> Finding {
    let subject = "kernel.io_uring_disabled";
    match facts.io_uring_disabled {
        None => Finding::fine(subject, "this kernel has no such switch".to_owned()),
        Some(0) => Finding::fine(subject, "0".to_owned()),
        Some(value @ 1) => Finding::fine(subject, value.to_string()).but(
            Verdict::Note,
            "only the group kernel.io_uring_group and CAP_SYS_ADMIN may use io_uring: join it, or \
             sysctl kernel.io_uring_disabled=0",
        ),
        Some(value) => Finding::fine(subject, value.to_string())
            .but(Verdict::Note, "to allow io_uring: sysctl kernel.io_uring_disabled=0"),
    }
}

fn cpus_found(facts: &Facts) -> Finding {
    if facts.mask.is_empty() {
        return unknown("cpus", "give --workers and --pin none");
    }
    let count = facts.mask.len();
    Finding::fine("cpus", format!("{count} in the inherited mask: {}", joined(&facts.mask)))
}

fn quota(facts: &Facts) -> Finding {
    let Some(milli) = facts.quota_milli else {
        return Finding::fine("cgroup quota", "none".to_owned());
    };
    let finding = Finding::fine("cgroup quota", format!("{} CPUs", thousandths(milli)));
    if milli >= 1_000 {
        return finding;
    }
    finding.but(
        Verdict::Note,
        "less than one CPU: everything is paused for a part of each period; grant 1 or more",
    )
}

fn open_files(facts: &Facts) -> Finding {
    let Some(limit) = facts.open_files else {
        return unknown("open files", "see ulimit -n");
    };
    let finding = Finding::fine("open files", limit.to_string());
    if limit.hard >= FILES_WANTED {
        return finding;
    }
    let advice = format!(
        "dispatchd raises the soft limit to the hard one, which is below {FILES_WANTED}, what a \
         full --hold needs: raise it (ulimit -Hn, LimitNOFILE=), or lower --hold"
    );
    let verdict = if limit.hard < FILES_NEEDED { Verdict::Problem } else { Verdict::Note };
    finding.but(verdict, advice)
}

/// Rings are charged to this limit from Linux 6.14 on, for whoever may not lock memory without one.
fn locked_memory(facts: &Facts) -> Finding {
    let subject = "locked memory, bytes";
    let Some(limit) = facts.locked_memory else {
        return unknown(subject, "see ulimit -l");
    };
    let finding = Finding::fine(subject, limit.to_string());
    // Each worker has a successor beside it during a replacement.
    let workers = u64::try_from(facts.mask.len().max(1)).unwrap_or(u64::MAX).saturating_mul(2);
    let wanted = |bytes| RingCost { bytes, limit: limit.soft }.wanted(workers);
    match facts.ring_charge.map(wanted).filter(|wanted| limit.soft < *wanted) {
        None => finding,
        Some(wanted) => finding.but(
            Verdict::Note,
            format!(
                "rings of this user's processes share it, and those that find no room use epoll: \
                 raise it to {wanted} or more (ulimit -l, LimitMEMLOCK=)"
            ),
        ),
    }
}

fn processes(facts: &Facts) -> Finding {
    let word = |limit: Option<u64>| match limit {
        None | Some(ResourceLimit::UNLIMITED) => "none".to_owned(),
        Some(limit) => limit.to_string(),
    };
    let user = facts.processes.map(|limit| limit.soft);
    let (group, system) = (facts.cgroup_pids.map(u64::from), facts.pid_max.map(u64::from));
    let value =
        format!("user {}, cgroup {}, kernel.pid_max {}", word(user), word(group), word(system));
    let finding = Finding::fine("process limits", value);
    // Each worker has a successor beside it during a replacement.
    let workers = u64::try_from(facts.mask.len().max(1)).unwrap_or(u64::MAX);
    let needed = workers.saturating_mul(2).saturating_add(PROCESSES_SPARE);
    if [user, group, system].into_iter().flatten().all(|limit| limit >= needed) {
        return finding;
    }
    finding.but(
        Verdict::Problem,
        format!("{needed} are needed: raise the lowest (ulimit -u, TasksMax=, --pids-limit)"),
    )
}

/// A queue of the kernel that must hold a burst of newcomers.
fn queue(subject: &'static str, length: Option<u32>, wanted: u32) -> Finding {
    let Some(length) = length else {
        return unknown(subject, "mount /proc, or look at it on the host");
    };
    let finding = Finding::fine(subject, length.to_string());
    if length >= wanted {
        return finding;
    }
    let advice = format!("bursts of clients wait a second or more: sysctl {subject}={wanted}");
    finding.but(Verdict::Note, advice)
}

fn unknown(subject: &'static str, advice: &str) -> Finding {
    Finding::fine(subject, "unknown".to_owned()).but(Verdict::Note, advice)
}

/// Major and minor number of a release such as `6.18.44-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn read_one<T: FromStr>(name: &str) -> Option<T> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

fn to_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { subject, value, verdict, advice } in findings {
        writeln!(text, "{:<8} {subject:<29} {value}", verdict.word())
            .expect("writing to a string cannot fail");
        if let Some(advice) = advice {
            writeln!(text, "         -> {advice}").expect("writing to a string cannot fail");
        }
    }
    text
}

fn to_json(findings: &[Finding]) -> Value {
    let list: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "subject": finding.subject,
                "value": finding.value,
                "verdict": finding.verdict.word(),
                "advice": finding.advice,
            })
        })
        .collect();
    json!({ "findings": list })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Facts {
        let much = Some(ResourceLimit { soft: 1_024, hard: 1 << 20 });
        Facts {
            kernel: Some("6.18.1-x".to_owned()),
            io_uring: Ok("kernel 6.18, all features".to_owned()),
            io_uring_disabled: Some(0),
            open_files: much,
            locked_memory: much,
            processes: Some(ResourceLimit {
                soft: ResourceLimit::UNLIMITED,
                hard: ResourceLimit::UNLIMITED,
            }),
            somaxconn: Some(4_096),
            syn_backlog: Some(1_024),
            pid_max: Some(32_768),
            cgroup_pids: None,
            quota_milli: None,
            mask: vec![Cpu(0), Cpu(1)],
            ring_charge: None,
            has_proc: true,
            runtime_dir: (PathBuf::from("/run/dispatchd"), Ok(())),
            refused: Vec::new(),
            shared_memory: Ok(()),
        }
    }

    #[test]
    fn a_healthy_machine_has_nothing_to_advise() {
        let findings = examine(&healthy());
        for finding in &findings {
            assert_eq!((finding.verdict, &finding.advice), (Verdict::Fine, &None), "{finding:?}");
        }
        assert_eq!(verdict(&findings), CliExit::Done);
    }

    /// Exactly one finding is not fine: its subject, verdict and a part of its advice.
    fn assert_one(subject: &str, facts: &Facts, expected: Verdict, advice: &str) {
        let findings = examine(facts);
        let bad: Vec<_> = findings.iter().filter(|f| f.verdict != Verdict::Fine).collect();
        assert_eq!(bad.len(), 1, "{subject}");
        assert_eq!((bad[0].subject, bad[0].verdict), (subject, expected));
        let given = bad[0].advice.as_deref().unwrap_or_default();
        assert!(given.contains(advice), "{subject}: {given}");
        let failed = expected == Verdict::Problem;
        assert_eq!(verdict(&findings) == CliExit::Failed, failed, "{subject}");
    }

    #[test]
    fn what_keeps_io_uring_away_is_noted() {
        let kernel = |release: &str| Some(release.to_owned());
        let ring = "io_uring";
        let switch = "kernel.io_uring_disabled";
        for (subject, facts, advice) in [
            ("kernel", Facts { kernel: kernel("5.15.0"), ..healthy() }, "6.1"),
            ("kernel", Facts { kernel: kernel("odd"), ..healthy() }, "6.1"),
            ("kernel", Facts { kernel: None, ..healthy() }, "/proc"),
            (ring, Facts { io_uring: Err("EPERM".to_owned()), ..healthy() }, "seccomp"),
            (switch, Facts { io_uring_disabled: Some(2), ..healthy() }, "io_uring_disabled=0"),
            (switch, Facts { io_uring_disabled: Some(1), ..healthy() }, "io_uring_group"),
        ] {
            assert_one(subject, &facts, Verdict::Note, advice);
        }
    }

    #[test]
    fn each_shortage_is_named_with_its_cure() {
        let limit = |hard| Some(ResourceLimit { soft: 16, hard });
        let files = "open files";
        let (queue, syn) = ("net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog");
        let (locked, dir) = ("locked memory, bytes", "runtime directory");
        let (eperm, erofs) = (Errno(1), Errno(30));
        let nowhere = (PathBuf::from("/run"), Err(erofs));
        let too_long = (PathBuf::from("/run"), Err(NAME_TOO_LONG));
        let (refused, call) = (Err(eperm), vec![sandbox::CALLS[0]]);
        let (note, problem) = (Verdict::Note, Verdict::Problem);
        for (subject, facts, expected, advice) in [
            ("cpus", Facts { mask: Vec::new(), ..healthy() }, note, "--workers"),
            ("cgroup quota", Facts { quota_milli: Some(500), ..healthy() }, note, "grant 1"),
            (files, Facts { open_files: limit(1_024), ..healthy() }, note, "LimitNOFILE"),
            (files, Facts { open_files: limit(64), ..healthy() }, problem, "LimitNOFILE"),
            ("process limits", Facts { cgroup_pids: Some(19), ..healthy() }, problem, "20 are"),
            (locked, Facts { ring_charge: Some(1 << 19), ..healthy() }, note, "2621440"),
            (dir, Facts { runtime_dir: nowhere, ..healthy() }, problem, "XDG_RUNTIME_DIR"),
            (dir, Facts { runtime_dir: too_long, ..healthy() }, problem, "shorter"),
            ("system calls", Facts { refused: call, ..healthy() }, note, "clone serves"),
            ("shared memory", Facts { shared_memory: refused, ..healthy() }, problem, "memfd"),
            ("/proc", Facts { has_proc: false, ..healthy() }, note, "mount /proc"),
            (queue, Facts { somaxconn: Some(128), ..healthy() }, note, "somaxconn=4096"),
            (syn, Facts { syn_backlog: None, ..healthy() }, note, "/proc"),
        ] {
            assert_one(subject, &facts, expected, advice);
        }
    }

    #[test]
    fn both_renderings_carry_the_advice() {
        let findings = examine(&Facts { somaxconn: Some(128), ..healthy() });
        let text = render(&findings, false);
        assert!(text.contains("note     net.core.somaxconn            128\n         -> bursts"));
        let json: Value = serde_json::from_str(&render(&findings, true)).unwrap();
        assert_eq!(json["findings"][0]["subject"], "kernel");
        assert_eq!(json["findings"][8]["verdict"], "note");
        assert_eq!(json["findings"][0]["advice"], Value::Null);
    }

    #[test]
    fn this_machine_can_be_examined() {
        let findings = examine(&Facts::read());
        assert_eq!(findings.len(), 14);
        assert!(findings.iter().all(|finding| !finding.value.is_empty()));
    }
}
