//! Processes seen from outside, as an operator sees them: by number, through /proc and signals.

use std::fs;
use std::process::Command;

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{eventually, nap};

/// Sends a signal; that the process is gone already is no error.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    assert!(0 < pid.as_raw(), "a process has a number of its own");
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => panic!("cannot signal {pid}: {errno}"),
    }
}

/// Stops a process, and returns when it stands still.
pub(crate) fn freeze(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    eventually("the process stands still", || (state(pid)? == 'T').then_some(()));
}

/// Threads of a process.
pub(crate) fn threads(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}

/// A set of signals that the kernel keeps of a process, each a bit: `SigBlk`, `SigIgn`, `SigCgt`.
pub(crate) fn signals(pid: u32, set: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

/// How often a process has gone to sleep.
pub(crate) fn sleeps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// Descriptors that a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// What these descriptors lead to, as far as they are still open; nothing once it has ended.
pub(crate) fn open_files(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let target = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
    entries.filter_map(target).map(|path| path.to_string_lossy().into_owned()).collect()
}

/// The number of the descriptor that a process gets after so many others, if it opens one after the
/// other now.
pub(crate) fn free_descriptor(pid: u32, others: usize) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let number = |entry: std::io::Result<fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().parse().unwrap()
    };
    let open: Vec<usize> = entries.map(number).collect();
    (0..).filter(|number| !open.contains(number)).nth(others).unwrap()
}

/// Sets the soft limit on the descriptors of a process.
pub(crate) fn limit_open_files(pid: u32, limit: &str) {
    let set = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={limit}:")])
        .status();
    assert!(set.unwrap().success(), "prlimit sets {limit}");
}

/// The nice value of a process.
pub(crate) fn nice(pid: u32) -> Option<i64> {
    stat(pid)?.get(19 - 3)?.parse().ok()
}

/// The soft and the hard limit of a process, by their name in /proc.
pub(crate) fn limits(pid: u32, name: &str) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = line.split_whitespace().map(str::to_owned);
    Some((values.next()?, values.next()?))
}

/// When a process started, which tells it apart from a later one of the same number; none once it
/// has ended.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let alive = !matches!(state(pid)?, 'Z' | 'X');
    if alive { field(pid, 22) } else { None }
}

/// Whether a process has ended and waits to be reaped.
pub(crate) fn is_zombie(pid: u32) -> bool {
    state(pid) == Some('Z')
}

/// The name of a process, as `ps` shows it.
pub(crate) fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The arguments of a process, as `ps` shows them.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// The children of a process, those included that wait to be reaped.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| field(*pid, 4) == Some(parent.into());
    dispatchd::sys::process::all().into_iter().filter(is_child).collect()
}

/// The share of a CPU, in percent, that a process takes while it is watched for so long.
pub(crate) fn cpu_percent(pid: u32, span: Span) -> u64 {
    /// Of the clock that /proc counts in, on every Linux.
    const TICKS_PER_SECOND: u64 = 100;
    let ticks = || field(pid, 14).unwrap() + field(pid, 15).unwrap();
    let (before, began_at) = (ticks(), monotonic());
    nap(span);
    let spent_ms = (ticks() - before) * 1_000 / TICKS_PER_SECOND;
    spent_ms * 100 / monotonic().since(began_at).as_ms_ceil()
}

fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

fn field(pid: u32, number: usize) -> Option<u64> {
    stat(pid)?.get(number - 3)?.parse().ok()
}

/// The fields of /proc/PID/stat from the third on: the second may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
